/*
 * model_box.h - for tests: a model over the store of a box.
 */
#ifndef TEST_MODEL_BOX_H
#define TEST_MODEL_BOX_H

#include "model.h"

#include "store_box.h"

/* For events that a test does not look at. */
static inline void box_no_publish(void *arg, int type, const struct model_instance *inst,
				  const char *logs)
{
	(void)arg;
	(void)type;
	(void)inst;
	(void)logs;
}

/* Opens the store and what it holds as a model, which box_model_close frees. */
static inline struct model *box_model_open(struct box *b, const struct validate_defaults *defaults,
					   const struct model_events *events)
{
	struct model *m;

	assert_int_equal(box_open(b), NP_OK);
	assert_int_equal(model_new(b->base, b->store, defaults, events, NULL, &m), NP_OK);
	assert_int_equal(model_load(m, &b->diag), NP_OK);
	return m;
}

static inline void box_model_close(struct box *b, struct model **m)
{
	box_close(b);
	model_free(*m);
	*m = NULL;
}

#endif
