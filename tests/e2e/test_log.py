"""What the product says: session ends, checkpoints, counters to the byte, formats, levels."""
import json
import os
import re
import socket
import subprocess
import time

import pytest

from np_harness import DUAL, NODEPASS, over
from np_net import (abort, ask, dgram, dial, how_it_ends, is_listening, parallel, read_eof, read_n, send_later,
                    text_of, token, wait_for)

every = over(tls=(0, 1), sanitize=("reverse-1", "forward-0", "single"))
LEVELS = ("debug", "info", "warn", "error", "event")


def transfer(bench, flow, tls, up, down, **kw):
    def script(s):
        read_n(s, up)
        s.sendall(token("down", down))

    t = bench.link(flow, tls, target=bench.tcp_target(script), **kw)
    with dial(t.visit, 30) as s:
        me = s.getsockname()
        w = send_later(s, token("up", up))
        assert len(read_eof(s)) == down
        w.join()
    return t, me


@every
def test_session_end__one_line_with_reason_bytes_time_visitor_target(bench, flow, tls):
    t, me = transfer(bench, flow, tls, 123_457, 1_654_321)
    (end,) = t.ingress.wait_ends()
    assert (end.reason, end.rx, end.tx) == ("done", 123_457, 1_654_321)
    assert end.visitor == text_of(me) and 0 <= end.ms < 30_000
    assert len(t.ingress.ends()) == 1
    (end,) = t.egress.wait_ends()
    assert end.target == text_of(t.target.addr)
    if flow != "single":
        assert (end.reason, end.rx, end.tx) == ("done", 1_654_321, 123_457)
        assert end.visitor == text_of(me), "the egress does not know who came"


@every
def test_counters__right_to_the_byte(bench, flow, tls):
    t, _ = transfer(bench, flow, tls, 123_457, 1_654_321, udp=True)
    with dgram(t.visit) as s:
        t.udp_target.script = lambda data, peer: (b"12345",)
        for _ in range(3):
            s.send(b"x" * 1000)
            assert s.recv(100) == b"12345"
    want = {"tcprx": 123_457, "tcptx": 1_654_321, "udprx": 3000, "udptx": 15}
    p = t.ingress.wait_point("all bytes", lambda p: p["udptx"] == 15 and p["tcptx"] == want["tcptx"])
    assert {k: p[k] for k in want} == want
    if flow != "single":
        want = {"tcprx": 1_654_321, "tcptx": 123_457, "udprx": 15, "udptx": 3000}
        p = t.egress.wait_point("all bytes", lambda p: p["udptx"] == 3000 and p["tcptx"] == want["tcptx"])
        assert {k: p[k] for k in want} == want


@every
def test_counters__aborted_sessions__bytes_that_passed_are_counted(bench, flow, tls):
    def script(s):
        read_n(s, 5000)
        s.sendall(b"k")
        return how_it_ends(s)

    t = bench.link(flow, tls, target=bench.tcp_target(script))
    for _ in range(10):
        s = dial(t.visit)
        s.sendall(bytes(5000))
        assert read_n(s, 1) == b"k"
        abort(s)
    ends = t.ingress.wait_ends(10, "visitor_reset")
    assert [(e.rx, e.tx) for e in ends] == [(5000, 1)] * 10
    p = t.ingress.wait_point("all of them", lambda p: p["tcps"] == 0)
    assert (p["tcprx"], p["tcptx"]) == (50_000, 10)


@every
def test_checkpoint__sessions_and_flows_now(bench, flow, tls):
    t = bench.link(flow, tls, udp=True)
    held = [bench.dial(t.visit) for _ in range(3)]
    for s in held:
        s.sendall(b"x")
        assert read_n(s, 1) == b"x"
    flow_ = bench.keep(dgram(t.visit))
    flow_.send(b"y")
    assert flow_.recv(10) == b"y"
    for n in t.nodes:
        n.wait_point("three sessions and a flow", lambda p: (p["tcps"], p["udps"]) == (3, 1))
    for s in held:
        s.close()
    for n in t.nodes:
        n.wait_point("a flow only", lambda p: (p["tcps"], p["udps"]) == (0, 1))


@pytest.mark.parametrize("level", LEVELS + ("none",))
@over(("reverse", "single"))
def test_checkpoint__at_every_level_but_none(bench, flow, tls, level):
    t = bench.link(flow, tls, server={"log": level} if flow != "single" else None, client={"log": level},
                   env={"NP_REPORT_INTERVAL": "200ms"})
    assert ask(t.visit)
    if level == "none":
        start = time.monotonic()
        while time.monotonic() - start < 0.7:  # three report intervals in which nothing may be said
            assert all(n.log() == "" for n in t.nodes)
            time.sleep(0.05)
        return
    for n in t.nodes:
        wait_for("three checkpoints", lambda: len(n.points()) >= 3)
        order = ("debug", "info", "warn", "error", "event")
        allowed = {x.upper() for x in order[order.index(level):]}
        assert {x.level for x in n.lines() if x.level} <= allowed | {"EVENT"}
        assert bool(n.lines("INFO")) == (level in ("debug", "info"))


@over(("reverse", "single"))
def test_checkpoint__every_report_interval(bench, flow, tls):
    t = bench.link(flow, tls, env={"NP_REPORT_INTERVAL": "500ms"})
    n = t.ingress
    n.wait_point("the first", lambda p: True)
    first, start = len(n.points()), time.monotonic()
    wait_for("six more", lambda: len(n.points()) >= first + 6)
    assert 2.2 < time.monotonic() - start < 4.5


def test_checkpoint__ping_over_the_proxy__is_its_round_trip(bench):
    t = bench.link("reverse", via={"delay_s": 0.05}, env={"NP_REPORT_INTERVAL": "300ms"})
    for n in t.nodes:
        n.wait_point("a round trip of 100 ms", lambda p: 95 <= p["ping"] < 400)


@every
def test_lines__form_and_levels(bench, flow, tls):
    t = bench.link(flow, tls)
    assert ask(t.visit)
    t.ingress.wait_ends()
    for n in t.nodes:
        strange = [x.raw for x in n.lines() if x.level not in ("DEBUG", "INFO", "WARN", "ERROR", "EVENT")]
        assert strange == [], "lines that are not 'time  LEVEL  text'"


def test_colours__default_on__off_by_environment(bench):
    for env, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"NP_LOG_COLOR": "0"}, False)):
        n = bench.node(f"client://{text_of(bench.addr(2))}/{text_of(bench.addr(9))}?mode=1", env=env)
        n.wait_point("a checkpoint", lambda p: True)
        raw = open(n.log_path, "rb").read()
        assert (b"\x1b[" in raw) == coloured, env
        if coloured:
            assert b"\x1b[32mINFO\x1b[0m" in raw and b"\x1b[36mEVENT\x1b[0m" in raw


@over(("reverse",), (1,), sanitize=("reverse-1",))
def test_json__every_line_parses(bench, flow, tls):
    t = bench.link(flow, tls, env={"NP_LOG_FORMAT": "json"}, client={"log": "debug"}, server={"log": "debug"})
    assert ask(t.visit)
    t.client.terminate()
    t.server.terminate()
    for n in (t.client, t.server):
        lines = [json.loads(x.raw) for x in n.lines()]
        assert len(lines) >= 5 and all(isinstance(x, dict) for x in lines)
        keys = set.intersection(*(set(x) for x in lines))
        assert any(re.search("level|lvl", k) for k in keys) and any(re.search("ts|time", k) for k in keys)
        assert any("CHECK_POINT" in str(x) or "reason" in str(x) for x in lines)
    ends = [x["msg"] for x in lines if "session end" in x.get("msg", "")]
    assert len(ends) == 1 and " reason=done rx=24 tx=24 " in ends[0]


def test_logfmt__every_line_is_pairs(bench):
    t = bench.link("reverse", env={"NP_LOG_FORMAT": "logfmt"})
    assert ask(t.visit)
    t.server.terminate()
    pair = r'[A-Za-z_][\w.]*=("([^"\\]|\\.)*"|[^\s"]*)'
    for x in t.server.lines():
        assert re.fullmatch(rf"{pair}( {pair})*", x.raw), x.raw


@over(("reverse", "single"))
def test_session_ends__a_storm_of_them__at_most_100_lines_a_second_and_a_count(bench, flow, tls):
    t = bench.link(flow, tls, target=bench.farm(), client={"min": 8})
    start = time.monotonic()
    assert all(r is True for r in parallel(1500, lambda i: ask(t.visit, b"x" * 10), 16))
    t.wait_quiet()
    seconds = int(time.monotonic() - start) + 2
    ends = t.ingress.ends()
    assert len(ends) <= 100 * (seconds + 1)
    p = t.ingress.points()[-1]
    assert (p["tcprx"], p["tcptx"]) == (15_000, 15_000), "statistics depend on the lines"
    if len(ends) < 1500:
        t.ingress.wait_line(r"(?i)(more|suppress|further|other|not shown)", "INFO")


def test_blocked_terminal__blocks_nothing(bench):
    """Nobody reads the log: a pipe that is full must not stop sessions."""
    target, visit = bench.farm(), bench.addr(2)
    r, w = os.pipe()
    p = subprocess.Popen([NODEPASS, f"client://{text_of(visit)}/{text_of(target.addr)}?mode=1&min=0&log=debug"],
                         stdout=w, stderr=w, stdin=subprocess.DEVNULL, env=bench.env({"NP_REPORT_INTERVAL": "100ms"}))
    os.close(w)
    try:
        wait_for("the listener", lambda: is_listening(visit))
        for i in range(1500):
            assert ask(visit, b"%d" % i)
    finally:
        p.terminate()
        try:
            assert p.wait(7) == 0
        finally:
            p.kill()
            os.close(r)


@over(DUAL, (0,))
def test_life__of_a_tunnel_can_be_read_at_info(bench, flow, tls):
    t = bench.link(flow, tls, key="")
    t.server.wait_line(text_of(t.tunnel), "INFO")
    t.client.wait_line(text_of(t.tunnel), "INFO")
    t.ingress.wait_line(text_of(t.visit), "INFO")
    t.server.kill()
    t.client.wait_line(r"(?i)lost|closed|refused|retry")
    with socket.socket() as s:
        assert s.connect_ex(t.tunnel) != 0
