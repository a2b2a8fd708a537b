/*
 * fuzz_server_talk.c - whole conversations with a server: peers that have the key or not, their
 * control and data channels, visitors, targets, and time that passes. See talk.h.
 *
 * The first byte chooses the flow. Then steps: the low four bits of a byte say what, the others on
 * which connection; what else a step takes follows. Whatever is said: no target is reached before
 * somebody proved the key, what the server says about the key is right, and when all have gone and
 * time has passed the server has nothing left of them.
 */
#include "talk.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS_MAX   120
#define PORT_TUNNEL 4000 /* of the reverse flow; one more: of the forward flow */
#define PORT_VISIT  4100
#define PORT_TARGET 4200

static struct instance *servers[2]; /* reverse, forward */
static int target_fd;
static uint8_t key_k[NP_K_LEN];

static struct talk {
	struct instance *inst;
	unsigned flow;
	struct conn conn[CONNS];
	int visitor[CONNS], target[CONNS];
	bool proved;
	bool has_session;
	uint8_t session[NP_SESSION_ID_LEN];
	uint64_t next_id;
} talk;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char url[256];

	(void)argc;
	(void)argv;
	talk_init();
	target_fd = talk_listen(PORT_TARGET);
	snprintf(url, sizeof(url), "server://" TALK_KEY "@%s:%d/%s:%d?mode=1&log=none&noudp=1",
		 talk_host, PORT_TUNNEL, talk_host, PORT_VISIT);
	servers[0] = talk_instance(url, true);
	snprintf(url, sizeof(url), "server://" TALK_KEY "@%s:%d/%s:%d?mode=2&log=none", talk_host,
		 PORT_TUNNEL + 1, talk_host, PORT_TARGET);
	servers[1] = talk_instance(url, true);
	NP_ASSERT(np_key_derive(NP_KEY_RANDOM, TALK_KEY, strlen(TALK_KEY), NULL, key_k) == NP_OK);
	return 0;
}

static struct conn *conn_of(unsigned n)
{
	return &talk.conn[n % CONNS];
}

/* -- control -- */

static void on_welcome(struct conn *c, const uint8_t *p, size_t len, const struct np_msg *m)
{
	NP_ASSERT(talk.proved);
	NP_ASSERT(m->welcome.flow == (talk.flow == 0 ? NP_FLOW_REVERSE : NP_FLOW_FORWARD));
	memcpy(talk.session, m->welcome.session_id, sizeof(talk.session));
	talk.has_session = true;
	np_buf_put(&c->transcript, p, len);
}

/* One frame of the server; a wrong proof of its would be a hole. */
static void on_frame(struct conn *c, const uint8_t *p, size_t len)
{
	uint8_t want[NP_PROOF_LEN], e[NP_EXPORTER_LEN];
	struct np_msg m;

	NP_ASSERT(np_msg_unpack(p + 4, len - 4, &m) == NP_OK);
	if (c->live)
		return;
	if (m.kind == NP_MSG_HELLO) {
		np_buf_put(&c->transcript, p, len);
	} else if (m.kind == NP_MSG_WELCOME) {
		on_welcome(c, p, len, &m);
	} else if (m.kind == NP_MSG_PROOF) {
		talk_exporter(NP_EXPORTER_CONTROL, e);
		NP_ASSERT(np_proof_make(NP_PROOF_SERVER, key_k, e, np_buf_ptr(&c->transcript),
					np_buf_len(&c->transcript), want) == NP_OK);
		NP_ASSERT(memcmp(want, m.proof.proof, sizeof(want)) == 0);
		c->live = true;
	} else {
		NP_ASSERT(m.kind == NP_MSG_REJECT);
	}
}

static void read_control(struct conn *c)
{
	conn_fill(c);
	conn_frames(c, on_frame);
}

static void step_open_control(struct conn *c)
{
	conn_close(c, true);
	c->fd = talk_connect((uint16_t)(PORT_TUNNEL + talk.flow));
	if (c->fd == -1)
		return;
	c->kind = WANT_CONTROL;
	np_buf_init(&c->got, 1 << 20);
	np_buf_init(&c->transcript, 1 << 14);
	conn_send(c, "\x16", 1);
	talk_await(c->fd, 20);
	read_control(c);
}

/* Auth, and the proof of it, unless a bit of it is changed. */
static void step_auth(struct conn *c, struct talk_in *in)
{
	uint8_t how = talk_u8(in), e[NP_EXPORTER_LEN], d[NP_EXPORTER_LEN];
	struct np_msg m = {.kind = NP_MSG_AUTH,
			   .auth = {.method = 1, .version = 2, .dial_budget_ms = 5000}};
	struct np_msg proof = {.kind = NP_MSG_PROOF};

	if (c->kind != WANT_CONTROL || np_buf_len(&c->transcript) == 0 || (c->asked && !c->live))
		return;
	c->asked = true;
	talk_exporter(NP_EXPORTER_CONTROL, e);
	talk_exporter(NP_EXPORTER_DATA, d);
	m.auth.boot_id[0] = how >> 6;
	if ((how & 1) != 0 && talk.has_session) {
		m.auth.has_takeover = true;
		memcpy(m.auth.takeover_session, talk.session, NP_SESSION_ID_LEN);
		NP_ASSERT(np_takeover_make(d, talk.session, e, m.auth.takeover) == NP_OK);
		m.auth.takeover[0] ^= (how & 2) != 0;
	}
	m.auth.version += (how >> 2) & 1;
	put_msg(c, &m);
	NP_ASSERT(np_proof_make(NP_PROOF_CLIENT, key_k, e, np_buf_ptr(&c->transcript),
				np_buf_len(&c->transcript), proof.proof.proof) == NP_OK);
	proof.proof.proof[talk_u8(in) % NP_PROOF_LEN] ^= (how & 8) != 0;
	if ((how & 8) == 0)
		talk.proved = true;
	put_msg(c, &proof);
	if ((how & 8) == 0)
		talk_await(c->fd, 20);
}

/* -- data channels -- */

static void step_open_channel(struct conn *c, struct talk_in *in)
{
	uint8_t how = talk_u8(in), d[NP_EXPORTER_LEN], out[NP_PREAMBLE_LEN];
	struct np_preamble p = {.kind = (how & 1) != 0 ? NP_CHANNEL_DATAGRAM : NP_CHANNEL_STREAM};

	conn_close(c, true);
	c->fd = talk_connect((uint16_t)(PORT_TUNNEL + talk.flow));
	if (c->fd == -1)
		return;
	c->kind = WANT_CHANNEL;
	c->channel = p.kind;
	c->turn = 0;
	np_buf_init(&c->got, 1 << 21);
	np_buf_init(&c->transcript, 16);
	memcpy(p.session_id, talk.session, sizeof(p.session_id));
	p.conn_id = (how & 2) != 0 ? how >> 4 : ++talk.next_id;
	talk_exporter(NP_EXPORTER_DATA, d);
	NP_ASSERT(np_preamble_write(&p, d, NULL, out) == NP_OK);
	if ((how & 4) != 0)
		out[talk_u8(in) % sizeof(out)] ^= 1 << (how >> 5);
	conn_send(c, out, sizeof(out));
	talk_await(c->fd, 5);
}

/* What came: the number of the turn is noted, PING is answered. */
static void read_channel(struct conn *c)
{
	uint8_t pong[NP_FRAME_HEADER + 8];
	struct np_frame f;

	conn_fill(c);
	while (np_buf_len(&c->got) >= NP_FRAME_HEADER) {
		const uint8_t *p = np_buf_ptr(&c->got);

		/* A channel speaks only when its preamble was right, and then never out of form. */
		NP_ASSERT(talk.proved && np_frame_read(p, c->channel, &f) == NP_OK);
		if (np_buf_len(&c->got) < NP_FRAME_HEADER + f.len)
			break;
		if (f.type == NP_FRAME_OPEN)
			c->turn = f.turn;
		if (f.type == NP_FRAME_PING) {
			memcpy(pong, p, sizeof(pong));
			pong[0] = NP_FRAME_PONG;
			conn_send(c, pong, sizeof(pong));
		}
		np_buf_consume(&c->got, NP_FRAME_HEADER + f.len);
	}
}

/* -- visitors and targets -- */

static void take_targets(void)
{
	talk_take_targets(target_fd, talk.target, talk.proved);
}

/* -- the conversation -- */

static void look(void)
{
	talk_settle();
	take_targets();
	for (int i = 0; i < CONNS; i++) {
		if (talk.conn[i].kind == WANT_CONTROL)
			read_control(&talk.conn[i]);
		else if (talk.conn[i].kind == WANT_CHANNEL)
			read_channel(&talk.conn[i]);
	}
}

static void step(struct talk_in *in)
{
	uint8_t op = talk_u8(in);
	unsigned n = op >> 4;

	switch (op & 15) {
	case 0:
		step_open_control(conn_of(n));
		return;
	case 1:
		step_auth(conn_of(n), in);
		break;
	case 2:
		step_message(conn_of(n), in);
		break;
	case 3:
	case 4:
		step_raw(conn_of(n), in, (op & 1) != 0);
		break;
	case 5:
		step_open_channel(conn_of(n), in);
		break;
	case 6:
	case 7:
	case 8:
		step_frame(conn_of(n), in);
		if (talk.flow != 0)
			talk_await(target_fd, 1);
		break;
	case 9:
	case 10:
		if (talk.flow == 0)
			step_visitor(&talk.visitor[n % CONNS], PORT_VISIT, in);
		break;
	case 11:
	case 12:
		step_target(&talk.target[n % CONNS], in);
		break;
	case 13:
		conn_close(conn_of(n), (op & 0x80) != 0);
		break;
	case 14:
		talk_jump(1 + 100 * (int64_t)talk_u8(in));
		break;
	default:
		break; /* several steps before the server looks */
	}
	if ((op & 15) != 15)
		look();
}

static void ask_is_idle(void *arg)
{
	bool *idle = arg;
	struct instance *inst = talk.inst;
	struct shard *sh = instance_shard(inst, worker_at(0));

	*idle = inst->server->newcomers == NULL && inst->server->sources == NULL &&
		inst->pool.peers == NULL && inst->pool.waiting == NULL && inst->sessions == 0 &&
		sh->sessions == NULL && sh->channels == NULL && sh->visitors == NULL;
}

/* All leave, and time passes: nothing may be left. */
static void leave(void)
{
	bool idle = false;

	talk_close_all(talk.conn, talk.visitor, talk.target);
	for (int i = 0; i < 100 && !idle; i++) {
		talk_jump(i < 2 ? 10 : 5000);
		take_targets();
		for (int k = 0; k < CONNS; k++)
			talk_close(&talk.target[k], true);
		talk_on_worker(ask_is_idle, &idle);
	}
	NP_ASSERT(idle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct talk_in in = {data, size};

	if (size == 0)
		return 0;
	memset(&talk, 0, sizeof(talk));
	talk.flow = talk_u8(&in) & 1;
	talk.inst = servers[talk.flow];
	for (int i = 0; i < CONNS; i++)
		talk.conn[i].fd = talk.visitor[i] = talk.target[i] = -1;
	for (int i = 0; i < STEPS_MAX && in.left > 0; i++)
		step(&in);
	leave();
	return 0;
}
