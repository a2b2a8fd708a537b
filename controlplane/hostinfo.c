/*
 * hostinfo.c - /proc once a second. Files of /proc are made by the kernel in memory and do not
 * block; they are read by the loop.
 */
#include "hostinfo.h"

#include "base/alloc.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

#define FILE_MAX_BYTES (256 * 1024) /* of /proc/stat and /proc/diskstats on large machines */
#define SECTOR	       512	    /* in diskstats, whatever the disk's own is */

struct hostinfo {
	struct event *timer;
	struct hostinfo_figures now;
	uint64_t cpu_total, cpu_idle; /* of the sample before */
	char *text;		      /* owned; FILE_MAX_BYTES + 1 */
};

/* The file into h->text; false: not there. */
static bool read_file(struct hostinfo *h, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	if (fd == -1)
		return false;
	while (len < FILE_MAX_BYTES && (n = read(fd, h->text + len, FILE_MAX_BYTES - len)) > 0)
		len += (size_t)n;
	close(fd);
	h->text[len] = '\0';
	return len > 0;
}

/* The next line from *p on, cut off; NULL at the end. */
static char *next_line(char **p)
{
	char *line = *p, *end;

	if (*line == '\0')
		return NULL;
	end = line + strcspn(line, "\n");
	*p = *end == '\n' ? end + 1 : end;
	*end = '\0';
	return line;
}

/* Up to @max numbers of @s into @out; how many there are. */
static size_t numbers(const char *s, uint64_t *out, size_t max)
{
	size_t n = 0;
	char *end;

	while (n < max) {
		out[n] = strtoull(s, &end, 10);
		if (end == s)
			break;
		s = end;
		n++;
	}
	return n;
}

static void sample_cpu(struct hostinfo *h)
{
	uint64_t v[8] = {0}, total = 0, idle, busy;

	if (!read_file(h, "/proc/stat") || strncmp(h->text, "cpu ", 4) != 0 ||
	    numbers(h->text + 4, v, 8) < 4) {
		h->now.cpu = -1;
		return;
	}
	for (size_t i = 0; i < 8; i++)
		total += v[i];
	idle = v[3] + v[4]; /* waiting for a disk is idle, too */
	if (total > h->cpu_total && idle >= h->cpu_idle) {
		busy = total - h->cpu_total;
		busy = idle - h->cpu_idle < busy ? busy - (idle - h->cpu_idle) : 0;
		h->now.cpu = (int)(busy * 100 / (total - h->cpu_total));
	}
	h->cpu_total = total;
	h->cpu_idle = idle;
}

static uint64_t mem_field(const char *text, const char *name)
{
	const char *at = strstr(text, name);
	uint64_t kb = 0;

	return at != NULL && numbers(at + strlen(name), &kb, 1) == 1 ? kb * 1024 : 0;
}

static void sample_memory(struct hostinfo *h)
{
	uint64_t available, swap_free;

	if (!read_file(h, "/proc/meminfo"))
		return;
	h->now.mem_total = mem_field(h->text, "MemTotal:");
	h->now.swap_total = mem_field(h->text, "SwapTotal:");
	available = mem_field(h->text, "MemAvailable:");
	swap_free = mem_field(h->text, "SwapFree:");
	h->now.mem_used = available < h->now.mem_total ? h->now.mem_total - available : 0;
	h->now.swap_used = swap_free < h->now.swap_total ? h->now.swap_total - swap_free : 0;
}

static bool is_virtual_interface(const char *name)
{
	static const char *const heads[] = {"lo", "veth", "docker", "podman", "br-", "virbr"};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		if (strncmp(name, heads[i], strlen(heads[i])) == 0)
			return true;
	}
	return false;
}

static void sample_network(struct hostinfo *h)
{
	uint64_t rx = 0, tx = 0, v[9];
	char *p = h->text, *line;

	if (!read_file(h, "/proc/net/dev"))
		return;
	while ((line = next_line(&p)) != NULL) {
		char *colon = strchr(line, ':');

		line += strspn(line, " ");
		if (colon == NULL || is_virtual_interface(line) || numbers(colon + 1, v, 9) < 9)
			continue;
		rx += v[0];
		tx += v[8];
	}
	h->now.netrx = rx;
	h->now.nettx = tx;
}

/* Whole disks alone are below /sys/block, whatever their names look like. Those that lie on other
 * disks would count twice. */
static bool is_disk(const char *name)
{
	static const char *const heads[] = {"loop", "ram", "dm-", "md", "zram", "sr"};
	char path[128];

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		if (strncmp(name, heads[i], strlen(heads[i])) == 0)
			return false;
	}
	snprintf(path, sizeof(path), "/sys/block/%.64s", name);
	return access(path, F_OK) == 0;
}

static void sample_disks(struct hostinfo *h)
{
	uint64_t r = 0, w = 0, v[7];
	char *p = h->text, *line;

	if (!read_file(h, "/proc/diskstats"))
		return;
	while ((line = next_line(&p)) != NULL) {
		char name[65];
		size_t len;

		/* "8 0 sda …": two numbers and a name before the figures */
		for (int i = 0; i < 2; i++) {
			line += strspn(line, " ");
			line += strspn(line, "0123456789");
		}
		line += strspn(line, " ");
		len = strcspn(line, " ");
		if (len == 0 || len >= sizeof(name))
			continue;
		memcpy(name, line, len);
		name[len] = '\0';
		if (strchr(name, '/') != NULL || numbers(line + len, v, 7) < 7 || !is_disk(name))
			continue;
		r += v[2] * SECTOR;
		w += v[6] * SECTOR;
	}
	h->now.diskr = r;
	h->now.diskw = w;
}

static void sample(struct hostinfo *h)
{
	sample_cpu(h);
	sample_memory(h);
	sample_network(h);
	sample_disks(h);
	if (read_file(h, "/proc/uptime"))
		(void)numbers(h->text, &h->now.sysup, 1);
}

static void hostinfo_on_time(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	sample(arg);
}

enum np_err hostinfo_new(struct event_base *base, struct hostinfo **out)
{
	struct timeval period = {HOSTINFO_PERIOD_MS / 1000, (HOSTINFO_PERIOD_MS % 1000) * 1000};
	struct hostinfo *h = np_calloc(1, sizeof(*h));

	if (h == NULL)
		return NP_ENOMEM;
	h->text = np_malloc(FILE_MAX_BYTES + 1);
	h->timer = event_new(base, -1, EV_PERSIST, hostinfo_on_time, h);
	if (h->text == NULL || h->timer == NULL || event_add(h->timer, &period) != 0) {
		hostinfo_free(h);
		return NP_ENOMEM;
	}
	sample(h);
	*out = h;
	return NP_OK;
}

const struct hostinfo_figures *hostinfo_get(const struct hostinfo *h)
{
	return &h->now;
}

void hostinfo_free(struct hostinfo *h)
{
	if (h == NULL)
		return;
	if (h->timer != NULL)
		event_free(h->timer);
	np_free(h->text);
	np_free(h);
}
