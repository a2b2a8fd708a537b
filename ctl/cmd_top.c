/*
 * cmd_top.c - top: instances with the traffic of each second, most first.
 */
#include "ctl.h"

#include "base/alloc.h"
#include "base/mono.h"
#include "pick.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

#define ROWS_HEAD 3 /* lines that are no instance: sum, heads, and where the cursor stands */

struct rate {
	const struct inst *inst; /* borrowed */
	double rx, tx;		 /* bytes a second */
};

static int by_traffic(const void *a, const void *b)
{
	const struct rate *x = a, *y = b;
	double d = (y->rx + y->tx) - (x->rx + x->tx);

	return d > 0 ? 1 : d < 0 ? -1 : strcmp(x->inst->id, y->inst->id);
}

/* find - the same instance in the table before; mostly it stands in the same place. */
static const struct inst *find(const struct inst_list *old, size_t at, const char *id)
{
	if (at < old->n && strcmp(old->v[at].id, id) == 0)
		return &old->v[at];
	for (size_t i = 0; i < old->n; i++) {
		if (strcmp(old->v[i].id, id) == 0)
			return &old->v[i];
	}
	return NULL;
}

static double per_second(double now, double before, double seconds)
{
	return now > before && seconds > 0 ? (now - before) / seconds : 0; /* a reset goes back */
}

static struct rate *rates_of(const struct inst_list *now, const struct inst_list *old, double s)
{
	struct rate *r = np_calloc(now->n + 1, sizeof(*r));

	for (size_t i = 0; r != NULL && i < now->n; i++) {
		const struct inst *n = &now->v[i], *o = find(old, i, n->id);

		r[i].inst = n;
		if (o == NULL)
			continue;
		r[i].rx = per_second(n->tcprx + n->udprx, o->tcprx + o->udprx, s);
		r[i].tx = per_second(n->tcptx + n->udptx, o->tcptx + o->udptx, s);
	}
	if (r != NULL)
		qsort(r, now->n, sizeof(*r), by_traffic);
	return r;
}

static void put_row(struct table *t, const struct rate *r)
{
	char rx[16], tx[16];

	text_bytes(r->rx, rx);
	text_bytes(r->tx, tx);
	table_put(t, "%s", r->inst->id);
	table_put(t, "%s", r->inst->alias);
	table_put(t, "%s", r->inst->type);
	table_put(t, "%s", r->inst->status);
	table_put(t, "%lld", (long long)r->inst->tcps);
	table_put(t, "%lld", (long long)r->inst->udps);
	table_put(t, "%lld", (long long)r->inst->pool);
	table_put(t, "%lldms", (long long)r->inst->ping);
	table_put(t, "%s", rx);
	table_put(t, "%s", tx);
}

static int print_rates(struct ctl *c, const struct rate *r, size_t n)
{
	static const char *const heads[] = {"ID",   "ALIAS", "TYPE",  "STATUS", ">TCP",
					    ">UDP", ">POOL", ">PING", ">RX/s",	">TX/s"};
	struct winsize size = {.ws_row = 0};
	size_t rows = n, running = 0;
	char rx_text[16], tx_text[16];
	double rx = 0, tx = 0;
	struct table t;
	enum np_err err;

	for (size_t i = 0; i < n; i++) {
		running += strcmp(r[i].inst->status, "running") == 0;
		rx += r[i].rx;
		tx += r[i].tx;
	}
	if (c->tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > ROWS_HEAD &&
	    rows > (size_t)size.ws_row - ROWS_HEAD)
		rows = (size_t)size.ws_row - ROWS_HEAD;
	text_bytes(rx, rx_text);
	text_bytes(tx, tx_text);
	table_init(&t, heads, sizeof(heads) / sizeof(*heads));
	for (size_t i = 0; i < rows; i++)
		put_row(&t, &r[i]);
	fputs(c->tty ? "\033[H\033[J" : "", stdout);
	printf("%zu instances, %zu running, in %s/s, out %s/s\n", n, running, rx_text, tx_text);
	err = table_print(&t, stdout, ctl_columns(c));
	table_release(&t);
	return err == NP_OK ? ctl_flush() : ctl_fail("%s", np_err_text(err));
}

/* narrow - what the words name; it may have been removed meanwhile, that is no error later. */
static int narrow(struct inst_list *l, char **words, size_t n, bool first)
{
	struct np_diag diag = {.text = ""};
	bool *chosen = np_calloc(l->n + 1, sizeof(*chosen));
	size_t kept = 0;
	int status = CTL_OK;

	if (chosen == NULL)
		return ctl_fail("%s", np_err_text(NP_ENOMEM));
	for (size_t w = 0; w < n && status == CTL_OK; w++) {
		if (pick(l, words + w, 1, chosen, &diag) != NP_OK && first)
			status = ctl_fail("%s", diag.text);
	}
	for (size_t i = 0; n > 0 && i < l->n; i++) {
		if (chosen[i])
			l->v[kept++] = l->v[i];
	}
	l->n = n > 0 ? kept : l->n;
	np_free(chosen);
	return status;
}

int cmd_top(struct ctl *c, char **words, size_t n)
{
	const struct timespec pause = {c->every_ms / 1000, c->every_ms % 1000 * 1000000};
	struct inst_list old = {NULL, 0, NULL};
	struct np_mono before = np_mono_now();
	int status = CTL_OK;

	/* The first list shows no rates yet; it is only measured against. */
	for (uint64_t i = 0; status == CTL_OK && (c->count == 0 || i <= c->count); i++) {
		struct inst_list now;
		struct rate *r;
		double seconds;

		if (i > 0)
			nanosleep(&pause, NULL);
		status = ctl_list(c, &now);
		if (status != CTL_OK)
			break;
		seconds = (double)np_mono_diff_us(np_mono_now(), before) / 1e6;
		before = np_mono_now();
		status = narrow(&now, words, n, i == 0);
		r = rates_of(&now, &old, seconds);
		if (r == NULL)
			status = ctl_fail("%s", np_err_text(NP_ENOMEM));
		else if (status == CTL_OK && (i > 0 || c->tty))
			status = print_rates(c, r, now.n);
		np_free(r);
		json_list_release(&old);
		old = now;
	}
	json_list_release(&old);
	return status;
}
