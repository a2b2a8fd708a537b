/*
 * instance.c - an instance from URL to listening, and its way out. What it does meanwhile is in
 * server.c, client.c, single.c, pool.c, peer.c.
 */
#include "instance.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "channel.h"
#include "client.h"
#include "listener.h"
#include "maker.h"
#include "report.h"
#include "runtime.h"
#include "server.h"
#include "session.h"
#include "shard.h"
#include "single.h"
#include "tls_files.h"
#include "udp.h"
#include "visitor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

/* -- state -- */

static void set_state(struct instance *inst, enum instance_state state)
{
	if (inst->state == state)
		return;
	inst->state = state;
	if (inst->on_state != NULL)
		inst->on_state(inst, inst->on_state_arg);
}

void instance_failed(struct instance *inst, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* Whose the address is knows the registry: it says the line then. */
	if (!inst->controlled || inst->taken == TAKEN_NONE || inst->state == INSTANCE_ERROR)
		INSTANCE_LOG(inst, ERROR, "%s", text);
	if (inst->state == INSTANCE_ERROR) /* others read it from then on */
		return;
	inst->error = np_strdup(text);
	set_state(inst, INSTANCE_ERROR);
}

/* A parameter given at the end where it has no effect is mentioned, once. */
static void warn_wrong_end(struct instance *inst)
{
	for (int i = 0; i < NP_PARAM_COUNT; i++) {
		enum np_param p = (enum np_param)i;
		enum np_end end = np_param_end(p);

		if (!instance_cfg(inst)->given[p] ||
		    (instance_cfg(inst)->inert & (UINT64_C(1) << i)) != 0)
			continue;
		if (end == NP_END_INGRESS && !instance_is_ingress(inst))
			INSTANCE_LOG(inst, WARN,
				     "%s= has no effect here: it acts where visitors arrive",
				     np_param_name(p));
		else if (end == NP_END_EGRESS && !instance_is_egress(inst))
			INSTANCE_LOG(inst, WARN,
				     "%s= has no effect here: it acts where the target is dialled",
				     np_param_name(p));
	}
}

void instance_set_running(struct instance *inst)
{
	if (inst->state != INSTANCE_STARTING)
		return;
	warn_wrong_end(inst);
	if (inst->mode != MODE_CLIENT) { /* which may listen later, when it knows the flow */
		handed_free(inst->handed);
		inst->handed = NULL;
	}
	set_state(inst, INSTANCE_RUNNING);
}

bool instance_is_ingress(const struct instance *inst)
{
	return inst->mode == MODE_SINGLE || inst->mode == MODE_SERVER_REVERSE ||
	       (inst->mode == MODE_CLIENT && inst->flow == NP_FLOW_FORWARD);
}

bool instance_is_egress(const struct instance *inst)
{
	return inst->mode == MODE_SINGLE || inst->mode == MODE_SERVER_FORWARD ||
	       (inst->mode == MODE_CLIENT && inst->flow == NP_FLOW_REVERSE);
}

bool instance_slot_take(struct instance *inst)
{
	uint32_t slot = instance_cfg(inst)->slot;
	uint32_t before = atomic_fetch_add_explicit(&inst->sessions, 1, memory_order_relaxed);

	if (slot == 0 || before < slot)
		return true;
	atomic_fetch_sub_explicit(&inst->sessions, 1, memory_order_relaxed);
	return false;
}

void instance_slot_give(struct instance *inst)
{
	atomic_fetch_sub_explicit(&inst->sessions, 1, memory_order_relaxed);
}

uint32_t instance_pool_idle(const struct instance *inst)
{
	if (inst->mode == MODE_SINGLE)
		return inst->single != NULL ? single_idle(inst->single) : 0;
	return pool_idle_count(inst);
}

struct shard *instance_shard(struct instance *inst, struct worker *w)
{
	struct shard *sh = inst->shards[w->index];

	if (sh == NULL && !inst->stopping) {
		sh = shard_new(inst, w);
		inst->shards[w->index] = sh;
	}
	return sh;
}

/* -- making -- */

static enum np_err prepare(struct instance *inst, const struct instance_material *material,
			   struct np_diag *diag)
{
	const struct np_config *cfg = instance_cfg(inst);
	enum np_err err;

	if (cfg->role == NP_ROLE_SERVER) {
		err = tls_files_new(inst, TLS_FOR_TUNNEL, material, &inst->tls_files, diag);
		if (err == NP_OK)
			err = server_prepare(inst, material->has_auth ? &material->auth : NULL);
		return err;
	}
	/* tls on a client: for its visitors when it is single-end, a floor when it has a server. */
	if (cfg->tls > 0 && cfg->mode != 2 && (cfg->tls == 1 || cfg->crt != NULL)) {
		err = tls_files_new(inst, TLS_FOR_VISITORS, material, &inst->tls_files, diag);
		if (err != NP_OK)
			return err;
	}
	/* mode=0 may turn out to be single-end: then without the memory of a client. */
	if (cfg->mode == 1 || (cfg->mode == 0 && !client_new_blocks(cfg)))
		return NP_OK;
	return client_new(inst, material, &inst->client, diag);
}

bool instance_new_blocks(const struct np_config *cfg)
{
	return cfg->role == NP_ROLE_SERVER || cfg->tls > 0 ||
	       (cfg->mode != 1 && client_new_blocks(cfg));
}

enum np_err instance_new(const char *id, struct np_config *cfg,
			 const struct instance_material *material, struct worker *home,
			 struct instance **out, struct np_diag *diag)
{
	struct instance *inst = np_calloc(1, sizeof(*inst));
	struct settings *settings;
	enum np_err err;

	if (inst == NULL)
		return NP_ENOMEM;
	inst->shards = np_calloc(workers_count(), sizeof(*inst->shards));
	if (inst->shards == NULL) {
		np_free(inst);
		return NP_ENOMEM;
	}
	inst->nshards = workers_count();
	inst->magic = INSTANCE_MAGIC;
	snprintf(inst->id, sizeof(inst->id), "%s", id);
	inst->home = home;
	atomic_store(&inst->end_reason, NP_REASON_SHUTDOWN);
	atomic_store(&inst->ping_us, -1);
	atomic_store(&inst->dial_us, -1);
	inst->auth_none =
	    np_key_kind(cfg->key, cfg->key_len, cfg->key_given, cfg->tunnel.port) == NP_KEY_PORT;
	np_bucket_init(&inst->rate[RATE_RX], cfg->rate * BYTES_S_PER_MBIT);
	np_bucket_init(&inst->rate[RATE_TX], cfg->rate * BYTES_S_PER_MBIT);
	atomic_init(&inst->log_level, (int)cfg->log);
	err = settings_new(cfg, runtime.env.fallback_interval_ms, &settings);
	if (err != NP_OK) {
		inst->released = true;
		instance_free(inst);
		return err;
	}
	atomic_init(&inst->settings, settings);
	err = np_random(inst->trace_base, sizeof(inst->trace_base));
	if (err == NP_OK)
		err = prepare(inst, material, diag);
	if (err != NP_OK) {
		*cfg = settings->cfg; /* stays the caller's */
		memset(&settings->cfg, 0, sizeof(settings->cfg));
		instance_discard(inst);
		return err;
	}
	*out = inst;
	return NP_OK;
}

void instance_reload(struct instance *inst)
{
	const char *crt = instance_cfg(inst)->crt;

	if (!tls_files_are_read(inst->tls_files)) {
		INSTANCE_LOG(inst, INFO, "reload: there are no certificate files to read");
		return;
	}
	INSTANCE_LOG(inst, INFO, "reload: reading %s=%s", crt != NULL ? "crt" : "ca",
		     crt != NULL ? crt : instance_cfg(inst)->ca);
	tls_files_check(inst->tls_files, true);
}

/* -- ending -- */

static void drain_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct instance *inst = arg;
	const struct timeval tv = {.tv_usec = DRAIN_CHECK_MS * 1000};
	struct counter_sum sum;

	(void)fd;
	(void)what;
	instance_sum(inst, &sum);
	if (sum.tcps > 0 && np_mono_before(np_mono_now(), inst->drain_deadline)) {
		evtimer_add(inst->drain_timer, &tv);
		return;
	}
	if (sum.tcps > 0)
		INSTANCE_LOG(inst, WARN, "drain time is over, sessions are cut: %u", sum.tcps);
	instance_stop(inst);
}

void instance_drain(struct instance *inst, int64_t ms, enum np_reason reason)
{
	if (inst->stopping || atomic_load(&inst->draining))
		return;
	atomic_store(&inst->end_reason, (int)reason);
	INSTANCE_LOG(inst, INFO, "draining for at most %lld ms", (long long)ms);
	atomic_store(&inst->draining, true);
	resolve_cancel(&inst->resolving);
	for (int i = 0; i < INSTANCE_LISTENERS_MAX; i++) {
		listener_free(inst->visitors[i]);
		inst->visitors[i] = NULL;
	}
	pool_refuse_all(inst, reason);
	if (inst->server != NULL)
		server_drain(inst->server, ms);
	if (inst->mode == MODE_CLIENT)
		client_drain(inst->client, ms);
	set_state(inst, INSTANCE_DRAINING);
	inst->drain_deadline = np_mono_add_ms(np_mono_now(), ms);
	if (inst->drain_timer != NULL)
		event_free(inst->drain_timer);
	inst->drain_timer = evtimer_new(inst->home->base, drain_on_timer, inst);
	if (inst->drain_timer == NULL)
		instance_stop(inst);
	else
		drain_on_timer(-1, 0, inst);
}

/* -- replaced -- */

static void retire_say_bye(struct instance *inst)
{
	if (inst->mode == MODE_CLIENT)
		client_stop(inst->client);
	if (inst->server != NULL)
		server_leave(inst->server);
}

/* The other end closes the channels that were idle: until then an OPEN may be on its way. */
static void retire_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct instance *inst = arg;
	const struct timeval tv = {.tv_usec = RETIRE_CHECK_MS * 1000};

	(void)fd;
	(void)what;
	if (atomic_load(&inst->sessions) == 0 &&
	    (inst->pool.peers == NULL || !np_mono_before(np_mono_now(), inst->drain_deadline)))
		instance_stop(inst);
	else
		evtimer_add(inst->drain_timer, &tv);
}

void instance_retire(struct instance *inst)
{
	if (inst->stopping || inst->retiring || atomic_load(&inst->draining))
		return;
	inst->retiring = true;
	INSTANCE_LOG(inst, INFO, "replaced, running sessions finish: %u",
		     atomic_load(&inst->sessions));
	instance_close_listeners(inst);
	if (inst->server != NULL)
		server_close(inst->server);
	if (inst->single != NULL)
		single_rest(inst->single);
	pool_hand_on(inst);
	retire_say_bye(inst);
	inst->drain_deadline = np_mono_add_ms(np_mono_now(), RETIRE_SETTLE_MS);
	inst->drain_timer = evtimer_new(inst->home->base, retire_on_timer, inst);
	if (inst->drain_timer == NULL)
		instance_stop(inst);
	else
		retire_on_timer(-1, 0, inst);
}

static void release_home(struct instance *inst)
{
	pool_release(inst);
	server_free(inst->server);
	client_free(inst->client);
	single_free(inst->single);
	tls_files_free(inst->tls_files);
	inst->server = NULL;
	inst->client = NULL;
	inst->single = NULL;
	inst->tls_files = NULL;
	handed_free(inst->handed);
	inst->handed = NULL;
	report_stop(inst);
	if (inst->drain_timer != NULL)
		event_free(inst->drain_timer);
	inst->drain_timer = NULL;
	inst->released = true;
}

void instance_shard_stopped(struct instance *inst)
{
	NP_ASSERT(inst->stopping_shards > 0);
	if (--inst->stopping_shards > 0)
		return;
	release_home(inst);
	INSTANCE_LOG(inst, INFO, "stopped");
	set_state(inst, INSTANCE_STOPPED);
}

void instance_stop(struct instance *inst)
{
	if (inst->stopping)
		return;
	inst->stopping = true;
	resolve_cancel(&inst->resolving);
	pool_refuse_all(inst, (enum np_reason)atomic_load(&inst->end_reason));
	arrivals_refuse_all(inst, (enum np_reason)atomic_load(&inst->end_reason));
	instance_close_visitors(inst);
	atomic_store(&inst->draining, true);
	if (inst->mode == MODE_CLIENT)
		client_stop(inst->client);
	if (inst->server != NULL)
		server_bye(inst->server);
	/* One for this function: the last shard cannot end the instance under it. */
	inst->stopping_shards = 1;
	for (unsigned i = 0; i < workers_count(); i++) {
		if (inst->shards[i] == NULL)
			continue;
		inst->stopping_shards++;
		shard_stop(inst->shards[i]);
	}
	instance_shard_stopped(inst);
}

void instance_discard(struct instance *inst)
{
	release_home(inst);
	instance_free(inst);
}

void instance_free(struct instance *inst)
{
	if (inst == NULL)
		return;
	NP_ASSERT(inst->released);
	for (unsigned i = 0; i < inst->nshards; i++)
		shard_free(inst->shards[i]);
	np_free((void *)inst->shards);
	settings_release(instance_settings(inst));
	np_wipe(inst->k, sizeof(inst->k));
	np_free(inst->error);
	np_free(inst->mode_reason);
	inst->magic = 0;
	np_free(inst);
}
