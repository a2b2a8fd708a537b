/*
 * test_registry.c - the registry with real workers and loopback sockets: what is applied runs, what
 * is told twice is done once, changes cut no session, and nothing is left behind.
 */
#include "registry_bed.h"

#include "base/alloc.h"
#include "tls.h"

#include <errno.h>
#include <malloc.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>

#define MANY	  1000
#define MANY_WORD 300

/* -- apply -- */

static void registry_apply__new__runs(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct ctl_status st;
	char listen[64];
	int fd;

	start_one(f, port);
	fd = visitor_open(port);
	assert_int_equal(greeting(fd), 'A');
	assert_true(echoes(fd, "hello"));
	st = status(f, "a");
	snprintf(listen, sizeof(listen), "127.0.0.1:%u", port);
	assert_string_equal(st.listen, listen);
	assert_int_equal(st.mode, 1);
	assert_int_equal(st.starts, 1);
	assert_string_equal(st.error, "");
	assert_true(st.since_ms > 0);
	close(fd);
}

static void registry_apply__same_twice__done_once(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();

	start_one(f, port);
	assert_int_equal(apply(f, "a", 1, CTL_DESIRED_RUNNING, SINGLE, port, f->a.port), CTL_OK);
	assert_int_equal(apply(f, "a", 2, CTL_DESIRED_RUNNING, SINGLE, port, f->a.port), CTL_OK);
	assert_int_equal(status(f, "a").revision, 2);
	assert_int_equal(status(f, "a").starts, 1);
	assert_int_equal(apply(f, "a", 2, CTL_DESIRED_RUNNING, SINGLE, port, f->b.port), CTL_STALE);
}

static void registry_apply__bad_url__last_one_goes_on(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct ctl_status st;
	int fd;

	start_one(f, port);
	assert_int_equal(
	    apply(f, "a", 2, CTL_DESIRED_RUNNING, SINGLE "&rate=fast", port, f->a.port),
	    CTL_INVALID);
	st = status(f, "a");
	assert_int_equal(st.state, CTL_RUNNING);
	assert_int_equal(st.revision, 1);
	assert_int_equal(st.nack_revision, 2);
	assert_non_null(strstr(st.nack_text, "fast"));
	fd = visitor_open(port);
	assert_int_equal(greeting(fd), 'A');
	close(fd);
}

static void registry_apply__bad_files__last_one_goes_on(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct ctl_status st;

	start_one(f, port);
	assert_int_equal(apply(f, "a", 2, CTL_DESIRED_RUNNING,
			       SINGLE "&tls=2&crt=/nonexistent/c&key=/nonexistent/k", port,
			       f->a.port),
			 CTL_ACCEPTED);
	UNTIL(f, status(f, "a").nack_revision == 2);
	st = status(f, "a");
	assert_int_equal(st.state, CTL_RUNNING);
	assert_int_equal(st.revision, 1);
	assert_non_null(strstr(st.nack_text, "/nonexistent/c"));
	assert_int_equal(apply(f, "a", 3, CTL_DESIRED_RUNNING, SINGLE, port, f->a.port), CTL_OK);
	assert_int_equal(status(f, "a").starts, 1);
}

static void registry_apply__stopped__listens_not(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();

	assert_int_equal(apply(f, "a", 1, CTL_DESIRED_STOPPED, SINGLE, port, f->a.port), CTL_OK);
	assert_int_equal(status(f, "a").state, CTL_STOPPED);
	assert_int_equal(visitor_open(port), -1);
}

/* Who waits for the newest revision must hear of it, also when the state stays what it is. */
static void registry_apply__stopped_once_more__said(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct ctl_spec spec = {.id = "a", .desired = CTL_DESIRED_STOPPED, .restart_nonce = 1};
	struct np_diag diag;
	unsigned before;
	char url[512];

	snprintf(url, sizeof(url), SINGLE, port, f->a.port);
	assert_int_equal(apply(f, "a", 1, CTL_DESIRED_STOPPED, "%s", url), CTL_OK);
	before = f->changes;
	spec.url = url;
	spec.revision = 3; /* between: started, which nobody saw */
	assert_int_equal(registry_apply(f->r, &spec, false, &diag), CTL_OK);
	assert_true(f->changes > before);
	assert_int_equal(status(f, "a").revision, 3);
	before = f->changes;
	assert_int_equal(apply(f, "a", 4, CTL_DESIRED_STOPPED, SINGLE, port, f->b.port), CTL_OK);
	assert_true(f->changes > before);
}

/* -- live change -- */

static void registry_apply__other_target__session_stays(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	int old, fd;

	start_one(f, port);
	old = visitor_open(port);
	assert_int_equal(greeting(old), 'A');
	assert_int_equal(apply(f, "a", 2, CTL_DESIRED_RUNNING, SINGLE "&rate=100", port, f->b.port),
			 CTL_OK);
	for (char c = 'A'; c != 'B';) { /* the order is on its way to the home worker */
		fd = visitor_open(port);
		c = greeting(fd);
		assert_int_not_equal(c, 0);
		close(fd);
	}
	assert_true(echoes(old, "still there"));
	assert_int_equal(status(f, "a").starts, 1);
	assert_int_equal(status(f, "a").revision, 2);
	close(old);
}

static void registry_apply__slot__counts_at_once(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	int one, two;
	char c = 'A';

	start_one(f, port);
	one = visitor_open(port);
	assert_int_equal(greeting(one), 'A');
	assert_int_equal(apply(f, "a", 2, CTL_DESIRED_RUNNING, SINGLE "&slot=1", port, f->a.port),
			 CTL_OK);
	while (c == 'A') {
		two = visitor_open(port);
		c = greeting(two);
		close(two);
	}
	assert_int_equal(c, 0);
	assert_true(echoes(one, "x"));
	close(one);
}

static void write_pair(const char *folder, const char *name, uint8_t fingerprint[32])
{
	struct tls_identity id;
	char path[128];
	FILE *f;

	assert_int_equal(tls_identity_make(&id), NP_OK);
	memcpy(fingerprint, id.fingerprint, 32);
	snprintf(path, sizeof(path), "%s/%s.crt", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, id.cert), 1);
	fclose(f);
	snprintf(path, sizeof(path), "%s/%s.key", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_PrivateKey(f, id.key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
	tls_identity_release(&id);
}

/* Does a visitor on @port see the certificate with @fingerprint? */
static bool shows(uint16_t port, const uint8_t fingerprint[32])
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	int fd = visitor_open(port);
	uint8_t is[32] = {0};

	assert_int_not_equal(fd, -1);
	SSL_set_fd(ssl, fd);
	assert_int_equal(SSL_connect(ssl), 1);
	assert_int_equal(tls_peer_fingerprint(ssl, is), NP_OK);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	return memcmp(is, fingerprint, 32) == 0;
}

#define WITH_FILES SINGLE "&tls=2&crt=%s/%s.crt&key=%s/%s.key"

static void registry_apply__other_files__shown_without_restart(void **state)
{
	struct fixture *f = *state;
	char folder[] = "/tmp/np-registry-XXXXXX", path[128];
	uint16_t port = free_port();
	uint8_t one[32], two[32];

	assert_non_null(mkdtemp(folder));
	write_pair(folder, "one", one);
	write_pair(folder, "two", two);
	(void)apply(f, "a", 1, CTL_DESIRED_RUNNING, WITH_FILES, port, f->a.port, folder, "one",
		    folder, "one");
	UNTIL(f, status(f, "a").state == CTL_RUNNING);
	assert_true(shows(port, one));
	(void)apply(f, "a", 2, CTL_DESIRED_RUNNING, WITH_FILES, port, f->a.port, folder, "one",
		    folder, "two"); /* key and certificate of two pairs */
	UNTIL(f, status(f, "a").nack_revision == 2);
	assert_int_equal(status(f, "a").revision, 1);
	assert_true(shows(port, one));
	(void)apply(f, "a", 3, CTL_DESIRED_RUNNING, WITH_FILES, port, f->a.port, folder, "two",
		    folder, "two");
	UNTIL(f, shows(port, two));
	assert_int_equal(status(f, "a").starts, 1);
	assert_int_equal(status(f, "a").revision, 3);
	for (int i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s.%s", folder, i < 2 ? "one" : "two",
			 i % 2 == 0 ? "crt" : "key");
		unlink(path);
	}
	rmdir(folder);
}

/* The bytes of a file that is gone afterwards: who shows them did not read it. */
static struct ctl_blob blob_of(const char *folder, const char *file)
{
	struct ctl_blob b = {.data = calloc(1, 8192)};
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	f = fopen(path, "r");
	assert_non_null(f);
	b.len = fread(b.data, 1, 8192, f);
	fclose(f);
	unlink(path);
	return b;
}

static enum ctl_code apply_given(struct fixture *f, uint64_t revision, uint16_t port,
				 const char *text, struct ctl_blob crt, struct ctl_blob key)
{
	struct ctl_spec spec = {.id = "a", .revision = revision, .desired = CTL_DESIRED_RUNNING};
	struct np_diag diag = {.text = ""};
	char url[512];

	snprintf(url, sizeof(url), SINGLE "&tls=2&crt=/none/c&key=/none/k%s", port, f->a.port,
		 text);
	spec.url = url;
	spec.cert_pem = crt;
	spec.key_pem = key;
	return registry_apply(f->r, &spec, false, &diag);
}

static void registry_apply__given_certificate__no_file_is_read(void **state)
{
	struct fixture *f = *state;
	char folder[] = "/tmp/np-registry-XXXXXX", word[] = "word";
	struct ctl_blob crt[2], key[2], wrong = {(uint8_t *)word, 4};
	uint16_t port = free_port();
	uint8_t one[32], two[32];

	assert_non_null(mkdtemp(folder));
	write_pair(folder, "one", one);
	write_pair(folder, "two", two);
	crt[0] = blob_of(folder, "one.crt");
	key[0] = blob_of(folder, "one.key");
	crt[1] = blob_of(folder, "two.crt");
	key[1] = blob_of(folder, "two.key");
	rmdir(folder);
	(void)apply_given(f, 1, port, "", wrong, key[0]);
	UNTIL(f, status(f, "a").state == CTL_ERROR);
	assert_string_equal(status(f, "a").error, "crt=/none/c: no certificate in PEM form");
	(void)apply_given(f, 2, port, "", crt[0], key[0]);
	UNTIL(f, status(f, "a").state == CTL_RUNNING);
	assert_true(shows(port, one));
	/* Another certificate alone, one that is none, one beside another live change. */
	(void)apply_given(f, 3, port, "", crt[1], key[1]);
	UNTIL(f, shows(port, two));
	(void)apply_given(f, 4, port, "", crt[0], key[1]);
	UNTIL(f, status(f, "a").nack_revision == 4);
	assert_true(shows(port, two));
	(void)apply_given(f, 5, port, "&rate=9", crt[0], key[0]);
	UNTIL(f, shows(port, one));
	assert_int_equal(status(f, "a").starts, 1);
	assert_int_equal(status(f, "a").revision, 5);
	for (int i = 0; i < 2; i++) {
		free(crt[i].data);
		free(key[i].data);
	}
}

static uint8_t *bytes_of(size_t n, uint8_t with)
{
	uint8_t *p = malloc(n);

	memset(p, with, n);
	return p;
}

static int64_t cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* A hundred different keys cost less than what ten of them cost to derive. */
static void registry_apply__given_k__runs_without_deriving(void **state)
{
	struct fixture *f = *state;
	struct ctl_spec spec = {.revision = 1, .desired = CTL_DESIRED_RUNNING};
	struct np_diag diag = {.text = ""};
	uint8_t salt[NP_SALT_LEN] = {0}, k[NP_K_LEN];
	int64_t begin = cpu_us(), one;
	uint16_t port = free_port();
	char url[128];

	assert_int_equal(np_key_derive(NP_KEY_WORD, "word", 4, salt, k), NP_OK);
	one = cpu_us() - begin;
	begin = cpu_us();
	spec.url = url;
	spec.auth_salt = (struct ctl_blob){bytes_of(NP_SALT_LEN, 1), NP_SALT_LEN};
	spec.auth_k = (struct ctl_blob){bytes_of(NP_K_LEN, 2), NP_K_LEN};
	for (unsigned i = 0; i < 100; i++) {
		snprintf(spec.id, sizeof(spec.id), "s%u", i);
		snprintf(url, sizeof(url),
			 "server://word-%u@127.0.7.%u:%u/127.0.0.1:1?mode=2&log=error", i, i + 1,
			 port);
		(void)registry_apply(f->r, &spec, false, &diag);
	}
	UNTIL(f, running(f) == 100);
	assert_true(cpu_us() - begin < 10 * one);
	free(spec.auth_salt.data);
	free(spec.auth_k.data);
}

/* -- replaced -- */

static void registry_apply__other_protocols__no_visitor_is_refused(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	int old, fd;

	start_one(f, port);
	old = visitor_open(port);
	assert_int_equal(greeting(old), 'A');
	for (unsigned i = 2; i < 12; i++) {
		assert_int_equal(apply(f, "a", i, CTL_DESIRED_RUNNING,
				       i % 2 == 0 ? SINGLE "&tls=0&sni=other" : SINGLE, port,
				       i % 2 == 0 ? f->b.port : f->a.port),
				 CTL_ACCEPTED);
		while (status(f, "a").starts != i) {
			fd = visitor_open(port);
			assert_int_not_equal(fd, -1);
			assert_int_not_equal(greeting(fd), 0);
			close(fd);
			pass(f);
		}
		assert_int_equal(status(f, "a").revision, i);
	}
	UNTIL(f, status(f, "a").state == CTL_RUNNING);
	assert_true(echoes(old, "still there"));
	UNTIL(f, ending(f) == 1); /* the first one, for the sake of this visitor */
	close(old);
	UNTIL(f, ending(f) == 0);
}

static void registry_apply__newest_wish__wins(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port(), other = free_port();
	int fd;

	assert_int_equal(apply(f, "a", 1, CTL_DESIRED_RUNNING, SINGLE, port, f->a.port),
			 CTL_ACCEPTED);
	for (unsigned i = 2; i < 20; i++)
		(void)apply(f, "a", i, i % 3 == 0 ? CTL_DESIRED_STOPPED : CTL_DESIRED_RUNNING,
			    SINGLE, i % 2 == 0 ? port : other, i % 4 == 0 ? f->a.port : f->b.port);
	(void)apply(f, "a", 20, CTL_DESIRED_RUNNING, SINGLE, other, f->b.port);
	UNTIL(f, status(f, "a").state == CTL_RUNNING && ending(f) == 0);
	fd = visitor_open(other);
	assert_int_equal(greeting(fd), 'B');
	close(fd);
	assert_int_equal(visitor_open(port), -1);
}

/* -- stop, start, restart, remove -- */

static void registry_action__stop__listener_at_once(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct np_diag diag;
	struct np_mono begin = np_mono_now();
	struct counter_sum sum;
	char c;
	int fd;

	start_one(f, port);
	fd = visitor_open(port);
	assert_int_equal(greeting(fd), 'A');
	assert_int_equal(registry_action(f->r, "a", CTL_STOP, &diag), CTL_ACCEPTED);
	assert_int_equal(status(f, "a").state, CTL_STOPPING);
	UNTIL(f, status(f, "a").state == CTL_STOPPED);
	assert_in_range(np_mono_diff_ms(np_mono_now(), begin), 2900, 6000);
	assert_true(recv(fd, &c, 1, 0) <= 0);
	assert_int_equal(visitor_open(port), -1);
	assert_true(registry_sum(f->r, "a", &sum));
	assert_int_equal(sum.closes[NP_REASON_INSTANCE_STOPPED], 1);
	assert_int_equal(registry_action(f->r, "a", CTL_STOP, &diag), CTL_OK);
	close(fd);
	assert_int_equal(registry_action(f->r, "a", CTL_START, &diag), CTL_ACCEPTED);
	UNTIL(f, status(f, "a").state == CTL_RUNNING);
	assert_int_equal(status(f, "a").starts, 2);
	fd = visitor_open(port);
	assert_int_equal(greeting(fd), 'A');
	close(fd);
}

static void registry_action__restart__pauses(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct np_diag diag;
	struct np_mono begin;

	start_one(f, port);
	begin = np_mono_now();
	assert_int_equal(registry_action(f->r, "a", CTL_RESTART, &diag), CTL_ACCEPTED);
	UNTIL(f, status(f, "a").starts == 2 && status(f, "a").state == CTL_RUNNING);
	assert_true(np_mono_diff_ms(np_mono_now(), begin) >= REGISTRY_RESTART_PAUSE_MS);
}

static void registry_action__reset__counts_from_nothing(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();
	struct np_diag diag;
	struct ctl_stats s;
	int fd;

	start_one(f, port);
	fd = visitor_open(port);
	assert_int_equal(greeting(fd), 'A');
	assert_true(echoes(fd, "12345"));
	UNTIL(f, registry_stats(f->r, "a", &s) && s.tcp_rx == 5 && s.tcp_tx == 6);
	assert_int_equal(s.tcps, 1);
	assert_int_equal(registry_action(f->r, "a", CTL_RESET, &diag), CTL_OK);
	assert_true(registry_stats(f->r, "a", &s));
	assert_int_equal(s.tcp_rx, 0);
	assert_int_equal(s.tcps, 1);
	assert_true(echoes(fd, "123"));
	UNTIL(f, registry_stats(f->r, "a", &s) && s.tcp_rx == 3 && s.tcp_tx == 3);
	close(fd);
}

static void registry_remove__running__said_once(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();

	start_one(f, port);
	assert_int_equal(registry_remove(f->r, "a"), CTL_ACCEPTED);
	(void)registry_remove(f->r, "a");
	UNTIL(f, registry_spec(f->r, "a") == NULL);
	assert_int_equal(f->removed, 1);
	assert_string_equal(f->removed_id, "a");
	assert_int_equal(registry_remove(f->r, "a"), CTL_NOT_FOUND);
	assert_null(registry_next(f->r, ""));
	assert_int_equal(visitor_open(port), -1);
}

static void registry_remove__being_made__leaves_nothing(void **state)
{
	struct fixture *f = *state;
	uint16_t port = free_port();

	assert_int_equal(apply(f, "s", 1, CTL_DESIRED_RUNNING,
			       "server://a-word-of-a-key@127.0.0.1:%u/127.0.0.1:%u?mode=2&log=none",
			       port, f->a.port),
			 CTL_ACCEPTED);
	assert_int_equal(registry_remove(f->r, "s"), CTL_OK);
	UNTIL(f, ending(f) == 0);
	assert_int_equal(visitor_open(port), -1);
}

static void registry_next__ids__in_order(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++)
		(void)apply(f, (const char *[]){"m", "b", "z"}[i], 1, CTL_DESIRED_STOPPED, SINGLE,
			    1000U, 2000U);
	assert_string_equal(registry_next(f->r, ""), "b");
	assert_string_equal(registry_next(f->r, "b"), "m");
	assert_string_equal(registry_next(f->r, "c"), "m");
	assert_null(registry_next(f->r, "z"));
}

/* -- tunnels -- */

static void registry_apply__tunnel_with_new_key__sessions_stay(void **state)
{
	struct fixture *f = *state;
	uint16_t tunnel = free_port(), port = free_port();
	int old = -1, fd;

	for (unsigned round = 1; round <= 2; round++) {
		(void)apply(
		    f, "server", round, CTL_DESIRED_RUNNING,
		    "server://key-number-%u@127.0.0.1:%u/127.0.0.1:%u?mode=1&noudp=1&log=none",
		    round, tunnel, port);
		(void)apply(
		    f, "client", round, CTL_DESIRED_RUNNING,
		    "client://key-number-%u@127.0.0.1:%u/127.0.0.1:%u?mode=2&noudp=1&log=none",
		    round, tunnel, f->a.port);
		UNTIL(f, running(f) == 2 && status(f, "server").starts == round &&
			     status(f, "client").starts == round);
		fd = visitor_open(port);
		assert_int_not_equal(fd, -1);
		assert_int_equal(greeting(fd), 'A');
		if (round == 1)
			old = fd;
		else
			close(fd);
	}
	assert_true(echoes(old, "over the first key"));
	close(old);
	UNTIL(f, ending(f) == 0);
}

/* -- many -- */

static double cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void registry_apply__word_keys__made_beside_the_loop(void **state)
{
	struct fixture *f = *state;
	struct np_mono begin = np_mono_now();
	int64_t longest = 0;
	char id[16];

	for (unsigned i = 0; i < MANY_WORD; i++) {
		struct np_mono one = np_mono_now();

		snprintf(id, sizeof(id), "s%u", i);
		assert_int_equal(
		    apply(f, id, 1, CTL_DESIRED_RUNNING,
			  "server://one-word@127.0.0.1:%u/127.0.0.1:1?mode=2&noudp=1&log=none",
			  20000 + i),
		    CTL_ACCEPTED);
		if (np_mono_diff_ms(np_mono_now(), one) > longest)
			longest = np_mono_diff_ms(np_mono_now(), one);
	}
	UNTIL(f, running(f) == MANY_WORD);
	print_message("%d servers with one word: %lld ms, longest apply %lld ms\n", MANY_WORD,
		      (long long)np_mono_diff_ms(np_mono_now(), begin), (long long)longest);
}

static void registry_apply__many__idle_costs_nothing(void **state)
{
	struct fixture *f = *state;
	const char *text = getenv("NP_TEST_INSTANCES");
	unsigned many = text != NULL ? (unsigned)atoi(text) : MANY;
	struct rlimit rl;
	struct np_mono begin;
	size_t before;
	double cpu;
	char id[16];

	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	before = mallinfo2().uordblks;
	begin = np_mono_now();
	for (unsigned i = 0; i < many; i++) {
		snprintf(id, sizeof(id), "i%u", i);
		assert_int_equal(
		    apply(f, id, 1, CTL_DESIRED_RUNNING,
			  "client://127.0.%u.%u:12345/127.0.0.1:%u?mode=1&noudp=1&log=none",
			  1 + i / 250, 1 + i % 250, f->a.port),
		    CTL_ACCEPTED);
	}
	UNTIL(f, running(f) == many);
	print_message("%u instances: running after %lld ms, %zu bytes each\n", many,
		      (long long)np_mono_diff_ms(np_mono_now(), begin),
		      (mallinfo2().uordblks - before) / many);
	begin = np_mono_now();
	while (np_mono_diff_ms(np_mono_now(), begin) < 5000 && text != NULL)
		pass(f);
	cpu = cpu_s();
	begin = np_mono_now();
	while (np_mono_diff_ms(np_mono_now(), begin) < 2000) {
		const struct timeval tv = {.tv_usec = 500000};

		event_base_loopexit(f->base, &tv);
		event_base_dispatch(f->base);
	}
	print_message("idle: %.2f %% of a core\n", (cpu_s() - cpu) / 2 * 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(registry_apply__new__runs),
	    TEST(registry_apply__same_twice__done_once),
	    TEST(registry_apply__bad_url__last_one_goes_on),
	    TEST(registry_apply__bad_files__last_one_goes_on),
	    TEST(registry_apply__stopped__listens_not),
	    TEST(registry_apply__stopped_once_more__said),
	    TEST(registry_apply__other_target__session_stays),
	    TEST(registry_apply__slot__counts_at_once),
	    TEST(registry_apply__other_files__shown_without_restart),
	    TEST(registry_apply__given_certificate__no_file_is_read),
	    TEST(registry_apply__given_k__runs_without_deriving),
	    TEST(registry_apply__other_protocols__no_visitor_is_refused),
	    TEST(registry_apply__newest_wish__wins),
	    TEST(registry_action__stop__listener_at_once),
	    TEST(registry_action__restart__pauses),
	    TEST(registry_action__reset__counts_from_nothing),
	    TEST(registry_remove__running__said_once),
	    TEST(registry_remove__being_made__leaves_nothing),
	    TEST(registry_next__ids__in_order),
	    TEST(registry_apply__tunnel_with_new_key__sessions_stay),
	    TEST(registry_apply__word_keys__made_beside_the_loop),
	    TEST(registry_apply__many__idle_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
