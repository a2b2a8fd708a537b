"""Calls that fail for lack of descriptors, buffers or memory, at start and while a tunnel serves; clocks that jump.

The calls are made to fail by a preloaded library (tests/net/shim.c), in turn: the first, the second, and so on.
"""
import contextlib
import subprocess
import time

import pytest

from np_fault import SHORT, Shim
from np_harness import NODEPASS, built_with, good_key, instrumented, over
from np_net import ask, ask_dgram, dial, is_listening, read_n, served, text_of, wait_for
from np_world import outcome
from test_handshake import CONTROL, no_verify

# What a start, and what a day of each side may do.
START_CALLS = ("socket", "bind", "listen", "setsockopt", "epoll_create1", "epoll_ctl", "eventfd", "signalfd",
               "pthread_create", "memory")
DAY_CALLS = {
    "server": ("accept4", "setsockopt", "getsockopt", "getsockname", "epoll_ctl", "recv", "send", "recvmsg", "sendmsg",
               "shutdown", "memory"),
    "client": ("socket", "connect", "setsockopt", "getsockopt", "getsockname", "epoll_ctl", "recv", "send",
               "shutdown", "memory"),
}


@pytest.fixture
def shim(bench, tmp_path, tmp_path_factory):
    if instrumented():
        pytest.skip("a preloaded allocator and a sanitizer do not go together")
    s = Shim(tmp_path, tmp_path_factory.getbasetemp())
    yield s
    s.disarm()


# ------------------------------------------------------------------ at start

def answers_tls(addr):
    with contextlib.suppress(OSError), dial(addr, 5) as raw, no_verify(CONTROL).wrap_socket(raw):
        return True
    return False


def start_once(bench, shim, url, addr, serves, call, error, skip):
    """Starts a node whose call number @skip fails: "served", "refused", or None when that call was not made."""
    shim.prepare(call, error, skip)
    n = bench.node(url, env={**shim.env(), "NP_WORKERS": "2"}, name=f"{call}-{skip}")
    wait_for(f"{call} {error} {skip}: it listens or ends", lambda: is_listening(addr) or not n.alive(), 10, 0.005)
    hit = shim.failed(call)
    if n.alive():
        shim.disarm()
        assert serves(addr), f"{call} {error}, call {skip}: it listens and does not serve"
        n.terminate()
        return "served" if hit else None
    n.expected_status = n._p.returncode
    assert n.expected_status in (1, 2), f"{call} {error}, call {skip}: status {n.expected_status}\n{n.last_words()}"
    said = n.lines("ERROR") or [x for x in n.lines() if x.level is None and "nodepass" in x.raw]
    assert said, f"{call} {error}, call {skip}: it ended without a word why\n{n.last_words()}"
    return "refused"


@pytest.mark.parametrize("core", ["server", "client"])
@pytest.mark.parametrize("call,most", [(c, 20) for c in START_CALLS] +
                         [pytest.param("memory", 2000, marks=[pytest.mark.slow, pytest.mark.timeout(400)])])
def test_start__each_call_fails_in_turn__serves_or_says_why(bench, shim, core, call, most):
    """A single-end client, and a server that makes its certificate: some of its thousands of allocations, or half."""
    if call == "memory" and built_with(b"__gcov_"):
        pytest.skip("what gcov allocates at the start fails, too, and gcov does not survive it")
    if core == "client":
        addr, serves = bench.addr(2), lambda a: served(a, 5)
        url = f"client://{text_of(addr)}/{text_of(bench.farm().addr)}?mode=1&min=0"
        turns = range(0, most * 4, 4) if call == "memory" and most == 20 else range(most)
    else:
        addr, serves = bench.addr(1), answers_tls
        url = f"server://{good_key()}@{text_of(addr)}/{text_of(bench.addr(2))}?mode=1&tls=1"
        turns = range(most)
        if call == "memory":  # the first 120 make OpenSSL ready
            turns = [*range(0, 120, 10), *range(200, 4000, 400)] if most == 20 else range(0, 4000, 2)
    seen = {"served": 0, "refused": 0}
    for skip in turns:
        got = start_once(bench, shim, url, addr, serves, call, SHORT[call][skip % len(SHORT[call])], skip)
        if got is None:
            break
        seen[got] += 1
        bench.nodes[-1].close()
    assert sum(seen.values()) > 0, "the call is never made: this test shows nothing"
    outcome(f"{core}, {call}: {seen['served'] + seen['refused']} failing calls: {seen['served']} starts served all the "
            f"same, {seen['refused']} ended with status 1 or 2 and the reason")


# ------------------------------------------------------------------ while it serves

def one_day(t):
    """What a tunnel does: a session, a datagram, a control connection that is lost, another session."""
    served(t.visit, 1.5)
    ask_dgram(t.visit, b"?", 0.15, 1)
    t.proxy.cut([t.proxy.control()])
    served(t.visit, 1.5)


@pytest.mark.parametrize("points", [12, pytest.param(250, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
@pytest.mark.parametrize("side,call", [(s, c) for s, calls in DAY_CALLS.items() for c in calls])
def test_running__each_call_fails_in_turn__the_next_visitor_is_served(bench, shim, side, call, points):
    t = bench.link("reverse", 1, target=bench.farm(), udp=True, via={}, **{side + "_env": shim.env()},
                   env={"NP_POOL_GET_TIMEOUT": "2s", "NP_REPORT_INTERVAL": "1s", "NP_WORKERS": "2"})
    n = getattr(t, side)
    held = bench.dial(t.visit, timeout=10)
    held.sendall(b"a")
    assert read_n(held, 1) == b"a"
    wait_for("datagrams", lambda: ask_dgram(t.visit, b"?", 0.5, 1))
    before = n.fd_count()
    start = shim.calls(call)
    one_day(t)
    wait_for("a control connection", lambda: t.proxy.control())
    a_day = shim.calls(call) - start
    hits, worst = 0, 0.0
    for k, skip in enumerate(range(0, a_day, max(1, a_day // points))):
        error = SHORT[call][k % len(SHORT[call])]
        shim.arm(call, error, skip, count=1 if k % 3 else 3)
        one_day(t)
        hits += shim.failed(call)
        shim.disarm()
        began = time.monotonic()
        wait_for(f"{call} {error} (call {skip} of a day): a visitor is served", lambda: served(t.visit, 2), 12)
        worst = max(worst, time.monotonic() - began)
        assert n.alive()
    held.sendall(b"b")
    assert read_n(held, 1) == b"b", "a running session suffered"
    wait_for(lambda: f"descriptors are back at {before}: {n.fd_names()}", lambda: n.fd_count() <= before + 8, 15)
    wait_for("datagrams again", lambda: ask_dgram(t.visit, b"?", 0.5, 1))
    if not hits:
        pytest.skip(f"{call} is hardly ever called while a {side} serves ({a_day} times in the first round)")
    outcome(f"{side}, {call}: {hits} calls failed; the next visitor was served within {worst:.2f} s")


# ------------------------------------------------------------------ clocks

DAY = 86400


@pytest.mark.parametrize("jump", [DAY, -DAY, 20 * 365 * DAY, -20 * 365 * DAY], ids=["+1d", "-1d", "+20y", "-20y"])
@over(("reverse",), (1,))
def test_clock__of_the_day_jumps__nothing_notices(bench, shim, flow, tls, jump):
    t = bench.link(flow, tls, target=bench.farm(), via={}, server_env=shim.env(), client_env=shim.env(),
                   env={"NP_REPORT_INTERVAL": "500ms"})
    held = bench.dial(t.visit)
    held.sendall(b"a")
    assert read_n(held, 1) == b"a"
    shim.jump(realtime_s=jump)
    points = len(t.client.points())
    assert all(ask(t.visit) for _ in range(10))
    t.proxy.cut([t.proxy.control()])
    wait_for("pings and a new control connection", lambda: len(t.client.points()) > points + 1 and t.proxy.control())
    assert all(ask(t.visit) for _ in range(10))
    held.sendall(b"b")
    assert read_n(held, 1) == b"b"
    outcome(f"wall clock of both ends jumps by {jump} s: running session, 20 new ones and a reconnect are well")


@over(("reverse", "forward"), (1,))
def test_clock__monotonic_jumps_by_an_hour__as_after_a_pause_of_the_machine__comes_back(bench, shim, flow, tls):
    """All deadlines of one end are over at once: pings, reports, handshakes."""
    t = bench.link(flow, tls, target=bench.farm(), client_env=shim.env(), env={"NP_REPORT_INTERVAL": "500ms"})
    shim.jump(monotonic_s=3600)
    start = time.monotonic()
    wait_for("served", lambda: served(t.visit, 2), 15)
    assert all(ask(t.visit) for _ in range(10))
    outcome(f"monotonic clock of the client jumps by an hour: served after {time.monotonic() - start:.2f} s")


# ------------------------------------------------------------------ full disk

@pytest.mark.parametrize("form", ["text", "json"])
def test_disk__log_to_a_full_device__tunnel_serves(bench, form):
    tunnel, visit, target, key = bench.addr(1), bench.addr(2), bench.farm(), good_key()
    nodes = []
    with open("/dev/full", "wb") as full:
        for url in (f"server://{key}@{text_of(tunnel)}/{text_of(visit)}?mode=1&log=debug",
                    f"client://{key}@{text_of(tunnel)}/{text_of(target.addr)}?mode=2&log=debug"):
            nodes.append(subprocess.Popen([NODEPASS, url], stdin=subprocess.DEVNULL, stdout=full, stderr=full,
                                          env=bench.env({"NP_LOG_FORMAT": form, "NP_REPORT_INTERVAL": "100ms"})))
    try:
        wait_for("served", lambda: is_listening(visit) and served(visit, 1), 10)
        rss = [_rss(p.pid) for p in nodes]
        assert all(ask(visit) for _ in range(500))
        grown = [_rss(p.pid) - r for p, r in zip(nodes, rss)]
        assert all(p.poll() is None for p in nodes) and max(grown) < 8 << 20
        outcome(f"500 sessions at level debug, no line could be written; memory grew by {max(grown) >> 10} KiB")
    finally:
        for p in nodes:
            p.terminate()
        assert [p.wait(10) for p in nodes] == [0, 0]


def _rss(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * 4096
