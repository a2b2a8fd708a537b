/*
 * hist.h - durations, counted in steps of 3 %: 32 of them for each doubling of nanoseconds.
 *
 * No allocation, no errors. Not for several threads.
 */
#ifndef LOAD_HIST_H
#define LOAD_HIST_H

#include <stdint.h>

#define HIST_STEPS 32
#define HIST_SLOTS (60 * HIST_STEPS)

struct hist {
	uint64_t count, sum_ns, max_ns;
	uint64_t slots[HIST_SLOTS];
};

void hist_add(struct hist *h, uint64_t ns);

/* hist_us - microseconds that the share @q (0 … 1) of all durations does not exceed; 0 without any. */
double hist_us(const struct hist *h, double q);

/* hist_print - members of a JSON object on standard output: mean_us, p50_us, p99_us, max_us. */
void hist_print(const struct hist *h);

#endif
