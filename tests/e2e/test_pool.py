"""The pool: channels are used again, kept between min and max, refilled; visitors wait in order."""
import re
import signal
import threading
import time

import pytest

from np_harness import DUAL, over
from np_net import (SLACK, abort, ask, dial, established, how_it_ends, parallel, read_n, token, wait_for)

dual = over(DUAL, (0, 1), sanitize=("reverse-1", "forward-0"))


def settled_pool(t):
    """POOL at the ingress once two checkpoints in a row agree and no session runs."""
    n = len(t.ingress.points()) + 1
    wait_for("two checkpoints", lambda: len(t.ingress.points()) > n + 1, 20)

    def same():
        a, b = t.ingress.points()[-2:]
        return a["pool"] == b["pool"] and not b["tcps"] and [b]
    return wait_for("a steady pool", same, 20)[0]["pool"]


@pytest.mark.timeout(180)
@over(DUAL, (0, 1))
def test_channels__10000_short_sessions_in_a_row__a_handful_of_new_ones(bench, flow, tls):
    t = bench.link(flow, tls, via={}, target=bench.farm(), client={"min": 4})
    settled_pool(t)
    before, start = t.proxy.accepted, time.monotonic()
    for i in range(10_000):
        assert ask(t.visit, b"%06d" % i), i
    took = time.monotonic() - start
    t.wait_quiet()
    new = t.proxy.accepted - before
    print(f"{10_000 / took:.0f} sessions/s, {new} new channels")
    assert new <= 20, f"{new} new channels for 10000 sessions one after the other"
    assert t.target.busy == 10_000


@over(DUAL, (0, 1), sanitize=("reverse-1",))
def test_channels__300_short_sessions_in_a_row__a_handful_of_new_ones(bench, flow, tls):
    t = bench.link(flow, tls, via={}, target=bench.farm(), client={"min": 4})
    settled_pool(t)
    before = t.proxy.accepted
    for i in range(300):
        assert ask(t.visit, b"%06d" % i), i
    assert t.proxy.accepted - before <= 6


@dual
def test_visitors__a_hundred_at_once_over_60_ms_round_trip__all_served_soon(bench, flow, tls):
    t = bench.link(flow, tls, via={"delay_s": 0.03}, target=bench.farm(), client={"min": 4})
    gate = threading.Barrier(100, timeout=20)

    def visit(i):
        gate.wait()
        start = time.monotonic()
        ok = ask(t.visit, token(i, 100), 20)
        return ok and time.monotonic() - start

    took = parallel(100, visit)
    assert all(isinstance(x, float) for x in took), [x for x in took if not isinstance(x, float)]
    print(f"slowest of 100: {max(took):.2f} s")
    assert max(took) < 2.5 * SLACK


@dual
def test_latency__idle_channel_there__one_round_trip(bench, flow, tls):
    """40 ms each way: more than one round trip would be 160 ms at least."""
    t = bench.link(flow, tls, via={"delay_s": 0.04}, target=bench.farm(), client={"min": 8})
    settled_pool(t)
    took = []
    for _ in range(15):
        start = time.monotonic()
        assert ask(t.visit)
        took.append(time.monotonic() - start)
    print(f"median {sorted(took)[7] * 1000:.0f} ms")
    assert 0.08 <= sorted(took)[7] < 0.14 * SLACK


@dual
def test_idle__no_load__min_to_max(bench, flow, tls):
    t = bench.link(flow, tls, client={"min": 6}, server={"max": 9})
    assert 6 <= settled_pool(t) <= 9
    wait_for(lambda: f"6 to 9 channels, control, datagrams: {len(established(t.tunnel))}",
             lambda: 7 <= len(established(t.tunnel)) <= 9 + 1 + 4)


@dual
def test_idle__after_a_burst__refilled_and_never_above_max(bench, flow, tls):
    t = bench.link(flow, tls, target=bench.farm(), client={"min": 6}, server={"max": 12},
                   env={"NP_REPORT_INTERVAL": "300ms"})
    for _ in range(2):
        held = [dial(t.visit, 20) for _ in range(40)]
        for i, s in enumerate(held):
            s.sendall(b"%03d" % i)
        for i, s in enumerate(held):
            assert read_n(s, 3) == b"%03d" % i
        t.ingress.wait_point("idle channels beside 40 busy ones",
                             lambda p: p["tcps"] == 40 and p["pool"] >= 6)
        for s in held:
            s.close()
        t.wait_quiet()
    t.ingress.wait_point("the surplus is retired", lambda p: 6 <= p["pool"] <= 12, 15)
    assert 6 <= settled_pool(t) <= 12


def test_min__above_max__lowered_with_one_warning(bench):
    t = bench.link("reverse", client={"min": 64}, server={"max": 5})
    t.client.wait_line(r"\bmin\b.*\bmax\b|\bmax\b.*\bmin\b", "WARN")
    assert settled_pool(t) <= 5
    assert len(established(t.tunnel)) <= 5 + 1 + 4
    assert all(ask(t.visit) for _ in range(20))
    assert len(t.client.lines("WARN", r"\bmin\b.*\bmax\b|\bmax\b.*\bmin\b")) == 1


@over(DUAL, (0, 1))
def test_min_0__channels_are_made_on_demand(bench, flow, tls):
    t = bench.link(flow, tls, client={"min": 0})
    assert ask(t.visit)
    assert all(r is True for r in parallel(20, lambda i: ask(t.visit, token(i, 2000))))


@over(DUAL, (0,))
def test_few_channels__40_visitors_at_once__all_served(bench, flow, tls):
    t = bench.link(flow, tls, client={"min": 1}, server={"max": 2}, env={"NP_POOL_GET_TIMEOUT": "20s"})
    assert all(r is True for r in parallel(40, lambda i: ask(t.visit, token(i, 5000), 25)))


def one_channel(bench, flow, **env):
    """A tunnel with one stream channel, taken by the first visitor; no other can be made."""
    t = bench.link(flow, 0, via={}, client={"min": 1, "noudp": 1}, server={"max": 1}, env=env)
    t.ingress.wait_point("one idle channel", lambda p: p["pool"] == 1)
    t.proxy.hold_new = True
    holder = bench.dial(t.visit)
    holder.sendall(b"first")
    assert read_n(holder, 5) == b"first"
    return t, holder


@over(DUAL)
def test_waiters__one_channel__served_in_the_order_they_came(bench, flow, tls):
    t, holder = one_channel(bench, flow, NP_POOL_GET_TIMEOUT="30s")
    order = []

    def script(s):
        n = read_n(s, 1)
        order.append(n[0])
        s.sendall(n)

    t.target.script = script
    waiting = []
    for i in range(8):
        waiting.append(bench.dial(t.visit, timeout=20))
        waiting[-1].sendall(bytes([i]))
    holder.close()
    for i, s in enumerate(waiting):
        assert read_n(s, 1)[0] == i
        s.close()  # the channel is free for the next one
    assert order == list(range(8))


@over(DUAL, (0,), sanitize=("reverse-0",))
def test_pool_timeout__no_channel_in_time__refused_with_that_reason(bench, flow, tls):
    t, holder = one_channel(bench, flow, NP_POOL_GET_TIMEOUT="600ms")
    late = [bench.dial(t.visit) for _ in range(4)]
    start = time.monotonic()
    assert all(how_it_ends(s) for s in late)
    assert 0.3 < time.monotonic() - start < 3 * SLACK
    ends = t.ingress.wait_ends(4, "pool_timeout")
    assert [(e.rx, e.tx) for e in ends] == [(0, 0)] * 4
    holder.sendall(b"again")
    assert read_n(holder, 5) == b"again", "the session that runs was touched"
    t.proxy.release()
    assert ask(t.visit), "channels can be made again"


@over(DUAL, (0, 1))
def test_waiter__gives_up__its_place_is_skipped(bench, flow, tls):
    t, holder = one_channel(bench, flow, NP_POOL_GET_TIMEOUT="30s")
    quitter, patient = bench.dial(t.visit), bench.dial(t.visit, timeout=20)
    patient.sendall(b"here")
    abort(quitter)
    holder.close()
    assert read_n(patient, 4) == b"here"


@dual
def test_dead_idle_channels__cut_by_the_network__visitors_notice_nothing(bench, flow, tls):
    t = bench.link(flow, tls, via={}, client={"min": 8})
    t.ingress.wait_point("the pool", lambda p: p["pool"] >= 8)
    for _ in range(3):
        t.proxy.cut(t.proxy.channels())
        assert all(ask(t.visit, token(i, 300)) for i in range(10))


@dual
def test_demand__pool_used_up_while_the_peer_sleeps__served_when_it_wakes(bench, flow, tls):
    t = bench.link(flow, tls, client={"min": 2}, env={"NP_POOL_GET_TIMEOUT": "20s", "NP_REPORT_INTERVAL": "5s"})
    other = t.client if flow == "reverse" else t.server
    other.signal(signal.SIGSTOP)
    visitors = [bench.dial(t.visit, timeout=20) for _ in range(12)]
    for i, s in enumerate(visitors):
        s.sendall(b"%02d" % i)
    other.signal(signal.SIGCONT)
    assert [read_n(s, 2) for s in visitors] == [b"%02d" % i for i in range(12)]


# ------------------------------------------------------------------ single-end

def test_single_end__min_given__connections_wait_at_the_target_and_are_used(bench):
    farm = bench.farm()
    t = bench.link("single", client={"min": 4}, target=farm)
    wait_for("four connections without a visitor", lambda: farm.open >= 4)
    assert all(ask(t.visit, token(i, 500)) for i in range(50))
    wait_for("four again", lambda: farm.open - farm_used(t) >= 4)
    assert farm.busy == 50 and farm.accepted <= 50 + 12


def farm_used(t):
    return t.ingress.points()[-1]["tcps"] if t.ingress.points() else 0


def test_single_end__default_min__no_connection_before_the_first_visitor(bench):
    farm = bench.farm()
    t = bench.link("single", client={"min": ""}, target=farm)
    t.client.wait_point("a checkpoint", lambda p: True)
    assert farm.accepted == 0
    assert all(ask(t.visit) for _ in range(100))


def test_single_end__target_closes_waiting_connections__visitors_notice_nothing(bench):
    t = bench.link("single", client={"min": 4})
    wait_for("four connections", lambda: len(t.target.peers) >= 4)
    for _ in range(5):
        t.target.drop()
        assert all(ask(t.visit, token(i, 300)) for i in range(6))


def test_single_end__target_restarts__visitors_are_served_by_the_new_one(bench):
    t = bench.link("single", client={"min": 4})
    wait_for("four connections", lambda: len(t.target.peers) >= 4)
    t.target.close()
    with dial(t.visit) as s:
        assert how_it_ends(s)
    t.client.wait_ends(1, "dial_refused")
    t.target.up()
    assert all(ask(t.visit) for _ in range(6))


def test_single_end__server_speaks_first_on_a_waiting_connection__greeting_is_kept(bench):
    def script(s):
        s.sendall(b"hello")
        return re.fullmatch(rb"visitor\d", read_n(s, 8)) is not None

    t = bench.link("single", client={"min": 3}, target=bench.tcp_target(script))
    wait_for("three connections", lambda: len(t.target.peers) >= 3)
    for i in range(6):
        with dial(t.visit) as s:
            assert read_n(s, 5) == b"hello"
            s.sendall(b"visitor%d" % i)
            assert how_it_ends(s) == "eof"
    assert t.target.results == [True] * 6
