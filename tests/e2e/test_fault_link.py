"""Links that lose, delay, reorder, forget and break, between the two ends of a tunnel; outcomes are counted.

Run by hand, with what was measured: python3 -m pytest tests/e2e/test_fault_link.py -rP (add -m slow for the
long ones: partitions of a minute). As root, see np_world.py.
"""
import threading
import time

import pytest

from np_harness import over
from np_net import SLACK, abort, ask_dgram, dgram, how_it_ends, parallel, read_n, served, token, wait_for
from np_world import FAR, NEAR, OUTER, World, outcome

KIB, MIB = 1 << 10, 1 << 20
both = over(("reverse", "forward"), (1,))
QUICK = {"NP_REPORT_INTERVAL": "1s", "NP_POOL_GET_TIMEOUT": "10s"}


@pytest.fixture
def world(bench, tmp_path_factory):
    w = World(tmp_path_factory.getbasetemp())
    yield w
    w.set(cut="open", loss=0, delay=0, jitter=0, reorder=0)
    for n in bench.nodes:  # the link must be there until they have ended
        if n.alive() and n.expected_status is None:
            n.terminate()
    w.close()


def exchange(size):
    """A visitor that sends and gets back @size bytes of its own; True when they are exact."""
    def run(s, i):
        data = token(f"link/{i}", size)
        w = threading.Thread(target=s.sendall, args=(data,), daemon=True)
        w.start()
        same = read_n(s, size) == data
        w.join()
        return same
    return run


# ------------------------------------------------------------------ the nearest target

@pytest.mark.parametrize("flow", ["single", "forward"])
def test_lbs_1__visitors_go_to_the_nearer_target__and_follow_when_it_is_the_other(bench, world, flow):
    """Connect times differ by 2 x 15 ms. Every 64th visitor looks whether the other one is better now."""
    other = "10.99.2.3"
    world.far.run(f"ip addr add {other}/32 dev link0")
    world.near.run(f"ip route add {other} dev link0")
    with world.far:
        farms = {a: bench.farm(addr=(a, 9000)) for a in (FAR, other)}
    t = bench.link(flow, 0, targets=f"{FAR}:9000,{other}:9000", tunnel=(NEAR, 10101), visit=("127.0.0.1", 8000),
                   egress={"lbs": 1}, start=False, env=QUICK)
    if flow == "single":
        with world.near:
            t.start_client()
    else:
        world.start(t, "server")
        world.start(t, "client")
    where = world.near if flow == "single" else world.far

    def visit(_):
        with where:
            return served(t.visit, 5)

    def share(address, n=16):
        """How many of @n visitors, 8 at once, went to @address."""
        before = farms[address].busy
        assert parallel(n, visit, 8) == [True] * n
        return farms[address].busy - before

    wait_for("a visitor is served", lambda: visit(0), 10)
    for near, far in ((FAR, other), (other, FAR)):
        world.set(slow=far, extra=15)
        wait_for(lambda: f"visitors go to {near}", lambda: share(near) == 16, 30)
        assert share(near, 48) >= 46


# ------------------------------------------------------------------ loss, delay, order

@pytest.mark.parametrize("loss,delay,jitter,reorder", [
    (1, 5, 0, 0), (5, 5, 0, 0), (0, 10, 0, 0), (0, 100, 20, 0), (0, 300, 0, 0), (1, 20, 10, 10)],
    ids=["loss-1", "loss-5", "delay-10", "delay-100-jitter-20", "delay-300", "loss-1-reorder-10"])
@pytest.mark.parametrize("flow,tls", [("reverse", 1), pytest.param("forward", 0, marks=pytest.mark.slow)])
def test_link__slow_or_lossy__every_session_ends_well_with_its_bytes(bench, world, flow, tls, loss, delay, jitter,
                                                                     reorder):
    t = world.link(bench, flow, tls, env=QUICK)
    world.set(loss=loss, delay=delay, jitter=jitter, reorder=reorder)
    before, start = world.counters(), time.monotonic()
    results = world.visitors(t, 40, exchange(64 * KIB), 20)
    took, c = time.monotonic() - start, world.counters()
    assert results == [True] * 40, results
    lost, overtook = c["lost"] - before["lost"], c["overtook"] - before["overtook"]
    assert (lost > 0) == (loss > 0) and (overtook > 0) == (reorder > 0) and c["full"] == 0
    wait_for("the sessions' ends", lambda: len(t.ingress.ends("done")) >= 40)
    assert {e.reason for n in t.nodes for e in n.ends()} == {"done"}
    outcome(f"40 sessions of 2 x 64 KiB in {took:.1f} s, {lost} packets lost, {overtook} reordered, 0 sessions failed")
    assert took < 45 * SLACK


@pytest.mark.parametrize("loss", [1, 5])
def test_link__lossy__datagrams_that_arrive_are_whole_and_in_their_flow(bench, world, loss):
    """TCP below carries datagrams: loss delays them and makes none disappear as long as the backlog has room."""
    t = world.link(bench, "reverse", 1, udp=True, env=QUICK)
    with world.near:
        wait_for("the channel of datagrams", lambda: ask_dgram(t.visit, b"there?", 1, 1))
        s = bench.keep(dgram(t.visit, 10))
    world.set(loss=loss, delay=5)
    sent = [token(f"dgram/{i}", 200 + 7 * i) for i in range(100)]
    for d in sent:
        s.send(d)
    got = [s.recv(65536) for _ in sent]
    assert sorted(got) == sorted(sent)
    outcome(f"100 of 100 datagrams came back, {world.counters()['lost']} packets lost")


# ------------------------------------------------------------------ partitions

def running(bench, world, t):
    s = world.dial(bench, t, timeout=120)
    s.sendall(b"first")
    assert read_n(s, 5) == b"first"
    return s


@pytest.mark.parametrize("seconds", [1, pytest.param(10, marks=pytest.mark.slow)])
@both
def test_partition__shorter_than_any_deadline__session_goes_on(bench, world, flow, tls, seconds):
    """Report interval 5 s (the default): control is given up after 15 s, a channel after 30."""
    t = world.link(bench, flow, tls, env={"NP_REPORT_INTERVAL": "5s"})
    s, data = running(bench, world, t), token("partition", 256 * KIB)
    world.set(cut="drop")
    w = threading.Thread(target=s.sendall, args=(data,), daemon=True)
    w.start()
    time.sleep(seconds)  # the length of the partition
    cut = world.set(cut="open")["cut"]
    start = time.monotonic()
    assert read_n(s, len(data)) == data
    w.join()
    after = time.monotonic() - start
    assert world.served(t, 5)
    assert not any(n.ends("channel_lost") for n in t.nodes)
    outcome(f"{seconds} s: session went on {after:.2f} s after the end of the partition, {cut} packets met it")
    assert cut > 0 and after < (seconds + 5) * SLACK  # TCP doubles its pauses up to the length of the partition


@pytest.mark.sanitize
@both
def test_partition__with_resets__session_is_reset_at_both_ends__served_again_soon(bench, world, flow, tls):
    t = world.link(bench, flow, tls, env=QUICK)
    s = running(bench, world, t)
    world.set(cut="reset")
    start = time.monotonic()
    s.sendall(b"x" * 1000)
    assert how_it_ends(s, 10) == "reset"
    gone = time.monotonic() - start
    resets = world.set(cut="open")["reset"]
    back = world.wait_served(t)
    assert t.ingress.wait_ends(1, "channel_lost") and resets > 0
    outcome(f"reset after {gone:.2f} s, served {back:.2f} s after the partition ended")
    assert gone < 2 * SLACK and back < 5 * SLACK


@pytest.mark.parametrize("mode,seconds", [
    ("drop", 8), pytest.param("drop", 60, marks=pytest.mark.slow),
    pytest.param("reset", 10, marks=pytest.mark.slow), pytest.param("reset", 60, marks=pytest.mark.slow)])
@pytest.mark.timeout(150)
@over(("reverse",), (1,))
def test_partition__long__control_is_given_up__comes_back_soon(bench, world, flow, tls, mode, seconds):
    t = world.link(bench, flow, tls, env=QUICK)
    s = running(bench, world, t)
    fds = [n.fd_count() for n in t.nodes]
    world.set(cut=mode)
    start = time.monotonic()
    s.sendall(b"x" * 1000)
    most = [0, 0]
    while time.monotonic() - start < seconds:  # the partition
        most = [max(m, n.fd_count()) for m, n in zip(most, t.nodes)]
        time.sleep(0.1)
    world.set(cut="open")
    back = world.wait_served(t)
    if mode == "reset" or seconds > 45:
        assert how_it_ends(s, 10) == "reset", "the session outlived its channel"
        assert t.ingress.wait_ends(1, "channel_lost") and t.egress.wait_ends(1)
    outcome(f"{mode} {seconds} s: served {back:.2f} s after it ended; descriptors at most {most}, before {fds}")
    assert back < 8 * SLACK  # the client's dial that met the partition ends within 5 s, its pause is 3 s at most
    assert all(m <= f + 24 for m, f in zip(most, fds)), "descriptors pile up while the peer is away"


@pytest.mark.slow
@pytest.mark.timeout(120)
@both
def test_peer_powered_off__half_open__everything_of_it_is_gone_within_the_deadlines(bench, world, flow, tls):
    t = world.link(bench, flow, tls, env=QUICK)
    held = [running(bench, world, t) for _ in range(8)]
    with_all = t.server.fd_count()
    world.set(cut="drop")
    t.client.kill()
    start = time.monotonic()
    if flow == "reverse":
        for s in held:
            s.sendall(b"into the void")
    wait_for("the channels of the dead peer are closed",
             lambda: t.server.fd_count() <= with_all - 8 and len(t.server.ends()) >= 8, 75, 0.1)
    outcome(f"8 sessions of a peer that lost power ended after {time.monotonic() - start:.1f} s")
    assert time.monotonic() - start < 65 * SLACK


# ------------------------------------------------------------------ NAT

@pytest.mark.sanitize
@both
def test_nat__forgets_all_flows_at_once__tunnel_comes_back(bench, world, flow, tls):
    world.set(nat=OUTER)
    t = world.link(bench, flow, tls, env=QUICK)
    s = running(bench, world, t)
    world.set(forget=1)
    start = time.monotonic()
    s.sendall(b"lost")
    back = world.wait_served(t, 40)
    outcome(f"silent NAT forgot every flow: served again after {back:.1f} s")
    assert world.counters()["unknown"] > 0 and time.monotonic() - start < 30 * SLACK


@pytest.mark.parametrize("unknown", ["drop", "reset"])
@pytest.mark.slow
@pytest.mark.timeout(150)
def test_nat__forgets_idle_flows_after_30_s__pings_keep_them(bench, world, unknown):
    """Idle for 70 s: a channel is pinged every 20 s ± 25 %, the control connection more often."""
    world.set(nat=OUTER, idle=30, unknown=unknown)
    t = world.link(bench, "reverse", 1, client={"min": 8}, env={"NP_REPORT_INTERVAL": "5s"})
    s = running(bench, world, t)
    start = time.monotonic()
    while time.monotonic() - start < 70:  # the idleness
        time.sleep(0.5)
        assert t.server.alive() and t.client.alive()
    s.sendall(b"still")
    assert read_n(s, 5) == b"still"
    results = world.visitors(t, 8, exchange(100), 8)
    assert results == [True] * 8
    c = world.counters()
    outcome(f"idle for 70 s: the NAT forgot {c['forgotten']} flows, {c['unknown']} packets of unknown flows; "
            "the running session and 8 of 8 new ones were served")
    assert not any(n.ends("channel_lost") for n in t.nodes)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_nat__forgets_sooner_than_the_pings__they_come_more_often__visitors_are_served(bench, world):
    """The first visitor who meets a dead channel hears so after NP_TCP_DIAL_TIMEOUT of the far end + 2 s (no_status).
    From then on idle channels of that session are pinged before the NAT forgets them."""
    world.set(nat=OUTER, idle=6)
    t = world.link(bench, "reverse", 1, client={"min": 1},
                   env={"NP_REPORT_INTERVAL": "1s", "NP_TCP_DIAL_TIMEOUT": "2s"})
    start, ok, took = time.monotonic(), [], []
    while len(ok) < 6 or not all(ok[-3:]):
        assert time.monotonic() - start < 100, ok
        time.sleep(8)  # longer than the NAT remembers: the idleness
        began = time.monotonic()
        ok.append(world.served(t, 30))
        took.append(time.monotonic() - began)
    reasons = {e.reason for e in t.server.ends()}
    outcome(f"{world.counters()['forgotten']} flows forgotten; visitors served: {ok}, the others ended "
            f"with {reasons - {'done'}} after {max(took):.1f} s at most")
    assert ok.count(False) <= 2 and reasons <= {"done", "no_status"} and max(took) < 6 * SLACK
    t.server.wait_line(r"idle channels are pinged every [3-5]\.")


# ------------------------------------------------------------------ addresses

@both
def test_address__of_the_client_changes__tunnel_comes_back(bench, world, flow, tls):
    t = world.link(bench, flow, tls, env=QUICK)
    s = running(bench, world, t)
    world.near.run("ip route add 10.99.2.7 dev link0")
    world.far.run("ip addr add 10.99.2.7/32 dev link0", f"ip addr del {FAR}/32 dev link0",
                  f"ip route replace {NEAR} dev link0 src 10.99.2.7")
    start = time.monotonic()
    s.sendall(b"to the old address")
    back = world.wait_served(t, 40)
    outcome(f"served {back:.1f} s after the address changed")
    wait_for("the server knows the new address", lambda: t.server.lines(None, r"10\.99\.2\.7"), 10)
    assert time.monotonic() - start < 35 * SLACK


@pytest.mark.sanitize
def test_link__visitor_leaves_during_a_partition__slot_is_given_back(bench, world):
    t = world.link(bench, "reverse", 0, server={"slot": 2}, env=QUICK)
    t.server.wait_ends(1, "done")  # of the visitor who tried whether it serves
    held = [running(bench, world, t) for _ in range(2)]
    world.set(cut="drop")
    for s in held:
        abort(s)
    t.server.wait_ends(2, "visitor_reset", 5)
    world.set(cut="open")
    back = world.wait_served(t)
    outcome(f"two sessions whose visitors left in a partition: served {back:.2f} s after it")
    wait_for("the far end ends them, too", lambda: len(t.client.ends()) >= 3, 10)
