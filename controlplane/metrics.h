/*
 * metrics.h - what is measured, as Prometheus text (0.0.4). Thread: the loop's.
 *
 * The model has what clients see of an instance; here is kept what only measurements need: closes
 * by reason and the counters of the node, its last lease. Rows of the node that this version does
 * not know are left out.
 */
#ifndef CP_METRICS_H
#define CP_METRICS_H

#include "metrics_process.h"
#include "model.h"
#include "sse.h"

#define METRICS_INSTANCES_MAX (2 * MODEL_INSTANCES_MAX)
#define METRICS_REASONS_MAX   48
#define METRICS_BUCKETS_MAX   32 /* of a histogram; one with more is left out */
#define METRICS_TEXT_MAX      (64 * 1024 * 1024)

struct metrics;

/* Errors: NP_ENOMEM. */
enum np_err metrics_new(struct metrics **out) NP_MUST_CHECK;
/* metrics_observe - newer totals of an instance since its start. metrics_forget - it is gone. */
void metrics_observe(struct metrics *m, const struct ctl_instance_metrics *im);
void metrics_forget(struct metrics *m, const char *id);
void metrics_lease(struct metrics *m, const struct ctl_lease *lease);
void metrics_free(struct metrics *m);

/* What others know. */
struct metrics_view {
	const struct model *model; /* borrowed */
	bool node_up, synced;
	unsigned http_connections;
	struct sse_figures sse;
	struct metrics_process process;
};
/* metrics_render - the whole text. Forgets instances that the model no longer has. Errors: sticky
 * in @out. */
void metrics_render(struct metrics *m, const struct metrics_view *v, struct np_buf *out);

#endif
