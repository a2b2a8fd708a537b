/*
 * tls_files.h - an instance's certificate: made in memory (tls=0, 1), given with the instance, or
 * read from files (tls=2, and what a client shows its server) and re-read when they change; with the
 * authorities of ca=. What is bad is reported and the old ones stay.
 */
#ifndef NP_TLS_FILES_H
#define NP_TLS_FILES_H

#include "instance.h"

/* How often the files' times are looked at; NP_RELOAD_INTERVAL when that is shorter. */
#define TLS_FILES_CHECK_MS 5000
/* Peers are told of a new certificate this long before it is shown. */
#define TLS_FILES_ANNOUNCE_MS 300

struct tls_files;

enum tls_purpose {
	TLS_FOR_TUNNEL = 0, /* a tunnel port; ca=: clients must show a certificate */
	TLS_FOR_VISITORS,   /* visitors of a single-end client */
	TLS_FOR_SERVER,	    /* a client's connections to its server: crt= and key= if given, ca= */
};

/* tls_files_new - blocks. What is in @material is used instead of the files. Errors: NP_EINVAL
 * (@diag), … */
enum np_err tls_files_new(struct instance *inst, enum tls_purpose purpose,
			  const struct instance_material *material, struct tls_files **out,
			  struct np_diag *diag) NP_MUST_CHECK;
/* tls_files_are_read - do files say what it is? @t may be NULL. */
bool tls_files_are_read(const struct tls_files *t);
/* tls_files_take - @identity (taken) is announced and then used; files are not read from now on.
 * Thread: home. */
void tls_files_take(struct tls_files *t, struct tls_identity *identity);
/* tls_files_watch - begins to look at the files. @on_new: a new pair will be used soon (announce
 * it), or, for a server, is used from now on. Thread: home. */
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
