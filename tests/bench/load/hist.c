/*
 * hist.c - see hist.h.
 */
#include "hist.h"

#include <math.h>
#include <stdio.h>

#define STEP_BITS 5 /* log2(HIST_STEPS) */

static unsigned slot_of(uint64_t ns)
{
	unsigned top;

	if (ns < HIST_STEPS)
		return (unsigned)ns;
	top = 63 - (unsigned)__builtin_clzll(ns);
	return (top - STEP_BITS + 1) * HIST_STEPS +
	       (unsigned)(ns >> (top - STEP_BITS)) % HIST_STEPS;
}

/* The middle of what is counted in a slot. */
static double slot_ns(unsigned slot)
{
	unsigned doubling = slot / HIST_STEPS;

	if (doubling == 0)
		return slot;
	return ((double)(HIST_STEPS + slot % HIST_STEPS) + 0.5) *
	       (double)(UINT64_C(1) << (doubling - 1));
}

void hist_add(struct hist *h, uint64_t ns)
{
	h->slots[slot_of(ns)]++;
	h->count++;
	h->sum_ns += ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
}

double hist_us(const struct hist *h, double q)
{
	uint64_t want = (uint64_t)ceil(q * (double)h->count), seen = 0;

	if (h->count == 0)
		return 0;
	if (want == 0)
		want = 1;
	for (unsigned i = 0; i < HIST_SLOTS; i++) {
		seen += h->slots[i];
		if (seen >= want)
			return slot_ns(i) / 1e3;
	}
	return (double)h->max_ns / 1e3;
}

void hist_print(const struct hist *h)
{
	double mean = h->count > 0 ? (double)h->sum_ns / (double)h->count / 1e3 : 0;

	printf("\"mean_us\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f", mean,
	       hist_us(h, 0.5), hist_us(h, 0.99), (double)h->max_ns / 1e3);
}
