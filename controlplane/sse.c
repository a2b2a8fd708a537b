/*
 * sse.c - the event stream: makes blocks, hands them to the readers, drives them. See sse.h.
 *
 * Publishing costs a pointer a reader; sending happens in the next loop pass, a bounded number of
 * bytes at a time.
 */
#include "sse.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/num.h"
#include "json_write.h"
#include "sse_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <utlist.h>

#include "base/banned.h"

#define SSE_MAGIC	0x55e57a01
#define SSE_END_MS	2000
#define SSE_FAREWELL_MS 50 /* for the last chunk to leave our buffers */

static struct timeval tv_of_ms(int64_t ms)
{
	return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* RFC 3339 with the local offset, and as many digits of the fraction as it has. */
static void put_time(struct np_buf *b)
{
	struct timespec ts = {0};
	struct tm tm = {0};
	char day[32], nano[16];
	size_t n = 9;
	long off;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	(void)localtime_r(&ts.tv_sec, &tm);
	(void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	np_buf_put_str(b, day);
	(void)snprintf(nano, sizeof(nano), "%09ld", ts.tv_nsec);
	while (n > 0 && nano[n - 1] == '0')
		n--;
	if (n > 0)
		np_buf_putf(b, ".%.*s", (int)n, nano);
	off = tm.tm_gmtoff / 60;
	if (off == 0)
		np_buf_put_u8(b, 'Z');
	else
		np_buf_putf(b, "%c%02ld:%02ld", off < 0 ? '-' : '+', labs(off) / 60,
			    labs(off) % 60);
}

static const char *type_name(enum sse_type type)
{
	switch (type) {
	case SSE_INITIAL:
		return "initial";
	case SSE_CREATE:
		return "create";
	case SSE_UPDATE:
		return "update";
	case SSE_DELETE:
		return "delete";
	case SSE_SHUTDOWN:
		return "shutdown";
	case SSE_LOG:
		break;
	}
	return "log";
}

void sse_render(struct np_buf *b, enum sse_type type, const void *json, size_t len,
		const char *logs, size_t *json_off)
{
	size_t start = np_buf_len(b);

	np_buf_putf(b, "event: instance\ndata: {\"type\":\"%s\",\"time\":\"", type_name(type));
	put_time(b);
	np_buf_put_str(b, "\",\"instance\":");
	*json_off = np_buf_len(b) - start;
	if (len > 0)
		np_buf_put(b, json, len);
	else
		np_buf_put_str(b, "null");
	json_put_str(b, "logs", logs == NULL ? "" : logs);
	np_buf_put_str(b, "}\n");
}

/* Cut between characters: @n or up to three bytes less. */
static size_t cut_at(const char *s, size_t n)
{
	size_t k = n;

	while (k > 0 && n - k < 3 && ((unsigned char)s[k] & 0xc0) == 0x80)
		k--;
	return ((unsigned char)s[k] & 0xc0) == 0x80 ? n : k;
}

/* The block of an event; NULL: no memory, or @json alone is too much. */
static struct sse_block *make_block(struct sse *s, enum sse_type type, const char *id,
				    const void *json, size_t len, const char *logs)
{
	struct np_buf *b = &s->scratch;
	size_t have = logs == NULL ? 0 : strlen(logs), n = have, off = 0;
	struct sse_block *block;
	char *cut = NULL;

	if (n > SSE_LINE_MAX)
		n = cut_at(logs, SSE_LINE_MAX);
	for (;; n = cut_at(logs, n / 2)) {
		if (n < have) {
			np_free(cut);
			cut = np_strndup(logs, n);
			if (cut == NULL)
				return NULL;
		}
		np_buf_consume(b, np_buf_len(b));
		b->err = NP_OK;
		sse_render(b, type, json, len, cut != NULL ? cut : logs, &off);
		/* Escapes make up to six bytes of one. */
		if (b->err != NP_ELIMIT || n == 0)
			break;
	}
	np_free(cut);
	if (b->err != NP_OK) {
		if (b->err == NP_ELIMIT)
			np_log(NP_LOG_ERROR, id,
			       "event not published: the instance is too large "
			       "bytes=%zu",
			       len);
		return NULL;
	}
	block = sse_block_new(np_buf_ptr(b), np_buf_len(b));
	if (block == NULL)
		return NULL;
	block->type = type;
	block->json_off = off;
	block->json_len = len;
	return block;
}

/* The number of an instance; SSE_SLOT_NONE: its updates are not coalesced. */
static uint32_t slot_of(struct sse *s, const char *id)
{
	struct sse_slot *slot;

	HASH_FIND_STR(s->slots, id, slot);
	if (slot != NULL)
		return slot->index;
	slot = s->free_slots;
	if (slot != NULL) {
		s->free_slots = slot->next_free;
	} else {
		if (s->nslots >= SSE_SLOTS_MAX)
			return SSE_SLOT_NONE;
		slot = np_calloc(1, sizeof(*slot));
		if (slot == NULL)
			return SSE_SLOT_NONE;
		slot->index = s->nslots++;
	}
	(void)snprintf(slot->id, sizeof(slot->id), "%s", id);
	HASH_ADD_STR(s->slots, id, slot);
	if (slot->hh.tbl != NULL)
		return slot->index;
	slot->next_free = s->free_slots;
	s->free_slots = slot;
	return SSE_SLOT_NONE;
}

static void give_slot_back(struct sse *s, const char *id)
{
	struct sse_slot *slot;

	HASH_FIND_STR(s->slots, id, slot);
	if (slot == NULL)
		return;
	HASH_DEL(s->slots, slot);
	slot->next_free = s->free_slots;
	s->free_slots = slot;
}

void sse_publish(struct sse *s, enum sse_type type, const char *id, const void *json, size_t len,
		 const char *logs)
{
	struct sse_block *b = make_block(s, type, id, json, json == NULL ? 0 : len, logs);
	struct sse_reader *rd;

	if (b == NULL) {
		if (s->scratch.err == NP_ELIMIT || type == SSE_LOG || type == SSE_UPDATE)
			return;
		/* They come again and get all of it in the opening. */
		DL_FOREACH (s->readers, rd) {
			rd->doomed = true;
			sse_reader_mark(rd);
		}
		return;
	}
	s->figures.events++;
	b->seq = s->seq;
	if (type != SSE_SHUTDOWN) { /* meant for those who are here now, not for who returns */
		b->seq = ++s->seq;
		if (id != NULL && id[0] != '\0')
			b->slot = slot_of(s, id);
		sse_ring_put(&s->ring, b);
	}
	DL_FOREACH (s->readers, rd)
		sse_reader_push(rd, b);
	if (type == SSE_DELETE && id != NULL)
		give_slot_back(s, id);
	sse_block_unref(b);
}

void sse_open(struct sse *s, struct http_req *r)
{
	if (s->nreaders >= SSE_SUBSCRIBERS_MAX) {
		http_reply_error(r, 503, "Service Unavailable: %u event streams are open",
				 s->nreaders);
		return;
	}
	(void)sse_reader_new(s, r);
}

static void sse_on_flush(evutil_socket_t fd, short what, void *arg)
{
	struct sse *s = arg;
	size_t sent = 0;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(s, SSE_MAGIC);
	/* Kept set: what is marked from inside of the loop is looked at by the loop. */
	while (s->dirty != NULL && sent < SSE_PASS_MAX) {
		struct sse_reader *rd = s->dirty;

		DL_DELETE2(s->dirty, rd, dprev, dnext);
		rd->dirty = false;
		sent += sse_reader_pump(rd);
	}
	s->flush_set = false;
	if (s->dirty != NULL)
		sse_reader_mark(s->dirty);
}

static void sse_on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct sse *s = arg;
	struct np_mono now = np_mono_now();
	struct sse_reader *rd, *tmp;
	bool ping;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(s, SSE_MAGIC);
	if (s->opening != NULL && np_mono_diff_ms(now, s->opening->made) >= SSE_OPENING_MS)
		sse_opening_forget(s);
	ping = np_mono_diff_ms(now, s->pinged) >= s->ping_ms;
	if (ping)
		s->pinged = now;
	DL_FOREACH_SAFE (s->readers, rd, tmp)
		sse_reader_sweep(rd, now, ping);
}

void sse_set_times(struct sse *s, int stall_ms, int ping_ms)
{
	/* 1 ms is left to the timer's own blur. */
	struct timeval tv = tv_of_ms((stall_ms < ping_ms ? stall_ms : ping_ms) / 3 + 1);

	s->stall_ms = stall_ms;
	s->ping_ms = ping_ms;
	s->pinged = np_mono_now();
	(void)event_add(s->sweep, &tv);
}

/* All who were to end are gone: their last chunks may still be in buffers. */
static void say_ended_soon(struct sse *s)
{
	struct timeval tv = tv_of_ms(SSE_FAREWELL_MS);

	(void)event_add(s->end, &tv);
}

void sse_reader_gone(struct sse *s, bool was_ending)
{
	if (was_ending && --s->nending == 0)
		say_ended_soon(s);
}

static void say_ended(struct sse *s)
{
	void (*fn)(void *arg) = s->on_ended;

	s->on_ended = NULL;
	if (fn != NULL)
		fn(s->ended_arg);
}

static void sse_on_end(evutil_socket_t fd, short what, void *arg)
{
	struct sse *s = arg;
	struct sse_reader *rd, *tmp;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(s, SSE_MAGIC);
	DL_FOREACH_SAFE (s->readers, rd, tmp) {
		if (rd->ending)
			sse_reader_abort(rd);
	}
	(void)event_del(s->end);
	say_ended(s);
}

void sse_end_all(struct sse *s, void (*done)(void *arg), void *arg)
{
	struct timeval tv = tv_of_ms(SSE_END_MS);
	struct sse_reader *rd;

	say_ended(s); /* of an earlier call: these readers are waited for with the others now */
	s->on_ended = done;
	s->ended_arg = arg;
	sse_opening_forget(s); /* it may show the old key, of which there is no event */
	DL_FOREACH (s->readers, rd)
		sse_reader_skip_opening(rd);
	sse_publish(s, SSE_SHUTDOWN, NULL, NULL, 0, NULL);
	DL_FOREACH (s->readers, rd) {
		if (!rd->ending)
			s->nending++;
		rd->ending = true;
		sse_reader_mark(rd);
	}
	(void)event_add(s->end, &tv);
	if (s->nending == 0)
		say_ended_soon(s);
}

bool sse_has_readers(const struct sse *s)
{
	return s->nreaders > 0;
}

void sse_figures(const struct sse *s, struct sse_figures *out)
{
	*out = s->figures;
	out->subscribers = s->nreaders;
}

static enum np_err make_boot(char out[SSE_BOOT_LEN + 1])
{
	uint8_t bytes[SSE_BOOT_LEN / 2];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return NP_ECRYPTO;
	np_format_hex(bytes, sizeof(bytes), out);
	return NP_OK;
}

enum np_err sse_new(struct event_base *base, sse_initial_fn initial, void *arg, struct sse **out)
{
	struct sse *s = np_calloc(1, sizeof(*s));
	enum np_err err = NP_ENOMEM;

	if (s == NULL)
		return NP_ENOMEM;
	s->magic = SSE_MAGIC;
	s->base = base;
	s->initial = initial;
	s->arg = arg;
	sse_ring_init(&s->ring, SSE_RING_BYTES);
	np_buf_init(&s->scratch, SSE_BLOCK_MAX - SSE_ID_TEXT_MAX - 8);
	np_buf_init(&s->out, SSE_MARK + 2 * SSE_BLOCK_MAX + 1024);
	s->flush = evtimer_new(base, sse_on_flush, s);
	s->sweep = event_new(base, -1, EV_PERSIST, sse_on_sweep, s);
	s->end = evtimer_new(base, sse_on_end, s);
	if (s->flush == NULL || s->sweep == NULL || s->end == NULL)
		goto fail;
	err = make_boot(s->boot);
	if (err != NP_OK)
		goto fail;
	sse_set_times(s, SSE_STALL_MS, SSE_PING_MS);
	*out = s;
	return NP_OK;
fail:
	sse_free(s);
	return err;
}

static void free_slots(struct sse *s)
{
	struct sse_slot *slot, *tmp;

	HASH_ITER (hh, s->slots, slot, tmp) {
		HASH_DEL(s->slots, slot);
		np_free(slot);
	}
	while (s->free_slots != NULL) {
		slot = s->free_slots;
		s->free_slots = slot->next_free;
		np_free(slot);
	}
}

void sse_free(struct sse *s)
{
	if (s == NULL)
		return;
	while (s->readers != NULL)
		sse_reader_abort(s->readers);
	sse_opening_forget(s);
	sse_ring_release(&s->ring);
	free_slots(s);
	if (s->flush != NULL)
		event_free(s->flush);
	if (s->sweep != NULL)
		event_free(s->sweep);
	if (s->end != NULL)
		event_free(s->end);
	np_buf_wipe(&s->scratch);
	np_buf_wipe(&s->out);
	s->magic = 0;
	np_free(s);
}
