/*
 * fuzz_client_talk.c - whole conversations with a client: servers that have the key or not, what
 * they say on control and data channels, visitors, targets, and time that passes. See talk.h.
 *
 * Steps as in fuzz_server_talk.c. Whatever a server says: the client proves its key rightly or not
 * at all, each of its channels has a right preamble and an id of its own, no target is reached and
 * no visitor served before the server has proved the key, and when the server has gone and time
 * has passed nothing is left of the session.
 */
#include "talk.h"

#include "client_priv.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS_MAX   120
#define PORT_TUNNEL 4000 /* of the reverse flow; one more: of the forward flow */
#define PORT_TARGET 4200 /* dialled by the client of the reverse flow */
#define PORT_VISIT  4201 /* the client of the forward flow listens there */

static struct instance *clients[2];
static int tunnel_fd[2], target_fd;
static uint8_t key_k[NP_K_LEN];

static struct talk {
	struct conn conn[CONNS];
	int visitor[CONNS], target[CONNS];
	bool proved, forward;
	struct instance *client;
	uint8_t session[NP_SESSION_ID_LEN];
	uint64_t ids; /* bitmap of the first 64 that were seen in this session */
} talk;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char url[256];

	(void)argc;
	(void)argv;
	talk_init();
	target_fd = talk_listen(PORT_TARGET);
	for (int i = 0; i < 2; i++) {
		tunnel_fd[i] = talk_listen((uint16_t)(PORT_TUNNEL + i));
		snprintf(url, sizeof(url),
			 "client://" TALK_KEY "@%s:%d/%s:%d?mode=2&min=2&log=none", talk_host,
			 PORT_TUNNEL + i, talk_host, i == 0 ? PORT_TARGET : PORT_VISIT);
		clients[i] = talk_instance(url, false);
	}
	NP_ASSERT(np_key_derive(NP_KEY_RANDOM, TALK_KEY, strlen(TALK_KEY), NULL, key_k) == NP_OK);
	return 0;
}

static struct conn *conn_of(unsigned n)
{
	return &talk.conn[n % CONNS];
}

/* -- control -- */

static void step_hello(struct conn *c, struct talk_in *in)
{
	uint8_t how = talk_u8(in);
	struct np_msg m = {.kind = NP_MSG_HELLO, .hello = {.min_version = 2, .max_version = 2}};

	if (c->kind != WANT_CONTROL)
		return;
	m.hello.max_version += how & 1;
	m.hello.min_version += (how >> 1) & 1;
	m.hello.salt[0] = how >> 4;
	put_msg(c, &m);
	talk_await(c->fd, 5);
}

static void step_welcome(struct conn *c, struct talk_in *in)
{
	uint8_t how = talk_u8(in), e[NP_EXPORTER_LEN];
	struct np_msg m = {.kind = NP_MSG_WELCOME, .welcome = {.max = 16, .dial_rate = 64}};
	struct np_msg proof = {.kind = NP_MSG_PROOF};

	if (c->kind != WANT_CONTROL)
		return;
	m.welcome.flow = talk.forward ? NP_FLOW_FORWARD : NP_FLOW_REVERSE;
	m.welcome.tls = (how & 0x30) == 0x30 ? 2 : 0;
	m.welcome.fingerprints.n = 1;
	m.welcome.report_interval_ms = 5000;
	m.welcome.dial_budget_ms = 5000;
	m.welcome.boot_id[0] = how >> 6;
	m.welcome.session_id[0] = how;
	put_msg(c, &m);
	talk_exporter(NP_EXPORTER_CONTROL, e);
	NP_ASSERT(np_proof_make(NP_PROOF_SERVER, key_k, e, np_buf_ptr(&c->transcript),
				np_buf_len(&c->transcript), proof.proof.proof) == NP_OK);
	proof.proof.proof[talk_u8(in) % NP_PROOF_LEN] ^= (how & 8) != 0;
	if ((how & 8) == 0) {
		talk.proved = true;
		talk.ids = 0;
		memcpy(talk.session, m.welcome.session_id, sizeof(talk.session));
	}
	put_msg(c, &proof);
	c->live = (how & 8) == 0;
	if (c->live) /* it dials its channels */
		talk_await(tunnel_fd[talk.forward], 20);
}

static void on_frame(struct conn *c, const uint8_t *p, size_t len)
{
	uint8_t want[NP_PROOF_LEN], e[NP_EXPORTER_LEN];
	struct np_msg m;

	NP_ASSERT(np_msg_unpack(p + 4, len - 4, &m) == NP_OK);
	if (c->live)
		return;
	if (m.kind == NP_MSG_AUTH) {
		np_buf_put(&c->transcript, p, len);
	} else if (m.kind == NP_MSG_PROOF) {
		talk_exporter(NP_EXPORTER_CONTROL, e);
		NP_ASSERT(np_proof_make(NP_PROOF_CLIENT, key_k, e, np_buf_ptr(&c->transcript),
					np_buf_len(&c->transcript), want) == NP_OK);
		NP_ASSERT(memcmp(want, m.proof.proof, sizeof(want)) == 0);
	}
}

/* -- data channels -- */

static void on_preamble(struct conn *c)
{
	uint8_t d[NP_EXPORTER_LEN];
	struct np_preamble p;

	talk_exporter(NP_EXPORTER_DATA, d);
	NP_ASSERT(talk.proved && np_preamble_read(np_buf_ptr(&c->got), &p) == NP_OK);
	NP_ASSERT(np_preamble_verify(np_buf_ptr(&c->got), d, NULL));
	if (p.conn_id < 64 && memcmp(p.session_id, talk.session, sizeof(p.session_id)) == 0) {
		NP_ASSERT((talk.ids >> p.conn_id & 1) == 0);
		talk.ids |= 1ull << p.conn_id;
	}
	c->channel = p.kind;
	c->kind = WANT_CHANNEL;
	np_buf_consume(&c->got, NP_PREAMBLE_LEN);
}

static void read_channel(struct conn *c)
{
	struct np_frame f;

	while (np_buf_len(&c->got) >= NP_FRAME_HEADER) {
		const uint8_t *p = np_buf_ptr(&c->got);

		NP_ASSERT(np_frame_read(p, c->channel, &f) == NP_OK);
		if (np_buf_len(&c->got) < NP_FRAME_HEADER + f.len)
			break;
		NP_ASSERT(f.type != NP_FRAME_OPEN || talk.proved);
		if (f.type == NP_FRAME_OPEN)
			c->turn = f.turn;
		np_buf_consume(&c->got, NP_FRAME_HEADER + f.len);
	}
}

/* -- the conversation -- */

/* What begins with a preamble is a data channel; a control frame begins with a length. */
static void read_conn(struct conn *c)
{
	bool is_data;

	conn_fill(c);
	is_data = c->kind == WANT_CONTROL && np_buf_len(&c->got) > 0 && *np_buf_ptr(&c->got) == 'N';
	if (is_data && np_buf_len(&c->got) >= NP_PREAMBLE_LEN)
		on_preamble(c);
	if (c->kind == WANT_CONTROL && !is_data)
		conn_frames(c, on_frame);
	else if (c->kind == WANT_CHANNEL)
		read_channel(c);
}

static void take_conns(void)
{
	int fd;

	while ((fd = accept4(tunnel_fd[talk.forward], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) !=
	       -1) {
		struct conn *c = NULL;

		for (unsigned i = 0; i < CONNS && c == NULL; i++)
			c = talk.conn[i].fd == -1 ? &talk.conn[i] : NULL;
		if (c == NULL) {
			close(fd);
			continue;
		}
		*c = (struct conn){.fd = fd, .kind = WANT_CONTROL};
		np_buf_init(&c->got, 1 << 21);
		np_buf_init(&c->transcript, 1 << 14);
	}
}

static void take_targets(void)
{
	talk_take_targets(target_fd, talk.target, talk.proved);
}

static void look(void)
{
	talk_settle();
	take_conns();
	take_targets();
	for (unsigned i = 0; i < CONNS; i++)
		read_conn(&talk.conn[i]);
}

static void step(struct talk_in *in)
{
	uint8_t op = talk_u8(in);
	unsigned n = op >> 4;

	switch (op & 15) {
	case 0:
		step_hello(conn_of(n), in);
		break;
	case 1:
		step_welcome(conn_of(n), in);
		break;
	case 2:
		step_message(conn_of(n), in);
		break;
	case 3:
	case 4:
		step_raw(conn_of(n), in, (op & 1) != 0);
		break;
	case 5: /* the PING that a channel waits for */
		conn_send(conn_of(n), "\7\0\0\0\0\0\0\10pingping", NP_FRAME_HEADER + 8);
		break;
	case 6:
	case 7:
	case 8:
		step_frame(conn_of(n), in);
		if (!talk.forward)
			talk_await(target_fd, 1);
		break;
	case 9:
	case 10:
		if (talk.forward)
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
		break; /* several steps before the client looks */
	}
	if ((op & 15) != 15)
		look();
}

static void ask_is_idle(void *arg)
{
	bool *idle = arg;
	struct shard *sh = instance_shard(talk.client, worker_at(0));

	*idle = talk.client->pool.peers == NULL && talk.client->pool.waiting == NULL &&
		talk.client->sessions == 0 && sh->sessions == NULL && sh->channels == NULL &&
		sh->visitors == NULL && sh->makers == NULL;
}

static void close_all(void)
{
	talk_close_all(talk.conn, talk.visitor, talk.target);
}

static void leave(void)
{
	bool idle = false;

	for (int i = 0; i < 100 && !idle; i++) {
		close_all();
		talk_jump(i < 2 ? 10 : 5000);
		take_conns();
		take_targets();
		talk_on_worker(ask_is_idle, &idle);
	}
	close_all();
	NP_ASSERT(idle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct talk_in in = {data, size};
	int other;

	if (size == 0)
		return 0;
	memset(&talk, 0, sizeof(talk));
	talk.forward = (talk_u8(&in) & 1) != 0;
	for (unsigned i = 0; i < CONNS; i++)
		talk.conn[i].fd = talk.visitor[i] = talk.target[i] = -1;
	talk.client = clients[talk.forward];
	while ((other = accept4(tunnel_fd[!talk.forward], NULL, NULL, SOCK_CLOEXEC)) != -1)
		close(other); /* the other client goes on trying */
	for (int i = 0; i < 50 && talk.conn[0].fd == -1; i++) { /* its next attempt */
		talk_jump(i == 0 ? 0 : 1000);
		take_conns();
	}
	NP_ASSERT(talk.conn[0].fd != -1);
	for (int i = 0; i < STEPS_MAX && in.left > 0; i++)
		step(&in);
	leave();
	return 0;
}
