"""The two movers of bytes: the same sessions by copy and by splice, over pipes of a page and of the usual size, with
sockets that say EAGAIN when they are ready and take or give less than they could (tests/net/chop.c).

NP_TEST_TURNS: sessions of a run, for longer ones by hand.
"""
import os
import random
import signal
import socket
import threading
import time

import pytest

from np_churn import churn_target, churn_visit
from np_harness import over
from np_net import (abort, ask_dgram, dial, digest, echo, how_it_ends, parallel, read_eof, read_n, send_later, token,
                    wait_for)
from np_world import compile_c

TURNS = int(os.environ.get("NP_TEST_TURNS", "500"))
MIB = 1 << 20
MOVERS = {"copy": {"NP_RELAY": "copy"}, "splice": {"NP_RELAY": "splice"},
          "page": {"NP_RELAY": "splice", "NP_PIPE_SIZE": "4096"}, "auto": {"NP_RELAY": "auto"}}
movers = pytest.mark.parametrize("mover", [pytest.param(m, marks=[pytest.mark.sanitize] if m != "auto" else [])
                                           for m in MOVERS])
ends = over(tls=(0, 1), flows=("reverse", "forward", "single"), sanitize=("reverse-0", "reverse-1", "single"))
plain_ends = over(flows=("reverse", "single"), sanitize=("reverse-0", "single"))


@pytest.fixture
def chop(tmp_path_factory):
    """The environment of a process whose sockets are chopped."""
    so = compile_c("chop", tmp_path_factory.getbasetemp(), "-shared", "-fPIC")
    seed = random.randrange(1 << 32)
    print(f"chop seed {seed}")
    return {"LD_PRELOAD": so, "CHOP_SEED": str(seed),
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


def churn(bench, flow, tls, env, count):
    seed, faults = random.randrange(1 << 32), []
    print(f"seed {seed}")
    query = {} if flow == "single" else {"client": {"min": 1}, "server": {"max": 2}}
    t = bench.link(flow, tls, target=bench.tcp_target(churn_target(seed, faults)),
                   env={"NP_POOL_GET_TIMEOUT": "60s", **env}, **query)
    for node in t.nodes if "LD_PRELOAD" in env else ():
        with open(f"/proc/{node.pid}/maps") as f:
            assert "chop.so" in f.read()
    res = parallel(count, lambda n: churn_visit(seed, n, t.visit, faults, timeout=60), workers=6)
    assert [r for r in res if r is not True and not isinstance(r, bool)] == []
    t.wait_quiet(20)
    assert faults == [], f"seed {seed}"
    return t


@movers
@plain_ends
@pytest.mark.timeout(600 + TURNS)
def test_turns__mixed_with_ends_and_resets__never_a_byte_of_another(bench, flow, tls, mover):
    churn(bench, flow, tls, MOVERS[mover], TURNS)


@movers
@ends
@pytest.mark.timeout(600 + TURNS)
def test_chopped__eagain_and_part_of_it_at_every_place__never_a_byte_of_another(bench, flow, tls, mover, chop):
    if tls and mover != "auto":
        pytest.skip("TLS is copied always")
    churn(bench, flow, tls, {**MOVERS[mover], **chop}, TURNS // 5)


@movers
@plain_ends
def test_bulk__both_directions_at_once_and_chopped__exact(bench, flow, tls, mover, chop):
    up, down = token("up", 6 * MIB), token("down", 6 * MIB)

    def script(s):
        w = send_later(s, down)
        got = digest(read_n(s, len(up)))
        w.join()
        return got if read_eof(s) == b"" else "more than was sent"

    t = bench.link(flow, tls, target=bench.tcp_target(script), env={**MOVERS[mover], **chop, "CHOP_CHANCE": "32"})
    with dial(t.visit, 100) as s:
        w = send_later(s, up)
        assert digest(read_n(s, len(down))) == digest(down)
        w.join()
        s.shutdown(1)
        assert read_eof(s) == b""
    wait_for("the target's verdict", lambda: t.target.results or t.target.errors)
    assert (t.target.results, t.target.errors) == ([digest(up)], [])
    rx, tx = len(up), len(down)
    end = t.ingress.wait_ends()[0]
    assert (end.reason, end.rx, end.tx) == ("done", rx, tx)


@plain_ends
@pytest.mark.parametrize("who", ["visitor", "target"])
def test_reset__in_one_event_with_the_last_bytes__is_noticed(bench, flow, tls, who):
    """The process stands still while bytes and reset arrive: it hears of both at once, and reads the bytes."""
    first = []

    def script(s):
        read_n(s, 1)
        first.append(s)
        if who == "target":
            wait_for("the egress stands still", lambda: stopped)
            s.sendall(b"last")
            abort(s)
            return "aborted"
        return how_it_ends(s, 20)

    stopped = []
    t = bench.link(flow, tls, target=bench.tcp_target(script))
    with dial(t.visit, 20) as s:
        s.sendall(b"x")
        wait_for("the session", lambda: first)
        node = t.ingress if who == "visitor" else t.egress
        node.signal(signal.SIGSTOP)
        stopped.append(True)
        if who == "visitor":
            s.sendall(b"last")
            abort(s)
        else:
            wait_for("the target's end", lambda: t.target.results)
        node.signal(signal.SIGCONT)
        end = node.wait_ends(timeout=5)[0]
        assert end.reason == f"{who}_reset"
        if who == "target":
            assert how_it_ends(s) == "reset"
    if who == "visitor":
        wait_for("the target's verdict", lambda: t.target.results)
        assert t.target.results == ["reset"]


@movers
@plain_ends
def test_rate__whatever_moves_the_bytes__is_kept(bench, flow, tls, mover):
    """24 Mbit/s are 3 MB/s; a burst of 100 ms is free."""
    limited = {"client": {"rate": 24}} if flow == "single" else {"ingress": {"rate": 24}}
    data = token("rate", 6 * MIB)
    t = bench.link(flow, tls, target=bench.tcp_target(echo), env=MOVERS[mover], **limited)
    with dial(t.visit, 60) as s:
        start = time.monotonic()
        w = send_later(s, data)
        assert read_n(s, len(data)) == data
        took = time.monotonic() - start
        w.join()
    due = (len(data) - 300_000) / 3e6
    print(f"{took:.2f} s, {due:.2f} are due")
    assert due * 0.97 <= took


@plain_ends
def test_pipes__only_while_bytes_move__and_given_back(bench, flow, tls):
    """A session that waits holds no pipe; the pool closes what nobody needed for a while."""
    t = bench.link(flow, tls, target=bench.tcp_target(echo), env={"NP_RELAY": "auto"})
    data = token("pipes", 4 * MIB)

    def pipes():
        return sum("pipe:" in n for node in t.nodes for n in node.fd_names())

    before = pipes()
    held = [dial(t.visit, 60) for _ in range(4)]
    seen = 0
    for s in held:
        w = send_later(s, data)
        assert read_n(s, len(data) // 2) == data[:len(data) // 2]
        seen = max(seen, pipes())
        assert read_n(s, len(data) // 2) == data[len(data) // 2:]
        w.join()
    assert seen > before, "nothing was spliced"
    wait_for("no pipes while four sessions wait", lambda: pipes() == before, 15)
    for s in held:
        s.close()


@plain_ends
def test_pipes__no_descriptors_for_them__copied(bench, flow, tls):
    """All descriptors are taken by visitors; bulk goes on without pipes."""
    kw = {"nofile": 64}
    t = bench.link(flow, tls, target=bench.tcp_target(echo), env={"NP_RELAY": "splice"}, client_kw=kw, server_kw=kw)
    t.ingress.tolerate("accept")
    held = []
    while len(held) < 80:
        held.append(dial(t.visit, 30))
    data = token("copied", 2 * MIB)
    s = held[0]
    w = send_later(s, data)
    assert read_n(s, len(data)) == data
    w.join()
    for s in held:
        s.close()


# ------------------------------------------------------------------ every cell

CHECKED = {"copy-reverse-2", "copy-forward-1", "splice-reverse-0", "splice-forward-0", "splice-single"}
CELLS = [(m, f, tls) for m in ("copy", "splice") for f in ("reverse", "forward", "single")
         for tls in ((0, 1, 2) if f != "single" else (0,))]


def named(mover, flow, tls):
    name = f"{mover}-{flow}" + ("" if flow == "single" else f"-{tls}")
    return pytest.param(mover, flow, tls, id=name, marks=[pytest.mark.sanitize] if name in CHECKED else [])


@pytest.mark.parametrize("mover,flow,tls", [named(*c) for c in CELLS])
def test_cell__bytes_ends_resets_and_datagrams__are_what_they_were(bench, mover, flow, tls):
    """One pair of processes a cell. The first byte of a session says what becomes of it."""
    up, down = token("cell up", MIB), token("cell down", MIB)
    verdicts = {}

    def script(s):
        what = read_n(s, 1)
        if what == b"b":  # both directions at once, the visitor ends first, the answer comes after its end
            w = send_later(s, down)
            got = digest(read_eof(s))
            w.join()
            s.sendall(got.encode())
            verdicts[what] = got
        elif what == b"h":  # the target ends first
            s.sendall(down)
            s.shutdown(socket.SHUT_WR)
            verdicts[what] = digest(read_eof(s))
        elif what == b"v":  # the visitor resets
            s.sendall(what)
            verdicts[what] = how_it_ends(s, 20)
        elif what == b"t":  # the target resets
            s.sendall(what)
            assert read_n(s, 1) == what
            abort(s)
            verdicts[what] = "aborted"

    t = bench.link(flow, tls, target=bench.tcp_target(script), udp=True, env=MOVERS[mover])
    with dial(t.visit, 30) as s:
        w = send_later(s, b"b" + up)
        assert digest(read_n(s, len(down))) == digest(down)
        w.join()
        s.shutdown(socket.SHUT_WR)
        assert read_eof(s).decode() == digest(up)
    with dial(t.visit, 30) as s:
        s.sendall(b"h")
        assert digest(read_eof(s)) == digest(down)
        s.sendall(up)
    for what in (b"v", b"t"):
        with dial(t.visit, 30) as s:
            s.sendall(what)
            assert read_n(s, 1) == what
            if what == b"v":
                abort(s)
            else:
                s.sendall(what)
                assert how_it_ends(s, 20) == "reset"
        wait_for("the target's verdict", lambda: what in verdicts)
    wait_for("what became of the upload behind the target's end", lambda: b"h" in verdicts)
    assert verdicts == {b"b": digest(up), b"h": digest(up), b"v": "reset", b"t": "aborted"}
    sent = [token(f"cell/{i}", n) for i, n in enumerate((1, 512, 1472, 9000, 65507))]
    for d in sent:
        assert ask_dgram(t.visit, d)
    assert set(sent) <= {d for d, _ in t.udp_target.got} and ask_dgram(t.visit, b"")
    ends = [e.reason for e in t.ingress.wait_ends(4) if "proto=udp" not in e.line.raw]
    assert sorted(ends) == ["done", "done", "target_reset", "visitor_reset"]


# ------------------------------------------------------------------ order of arrival

class InOrder:
    """A target that notes the first byte of each connection, in the order in which they were accepted."""

    def __init__(self, addr):
        self.addr, self.seen = addr, []
        self._ls = socket.create_server(addr[:2], backlog=1024)
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _loop(self):
        held = []
        while True:
            try:
                s, _ = self._ls.accept()
            except OSError:
                return
            s.settimeout(20)
            try:
                self.seen.append(s.recv(1))
            except OSError:
                self.seen.append(None)
            held.append(s)
            if len(held) > 8:
                held.pop(0).close()

    def close(self):
        self._ls.shutdown(socket.SHUT_RDWR)
        self._ls.close()


@over(flows=("reverse", "forward", "single"), sanitize=("reverse-0", "single"))
def test_order__two_visitors_at_once__the_target_sees_them_as_they_came(bench, flow, tls):
    """200 pairs, four workers at each end, fewer at a time than a storm has. The egress waits for a late one 20 ms, which a
    busy machine may take."""
    target = bench.keep(InOrder(bench.addr(9)))
    t = bench.link(flow, tls, target=target, env={"NP_WORKERS": "4"}, client={"min": 0 if flow == "single" else 8})
    for i in range(200):
        seen = len(target.seen)
        a, b = dial(t.visit, 20), dial(t.visit, 20)
        a.sendall(b"a")
        b.sendall(b"b")
        wait_for(f"pair {i}: {target.seen[seen:]}", lambda: len(target.seen) >= seen + 2, 20, 0.002)
        a.close()
        b.close()
    pairs = list(zip(target.seen[::2], target.seen[1::2]))
    swapped = sum(p != (b"a", b"b") for p in pairs)
    print(f"{swapped} of {len(pairs)} swapped")
    assert swapped <= 1
