/*
 * json.h - what the API says, as values: the only file of nodepass-ctl that knows the JSON library.
 *
 * Every member may be missing or of another type: then it is "" or 0. Strings are as they came and
 * go to a terminal through text.h only.
 */
#ifndef CTL_JSON_H
#define CTL_JSON_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_KEY_ID "********" /* the entry that is the API's key and no instance */

/* One instance; strings are borrowed from the document it came from. */
struct inst {
	const char *id, *alias, *type, *status, *url, *config;
	bool restart;
	int64_t mode, ping, pool, tcps, udps;
	double tcprx, tcptx, udprx, udptx; /* bytes; exact to 2^53 */
};

struct inst_list {
	struct inst *v; /* owned */
	size_t n;
	void *doc; /* owned */
};

/* An event; @inst.id is "" when there is none. */
struct event {
	const char *type, *time, *logs;
	struct inst inst;
	void *doc; /* owned */
};

/* json_list - an array of instances or one alone, the key left out. Errors: NP_EPROTO, NP_ENOMEM. */
enum np_err json_list(const char *text, size_t len, struct inst_list *out) NP_MUST_CHECK;
void json_list_release(struct inst_list *l);
/* json_list_print - the list as JSON text, one line. */
enum np_err json_list_print(const struct inst_list *l, struct np_buf *out) NP_MUST_CHECK;

enum np_err json_event(const char *text, size_t len, struct event *out) NP_MUST_CHECK;
void json_event_release(struct event *e);

/*
 * json_member - a string, number or boolean of an object as text, cut to @max; wiped from the
 * library's memory. false: there is none, @out is untouched.
 */
bool json_member(const char *text, size_t len, const char *name, char *out, size_t max);
/* json_each - every member that has a value, in order. Errors: NP_EPROTO. */
enum np_err json_each(const char *text, size_t len,
		      void (*fn)(void *arg, const char *name, const char *value),
		      void *arg) NP_MUST_CHECK;

/* Bodies of requests: an object of @n pairs of strings. */
struct json_pair {
	const char *name, *value;
};
enum np_err json_object(const struct json_pair *pairs, size_t n, struct np_buf *out) NP_MUST_CHECK;
/* json_string - @s with its quotes, appended to @out. */
enum np_err json_string(const char *s, struct np_buf *out) NP_MUST_CHECK;

#endif
