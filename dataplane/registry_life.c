/*
 * registry_life.c - brings an entry to what it should be, one thing at a time: start, stop, restart,
 * take over, replace, try again. Whatever happens ends in entry_step, so the newest wish wins.
 */
#include "registry_priv.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

/* -- parts -- */

static struct run **list_of(struct entry *e)
{
	return &e->old;
}

/* @run finishes beside the others; it is not the one that serves any more. */
static void set_aside(struct entry *e, struct run *run)
{
	struct run **list = list_of(e);

	if (e->cur == run)
		e->cur = NULL;
	if (e->next == run)
		e->next = NULL;
	DL_APPEND(*list, run);
}

static bool is_live(const struct run *run)
{
	return run->phase == RUN_STARTED || run->phase == RUN_ENDING;
}

static void forget_last(struct entry *e)
{
	if (e->last != NULL)
		ctl_spec_release(e->last);
	np_free(e->last);
	e->last = NULL;
}

bool entry_listens_on_target(const struct run *run)
{
	const struct np_config *cfg = &run->settings->cfg;

	switch (run->mode) {
	case MODE_SINGLE:
		return false;
	case MODE_SERVER_FORWARD:
		return cfg->mode == 0; /* another target may turn it round */
	case MODE_CLIENT:
		return !run->was_running || run->flow == NP_FLOW_FORWARD;
	case MODE_SERVER_REVERSE:
	case MODE_UNDECIDED:
		break;
	}
	return true;
}

static bool config_of(struct entry *e, struct np_config *cfg, struct np_diag *diag)
{
	if (np_config_parse(e->spec.url, cfg, diag) == NP_OK)
		return true;
	return false; /* only without memory: it was parsed before */
}

/* -- timer -- */

void entry_timer_clear(struct entry *e)
{
	if (e->timer != NULL)
		event_free(e->timer);
	e->timer = NULL;
}

static void entry_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct entry *e = arg;

	(void)fd;
	(void)what;
	entry_timer_clear(e);
	entry_step(e);
}

static void entry_wait(struct entry *e, int64_t ms)
{
	struct timeval tv = tv_of_ms(ms);

	entry_timer_clear(e);
	e->timer = evtimer_new(e->registry->base, entry_on_timer, e);
	if (e->timer == NULL || evtimer_add(e->timer, &tv) != 0)
		np_log(NP_LOG_ERROR, e->spec.id, "out of memory, it is not tried again");
}

/* -- failure -- */

static void entry_fail(struct entry *e, const char *text)
{
	if (e->retry_ms < REGISTRY_RETRY_MIN_MS)
		e->retry_ms = REGISTRY_RETRY_MIN_MS;
	entry_wait(e, e->retry_ms);
	e->retry_ms *= 2;
	if (e->retry_ms > REGISTRY_RETRY_MAX_MS)
		e->retry_ms = REGISTRY_RETRY_MAX_MS;
	entry_set_state(e, CTL_ERROR, text);
}

void entry_nack(struct entry *e, uint64_t revision, const char *text)
{
	e->nack_revision = revision;
	np_free(e->nack_text);
	e->nack_text = np_strdup(text);
	entry_changed(e);
}

static void run_failed(struct entry *e, struct run *run)
{
	char text[CTL_TEXT_MAX + 1];

	run_failure_say(run, text);
	if (run->running_since.us != 0 &&
	    np_mono_diff_ms(np_mono_now(), run->running_since) >= REGISTRY_HEALTHY_MS)
		e->retry_ms = REGISTRY_RETRY_MIN_MS;
	set_aside(e, run);
	run_end(run, 0, NP_REASON_ERROR);
	entry_fail(e, text);
}

/* -- starting and replacing -- */

static void run_start(struct run *run)
{
	struct entry *e = run->entry;

	run->phase = RUN_STARTED;
	if (run == e->cur) {
		e->starts++;
		sums_restart(e);
		entry_set_state(e, CTL_STARTING, NULL);
	}
	run_yield(run);
	run_order(run, ORDER_START, 0, NP_REASON_DONE);
}

/* The change was refused after all: what serves goes on, and is again what it should be. */
static void take_back(struct entry *e, const char *text)
{
	uint64_t refused = e->spec.revision;

	tls_identity_release(&e->identity);
	if (e->last != NULL) {
		struct ctl_spec good = *e->last;

		good.desired = e->spec.desired;
		good.restart_nonce = e->spec.restart_nonce;
		ctl_spec_release(&e->spec);
		e->spec = good;
		np_free(e->last);
		e->last = NULL;
		wants_update(e);
	}
	if (e->cur != NULL)
		e->cur->change = e->change;
	entry_nack(e, refused, text);
}

static void begin(struct entry *e, struct run **place)
{
	struct np_diag diag = {.text = "out of memory"};
	struct np_config cfg;
	struct run *run = NULL;

	if (config_of(e, &cfg, &diag)) {
		run = run_new(e->registry, e, &cfg);
		if (run == NULL)
			np_config_release(&cfg);
	}
	if (run == NULL) {
		if (place == &e->cur)
			entry_fail(e, diag.text);
		else
			take_back(e, diag.text);
		return;
	}
	*place = run;
	if (place == &e->cur && e->state != CTL_ERROR)
		entry_set_state(e, CTL_STARTING, NULL);
	run_begin(run);
}

/* The one that was made takes the place of the one that serves, which finishes its sessions. */
static void promote(struct entry *e)
{
	struct run *was = e->cur;

	e->cur = e->next;
	e->next = NULL;
	if (was != NULL) {
		DL_APPEND(e->old, was);
		if (was->phase == RUN_STARTED) {
			was->retired = true;
			run_order(was, ORDER_RETIRE, 0, NP_REASON_DONE);
		}
	}
	forget_last(e);
	e->starts++;
	sums_restart(e);
	entry_changed(e);
}

static bool lends(const struct entry *e)
{
	const struct run *run;

	DL_FOREACH (e->old, run)
		if ((run->ordered & ORDER_LEND) != 0)
			return true;
	return e->cur != NULL && (e->cur->ordered & ORDER_LEND) != 0;
}

/* What was made is started with the sockets of all that it replaces: one that was replaced before
 * holds the UDP socket of its flows, even if the one that serves has none. */
static void borrow(struct entry *e)
{
	struct run *run;

	DL_FOREACH (e->old, run)
		if (run->phase == RUN_STARTED)
			run_order(run, ORDER_LEND, 0, NP_REASON_DONE);
	if (e->cur != NULL && e->cur->phase == RUN_STARTED)
		run_order(e->cur, ORDER_LEND, 0, NP_REASON_DONE);
	if (!lends(e))
		run_start(e->next);
}

void run_on_made(struct run *run, enum np_err err, const struct np_diag *diag)
{
	struct entry *e = run->entry;

	if (run->abandoned) {
		if (err == NP_OK) {
			run_end(run, 0, NP_REASON_SHUTDOWN);
			return;
		}
		run_forget(run);
		return;
	}
	if (err != NP_OK && run == e->next) {
		e->next = NULL;
		run_release(run);
		take_back(e, diag->text);
		entry_step(e);
	} else if (err != NP_OK) {
		e->cur = NULL;
		run_release(run);
		entry_fail(e, diag->text);
	} else if (run == e->next) {
		borrow(e);
	} else {
		run_start(run);
	}
}

void run_on_lent(struct run *run)
{
	struct entry *e = run->entry;
	struct handed *lent = run->lent;

	run->ordered &= ~(unsigned)ORDER_LEND;
	run->lent = NULL;
	if (e == NULL || e->next == NULL || e->next->phase != RUN_MADE) {
		handed_free(lent);
		return;
	}
	e->next->inst->handed = handed_join(e->next->inst->handed, lent);
	if (!lends(e))
		run_start(e->next);
}

/* What serves is not what it should be: taken over, or another one is made. */
static void follow(struct entry *e)
{
	struct np_diag diag;
	struct np_config cfg;
	enum np_change change;

	if (e->cur->phase != RUN_STARTED) { /* not begun yet: made anew */
		struct run *run = e->cur;

		set_aside(e, run);
		run_end(run, 0, NP_REASON_SHUTDOWN);
		begin(e, &e->cur);
		return;
	}
	if (!config_of(e, &cfg, &diag)) {
		take_back(e, diag.text);
		return;
	}
	change = np_config_diff(&e->cur->settings->cfg, &cfg);
	if (change == NP_CHANGE_LIVE && entry_listens_on_target(e->cur) &&
	    !np_config_same_targets(&e->cur->settings->cfg, &cfg))
		change = NP_CHANGE_RESTART;
	if (e->renew > e->cur->change)
		change = NP_CHANGE_RESTART;
	if (change == NP_CHANGE_NONE && e->pair > e->cur->change)
		change = NP_CHANGE_LIVE;
	if (change == NP_CHANGE_LIVE && entry_needs_check(e, &cfg)) {
		if (entry_check_files(e, &cfg) != NP_OK)
			take_back(e, "the files cannot be read now");
		np_config_release(&cfg);
		return;
	}
	if (change == NP_CHANGE_LIVE && run_configure(e->cur, &cfg, &e->identity) != NP_OK)
		take_back(e, "out of memory");
	np_config_release(&cfg);
	if (change == NP_CHANGE_RESTART) {
		begin(e, &e->next);
		return;
	}
	e->cur->change = e->change;
	forget_last(e);
	entry_changed(e);
}

void entry_files_checked(struct entry *e, enum np_err err, const struct np_diag *diag)
{
	if (err != NP_OK)
		take_back(e, diag->text);
	else
		e->files_checked = e->change;
	entry_step(e);
}

/* -- the states -- */

static void run_over(struct run *run)
{
	struct entry *e = run->entry;

	sums_bury(run);
	run->phase = RUN_OVER;
	if (e != NULL && (e->cur == run || e->next == run))
		set_aside(e, run);
	run_order(run, ORDER_FREE, 0, NP_REASON_DONE);
	if (e != NULL)
		entry_step(e);
}

void run_on_news(struct run *run, const struct news *n)
{
	struct entry *e = run->entry;

	run->mode = n->mode;
	run->flow = n->flow;
	run->was_running = run->was_running || n->state == INSTANCE_RUNNING;
	if (n->state == INSTANCE_STOPPED) {
		run_over(run);
		return;
	}
	if (e != NULL && run == e->next) {
		promote(e);
		if (n->mode == MODE_CLIENT && n->state == INSTANCE_STARTING)
			entry_set_state(e, CTL_STARTING, NULL); /* it looks for its server */
	}
	if (e == NULL || run != e->cur || run->phase != RUN_STARTED) {
		if (n->state == INSTANCE_ERROR) {
			char text[CTL_TEXT_MAX + 1];

			run_failure_say(run, text);
			run_end(run, 0, NP_REASON_ERROR);
		}
		return;
	}
	switch (n->state) {
	case INSTANCE_STARTING:
		entry_changed(e);
		break;
	case INSTANCE_RUNNING:
		run->running_since = np_mono_now();
		entry_set_state(e, CTL_RUNNING, NULL);
		break;
	case INSTANCE_ERROR:
		run_failed(e, run);
		return;
	case INSTANCE_DRAINING:
	case INSTANCE_STOPPED:
		break;
	}
	entry_step(e);
}

static void let_go(struct entry *e, struct run *run)
{
	bool live = is_live(run);

	run_end(run, REGISTRY_STOP_GRACE_MS, NP_REASON_INSTANCE_STOPPED);
	if (!live)
		set_aside(e, run);
}

static void step_down(struct entry *e)
{
	struct run *run;
	bool busy = false;

	entry_timer_clear(e);
	if (e->next != NULL) {
		run = e->next;
		run_end(run, REGISTRY_STOP_GRACE_MS, NP_REASON_INSTANCE_STOPPED);
		set_aside(e, run);
	}
	if (e->cur != NULL)
		let_go(e, e->cur);
	busy = e->cur != NULL;
	DL_FOREACH (e->old, run) {
		if (run->phase == RUN_STARTED)
			run_end(run, REGISTRY_STOP_GRACE_MS, NP_REASON_INSTANCE_STOPPED);
		busy |= is_live(run);
	}
	if (busy) {
		entry_set_state(e, CTL_STOPPING, NULL);
		return;
	}
	forget_last(e);
	if (e->removing) {
		entry_forget(e);
		return;
	}
	if (e->restarting && !e->registry->closing) {
		e->restarting = false;
		entry_set_state(e, CTL_STOPPED, NULL); /* who watches sees both states */
		entry_wait(e, REGISTRY_RESTART_PAUSE_MS);
		return;
	}
	entry_set_state(e, CTL_STOPPED, NULL);
}

void entry_step(struct entry *e)
{
	if (e->spec.desired != CTL_DESIRED_RUNNING || e->removing || e->restarting ||
	    e->registry->closing) {
		step_down(e);
		return;
	}
	if (e->cur == NULL && e->next != NULL) { /* what served is over: no need to wait for it */
		e->cur = e->next;
		e->next = NULL;
		if (e->cur->phase == RUN_MADE)
			run_start(e->cur);
	}
	if (e->spec.incomplete) { /* what runs goes on; the rest of it comes with another change */
		if (e->cur == NULL)
			entry_set_state(e, CTL_STARTING, NULL);
		return;
	}
	if (e->cur == NULL) {
		if (e->timer == NULL)
			begin(e, &e->cur);
		return;
	}
	if (e->cur->phase == RUN_ENDING || e->cur->change == e->change)
		return;
	if (e->next != NULL) {
		if (e->next->change == e->change || e->next->phase == RUN_STARTED)
			return; /* its news come here again */
		let_go(e, e->next);
	}
	follow(e);
}
