/*
 * metrics_process.c - /proc/self as numbers. See metrics_process.h.
 */
#include "metrics_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

/* Fields of /proc/<pid>/stat behind the name, counted from 3 as in proc(5). */
enum {
	FIELD_FIRST = 3,
	FIELD_UTIME = 14,
	FIELD_STIME = 15,
	FIELD_THREADS = 20,
	FIELD_START = 22,
	FIELD_VSIZE = 23,
	FIELD_RSS = 24
};

bool metrics_process_parse(const char *text, long hz, long page, double boot_s,
			   struct metrics_process *out)
{
	const char *p = strrchr(text, ')'); /* the name may hold anything */
	uint64_t v[FIELD_RSS + 1] = {0};

	if (p == NULL || hz <= 0)
		return false;
	p++;
	for (int i = FIELD_FIRST; i <= FIELD_RSS; i++) {
		char *end;

		p += strspn(p, " ");
		if (*p == '\0')
			return false;
		v[i] = strtoull(p, &end, 10); /* the state is a letter: 0 */
		p += strcspn(p, " ");
	}
	out->cpu_s = (double)(v[FIELD_UTIME] + v[FIELD_STIME]) / (double)hz;
	out->threads = v[FIELD_THREADS];
	out->vsize = v[FIELD_VSIZE];
	out->rss = v[FIELD_RSS] * (uint64_t)page;
	out->start_s = boot_s + (double)v[FIELD_START] / (double)hz;
	return true;
}

static uint64_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	const struct dirent *e;
	uint64_t n = 0;

	if (d == NULL)
		return 0;
	while ((e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	(void)closedir(d);
	return n > 0 ? n - 1 : 0; /* its own */
}

static double seconds(clockid_t clock)
{
	struct timespec ts = {0};

	(void)clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void metrics_process_read(struct metrics_process *out)
{
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	char text[1024];
	ssize_t n = -1;
	struct rlimit lim;

	*out = (struct metrics_process){0};
	if (fd != -1) {
		n = read(fd, text, sizeof(text) - 1);
		(void)close(fd);
	}
	if (n <= 0)
		return;
	text[n] = '\0';
	out->known = metrics_process_parse(text, sysconf(_SC_CLK_TCK), sysconf(_SC_PAGESIZE),
					   seconds(CLOCK_REALTIME) - seconds(CLOCK_BOOTTIME), out);
	out->fds = count_fds();
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0)
		out->max_fds = (uint64_t)lim.rlim_cur;
}
