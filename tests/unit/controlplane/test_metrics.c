/*
 * test_metrics.c - the text of /metrics, read by a strict parser of the format.
 */
#include "metrics.h"

#include "base/alloc.h"
#include "model_priv.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- the format -- */

struct family {
	char name[100], type[20];
	bool help;
	size_t samples;
};

static struct family families[200];
static size_t nfamilies;
static char (*series)[700]; /* all of them, to find repeated ones */
static size_t nseries, series_max;

static size_t name_len(const char *p, bool colon)
{
	size_t n = 0;

	if (isdigit((unsigned char)*p))
		return 0;
	while (isalnum((unsigned char)p[n]) || p[n] == '_' || (colon && p[n] == ':'))
		n++;
	return n;
}

/* {a="…",b="…"}; the end of it, NULL = wrong. */
static const char *labels_end(const char *p)
{
	if (*p != '{')
		return p;
	do {
		size_t n = name_len(++p, false);

		if (n == 0 || p[n] != '=' || p[n + 1] != '"')
			return NULL;
		p += n + 2;
		while (*p != '"') {
			if (*p == '\n' || *p == '\0')
				return NULL;
			if (*p == '\\' && strchr("\\\"n", *++p) == NULL)
				return NULL;
			p++;
		}
		p++;
	} while (*p == ',');
	return *p == '}' ? p + 1 : NULL;
}

static bool take_comment(const char *line)
{
	struct family *f = &families[nfamilies > 0 ? nfamilies - 1 : 0];
	bool type = strncmp(line, "# TYPE ", 7) == 0;
	size_t n = name_len(line + 7, true);

	if (!type && strncmp(line, "# HELP ", 7) != 0)
		return false;
	if (n == 0 || n >= sizeof(f->name) || line[7 + n] != ' ')
		return false;
	if (!type) { /* begins a family, which may not come twice */
		for (size_t i = 0; i < nfamilies; i++) {
			if (strlen(families[i].name) == n &&
			    strncmp(families[i].name, line + 7, n) == 0)
				return false;
		}
		f = &families[nfamilies++];
		*f = (struct family){.help = true};
		memcpy(f->name, line + 7, n);
		return line[8 + n] != '\0';
	}
	if (strlen(f->name) != n || strncmp(f->name, line + 7, n) != 0 || f->type[0] != '\0')
		return false;
	(void)snprintf(f->type, sizeof(f->type), "%s", line + 8 + n);
	return strcmp(f->type, "counter") == 0 || strcmp(f->type, "gauge") == 0 ||
	       strcmp(f->type, "histogram") == 0;
}

/* The samples of a histogram have its name and one of three ends. */
static bool is_of_histogram(const struct family *f, const char *line, size_t n)
{
	static const char *const ends[] = {"_bucket", "_sum", "_count"};
	size_t own = strlen(f->name);

	for (size_t i = 0; i < 3 && strcmp(f->type, "histogram") == 0; i++)
		if (n == own + strlen(ends[i]) && strncmp(line, f->name, own) == 0 &&
		    strncmp(line + own, ends[i], strlen(ends[i])) == 0)
			return true;
	return false;
}

static bool take_sample(const char *line)
{
	struct family *f = &families[nfamilies - 1];
	size_t n = name_len(line, true);
	const char *p;
	char *end;
	bool same = nfamilies > 0 && strlen(f->name) == n && strncmp(f->name, line, n) == 0 &&
		    strcmp(f->type, "histogram") != 0;

	if (nfamilies == 0 || n == 0 || f->type[0] == '\0' ||
	    (!same && !is_of_histogram(f, line, n)))
		return false;
	p = labels_end(line + n);
	if (p == NULL || *p != ' ' || !isdigit((unsigned char)p[1]))
		return false;
	(void)strtod(p + 1, &end);
	if (*end != '\0')
		return false;
	if (strcmp(f->type, "counter") == 0 &&
	    (n < 6 || strncmp(f->name + n - 6, "_total", 6) != 0))
		return false;
	f->samples++;
	if (nseries < series_max)
		(void)snprintf(series[nseries++], sizeof(series[0]), "%.*s", (int)(p - line), line);
	return true;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void assert_format(struct np_buf *b)
{
	const char *text = np_buf_cstr(b);

	assert_non_null(text);
	nfamilies = nseries = 0;
	while (*text != '\0') {
		const char *end = strchr(text, '\n');
		char line[1000];
		bool good;

		assert_non_null(end); /* the last line has its end, too */
		assert_true((size_t)(end - text) < sizeof(line));
		(void)snprintf(line, sizeof(line), "%.*s", (int)(end - text), text);
		good = line[0] == '#' ? take_comment(line) : take_sample(line);
		if (!good)
			print_error("line: %s\n", line);
		assert_true(good);
		text = end + 1;
	}
	qsort(series, nseries, sizeof(series[0]), by_text);
	for (size_t i = 1; i < nseries; i++)
		assert_string_not_equal(series[i - 1], series[i]);
}

static void assert_has(struct np_buf *b, const char *line)
{
	char text[800];

	(void)snprintf(text, sizeof(text), "\n%s\n", line);
	if (strstr(np_buf_cstr(b), text) == NULL)
		print_error("missing: %s\n", line);
	assert_non_null(strstr(np_buf_cstr(b), text));
}

static void assert_has_not(struct np_buf *b, const char *part)
{
	assert_null(strstr(np_buf_cstr(b), part));
}

/* -- the world -- */

static struct model model;
static struct model_instance *all;
static struct metrics *metrics;
static struct metrics_view view;
static struct np_buf text;

static void add_instances(size_t n)
{
	static char alias[] = "";

	all = calloc(n, sizeof(*all));
	assert_non_null(all);
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(all[i].id, sizeof(all[i].id), "%08zx", i);
		all[i].alias = alias;
		all[i].role = i % 2 == 0 ? NP_ROLE_SERVER : NP_ROLE_CLIENT;
		all[i].next = i + 1 < n ? &all[i + 1] : NULL;
	}
	model = (struct model){.list = all, .count = n};
}

static int setup(void **state)
{
	(void)state;
	series_max = 100000;
	series = calloc(series_max, sizeof(series[0]));
	assert_non_null(series);
	assert_int_equal(metrics_new(&metrics), NP_OK);
	np_buf_init(&text, METRICS_TEXT_MAX);
	model = (struct model){0};
	view = (struct metrics_view){.model = &model};
	all = NULL;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	metrics_free(metrics);
	np_buf_release(&text);
	free(all);
	free(series);
	return 0;
}

static void render(void)
{
	np_buf_release(&text);
	metrics_render(metrics, &view, &text);
	assert_int_equal(text.err, NP_OK);
	assert_format(&text);
}

/* @n closes of which that of @reason is @value, and one counter of that name. */
static void observe(const char *id, size_t n, size_t reason, uint64_t value, const char *name)
{
	uint64_t closes[100] = {0}, one = value;
	struct ctl_metric list[] = {{.name = "closes", .values = closes, .n = n},
				    {.values = &one, .n = 1},
				    {.name = "of_a_newer_node", .values = &one, .n = 1},
				    {.name = "retries", .values = NULL, .n = 0}};
	struct ctl_instance_metrics im = {.starts = 1, .metrics = list, .n = 4};

	closes[reason] = value;
	(void)snprintf(im.id, sizeof(im.id), "%s", id);
	(void)snprintf(list[1].name, sizeof(list[1].name), "%s", name);
	metrics_observe(metrics, &im);
}

static void metrics_render__nothing_known__process_and_node(void **state)
{
	(void)state;
	render();
	assert_has(&text, "nodepass_dataplane_up 0");
	assert_has(&text, "nodepass_http_connections 0");
	assert_has_not(&text, "nodepass_dataplane_sessions");
	assert_has_not(&text, "process_cpu_seconds_total");
}

static void metrics_render__one_instance__all_of_it(void **state)
{
	(void)state;
	add_instances(2);
	all[1].state = CTL_RUNNING;
	all[1].desired = CTL_DESIRED_RUNNING;
	all[1].mode = 2;
	all[1].ping_ms = 1042;
	all[1].pool = 7;
	all[1].tcps = 3;
	all[1].udps = 4;
	all[1].total[MODEL_TCP_RX] = 1;
	all[1].total[MODEL_UDP_TX] = UINT64_MAX;
	observe("00000001", 26, 10, 5, "udp_dropped");
	render();
#define L "{id=\"00000001\",alias=\"\",type=\"client\""
	assert_has(&text, "nodepass_instance_status" L ",status=\"running\"} 1");
	assert_has(&text, "nodepass_instance_mode" L "} 2");
	assert_has(&text, "nodepass_instance_ping_seconds" L "} 1.042");
	assert_has(&text, "nodepass_instance_pool_connections" L "} 7");
	assert_has(&text, "nodepass_instance_sessions" L ",proto=\"tcp\"} 3");
	assert_has(&text, "nodepass_instance_sessions" L ",proto=\"udp\"} 4");
	assert_has(&text, "nodepass_instance_bytes_total" L ",proto=\"tcp\",direction=\"rx\"} 1");
	assert_has(&text, "nodepass_instance_bytes_total" L
			  ",proto=\"udp\",direction=\"tx\"} 18446744073709551615");
	assert_has(&text,
		   "nodepass_instance_sessions_closed_total" L ",reason=\"idle_timeout\"} 5");
	assert_has(&text, "nodepass_instance_udp_dropped_total" L "} 5");
	assert_has(&text, "nodepass_instance_tcp_sessions_total" L "} 0");
	assert_has_not(&text, "nodepass_instance_retries_total" L);
	assert_has_not(&text, "newer_node");
#undef L
	assert_has(&text, "nodepass_instance_status{id=\"00000000\",alias=\"\",type=\"server\","
			  "status=\"stopped\"} 1");
	assert_has_not(&text, "nodepass_instance_tcp_sessions_total{id=\"00000000\"");
}

static void metrics_render__alias_of_any_bytes__escaped(void **state)
{
	char alias[] = "a\"b\\c\nd{}, \xc3\xa9";

	(void)state;
	add_instances(1);
	all[0].alias = alias;
	render();
	assert_has(&text,
		   "nodepass_instance_mode{id=\"00000000\",alias=\"a\\\"b\\\\c\\nd{}, \xc3\xa9\","
		   "type=\"server\"} 0");
}

static void metrics_observe__reasons_of_a_newer_node__by_number(void **state)
{
	(void)state;
	add_instances(1);
	observe("00000000", 100, 47, 3, "tcp_sessions");
	render();
	assert_has(&text, "nodepass_instance_sessions_closed_total{id=\"00000000\",alias=\"\","
			  "type=\"server\",reason=\"47\"} 3");
	observe("00000000", 100, 99, 4, "tcp_sessions"); /* past the table */
	render();
	assert_has_not(&text, "reason=\"99\"");
}

static void observe_dial(uint64_t *bounds, size_t nbounds, uint64_t *values, size_t n)
{
	struct ctl_metric dial = {.name = "dial",
				  .values = values,
				  .n = n,
				  .sum = 1500000,
				  .bounds = bounds,
				  .nbounds = nbounds};
	struct ctl_instance_metrics im = {.id = "00000000", .metrics = &dial, .n = 1};

	metrics_observe(metrics, &im);
}

static void metrics_render__histogram__cumulative_with_the_bounds_of_the_node(void **state)
{
	uint64_t bounds[] = {500, 7000, 2500000}, values[] = {3, 0, 4, 2};

	(void)state;
	add_instances(2);
	observe_dial(bounds, 3, values, 4);
	render();
#define H(end, more) \
	"nodepass_instance_dial_seconds" end "{id=\"00000000\",alias=\"\",type=\"server\"" more "}"
	assert_has(&text, H("_bucket", ",le=\"0.0005\"") " 3");
	assert_has(&text, H("_bucket", ",le=\"0.007\"") " 3");
	assert_has(&text, H("_bucket", ",le=\"2.5\"") " 7");
	assert_has(&text, H("_bucket", ",le=\"+Inf\"") " 9");
	assert_has(&text, H("_sum", "") " 1.500000");
	assert_has(&text, H("_count", "") " 9");
#undef H
	assert_has_not(&text, "dial_seconds_count{id=\"00000001\"");
	assert_has_not(&text, "handshake_seconds_count{");
}

static void metrics_observe__no_histogram__left_out(void **state)
{
	uint64_t falling[] = {500, 400}, bounds[METRICS_BUCKETS_MAX + 1],
		 values[METRICS_BUCKETS_MAX + 2] = {1};

	(void)state;
	add_instances(1);
	for (size_t i = 0; i < METRICS_BUCKETS_MAX + 1; i++)
		bounds[i] = i + 1;
	observe_dial(NULL, 0, values, 1);
	observe_dial(falling, 2, values, 3);
	observe_dial(bounds, 2, values, 2);
	observe_dial(bounds, METRICS_BUCKETS_MAX + 1, values, METRICS_BUCKETS_MAX + 2);
	render();
	assert_has_not(&text, "dial_seconds_bucket");
	observe_dial(bounds, METRICS_BUCKETS_MAX, values, METRICS_BUCKETS_MAX + 1);
	render();
	assert_non_null(strstr(np_buf_cstr(&text), "dial_seconds_bucket"));
}

static void metrics_forget__instance_gone__no_row(void **state)
{
	(void)state;
	add_instances(1);
	observe("00000000", 10, 1, 3, "tcp_sessions");
	metrics_forget(metrics, "00000000");
	metrics_forget(metrics, "00000000");
	render();
	assert_has_not(&text, "nodepass_instance_tcp_sessions_total{");
}

static void metrics_observe__ids_without_instance__bounded_and_swept(void **state)
{
	char id[20];

	(void)state;
	add_instances(1);
	for (unsigned i = 0; i < METRICS_INSTANCES_MAX + 100; i++) {
		(void)snprintf(id, sizeof(id), "gone-%u", i);
		observe(id, 10, 1, 3, "tcp_sessions");
	}
	observe("00000000", 10, 1, 3, "tcp_sessions"); /* no room */
	render();
	assert_has_not(&text, "gone-");
	assert_has_not(&text, "nodepass_instance_tcp_sessions_total{");
	observe("00000000", 10, 1, 3, "tcp_sessions"); /* the others were forgotten */
	render();
	assert_has(&text, "nodepass_instance_tcp_sessions_total{id=\"00000000\",alias=\"\","
			  "type=\"server\"} 3");
}

static void metrics_lease__node_up__its_figures(void **state)
{
	const struct ctl_lease lease = {.instances = 5,
					.running = 4,
					.errors = 1,
					.cpu_permille = 1500,
					.mem_rss = 1u << 30,
					.fds = 77,
					.tcps = 2,
					.udp_tx = 9};

	(void)state;
	metrics_lease(metrics, &lease);
	view.node_up = view.synced = true;
	render();
	assert_has(&text, "nodepass_dataplane_up 1");
	assert_has(&text, "nodepass_dataplane_synced 1");
	assert_has(&text, "nodepass_dataplane_cpu_ratio 1.500");
	assert_has(&text, "nodepass_dataplane_resident_memory_bytes 1073741824");
	assert_has(&text, "nodepass_dataplane_open_fds 77");
	assert_has(&text, "nodepass_dataplane_instances_failed 1");
	assert_has(&text, "nodepass_dataplane_sessions{proto=\"tcp\"} 2");
	assert_has(&text, "nodepass_dataplane_bytes_total{proto=\"udp\",direction=\"tx\"} 9");
	view.node_up = false; /* what it said last is no longer so */
	render();
	assert_has_not(&text, "nodepass_dataplane_sessions");
}

static void metrics_render__ten_thousand_instances__within_the_maximum(void **state)
{
	char alias[MODEL_TEXT_MAX + 1];

	(void)state;
	memset(alias, '"', MODEL_TEXT_MAX);
	alias[MODEL_TEXT_MAX] = '\0';
	add_instances(MODEL_INSTANCES_MAX);
	for (size_t i = 0; i < MODEL_INSTANCES_MAX; i++) {
		all[i].alias = i % 10 == 0 ? alias : all[i].alias;
		observe(all[i].id, 26, i % 26, i + 1, "retries");
	}
	render();
	print_message("10000 instances: %zu bytes\n", np_buf_len(&text));
}

static void metrics_render__each_allocation_fails__error_or_whole(void **state)
{
	bool whole = false;

	(void)state;
	add_instances(2);
	for (long fail = 0; !whole; fail++) {
		struct np_buf b;

		np_buf_init(&b, METRICS_TEXT_MAX);
		np_alloc_fail_after(fail);
		metrics_render(metrics, &view, &b);
		np_alloc_fail_after(-1);
		whole = b.err == NP_OK;
		if (whole)
			assert_format(&b);
		np_buf_release(&b);
	}
}

static void metrics_process_parse__proc_stat__seconds_and_bytes(void **state)
{
	static const char stat[] =
	    "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 100 0 0 0 250 150 0 0 20 -5 3 0 1000 "
	    "123456789 2500 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0\n";
	struct metrics_process p = {0};

	(void)state;
	assert_true(metrics_process_parse(stat, 100, 4096, 1e9, &p));
	assert_true(p.cpu_s > 3.99 && p.cpu_s < 4.01);
	assert_int_equal(p.threads, 3);
	assert_int_equal(p.vsize, 123456789);
	assert_int_equal(p.rss, 2500 * 4096);
	assert_true(p.start_s > 1e9 + 9.9 && p.start_s < 1e9 + 10.1);
	assert_false(metrics_process_parse("", 100, 4096, 0, &p));
	assert_false(metrics_process_parse("1 (x) S 1 2", 100, 4096, 0, &p));
	metrics_process_read(&p);
	assert_true(p.known && p.rss > 0 && p.fds >= 3 && p.max_fds >= p.fds);
	view.process = p;
	render();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(metrics_render__nothing_known__process_and_node),
	    T(metrics_render__one_instance__all_of_it),
	    T(metrics_render__alias_of_any_bytes__escaped),
	    T(metrics_observe__reasons_of_a_newer_node__by_number),
	    T(metrics_render__histogram__cumulative_with_the_bounds_of_the_node),
	    T(metrics_observe__no_histogram__left_out),
	    T(metrics_forget__instance_gone__no_row),
	    T(metrics_observe__ids_without_instance__bounded_and_swept),
	    T(metrics_lease__node_up__its_figures),
	    T(metrics_render__ten_thousand_instances__within_the_maximum),
	    T(metrics_render__each_allocation_fails__error_or_whole),
	    T(metrics_process_parse__proc_stat__seconds_and_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
