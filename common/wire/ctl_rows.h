/*
 * ctl_rows.h - how a row of the tables in ctl_parts.c and ctl_table.c is written. For these two files.
 *
 * A row's offsets are of the struct in P (generated) and O (own), defined before each table.
 */
#ifndef NP_WIRE_CTL_ROWS_H
#define NP_WIRE_CTL_ROWS_H

#include "wire/ctl_priv.h"

#include "control.pb-c.h"

#define PB(name)    Nodepass__Ctl__V1__##name
#define DESC(name)  (&nodepass__ctl__v1__##name##__descriptor)
#define OWN_SIZE(o) sizeof(((O *)0)->o)
#define PB_SIZE(f)  sizeof(((P *)0)->f)
/* The generated offset; does not compile when the two sizes differ. */
#define AT_SAME(f, o) (offsetof(P, f) + 0 * sizeof(char[PB_SIZE(f) == OWN_SIZE(o) ? 1 : -1]))

#define HEAD(k, f, o) .kind = CTL_BIND_##k, .name = #f, .pb = offsetof(P, f), .own = offsetof(O, o)
#define LISTED(f, n)  .pb_n = offsetof(P, n_##f), .own_n = offsetof(O, n)

#define U32(f, o)                                                                            \
	{                                                                                    \
		.kind = CTL_BIND_U32, .name = #f, .pb = AT_SAME(f, o), .own = offsetof(O, o) \
	}
#define U64(f, o)                                                                            \
	{                                                                                    \
		.kind = CTL_BIND_U64, .name = #f, .pb = AT_SAME(f, o), .own = offsetof(O, o) \
	}
#define BOOL(f, o)               \
	{                        \
		HEAD(BOOL, f, o) \
	}
#define ENUM(f, o, d)                            \
	{                                        \
		HEAD(ENUM, f, o), .sub = DESC(d) \
	}
#define LEVEL(f, o, must)                             \
	{                                             \
		HEAD(LEVEL, f, o), .required = (must) \
	}
#define TEXT(f, o)                                       \
	{                                                \
		HEAD(TEXT, f, o), .max = OWN_SIZE(o) - 1 \
	}
#define ID(f, o, must)                                                     \
	{                                                                  \
		HEAD(ID, f, o), .max = OWN_SIZE(o) - 1, .required = (must) \
	}
#define LONG(f, o, m, c)                                 \
	{                                                \
		HEAD(LONG, f, o), .max = (m), .cut = (c) \
	}
#define BLOB(f, o, m)                        \
	{                                    \
		HEAD(BLOB, f, o), .max = (m) \
	}
#define WORDS(f, o)                                                                   \
	{                                                                             \
		HEAD(WORDS, f, o), .pb_n = offsetof(P, n_##f), .max = OWN_SIZE(o) - 1 \
	}
#define IDS(f, o, n)                                               \
	{                                                          \
		HEAD(IDS, f, o), LISTED(f, n), .max = CTL_PAGE_MAX \
	}
#define NUMBERS(f, o, n, m)                                   \
	{                                                     \
		HEAD(NUMBERS, f, o), LISTED(f, n), .max = (m) \
	}
#define MANY(f, o, n, m, s)                                                 \
	{                                                                   \
		HEAD(MESSAGES, f, o), LISTED(f, n), .max = (m), .sub = &(s) \
	}
#define ONE(f, o, s, must)                                                                      \
	{                                                                                       \
		HEAD(MESSAGE, f, o), .own_n = CTL_BIND_NO_FLAG, .sub = &(s), .required = (must) \
	}
#define MAYBE(f, o, has, s)                                                 \
	{                                                                   \
		HEAD(MESSAGE, f, o), .own_n = offsetof(O, has), .sub = &(s) \
	}
#define OPT(k, f, o, has, num)                                                  \
	{                                                                       \
		HEAD(OPT_##k, f, o), .pb_n = offsetof(P, opt_##f##_case),       \
				     .own_n = offsetof(O, has), .number = (num) \
	}

#define TABLE(d, r)                                                                              \
	{                                                                                        \
		.pb = DESC(d), .own_size = sizeof(O), .rows = (r), .n = sizeof(r) / sizeof(r)[0] \
	}
#define NO_ROWS(d)            \
	{                     \
		.pb = DESC(d) \
	}

/* The parts that requests, replies and events hold. */
extern const struct ctl_binds ctl_binds_status, ctl_binds_stats, ctl_binds_view,
    ctl_binds_node_info, ctl_binds_nack, ctl_binds_line, ctl_binds_session,
    ctl_binds_instance_metrics;

#endif
