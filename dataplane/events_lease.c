/*
 * events_lease.c - the sign of life: state, load of the process, sums of all instances.
 */
#include "events_priv.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t rss_bytes(void)
{
	unsigned long long total, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f == NULL)
		return 0;
	if (fscanf(f, "%llu %llu", &total, &resident) != 2)
		resident = 0;
	fclose(f);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint32_t open_fds(void)
{
	struct stat st;
	uint32_t n = 0;
	DIR *dir;

	/* Since Linux 6.2 the size of the folder is the number; counting 100 000 of them takes long. */
	if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
		return (uint32_t)st.st_size;
	dir = opendir("/proc/self/fd");
	if (dir == NULL)
		return 0;
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n > 3 ? n - 3 : 0; /* ".", "..", the folder itself */
}

/* Of one CPU since the last lease: 1000 = one CPU was busy all the time. */
static uint32_t cpu_permille(struct events *e)
{
	struct np_mono now = np_mono_now();
	int64_t wall = np_mono_diff_us(now, e->cpu_since), used, before = e->cpu_us;
	struct rusage ru;

	if (getrusage(RUSAGE_SELF, &ru) == -1)
		return 0;
	used = (int64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000 + ru.ru_utime.tv_usec +
	       ru.ru_stime.tv_usec;
	e->cpu_us = used;
	e->cpu_since = now;
	if (before == 0 || wall <= 0)
		return 0;
	return (uint32_t)((used - before) * 1000 / wall);
}

void events_lease_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct events *e = arg;
	struct ctl_event ev = {.kind = CTL_EVENT_LEASE};

	(void)fd;
	(void)what;
	registry_load(e->registry, &ev.lease);
	ev.lease.applied_revision = commands_applied(e->commands);
	ev.lease.state = commands_state(e->commands);
	ev.lease.cpu_permille = cpu_permille(e);
	ev.lease.mem_rss = rss_bytes();
	ev.lease.fds = open_fds();
	events_send(e, &ev);
}
