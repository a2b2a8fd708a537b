/*
 * registry.c - the table of instances, and what concerns all of them. See registry.h.
 */
#include "registry.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "registry_priv.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

_Static_assert(REGISTRY_MAX <= MOVED_MAX, "each instance has a number");

/* -- the table -- */

/* Where @id is, or would be. */
static size_t place_of(const struct registry *r, const char *id, bool *found)
{
	size_t low = 0, high = r->n;

	*found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(r->entries[mid]->spec.id, id);

		if (c == 0) {
			*found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct entry *registry_find(struct registry *r, const char *id)
{
	bool found;
	size_t i = place_of(r, id, &found);

	return found ? r->entries[i] : NULL;
}

static bool make_numbers(struct registry *r)
{
	r->by_number = np_calloc(REGISTRY_MAX + 1, sizeof(*r->by_number));
	r->free_numbers = np_calloc(REGISTRY_MAX, sizeof(*r->free_numbers));
	if (r->by_number == NULL || r->free_numbers == NULL) {
		np_free((void *)r->by_number);
		np_free(r->free_numbers);
		r->by_number = NULL;
		r->free_numbers = NULL;
		return false;
	}
	while (r->nfree < REGISTRY_MAX) {
		r->free_numbers[r->nfree] = REGISTRY_MAX - r->nfree;
		r->nfree++;
	}
	return true;
}

/* A number of moved.h that nobody has. */
static bool take_number(struct registry *r, struct entry *e)
{
	if (r->by_number == NULL && !make_numbers(r))
		return false;
	NP_ASSERT(r->nfree > 0);
	e->number = r->free_numbers[--r->nfree];
	r->by_number[e->number] = e;
	return true;
}

enum np_err registry_insert(struct registry *r, struct entry *e)
{
	bool found;
	size_t i = place_of(r, e->spec.id, &found);

	NP_ASSERT(!found);
	if (r->n == r->cap) {
		size_t cap = r->cap == 0 ? 16 : 2 * r->cap;
		struct entry **bigger = np_realloc((void *)r->entries, cap * sizeof(*bigger));

		if (bigger == NULL)
			return NP_ENOMEM;
		r->entries = bigger;
		r->cap = cap;
	}
	if (r->base != NULL && !take_number(r, e))
		return NP_ENOMEM;
	memmove((void *)(r->entries + i + 1), (void *)(r->entries + i),
		(r->n - i) * sizeof(*r->entries));
	r->entries[i] = e;
	r->n++;
	return NP_OK;
}

static void give_number_back(struct entry *e)
{
	struct registry *r = e->registry;

	if (e->number == MOVED_NONE)
		return;
	r->by_number[e->number] = NULL;
	r->free_numbers[r->nfree++] = e->number;
}

static void entry_free(struct entry *e)
{
	give_number_back(e);
	entry_timer_clear(e);
	wants_clear(e);
	ctl_spec_release(&e->spec);
	tls_identity_release(&e->identity);
	if (e->last != NULL)
		ctl_spec_release(e->last);
	np_free(e->last);
	np_free(e->error);
	np_free(e->nack_text);
	np_free(e->past);
	np_free(e->zero);
	np_free(e->counted);
	np_free(e);
}

static void count_state(struct entry *e, enum ctl_state state)
{
	struct registry *r = e->registry;

	r->running -= e->state == CTL_RUNNING;
	r->failed -= e->state == CTL_ERROR;
	e->state = state;
	r->running += e->state == CTL_RUNNING;
	r->failed += e->state == CTL_ERROR;
}

void entry_forget(struct entry *e)
{
	struct registry *r = e->registry;
	struct run *run, *next;
	bool found;
	size_t i;

	count_state(e, CTL_STOPPED);
	e->removed = true;
	entry_changed(e);
	sums_forget(e);
	i = place_of(r, e->spec.id, &found);
	NP_ASSERT(found);
	r->n--;
	memmove((void *)(r->entries + i), (void *)(r->entries + i + 1),
		(r->n - i) * sizeof(*r->entries));
	DL_FOREACH_SAFE (e->old, run, next) {
		DL_DELETE(e->old, run);
		run->entry = NULL;
		DL_APPEND(r->orphans, run);
	}
	entry_free(e);
}

const char *registry_next(struct registry *r, const char *after)
{
	bool found;
	size_t i = place_of(r, after, &found);

	if (found)
		i++;
	return i < r->n ? r->entries[i]->spec.id : NULL;
}

const struct ctl_spec *registry_spec(struct registry *r, const char *id)
{
	const struct entry *e = registry_find(r, id);

	return e != NULL ? &e->spec : NULL;
}

/* -- states -- */

void entry_changed(struct entry *e)
{
	moved_mark(e->number);
	e->registry->on_change(e->registry->arg, e->spec.id);
}

void entry_set_state(struct entry *e, enum ctl_state state, const char *error)
{
	struct timespec now;

	if (e->state == state && error == NULL && e->error == NULL)
		return;
	if (e->state != state) {
		clock_gettime(CLOCK_REALTIME, &now);
		e->since_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	}
	count_state(e, state);
	if (error == NULL || e->error == NULL || strcmp(error, e->error) != 0) {
		np_free(e->error);
		e->error = error != NULL ? np_strdup(error) : NULL;
	}
	entry_changed(e);
}

/* -- life of the registry -- */

/* URLs that were read, specs that came, work that was done lie between what lives on: a tenth of the
 * heap after a large snapshot. */
static void on_trim(evutil_socket_t fd, short what, void *arg)
{
	struct registry *r = arg;

	(void)fd;
	(void)what;
	r->made = 0;
	malloc_trim(REGISTRY_TRIM_KEEP);
}

void registry_made(struct registry *r)
{
	const struct timeval later = tv_of_ms(REGISTRY_TRIM_MS);

	if (++r->made >= REGISTRY_TRIM && r->trim != NULL && !evtimer_pending(r->trim, NULL))
		evtimer_add(r->trim, &later);
}

static void registry_drop(struct registry *r)
{
	if (r->trim != NULL)
		event_free(r->trim);
	np_free(r);
}

struct registry *registry_new(struct event_base *base, void (*on_change)(void *arg, const char *id),
			      void *arg)
{
	struct registry *r = np_calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->base = base;
	r->on_change = on_change;
	r->arg = arg;
	r->line_end = &r->line;
	if (base == NULL)
		return r;
	r->trim = evtimer_new(base, on_trim, r);
	if (r->trim == NULL || worker_attach(base, &r->main) != NP_OK) {
		registry_drop(r);
		return NULL;
	}
	return r;
}

enum np_err registry_add(struct registry *r, const char *id, struct np_config *cfg,
			 struct np_diag *diag)
{
	struct entry *e;
	struct run *run;
	enum np_err err;

	NP_ASSERT(r->base == NULL);
	if (registry_find(r, id) != NULL)
		return np_diag_set(diag, NP_EEXIST, "id", "instance %s exists already", id);
	if (r->n >= REGISTRY_MAX)
		return np_diag_set(diag, NP_ELIMIT, "id", "%d instances run already", REGISTRY_MAX);
	e = np_calloc(1, sizeof(*e));
	if (e == NULL)
		return NP_ENOMEM;
	snprintf(e->spec.id, sizeof(e->spec.id), "%s", id);
	e->registry = r;
	err = run_make_here(r, e, cfg, &run, diag);
	if (err == NP_OK) {
		e->cur = run;
		err = registry_insert(r, e);
	}
	if (err != NP_OK) {
		if (e->cur != NULL) {
			instance_discard(e->cur->inst);
			run_release(e->cur);
		}
		entry_free(e);
		return err;
	}
	run->phase = RUN_MADE;
	wants_set(e, &run->settings->cfg);
	return NP_OK;
}

void registry_start(struct registry *r)
{
	for (size_t i = 0; i < r->n; i++) {
		r->entries[i]->cur->phase = RUN_STARTED;
		run_yield(r->entries[i]->cur);
		run_order(r->entries[i]->cur, ORDER_START, 0, NP_REASON_DONE);
	}
}

static void end_runs(struct entry *e, int64_t ms)
{
	struct run *run;

	if (e->cur != NULL)
		run_end(e->cur, ms, NP_REASON_SHUTDOWN);
	DL_FOREACH (e->old, run)
		if (run->phase == RUN_STARTED || (ms == 0 && run->phase == RUN_ENDING))
			run_end(run, ms, NP_REASON_SHUTDOWN);
}

static void end_all(struct registry *r, int64_t ms)
{
	struct run *run;

	r->closing = true;
	for (size_t i = r->n; i-- > 0;) { /* a removed one leaves the table here */
		end_runs(r->entries[i], ms);
		if (r->base != NULL)
			entry_step(r->entries[i]);
	}
	DL_FOREACH (r->orphans, run)
		if (ms == 0 && run->phase == RUN_ENDING)
			run_end(run, 0, NP_REASON_SHUTDOWN);
}

void registry_drain(struct registry *r, int64_t ms)
{
	end_all(r, ms);
}

void registry_stop(struct registry *r)
{
	end_all(r, 0);
}

void registry_resume(struct registry *r)
{
	r->closing = false;
	for (size_t i = r->n; i-- > 0;) /* a removed one leaves the table here */
		entry_step(r->entries[i]);
}

void registry_reload(struct registry *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->entries[i]->cur != NULL)
			run_reload(r->entries[i]->cur);
}

/* Its instance is left alone if it did not come to an end: its workers are gone all the same. */
static void run_free(struct run *run)
{
	if (run == NULL)
		return;
	if (run->inst != NULL && run->inst->released)
		instance_free(run->inst);
	else if (run->inst != NULL && run->phase == RUN_MADE)
		instance_discard(run->inst);
	run_release(run);
}

void registry_free(struct registry *r)
{
	struct run *run, *next;

	if (r == NULL)
		return;
	r->freeing = true;
	if (r->main != NULL)
		worker_detach(r->main);
	for (size_t i = 0; i < r->n; i++) {
		struct entry *e = r->entries[i];

		run_free(e->cur);
		run_free(e->next);
		DL_FOREACH_SAFE (e->old, run, next)
			run_free(run);
		entry_free(e);
	}
	DL_FOREACH_SAFE (r->orphans, run, next)
		run_free(run);
	np_free((void *)r->entries);
	np_free((void *)r->by_number);
	np_free(r->free_numbers);
	registry_drop(r);
}
