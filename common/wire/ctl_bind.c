/*
 * ctl_bind.c - the walks over the tables of ctl_table.c that check and release: generated message
 * -> own struct with all sizes checked, and back to none of what it owns.
 *
 * Text is UTF-8 without NUL already when it comes here (ctl_wire_check, ctl_json_read).
 */
#include "wire/ctl_priv.h"

#include "base/alloc.h"
#include "core/proof.h"
#include "wire/tunnel_check.h"

#include <string.h>

static bool level_in(int number, enum np_log_level *out)
{
	size_t i;

	for (i = NP_LOG_DEBUG; i <= NP_LOG_NONE; i++) {
		if (ctl_level_number((enum np_log_level)i) == number) {
			*out = (enum np_log_level)i;
			return true;
		}
	}
	return false;
}

bool ctl_id_valid(const char *id)
{
	size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n >= 1 && n <= CTL_ID_MAX && id[n] == '\0';
}

static enum np_err too_long(const struct ctl_bind *r, const struct ctl_path *path,
			    struct np_diag *diag)
{
	return ctl_refuse(diag, NP_ELIMIT, path, "longer than %zu bytes", r->max);
}

static enum np_err id_in(const char *from, char *to, bool required, const struct ctl_path *path,
			 struct np_diag *diag)
{
	if (from[0] == '\0' && !required)
		return NP_OK;
	if (!ctl_id_valid(from))
		return ctl_refuse(diag, NP_EINVAL, path, "an id has 1 to %d of a-z, 0-9 and '-'",
				  CTL_ID_MAX);
	memcpy(to, from, strlen(from));
	return NP_OK;
}

static enum np_err long_in(const struct ctl_bind *r, const char *from, char **to,
			   const struct ctl_path *path, struct np_diag *diag)
{
	if (strlen(from) > r->max)
		return too_long(r, path, diag);
	*to = np_strdup(from);
	return *to == NULL ? NP_ENOMEM : NP_OK;
}

static enum np_err blob_in(const struct ctl_bind *r, const ProtobufCBinaryData *from,
			   struct ctl_blob *to, const struct ctl_path *path, struct np_diag *diag)
{
	if (from->len > r->max)
		return too_long(r, path, diag);
	if (from->len == 0)
		return NP_OK;
	to->data = np_malloc(from->len);
	if (to->data == NULL)
		return NP_ENOMEM;
	memcpy(to->data, from->data, from->len);
	to->len = from->len;
	return NP_OK;
}

/* What does not fit is left out: a node of later days may announce more than we have room for. */
static void words_in(const struct ctl_bind *r, const void *pb, char *to)
{
	size_t n = *MEMBER_C(size_t, pb, r->pb_n), used = 0, i;
	char *const *words = *MEMBER_C(char **, pb, r->pb);

	for (i = 0; i < n; i++) {
		size_t len = strlen(words[i]), blank = used > 0;

		if (len == 0 || strchr(words[i], ' ') != NULL || len + blank > r->max - used)
			continue;
		if (blank)
			to[used++] = ' ';
		memcpy(to + used, words[i], len);
		used += len;
	}
}

static enum np_err ids_in(const struct ctl_bind *r, const void *pb, void *own,
			  const struct ctl_path *path, struct np_diag *diag)
{
	size_t n = *MEMBER_C(size_t, pb, r->pb_n), i;
	char *const *from = *MEMBER_C(char **, pb, r->pb);
	char(*to)[CTL_ID_MAX + 1];

	if (n > r->max)
		return ctl_refuse(diag, NP_ELIMIT, path, "more than %zu", r->max);
	if (n == 0)
		return NP_OK;
	to = np_calloc(n, sizeof *to);
	if (to == NULL)
		return NP_ENOMEM;
	*MEMBER(void *, own, r->own) = to;
	*MEMBER(size_t, own, r->own_n) = n;
	for (i = 0; i < n; i++) {
		struct ctl_path at = {.up = path, .index = i};
		enum np_err err = id_in(from[i], to[i], true, &at, diag);

		if (err != NP_OK)
			return err;
	}
	return NP_OK;
}

static enum np_err numbers_in(const struct ctl_bind *r, const void *pb, void *own,
			      const struct ctl_path *path, struct np_diag *diag)
{
	size_t n = *MEMBER_C(size_t, pb, r->pb_n);
	uint64_t *to;

	if (n > r->max)
		return ctl_refuse(diag, NP_ELIMIT, path, "more than %zu", r->max);
	if (n == 0)
		return NP_OK;
	to = np_malloc(n * sizeof *to);
	if (to == NULL)
		return NP_ENOMEM;
	memcpy(to, *MEMBER_C(uint64_t *, pb, r->pb), n * sizeof *to);
	*MEMBER(uint64_t *, own, r->own) = to;
	*MEMBER(size_t, own, r->own_n) = n;
	return NP_OK;
}

static enum np_err message_in(const struct ctl_bind *r, const void *pb, void *own,
			      const struct ctl_path *path, struct np_diag *diag)
{
	const void *m = *MEMBER_C(void *, pb, r->pb);

	if (m == NULL)
		return r->required ? ctl_refuse(diag, NP_EINVAL, path, "missing") : NP_OK;
	if (r->own_n != CTL_BIND_NO_FLAG)
		*MEMBER(bool, own, r->own_n) = true;
	return ctl_bind_in(r->sub, m, MEMBER(void, own, r->own), path, diag);
}

static enum np_err messages_in(const struct ctl_bind *r, const void *pb, void *own,
			       const struct ctl_path *path, struct np_diag *diag)
{
	const struct ctl_binds *b = r->sub;
	size_t n = *MEMBER_C(size_t, pb, r->pb_n), i;
	void *const *from = *MEMBER_C(void **, pb, r->pb);
	char *to;

	if (n > r->max)
		return ctl_refuse(diag, NP_ELIMIT, path, "more than %zu", r->max);
	if (n == 0)
		return NP_OK;
	to = np_calloc(n, b->own_size);
	if (to == NULL)
		return NP_ENOMEM;
	*MEMBER(void *, own, r->own) = to;
	*MEMBER(size_t, own, r->own_n) = n;
	for (i = 0; i < n; i++) {
		struct ctl_path at = {.up = path, .index = i};
		enum np_err err = ctl_bind_in(b, from[i], to + i * b->own_size, &at, diag);

		if (err != NP_OK)
			return err;
	}
	return NP_OK;
}

static enum np_err level_row_in(const struct ctl_bind *r, const void *pb, void *own,
				const struct ctl_path *path, struct np_diag *diag)
{
	enum np_log_level *to = MEMBER(enum np_log_level, own, r->own);

	if (r->kind == CTL_BIND_OPT_LEVEL) { /* an unknown one is as none: unchanged */
		*MEMBER(bool, own, r->own_n) = *MEMBER_C(uint32_t, pb, r->pb_n) == r->number &&
					       level_in(*MEMBER_C(int, pb, r->pb), to);
		return NP_OK;
	}
	if (level_in(*MEMBER_C(int, pb, r->pb), to))
		return NP_OK;
	if (r->required)
		return ctl_refuse(diag, NP_EINVAL, path, "a level is needed");
	*to = NP_LOG_INFO;
	return NP_OK;
}

static enum np_err text_in(const struct ctl_bind *r, const char *from, char *to,
			   const struct ctl_path *path, struct np_diag *diag)
{
	size_t n = strlen(from);

	if (n > r->max)
		return too_long(r, path, diag);
	memcpy(to, from, n);
	return NP_OK;
}

static enum np_err row_in(const struct ctl_bind *r, const void *pb, void *own,
			  const struct ctl_path *path, struct np_diag *diag)
{
	const void *from = MEMBER_C(void, pb, r->pb);
	void *to = MEMBER(void, own, r->own);

	switch (r->kind) {
	case CTL_BIND_U32:
		memcpy(to, from, 4);
		return NP_OK;
	case CTL_BIND_U64:
		memcpy(to, from, 8);
		return NP_OK;
	case CTL_BIND_BOOL:
		*(bool *)to = *(const protobuf_c_boolean *)from != 0;
		return NP_OK;
	case CTL_BIND_ENUM:
		if (protobuf_c_enum_descriptor_get_value(r->sub, *(const int *)from) != NULL)
			memcpy(to, from, sizeof(int));
		return NP_OK;
	case CTL_BIND_OPT_U32:
		*MEMBER(bool, own, r->own_n) = *MEMBER_C(uint32_t, pb, r->pb_n) == r->number;
		if (*MEMBER(bool, own, r->own_n))
			memcpy(to, from, 4);
		return NP_OK;
	case CTL_BIND_LEVEL:
	case CTL_BIND_OPT_LEVEL:
		return level_row_in(r, pb, own, path, diag);
	case CTL_BIND_TEXT:
		return text_in(r, *(char *const *)from, to, path, diag);
	case CTL_BIND_ID:
		return id_in(*(char *const *)from, to, r->required, path, diag);
	case CTL_BIND_LONG:
		return long_in(r, *(char *const *)from, to, path, diag);
	case CTL_BIND_WORDS:
		words_in(r, pb, to);
		return NP_OK;
	case CTL_BIND_BLOB:
		return blob_in(r, from, to, path, diag);
	case CTL_BIND_MESSAGE:
		return message_in(r, pb, own, path, diag);
	case CTL_BIND_MESSAGES:
		return messages_in(r, pb, own, path, diag);
	case CTL_BIND_IDS:
		return ids_in(r, pb, own, path, diag);
	case CTL_BIND_NUMBERS:
		return numbers_in(r, pb, own, path, diag);
	}
	return NP_EINVAL;
}

enum np_err ctl_bind_in(const struct ctl_binds *b, const void *pb, void *own,
			const struct ctl_path *path, struct np_diag *diag)
{
	size_t i;

	for (i = 0; i < b->n; i++) {
		struct ctl_path at = {.up = path, .name = b->rows[i].name};
		enum np_err err = row_in(&b->rows[i], pb, own, &at, diag);

		if (err != NP_OK)
			return err;
	}
	return NP_OK;
}

/* ------------------------------------------------------------- release */

static void release_many(const struct ctl_bind *r, void *own)
{
	const struct ctl_binds *b = r->sub;
	size_t n = *MEMBER(size_t, own, r->own_n), i;
	char *list = *MEMBER(char *, own, r->own);

	for (i = 0; i < n && r->kind == CTL_BIND_MESSAGES; i++)
		ctl_bind_release(b, list + i * b->own_size);
	np_free(list);
	*MEMBER(char *, own, r->own) = NULL;
	*MEMBER(size_t, own, r->own_n) = 0;
}

static void release_row(const struct ctl_bind *r, void *own)
{
	struct ctl_blob *blob;
	char **text;

	if (r->kind == CTL_BIND_LONG) {
		text = MEMBER(char *, own, r->own);
		if (*text != NULL)
			np_wipe(*text, strlen(*text));
		np_free(*text);
		*text = NULL;
	} else if (r->kind == CTL_BIND_BLOB) {
		blob = MEMBER(struct ctl_blob, own, r->own);
		if (blob->data != NULL)
			np_wipe(blob->data, blob->len);
		np_free(blob->data);
		*blob = (struct ctl_blob){0};
	} else if (r->kind == CTL_BIND_MESSAGE) {
		ctl_bind_release(r->sub, MEMBER(void, own, r->own));
	} else if (r->kind == CTL_BIND_MESSAGES || r->kind == CTL_BIND_IDS ||
		   r->kind == CTL_BIND_NUMBERS) {
		release_many(r, own);
	}
}

void ctl_bind_release(const struct ctl_binds *b, void *own)
{
	size_t i;

	for (i = 0; i < b->n; i++)
		release_row(&b->rows[i], own);
}
