/*
 * started.c - waits until instances run: see started.h.
 *
 * It asks for each instance again and again, with pauses that grow: a start takes milliseconds, and
 * a stream of events would cost a connection and the whole list first.
 */
#include "started.h"

#include "base/mono.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/banned.h"

#define PAUSE_MIN_MS 5
#define PAUSE_MAX_MS 250

struct wait {
	bool last; /* time is over: what is still stopped stays so */
	int64_t wait_ms;
	int status;
};

/* on_answer - an instance that is settled leaves its call with an empty path. */
static void on_answer(void *arg, struct api_call *call)
{
	struct wait *w = arg;
	const char *id = strrchr(call->path, '/') + 1;
	char status[32] = "";

	json_member((const char *)np_buf_ptr(&call->reply), np_buf_len(&call->reply), "status",
		    status, sizeof(status));
	api_call_release(call);
	if (call->error[0] != '\0') {
		w->status = ctl_fail("%s: %s", id, call->error);
	} else if (strcmp(status, "stopped") == 0) {
		if (!w->last)
			return;
		w->status = ctl_fail("%s: it does not run yet, after %" PRId64 " ms; 'nodepass ctl "
				     "logs %s' says more",
				     id, w->wait_ms, id);
	} else if (strcmp(status, "error") == 0) {
		w->status =
		    ctl_fail("%s: it does not run; 'nodepass ctl logs %s' says why", id, id);
	}
	call->path[0] = '\0';
}

/* ask_again - the calls that are not settled come first, as new ones; returns how many. */
static size_t ask_again(struct api_call *calls, size_t n)
{
	char path[API_PATH_MAX];
	size_t left = 0;

	for (size_t i = 0; i < n; i++) {
		if (calls[i].path[0] == '\0')
			continue;
		snprintf(path, sizeof(path), "%s", calls[i].path);
		api_call_init(&calls[left++], "GET", NULL, "%s", path);
	}
	return left;
}

int started_wait(struct ctl *c, struct api_call *calls, size_t n)
{
	struct wait w = {.wait_ms = c->wait_ms, .status = CTL_OK};
	struct np_mono end = np_mono_add_ms(np_mono_now(), c->wait_ms);
	int pause_ms = PAUSE_MIN_MS;

	if (c->wait_ms == 0)
		return CTL_OK;
	n = ask_again(calls, n);
	while (n > 0) {
		struct timespec pause = {0, pause_ms * 1000000L};

		w.last = !np_mono_before(np_mono_now(), end);
		if (api_each(c->api, calls, n, on_answer, &w) != NP_OK)
			return CTL_FAILED; /* said of each by on_answer */
		n = ask_again(calls, n);
		if (n > 0)
			nanosleep(&pause, NULL);
		pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
	}
	return w.status;
}
