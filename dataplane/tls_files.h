/*
 * tls_files.h - an instance's certificate: made in memory (tls=0, 1), given with the instance, or
 * read from files (tls=2) and re-read when they change. A bad new pair is reported and the old one
 * stays.
 */
#ifndef NP_TLS_FILES_H
#define NP_TLS_FILES_H

#include "instance.h"

/* How often the files' times are looked at; NP_RELOAD_INTERVAL when that is shorter. */
#define TLS_FILES_CHECK_MS 5000
/* Peers are told of a new certificate this long before it is shown. */
#define TLS_FILES_ANNOUNCE_MS 300

struct tls_files;

/* tls_files_new - blocks. @visitors: for visitors of a single-end client, else for a tunnel port.
 * A pair in @material is used instead of the files. Errors: NP_EINVAL (@diag), … */
enum np_err tls_files_new(struct instance *inst, bool visitors,
			  const struct instance_material *material, struct tls_files **out,
			  struct np_diag *diag) NP_MUST_CHECK;
/* tls_files_are_read - do files say what it is? */
bool tls_files_are_read(const struct tls_files *t);
/* tls_files_take - @identity (taken) is announced and then used; files are not read from now on.
 * Thread: home. */
void tls_files_take(struct tls_files *t, struct tls_identity *identity);
/* tls_files_watch - begins to look at the files. @on_new: a new pair will be used soon (announce
 * it). Thread: home. */
enum np_err tls_files_watch(struct tls_files *t,
			    void (*on_new)(struct instance *inst)) NP_MUST_CHECK;
void tls_files_free(struct tls_files *t);
/* tls_files_exit - gives the certificate of instances without files back; at the end of the process. */
void tls_files_exit(void);
/* tls_files_ctx - for new connections; NULL when @t is NULL. Thread: home. */
SSL_CTX *tls_files_ctx(const struct tls_files *t);
/* tls_files_fingerprints - of the certificate in use and of the one to come. */
void tls_files_fingerprints(const struct tls_files *t, struct np_msg_fingerprints *out);
/* tls_files_check - look now (SIGHUP); @force: re-read even if the times are the same. Thread:
 * home. */
void tls_files_check(struct tls_files *t, bool force);

#endif
