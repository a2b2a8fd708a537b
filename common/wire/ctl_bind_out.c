/*
 * ctl_bind_out.c - the walk over the tables of ctl_table.c that sends: own struct -> generated
 * message, which points into it.
 *
 * Texts are made UTF-8 on the way: a byte that is not becomes '?', since a receiver would refuse
 * the whole message for it.
 */
#include "wire/ctl_priv.h"

#include "wire/tunnel_check.h"

#include <string.h>

int ctl_level_number(enum np_log_level level)
{
	switch (level) {
	case NP_LOG_NONE:
		return 1;
	case NP_LOG_DEBUG:
		return 2;
	case NP_LOG_INFO:
		return 3;
	case NP_LOG_WARN:
		return 4;
	case NP_LOG_ERROR:
		return 5;
	case NP_LOG_EVENT:
		return 6;
	}
	return 0;
}

/* @s as it may be sent, at most @max bytes of it: itself, or a mended copy. NULL: no memory. */
static const char *sendable(const char *s, size_t max, struct ctl_mem *mem)
{
	size_t n = strnlen(s, max), i;
	char *copy;

	if (s[n] == '\0' && np_utf8_is_valid((const uint8_t *)s, n))
		return s;
	copy = ctl_mem_get(mem, n + 1);
	if (copy == NULL)
		return NULL;
	memcpy(copy, s, n);
	for (i = 0; i < n;) {
		size_t len = 1;

		while (len <= 4 && i + len <= n &&
		       !np_utf8_is_valid((const uint8_t *)copy + i, len))
			len++;
		if (len <= 4 && i + len <= n)
			i += len;
		else
			copy[i++] = '?';
	}
	return copy;
}

static enum np_err text_out(const struct ctl_bind *r, const char *from, char **to,
			    struct ctl_mem *mem)
{
	const char *s;

	if (from == NULL || from[0] == '\0')
		return NP_OK; /* the generated default is the empty text */
	if (r->kind == CTL_BIND_LONG && !r->cut && strnlen(from, r->max + 1) > r->max)
		return NP_ELIMIT;
	s = sendable(from, r->max, mem);
	if (s == NULL)
		return ctl_mem_error(mem, NP_ENOMEM);
	*to = (char *)(uintptr_t)s; /* the generated struct does not know const */
	return NP_OK;
}

static enum np_err words_out(const struct ctl_bind *r, const char *from, void *pb,
			     struct ctl_mem *mem)
{
	size_t room = strlen(from) / 2 + 1, n = 0;
	char **list;
	char *p;

	if (from[0] == '\0')
		return NP_OK;
	list = ctl_mem_get(mem, room * sizeof *list);
	p = ctl_mem_get(mem, strlen(from) + 1);
	if (list == NULL || p == NULL)
		return ctl_mem_error(mem, NP_ENOMEM);
	memcpy(p, from, strlen(from));
	while (*(p += strspn(p, " ")) != '\0') {
		list[n] = p;
		p += strcspn(p, " ");
		if (*p != '\0')
			*p++ = '\0';
		list[n] = (char *)(uintptr_t)sendable(list[n], r->max, mem);
		if (list[n++] == NULL)
			return ctl_mem_error(mem, NP_ENOMEM);
	}
	*MEMBER(char **, pb, r->pb) = list;
	*MEMBER(size_t, pb, r->pb_n) = n;
	return NP_OK;
}

static enum np_err messages_out(const struct ctl_bind *r, const void *own, void *pb,
				struct ctl_mem *mem)
{
	const struct ctl_binds *b = r->sub;
	size_t n = *MEMBER_C(size_t, own, r->own_n), size = b->pb->sizeof_message, i;
	const char *from = *MEMBER_C(char *, own, r->own);
	void **list;
	char *all;

	if (n > r->max)
		return NP_ELIMIT;
	if (n == 0)
		return NP_OK;
	list = ctl_mem_get(mem, n * sizeof *list);
	all = ctl_mem_get(mem, n * size);
	if (list == NULL || all == NULL)
		return ctl_mem_error(mem, NP_ENOMEM);
	for (i = 0; i < n; i++) {
		enum np_err err;

		list[i] = all + i * size;
		protobuf_c_message_init(b->pb, list[i]);
		err = ctl_bind_out(b, from + i * b->own_size, list[i], mem);
		if (err != NP_OK)
			return err;
	}
	*MEMBER(void **, pb, r->pb) = list;
	*MEMBER(size_t, pb, r->pb_n) = n;
	return NP_OK;
}

static enum np_err message_out(const struct ctl_bind *r, const void *own, void *pb,
			       struct ctl_mem *mem)
{
	const struct ctl_binds *b = r->sub;
	void *m;

	if (r->own_n != CTL_BIND_NO_FLAG && !*MEMBER_C(bool, own, r->own_n))
		return NP_OK;
	m = ctl_new(mem, b->pb);
	if (m == NULL)
		return ctl_mem_error(mem, NP_ENOMEM);
	*MEMBER(void *, pb, r->pb) = m;
	return ctl_bind_out(b, MEMBER_C(void, own, r->own), m, mem);
}

static enum np_err ids_out(const struct ctl_bind *r, const void *own, void *pb, struct ctl_mem *mem)
{
	size_t n = *MEMBER_C(size_t, own, r->own_n), i;
	char(*from)[CTL_ID_MAX + 1] = *MEMBER_C(void *, own, r->own);
	char **list;

	if (n > r->max)
		return NP_ELIMIT;
	if (n == 0)
		return NP_OK;
	list = ctl_mem_get(mem, n * sizeof *list);
	if (list == NULL)
		return ctl_mem_error(mem, NP_ENOMEM);
	for (i = 0; i < n; i++)
		list[i] = from[i];
	*MEMBER(char **, pb, r->pb) = list;
	*MEMBER(size_t, pb, r->pb_n) = n;
	return NP_OK;
}

static enum np_err blob_out(const struct ctl_bind *r, const struct ctl_blob *from, void *pb)
{
	if (from->len > r->max)
		return NP_ELIMIT;
	*MEMBER(ProtobufCBinaryData, pb, r->pb) =
	    (ProtobufCBinaryData){.len = from->len, .data = from->data};
	return NP_OK;
}

static enum np_err row_out(const struct ctl_bind *r, const void *own, void *pb, struct ctl_mem *mem)
{
	const void *from = MEMBER_C(void, own, r->own);
	void *to = MEMBER(void, pb, r->pb);

	switch (r->kind) {
	case CTL_BIND_U32:
	case CTL_BIND_ENUM:
		memcpy(to, from, 4);
		return NP_OK;
	case CTL_BIND_U64:
		memcpy(to, from, 8);
		return NP_OK;
	case CTL_BIND_BOOL:
		*(protobuf_c_boolean *)to = *(const bool *)from;
		return NP_OK;
	case CTL_BIND_OPT_U32:
		if (*MEMBER_C(bool, own, r->own_n)) {
			memcpy(to, from, 4);
			*MEMBER(uint32_t, pb, r->pb_n) = r->number;
		}
		return NP_OK;
	case CTL_BIND_OPT_LEVEL:
		if (!*MEMBER_C(bool, own, r->own_n))
			return NP_OK;
		*MEMBER(uint32_t, pb, r->pb_n) = r->number;
		/* fall through */
	case CTL_BIND_LEVEL:
		*(int *)to = ctl_level_number(*(const enum np_log_level *)from);
		return NP_OK;
	case CTL_BIND_TEXT:
	case CTL_BIND_ID:
		return text_out(r, from, to, mem);
	case CTL_BIND_LONG:
		return text_out(r, *(char *const *)from, to, mem);
	case CTL_BIND_WORDS:
		return words_out(r, from, pb, mem);
	case CTL_BIND_BLOB:
		return blob_out(r, from, pb);
	case CTL_BIND_MESSAGE:
		return message_out(r, own, pb, mem);
	case CTL_BIND_MESSAGES:
		return messages_out(r, own, pb, mem);
	case CTL_BIND_IDS:
		return ids_out(r, own, pb, mem);
	case CTL_BIND_NUMBERS:
		if (*MEMBER_C(size_t, own, r->own_n) > r->max)
			return NP_ELIMIT;
		memcpy(to, from, sizeof(void *));
		*MEMBER(size_t, pb, r->pb_n) = *MEMBER_C(size_t, own, r->own_n);
		return NP_OK;
	}
	return NP_EINVAL;
}

enum np_err ctl_bind_out(const struct ctl_binds *b, const void *own, void *pb, struct ctl_mem *mem)
{
	size_t i;

	for (i = 0; i < b->n; i++) {
		enum np_err err = row_out(&b->rows[i], own, pb, mem);

		if (err != NP_OK)
			return err;
	}
	return NP_OK;
}
