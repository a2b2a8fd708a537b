/*
 * supervise.c - see supervise.h.
 *
 * A process is watched by a pidfd, whether it is our child or was found. It has a session of its
 * own: neither Ctrl-C in our terminal nor our death reaches it.
 */
#include "supervise.h"

#include "supervise_child.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mono.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

#define SUPERVISE_MAGIC	 0x53555056u
#define EXTERNAL_POLL_MS 200 /* is there one now? */
#define LINE_MAX_BYTES	 2048
#define WORDS_BYTES	 (64 * 1024) /* more than SUPERVISE_WORDS_MAX lines */
#define READS_MAX	 16	     /* of LINE_MAX_BYTES per wake-up */

enum supervise_state {
	SUPERVISE_IDLE = 0, /* nothing runs; the timer looks or starts */
	SUPERVISE_STARTING, /* until it says that it is ready; the timer ends its patience */
	SUPERVISE_RUNNING,
	SUPERVISE_STOPPING, /* the timer kills */
	SUPERVISE_STOPPED,
};

/* Standard output or error of the child. */
struct stream {
	struct supervise *s; /* borrowed */
	struct event *event; /* owned, with its descriptor */
	char line[LINE_MAX_BYTES];
	size_t len;
};

struct supervise {
	unsigned magic;
	struct event_base *base;
	struct supervise_callbacks cb;
	void *arg;
	char *run_dir, *program; /* owned; program is NULL when external */
	bool external;

	enum supervise_state state;
	int pid, pidfd;
	bool is_child, killed_unready;
	struct np_mono since;
	int pause_ms;
	struct event *timer, *exit, *ready; /* owned */
	struct stream streams[2];
	char *words[SUPERVISE_WORDS_MAX]; /* owned; a ring */
	size_t first_word, nwords;

	void (*stop_done)(void *arg);
	void *stop_arg;
};

static void timer_set(struct supervise *s, int ms)
{
	event_add(s->timer, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
}

static void set_state(struct supervise *s, enum supervise_state state)
{
	s->state = state;
	event_del(s->timer);
}

/* An event and the descriptor that it watches. */
static void watch_end(struct event **ev)
{
	int fd;

	if (*ev == NULL)
		return;
	fd = event_get_fd(*ev);
	event_free(*ev);
	close(fd);
	*ev = NULL;
}

/* -- what it says -- */

static void words_clear(struct supervise *s)
{
	for (size_t i = 0; i < SUPERVISE_WORDS_MAX; i++) {
		np_free(s->words[i]);
		s->words[i] = NULL;
	}
	s->first_word = s->nwords = 0;
}

/* Colours are for terminals: "ESC [ digits m" is taken out. */
static void strip_colors(struct stream *st)
{
	size_t to = 0;

	for (size_t i = 0; i < st->len; i++) {
		size_t end = i + 2;

		if (st->line[i] == '\033' && i + 1 < st->len && st->line[i + 1] == '[') {
			while (end < st->len && strchr("0123456789;", st->line[end]) != NULL &&
			       st->line[end] != '\0')
				end++;
			if (end < st->len && st->line[end] == 'm') {
				i = end;
				continue;
			}
		}
		st->line[to++] = st->line[i];
	}
	st->len = to;
}

static void line_end(struct stream *st)
{
	struct supervise *s = st->s;
	char text[LINE_MAX_BYTES];
	char **place;

	strip_colors(st);
	np_log_escape(st->line, st->len, text, sizeof(text));
	st->len = 0;
	if (text[0] == '\0')
		return;
	if (s->nwords == SUPERVISE_WORDS_MAX) {
		s->first_word = (s->first_word + 1) % SUPERVISE_WORDS_MAX;
		s->nwords--;
	}
	place = &s->words[(s->first_word + s->nwords) % SUPERVISE_WORDS_MAX];
	np_free(*place);
	*place = np_strdup(text);
	s->nwords++;
	s->cb.on_output(s->arg, text);
}

static void stream_put(struct stream *st, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\n' || st->len == sizeof(st->line) / 4) /* escapes may make it 4x */
			line_end(st);
		if (p[i] != '\n')
			st->line[st->len++] = p[i];
	}
}

static void stream_read(struct stream *st)
{
	char bytes[LINE_MAX_BYTES];
	ssize_t n = 0;

	for (int i = 0; i < READS_MAX; i++) {
		n = read(event_get_fd(st->event), bytes, sizeof(bytes));
		if (n <= 0)
			break;
		stream_put(st, bytes, (size_t)n);
	}
	if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR)) {
		if (st->len > 0)
			line_end(st);
		watch_end(&st->event);
	}
}

static void on_stream(evutil_socket_t fd, short what, void *arg)
{
	struct stream *st = arg;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(st->s, SUPERVISE_MAGIC);
	stream_read(st);
}

static void streams_end(struct supervise *s)
{
	for (int i = 0; i < 2; i++) {
		struct stream *st = &s->streams[i];

		/* What a pipe holds. */
		for (int k = 0; k < 4 && st->event != NULL; k++)
			stream_read(st);
		if (st->event != NULL && st->len > 0)
			line_end(st);
		watch_end(&st->event);
	}
}

static void how_it_ended(const struct supervise *s, int status, struct np_buf *out)
{
	if (s->killed_unready)
		np_buf_putf(out, "was not ready after %d ms and killed", SUPERVISE_READY_MS);
	else if (!s->is_child)
		np_buf_put_str(out, "ended");
	else if (WIFEXITED(status))
		np_buf_putf(out, "exit status %d", WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		np_buf_putf(out, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		np_buf_put_str(out, "ended");
	for (size_t i = 0; i < s->nwords; i++) {
		const char *word = s->words[(s->first_word + i) % SUPERVISE_WORDS_MAX];

		np_buf_putf(out, "%s%s", i == 0 ? "; last words: " : " | ",
			    word != NULL ? word : "…");
	}
}

/* -- a process begins and ends -- */

static void start_or_adopt(struct supervise *s);

static void pause_then_start(struct supervise *s)
{
	set_state(s, SUPERVISE_IDLE);
	timer_set(s, s->external ? EXTERNAL_POLL_MS : s->pause_ms);
	if (s->pause_ms == 0)
		s->pause_ms = SUPERVISE_PAUSE_MIN_MS;
	else if (s->pause_ms < SUPERVISE_PAUSE_MAX_MS / 2)
		s->pause_ms *= 2;
	else
		s->pause_ms = SUPERVISE_PAUSE_MAX_MS;
}

static void stopped(struct supervise *s)
{
	void (*done)(void *arg) = s->stop_done;

	set_state(s, SUPERVISE_STOPPED);
	s->stop_done = NULL;
	if (done != NULL)
		done(s->stop_arg);
}

static void on_exit_event(evutil_socket_t fd, short what, void *arg)
{
	struct supervise *s = arg;
	bool stopping = s->state == SUPERVISE_STOPPING;
	int status = 0, pid = s->pid;
	struct np_buf words;
	const char *text;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(s, SUPERVISE_MAGIC);
	if (s->is_child && waitpid(s->pid, &status, WNOHANG) == 0)
		return;
	watch_end(&s->exit);
	watch_end(&s->ready);
	streams_end(s);
	np_buf_init(&words, WORDS_BYTES);
	how_it_ended(s, status, &words);
	s->pid = 0;
	s->pidfd = -1;
	if (np_mono_diff_ms(np_mono_now(), s->since) >= SUPERVISE_HEALTHY_MS)
		s->pause_ms = 0;
	if (!stopping)
		pause_then_start(s);
	text = np_buf_cstr(&words);
	s->cb.on_exit(s->arg, pid, text != NULL ? text : "ended");
	np_buf_release(&words);
	words_clear(s);
	if (stopping)
		stopped(s);
}

/* Takes @pidfd also on error. */
static enum np_err watch(struct supervise *s, int pid, int pidfd, bool is_child)
{
	s->exit = event_new(s->base, pidfd, EV_READ | EV_PERSIST, on_exit_event, s);
	if (s->exit == NULL || event_add(s->exit, NULL) != 0) {
		if (s->exit != NULL)
			event_free(s->exit);
		s->exit = NULL;
		close(pidfd);
		return NP_ENOMEM;
	}
	s->pid = pid;
	s->pidfd = pidfd;
	s->is_child = is_child;
	s->killed_unready = false;
	s->since = np_mono_now();
	words_clear(s);
	return NP_OK;
}

static void is_ready(struct supervise *s)
{
	set_state(s, SUPERVISE_RUNNING);
	s->cb.on_ready(s->arg, s->pid, !s->is_child);
}

static void on_ready_event(evutil_socket_t fd, short what, void *arg)
{
	struct supervise *s = arg;
	char byte;
	ssize_t n = read(fd, &byte, 1);

	(void)what;
	NP_CHECK_MAGIC(s, SUPERVISE_MAGIC);
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	watch_end(&s->ready);
	/* Without a byte it is about to end, or the timer ends it. */
	if (n == 1 && s->state == SUPERVISE_STARTING)
		is_ready(s);
}

/* Takes @fd also on error. */
static struct event *watch_fd(struct supervise *s, int fd, event_callback_fn fn, void *arg)
{
	struct event *ev = event_new(s->base, fd, EV_READ | EV_PERSIST, fn, arg);

	if (ev == NULL || event_add(ev, NULL) != 0) {
		if (ev != NULL)
			event_free(ev);
		close(fd);
		return NULL;
	}
	return ev;
}

static void spawn(struct supervise *s)
{
	struct supervise_child c;
	struct np_diag diag = {.text = ""};
	enum np_err err = supervise_child_spawn(s->program, s->run_dir, &c, &diag);

	if (err != NP_OK) {
		np_log(NP_LOG_ERROR, NULL, "the data plane cannot be started: %s",
		       diag.text[0] != '\0' ? diag.text : np_err_text(err));
		pause_then_start(s);
		return;
	}
	for (int i = 0; i < 2; i++) {
		s->streams[i].s = s;
		s->streams[i].len = 0;
		s->streams[i].event = watch_fd(s, c.output[i], on_stream, &s->streams[i]);
	}
	s->ready = watch_fd(s, c.ready, on_ready_event, s);
	if (watch(s, c.pid, c.pidfd, true) != NP_OK || s->ready == NULL) {
		/* Nothing would be known of it. */
		np_log(NP_LOG_ERROR, NULL, "the data plane cannot be watched: out of memory");
		kill(c.pid, SIGKILL);
		waitpid(c.pid, NULL, 0);
		watch_end(&s->exit);
		watch_end(&s->ready);
		streams_end(s);
		pause_then_start(s);
		return;
	}
	set_state(s, SUPERVISE_STARTING);
	timer_set(s, SUPERVISE_READY_MS);
}

static void start_or_adopt(struct supervise *s)
{
	int pid = 0, pidfd = -1;
	enum np_err err = supervise_child_find(s->run_dir, &pid, &pidfd);

	if (err == NP_OK && watch(s, pid, pidfd, false) == NP_OK) {
		is_ready(s);
		return;
	}
	if (err == NP_ENOTFOUND && !s->external) {
		spawn(s);
		return;
	}
	/* None yet, or one that is about to begin or to end. */
	set_state(s, SUPERVISE_IDLE);
	timer_set(s, EXTERNAL_POLL_MS);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct supervise *s = arg;

	(void)fd;
	(void)what;
	NP_CHECK_MAGIC(s, SUPERVISE_MAGIC);
	switch (s->state) {
	case SUPERVISE_IDLE:
		start_or_adopt(s);
		break;
	case SUPERVISE_STARTING:
		s->killed_unready = true;
		supervise_child_signal(s->pidfd, SIGKILL);
		break;
	case SUPERVISE_STOPPING:
		np_log(NP_LOG_WARN, NULL, "the data plane did not end in time and is killed pid=%d",
		       s->pid);
		supervise_child_signal(s->pidfd, SIGKILL);
		break;
	case SUPERVISE_RUNNING:
	case SUPERVISE_STOPPED:
		break;
	}
}

/* -- for the owner -- */

enum np_err supervise_new_program(struct event_base *base, const char *run_dir, const char *program,
				  const struct supervise_callbacks *cb, void *arg,
				  struct supervise **out)
{
	struct supervise *s = np_calloc(1, sizeof(*s));

	if (s == NULL)
		return NP_ENOMEM;
	s->magic = SUPERVISE_MAGIC;
	s->base = base;
	s->cb = *cb;
	s->arg = arg;
	s->external = program == NULL;
	s->pidfd = -1;
	s->run_dir = np_strdup(run_dir);
	if (program != NULL)
		s->program = np_strdup(program);
	s->timer = evtimer_new(base, on_timer, s);
	if (s->run_dir == NULL || (program != NULL && s->program == NULL) || s->timer == NULL) {
		supervise_free(s);
		return NP_ENOMEM;
	}
	*out = s;
	return NP_OK;
}

enum np_err supervise_new(struct event_base *base, const char *run_dir, bool external,
			  const struct supervise_callbacks *cb, void *arg, struct supervise **out,
			  struct np_diag *diag)
{
	char program[4096];
	enum np_err err = NP_OK;

	if (!external)
		err = supervise_find("nodepass-dataplane", program, sizeof(program), diag);
	if (err != NP_OK)
		return err;
	return supervise_new_program(base, run_dir, external ? NULL : program, cb, arg, out);
}

void supervise_start(struct supervise *s)
{
	if (s->state == SUPERVISE_IDLE && s->pid == 0)
		start_or_adopt(s);
}

bool supervise_is_external(const struct supervise *s)
{
	return s->external;
}

void supervise_stop(struct supervise *s, int grace_ms, void (*done)(void *arg), void *arg)
{
	s->stop_done = done;
	s->stop_arg = arg;
	if (s->external || s->pid == 0) {
		watch_end(&s->exit);
		stopped(s);
		return;
	}
	set_state(s, SUPERVISE_STOPPING);
	supervise_child_signal(s->pidfd, SIGTERM);
	timer_set(s, grace_ms);
}

void supervise_free(struct supervise *s)
{
	if (s == NULL)
		return;
	watch_end(&s->exit);
	watch_end(&s->ready);
	for (int i = 0; i < 2; i++)
		watch_end(&s->streams[i].event);
	if (s->timer != NULL)
		event_free(s->timer);
	words_clear(s);
	np_free(s->run_dir);
	np_free(s->program);
	s->magic = 0;
	np_free(s);
}
