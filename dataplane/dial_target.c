/*
 * dial_target.c - the targets of a dial: their addresses, which is tried next, and what is said of
 * those that failed. See dial.h.
 */
#include "base/alloc.h"
#include "base/assert.h"
#include "dial_priv.h"
#include "dial_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* -- the outcome -- */

/* Of several failures the one that says most is reported; of equals the last. */
void dial_note_failure(struct dial *d, enum np_reason reason, int err, const char *fmt, ...)
{
	struct dial_result *r = &d->result;
	va_list ap;

	if (err != 0)
		r->sys_errno = err;
	if (r->text[0] != '\0' && dial_reason_rank(reason) < dial_reason_rank(r->reason))
		return;
	r->reason = reason;
	va_start(ap, fmt);
	vsnprintf(r->text, sizeof(r->text), fmt, ap);
	va_end(ap);
}

void dial_note_errno(struct dial *d, const char *call, const struct np_addr *a, int err)
{
	enum np_reason reason = dial_reason_of(err);
	char addr[NP_ADDR_TEXT_MAX], text[96];

	if (np_addr_port(a) == 0) /* a source */
		np_addr_format_host(a, addr);
	else
		np_addr_format(a, addr);
	dial_note_failure(d, reason, err, "%s %s: %s", call, addr,
			  strerror_r(err, text, sizeof(text)));
	if (reason == NP_REASON_DIAL_REFUSED)
		d->result.host_answered = true;
	if (reason == NP_REASON_NO_DESCRIPTORS || reason == NP_REASON_NO_MEMORY)
		d->exhausted = true;
}

void dial_note_no_memory(struct dial *d)
{
	dial_note_failure(d, NP_REASON_NO_MEMORY, ENOMEM, "dial: out of memory");
	d->exhausted = true;
}

void dial_target_note(struct dial *d, struct dial_target *t)
{
	if (t->failed)
		return;
	t->failed = true;
	/* What was lacking here says nothing about the target. */
	if (d->balance != NULL && !d->exhausted)
		np_balance_failed(d->balance, t->index, worker_now(d->worker));
}

bool dial_target_is_over(const struct dial_target *t)
{
	return np_mono_is_set(t->started) && !t->resolving && t->next == t->n && t->in_flight == 0;
}

/* -- addresses -- */

void dial_target_take(struct dial_target *t, const struct np_addr *list, size_t n)
{
	struct dial *d = t->dial;
	char source[NP_ADDR_TEXT_MAX], first[NP_ADDR_TEXT_MAX];

	t->addr = np_malloc(n * sizeof(*list));
	if (t->addr == NULL) {
		dial_note_no_memory(d);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (d->source.len > 0 && list[i].sa.sa_family != d->source.sa.sa_family)
			continue;
		t->addr[t->n] = list[i];
		np_addr_set_port(&t->addr[t->n++], t->port);
	}
	if (t->n > 0)
		return;
	np_addr_format_host(&d->source, source);
	np_addr_format_host(&list[0], first);
	dial_note_failure(d, NP_REASON_DIAL_FAILED, EAFNOSUPPORT,
			  "dial %.100s: no address of the family of %s",
			  d->hostports != NULL ? d->hostports[t->index].host : first, source);
}

static void target_answered(struct dial_target *t, const struct resolve_answer *a)
{
	struct dial *d = t->dial;

	t->resolving = false;
	if (a->n > 0)
		dial_target_take(t, a->addr, a->n);
	else
		dial_note_failure(d, NP_REASON_RESOLVE_FAILED, 0, "resolve %.100s: %s",
				  d->hostports[t->index].host, a->error);
	if (dial_target_is_over(t))
		dial_target_note(d, t);
}

static void target_on_answer(struct resolve_request *r, const struct resolve_answer *a)
{
	struct dial_target *t =
	    (struct dial_target *)((char *)r - offsetof(struct dial_target, request));

	NP_CHECK_MAGIC(t->dial, DIAL_MAGIC);
	target_answered(t, a);
	dial_step(t->dial);
}

static void target_start(struct dial *d, struct dial_target *t, struct np_mono now)
{
	struct resolve_answer answer;
	enum np_err err;

	t->started = now;
	if (d->hostports == NULL)
		return;
	t->resolving = true;
	t->request.on_answer = target_on_answer;
	err = resolve(d->worker, d->hostports[t->index].host, d->dns_ms, &t->request, &answer);
	if (err == NP_EAGAIN)
		return;
	if (err != NP_OK) {
		answer.n = 0;
		snprintf(answer.error, sizeof(answer.error), "%s", np_err_text(err));
	}
	target_answered(t, &answer);
}

struct dial_target *dial_target_due(struct dial *d, struct np_mono now)
{
	struct dial_target *t = d->current < d->ntargets ? &d->target[d->current] : NULL;
	bool more = t == NULL || d->current + 1 < d->ntargets;

	if (t != NULL && !dial_target_is_over(t) &&
	    (!more || np_mono_diff_ms(now, t->started) < DIAL_NEXT_TARGET_MS)) {
		if (t->next < t->n)
			return t;
		if (more && (t->resolving || t->in_flight > 0))
			return NULL; /* it may still answer */
	}
	if (more) {
		d->current = t == NULL ? 0 : d->current + 1;
		t = &d->target[d->current];
		target_start(d, t, now);
		return t;
	}
	for (size_t i = 0; i < d->ntargets; i++)
		if (d->target[i].next < d->target[i].n)
			return &d->target[i];
	return NULL;
}

bool dial_addresses_left(const struct dial *d)
{
	for (size_t i = 0; i < d->ntargets; i++)
		if (d->target[i].next < d->target[i].n)
			return true;
	return false;
}

bool dial_resolving(const struct dial *d)
{
	for (size_t i = 0; i < d->ntargets; i++)
		if (d->target[i].resolving)
			return true;
	return false;
}
