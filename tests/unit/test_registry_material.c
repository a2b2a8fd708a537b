/*
 * test_registry_material.c - certificates and keys of instances: from other files, or given with the
 * spec, without a restart; a K that is given is not derived.
 */
#include "registry_bed.h"

#include "tls.h"

#include <openssl/pem.h>
#include <time.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(registry_apply__other_files__shown_without_restart),
	    TEST(registry_apply__given_certificate__no_file_is_read),
	    TEST(registry_apply__given_k__runs_without_deriving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
