/*
 * app_wiring.h - the callbacks by which the parts of the control plane hear of each other; the argument
 * is the struct app. Thread: the loop's.
 */
#ifndef CP_APP_WIRING_H
#define CP_APP_WIRING_H

#include "app.h"

extern const struct model_events app_model_events;
extern const struct node_callbacks app_node_callbacks;
extern const struct supervise_callbacks app_supervise_callbacks;
/* app_initial_events - the API key and all instances, for a new reader of events. */
void app_initial_events(void *arg, sse_emit_fn emit, void *emit_arg);

#endif
