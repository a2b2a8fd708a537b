/*
 * pem_read.h - one look at the files of a set: their times, and what they say when those changed.
 * Blocks: for helper threads.
 */
#ifndef CP_PEM_READ_H
#define CP_PEM_READ_H

#include "pem_files.h"

#include <sys/stat.h>

struct pem_times {
	struct {
		struct timespec changed, modified;
		ino_t inode;
		off_t size;
	} file[PEM_COUNT];
};

struct pem_look {
	const char *const *paths;    /* borrowed; PEM_COUNT, NULL = not named */
	struct pem_times times;	     /* in: the known ones; out: those of what was read */
	bool all;		     /* whatever the times say */
	struct pem_content *content; /* out: owned; NULL = as before, or error */
	char *error;		     /* out: owned; why they cannot be used */
};

void pem_look_run(struct pem_look *look);
void pem_look_release(struct pem_look *look);

#endif
