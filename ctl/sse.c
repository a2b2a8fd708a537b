/*
 * sse.c - a stream of events cut into its blocks: see sse.h.
 */
#include "sse.h"

#include <string.h>

#include "base/banned.h"

void sse_init(struct sse *s, bool (*on_event)(void *arg, const char *data, size_t len), void *arg)
{
	memset(s, 0, sizeof(*s));
	np_buf_init(&s->line, SSE_BLOCK_MAX);
	np_buf_init(&s->data, SSE_BLOCK_MAX);
	s->on_event = on_event;
	s->arg = arg;
}

void sse_restart(struct sse *s)
{
	np_buf_wipe(&s->line);
	np_buf_wipe(&s->data);
	s->line.err = s->data.err = NP_OK;
}

void sse_release(struct sse *s)
{
	sse_restart(s);
}

/* value - what follows "name:" and one blank, or NULL when the line has another name. */
static const char *value(const char *line, const char *name)
{
	size_t len = strlen(name);

	if (strncmp(line, name, len) != 0 || line[len] != ':')
		return NULL;
	line += len + 1;
	return *line == ' ' ? line + 1 : line;
}

/* end_block - the event of the lines so far; false: no more is wanted. */
static bool end_block(struct sse *s)
{
	const char *data = np_buf_cstr(&s->data);
	size_t len = np_buf_len(&s->data);
	bool more;

	if (len == 0)
		return s->data.err == NP_OK; /* a comment, "retry:" alone */
	more = data != NULL && s->on_event(s->arg, data, len);
	np_buf_consume(&s->data, len);
	return more;
}

/* end_line - takes the line in s->line; false: no more is wanted. */
static bool end_line(struct sse *s)
{
	const char *line, *v;
	size_t len = np_buf_len(&s->line);
	bool more = true;

	if (len > 0 && np_buf_ptr(&s->line)[len - 1] == '\r')
		s->line.len--;
	line = np_buf_cstr(&s->line);
	if (line == NULL)
		return false;
	if (line[0] == '\0') {
		more = end_block(s);
	} else if ((v = value(line, "data")) != NULL) {
		if (np_buf_len(&s->data) > 0)
			np_buf_put_u8(&s->data, '\n');
		np_buf_put_str(&s->data, v);
	} else if ((v = value(line, "id")) != NULL && strlen(v) < sizeof(s->id)) {
		memcpy(s->id, v, strlen(v) + 1);
	}
	np_buf_consume(&s->line, np_buf_len(&s->line));
	return more && s->data.err == NP_OK;
}

bool sse_feed(struct sse *s, const char *p, size_t len)
{
	while (len > 0) {
		const char *end = memchr(p, '\n', len);
		size_t n = end != NULL ? (size_t)(end - p) : len;

		np_buf_put(&s->line, p, n);
		if (s->line.err != NP_OK)
			return false;
		if (end == NULL)
			return true;
		if (!end_line(s))
			return false;
		p += n + 1;
		len -= n + 1;
	}
	return true;
}
