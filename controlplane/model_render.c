/*
 * model_render.c - the objects of the API. The one of an instance is kept until something in it
 * changes, as many clients ask for all of them again and again.
 */
#include "model_priv.h"

#include "base/alloc.h"
#include "json_write.h"

#include <string.h>

#include "base/banned.h"

#define SHOWN_MAX 4096 /* bytes of an object that is kept; a longer one is made each time */

/* Beside the object what it shows of the node; the rest changes by model_saved_move alone. */
struct model_shown {
	struct np_buf json; /* empty: none */
	enum model_status status;
	uint32_t mode, ping_ms, pool, tcps, udps;
	uint64_t total[MODEL_COUNTERS];
};

void model_meta_render(const struct model_meta *meta, const char *name, struct np_buf *out)
{
	json_put_begin(out, name, '{');
	json_put_begin(out, "peer", '{');
	json_put_str(out, "sid", meta->sid);
	json_put_str(out, "type", meta->type);
	json_put_str(out, "alias", meta->alias);
	json_put_end(out, '}');
	json_put_begin(out, "tags", '{');
	for (size_t i = 0; i < meta->ntags; i++)
		json_put_str(out, meta->tags[i].name, meta->tags[i].value);
	json_put_end(out, '}');
	json_put_end(out, '}');
}

/* The members of every object of /instances, in the order that clients rely on. */
struct shown {
	const char *id, *alias, *type, *status, *url, *config;
	bool restart;
	const struct model_meta *meta;
	const struct model_instance *numbers; /* NULL: all 0 */
};

static void render(const struct shown *s, struct np_buf *out)
{
	static const struct model_instance none;
	const struct model_instance *n = s->numbers != NULL ? s->numbers : &none;

	json_put_begin(out, NULL, '{');
	json_put_str(out, "id", s->id);
	json_put_str(out, "alias", s->alias);
	json_put_str(out, "type", s->type);
	json_put_str(out, "status", s->status);
	json_put_str(out, "url", s->url);
	json_put_str(out, "config", s->config);
	json_put_bool(out, "restart", s->restart);
	model_meta_render(s->meta, "meta", out);
	json_put_u64(out, "mode", n->mode);
	json_put_u64(out, "ping", n->ping_ms);
	json_put_u64(out, "pool", n->pool);
	json_put_u64(out, "tcps", n->tcps);
	json_put_u64(out, "udps", n->udps);
	json_put_u64(out, "tcprx", n->total[MODEL_TCP_RX]);
	json_put_u64(out, "tcptx", n->total[MODEL_TCP_TX]);
	json_put_u64(out, "udprx", n->total[MODEL_UDP_RX]);
	json_put_u64(out, "udptx", n->total[MODEL_UDP_TX]);
	json_put_end(out, '}');
}

static void render_instance(const struct model_instance *inst, struct np_buf *out)
{
	const struct shown s = {.id = inst->id,
				.alias = inst->alias,
				.type = np_role_name(inst->role),
				.status = model_status_name(inst),
				.url = inst->url,
				.config = inst->config,
				.restart = inst->restart,
				.meta = &inst->meta,
				.numbers = inst};

	render(&s, out);
}

struct model_shown *model_shown_new(void)
{
	struct model_shown *s = np_calloc(1, sizeof(*s));

	if (s != NULL)
		np_buf_init(&s->json, SHOWN_MAX);
	return s;
}

void model_shown_drop(struct model_instance *inst)
{
	if (inst->shown != NULL)
		np_buf_wipe(&inst->shown->json);
}

static bool is_shown(const struct model_instance *inst)
{
	const struct model_shown *s = inst->shown;

	return np_buf_len(&s->json) > 0 && s->status == model_status(inst) &&
	       s->mode == inst->mode && s->ping_ms == inst->ping_ms && s->pool == inst->pool &&
	       s->tcps == inst->tcps && s->udps == inst->udps &&
	       memcmp(s->total, inst->total, sizeof(s->total)) == 0;
}

void model_render(const struct model_instance *inst, struct np_buf *out)
{
	struct model_shown *s = inst->shown;

	if (!is_shown(inst)) {
		np_buf_wipe(&s->json);
		render_instance(inst, &s->json);
		s->status = model_status(inst);
		s->mode = inst->mode;
		s->ping_ms = inst->ping_ms;
		s->pool = inst->pool;
		s->tcps = inst->tcps;
		s->udps = inst->udps;
		memcpy(s->total, inst->total, sizeof(s->total));
	}
	if (s->json.err == NP_OK) {
		json_put_raw(out, NULL, np_buf_ptr(&s->json), np_buf_len(&s->json));
		return;
	}
	np_buf_wipe(&s->json);
	render_instance(inst, out);
}

void model_render_key(const struct model *m, struct np_buf *out)
{
	static char empty[] = "";
	const struct model_meta meta = {.sid = empty, .type = empty, .alias = empty};
	const struct shown s = {.id = MODEL_KEY_ID,
				.alias = m->alias,
				.type = "",
				.status = "",
				.url = m->key,
				.config = m->mid,
				.meta = &meta};

	render(&s, out);
}
