/*
 * env.c - the numbers among the environment's variables, each with its floor and its maximum.
 *
 * A bad value never stops the program: it is reported and the default is used.
 */
#include "core/env.h"

#include "base/num.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

enum env_type { ENV_MS = 0, ENV_BYTES, ENV_COUNT };

static const struct env_row {
	const char *name;
	size_t offset;
	enum env_type type;
	int64_t def, min, max;
	const char *help;
} rows[] = {
#define NP_ENV(name, field, type, def, min, max, help) \
	{name, offsetof(struct np_env, field), ENV_##type, def, min, max, help},
#include "tbl/env.def"
#undef NP_ENV
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* @v as a person writes it: a duration or a number. 0 as a default says "not set". */
static void put_value(const struct env_row *row, int64_t v, char out[32])
{
	if (row->type == ENV_MS)
		np_format_duration(v, out);
	else
		snprintf(out, 32, "%lld", (long long)v);
}

static void put_default(const struct env_row *row, char out[32])
{
	if (row->type != ENV_MS && row->def < row->min)
		snprintf(out, 32, "automatic");
	else
		put_value(row, row->def, out);
}

static enum np_err parse_value(const struct env_row *row, const char *text, int64_t *out)
{
	uint64_t number;
	int64_t ms;
	enum np_err err;

	if (row->type == ENV_MS) {
		err = np_parse_duration(text, strlen(text), row->max, &ms);
		if (err == NP_OK && ms < row->min)
			err = NP_ERANGE;
		if (err == NP_OK)
			*out = ms;
		return err;
	}
	err = np_parse_u64(text, strlen(text), (uint64_t)row->min, (uint64_t)row->max, &number);
	if (err == NP_OK)
		*out = (int64_t)number;
	return err;
}

static void tell(const struct env_row *row, const char *text, enum np_err err,
		 void (*warn)(void *arg, const char *text), void *arg)
{
	char line[256], used[32], min[32], max[32];

	put_default(row, used);
	put_value(row, row->min, min);
	put_value(row, row->max, max);
	if (err == NP_ERANGE)
		snprintf(line, sizeof(line), "%s=%.64s: not from %s to %s, using %s", row->name,
			 text, min, max, used);
	else
		snprintf(line, sizeof(line), "%s=%.64s: not a %s, using %s", row->name, text,
			 row->type == ENV_MS ? "duration" : "number", used);
	warn(arg, line);
}

void np_env_load(struct np_env *out, const char *(*get)(void *arg, const char *name),
		 void (*warn)(void *arg, const char *text), void *arg)
{
	for (size_t i = 0; i < ROWS; i++) {
		int64_t *field = (int64_t *)((char *)out + rows[i].offset);
		const char *text = get(arg, rows[i].name);
		enum np_err err;

		*field = rows[i].def;
		if (text == NULL || text[0] == '\0')
			continue;
		err = parse_value(&rows[i], text, field);
		if (err != NP_OK)
			tell(&rows[i], text, err, warn, arg);
	}
	if (out->min_pool_interval_ms > out->max_pool_interval_ms) {
		out->min_pool_interval_ms = out->max_pool_interval_ms;
		warn(arg, "NP_MIN_POOL_INTERVAL is above NP_MAX_POOL_INTERVAL: using the latter");
	}
}

void np_env_help(struct np_buf *out)
{
	char def[32];

	for (size_t i = 0; i < ROWS; i++) {
		put_default(&rows[i], def);
		np_buf_putf(out, "  %-21s %s; default %s\n", rows[i].name, rows[i].help, def);
	}
}

void np_env_markdown(struct np_buf *out)
{
	char def[32], min[32], max[32];

	np_buf_put_str(out, "| name | default | from | to | meaning |\n|---|---|---|---|---|\n");
	for (size_t i = 0; i < ROWS; i++) {
		put_default(&rows[i], def);
		put_value(&rows[i], rows[i].min, min);
		put_value(&rows[i], rows[i].max, max);
		np_buf_putf(out, "| `%s` | %s | %s | %s | %s |\n", rows[i].name, def, min, max,
			    rows[i].help);
	}
}
