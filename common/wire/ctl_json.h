/*
 * ctl_json.h - the JSON form of any generated message, by its descriptor: the proto3 mapping as
 * docs/SCRIPTING.md describes it. No code per message. For common/wire.
 */
#ifndef NP_WIRE_CTL_JSON_H
#define NP_WIRE_CTL_JSON_H

#include "wire/ctl_priv.h"

#define CTL_JSON_DEPTH_MAX 16 /* objects and lists within each other */

/*
 * ctl_json_read - @in, one JSON object, to a message of @d in @mem. On a refusal @out is the
 * message as far as it was understood, or NULL. Errors: NP_EINVAL, NP_ELIMIT (memory of the
 * message), NP_ENOMEM; @diag says "path: reason". Thread: main.
 */
enum np_err ctl_json_read(const ProtobufCMessageDescriptor *d, const void *in, size_t len,
			  struct ctl_mem *mem, void **out, struct np_diag *diag) NP_MUST_CHECK;
/* ctl_json_size - bytes of one value of @f in the generated struct. */
size_t ctl_json_size(const ProtobufCFieldDescriptor *f);
/* ctl_json_write - @message and LF, appended to @out (its sticky error is the only one). */
void ctl_json_write(const ProtobufCMessage *message, struct np_buf *out);

#endif
