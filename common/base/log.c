/*
 * log.c - the ring of waiting lines and its writer thread.
 *
 * A caller formats on its own stack, takes the lock for a pointer's store and never touches the
 * descriptor while the writer runs. The writer waits in poll(2), in slices, for np_log_stop's
 * give_up. What the descriptor refuses (full disk, closed pipe) is counted as lost and tried no
 * second time.
 */
#include "base/log.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log_line.h"
#include "base/mono.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

/* Less than PIPE_BUF: a pipe that poll calls writable takes it without blocking. */
#define BATCH_MAX    4096
#define STOP_WAIT_MS 1000 /* for the lines that wait */
#define LAST_WAIT_MS 500  /* for a writer that was told to give up */
#define SLICE_MS     100

struct line {
	size_t len;
	char text[];
};

enum log_state { LOG_STOPPED = 0, LOG_RUNNING, LOG_STOPPING };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t filled, ended;
	enum log_state state;
	struct np_log_options options;
	struct line **ring; /* owned, NP_LOG_RING_MAX pointers to owned lines */
	size_t first, count;
	uint64_t unsaid; /* dropped, and not yet told in a line */
	bool say_now;	 /* the ring had no room: tell it without waiting for the next line */
	size_t in_hand;	 /* lines of the batch that is being written */
	pthread_t thread;
	unsigned generation; /* of the writer that may touch the rest */
} logger = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .filled = PTHREAD_COND_INITIALIZER,
    .ended = PTHREAD_COND_INITIALIZER,
    .options = {.fd = STDOUT_FILENO},
};
/* Who is shown the lines first. Held for reading while it looks at one. */
static struct {
	pthread_rwlock_t lock;
	atomic_bool set; /* so that a process without one takes no lock */
	np_log_sink_fn fn;
	void *arg;
} sink = {.lock = PTHREAD_RWLOCK_INITIALIZER};
static atomic_uint_fast64_t dropped;
static atomic_bool give_up;

/* ---- the descriptor ---- */

/* write(2) whose SIGPIPE reaches nobody. */
static ssize_t write_quiet(int fd, const char *p, size_t n)
{
	const struct timespec none = {0};
	sigset_t pipe_only, before, pending;
	bool was_pending;
	ssize_t done;
	int err;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigpending(&pending);
	was_pending = sigismember(&pending, SIGPIPE) == 1;
	pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
	done = write(fd, p, n);
	err = errno;
	if (done == -1 && err == EPIPE && !was_pending) {
		while (sigtimedwait(&pipe_only, NULL, &none) == -1 && errno == EINTR)
			continue;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = err;
	return done;
}

/* How patient a writer is with a descriptor that takes nothing. */
static bool is_over(bool direct)
{
	return direct || atomic_load_explicit(&give_up, memory_order_relaxed);
}

/*
 * Writes all of @p, however long the descriptor makes it wait (@direct: SLICE_MS of silence).
 * Returns what was written: less than @n when the descriptor refused.
 */
static size_t write_all(int fd, const char *p, size_t n, bool direct)
{
	size_t done = 0;

	while (done < n) {
		struct pollfd pfd = {.fd = fd, .events = POLLOUT};
		int ready = poll(&pfd, 1, SLICE_MS);
		ssize_t w;

		if (ready == 0 && is_over(direct))
			return done;
		if (ready == 0 || (ready == -1 && errno == EINTR))
			continue;
		w = write_quiet(fd, p + done, n - done);
		if (w == -1 && errno == EAGAIN) {
			if (is_over(direct))
				return done;
			/* Some terminals are called writable and are not: no spinning on them. */
			poll(NULL, 0, 10);
			continue;
		}
		if (w == -1 && errno == EINTR)
			continue;
		if (w <= 0)
			return done;
		done += (size_t)w;
	}
	return done;
}

/* ---- ring and writer ---- */

static size_t format_line(char out[NP_LOG_LINE_MAX], enum np_log_level level, const char *fmt, ...)
    NP_PRINTF(3, 4);
static size_t format_line(char out[NP_LOG_LINE_MAX], enum np_log_level level, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = np_log_line_format(out, &logger.options, level, NULL, fmt, ap);
	va_end(ap);
	return n;
}

static struct line *ring_pop(void)
{
	struct line *l = logger.ring[logger.first];

	logger.first = (logger.first + 1) % NP_LOG_RING_MAX;
	logger.count--;
	return l;
}

/* Takes whole lines off the ring while they fit. Under the lock. */
static size_t take_batch(char batch[BATCH_MAX])
{
	size_t len = 0;

	logger.in_hand = 0;
	while (logger.count > 0 && logger.ring[logger.first]->len <= BATCH_MAX - len) {
		struct line *l = ring_pop();

		memcpy(batch + len, l->text, l->len);
		len += l->len;
		logger.in_hand++;
		np_free(l);
	}
	return len;
}

/* The line that tells what was lost. Under the lock. */
static size_t take_notice(char batch[BATCH_MAX])
{
	uint64_t n = logger.unsaid;

	logger.unsaid = 0;
	return format_line(batch, NP_LOG_WARN, "log lines were dropped count=%llu",
			   (unsigned long long)n);
}

static void count_dropped(uint64_t lines)
{
	logger.unsaid += lines;
	atomic_fetch_add_explicit(&dropped, lines, memory_order_relaxed);
}

static bool write_batch(const char *batch, size_t len, bool *torn)
{
	static const char line_end = '\n';
	int fd = logger.options.fd;
	size_t done = 0;

	/* The rest of a torn line is lost; the next one starts a line of its own. */
	if (!*torn || write_all(fd, &line_end, 1, false) == 1) {
		*torn = false;
		done = write_all(fd, batch, len, false);
	}
	if (done > 0 && done < len)
		*torn = batch[done - 1] != '\n';
	return done == len;
}

/*
 * One round: a notice or a batch is written. Under the lock, which is left while it is written.
 * Returns false when np_log_stop went on without this writer.
 */
static bool write_round(unsigned generation, bool *torn, bool *refused)
{
	char batch[BATCH_MAX];
	uint64_t told = *refused ? 0 : logger.unsaid;
	size_t len = told > 0 ? take_notice(batch) : take_batch(batch);
	bool ok;

	logger.say_now = false;
	pthread_mutex_unlock(&logger.lock);
	ok = write_batch(batch, len, torn);
	pthread_mutex_lock(&logger.lock);
	if (logger.generation != generation)
		return false;
	/* A notice that was refused waits for a line that was not: a full disk makes nothing spin.
	 */
	*refused = !ok;
	if (ok) {
		logger.say_now = logger.unsaid > 0;
	} else {
		logger.unsaid += told;
		count_dropped(logger.in_hand);
	}
	logger.in_hand = 0;
	return !atomic_load_explicit(&give_up, memory_order_relaxed);
}

static void *writer_main(void *arg)
{
	bool torn = false, refused = false, on = true;
	unsigned generation;

	(void)arg;
	pthread_mutex_lock(&logger.lock);
	generation = logger.generation;
	while (on) {
		if (logger.count > 0 || (logger.say_now && !refused))
			on = write_round(generation, &torn, &refused);
		else if (logger.state == LOG_RUNNING)
			pthread_cond_wait(&logger.filled, &logger.lock);
		else
			on = false;
	}
	if (logger.generation == generation) {
		logger.state = LOG_STOPPED;
		pthread_cond_signal(&logger.ended);
	}
	pthread_mutex_unlock(&logger.lock);
	return NULL;
}

/* Takes @l, or frees it when there is no room. Under the lock. */
static void ring_push(struct line *l)
{
	if (l == NULL || logger.count == NP_LOG_RING_MAX) {
		np_free(l);
		count_dropped(1);
		logger.say_now = true;
	} else {
		logger.ring[(logger.first + logger.count) % NP_LOG_RING_MAX] = l;
		logger.count++;
	}
	pthread_cond_signal(&logger.filled);
}

/* A whole line into the ring, or out at once while there is no writer. */
static void emit(const char *text, size_t len)
{
	struct line *l = np_malloc(sizeof(*l) + len);

	if (l != NULL) {
		l->len = len;
		memcpy(l->text, text, len);
	}
	pthread_mutex_lock(&logger.lock);
	if (logger.state != LOG_STOPPED) {
		ring_push(l);
		pthread_mutex_unlock(&logger.lock);
		return;
	}
	pthread_mutex_unlock(&logger.lock);
	np_free(l);
	if (write_all(logger.options.fd, text, len, true) != len)
		atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
}

void np_log_write(const char *line, size_t len)
{
	int saved = errno;

	emit(line, len);
	errno = saved;
}

void np_log_set_sink(np_log_sink_fn fn, void *arg)
{
	pthread_rwlock_wrlock(&sink.lock);
	sink.fn = fn;
	sink.arg = arg;
	atomic_store(&sink.set, fn != NULL);
	pthread_rwlock_unlock(&sink.lock);
}

static bool sink_took(enum np_log_level level, const char *instance, const char *fmt, va_list ap)
    NP_PRINTF(3, 0);
static bool sink_took(enum np_log_level level, const char *instance, const char *fmt, va_list ap)
{
	char text[NP_LOG_LINE_MAX];
	struct timespec now = {0};
	bool took = false;

	if (!atomic_load_explicit(&sink.set, memory_order_relaxed))
		return false;
	np_log_line_text(text, fmt, ap);
	clock_gettime(CLOCK_REALTIME, &now);
	pthread_rwlock_rdlock(&sink.lock);
	if (sink.fn != NULL)
		took = sink.fn(sink.arg, level, instance, text,
			       (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	pthread_rwlock_unlock(&sink.lock);
	return took;
}

void np_vlog(enum np_log_level level, const char *instance, const char *fmt, va_list ap)
{
	int saved = errno;
	char text[NP_LOG_LINE_MAX];
	va_list again;
	bool took;

	if (level < NP_LOG_DEBUG || level > NP_LOG_EVENT)
		return;
	va_copy(again, ap);
	took = sink_took(level, instance, fmt, again);
	va_end(again);
	if (took) {
		errno = saved;
		return;
	}
	emit(text, np_log_line_format(text, &logger.options, level, instance, fmt, ap));
	errno = saved;
}

void np_log(enum np_log_level level, const char *instance, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	np_vlog(level, instance, fmt, ap);
	va_end(ap);
}

uint64_t np_log_dropped(void)
{
	return atomic_load_explicit(&dropped, memory_order_relaxed);
}

enum np_err np_log_start(const struct np_log_options *o)
{
	sigset_t all, before;
	int rc;

	NP_ASSERT(logger.state == LOG_STOPPED);
	logger.ring = np_calloc(NP_LOG_RING_MAX, sizeof(struct line *));
	if (logger.ring == NULL)
		return NP_ENOMEM;
	tzset();
	logger.options = *o;
	logger.first = logger.count = logger.in_hand = 0;
	logger.unsaid = 0;
	logger.say_now = false;
	atomic_store_explicit(&give_up, false, memory_order_relaxed);
	logger.state = LOG_RUNNING;
	/* The process's signals are for its loops. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	rc = pthread_create(&logger.thread, NULL, writer_main, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0) {
		logger.state = LOG_STOPPED;
		np_free(logger.ring);
		logger.ring = NULL;
		errno = rc;
		return NP_ESYS;
	}
	return NP_OK;
}

/* True when the writer came to its end within @ms. Under the lock. */
static bool wait_for_writer(int64_t ms)
{
	struct np_mono t = np_mono_add_ms(np_mono_now(), ms);
	struct timespec until = {.tv_sec = t.us / 1000000, .tv_nsec = t.us % 1000000 * 1000};

	while (logger.state != LOG_STOPPED) {
		if (pthread_cond_clockwait(&logger.ended, &logger.lock, CLOCK_MONOTONIC, &until) !=
		    0)
			break;
	}
	return logger.state == LOG_STOPPED;
}

static void free_ring(void)
{
	count_dropped(logger.count + logger.in_hand);
	while (logger.count > 0)
		np_free(ring_pop());
	np_free(logger.ring);
	logger.ring = NULL;
	logger.in_hand = 0;
}

void np_log_stop(void)
{
	bool ended;

	pthread_mutex_lock(&logger.lock);
	if (logger.state != LOG_RUNNING) {
		pthread_mutex_unlock(&logger.lock);
		return;
	}
	logger.state = LOG_STOPPING;
	pthread_cond_signal(&logger.filled);
	ended = wait_for_writer(STOP_WAIT_MS);
	if (!ended) {
		atomic_store_explicit(&give_up, true, memory_order_relaxed);
		ended = wait_for_writer(LAST_WAIT_MS);
	}
	/* A writer that hangs in write(2) all the same finds another generation when it comes back.
	 */
	logger.generation++;
	free_ring();
	logger.state = LOG_STOPPED;
	pthread_mutex_unlock(&logger.lock);
	if (ended)
		pthread_join(logger.thread, NULL);
	else
		pthread_detach(logger.thread);
}
