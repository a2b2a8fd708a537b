/*
 * test_pipe.c - pipes of a worker: bytes through them, what goes back to the pool and what does not,
 * and what happens when the process may have no descriptors.
 */
#include "on_worker.h"
#include "pipe.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct ends {
	struct stream a, b; /* a's other end is x, b's is y */
	int x, y;
};

static void ends_open(struct ends *e)
{
	int p[2], q[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, q), 0);
	stream_init(&e->a, p[0]);
	stream_init(&e->b, q[0]);
	e->x = p[1];
	e->y = q[1];
}

static void ends_close(struct ends *e)
{
	stream_close(&e->a, false);
	stream_close(&e->b, false);
	close(e->x);
	close(e->y);
}

static void move(struct worker *w, void *arg)
{
	struct ends e;
	struct pipe p;
	char out[8] = "", rest[4] = "";
	size_t n = 0;

	(void)arg;
	ends_open(&e);
	pipe_init(&p);
	assert_true(pipe_take(w, &p));
	assert_int_equal(pipe_fill(&p, &e.a, 100, &n), STREAM_AGAIN);
	assert_int_equal(write(e.x, "abcdefgh", 8), 8);
	assert_int_equal(pipe_fill(&p, &e.a, 7, &n), STREAM_OK);
	assert_int_equal(n, 7);
	assert_int_equal(p.len, 7);
	assert_int_equal(pipe_drain(&p, &e.b, 5, &n), STREAM_OK);
	assert_int_equal(n, 5);
	assert_int_equal(p.len, 2);
	assert_int_equal(read(e.y, out, sizeof(out)), 5);
	assert_memory_equal(out, "abcde", 5);
	assert_true(pipe_read(&p, rest, 2));
	assert_memory_equal(rest, "fg", 2);
	assert_int_equal(p.len, 0);
	shutdown(e.x, SHUT_WR);
	assert_int_equal(pipe_fill(&p, &e.a, 100, &n), STREAM_OK); /* h */
	assert_true(pipe_read(&p, rest, 1));
	assert_int_equal(pipe_fill(&p, &e.a, 100, &n), STREAM_EOF);
	pipe_give(w, &p);
	ends_close(&e);
}

static void broken(struct worker *w, void *arg)
{
	struct ends e;
	struct pipe p;
	size_t n = 0;

	(void)arg;
	ends_open(&e);
	pipe_init(&p);
	assert_true(pipe_take(w, &p));
	assert_int_equal(write(e.x, "abc", 3), 3);
	assert_int_equal(pipe_fill(&p, &e.a, 3, &n), STREAM_OK);
	close(e.y);
	e.y = dup(e.x);
	assert_int_equal(pipe_drain(&p, &e.b, 3, &n), STREAM_FAILED);
	assert_true(e.b.reset);
	assert_int_equal(p.len, 3);
	pipe_give(w, &p);
	assert_false(pipe_is_open(&p));
	ends_close(&e);
}

/* What one visitor left in a pipe must never reach another. */
static void never_again(struct worker *w, void *arg)
{
	struct ends e;
	struct pipe p;
	size_t n = 0;
	int first;

	(void)arg;
	ends_open(&e);
	pipe_init(&p);
	assert_true(pipe_take(w, &p));
	first = p.fd[0];
	pipe_give(w, &p);
	assert_false(pipe_is_open(&p));
	assert_true(pipe_take(w, &p));
	assert_int_equal(p.fd[0], first); /* an empty one is used again */
	assert_int_equal(write(e.x, "secret", 6), 6);
	assert_int_equal(pipe_fill(&p, &e.a, 6, &n), STREAM_OK);
	pipe_give(w, &p);
	assert_false(pipe_is_open(&p));
	assert_true(pipe_take(w, &p)); /* whatever its number, it is a new one */
	assert_int_equal(p.len, 0);
	assert_int_equal(pipe_fill(&p, &e.a, 100, &n), STREAM_AGAIN);
	assert_int_equal(write(e.x, "x", 1), 1);
	assert_int_equal(pipe_fill(&p, &e.a, 100, &n), STREAM_OK);
	assert_int_equal(n, 1);
	pipe_give(w, &p);
	ends_close(&e);
}

static void none_left(struct worker *w, void *arg)
{
	struct rlimit old, none;
	struct pipe p[2];
	bool got;

	(void)arg;
	pipe_init(&p[0]);
	pipe_init(&p[1]);
	while (pipe_take(w, &p[0]) && p[0].fd[0] < 3) /* drains what the pool has */
		;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	got = pipe_take(w, &p[1]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_false(got);
	assert_false(pipe_is_open(&p[1]));
	assert_false(pipe_take(w, &p[1])); /* not asked again at once */
	pipe_give(w, &p[0]);
	assert_true(pipe_take(w, &p[1])); /* but the pool is */
	pipe_give(w, &p[1]);
}

static void run(void (*fn)(struct worker *w, void *arg))
{
	assert_int_equal(workers_start(1), NP_OK);
	assert_true(on_worker(worker_at(0), fn, NULL));
	workers_stop();
}

static void pipe__bytes__move_in_order_and_end(void **state)
{
	(void)state;
	run(move);
}

static void pipe__destination_gone__failed_and_closed(void **state)
{
	(void)state;
	run(broken);
}

static void pipe__with_bytes__is_never_given_back(void **state)
{
	(void)state;
	run(never_again);
}

static void pipe__no_descriptors__said_and_not_asked_again_at_once(void **state)
{
	(void)state;
	run(none_left);
}

static void pipe__size__as_set(void **state)
{
	(void)state;
	pipe_set_size(4096);
	run(move);
	pipe_set_size(PIPE_SIZE_DEFAULT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pipe__bytes__move_in_order_and_end),
	    cmocka_unit_test(pipe__destination_gone__failed_and_closed),
	    cmocka_unit_test(pipe__with_bytes__is_never_given_back),
	    cmocka_unit_test(pipe__no_descriptors__said_and_not_asked_again_at_once),
	    cmocka_unit_test(pipe__size__as_set),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
