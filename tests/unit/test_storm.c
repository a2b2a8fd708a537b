/*
 * test_storm.c - when those who come are a storm.
 */
#include "core/storm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool many_come(struct np_storm *s, unsigned n, struct np_mono now)
{
	bool on = false;

	while (n-- > 0)
		on = np_storm_came(s, now);
	return on;
}

static void storm__few_in_each_window__none(void **state)
{
	struct np_storm s = {0};
	struct np_mono now = {5000000000};

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_false(many_come(&s, NP_STORM_MANY, now));
		now = np_mono_add_ms(now, NP_STORM_WINDOW_MS);
	}
}

static void storm__one_too_many__on_until_a_window_has_few(void **state)
{
	struct np_storm s = {0};
	struct np_mono now = {5000000000};

	(void)state;
	assert_false(many_come(&s, NP_STORM_MANY, now));
	assert_true(many_come(&s, 1, now));
	now = np_mono_add_ms(now, NP_STORM_WINDOW_MS);
	assert_true(many_come(&s, 1, now)); /* not known yet */
	now = np_mono_add_ms(now, NP_STORM_WINDOW_MS);
	assert_false(many_come(&s, 1, now));
}

static void storm__quiet_after_it__over(void **state)
{
	struct np_storm s = {0};
	struct np_mono now = {5000000000};

	(void)state;
	assert_true(many_come(&s, NP_STORM_MANY + 1, now));
	assert_false(many_come(&s, 1, np_mono_add_ms(now, 2 * NP_STORM_WINDOW_MS)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(storm__few_in_each_window__none),
	    cmocka_unit_test(storm__one_too_many__on_until_a_window_has_few),
	    cmocka_unit_test(storm__quiet_after_it__over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
