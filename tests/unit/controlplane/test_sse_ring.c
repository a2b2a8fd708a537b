/*
 * test_sse_ring.c - shared blocks: the ring of the last of them, positions of readers, and the queue
 * of one reader.
 */
#include "sse_queue.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct sse_block *block(enum sse_type type, uint64_t seq, uint32_t slot, size_t len)
{
	static const char bytes[100000];
	struct sse_block *b = sse_block_new(bytes, len);

	assert_non_null(b);
	b->type = type;
	b->seq = seq;
	b->slot = slot;
	return b;
}

static void fill_ring(struct sse_ring *r, uint64_t from, uint64_t to, size_t len)
{
	for (uint64_t seq = from; seq <= to; seq++) {
		struct sse_block *b = block(SSE_UPDATE, seq, 0, len);

		sse_ring_put(r, b);
		sse_block_unref(b);
	}
}

static void sse_ring_put__past_the_maximum__oldest_go(void **state)
{
	struct sse_ring r;

	(void)state;
	sse_ring_init(&r, 100);
	fill_ring(&r, 1, 25, 10);
	assert_int_equal(r.bytes, 100);
	assert_int_equal(r.head->seq, 16);
	assert_int_equal(r.tail->seq, 25);
	fill_ring(&r, 26, 26, 500); /* the newest stays, whatever its size */
	assert_ptr_equal(r.head, r.tail);
	assert_int_equal(r.head->seq, 26);
	sse_ring_release(&r);
	assert_null(r.head);
	assert_int_equal(r.bytes, 0);
}

static void sse_ring_after__positions__first_block_behind(void **state)
{
	struct sse_ring r;

	(void)state;
	sse_ring_init(&r, 100);
	assert_null(sse_ring_after(&r, 0));
	assert_true(sse_ring_has(&r, 0, 0));
	assert_false(sse_ring_has(&r, 0, 3));
	fill_ring(&r, 1, 25, 10);
	assert_int_equal(sse_ring_after(&r, 0)->seq, 16);
	assert_int_equal(sse_ring_after(&r, 15)->seq, 16);
	assert_int_equal(sse_ring_after(&r, 24)->seq, 25);
	assert_null(sse_ring_after(&r, 25));
	assert_false(sse_ring_has(&r, 14, 25)); /* 15 is gone */
	assert_true(sse_ring_has(&r, 15, 25));
	assert_true(sse_ring_has(&r, 25, 25));
	assert_false(sse_ring_has(&r, 26, 25)); /* not yet made */
	sse_ring_release(&r);
}

static void sse_id_parse__texts__own_boot_only(void **state)
{
	static const char boot[] = "0123456789abcdef";
	static const char *const bad[] = {"",
					  "-",
					  "7",
					  "0123456789abcdef",
					  "0123456789abcdef-",
					  "0123456789abcdef 7",
					  "0123456789abcdef-7x",
					  "0123456789abcdef--7",
					  "0123456789abcdef-+7",
					  "0123456789abcdef-99999999999999999999",
					  "0123456789abcdee-7"};
	uint64_t seq = 5;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(sse_id_parse(boot, bad[i], &seq));
	assert_int_equal(seq, 5);
	assert_true(sse_id_parse(boot, "0123456789abcdef-7", &seq));
	assert_int_equal(seq, 7);
	assert_true(sse_id_parse(boot, "0123456789abcdef-18446744073709551615", &seq));
	assert_true(seq == UINT64_MAX);
}

/* -- queue -- */

static struct sse_figures figures;

static enum np_err push(struct sse_queue *q, enum sse_type type, uint64_t seq, uint32_t slot,
			size_t len, bool coalesce)
{
	struct sse_block *b = block(type, seq, slot, len);
	enum np_err err = sse_queue_push(q, b, coalesce, 10);

	sse_block_unref(b);
	return err;
}

/* "position:seq of the block" of each entry. */
static const char *content(const struct sse_queue *q)
{
	static char text[1000];
	size_t n = 0;

	text[0] = '\0';
	for (const struct sse_entry *e = q->list; e != NULL; e = e->next)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%d:%d", n > 0 ? " " : "",
				      (int)e->seq, (int)e->block->seq);
	return text;
}

static struct sse_queue new_queue(size_t max)
{
	struct sse_queue q;

	figures = (struct sse_figures){0};
	sse_queue_init(&q, max, &figures);
	return q;
}

static void sse_queue_push__updates_of_one__newest_in_the_old_place(void **state)
{
	struct sse_queue q = new_queue(1000);

	(void)state;
	assert_int_equal(push(&q, SSE_UPDATE, 1, 3, 10, true), NP_OK);
	assert_int_equal(push(&q, SSE_UPDATE, 2, 4, 10, true), NP_OK);
	assert_int_equal(push(&q, SSE_UPDATE, 3, 3, 10, true), NP_OK);
	assert_int_equal(push(&q, SSE_UPDATE, 4, 3, 10, true), NP_OK);
	assert_string_equal(content(&q), "1:4 2:2");
	assert_int_equal(figures.coalesced, 2);
	sse_queue_pop(&q);
	assert_int_equal(push(&q, SSE_UPDATE, 5, 3, 10, true), NP_OK);
	assert_string_equal(content(&q), "2:2 5:5");
	assert_int_equal(q.bytes, 0);
	sse_queue_release(&q);
}

static void sse_queue_push__without_coalescing__all_in_order(void **state)
{
	struct sse_queue q = new_queue(1000);

	(void)state;
	assert_int_equal(push(&q, SSE_UPDATE, 1, 3, 10, true), NP_OK);
	assert_int_equal(push(&q, SSE_UPDATE, 2, 3, 10, false), NP_OK);
	/* In the place of 1 it would be overtaken by the older 2. */
	assert_int_equal(push(&q, SSE_UPDATE, 3, 3, 10, true), NP_OK);
	assert_string_equal(content(&q), "1:1 2:2 3:3");
	assert_int_equal(push(&q, SSE_UPDATE, 4, SSE_SLOT_NONE, 10, true), NP_OK);
	assert_int_equal(push(&q, SSE_UPDATE, 5, SSE_SLOT_NONE, 10, true), NP_OK);
	assert_string_equal(content(&q), "1:1 2:2 3:3 4:4 5:5");
	sse_queue_release(&q);
}

static void sse_queue_push__delete_and_create_between__not_coalesced(void **state)
{
	struct sse_queue q = new_queue(1000);

	(void)state;
	assert_int_equal(push(&q, SSE_CREATE, 1, 3, 10, true), NP_OK);
	assert_int_equal(push(&q, SSE_UPDATE, 2, 3, 10, true), NP_OK);
	assert_int_equal(push(&q, SSE_DELETE, 3, 3, 10, true), NP_OK);
	assert_int_equal(push(&q, SSE_CREATE, 4, 3, 10, true), NP_OK);
	assert_int_equal(push(&q, SSE_UPDATE, 5, 3, 10, true), NP_OK);
	assert_int_equal(push(&q, SSE_UPDATE, 6, 3, 10, true), NP_OK);
	assert_string_equal(content(&q), "1:1 2:2 3:3 4:4 5:6");
	sse_queue_release(&q);
}

static void sse_queue_push__logs_past_the_bound__oldest_go_counted(void **state)
{
	struct sse_queue q = new_queue(100);

	(void)state;
	for (uint64_t seq = 1; seq <= 12; seq++)
		assert_int_equal(push(&q, SSE_LOG, seq, 1, 10, true), NP_OK);
	assert_int_equal(q.bytes, 100);
	assert_string_equal(content(&q), "3:3 4:4 5:5 6:6 7:7 8:8 9:9 10:10 11:11 12:12");
	assert_int_equal(q.dropped, 2);
	assert_int_equal(q.sample->seq, 2);
	/* A create takes the room of logs, updates need none. */
	assert_int_equal(push(&q, SSE_CREATE, 13, 2, 75, true), NP_OK);
	assert_int_equal(push(&q, SSE_UPDATE, 14, 2, 5000, true), NP_OK);
	assert_string_equal(content(&q), "11:11 12:12 13:13 14:14");
	assert_int_equal(q.dropped, 10);
	assert_int_equal(figures.dropped_logs, 10);
	sse_queue_said(&q);
	assert_null(q.sample);
	/* A log for which there is no room is lost itself. */
	assert_int_equal(push(&q, SSE_LOG, 15, 2, 30, true), NP_OK);
	assert_string_equal(content(&q), "13:13 14:14");
	assert_int_equal(q.dropped, 3);
	sse_queue_release(&q);
}

static void sse_queue_push__creates_past_the_bound__refused(void **state)
{
	struct sse_queue q = new_queue(100);

	(void)state;
	assert_int_equal(push(&q, SSE_LOG, 1, 1, 50, true), NP_OK);
	assert_int_equal(push(&q, SSE_CREATE, 2, 2, 60, true), NP_OK);
	assert_int_equal(push(&q, SSE_DELETE, 3, 2, 40, true), NP_OK);
	assert_int_equal(push(&q, SSE_DELETE, 4, 3, 1, true), NP_ELIMIT);
	assert_string_equal(content(&q), "2:2 3:3");
	sse_queue_release(&q);
}

static void sse_queue_push__each_allocation_fails__error_or_a_counted_log(void **state)
{
	(void)state;
	for (long fail = 0; fail < 4; fail++) {
		struct sse_queue q = new_queue(1000);
		struct sse_block *u = block(SSE_UPDATE, 1, 3, 10), *l = block(SSE_LOG, 2, 3, 10),
				 *c = block(SSE_CREATE, 3, 3, 10);
		enum np_err e1, e2, e3;

		np_alloc_fail_after(fail);
		e1 = sse_queue_push(&q, u, true, 10);
		e2 = sse_queue_push(&q, l, true, 10);
		e3 = sse_queue_push(&q, c, true, 10);
		np_alloc_fail_after(-1);
		assert_int_equal(e2, NP_OK); /* lost, but counted */
		assert_int_equal((e1 != NP_OK) + (e3 != NP_OK) + (int)q.dropped, fail == 1 ? 0 : 1);
		sse_queue_release(&q);
		assert_int_equal(u->refs + l->refs + c->refs, 3);
		sse_block_unref(u);
		sse_block_unref(l);
		sse_block_unref(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sse_ring_put__past_the_maximum__oldest_go),
	    cmocka_unit_test(sse_ring_after__positions__first_block_behind),
	    cmocka_unit_test(sse_id_parse__texts__own_boot_only),
	    cmocka_unit_test(sse_queue_push__updates_of_one__newest_in_the_old_place),
	    cmocka_unit_test(sse_queue_push__without_coalescing__all_in_order),
	    cmocka_unit_test(sse_queue_push__delete_and_create_between__not_coalesced),
	    cmocka_unit_test(sse_queue_push__logs_past_the_bound__oldest_go_counted),
	    cmocka_unit_test(sse_queue_push__creates_past_the_bound__refused),
	    cmocka_unit_test(sse_queue_push__each_allocation_fails__error_or_a_counted_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
