"""Who may come: allow and deny by source address, accept with the PROXY header of a balancer."""
import socket
import ssl
import struct
import time

import pytest

from np_control import DataPlane, apply
from np_harness import DUAL, good_key, over
from np_net import (SLACK, TcpTarget, UdpTarget, ask, ask_dgram, dgram, dial, how_it_ends, is_listening, parallel,
                    read_n, served, text_of, wait_for)
from test_limits import read_header

V2 = b"\r\n\r\n\0\r\nQUIT\n"
flows = over(tls=(0, 1, 2), sanitize=("reverse-0", "forward-1", "single"))
plain = over()


# ------------------------------------------------------------------ allow, deny

@flows
def test_allow__listed_sources_only__tcp_and_udp(bench, flow, tls):
    good, bad = bench.host(100), bench.host(101)
    t = bench.link(flow, tls, udp=True, ingress={"allow": f"{good},2001:db8::/32"})
    assert ask(t.visit, source=good) and ask_dgram(t.visit, source=good)
    with dial(t.visit, source=bad) as s:
        assert how_it_ends(s)
    assert not ask_dgram(t.visit, None, 0.3, 2, source=bad)
    (end,) = t.ingress.wait_ends(1, "denied")
    assert end.visitor.startswith(bad + ":") and (end.rx, end.tx) == (0, 0)


@flows
def test_deny__wins_over_allow(bench, flow, tls):
    good, bad, outside = (bench.host(h) for h in (100, 101, 150))
    t = bench.link(flow, tls, udp=True, ingress={"allow": f"{bench.host(0)}/25", "deny": f"{bad}/32,192.0.2.0/24"})
    assert ask(t.visit, source=good) and ask_dgram(t.visit, source=good)
    for source in (bad, outside):
        assert not served(t.visit, 1, source), source
        assert not ask_dgram(t.visit, None, 0.3, 2, source=source), source
    assert len(t.ingress.wait_ends(2, "denied")) == 2


@pytest.mark.parametrize("name", ["allow", "deny"])
@over(DUAL, tls=(0, 1, 2))
def test_lists__at_the_egress__judge_the_address_that_was_announced(bench, flow, tls, name):
    a, b = bench.host(100), bench.host(101)
    t = bench.link(flow, tls, udp=True, egress={name: b if name == "deny" else a})
    assert ask(t.visit, source=a) and ask_dgram(t.visit, source=a)
    assert not served(t.visit, 1, b) and not ask_dgram(t.visit, None, 0.3, 2, source=b)
    assert t.egress.wait_ends(1, "denied") and t.ingress.wait_ends(1, "denied")
    assert ask(t.visit, source=a), "the channel of the refused one is used again"


@plain
def test_deny__costs_no_place_of_slot(bench, flow, tls):
    t = bench.link(flow, tls, ingress={"slot": 1, "deny": bench.host(101)})
    with dial(t.visit) as s:
        s.sendall(b"x")
        assert read_n(s, 1) == b"x"
        for _ in range(5):
            assert not served(t.visit, 1, bench.host(101))
    assert len(t.ingress.wait_ends(5, "denied")) == 5 and not t.ingress.ends("slot_limit")
    wait_for("the place is free", lambda: served(t.visit))


# ------------------------------------------------------------------ live

class Pair:
    """A tunnel inside one data plane that is told what to be."""

    def __init__(self, bench, tmp_path, flow):
        self.flow = flow
        self.target = bench.keep(TcpTarget(bench.addr(9)))
        self.udp_target = bench.keep(UdpTarget(self.target.addr))
        self.visit = bench.addr(2)
        self.node = bench.keep(DataPlane(tmp_path / "run"))
        self.c = self.node.client()
        self.key, self.tunnel = good_key(), bench.addr(1)

    def url(self, end, **query):
        ends = [text_of(self.target.addr), text_of(self.visit)]
        if self.flow == "single":
            base = f"client://{ends[1]}/{ends[0]}?mode=1&min=0"
        else:
            server = (self.flow == "reverse") == (end == "ingress")
            own = ends[1] if end == "ingress" else ends[0]
            mode = f"mode={1 if self.flow == 'reverse' else 2}" if server else "mode=2&min=2"
            base = f"{'server' if server else 'client'}://{self.key}@{text_of(self.tunnel)}/{own}?{mode}"
        return base + "".join(f"&{k}={v}" for k, v in query.items())

    def put(self, end, **query):
        reply = apply(self.c, end, self.url(end, **query))
        assert reply["code"] in ("CODE_OK", "CODE_ACCEPTED"), reply


@plain
def test_lists__changed_live__next_visitor_and_next_datagram_obey(bench, tmp_path, flow, tls):
    a, b = bench.host(100), bench.host(101)
    t = Pair(bench, tmp_path, flow)
    for end in ("egress", "ingress") if flow != "single" else ("ingress",):
        t.put(end)
    wait_for("a session", lambda: is_listening(t.visit) and served(t.visit, 1, a))
    flow_b = bench.keep(dgram(t.visit, 1, source=b))
    flow_b.send(b"before")
    assert flow_b.recv(100) == b"before"
    with dial(t.visit, source=b) as running:
        running.sendall(b"1")
        assert read_n(running, 1) == b"1"
        t.put("ingress", deny=b)
        wait_for("the list counts", lambda: "settings changed" in t.node.log())
        assert not served(t.visit, 1, b) and served(t.visit, 1, a)
        running.sendall(b"2")
        assert read_n(running, 1) == b"2", "a session that runs is not cut"
        flow_b.settimeout(0.4)
        flow_b.send(b"after")
        with pytest.raises((TimeoutError, ConnectionRefusedError)):
            flow_b.recv(100)
        assert b"after" not in {d for d, _ in t.udp_target.got}
        t.put("ingress")
        wait_for("the list is gone", lambda: served(t.visit, 1, b))
        running.sendall(b"3")
        assert read_n(running, 1) == b"3"
    assert "reason=denied" in t.node.log()


# ------------------------------------------------------------------ accept

def v1(src, dst, family="TCP4"):
    return f"PROXY {family} {src[0]} {dst[0]} {src[1]} {dst[1]}\r\n".encode()


def v2(src, dst, command=1, kind=1, tlv=b""):
    six = ":" in src[0]
    pack = lambda a: socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, a)
    body = pack(src[0]) + pack(dst[0]) + struct.pack(">HH", src[1], dst[1]) + tlv
    return V2 + bytes([0x20 | command, (0x20 if six else 0x10) | kind]) + struct.pack(">H", len(body)) + body


SRC, DST = ("198.51.100.7", 5678), ("203.0.113.1", 443)
SRC6, DST6 = ("2001:db8::7", 5678), ("2001:db8::1", 443)
LOCAL = V2 + b"\x20\x00\0\0"


def through(t, header, data=b"hello", source=None, pieces=False):
    """What comes back for @data behind @header."""
    with dial(t.visit, 5, source) as s:
        if pieces:
            for i in range(len(header)):
                s.sendall(header[i:i + 1])
            s.sendall(data)
        else:
            s.sendall(header + data)
        return read_n(s, len(data))


@pytest.mark.parametrize("version", [1, 2])
@flows
def test_accept__header_of_a_balancer__its_address_goes_to_log_and_target(bench, flow, tls, version):
    def script(s):
        head = read_header(s)
        s.sendall(read_n(s, 5))
        return head

    lb = bench.host(77)
    t = bench.link(flow, tls, ingress={"accept": lb}, egress={"proxy": 2}, target=bench.tcp_target(script))
    make = v1 if version == 1 else v2
    assert through(t, make(SRC, DST), source=lb) == b"hello"
    six = v1(SRC6, DST6, "TCP6") if version == 1 else v2(SRC6, DST6, tlv=b"\x04\0\1x")
    assert through(t, six, source=lb, pieces=True) == b"hello"
    wait_for("both headers", lambda: len(t.target.results) == 2 or t.target.errors)
    assert sorted(t.target.results) == [(2, SRC, DST), (2, SRC6, DST6)]
    ends = t.ingress.wait_ends(2, "done")
    assert sorted(e.visitor for e in ends) == ["198.51.100.7:5678", "[2001:db8::7]:5678"]
    assert all((e.rx, e.tx) == (5, 5) for e in ends), "the header is counted as payload"


@flows
def test_accept__from_elsewhere__refused_whatever_it_says(bench, flow, tls):
    t = bench.link(flow, tls, ingress={"accept": bench.host(77)})
    for data in (b"", v1(SRC, DST), v2(SRC, DST)):
        with dial(t.visit, source=bench.host(78)) as s:
            if data:
                s.sendall(data)
            assert how_it_ends(s)
    ends = t.ingress.wait_ends(3, "denied")
    assert all(e.visitor.startswith(bench.host(78)) for e in ends) and not t.target.peers


BAD = {"none": b"GET / HTTP/1.1\r\n\r\n", "v1-garbled": b"PROXY TCP4 1.2.3.4 5.6.7.8 99999 1\r\n",
       "v1-endless": b"PROXY TCP4 " + b"1" * 120, "v2-version": V2 + b"\x31\x11\0\x0c" + bytes(12),
       "v2-short": V2 + b"\x21\x11\0\x04" + bytes(4), "v2-huge": V2 + b"\x21\x11\xff\xff" + bytes(100),
       "v2-datagram": v2(SRC, DST, kind=2), "zeros": bytes(64)}


@pytest.mark.parametrize("bad", BAD)
@plain
def test_accept__no_valid_header__refused_with_that_reason(bench, flow, tls, bad):
    lb = bench.host(77)
    t = bench.link(flow, tls, ingress={"accept": lb})
    with dial(t.visit, source=lb) as s:
        s.sendall(BAD[bad])
        assert how_it_ends(s, 3)
    (end,) = t.ingress.wait_ends(1, "bad_header")
    assert end.visitor.startswith(lb) and not t.target.peers
    assert through(t, v1(SRC, DST), source=lb) == b"hello"


@plain
def test_accept__half_a_header__refused_at_the_handshake_timeout(bench, flow, tls):
    lb = bench.host(77)
    t = bench.link(flow, tls, ingress={"accept": lb}, env={"NP_HANDSHAKE_TIMEOUT": "700ms"})
    socks = []
    for part in (b"", V2[:5], b"PROXY TCP4 1.2"):
        s = bench.dial(t.visit, source=lb)
        s.sendall(part)
        socks.append(s)
    start = time.monotonic()
    assert all(how_it_ends(s, 4) for s in socks)
    assert 0.5 < time.monotonic() - start < 2.5 * SLACK
    assert all(600 <= e.ms < 2500 * SLACK for e in t.ingress.wait_ends(3, "bad_header"))


@plain
def test_accept__check_of_the_balancer_itself__is_served_under_its_own_address(bench, flow, tls):
    lb = bench.host(77)
    t = bench.link(flow, tls, ingress={"accept": lb, "deny": "198.51.100.0/24"})
    assert through(t, LOCAL, source=lb) == b"hello"
    assert through(t, b"PROXY UNKNOWN\r\n", source=lb) == b"hello"
    assert all(e.visitor.startswith(lb + ":") for e in t.ingress.wait_ends(2, "done"))


@flows
def test_accept__lists_judge_the_announced_address(bench, flow, tls):
    lb = bench.host(77)
    t = bench.link(flow, tls, ingress={"accept": lb, "allow": "198.51.100.0/24", "deny": "198.51.100.9"})
    assert through(t, v2(SRC, DST), source=lb) == b"hello"
    for src in ("198.51.100.9", "192.0.2.1", "2001:db8::7"):
        with dial(t.visit, source=lb) as s:
            s.sendall(v2((src, 1), DST6 if ":" in src else DST) + b"hello")
            assert how_it_ends(s)
    assert [e.visitor for e in t.ingress.wait_ends(3, "denied")] == ["198.51.100.9:1", "192.0.2.1:1", "[2001:db8::7]:1"]


@plain
def test_accept__with_block__looks_behind_the_header(bench, flow, tls):
    lb = bench.host(77)
    t = bench.link(flow, tls, ingress={"accept": lb, "block": "2"})
    with dial(t.visit, source=lb) as s:
        s.sendall(v1(SRC, DST) + b"GET / HTTP/1.1\r\n\r\n")
        assert how_it_ends(s)
    (end,) = t.ingress.wait_ends(1, "blocked")
    assert end.visitor == "198.51.100.7:5678"
    assert through(t, v2(SRC, DST), b"SSH-2.0-long enough for every sniffer\r\n", source=lb)[:3] == b"SSH"


@plain
def test_accept__datagrams_have_no_header__and_pass(bench, flow, tls):
    t = bench.link(flow, tls, udp=True, ingress={"accept": bench.host(77)})
    assert ask_dgram(t.visit, b"bare", source=bench.host(100))


@pytest.mark.parametrize("tls", [1, 2])
@pytest.mark.parametrize("together", [True, False])
def test_accept__single_end_tls__the_header_comes_before_tls(bench, certs, tls, together):
    lb = bench.host(77)
    query = {"tls": tls, "accept": lb, **({"crt": certs.crt, "key": certs.key} if tls == 2 else {})}
    t = bench.link("single", client=query)
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    inc, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls_end = ctx.wrap_bio(inc, out)
    with dial(t.visit, 5, lb) as s:
        held = v2(SRC, DST)
        if not together:
            s.sendall(held)
            held = b""
        for step in (tls_end.do_handshake, lambda: tls_end.write(b"hello"), lambda: tls_end.read(5)):
            while True:
                try:
                    got = step()
                    break
                except ssl.SSLWantReadError:
                    s.sendall(held + out.read())
                    held = b""
                    inc.write(s.recv(1 << 14))
            s.sendall(held + out.read())
        assert got == b"hello"
    (end,) = t.ingress.wait_ends(1)
    assert (end.visitor, end.rx, end.tx) == ("198.51.100.7:5678", 5, 5)


@plain
def test_accept__changed_live(bench, tmp_path, flow, tls):
    lb = bench.host(77)
    t = Pair(bench, tmp_path, flow)
    for end in ("egress", "ingress") if flow != "single" else ("ingress",):
        t.put(end)
    wait_for("a session", lambda: is_listening(t.visit) and served(t.visit))
    t.put("ingress", accept=lb)
    wait_for("the list counts", lambda: not served(t.visit))
    assert through(t, v1(SRC, DST), source=lb) == b"hello"
    t.put("ingress")
    wait_for("no header is wanted any more", lambda: served(t.visit))


def test_accept__90_balanced_visitors_at_once__each_gets_its_own_bytes(bench):
    lb = bench.host(77)
    t = bench.link("reverse", 1, ingress={"accept": lb})

    def visit(i):
        data = b"%06d" % i * 50
        return through(t, v2((f"198.51.100.{i}", 1000 + i), DST), data, lb) == data

    assert all(r is True for r in parallel(90, visit, 45))
    assert {e.visitor for e in t.ingress.wait_ends(90, "done")} == {
        f"198.51.100.{i}:{1000 + i}" for i in range(90)}
