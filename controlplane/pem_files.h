/*
 * pem_files.h - what the files of instances say (crt, key, ca): read and checked on helper threads,
 * looked at every few seconds, given to those who use them. Files that cannot be used are reported
 * once, and what was read before stays in use. Thread: the loop's.
 *
 * The same paths are read once, whoever names them.
 */
#ifndef CP_PEM_FILES_H
#define CP_PEM_FILES_H

#include "core/digest.h"

#include <event2/event.h>
#include <stdbool.h>

#define PEM_FILES_CHECK_MS     5000 /* between two looks; NP_RELOAD_INTERVAL when that is shorter */
#define PEM_FILES_RETRY_MIN_MS 1000 /* files that were never read: again, doubling */
#define PEM_FILES_RETRY_MAX_MS 10000
#define PEM_FILE_MAX	       16384 /* bytes; what the control protocol takes */

enum pem_which { PEM_CRT = 0, PEM_KEY, PEM_CA, PEM_COUNT };

struct pem_files;
struct pem_set;

/* What the files say. Counted, never changed, wiped with the last reference. */
struct pem_content {
	unsigned refs;
	struct {
		uint8_t *data; /* owned */
		size_t len;    /* 0: not named */
	} file[PEM_COUNT];
	uint8_t digest[NP_DIGEST_LEN];
};

/* Embedded in who uses files. Zeroed: uses none. */
struct pem_user {
	struct pem_user *prev, *next; /* set->users */
	struct pem_set *set;
};

struct pem_callbacks {
	/* @error NULL: there is something new. Else why what the files say now cannot be used; said
	 * once for each reason. The user may leave from within. */
	void (*changed)(void *arg, struct pem_user *user, const char *error);
	/* Files were looked at; pem_files_unread may have fallen. */
	void (*looked)(void *arg);
};

enum np_err pem_files_new(struct event_base *base, int64_t reload_ms,
			  const struct pem_callbacks *cb, void *arg,
			  struct pem_files **out) NP_MUST_CHECK;
/* pem_files_use - of these paths from now on (NULL: not named), instead of what @user had. They are
 * read soon, if nobody did. Errors: NP_ENOMEM; then it uses none. */
enum np_err pem_files_use(struct pem_files *p, struct pem_user *user,
			  const char *const paths[PEM_COUNT]) NP_MUST_CHECK;
void pem_files_leave(struct pem_user *user);
/* pem_files_find - what is known of these paths already, borrowed; NULL: nothing. */
struct pem_content *pem_files_find(const struct pem_files *p, const char *const paths[PEM_COUNT]);
/* pem_files_look - at all of them now, their times or not (SIGHUP). pem_files_look_at - those of @user. */
void pem_files_look(struct pem_files *p);
void pem_files_look_at(struct pem_user *user);
/* pem_files_unread - sets that were never looked at to the end. */
size_t pem_files_unread(const struct pem_files *p);
void pem_files_free(struct pem_files *p); /* all users have left */

/* Of a user: the last good content (borrowed; NULL: none yet), and why the files cannot be used now
 * (NULL: they can, or were not read yet). */
struct pem_content *pem_user_content(const struct pem_user *user);
const char *pem_user_error(const struct pem_user *user);

struct pem_content *pem_content_hold(struct pem_content *c); /* NULL is fine, here and below */
void pem_content_release(struct pem_content *c);

#endif
