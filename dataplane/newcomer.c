/*
 * newcomer.c - the first bytes, the TLS handshake and the deadlines of connections to the tunnel
 * port.
 */
#include "newcomer.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "core/compat1.h"
#include "runtime.h"
#include "tls_files.h"

#include <string.h>
#include <unistd.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#define TICK_MS 100

/* How many unauthenticated connections a source (/32, /64) has. */
struct newcomer_source {
	uint64_t key;
	unsigned n;
	bool known;
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
		DL_DELETE2(nc->server->ready, nc, rprev, rnext);
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
	return true;
}

static void source_uncount(struct server *sv, const struct newcomer *nc)
{
	struct newcomer_source *src = NULL;

	HASH_FIND(hh, sv->sources, &nc->source, sizeof(nc->source), src);
	if (src == NULL)
		return;
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

void newcomer_close(struct newcomer *nc, const char *why, bool known)
{
	struct instance *inst = nc->server->inst;
	char name[NP_ADDR_TEXT_MAX];

	if (nc->dead)
		return;
	np_addr_format(&nc->addr, name);
	INSTANCE_LOG(inst, DEBUG, "connection to the tunnel port closed: %s peer=%s", why, name);
	if (!known)
		counter_add(&instance_shard(inst, inst->home)->counters, COUNTER_STRANGERS, 1);
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
	struct newcomer *nc;

	if (!unknown_only && sv->nnewcomers <= NEWCOMERS_MAX)
		return;
	HASH_ITER (hh, sv->sources, src, next)
		if ((!unknown_only || !src->known) && (most == NULL || src->n > most->n))
			most = src;
	if (most == NULL)
		return;
	DL_FOREACH (sv->newcomers, nc)
		if (nc->source == most->key)
			break;
	if (nc != NULL)
		newcomer_close(nc, "too many unauthenticated connections", false);
}

/* -- steps -- */

static void newcomer_ready(struct newcomer *nc)
{
	if (nc->is_ready || nc->dead)
		return;
	nc->is_ready = true;
	DL_APPEND2(nc->server->ready, nc, rprev, rnext);
	worker_defer(nc->server->inst->home, &nc->server->task);
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

/* What is in nc->line so far. */
static void judge_line(struct newcomer *nc)
{
	const struct np_config *cfg = instance_cfg(nc->server->inst);
	char derived[NP_COMPAT1_KEY_LEN + 1];
	const char *key = cfg->key;
	size_t len = cfg->key_len;
	enum np_err err = nc->line.err;

	if (!cfg->key_given) {
		np_compat1_port_key(cfg->tunnel.port, derived);
		key = derived;
		len = NP_COMPAT1_KEY_LEN;
	}
	if (err == NP_OK)
		err = np_compat1_first_line(np_buf_ptr(&nc->line), np_buf_len(&nc->line), key, len);
	if (err == NP_EAGAIN)
		return;
	if (err == NP_OK)
		say_compat1(nc);
	newcomer_close(
	    nc, err == NP_OK ? "it speaks NodePass 1.x" : "it does not speak this protocol", false);
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
	if (!read_first(nc))
		return;
	if (nc->first[0] == 0x16) {
		begin_tls(nc);
	} else if (nc->first[0] != 'N' || instance_cfg(nc->server->inst)->tls != 0) {
		begin_line(nc);
		if (!nc->dead)
			newcomer_ready(nc);
	} else {
		nc->state = NEWCOMER_PREAMBLE;
		newcomer_ready(nc);
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

	for (int i = 0; i < HANDSHAKE_STEPS && sv->ready != NULL; i++) {
		struct newcomer *nc = sv->ready;

		DL_DELETE2(sv->ready, nc, rprev, rnext);
		nc->is_ready = false;
		newcomer_step(nc);
	}
	if (sv->ready != NULL)
		worker_defer(w, &sv->task);
}

static void newcomer_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct newcomer *nc = arg;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(nc, NEWCOMER_MAGIC);
	newcomer_ready(nc);
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

void newcomer_accept(void *server, int fd, const struct np_addr *addr)
{
	struct server *sv = server;
	struct newcomer *nc;
	const struct timeval tv = {.tv_usec = TICK_MS * 1000};

	nc = np_calloc(1, sizeof(*nc));
	if (nc == NULL) {
		close(fd);
		return;
	}
	nc->magic = NEWCOMER_MAGIC;
	nc->grave.release = newcomer_release;
	nc->server = sv;
	np_buf_init(&nc->line, NP_COMPAT1_LINE_MAX + 512);
	nc->addr = *addr;
	np_addr_unmap(&nc->addr);
	nc->source = np_addr_source_key(&nc->addr);
	nc->accepted = np_mono_now();
	nc->deadline = np_mono_add_ms(nc->accepted, runtime.env.handshake_timeout_ms);
	stream_init(&nc->stream, fd);
	nc->known = source_is_known(sv, nc->source);
	if (!source_count(sv, nc)) {
		stream_close(&nc->stream, true);
		np_free(nc);
		return;
	}
	DL_APPEND(sv->newcomers, nc);
	sv->nnewcomers++;
	if (event_assign(&nc->ev, sv->inst->home->base, fd, EV_READ | EV_WRITE | EV_ET | EV_PERSIST,
			 newcomer_on_event, nc) != 0 ||
	    event_add(&nc->ev, NULL) != 0) {
		newcomer_close(nc, "out of memory", false);
		return;
	}
	nc->ev_added = true;
	newcomer_evict(sv);
	if (!evtimer_pending(sv->tick, NULL))
		evtimer_add(sv->tick, &tv);
}
