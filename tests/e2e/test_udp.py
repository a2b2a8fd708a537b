"""Datagrams: boundaries, isolation of flows, addresses of answers, idle ends, loss of a channel."""
import errno
import socket
import sys
import threading

import pytest

from np_harness import DUAL, over
from np_net import (SOL_UDP, UDP_SEGMENT, ask, ask_dgram, dgram, dial, free_port, is_listening, parallel,
                    read_n, send_later, token, wait_for)

every = over(tls=(0, 1, 2), sanitize=("reverse-0", "reverse-1", "forward-1", "single"))
flows = over(sanitize=("reverse-0", "forward-0", "single"))
offload = pytest.mark.parametrize("offload", ["1", "0"], ids=["gso", "plain"])
SIZES = (1, 2, 512, 1199, 1472, 1473, 4096, 9000, 16383, 16384, 32768, 65506, 65507)


@every
def test_boundaries__0_to_65507_bytes__kept(bench, flow, tls):
    t = bench.link(flow, tls, udp=True)
    for n in SIZES:
        data = token(n, n)
        assert ask_dgram(t.visit, data), f"a datagram of {n} bytes did not come back as one"
        assert {len(d) for d, _ in t.udp_target.got if d[:16] == data[:16]} == {n}
    assert ask_dgram(t.visit, b""), "an empty datagram did not come back"
    assert b"" in [d for d, _ in t.udp_target.got]


@every
@offload
def test_boundaries__burst_of_100__neither_merged_nor_split(bench, flow, tls, offload):
    """The first ones come before the datagram channel is up."""
    t = bench.link(flow, tls, udp=True, env={"NP_UDP_OFFLOAD": offload})
    sent = [token(f"burst{i}", 1 + i * 37 % 1400) for i in range(100)]
    with dgram(t.visit, 5) as s:
        for d in sent:
            s.send(d)
        assert [s.recv(1 << 16) for _ in sent] == sent
    assert [d for d, _ in t.udp_target.got] == sent


@every
@offload
def test_boundaries__packets_of_several_datagrams__each_arrives_by_itself(bench, flow, tls, offload):
    """Sizes of a run, and of its last datagram; in one packet of the kernel where it can do that."""
    t = bench.link(flow, tls, udp=True, env={"NP_UDP_OFFLOAD": offload})
    runs = [(1200, 40, 7), (64, 64, 64), (1, 64, 1), (32000, 2, 31999), (9000, 7, 1), (1472, 44, 700)]
    with dgram(t.visit, 5) as s:
        assert ask_dgram(t.visit)
        t.udp_target.got.clear()
        for size, n, last in runs:
            data = token(f"run{size}", size * (n - 1) + last)
            sent = [data[i:i + size] for i in range(0, len(data), size)]
            if not send_packet(s, data, size):
                for d in sent:
                    s.send(d)
            assert [s.recv(1 << 16) for _ in sent] == sent, f"{n} datagrams of {size} bytes"
            assert [d for d, _ in t.udp_target.got[-n:]] == sent
    for n in t.nodes:
        n.wait_point("the bytes", lambda p: p["udprx"] == p["udptx"] == 24 + sum(len(d) for d, _ in
                                                                                t.udp_target.got))


def send_packet(s, data, size):
    """One packet that the kernel makes datagrams of @size of; False: this kernel cannot."""
    try:
        s.sendmsg([data], [(SOL_UDP, UDP_SEGMENT, size.to_bytes(2, sys.byteorder))])
    except OSError as e:
        assert e.errno in (errno.EINVAL, errno.ENOPROTOOPT, errno.EIO), e
        return False
    return True


@over(DUAL, (0, 1), sanitize=("reverse-1", "forward-0"))
def test_no_channel_yet__datagrams_wait_for_it_in_order(bench, flow, tls):
    """The end that takes visitors is up, the other one is not there yet."""
    t = bench.link(flow, tls, udp=True, up=False, start=False)
    sent = [b"early %d" % i for i in range(40)]
    t.start_server()
    with dgram(t.visit, 10) as s, dgram(t.visit, 10) as other:
        if flow == "forward":  # its visitors' listener opens with the tunnel
            t.start_client()
        wait_for("the visitors' socket", lambda: is_listening(t.visit, "udp"))
        for d in sent:
            s.send(d)
        other.send(b"another flow")
        if flow == "reverse":
            t.start_client()
        assert [s.recv(1 << 16) for _ in sent] == sent
        assert other.recv(1 << 16) == b"another flow"
    assert sorted(d for d, _ in t.udp_target.got) == sorted([*sent, b"another flow"])


@pytest.mark.sanitize
def test_no_channel__datagrams_wait_as_long_as_visitors_do(bench):
    t = bench.link("reverse", 0, udp=True, up=False, start=False, env={"NP_POOL_GET_TIMEOUT": "1s"})
    node = t.start_server()
    wait_for("the visitors' socket", lambda: is_listening(t.visit, "udp"))
    with dgram(t.visit, 10) as s:
        s.send(b"in vain")
        end = node.wait_ends(1)[0]
        assert (end.reason, end.rx, end.tx) == ("pool_timeout", 7, 0) and end.ms >= 900
        t.start_client()
        t.wait_up()
        assert wait_for("an answer", lambda: again(s, b"now"))
    assert b"in vain" not in [d for d, _ in t.udp_target.got]


@over(tls=(0, 1), sanitize=("forward-1",))
def test_flows__200_at_once__each_gets_its_own_answers_and_keeps_its_source(bench, flow, tls):
    t = bench.link(flow, tls, udp=True)

    socks = [bench.keep(dgram(t.visit, 1)) for _ in range(200)]  # open to the end: no port is used twice

    def visit(i):
        s = socks[i]
        for k in range(5):
            data = b"flow %d datagram %d" % (i, k)
            for attempt in range(4):
                s.send(data)
                try:
                    got = s.recv(1 << 16)
                    while got != data and got.startswith(b"flow %d " % i):
                        got = s.recv(1 << 16)  # a late copy of an earlier try
                except TimeoutError:
                    assert attempt < 3, "no answer"
                    continue
                assert got == data
                break
        return True

    assert [r for r in parallel(200, visit, 50) if r is not True] == []
    source = {}
    for data, peer in t.udp_target.got:
        source.setdefault(data.split()[1], set()).add(peer)
    assert all(len(p) == 1 for p in source.values()), "a flow changed its source on the way"
    assert len({next(iter(p)) for p in source.values()}) == 200, "two flows shared a source"


@flows
def test_idle__flow_ends_after_the_read_timeout__next_datagram_is_a_new_flow(bench, flow, tls):
    t = bench.link(flow, tls, udp=True, env={"NP_UDP_READ_TIMEOUT": "1s"})
    with dgram(t.visit, 3) as s:
        s.send(b"one")
        assert s.recv(100) == b"one"
        ends = [n.wait_ends(1)[0] for n in t.nodes]  # the end that notices first tells the other
        assert all((e.rx, e.tx) == (3, 3) and e.ms >= 900 for e in ends)
        assert "udp_idle" in {e.reason for e in ends} <= {"udp_idle", "done"}
        t.egress.wait_point("no flow", lambda p: p["udps"] == 0)
        s.send(b"two")
        assert s.recv(100) == b"two"
    assert not t.udp_target.sources(b"one") & t.udp_target.sources(b"two")


@flows
def test_idle__traffic_in_one_direction_only__flow_lives(bench, flow, tls):
    t = bench.link(flow, tls, udp=True, env={"NP_UDP_READ_TIMEOUT": "1s"})
    t.udp_target.script = lambda data, peer: ()
    with dgram(t.visit) as s:
        for i in range(8):
            s.send(b"tick %d" % i)
            n = len(t.ingress.points())
            wait_for("a checkpoint", lambda: len(t.ingress.points()) > n, 5) if i % 3 == 2 else None
    assert len({p for _, p in t.udp_target.got}) == 1


@every
def test_answer__comes_from_the_address_that_was_asked(bench, flow, tls):
    t = bench.link(flow, tls, udp=True)
    with dgram(None, 3, source=bench.host(77)) as s:
        s.sendto(b"who", t.visit)
        assert s.recvfrom(100) == (b"who", t.visit)


@flows
def test_answer__wildcard_listener__from_the_address_that_was_asked(bench, flow, tls):
    port = free_port("0.0.0.0")
    t = bench.link(flow, tls, udp=True, visit=("0.0.0.0", port), visit_text=f":{port}")
    for host in (bench.host(41), bench.host(42), "127.0.0.1"):
        with dgram(None, 3, source=bench.host(78)) as s:
            s.sendto(b"who", (host, port))
            assert s.recvfrom(100) == (b"who", (host, port))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.sendto(b"six", ("::1", port))
        assert s.recvfrom(100)[1][:2] == ("::1", port)


@flows
def test_one_visitor__two_addresses_of_a_wildcard_listener__two_flows(bench, flow, tls):
    port = free_port("0.0.0.0")
    t = bench.link(flow, tls, udp=True, visit=("0.0.0.0", port), visit_text=f":{port}")
    with dgram(None, 3, source=bench.host(79)) as s:
        for host in (bench.host(41), bench.host(42)):
            s.sendto(host.encode(), (host, port))
            data, peer = s.recvfrom(100)
            assert (data, peer) == (host.encode(), (host, port))


@flows
def test_target_port_dead__neither_tcp_nor_later_datagrams_suffer(bench, flow, tls):
    t = bench.link(flow, tls)  # nothing listens for datagrams
    keep = bench.dial(t.visit)
    keep.sendall(b"a")
    assert read_n(keep, 1) == b"a"
    with dgram(t.visit, 0.1) as s:
        for i in range(20):
            try:
                s.send(b"anyone %d" % i)
            except ConnectionRefusedError:
                pass
        t.ingress.wait_point("the flow", lambda p: p["udprx"] > 0)
        keep.sendall(b"b")
        assert read_n(keep, 1) == b"b"
        assert ask(t.visit)
        target = bench.udp_target(addr=t.target.addr)
        wait_for("datagrams pass once the target is there", lambda: ask_dgram(t.visit, None, 0.4, 1))
        s.settimeout(1)
        wait_for("the old flow, too", lambda: again(s, b"still me"))
        assert target.got


def again(s, data):
    try:
        s.send(data)
        return s.recv(1 << 16) == data
    except (TimeoutError, ConnectionRefusedError):
        return False


@over(DUAL, (0, 1), sanitize=("reverse-1",))
def test_channel_lost__flow_goes_on_over_another(bench, flow, tls):
    t = bench.link(flow, tls, udp=True, via={})
    with dgram(t.visit, 1) as s:
        assert wait_for("an answer", lambda: again(s, b"before"))
        for i in range(3):
            t.proxy.cut(t.proxy.channels())
            assert wait_for("the flow is back", lambda: again(s, b"after %d" % i))


@over(tls=(0, 1))
def test_beside_a_bulk_transfer__datagrams_pass(bench, flow, tls):
    t = bench.link(flow, tls, udp=True)
    data, stop = token("bulk", 8 << 20), threading.Event()

    def bulk():
        with dial(t.visit, 50) as s:
            while not stop.is_set():
                w = send_later(s, data)
                assert read_n(s, len(data)) == data
                w.join()
        return True

    runner = threading.Thread(target=lambda: results.append(bulk()), daemon=True)
    results = []
    runner.start()
    answered = sum(ask_dgram(t.visit, b"ping %d" % i, 1, 1) for i in range(30))
    stop.set()
    runner.join(50)
    assert answered >= 28 and results == [True]


@pytest.mark.parametrize("flow,tls", [("reverse", 0), ("forward", 1)])
def test_flood__a_target_that_is_slow__memory_stays_bounded(bench, flow, tls):
    """60 000 datagrams as fast as they can be sent: what does not fit is dropped, not kept."""
    t = bench.link(flow, tls, udp=True)
    assert ask_dgram(t.visit)
    before = [n.rss() for n in t.nodes]
    with dgram(t.visit) as s:
        for _ in range(60_000):
            s.send(bytes(1200))
        assert wait_for("the tunnel is alive after it", lambda: ask_dgram(t.visit, None, 0.5, 1))
    assert max(n.rss() - b for n, b in zip(t.nodes, before)) < 32 << 20
    assert {len(d) for d, _ in t.udp_target.got} <= {24, 1200}
