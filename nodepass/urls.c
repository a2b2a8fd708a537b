/*
 * urls.c - the URLs of the command line, read and checked. See urls.h.
 */
#include "urls.h"

#include "base/alloc.h"
#include "core/proof.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define BLANKS	     " \t\r\n"
#define URL_LINE_MAX (NP_URL_MAX + 1024) /* room for blanks and a comment */

enum { STATUS_RUN = 1, STATUS_INPUT = 2 };

struct reader {
	struct urls *urls;
	int status;
	bool several; /* where a URL was written is worth saying */
	size_t words;
};

static void complain(struct reader *r, int status, const char *origin, const char *text)
{
	if (r->urls->complaints++ < URLS_COMPLAINTS_MAX)
		fprintf(stderr, "nodepass: %s%s%s\n", origin, origin[0] != '\0' ? ": " : "", text);
	if (r->status != STATUS_RUN)
		r->status = status;
}

/*
 * check_prefix - /healthz, /readyz and /metrics lie at the root of the API's address, outside the
 * prefix; an API below one of these words would be mistaken for them.
 */
static enum np_err check_prefix(const struct np_config *c, struct np_diag *diag)
{
	static const char *const taken[] = {"healthz", "readyz", "metrics"};
	const char *word;
	size_t len;

	if (c->role != NP_ROLE_MASTER)
		return NP_OK;
	word = c->prefix + strspn(c->prefix, "/");
	len = strcspn(word, "/");
	for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++) {
		if (strlen(taken[i]) == len && memcmp(word, taken[i], len) == 0)
			return np_diag_set(
			    diag, NP_EINVAL, "prefix",
			    "API prefix: \"/%s\" is a page of its own, another word is "
			    "wanted",
			    taken[i]);
	}
	return NP_OK;
}

/* A master's URL stands alone: it has a process of its own. */
static enum np_err check_master(struct reader *r, const struct np_config *c, struct np_diag *diag)
{
	if (c->role != NP_ROLE_MASTER)
		return NP_OK;
	if (r->several)
		return np_diag_set(diag, NP_EINVAL, "url",
				   "a master:// URL is given alone, its tunnels are added to it");
	r->urls->master = true;
	return check_prefix(c, diag);
}

static enum np_err show(struct urls *u, const struct np_config *c)
{
	struct np_buf text;
	enum np_err err;

	if (u->nshown == URLS_SHOWN_MAX)
		return NP_OK;
	np_buf_init(&text, NP_URL_MAX + 1);
	err = np_config_public_url(c, &text);
	if (err == NP_OK && np_buf_cstr(&text) != NULL)
		u->shown[u->nshown] = np_strdup(np_buf_cstr(&text));
	np_buf_release(&text);
	if (err != NP_OK)
		return err;
	return u->shown[u->nshown] != NULL ? (u->nshown++, NP_OK) : NP_ENOMEM;
}

static void take(struct reader *r, const char *url, const char *origin)
{
	struct urls *u = r->urls;
	struct np_config c;
	struct np_diag diag = {.text = ""};
	enum np_err err = np_config_parse(url, &c, &diag);

	if (err == NP_OK) {
		err = check_master(r, &c, &diag);
		if (err == NP_OK && u->n == NP_URLS_MAX)
			err =
			    np_diag_set(&diag, NP_ELIMIT, "url", "more than %d URLs", NP_URLS_MAX);
		if (err == NP_OK)
			err = show(u, &c);
		np_config_release(&c);
	}
	if (err == NP_OK) {
		np_url_list_put(&u->list, url, origin);
		err = u->list.err;
		u->n++;
	}
	if (err != NP_OK)
		complain(r, err == NP_ENOMEM ? STATUS_RUN : STATUS_INPUT, origin,
			 diag.text[0] != '\0' ? diag.text : np_err_text(err));
}

/* ---- files ---- */

/* The URL of a line: no blanks around it, no comment behind it. NULL: the line has none. */
static char *url_of_line(char *line)
{
	char *url = line + strspn(line, BLANKS), *end;

	if (*url == '\0' || *url == '#')
		return NULL;
	end = url + strcspn(url, BLANKS);
	/* What follows a blank is a comment, or part of a URL that np_config_parse refuses. */
	if (*end != '\0' && end[strspn(end, BLANKS)] != '#' && end[strspn(end, BLANKS)] != '\0')
		end = url + strlen(url);
	while (end > url && strchr(BLANKS, end[-1]) != NULL)
		end--;
	*end = '\0';
	return url;
}

static void read_lines(struct reader *r, FILE *f, const char *name)
{
	char line[URL_LINE_MAX], origin[NP_URL_ORIGIN_MAX + 1];
	size_t before = r->urls->n + r->urls->complaints, number = 0;
	bool whole = true;

	while (fgets(line, sizeof(line), f) != NULL) {
		bool begins = whole;

		whole = strchr(line, '\n') != NULL || feof(f);
		if (!begins) /* the rest of one that was too long */
			continue;
		snprintf(origin, sizeof(origin), "%.180s:%zu", name, ++number);
		if (!whole) {
			complain(r, STATUS_INPUT, origin, "the line is too long for a URL");
			continue;
		}
		if (url_of_line(line) != NULL)
			take(r, url_of_line(line), origin);
	}
	explicit_bzero(line, sizeof(line));
	if (ferror(f))
		complain(r, STATUS_INPUT, name, strerror(errno));
	else if (r->urls->n + r->urls->complaints == before)
		complain(r, STATUS_INPUT, name, "there is no URL in the file");
}

static void read_file(struct reader *r, const char *name)
{
	FILE *f;

	r->several = true;
	if (*name == '\0') {
		complain(r, STATUS_INPUT, "", "@: the name of a file with URLs is missing");
		return;
	}
	f = fopen(name, "re");
	if (f == NULL) {
		complain(r, STATUS_INPUT, name, strerror(errno));
		return;
	}
	read_lines(r, f, name);
	fclose(f);
}

/* ---- all of them ---- */

static void say_rest(struct urls *u)
{
	char text[48];

	if (u->complaints > URLS_COMPLAINTS_MAX)
		fprintf(stderr, "nodepass: %zu more of them are wrong\n",
			u->complaints - URLS_COMPLAINTS_MAX);
	if (u->complaints > 0 || u->n <= u->nshown)
		return;
	snprintf(text, sizeof(text), "(%zu more)", u->n - u->nshown);
	u->shown[u->nshown] = np_strdup(text);
	u->nshown += u->shown[u->nshown] != NULL;
}

void urls_read(char **words, struct urls *out, int *status)
{
	struct reader r = {.urls = out};
	char origin[32] = "";

	*out = (struct urls){.n = 0};
	np_buf_init(&out->list, NP_URL_LIST_MAX);
	while (words[r.words] != NULL)
		r.words++;
	r.several = r.words > 1;
	for (size_t i = 0; i < r.words; i++) {
		if (words[i][0] == '@') {
			read_file(&r, words[i] + 1);
			continue;
		}
		if (r.several)
			snprintf(origin, sizeof(origin), "URL %zu", i + 1);
		take(&r, words[i], origin);
		/* The list holds a copy; what other users of the machine can read goes. */
		np_wipe(words[i], strlen(words[i]));
	}
	say_rest(out);
	*status = r.status;
}

void urls_release(struct urls *u)
{
	np_buf_wipe(&u->list);
	for (size_t i = 0; i < u->nshown; i++)
		np_free(u->shown[i]);
	u->nshown = 0;
}
