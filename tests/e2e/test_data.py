"""TCP sessions: every byte once, in order, on the right session; ends and resets travel as what they are."""
import random
import socket
import struct
import threading
import time

import pytest

from np_churn import churn_target, churn_visit
from np_harness import over
from np_net import (abort, ask, dial, digest, echo, how_it_ends, parallel, poll, read_eof, read_n, send_later, token,
                    wait_for)

MIB = 1 << 20
every = over(tls=(0, 1, 2), sanitize=("reverse-0", "reverse-1", "forward-1", "single"))
plain_and_tls = over(tls=(0, 1), sanitize=("reverse-1", "forward-0", "single"))
plain_and_tls_tunnels = over(("reverse", "forward"), tls=(0, 1))


@every
def test_bytes__both_directions_at_once__exact(bench, flow, tls):
    up, down = token("up", 12 * MIB), token("down", 12 * MIB)

    def script(s):
        w = send_later(s, down)
        got = digest(read_n(s, len(up)))
        w.join()
        s.sendall(b".")
        return got

    t = bench.link(flow, tls, target=bench.tcp_target(script))
    with dial(t.visit, 50) as s:
        w = send_later(s, up)
        assert digest(read_n(s, len(down))) == digest(down)
        assert read_n(s, 1) == b"."
        w.join()
    wait_for("the target's verdict", lambda: t.target.results or t.target.errors)
    assert (t.target.results, t.target.errors) == ([digest(up)], [])
    for node, rx, tx in ((t.ingress, len(up), len(down) + 1), (t.egress, len(down) + 1, len(up))):
        if t.flow == "single":
            rx, tx = len(up), len(down) + 1
        (end,) = node.wait_ends()
        assert (end.reason, end.rx, end.tx) == ("done", rx, tx)


@every
def test_bytes__sizes_around_the_limits_of_buffers__exact(bench, flow, tls):
    t = bench.link(flow, tls)
    with dial(t.visit) as s:
        for n in (1, 2, 7, 8, 9, 4095, 4096, 16383, 16384, 16385, 32768, 65535, 65536, 65537, MIB - 1, MIB + 1):
            data = token(n, n)
            w = send_later(s, data)
            assert read_n(s, n) == data, f"{n} bytes"
            w.join()


@every
def test_half_close__by_visitor__answer_comes_after_it(bench, flow, tls):
    ask_, answer = token("ask", 70_000), token("answer", 300_000)

    def script(s):
        got = read_eof(s)
        s.sendall(answer)
        return got == ask_

    t = bench.link(flow, tls, target=bench.tcp_target(script))
    with dial(t.visit) as s:
        s.sendall(ask_)
        s.shutdown(socket.SHUT_WR)
        assert read_eof(s) == answer
    assert t.ingress.wait_ends(reason="done")[0].tx == len(answer)
    assert t.target.results == [True]


@every
def test_half_close__by_target__upload_goes_on(bench, flow, tls):
    late = token("late", 300_000)

    def script(s):
        s.sendall(b"bye")
        s.shutdown(socket.SHUT_WR)
        return read_eof(s) == late

    t = bench.link(flow, tls, target=bench.tcp_target(script))
    with dial(t.visit) as s:
        assert read_eof(s) == b"bye"
        s.sendall(late)
    wait_for("the upload at the target", lambda: t.target.results or t.target.errors)
    assert t.target.results == [True]
    assert t.ingress.wait_ends(reason="done")[0].rx == len(late)


@every
def test_reset__by_visitor__reaches_the_target(bench, flow, tls):
    def script(s):
        s.sendall(read_n(s, 4))
        return how_it_ends(s)

    t = bench.link(flow, tls, target=bench.tcp_target(script))
    s = dial(t.visit)
    s.sendall(b"ping")
    assert read_n(s, 4) == b"ping"
    abort(s)
    wait_for("the end at the target", lambda: t.target.results or t.target.errors)
    assert t.target.results == ["reset"]
    assert t.ingress.wait_ends()[0].reason == "visitor_reset"


@every
def test_reset__by_target__reaches_the_visitor(bench, flow, tls):
    t = bench.link(flow, tls, target=bench.tcp_target(lambda s: (read_n(s, 4), abort(s))[1]))
    with dial(t.visit) as s:
        s.sendall(b"ping")
        assert how_it_ends(s) == "reset"
    assert t.egress.wait_ends()[0].reason == "target_reset"


@plain_and_tls
def test_reset__while_the_target_does_not_read__next_sessions_are_clean(bench, flow, tls):
    gate = threading.Event()

    def script(s):
        gate.wait(120)
        return how_it_ends(s)

    low = 1 if flow != "single" else 0  # a connection made ahead would still run this script at the end
    t = bench.link(flow, tls, client={"min": low}, target=bench.tcp_target(script))
    for _ in range(4):
        s = dial(t.visit, 0.5)
        try:
            while True:
                s.sendall(bytes(MIB))
        except TimeoutError:  # every buffer on the way is full
            abort(s)
    t.ingress.wait_ends(4)
    gate.set()
    wait_for("the four targets' ends", lambda: len(t.target.results) == 4)
    assert t.target.results == ["reset"] * 4
    t.target.script = echo
    for i in range(8):
        assert ask(t.visit, token(i, 5000)), f"session {i} got bytes that are not its own"


@every
def test_zero_bytes__session_reaches_the_target_and_ends_cleanly(bench, flow, tls):
    t = bench.link(flow, tls, target=bench.tcp_target(lambda s: len(read_eof(s))))
    for _ in range(5):
        dial(t.visit).close()
    wait_for("five empty sessions", lambda: len(t.target.results) == 5)
    assert t.target.results == [0] * 5 and not t.target.errors
    assert [(e.reason, e.rx, e.tx) for e in t.ingress.wait_ends(5)] == [("done", 0, 0)] * 5


@every
def test_server_speaks_first__greeting_arrives_before_any_byte_of_the_visitor(bench, flow, tls):
    def script(s):
        s.sendall(b"220 ready\r\n")
        return read_n(s, 6)

    t = bench.link(flow, tls, target=bench.tcp_target(script))
    with dial(t.visit) as s:
        assert read_n(s, 11) == b"220 ready\r\n"
        s.sendall(b"QUIT\r\n")
        assert read_eof(s) == b""
    assert t.target.results == [b"QUIT\r\n"]


def _data_segments(sock):
    """TCP segments with bytes in them that came in on @sock: tcp_info.tcpi_data_segs_in."""
    return struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160), 152)[0]


@plain_and_tls_tunnels
def test_status__target_answers_soon__travels_with_the_answer(bench, flow, tls):
    turns = 40

    def script(s):
        request, so_far = read_n(s, 5), segments()
        poll(lambda: segments() > so_far, 0.002, 0.0005)  # what the egress would say by itself
        s.sendall(request)
        return read_eof(s)

    def segments():
        return sum(_data_segments(x.near if flow == "reverse" else x.far) for x in t.proxy.channels())

    t = bench.link(flow, tls, target=bench.tcp_target(script), via={}, client={"min": 1})
    ask(t.visit, b"first")
    t.egress.wait_ends(1)
    before = segments()
    for n in range(turns):
        assert ask(t.visit, b"%5d" % n)
    t.egress.wait_ends(turns + 1)
    # STATUS with the answer, FIN with DONE; three a turn when none has company.
    assert segments() - before < 3 * turns


@plain_and_tls_tunnels
def test_status__visitor_has_more_than_may_go_before_it__is_sent_at_once(bench, flow, tls):
    body = token("body", 40_000)

    def script(s):
        read_n(s, len(body))
        s.sendall(b".")
        return read_eof(s)

    def took():
        begin = time.monotonic()
        with dial(t.visit) as s:
            s.sendall(body)
            assert read_n(s, 1) == b"."
        return time.monotonic() - begin

    t = bench.link(flow, tls, target=bench.tcp_target(script))
    # WORKER_LATER_MS: STATUS would come no sooner, for none of them.
    assert any(took() < 0.010 for _ in range(2000))


@plain_and_tls
def test_close__right_after_the_last_byte__nothing_is_lost(bench, flow, tls):
    data = token("all", 3 * MIB)

    def script(s):
        if read_n(s, 1) == b"d":
            return s.sendall(data)
        return digest(read_eof(s))

    t = bench.link(flow, tls, target=bench.tcp_target(script))
    for _ in range(3):
        with dial(t.visit) as s:
            s.sendall(b"d")
            assert digest(read_eof(s)) == digest(data)
        with dial(t.visit) as s:
            s.sendall(b"u" + data)
    wait_for("three uploads", lambda: len(t.target.results) == 3)
    assert t.target.results == [digest(data)] * 3


@every
def test_sessions__150_at_once__each_has_its_own_bytes(bench, flow, tls):
    t = bench.link(flow, tls, target=bench.farm())
    gate = threading.Barrier(150, timeout=40)

    def visit(i):
        data = token(i, 40_000)
        with dial(t.visit, 40) as s:
            s.sendall(data[:10])
            head = read_n(s, 10)
            gate.wait()  # all are open now
            w = send_later(s, data[10:])
            ok = head + read_n(s, len(data) - 10) == data
            w.join()
            return ok

    assert [r for r in parallel(150, visit) if r is not True] == []
    t.wait_quiet()
    p = t.ingress.points()[-1]
    assert (p["tcprx"], p["tcptx"]) == (150 * 40_000, 150 * 40_000)


@plain_and_tls
def test_slow_reader__sender_is_held_back__memory_is_bounded(bench, flow, tls):
    """1 GiB is offered to readers that do not read: no more than buffers hold is taken."""
    offered = []

    def offer(s):
        total = 0
        s.settimeout(0.7)
        try:
            while total < 1 << 30:
                total += s.send(bytes(256 * 1024))
        except TimeoutError:
            pass
        offered.append(total)
        gate.wait(30)

    gate = threading.Event()
    t = bench.link(flow, tls, target=bench.tcp_target(offer))
    before = [n.rss() for n in t.nodes]
    down = bench.dial(t.visit, rcvbuf=65536)
    wait_for("the target's offer is stuck", lambda: offered, 20)
    t.target.script = lambda s: gate.wait(30) and None
    with dial(t.visit) as up:
        threading.Thread(target=offer, args=(up,), daemon=True).start()
        wait_for("the visitor's offer is stuck", lambda: len(offered) == 2, 20)
        grown = [n.rss() - b for n, b in zip(t.nodes, before)]
        t.target.script = echo
        assert ask(t.visit), "stuck sessions hold others up"
    gate.set()
    down.close()
    assert max(offered) < 64 * MIB, offered
    assert max(grown) < 32 * MIB, grown


# ------------------------------------------------------------------ never a byte of another turn

def churn(bench, flow, tls, count, seed, **query):
    faults = []
    t = bench.link(flow, tls, target=bench.tcp_target(churn_target(seed, faults)), **query)
    res = parallel(count, lambda n: churn_visit(seed, n, t.visit, faults), workers=6)
    assert [r for r in res if r is not True and not isinstance(r, bool)] == []
    t.wait_quiet(20)
    assert faults == [], f"seed {seed}"


@over(tls=(0, 1), flows=("reverse", "forward"), sanitize=("reverse-0", "reverse-1", "forward-1"))
def test_turns__2000_sessions_over_few_channels__never_a_byte_of_another(bench, flow, tls):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    churn(bench, flow, tls, 2000, seed, client={"min": 1}, server={"max": 2},
          env={"NP_POOL_GET_TIMEOUT": "30s"})


@pytest.mark.parametrize("low", [0, 4])
def test_single_end__1500_sessions__never_a_byte_of_another(bench, low):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    churn(bench, "single", 0, 1500, seed, client={"min": low})
