"""dns=: when names are resolved again, which of their addresses are tried, and what a failing resolver costs."""
import time

import pytest

from np_harness import over
from np_net import SLACK, ask, ask_dgram, dial, free_port, how_it_ends, served, wait_for

flows = over()


def link(bench, names, flow, target, port, **kw):
    at = {"single": "client_kw", "reverse": "client_kw", "forward": "server_kw"}[flow]
    return bench.link(flow, 0, targets=f"{target}:{port}", **{at: names.kw}, **kw)


@over(sanitize=("reverse-0", "single"))
def test_lifetime_over__new_address_is_used(bench, names, flow, tls):
    a = bench.tcp_target(h=9)
    b = bench.tcp_target(addr=(bench.host(10), a.addr[1]))
    ua, ub = bench.udp_target(addr=a.addr), bench.udp_target(addr=b.addr)
    names.table["moving.test"] = [a.addr[0]]
    t = link(bench, names, flow, "moving.test", a.addr[1], egress={"dns": "1s"})
    assert ask(t.visit) and ask_dgram(t.visit) and a.peers and ua.got
    names.table["moving.test"] = [b.addr[0]]
    wait_for("sessions reach the new address", lambda: ask(t.visit) and b.peers, 6)
    n = len(a.peers)
    assert all(ask(t.visit) for _ in range(3)) and len(a.peers) == n
    wait_for("flows reach the new address", lambda: ask_dgram(t.visit) and ub.got, 6)


@flows
def test_within_its_lifetime__asked_once(bench, names, flow, tls):
    a = bench.tcp_target(h=9)
    names.table["still.test"] = [a.addr[0]]
    t = link(bench, names, flow, "still.test", a.addr[1], env={"NP_WORKERS": "1"})
    assert ask(t.visit)
    n = names.asked["still.test"]
    names.table["still.test"] = []
    assert all(ask(t.visit) for _ in range(5)) and names.asked["still.test"] == n


@pytest.mark.parametrize("how", ["broken", "silent", "gone"])
@over(sanitize=("forward-0",))
def test_resolver_fails__last_good_answer_stays_in_use(bench, names, flow, tls, how):
    a = bench.tcp_target(h=9)
    names.table["lasting.test"] = [a.addr[0]]
    t = link(bench, names, flow, "lasting.test", a.addr[1], egress={"dns": "200ms"})
    assert ask(t.visit)
    if how == "gone":
        del names.table["lasting.test"]
    else:
        setattr(names, how, True)
    n, end = names.asked["lasting.test"], time.monotonic() + 3
    while time.monotonic() < end:
        start = time.monotonic()
        assert ask(t.visit)
        assert time.monotonic() - start < 0.9 * SLACK, "a visitor waited for the resolver"
        time.sleep(0.05)  # the pace of the visitors
    assert names.asked["lasting.test"] > n, "it was not asked again"


@flows
def test_all_addresses_are_tried__both_families(bench, names, flow, tls):
    """Two that refuse in front, of both families; the one that listens is last."""
    port = free_port(bench.host(9))
    a = bench.tcp_target(addr=(bench.host(9), port))
    names.table["many.test"] = [bench.host(7), bench.host(8), a.addr[0], "::1"]
    t = link(bench, names, flow, "many.test", port)
    assert all(ask(t.visit) for _ in range(5)) and len(a.peers) == 5


@pytest.mark.sanitize
def test_first_address_is_silent__the_other_family_is_next_after_250_ms(bench, names):
    """RFC 8305: families alternate. An address that drops everything costs a quarter of a second, no more."""
    mute = bench.mute_target()
    six = bench.tcp_target(addr=("::1", mute.addr[1]))
    names.table["slow.test"] = [mute.addr[0], bench.host(99), "::1"]
    t = link(bench, names, "single", "slow.test", mute.addr[1])
    start = time.monotonic()
    assert ask(t.visit)
    took = time.monotonic() - start
    assert took < 0.6 * SLACK and six.peers, took


@flows
def test_unknown_name__visitor_is_told_soon__known_later__served(bench, names, flow, tls):
    a = bench.tcp_target(h=9)
    t = link(bench, names, flow, "later.test", a.addr[1])
    with dial(t.visit) as s:
        assert how_it_ends(s)
    assert t.egress.wait_ends(1, "resolve_failed")
    names.table["later.test"] = [a.addr[0]]
    wait_for("a session", lambda: served(t.visit), 5)


@pytest.mark.parametrize("family", ["v4", "v6"])
@flows
def test_dial__of_one_family__addresses_of_the_other_are_not_tried(bench, names, flow, tls, family):
    """Strict: no connection leaves from anywhere else, TCP and UDP."""
    port = free_port(bench.host(9))
    four, six = bench.tcp_target(addr=(bench.host(9), port)), bench.tcp_target(addr=("::1", port))
    u4, u6 = bench.udp_target(addr=four.addr), bench.udp_target(addr=six.addr)
    names.table["both.test"] = [four.addr[0], "::1"]
    src = bench.host(200) if family == "v4" else "::1"
    t = link(bench, names, flow, "both.test", port, egress={"dial": src})
    assert all(ask(t.visit) for _ in range(3)) and all(ask_dgram(t.visit) for _ in range(3))
    used, other, uused, uother = (four, six, u4, u6) if family == "v4" else (six, four, u6, u4)
    assert {p[0] for p in used.peers} == {src} and not other.peers
    assert {p[0] for _, p in uused.got} == {src} and not uother.got
