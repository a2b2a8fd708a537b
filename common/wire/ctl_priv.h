/*
 * ctl_priv.h - how the own structs of ctl_msg.h are bound to the generated messages, inside
 * common/wire.
 *
 * One table of rows per message (ctl_table.c) says which field of the generated struct is which
 * member of ours; the walks over it (ctl_bind.c, ctl_bind_out.c) convert, check sizes and release. Memory of
 * generated messages comes from a struct ctl_mem and goes as a whole.
 */
#ifndef NP_WIRE_CTL_PRIV_H
#define NP_WIRE_CTL_PRIV_H

#include "wire/ctl_msg.h"

#include <protobuf-c/protobuf-c.h>

/* Cap under one message: a hostile one can ask for ninety times its length. */
#define CTL_MEM_BASE	 65536u
#define CTL_MEM_PER_BYTE 24u
#define CTL_MEM_MAX	 67108864u
#define CTL_SECRET_MAX	 64    /* auth_salt, auth_k */
#define CTL_METRICS_MAX	 256   /* of an instance; values of a metric */
#define CTL_NACKS_MAX	 10000 /* instances of a node */

/* What a message was made in; never counted down, so freeing and asking again is no way round. */
struct ctl_mem {
	struct ctl_mem_block *blocks; /* owned */
	size_t left;
	bool over, no_memory;
	ProtobufCAllocator allocator; /* of this memory; its free does nothing */
};

/* @len: bytes of the message that is read; 0 = what is sent, only bound by CTL_MEM_MAX. */
void ctl_mem_init(struct ctl_mem *m, size_t len);
/* ctl_mem_get - zeroed. NULL: `over` or `no_memory` is set. */
void *ctl_mem_get(struct ctl_mem *m, size_t n);
/* ctl_mem_error - NP_ENOMEM, NP_ELIMIT, or @otherwise when memory was not the reason. */
enum np_err ctl_mem_error(const struct ctl_mem *m, enum np_err otherwise);
/* ctl_mem_release - wipes and frees all. */
void ctl_mem_release(struct ctl_mem *m);

/* Where in a message, for "path: reason". Lives on the stacks of the walks. */
struct ctl_path {
	const struct ctl_path *up; /* NULL at the root */
	const char *name;	   /* NULL: an element of the list above */
	size_t index;
};

/* ctl_refuse - @diag (may be NULL) says "path: reason"; returns @err. */
enum np_err ctl_refuse(struct np_diag *diag, enum np_err err, const struct ctl_path *path,
		       const char *fmt, ...) NP_PRINTF(4, 5);

enum ctl_bind_kind {
	CTL_BIND_U32 = 0,
	CTL_BIND_U64, /* and int64 */
	CTL_BIND_BOOL,
	CTL_BIND_ENUM,	  /* sub: the enum's descriptor; an unknown value becomes 0 */
	CTL_BIND_LEVEL,	  /* Level <-> enum np_log_level */
	CTL_BIND_TEXT,	  /* char [max + 1] */
	CTL_BIND_ID,	  /* char [CTL_ID_MAX + 1]; empty or an id */
	CTL_BIND_LONG,	  /* char *, owned, never NULL after reading; at most max bytes */
	CTL_BIND_WORDS,	  /* repeated string <-> words in one text */
	CTL_BIND_BLOB,	  /* struct ctl_blob, at most max bytes */
	CTL_BIND_OPT_U32, /* a oneof with one member <-> has_x, x */
	CTL_BIND_OPT_LEVEL,
	CTL_BIND_MESSAGE,  /* sub: its table; with own_n a bool says that it is there */
	CTL_BIND_MESSAGES, /* array and size_t; at most max */
	CTL_BIND_IDS,	   /* char (*)[CTL_ID_MAX + 1] and size_t; at most max */
	CTL_BIND_NUMBERS,  /* uint64_t * and size_t; at most max */
};

/* A member by its offset; of what is only read. */
#define MEMBER(type, base, off)	  ((type *)(void *)((char *)(base) + (off)))
#define MEMBER_C(type, base, off) ((type const *)(const void *)((const char *)(base) + (off)))

#define CTL_BIND_NO_FLAG	  UINT32_MAX /* own_n of a MESSAGE that is always there */

struct ctl_bind {
	enum ctl_bind_kind kind;
	const char *name;
	size_t pb, pb_n;   /* offsets in the generated struct: field; its count or case */
	size_t own, own_n; /* offsets in ours: member; its count or has_ */
	size_t max;
	uint32_t number; /* of an optional field: its case */
	bool required;	 /* ids, levels and messages that may not be missing */
	bool cut;	 /* LONG: sent cut to max instead of refused */
	const void *sub;
};

struct ctl_binds {
	const ProtobufCMessageDescriptor *pb;
	size_t own_size; /* of an element, in arrays */
	const struct ctl_bind *rows;
	size_t n;
};

/*
 * ctl_bind_in - the generated message @pb to @own, which is zero. On error what was made stays in
 * @own for ctl_bind_release. Errors: NP_EINVAL, NP_ELIMIT, NP_ENOMEM; @diag says where.
 */
enum np_err ctl_bind_in(const struct ctl_binds *b, const void *pb, void *own,
			const struct ctl_path *path, struct np_diag *diag) NP_MUST_CHECK;
/*
 * ctl_bind_out - @own to @pb, which is initialised; it points into @own and @mem. Errors:
 * NP_ENOMEM, NP_ELIMIT (more than the receiver would take).
 */
enum np_err ctl_bind_out(const struct ctl_binds *b, const void *own, void *pb,
			 struct ctl_mem *mem) NP_MUST_CHECK;
/* ctl_bind_release - frees and wipes what @own owns, sets it to none. */
void ctl_bind_release(const struct ctl_binds *b, void *own);

/* ctl_level_number - of Level in control.proto; 0 for none of them. */
int ctl_level_number(enum np_log_level level);

/* ctl_new - an initialised message from @mem, NULL as ctl_mem_get. */
void *ctl_new(struct ctl_mem *mem, const ProtobufCMessageDescriptor *d);

/*
 * ctl_wire_check - every string of a packed message is UTF-8 without NUL. Bytes that are no
 * message at all are left to protobuf-c, which refuses them. Errors: NP_EINVAL.
 */
enum np_err ctl_wire_check(const ProtobufCMessageDescriptor *d, const uint8_t *p, size_t len,
			   const struct ctl_path *path, struct np_diag *diag) NP_MUST_CHECK;

/*
 * The tables: of the fields beside the oneof, and of its members, which are NULL for none and for
 * unknown ones and are bound to the whole struct (results: to the part of it that begins at @at).
 */
extern const struct ctl_binds ctl_binds_request, ctl_binds_reply, ctl_binds_event, ctl_binds_spec;
const struct ctl_binds *ctl_binds_command(enum ctl_command c);
const struct ctl_binds *ctl_binds_result(enum ctl_command c, size_t *at);
const struct ctl_binds *ctl_binds_body(enum ctl_event_kind k);

#endif
