/*
 * auth.c - comparing keys in constant time, and the answers to wrong ones that wait.
 */
#include "auth.h"

#include "base/alloc.h"
#include "base/mono.h"
#include "core/addr.h"

#include <uthash.h>
#include <utlist.h>

#include <string.h>
#include <strings.h>

#include "base/banned.h"

#define KEY_MAX 256 /* longer ones are wrong */

struct source {
	uint64_t key;
	struct np_mono next; /* its next wrong key is answered no earlier */
	UT_hash_handle hh;
};

struct late {
	struct late *prev, *next; /* auth->late */
	struct auth *auth;
	struct http_req *req;
	struct event *timer;
};

struct auth {
	struct event_base *base;
	struct source *sources;
	struct late *late;
	unsigned waiting;
};

enum np_err auth_new(struct event_base *base, struct auth **out)
{
	struct auth *a = np_calloc(1, sizeof(*a));

	if (a == NULL)
		return NP_ENOMEM;
	a->base = base;
	*out = a;
	return NP_OK;
}

static void late_free(struct late *l)
{
	DL_DELETE(l->auth->late, l);
	l->auth->waiting--;
	if (l->timer != NULL)
		event_free(l->timer);
	np_free(l);
}

static void source_free(struct auth *a, struct source *s)
{
	HASH_DEL(a->sources, s);
	np_free(s);
}

void auth_free(struct auth *a)
{
	struct source *s, *next;

	if (a == NULL)
		return;
	while (a->late != NULL)
		late_free(a->late);
	HASH_ITER (hh, a->sources, s, next)
		source_free(a, s);
	np_free(a);
}

/* The time depends on the length of what the client sent only. */
static bool is_same(const char *given, size_t len, const char *key)
{
	unsigned char padded[KEY_MAX] = {0}, diff = 0;
	size_t key_len = key != NULL ? strlen(key) : 0;

	if (key_len == 0 || key_len > KEY_MAX || len > KEY_MAX)
		return false;
	memcpy(padded, key, key_len);
	for (size_t i = 0; i < len; i++)
		diff |= (unsigned char)(padded[i] ^ (unsigned char)given[i]);
	explicit_bzero(padded, sizeof(padded));
	return diff == 0 && len == key_len;
}

static void answer_wrong(struct http_req *r)
{
	http_reply_error(r, 401, "Unauthorized: Invalid API key");
}

static void late_on_time(evutil_socket_t fd, short what, void *arg)
{
	struct late *l = arg;
	struct http_req *r = l->req;

	(void)fd;
	(void)what;
	late_free(l);
	answer_wrong(r);
}

static void late_on_gone(struct http_req *r, void *arg)
{
	(void)r;
	late_free(arg);
}

/* Sources whose time is over are forgotten when the table is full. */
static void sources_expire(struct auth *a, struct np_mono now)
{
	struct source *s, *next;

	HASH_ITER (hh, a->sources, s, next) {
		if (!np_mono_before(now, s->next))
			source_free(a, s);
	}
}

/* How long the answer to a wrong key from @peer waits. */
static int64_t delay_of(struct auth *a, const char *peer)
{
	struct np_mono now = np_mono_now(), at = np_mono_add_ms(now, AUTH_DELAY_MS);
	struct np_addr addr;
	struct source *s;
	uint64_t key;

	if (!np_addr_from_literal(peer, 1, &addr))
		return AUTH_DELAY_MS;
	np_addr_unmap(&addr);
	key = np_addr_source_key(&addr);
	HASH_FIND(hh, a->sources, &key, sizeof(key), s);
	if (s == NULL) {
		if (HASH_COUNT(a->sources) >= AUTH_SOURCES_MAX)
			sources_expire(a, now);
		if (HASH_COUNT(a->sources) >= AUTH_SOURCES_MAX)
			return AUTH_DELAY_MAX_MS;
		s = np_calloc(1, sizeof(*s));
		if (s == NULL)
			return AUTH_DELAY_MAX_MS;
		s->key = key;
		HASH_ADD(hh, a->sources, key, sizeof(s->key), s);
	}
	if (np_mono_is_set(s->next) && np_mono_before(now, s->next))
		at = np_mono_add_ms(s->next, AUTH_DELAY_MS);
	if (np_mono_diff_ms(at, now) > AUTH_DELAY_MAX_MS)
		at = np_mono_add_ms(now, AUTH_DELAY_MAX_MS);
	s->next = at;
	return np_mono_diff_ms(at, now);
}

static void refuse(struct auth *a, struct http_req *r)
{
	int64_t ms = delay_of(a, http_req_peer(r));
	struct timeval wait = {ms / 1000, (ms % 1000) * 1000};
	struct late *l = a->waiting < AUTH_WAITING_MAX ? np_calloc(1, sizeof(*l)) : NULL;

	if (l == NULL) {
		answer_wrong(r);
		return;
	}
	l->auth = a;
	l->req = r;
	DL_APPEND(a->late, l);
	a->waiting++;
	l->timer = event_new(a->base, -1, 0, late_on_time, l);
	if (l->timer == NULL || event_add(l->timer, &wait) != 0) {
		late_free(l);
		answer_wrong(r);
		return;
	}
	http_req_drop_body(r);
	http_req_on_gone(r, late_on_gone, l);
}

/* What the client gave as its key. Collectors of measurements (@other) know Bearer only. */
static const char *given_key(const struct http_req *r, const char *other)
{
	const char *given = http_req_header(r, "X-API-Key");
	const char *bearer = other != NULL ? http_req_header(r, "Authorization") : NULL;

	if (given == NULL && bearer != NULL && strncasecmp(bearer, "Bearer ", 7) == 0)
		given = bearer + 7;
	return given != NULL ? given + strspn(given, " \t") : "";
}

bool auth_check(struct auth *a, struct http_req *r, const char *key, const char *other)
{
	const char *given = given_key(r, other);
	size_t len = strlen(given);

	while (len > 0 && (given[len - 1] == ' ' || given[len - 1] == '\t'))
		len--;
	if (len == 0) {
		http_reply_error(r, 401, "Unauthorized: API key required");
		return false;
	}
	/* Both are always compared: which one it was must not show in the time. */
	if ((int)is_same(given, len, key) | (int)is_same(given, len, other))
		return true;
	refuse(a, r);
	return false;
}
