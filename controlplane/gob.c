/*
 * gob.c - a gob is a row of messages: definitions of types, then one value.
 *
 * Each message is a length, a type's number (negative: its definition follows) and a body. The
 * value's body is read once, from left to right; members that are not wanted are stepped over by
 * the same rules.
 */
#include "gob.h"

#include "base/alloc.h"

#include <stddef.h>
#include <string.h>

#include "base/banned.h"

/* Numbers that the format gives to the types everybody knows. */
enum { T_BOOL = 1, T_INT = 2, T_UINT = 3, T_FLOAT = 4, T_BYTES = 5, T_STRING = 6 };
enum gob_kind { KIND_STRUCT = 2, KIND_MAP = 3 }; /* field of a definition that is set */

struct gob_field {
	struct gob_text name;
	int64_t type;
};

struct gob_type {
	int64_t id;
	enum gob_kind kind;
	int64_t key, element; /* of a map */
	size_t nfields;
	struct gob_field fields[GOB_FIELDS_MAX];
};

struct gob {
	const uint8_t *start, *p, *end; /* end: of the message */
	struct np_diag *diag;
	enum np_err err; /* sticky: reads after it give 0 */
	gob_visit_fn visit;
	void *arg;
	struct gob_instance inst;
	size_t ntypes;
	struct gob_type types[GOB_TYPES_MAX];
};

/* -- primitives -- */

static void fail(struct gob *g, enum np_err err, const char *what)
{
	size_t at = (size_t)(g->p - g->start);

	if (g->err != NP_OK)
		return;
	g->err = np_diag_set(g->diag, err, "gob", "%s at byte %zu", what, at);
	if (g->diag != NULL)
		g->diag->offset = at;
}

static size_t left(const struct gob *g)
{
	return g->err != NP_OK ? 0 : (size_t)(g->end - g->p);
}

static uint64_t read_uint(struct gob *g)
{
	uint64_t v = 0;
	unsigned n;

	if (left(g) == 0) {
		fail(g, NP_ETRUNCATED, "the data ends");
		return 0;
	}
	if (*g->p < 128)
		return *g->p++;
	n = 256u - *g->p;
	if (n > 8) {
		fail(g, NP_EPROTO, "a number is too long");
		return 0;
	}
	if (left(g) < n + 1) {
		fail(g, NP_ETRUNCATED, "the data ends in a number");
		return 0;
	}
	g->p++;
	while (n-- > 0)
		v = v << 8 | *g->p++;
	return v;
}

static int64_t read_int(struct gob *g)
{
	uint64_t v = read_uint(g);

	/* The lowest bit says: all others are inverted. */
	return (v & 1) != 0 ? -(int64_t)(v >> 1) - 1 : (int64_t)(v >> 1);
}

static struct gob_text read_text(struct gob *g)
{
	struct gob_text t = {.p = NULL};
	uint64_t n = read_uint(g);

	if (n > left(g)) {
		fail(g, NP_ETRUNCATED, "a text is longer than the data");
		return t;
	}
	if (g->err != NP_OK)
		return t;
	t.p = (const char *)g->p;
	t.len = (size_t)n;
	g->p += n;
	return t;
}

/* Of things that are a byte at least. */
static uint64_t read_count(struct gob *g)
{
	uint64_t n = read_uint(g);

	if (n > left(g)) {
		fail(g, NP_ETRUNCATED, "a count is larger than the data");
		return 0;
	}
	return n;
}

/* The next member of a structure: @at is its number, -1 before the first. false: no more. */
static bool next_member(struct gob *g, int64_t *at)
{
	uint64_t delta = read_uint(g);

	if (g->err != NP_OK || delta == 0)
		return false;
	if (delta > 1000) {
		fail(g, NP_EPROTO, "a structure has too many members");
		return false;
	}
	*at += (int64_t)delta;
	return true;
}

static bool text_is(struct gob_text t, const char *s)
{
	return t.len == strlen(s) && memcmp(t.p, s, t.len) == 0;
}

/* -- definitions -- */

static const struct gob_type *type_of(const struct gob *g, int64_t id)
{
	for (size_t i = 0; i < g->ntypes; i++)
		if (g->types[i].id == id)
			return &g->types[i];
	return NULL;
}

/* The part that all definitions begin with: a name and the number once more. */
static void read_common(struct gob *g)
{
	for (int64_t at = -1; next_member(g, &at);) {
		if (at == 0)
			read_text(g);
		else if (at == 1)
			read_int(g);
		else
			fail(g, NP_EPROTO, "a type's head has an unknown member");
	}
}

static void read_field(struct gob *g, struct gob_field *f)
{
	for (int64_t at = -1; next_member(g, &at);) {
		if (at == 0)
			f->name = read_text(g);
		else if (at == 1)
			f->type = read_int(g);
		else
			fail(g, NP_EPROTO, "a member's definition has an unknown part");
	}
}

static void read_fields(struct gob *g, struct gob_type *t)
{
	uint64_t n = read_count(g);

	if (n > GOB_FIELDS_MAX || t->nfields > 0) {
		fail(g, NP_ELIMIT, "a structure has too many members");
		return;
	}
	for (; g->err == NP_OK && t->nfields < n; t->nfields++)
		read_field(g, &t->fields[t->nfields]);
}

static void read_kind(struct gob *g, struct gob_type *t)
{
	for (int64_t at = -1; next_member(g, &at);) {
		if (at == 0)
			read_common(g);
		else if (at == 1 && t->kind == KIND_STRUCT)
			read_fields(g, t);
		else if (at == 1)
			t->key = read_int(g);
		else if (at == 2 && t->kind == KIND_MAP)
			t->element = read_int(g);
		else
			fail(g, NP_EPROTO, "a definition has an unknown member");
	}
}

static void read_type(struct gob *g, int64_t id)
{
	struct gob_type *t = &g->types[g->ntypes];
	bool defined = false;

	if (g->ntypes == GOB_TYPES_MAX) {
		fail(g, NP_ELIMIT, "there are too many types");
		return;
	}
	if (type_of(g, id) != NULL) {
		fail(g, NP_EPROTO, "a type is defined twice");
		return;
	}
	t->id = id;
	for (int64_t at = -1; next_member(g, &at);) {
		if (defined || (at != KIND_STRUCT && at != KIND_MAP)) {
			fail(g, NP_EPROTO, "a type is neither structure nor map");
			return;
		}
		t->kind = (enum gob_kind)at;
		defined = true;
		read_kind(g, t);
	}
	if (!defined)
		fail(g, NP_EPROTO, "a type's definition is empty");
	g->ntypes++;
}

/* -- values -- */

static const struct gob_field *field_at(struct gob *g, const struct gob_type *t, int64_t at)
{
	if (at >= 0 && (size_t)at < t->nfields)
		return &t->fields[at];
	fail(g, NP_EPROTO, "a structure has a member that is not defined");
	return NULL;
}

static void skip(struct gob *g, int64_t id, unsigned depth);

static void skip_defined(struct gob *g, int64_t id, unsigned depth)
{
	const struct gob_type *t = type_of(g, id);
	const struct gob_field *f;

	if (t == NULL) {
		fail(g, NP_EPROTO, "a value's type is unknown");
	} else if (depth >= GOB_NEST_MAX) {
		fail(g, NP_ELIMIT, "values are nested too deeply");
	} else if (t->kind == KIND_MAP) {
		for (uint64_t n = read_count(g); g->err == NP_OK && n > 0; n--) {
			skip(g, t->key, depth + 1);
			skip(g, t->element, depth + 1);
		}
	} else {
		for (int64_t at = -1; next_member(g, &at);) {
			f = field_at(g, t, at);
			if (f != NULL)
				skip(g, f->type, depth + 1);
		}
	}
}

static void skip(struct gob *g, int64_t id, unsigned depth)
{
	if (id == T_BOOL || id == T_INT || id == T_UINT || id == T_FLOAT)
		read_uint(g);
	else if (id == T_BYTES || id == T_STRING)
		read_text(g);
	else
		skip_defined(g, id, depth);
}

/* A structure or map that has to be there. */
static const struct gob_type *want(struct gob *g, int64_t id, enum gob_kind kind)
{
	const struct gob_type *t = type_of(g, id);

	if (t != NULL && t->kind == kind)
		return t;
	fail(g, NP_EPROTO, "a member has another type than it should");
	return NULL;
}

static bool is_type(struct gob *g, const struct gob_field *f, int64_t id)
{
	if (f->type != id)
		fail(g, NP_EPROTO, "a member has another type than it should");
	return f->type == id;
}

struct wanted {
	const char *name;
	struct gob_text *to;
};

/* true: it was one of @list, and is read. */
static bool take_text(struct gob *g, const struct gob_field *f, const struct wanted *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!text_is(f->name, list[i].name))
			continue;
		if (is_type(g, f, T_STRING))
			*list[i].to = read_text(g);
		return true;
	}
	return false;
}

static void read_tags(struct gob *g, int64_t id)
{
	const struct gob_type *t = want(g, id, KIND_MAP);
	struct gob_instance *inst = &g->inst;

	if (t == NULL)
		return;
	if (t->key != T_STRING || t->element != T_STRING) {
		fail(g, NP_EPROTO, "tags are not texts");
		return;
	}
	for (uint64_t n = read_count(g); g->err == NP_OK && n > 0; n--) {
		struct gob_tag tag = {.name = read_text(g)};

		tag.value = read_text(g);
		if (inst->ntags < GOB_TAGS_MAX)
			inst->tags[inst->ntags++] = tag;
		else
			inst->tags_left++;
	}
}

static void read_peer(struct gob *g, int64_t id)
{
	const struct wanted list[] = {{"SID", &g->inst.peer_sid},
				      {"Type", &g->inst.peer_type},
				      {"Alias", &g->inst.peer_alias}};
	const struct gob_type *t = want(g, id, KIND_STRUCT);

	for (int64_t at = -1; t != NULL && next_member(g, &at);) {
		const struct gob_field *f = field_at(g, t, at);

		if (f != NULL && !take_text(g, f, list, sizeof(list) / sizeof(list[0])))
			skip(g, f->type, 3);
	}
}

static void read_meta(struct gob *g, int64_t id)
{
	const struct gob_type *t = want(g, id, KIND_STRUCT);

	for (int64_t at = -1; t != NULL && next_member(g, &at);) {
		const struct gob_field *f = field_at(g, t, at);

		if (f == NULL)
			return;
		if (text_is(f->name, "Peer"))
			read_peer(g, f->type);
		else if (text_is(f->name, "Tags"))
			read_tags(g, f->type);
		else
			skip(g, f->type, 3);
	}
}

static void read_member(struct gob *g, const struct gob_field *f)
{
	static const char *const totals[GOB_COUNTERS] = {"TCPRX", "TCPTX", "UDPRX", "UDPTX"};
	struct gob_instance *inst = &g->inst;
	const struct wanted list[] = {{"Alias", &inst->alias},
				      {"Type", &inst->type},
				      {"Status", &inst->status},
				      {"URL", &inst->url},
				      {"Config", &inst->config}};

	if (take_text(g, f, list, sizeof(list) / sizeof(list[0])))
		return;
	for (size_t i = 0; i < GOB_COUNTERS; i++) {
		if (!text_is(f->name, totals[i]))
			continue;
		if (is_type(g, f, T_UINT))
			inst->total[i] = read_uint(g);
		return;
	}
	if (text_is(f->name, "Meta")) {
		read_meta(g, f->type);
	} else if (text_is(f->name, "Restart")) {
		if (is_type(g, f, T_BOOL))
			inst->restart = read_uint(g) != 0;
	} else {
		skip(g, f->type, 2);
	}
}

static void read_instance(struct gob *g, const struct gob_type *t, struct gob_text id)
{
	/* Not all of it: the room for tags is far larger than the smallest instance. */
	memset(&g->inst, 0, offsetof(struct gob_instance, tags));
	g->inst.ntags = g->inst.tags_left = 0;
	g->inst.id = id;
	for (int64_t at = -1; next_member(g, &at);) {
		const struct gob_field *f = field_at(g, t, at);

		if (f != NULL)
			read_member(g, f);
	}
	if (g->err == NP_OK && g->visit != NULL)
		g->err = g->visit(g->arg, &g->inst);
}

static void read_value(struct gob *g, int64_t id)
{
	const struct gob_type *map = want(g, id, KIND_MAP), *t;

	if (map == NULL)
		return;
	t = want(g, map->element, KIND_STRUCT);
	if (t == NULL)
		return;
	if (map->key != T_STRING) {
		fail(g, NP_EPROTO, "it is not a map of instances");
		return;
	}
	/* A value that is no structure is sent as if it were a member: with a difference of 0. */
	if (read_uint(g) != 0)
		fail(g, NP_EPROTO, "the value does not begin as it should");
	for (uint64_t n = read_count(g); g->err == NP_OK && n > 0; n--)
		read_instance(g, t, read_text(g));
	if (g->err == NP_OK && g->p != g->end)
		fail(g, NP_EPROTO, "there is more than the value");
}

static void read_messages(struct gob *g, const uint8_t *end)
{
	while (g->err == NP_OK) {
		uint64_t n;
		int64_t id;

		g->end = end;
		n = read_count(g);
		if (g->err != NP_OK)
			return;
		g->end = g->p + n;
		id = read_int(g);
		if (id >= 0) {
			read_value(g, id);
			return;
		}
		if (id < -INT32_MAX)
			fail(g, NP_EPROTO, "a type's number is too large");
		else
			read_type(g, -id);
		if (g->err == NP_OK && g->p != g->end)
			fail(g, NP_EPROTO, "a definition is longer than it should be");
	}
}

enum np_err gob_read(const void *data, size_t len, gob_visit_fn visit, void *arg,
		     struct np_diag *diag)
{
	struct gob *g;
	enum np_err err;

	if (len > GOB_FILE_MAX)
		return np_diag_set(diag, NP_ELIMIT, "gob", "it is larger than %d MiB",
				   GOB_FILE_MAX / (1024 * 1024));
	if (len == 0)
		return np_diag_set(diag, NP_ETRUNCATED, "gob", "it is empty");
	g = np_calloc(1, sizeof(*g));
	if (g == NULL)
		return np_diag_set(diag, NP_ENOMEM, "gob", "%s", np_err_text(NP_ENOMEM));
	g->start = g->p = data;
	g->diag = diag;
	g->visit = visit;
	g->arg = arg;
	read_messages(g, g->start + len);
	err = g->err;
	np_free(g);
	return err;
}
