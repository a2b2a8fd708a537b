/*
 * newcomer.c - the first bytes, the TLS handshake and the deadlines of connections to the tunnel
 * port.
 */
#include "newcomer.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "core/compat1.h"
#include "core/sniff.h"
#include "runtime.h"
#include "tls_files.h"

#include <string.h>
#include <unistd.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#define TICK_MS 100
#define FOREIGN "it does not speak this protocol"

/* How many unauthenticated connections a source (/32, /64) has. */
struct newcomer_source {
	uint64_t key;
	unsigned n;
	bool known;
	struct newcomer *newcomers; /* oldest first */
	UT_hash_handle hh;
};

static void newcomer_release(struct grave *g)
{
	struct newcomer *nc = (struct newcomer *)((char *)g - offsetof(struct newcomer, grave));

	nc->magic = 0;
	np_free(nc);
}

void newcomer_detach(struct newcomer *nc)
{
	if (nc->ev_added)
		event_del(&nc->ev);
	nc->ev_added = false;
	if (nc->is_ready)
		DL_DELETE2(nc->server->ready[nc->known], nc, rprev, rnext);
	nc->is_ready = false;
}

/* false: out of memory */
static bool source_count(struct server *sv, struct newcomer *nc)
{
	struct newcomer_source *src = NULL;

	HASH_FIND(hh, sv->sources, &nc->source, sizeof(nc->source), src);
	if (src == NULL) {
		src = np_calloc(1, sizeof(*src));
		if (src == NULL)
			return false;
		src->key = nc->source;
		HASH_ADD(hh, sv->sources, key, sizeof(src->key), src);
		if (src->hh.tbl == NULL) {
			np_free(src);
			return false;
		}
	}
	if (src->known != nc->known)
		sv->nunknown = nc->known ? sv->nunknown - src->n : sv->nunknown + src->n;
	src->known = nc->known;
	src->n++;
	sv->nunknown += !src->known;
	nc->src = src;
	DL_APPEND2(src->newcomers, nc, sprev, snext);
	return true;
}

static void source_uncount(struct server *sv, struct newcomer *nc)
{
	struct newcomer_source *src = nc->src;

	DL_DELETE2(src->newcomers, nc, sprev, snext);
	nc->src = NULL;
	sv->nunknown -= !src->known;
	if (--src->n > 0)
		return;
	HASH_DEL(sv->sources, src);
	np_free(src);
}

void newcomer_leave(struct newcomer *nc)
{
	if (nc->dead)
		return;
	nc->dead = true;
	newcomer_detach(nc);
	DL_DELETE(nc->server->newcomers, nc);
	nc->server->nnewcomers--;
	source_uncount(nc->server, nc);
	stream_close(&nc->stream, true);
	np_buf_release(&nc->line);
	control_close(nc->control, true);
	nc->control = NULL;
	worker_bury(nc->server->inst->home, &nc->grave);
}

/* A stranger costs no more than it must: its address becomes a text only where one is shown. */
static void say_closed(struct instance *inst, const struct np_addr *addr, const char *why)
{
	char name[NP_ADDR_TEXT_MAX];

	if (!np_log_enabled(instance_log_level(inst), NP_LOG_DEBUG))
		return;
	np_addr_format(addr, name);
	INSTANCE_LOG(inst, DEBUG, "connection to the tunnel port closed: %s peer=%s", why, name);
}

static void count_stranger(struct server *sv)
{
	counter_add(&instance_shard(sv->inst, sv->inst->home)->counters, COUNTER_STRANGERS, 1);
}

void newcomer_close(struct newcomer *nc, const char *why, bool known)
{
	struct instance *inst = nc->server->inst;

	if (nc->dead)
		return;
	say_closed(inst, &nc->addr, why);
	if (!known)
		count_stranger(nc->server);
	newcomer_leave(nc);
}

/* -- caps -- */

static bool source_is_known(const struct server *sv, uint64_t source)
{
	const struct peer *p;

	DL_FOREACH (sv->inst->pool.peers, p)
		if (p->source == source && p->state != NP_PEER_ENDED)
			return true;
	return false;
}

/*
 * Room for a new one: the oldest connection of the source that has most of them goes. Sources
 * without a live session share half of the places.
 */
static void newcomer_evict(struct server *sv)
{
	bool unknown_only = sv->nunknown > NEWCOMERS_MAX / 2;
	struct newcomer_source *src, *next, *most = NULL;

	if (!unknown_only && sv->nnewcomers <= NEWCOMERS_MAX)
		return;
	HASH_ITER (hh, sv->sources, src, next)
		if ((!unknown_only || !src->known) && (most == NULL || src->n > most->n))
			most = src;
	if (most != NULL)
		newcomer_close(most->newcomers, "too many unauthenticated connections", false);
}

/* -- steps -- */

static void newcomer_ready(struct newcomer *nc)
{
	if (nc->is_ready || nc->dead)
		return;
	nc->is_ready = true;
	DL_APPEND2(nc->server->ready[nc->known], nc, rprev, rnext);
	worker_defer(nc->server->inst->home, &nc->server->task);
}

static void newcomer_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct newcomer *nc = arg;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(nc, NEWCOMER_MAGIC);
	newcomer_ready(nc);
}

/* For @what, edge-triggered; false: closed, there was no memory. */
static bool newcomer_watch(struct newcomer *nc, short what)
{
	if (nc->ev_added)
		event_del(&nc->ev);
	nc->ev_added =
	    event_assign(&nc->ev, nc->server->inst->home->base, nc->stream.fd,
			 (short)(what | EV_ET | EV_PERSIST), newcomer_on_event, nc) == 0 &&
	    event_add(&nc->ev, NULL) == 0;
	if (!nc->ev_added)
		newcomer_close(nc, "out of memory", false);
	return nc->ev_added;
}

/* A client of ours that ca= does not let in: its owner needs to know. */
static void say_certificate(const struct newcomer *nc)
{
	char name[NP_ADDR_TEXT_MAX];
	struct np_diag why;

	if (!tls_client_refused(nc->stream.ssl, &why))
		return;
	np_addr_format(&nc->addr, name);
	server_say_refused(nc->server->inst, why.text, name);
}

static void step_tls(struct newcomer *nc)
{
	char why[128];

	switch (stream_handshake(&nc->stream)) {
	case STREAM_AGAIN:
		return;
	case STREAM_EOF:
	case STREAM_FAILED:
		say_certificate(nc);
		newcomer_close(nc, stream_handshake_error(&nc->stream, why, sizeof(why)), false);
		return;
	case STREAM_OK:
		break;
	}
	switch (tls_alpn(nc->stream.ssl)) {
	case TLS_NO_ALPN:
		newcomer_close(nc, "TLS without ALPN", false);
		break;
	case TLS_CONTROL:
		newcomer_detach(nc);
		server_hello(nc);
		break;
	case TLS_DATA:
		if (instance_cfg(nc->server->inst)->tls == 0) {
			newcomer_close(nc, "TLS data channel, plain ones were announced", false);
			break;
		}
		nc->nfirst = 0;
		nc->state = NEWCOMER_PREAMBLE;
		newcomer_ready(nc);
		break;
	}
}

static void begin_tls(struct newcomer *nc)
{
	SSL *ssl = SSL_new(tls_files_ctx(nc->server->inst->tls_files));
	int fd = nc->stream.fd;

	if (ssl == NULL || stream_init_tls(&nc->stream, fd, ssl, nc->first, nc->nfirst) != NP_OK) {
		SSL_free(ssl);
		newcomer_close(nc, "out of memory", false);
		return;
	}
	SSL_set_accept_state(ssl);
	nc->state = NEWCOMER_TLS;
	if (newcomer_watch(nc, EV_READ | EV_WRITE)) /* so far it was for reading alone */
		step_tls(nc);
}

/* false: not complete yet, or closed */
static bool read_first(struct newcomer *nc)
{
	size_t n = 0;

	while (nc->nfirst < NP_PREAMBLE_LEN) {
		switch (stream_read(&nc->stream, nc->first + nc->nfirst,
				    NP_PREAMBLE_LEN - nc->nfirst, &n)) {
		case STREAM_OK:
			nc->nfirst += n;
			if (nc->state == NEWCOMER_FIRST)
				return true;
			break;
		case STREAM_AGAIN:
			return false;
		case STREAM_EOF:
		case STREAM_FAILED:
			newcomer_close(nc, "it went away", false);
			return false;
		}
	}
	return true;
}

/* It will be back in a few seconds, and needs to be told only once. */
static void say_compat1(struct newcomer *nc)
{
	struct server *sv = nc->server;
	struct np_mono now = np_mono_now();
	char name[NP_ADDR_TEXT_MAX];

	if (sv->compat1_source == nc->source &&
	    np_mono_diff_ms(now, sv->compat1_at) < COMPAT1_SAY_MS)
		return;
	sv->compat1_source = nc->source;
	sv->compat1_at = now;
	np_addr_format(&nc->addr, name);
	server_say_refused(sv->inst, "it speaks NodePass 1.x, which only compat=1 serves", name);
}

/* NP_OK, NP_EAGAIN, NP_EPROTO as np_compat1_first_line with this server's key. */
static enum np_err line_check(const struct np_config *cfg, const uint8_t *p, size_t n)
{
	char derived[NP_COMPAT1_KEY_LEN + 1];

	if (cfg->key_given)
		return np_compat1_first_line(p, n, cfg->key, cfg->key_len);
	np_compat1_port_key(cfg->tunnel.port, derived);
	return np_compat1_first_line(p, n, derived, NP_COMPAT1_KEY_LEN);
}

/* What is in nc->line so far. */
static void judge_line(struct newcomer *nc)
{
	enum np_err err = nc->line.err;

	if (err == NP_OK)
		err = line_check(instance_cfg(nc->server->inst), np_buf_ptr(&nc->line),
				 np_buf_len(&nc->line));
	if (err == NP_EAGAIN)
		return;
	if (err == NP_OK)
		say_compat1(nc);
	newcomer_close(nc, err == NP_OK ? "it speaks NodePass 1.x" : FOREIGN, false);
}

static void begin_line(struct newcomer *nc)
{
	nc->state = NEWCOMER_LINE;
	np_buf_put(&nc->line, nc->first, nc->nfirst);
	judge_line(nc);
}

static void step_line(struct newcomer *nc)
{
	uint8_t buf[512];
	size_t n = 0;

	while (!nc->dead) {
		switch (stream_read(&nc->stream, buf, sizeof(buf), &n)) {
		case STREAM_OK:
			np_buf_put(&nc->line, buf, n);
			judge_line(nc);
			break;
		case STREAM_AGAIN:
			return;
		case STREAM_EOF:
		case STREAM_FAILED:
			newcomer_close(nc, "it went away", false);
			return;
		}
	}
}

static void step_first(struct newcomer *nc)
{
	if (nc->nfirst == 0 && !read_first(nc))
		return;
	switch (np_sniff_tunnel(nc->first, nc->nfirst, instance_cfg(nc->server->inst)->tls == 0)) {
	case NP_TUNNEL_TLS:
		begin_tls(nc);
		break;
	case NP_TUNNEL_PREAMBLE:
		nc->state = NEWCOMER_PREAMBLE;
		newcomer_ready(nc);
		break;
	case NP_TUNNEL_LINE:
		begin_line(nc);
		if (!nc->dead)
			newcomer_ready(nc);
		break;
	case NP_TUNNEL_NONE:
		newcomer_close(nc, FOREIGN, false);
		break;
	}
}

static void newcomer_step(struct newcomer *nc)
{
	switch (nc->state) {
	case NEWCOMER_FIRST:
		step_first(nc);
		break;
	case NEWCOMER_LINE:
		step_line(nc);
		break;
	case NEWCOMER_TLS:
		step_tls(nc);
		break;
	case NEWCOMER_PREAMBLE:
		if (read_first(nc))
			server_preamble(nc);
		break;
	case NEWCOMER_AUTH:
	case NEWCOMER_PROOF:
	case NEWCOMER_REJECT:
		break;
	}
}

void newcomer_run_ready(struct worker *w, struct task *t)
{
	struct server *sv = (struct server *)((char *)t - offsetof(struct server, task));

	for (int i = 0; i < HANDSHAKE_STEPS && (sv->ready[0] != NULL || sv->ready[1] != NULL);
	     i++) {
		/* Sources with a live session come first, and leave strangers the last step. */
		bool known =
		    sv->ready[0] == NULL || (sv->ready[1] != NULL && i < HANDSHAKE_STEPS - 1);
		struct newcomer *nc = sv->ready[known];

		DL_DELETE2(sv->ready[known], nc, rprev, rnext);
		nc->is_ready = false;
		newcomer_step(nc);
	}
	if (sv->ready[0] != NULL || sv->ready[1] != NULL)
		worker_defer(w, &sv->task);
}

void newcomer_tick(struct server *sv)
{
	struct newcomer *nc, *next;
	struct np_mono now = np_mono_now();
	const struct timeval tv = {.tv_usec = TICK_MS * 1000};

	DL_FOREACH_SAFE (sv->newcomers, nc, next) {
		if (np_mono_before(now, nc->deadline))
			continue;
		if (nc->state == NEWCOMER_REJECT) {
			struct np_msg m = {.kind = NP_MSG_REJECT,
					   .reject = {.reason = NP_REJECT_AUTH}};

			control_send(nc->control, &m);
			control_close(nc->control, false);
			nc->control = NULL;
			newcomer_close(nc, "rejected", true);
		} else {
			newcomer_close(nc, "it did not authenticate in time", false);
		}
	}
	if (sv->newcomers != NULL)
		evtimer_add(sv->tick, &tv);
}

/*
 * The first bytes have mostly come with the connection. What cannot become anything is closed here
 * and now: it has cost an accept, a read and a close, no memory, no event and no place in a queue.
 */
static bool is_foreign(const struct server *sv, const uint8_t *p, size_t n)
{
	const struct np_config *cfg = instance_cfg(sv->inst);

	switch (np_sniff_tunnel(p, n, cfg->tls == 0)) {
	case NP_TUNNEL_TLS:
	case NP_TUNNEL_PREAMBLE:
		return false;
	case NP_TUNNEL_LINE:
		return line_check(cfg, p, n) == NP_EPROTO;
	case NP_TUNNEL_NONE:
		break;
	}
	return true;
}

/* false: it was a stranger, and is closed */
static bool first_look(struct server *sv, struct stream *s, const struct np_addr *addr,
		       uint8_t first[NP_PREAMBLE_LEN], size_t *n)
{
	const char *why = "it went away";

	switch (stream_read(s, first, NP_PREAMBLE_LEN, n)) {
	case STREAM_AGAIN:
		return true;
	case STREAM_OK:
		if (!is_foreign(sv, first, *n))
			return true;
		why = FOREIGN;
		break;
	case STREAM_EOF:
	case STREAM_FAILED:
		break;
	}
	say_closed(sv->inst, addr, why);
	count_stranger(sv);
	stream_close(s, true);
	return false;
}

static struct newcomer *newcomer_new(struct server *sv, struct stream *s,
				     const struct np_addr *addr)
{
	struct newcomer *nc = np_calloc(1, sizeof(*nc));

	if (nc == NULL)
		return NULL;
	nc->magic = NEWCOMER_MAGIC;
	nc->grave.release = newcomer_release;
	nc->server = sv;
	np_buf_init(&nc->line, NP_COMPAT1_LINE_MAX + 512);
	nc->addr = *addr;
	np_addr_unmap(&nc->addr);
	nc->source = np_addr_source_key(&nc->addr);
	nc->known = source_is_known(sv, nc->source);
	nc->accepted = np_mono_now();
	nc->deadline = np_mono_add_ms(nc->accepted, runtime.env.handshake_timeout_ms);
	if (!source_count(sv, nc)) {
		np_free(nc);
		return NULL;
	}
	stream_move(&nc->stream, s);
	return nc;
}

void newcomer_accept(void *server, int fd, const struct np_addr *addr)
{
	struct server *sv = server;
	struct newcomer *nc;
	struct stream s;
	uint8_t first[NP_PREAMBLE_LEN];
	size_t n = 0;
	const struct timeval tv = {.tv_usec = TICK_MS * 1000};

	stream_init(&s, fd);
	if (!first_look(sv, &s, addr, first, &n))
		return;
	nc = newcomer_new(sv, &s, addr);
	if (nc == NULL) {
		stream_close(&s, true);
		return;
	}
	memcpy(nc->first, first, n);
	nc->nfirst = n;
	DL_APPEND(sv->newcomers, nc);
	sv->nnewcomers++;
	/* Writable it is at once: waiting for that would wake us for nothing. */
	if (!newcomer_watch(nc, EV_READ))
		return;
	if (n > 0)
		newcomer_ready(nc);
	newcomer_evict(sv);
	if (!evtimer_pending(sv->tick, NULL))
		evtimer_add(sv->tick, &tv);
}
