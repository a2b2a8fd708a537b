"""What parameters limit: read, rate, slot, block, dial, lbs, notcp and noudp, proxy; what is refused."""
import re
import socket
import struct
import threading
import time

import pytest

from np_harness import DUAL, over
from np_net import (SLACK, abort, ask, ask_dgram, dgram, dial, echo, free_port, how_it_ends, is_listening, parallel,
                    read_eof, read_n, served, text_of, wait_for)

flows = over(sanitize=("reverse-0", "forward-0", "single"))
few = over(("reverse", "single"))


# ------------------------------------------------------------------ read

@pytest.mark.parametrize("side", ["ingress", "egress"])
@flows
def test_read__no_byte_for_that_long__ended_with_that_reason(bench, flow, tls, side):
    t = bench.link(flow, tls, **{side: {"read": "2s"}})
    with dial(t.visit) as s:
        s.sendall(b"x")
        assert read_n(s, 1) == b"x"
        assert how_it_ends(s, 6)
    node = t.ingress if side == "ingress" else t.egress
    (end,) = node.wait_ends(1, "idle_timeout")
    assert 1900 <= end.ms <= 3000 * SLACK  # to a second


@pytest.mark.parametrize("way", ["up", "down"])
@flows
def test_read__bytes_in_one_direction__keep_the_session(bench, flow, tls, way):
    def ticks(s):
        for _ in range(12):
            s.sendall(b"t")
            time.sleep(0.2)  # the pace of the traffic, not a wait for anything

    def script(s):
        if way == "up":
            return len(read_eof(s))
        ticks(s)
        return len(read_eof(s))

    t = bench.link(flow, tls, ingress={"read": "1s"}, egress={"read": "1s"}, target=bench.tcp_target(script))
    with dial(t.visit) as s:
        if way == "up":
            ticks(s)
        else:
            assert read_n(s, 12) == b"t" * 12
    (end,) = t.ingress.wait_ends(1)
    assert end.reason == "done" and end.ms > 2000


# ------------------------------------------------------------------ rate

def measure(t, way, streams, total):
    """Seconds that @total bytes over @streams sessions took, first to last byte."""
    share = total // streams
    marks, lock = [], threading.Lock()

    def sink(s):
        left = share
        while left:
            data = s.recv(1 << 16)
            if not data:
                raise EOFError("cut")
            now = time.monotonic()
            with lock:
                marks.append(now)
            left -= len(data)

    def source(s):
        s.sendall(bytes(share))
        s.settimeout(30)
        s.recv(1)

    t.target.script = source if way == "down" else lambda s: (sink(s), s.sendall(b"."))[1]

    def visit(_):
        with dial(t.visit, 30) as s:
            if way == "down":
                sink(s)
            else:
                source(s)

    assert [r for r in parallel(streams, visit) if r is not None] == []
    return max(marks) - min(marks)


@pytest.mark.parametrize("flow,side,way,streams", [
    ("reverse", "ingress", "down", 1), ("reverse", "ingress", "up", 8), ("reverse", "egress", "up", 1),
    ("forward", "ingress", "up", 1), ("forward", "egress", "down", 8), ("single", "ingress", "down", 8),
    ("single", "ingress", "up", 1)])
def test_rate__16_mbit_s__within_15_percent(bench, flow, side, way, streams):
    """16 Mbit/s = 2 000 000 bytes/s; 5 MB take 2.5 s less the burst of 100 ms at most."""
    t = bench.link(flow, 0, **{side: {"rate": 16}})
    took = measure(t, way, streams, 5_000_000)
    print(f"{5_000_000 / took * 8 / 1e6:.2f} Mbit/s")
    assert 2.4 * 0.85 < took < 2.5 * 1.15 * SLACK
    p = t.ingress.wait_point("all bytes are counted", lambda p: max(p["tcprx"], p["tcptx"]) >= 5_000_000)
    assert max(p["tcprx"], p["tcptx"]) <= 5_000_000 + streams


@few
def test_rate__directions_do_not_share(bench, flow, tls):
    t = bench.link(flow, tls, ingress={"rate": 16})
    start = time.monotonic()
    data = bytes(3_000_000)
    with dial(t.visit, 30) as s:
        w = threading.Thread(target=s.sendall, args=(data,), daemon=True)
        w.start()
        assert len(read_n(s, len(data))) == len(data)
        w.join()
    assert time.monotonic() - start < 3.0 * SLACK, "an echo took the rate twice"


@few
def test_rate__one_greedy_stream__the_others_are_not_starved(bench, flow, tls):
    t = bench.link(flow, tls, ingress={"rate": 8})
    stop = threading.Event()

    def greedy():
        with dial(t.visit, 30) as s:
            def pump():
                try:
                    while not stop.is_set():
                        s.sendall(bytes(65536))
                except OSError:
                    pass
            threading.Thread(target=pump, daemon=True).start()
            while not stop.is_set() and s.recv(1 << 16):
                pass
            abort(s)

    g = threading.Thread(target=greedy, daemon=True)
    g.start()
    t.ingress.wait_point("the greedy one runs", lambda p: p["tcprx"] > 500_000)
    took = []
    for _ in range(5):
        start = time.monotonic()
        assert ask(t.visit, bytes(2000), 10)
        took.append(time.monotonic() - start)
    stop.set()
    g.join(20)
    assert sorted(took)[2] < 1.0 * SLACK, took


# ------------------------------------------------------------------ slot

@pytest.mark.parametrize("side", ["ingress", "egress"])
@flows
def test_slot__200_visitors_at_once__exactly_ten_served(bench, flow, tls, side):
    t = bench.link(flow, tls, **{side: {"slot": 10}})
    for turn in range(2):
        gate, socks = threading.Barrier(200, timeout=30), []

        def visit(i):
            gate.wait()
            s = dial(t.visit)
            socks.append(s)
            try:
                s.sendall(b"x")
                return read_n(s, 1) == b"x"
            except (OSError, EOFError):
                return False

        assert sum(r is True for r in parallel(200, visit)) == 10
        node = t.ingress if side == "ingress" else t.egress
        refused = node.wait_ends(90 * (turn + 1), "slot_limit")  # of 190: 100 lines a second are written
        assert all((e.rx, e.tx) == (0, 0) for e in refused) or side == "egress"
        node.wait_point("ten sessions", lambda p: p["tcps"] == 10)
        for s in socks:
            s.close()
        t.wait_quiet()


@flows
def test_slot__visitor_past_it_is_refused_at_once__others_go_on(bench, flow, tls):
    t = bench.link(flow, tls, ingress={"slot": 2})
    held = [bench.dial(t.visit) for _ in range(2)]
    for s in held:
        s.sendall(b"a")
        assert read_n(s, 1) == b"a"
    start = time.monotonic()
    with dial(t.visit) as s:
        assert how_it_ends(s)
    assert time.monotonic() - start < 1 * SLACK
    for s in held:
        s.sendall(b"b")
        assert read_n(s, 1) == b"b"
    held.pop().close()
    wait_for("the freed place", lambda: served(t.visit))


@few
def test_slot__datagram_flows_count_too(bench, flow, tls):
    t = bench.link(flow, tls, udp=True, ingress={"slot": 2})
    socks = [bench.keep(dgram(t.visit, 0.5)) for _ in range(2)]
    for s in socks:
        s.send(b"flow")
        assert s.recv(100) == b"flow"
    assert not ask_dgram(t.visit, None, 0.3, 2)
    with dial(t.visit) as s:
        assert how_it_ends(s)
    assert t.ingress.wait_ends(1, "slot_limit")
    for s in socks:
        s.send(b"again")
        assert s.recv(100) == b"again"


# ------------------------------------------------------------------ block

FIRST = {"socks4": (1, b"\x04\x01\x00\x50\x7f\x00\x00\x01user\0"), "socks5": (1, b"\x05\x01\x00"),
         "get": (2, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "post": (2, b"POST /a HTTP/1.0\r\n\r\n"),
         "connect": (2, b"CONNECT a:1 HTTP/1.1\r\n\r\n"),
         "tls": (3, b"\x16\x03\x01\x00\x7a\x01\x00\x00\x76\x03\x03" + bytes(114)),
         "ssh": (0, b"SSH-2.0-x\r\n"), "zeros": (0, bytes(20)), "dns": (0, b"\x00\x1d\x12\x34\x01\x00\x00\x01")}


@pytest.mark.parametrize("block", ["1", "2", "3", "123", "0"])
@flows
def test_block__by_first_bytes(bench, flow, tls, block):
    t = bench.link(flow, tls, ingress={"block": block})
    refused = 0
    for name, (kind, data) in FIRST.items():
        with dial(t.visit, 5) as s:
            s.sendall(data)
            if str(kind) in block and kind:
                assert how_it_ends(s, 3), f"{name} got through block={block}"
                refused += 1
            else:
                assert read_n(s, len(data)) == data, name
    assert len(t.ingress.wait_ends(refused, "blocked") if refused else ()) == refused
    assert len(t.ingress.ends("blocked")) == refused


@flows
def test_block__first_bytes_one_at_a_time__still_recognised(bench, flow, tls):
    t = bench.link(flow, tls, ingress={"block": "2"})
    with dial(t.visit, 5) as s:
        try:
            for b in b"GET / HTTP/1.1\r\n\r\n":
                s.sendall(bytes([b]))
        except OSError:
            pass
        assert how_it_ends(s, 3)
    assert t.ingress.wait_ends(1, "blocked")


@flows
def test_block__silent_visitor__greeting_passes_after_a_second(bench, flow, tls):
    def script(s):
        s.sendall(b"220 mail\r\n")
        echo(s)

    t = bench.link(flow, tls, ingress={"block": "123"}, target=bench.tcp_target(script))
    with dial(t.visit) as s:
        start = time.monotonic()
        assert read_n(s, 10) == b"220 mail\r\n"
        assert 0.98 < time.monotonic() - start < 1 + 0.5 * SLACK
        s.sendall(b"HELO")
        assert read_n(s, 4) == b"HELO"


@pytest.mark.parametrize("first", [b"GE", b"\x05", b"\x16\x03"])
@flows
def test_block__nothing_but_a_beginning__refused_after_a_second_from_accept(bench, flow, tls, first):
    """A byte that comes after the second would have made it another protocol: it comes too late."""
    t = bench.link(flow, tls, ingress={"block": "123"})
    start = time.monotonic()
    with dial(t.visit, 5) as s:
        for b in first:  # the second one just before the end does not begin the second anew
            s.sendall(bytes([b]))
            time.sleep(max(0, start + 0.6 - time.monotonic()))  # the drip
        assert how_it_ends(s, 4)
    (end,) = t.ingress.wait_ends(1)
    assert (end.reason, end.rx) == ("blocked", len(first)) and 980 <= end.ms < 1000 + 500 * SLACK
    assert not t.target.peers


@flows
def test_block__beginning_of_what_is_not_refused__passes_at_once(bench, flow, tls):
    t = bench.link(flow, tls, ingress={"block": "2"})
    with dial(t.visit, 5) as s:
        s.sendall(b"\x16")
        assert read_n(s, 1) == b"\x16"
    (end,) = t.ingress.wait_ends(1)
    assert end.ms < 900 * SLACK


# ------------------------------------------------------------------ dial, lbs

@flows
def test_dial__sets_the_source_towards_the_target(bench, flow, tls):
    t = bench.link(flow, tls, udp=True, egress={"dial": bench.host(200)})
    assert ask(t.visit) and ask_dgram(t.visit)
    assert {p[0] for p in t.target.peers} == {bench.host(200)}
    assert {p[0] for _, p in t.udp_target.got} == {bench.host(200)}


@flows
def test_dial__address_of_nobody__fails_and_never_falls_back(bench, flow, tls):
    t = bench.link(flow, tls, egress={"dial": "192.0.2.9"})
    for _ in range(3):
        with dial(t.visit) as s:
            assert how_it_ends(s)
    assert [e.reason for e in t.ingress.wait_ends(3)] == ["dial_failed"] * 3
    assert t.target.peers == []


@flows
def test_lbs_2__primary_while_it_lives__back_to_it_afterwards(bench, flow, tls):
    a, b = bench.tcp_target(h=9), bench.farm(h=10)
    t = bench.link(flow, tls, targets=f"{text_of(a.addr)},{text_of(b.addr)}", egress={"lbs": 2},
                   env={"NP_FALLBACK_INTERVAL": "1s"})
    assert all(ask(t.visit) for _ in range(6)) and (len(a.peers), b.busy) == (6, 0)
    a.down()
    assert all(ask(t.visit) for _ in range(6)) and b.busy == 6
    a.up()
    wait_for("sessions reach the primary again", lambda: ask(t.visit) and len(a.peers) > 6, 6)
    n = b.busy
    assert all(ask(t.visit) for _ in range(4)) and b.busy == n


@flows
def test_lbs_1__unreachable_target__the_other_serves_all(bench, flow, tls):
    a, dead = bench.farm(h=9), bench.addr(10)
    t = bench.link(flow, tls, targets=f"{text_of(dead)},{text_of(a.addr)}", egress={"lbs": 1})
    assert all(ask(t.visit, None, 3) for _ in range(10)) and a.busy == 10


def udp_pair(bench, flow, tls, lbs, **kw):
    a, b = bench.udp_target(h=9), bench.udp_target(h=10)
    return a, b, bench.link(flow, tls, targets=f"{text_of(a.addr)},{text_of(b.addr)}", egress={"lbs": lbs, "notcp": 1},
                            ingress={"notcp": 1}, **kw)


def flow_target(t, bench, a):
    """Which target a new flow got, by who answered: the flow asks again when a datagram was lost."""
    s = bench.keep(dgram(t.visit, 0.3))
    before = len(a.got)

    def answered():
        s.send(b"new flow")
        try:
            return s.recv(100) == b"new flow"
        except OSError:
            return False
    wait_for("an answer to a new flow", answered, 10)
    return len(a.got) > before, s


@pytest.mark.parametrize("lbs", [0, 1])
@flows
def test_lbs__flows_of_datagrams_go_in_turn(bench, flow, tls, lbs):
    """Datagrams have no connect time that lbs=1 could measure."""
    a, b, t = udp_pair(bench, flow, tls, lbs)
    hits = [flow_target(t, bench, a)[0] for _ in range(6)]
    assert hits.count(True) == 3


@flows
def test_lbs_2__flows_of_datagrams__primary_while_it_lives__back_to_it_afterwards(bench, flow, tls):
    """A flow whose target refuses goes on with the next one; new ones go there at once."""
    a, b, t = udp_pair(bench, flow, tls, 2, env={"NP_FALLBACK_INTERVAL": "2s"})
    first, old = flow_target(t, bench, a)
    assert first and [flow_target(t, bench, a)[0] for _ in range(3)] == [True] * 3
    a.close()

    def by_b():
        old.send(b"still me")
        try:
            old.recv(100)
        except OSError:
            return False
        return any(d == b"still me" for d, _ in b.got)
    wait_for("the flow goes on with the backup", by_b, 10)
    n = len(b.got)
    assert ask_dgram(t.visit, b"the backup at once", 3, 1) and len(b.got) == n + 1
    again = bench.udp_target(addr=a.addr)
    wait_for("new flows reach the primary again", lambda: flow_target(t, bench, again)[0], 10)
    assert [flow_target(t, bench, again)[0] for _ in range(3)] == [True] * 3


# ------------------------------------------------------------------ notcp, noudp

@pytest.mark.parametrize("side", ["ingress", "egress"])
@flows
def test_notcp__datagrams_only(bench, flow, tls, side):
    t = bench.link(flow, tls, udp=True, env={"NP_POOL_GET_TIMEOUT": "1s"}, **{side: {"notcp": 1}})
    assert ask_dgram(t.visit)
    if side == "ingress" or flow == "single":
        assert not is_listening(t.visit)
    else:
        with dial(t.visit) as s:
            assert how_it_ends(s)
        # a client that serves no TCP may make no stream channels at all
        assert t.ingress.wait_ends()[0].reason in ("not_served", "pool_timeout")
    assert not t.target.peers


@pytest.mark.parametrize("side", ["ingress", "egress"])
@flows
def test_noudp__sessions_only(bench, flow, tls, side):
    t = bench.link(flow, tls, udp=True, **{side: {"noudp": 1}})
    assert ask(t.visit)
    if side == "ingress" or flow == "single":
        assert not is_listening(t.visit, "udp")
    assert not ask_dgram(t.visit, None, 0.3, 2)
    assert t.udp_target.got == []


# ------------------------------------------------------------------ proxy

V2 = b"\r\n\r\n\0\r\nQUIT\n"


def read_header(s):
    """(version, source, destination) of the PROXY header at the start of @s."""
    first = read_n(s, 8)
    if first == V2[:8]:
        rest = read_n(s, 8)
        assert first + rest[:4] == V2 and rest[4] == 0x21, rest
        family, n = rest[5], struct.unpack(">H", rest[6:])[0]
        body = read_n(s, n)
        size = {0x11: 4, 0x21: 16}[family]
        assert n == 2 * size + 4, "something beside the addresses"
        ip = lambda b: socket.inet_ntop(socket.AF_INET if size == 4 else socket.AF_INET6, b)
        ports = struct.unpack(">HH", body[2 * size:])
        return 2, (ip(body[:size]), ports[0]), (ip(body[size:2 * size]), ports[1])
    line = first
    while not line.endswith(b"\r\n"):
        line += read_n(s, 1)
    m = re.fullmatch(r"PROXY TCP([46]) (\S+) (\S+) (\d+) (\d+)\r\n", line.decode())
    assert m and (m[1] == "6") == (":" in m[2]), line
    return 1, (m[2], int(m[4])), (m[3], int(m[5]))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("family", ["v4", "v6", "wildcard"])
@over(tls=(1,), sanitize=("reverse-1",))
def test_proxy__header_says_visitor_and_listener(bench, flow, tls, version, family):
    def script(s):
        head = read_header(s)
        s.sendall(read_n(s, 5))
        return head

    host = {"v4": bench.host(2), "v6": "::1", "wildcard": bench.host(55)}[family]
    visit = (host, free_port(host)) if family != "wildcard" else (host, free_port("0.0.0.0"))
    t = bench.link(flow, tls, target=bench.tcp_target(script), egress={"proxy": version}, visit=visit,
                   visit_text=f":{visit[1]}" if family == "wildcard" else None)
    with dial(visit, source=bench.host(120) if family != "v6" else None) as s:
        me = s.getsockname()[:2]
        s.sendall(b"after")
        assert read_n(s, 5) == b"after"
    wait_for("the header", lambda: t.target.results or t.target.errors)
    assert t.target.results == [(version, me, visit)]


@pytest.mark.parametrize("version", [1, 2])
@flows
def test_proxy__visitor_silent__header_goes_at_once(bench, flow, tls, version):
    def script(s):
        head = read_header(s)
        s.sendall(b"220 seen\r\n")
        return head[0]

    t = bench.link(flow, tls, target=bench.tcp_target(script), egress={"proxy": version})
    with dial(t.visit) as s:
        assert read_n(s, 10) == b"220 seen\r\n"
    (end,) = t.ingress.wait_ends()
    assert (end.rx, end.tx) == (0, 10), "the header is counted as payload"


@over(DUAL)
def test_proxy__given_at_the_other_end__no_header_and_a_warning(bench, flow, tls):
    t = bench.link(flow, tls, ingress={"proxy": 1})
    assert ask(t.visit, b"plain")
    t.ingress.wait_line(r"\bproxy\b", "WARN")


@flows
def test_proxy__datagrams_get_none(bench, flow, tls):
    t = bench.link(flow, tls, udp=True, egress={"proxy": 2})
    assert ask_dgram(t.visit, b"bare")
    assert {d for d, _ in t.udp_target.got} == {b"bare"}


# ------------------------------------------------------------------ refused at the command line

def refuse(bench, query, core="client"):
    n = bench.node(f"{core}://{text_of(bench.addr(1))}/{text_of(bench.addr(9))}?{query}")
    n.wait_exit(2, 3)
    lines = [x.raw for x in n.lines() if x.raw.strip()]
    assert len(lines) <= 4, lines
    return " ".join(lines)


@pytest.mark.parametrize("core,query", [
    ("server", "compat=1"), ("server", "type=1"), ("client", "type=3"), ("server", "quic=1")])
def test_parameter__not_available_in_this_version__says_so(bench, core, query):
    text = refuse(bench, query, core)
    assert query.split("=")[0] in text and "not available" in text


@pytest.mark.parametrize("core,query,words", [
    ("server", "tls=3", ["tls", "3", "2"]), ("client", "min=65536", ["min", "65536", "65535"]),
    ("client", "rate=-1", ["rate", "-1"]), ("server", "read=5x", ["read", "5x"]),
    ("server", "tls=0&tls=1", ["tls"]), ("client", "rates=1", ["rates", r"\brate\b"]),
    ("client", "foo=1", ["foo", r"\bslot\b", r"\bproxy\b"]), ("client", "notcp=1&noudp=1", ["notcp", "noudp"]),
    ("client", "allow=10.0.0.0/33", ["allow", "10.0.0.0/33"]), ("server", "deny=home", ["deny", "home"]),
    ("server", "accept=::1,,::2", ["accept", "::1,,::2"]), ("server", "dns=1.1.1.1", ["dns"]), ("server", "tls=2", ["crt|key"])])
def test_parameter__bad__status_2_and_a_text_that_names_it(bench, core, query, words):
    text = refuse(bench, query, core)
    assert all(re.search(w, text) for w in words), text


def test_parameters__of_the_other_core_and_old_panels__accepted_with_a_warning(bench):
    t = bench.link("reverse", server={"min": 8, "type": 0}, client={"max": 8, "quic": 0, "sni": "none"})
    assert ask(t.visit)
    t.server.wait_line(r"\bmin\b", "WARN")
    t.client.wait_line(r"\bmax\b", "WARN")


def test_environment__bad_value__warned_about_and_ignored(bench):
    t = bench.link("reverse", env={"NP_HANDSHAKE_TIMEOUT": "soon", "NP_POOL_GET_TIMEOUT": "1ms", "NP_WORKERS": "0"})
    for name in ("NP_HANDSHAKE_TIMEOUT", "NP_POOL_GET_TIMEOUT", "NP_WORKERS"):
        t.server.wait_line(name, "WARN")
    assert ask(t.visit)


# ------------------------------------------------------------------ memory

@pytest.mark.timeout(180)
def test_memory__many_tls_sessions_have_ended__given_back_to_the_system(bench):
    """Half of what they took at least: the channels of the pool stay, and the rest lies between them."""
    t = bench.link("reverse", 1, target=bench.farm(), client={"max": 1024})

    def hold(rounds):
        held = []
        for _ in range(rounds):
            some = [bench.dial(t.visit, timeout=30) for _ in range(20)]
            for s in some:
                s.sendall(b"x")
            for s in some:
                assert read_n(s, 1) == b"x"
            held += some
        return held

    few = hold(5)  # what the first sessions make once and for all is not theirs to give back
    before = [n.rss() for n in t.nodes]
    held = few + hold(40)
    peak = [n.rss() for n in t.nodes]
    assert min(p - b for p, b in zip(peak, before)) > 6 << 20, "the sessions take less than this test needs"
    for s in held:
        s.close()
    for node, b, p in zip(t.nodes, before, peak):
        wait_for("the memory is back", lambda n=node, b=b, p=p: n.rss() < b + (p - b) / 2, 60, step=0.5)
