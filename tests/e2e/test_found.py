"""What reviews found: each of these failed once. Slow readers, bursts, resets, drains, strangers."""
import contextlib
import os
import signal
import socket
import ssl
import struct
import threading
import time

import pytest

from np_harness import DUAL, TLS_NAME, over
from np_net import (SLACK, abort, ask, dgram, dial, digest, how_it_ends, is_listening, read_eof, read_n,
                    served, text_of, token, wait_for)

MIB = 1 << 20
STALL_S = 38        # more than the 30 s after which a silent peer counts as dead
LOST = r"control connection was lost|too many frames"


def pause(s):
    """The length of a stall or the pace of traffic; never a wait for something to happen."""
    threading.Event().wait(s)


# ------------------------------------------------------------------ readers that stand still

class Offer:
    """Sends @data on @s in a thread and counts what the socket took."""

    def __init__(self, s, data):
        self.taken, self._s, self._data, self._moved = 0, s, memoryview(data), time.monotonic()
        s.settimeout(150 * SLACK)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with contextlib.suppress(OSError):
            while self.taken < len(self._data):
                self.taken += self._s.send(self._data[self.taken:self.taken + 65536])
                self._moved = time.monotonic()
            self._s.shutdown(socket.SHUT_WR)

    def is_stuck(self):
        return self.taken and time.monotonic() - self._moved > 1.5


def stalled_pair(bench, tls, go):
    """A tunnel with an upload and a download that nobody reads until @go; (link, is_stuck, check)."""
    up, down, offers = token("up", 64 * MIB), token("down", 64 * MIB), []

    def script(s):
        if s.recv(2) == b"up":
            go.wait(150 * SLACK)
            return digest(read_eof(s))
        offers.append(Offer(s, down))
        return how_it_ends(s, 150)

    t = bench.link("reverse", tls, target=bench.tcp_target(script))
    visitors = {}
    for way in ("up", "down"):
        s = visitors[way] = bench.dial(t.visit, timeout=60)
        s.sendall(way.encode()[:2])
    offers.append(Offer(visitors["up"], up))

    def check():
        s = visitors["down"]
        s.settimeout(60 * SLACK)
        assert digest(read_eof(s)) == digest(down), f"tls={tls}: the download is not whole"
        s.shutdown(socket.SHUT_WR)
        assert read_eof(visitors["up"]) == b""
        wait_for("the target's verdicts", lambda: len(t.target.results) == 2 or t.target.errors, 30)
        assert sorted(t.target.results) == sorted([digest(up), "eof"]) and not t.target.errors
        for n in t.nodes:
            assert {e.reason for e in n.wait_ends(2)} == {"done"}
            assert n.lines(None, "ping timeout|does not answer|channel closed.*busy") == []

    return t, lambda: len(offers) == 2 and all(o.is_stuck() for o in offers), check


@pytest.mark.timeout(200)
def test_stall__both_ways_for_38_s__nothing_is_cut_and_every_byte_comes(bench):
    go = threading.Event()
    pairs = [stalled_pair(bench, tls, go) for tls in (0, 1)]
    wait_for("every sender is stuck", lambda: all(is_stuck() for _, is_stuck, _ in pairs), 40)
    pause(STALL_S)
    for t, _, _ in pairs:
        assert [e for n in t.nodes for e in n.ends()] == [], "a session ended while its reader stood still"
    go.set()
    for _, _, check in pairs:
        check()


@over(("single", "reverse"))
def test_reset__of_a_visitor_that_is_not_read_from__ends_the_session_soon(bench, flow, tls):
    gate = threading.Event()

    def script(s):
        s.recv(1)
        gate.wait(60 * SLACK)
        return how_it_ends(s)

    t = bench.link(flow, tls, client={"min": 0 if flow == "single" else 1}, target=bench.tcp_target(script))
    s = dial(t.visit, 1)
    with pytest.raises(TimeoutError):  # every buffer on the way is full
        while True:
            s.send(bytes(65536))
    assert not t.ingress.ends()
    abort(s)
    (end,) = t.ingress.wait_ends(1, timeout=4)
    assert end.reason == "visitor_reset" and end.rx > MIB
    gate.set()
    wait_for("the target's end", lambda: t.target.results)
    assert t.target.results == ["reset"]


# ------------------------------------------------------------------ demand

@pytest.mark.timeout(120)
def test_burst__900_visitors_into_an_empty_pool__control_connection_lives_and_all_are_served(bench):
    t = bench.link("reverse", 0, client={"min": 0}, target=bench.farm(), env={"NP_POOL_GET_TIMEOUT": "30s"})
    start, socks = time.monotonic(), []
    for i in range(900):
        s = bench.dial(t.visit, timeout=40)
        s.sendall(token(i, 16))
        socks.append(s)
        pause(max(0.0, start + i / 600 - time.monotonic()))
    lost = [i for i, s in enumerate(socks) if not same(s, token(i, 16))]
    assert lost == [] and t.target.busy == 900
    for n in t.nodes:
        assert n.lines(None, LOST) == []
        assert n.lines("WARN", "(?i)client lost|connection lost") == []


def same(s, data):
    with contextlib.suppress(OSError, EOFError):
        return read_n(s, len(data)) == data
    return False


@pytest.mark.sanitize
def test_visitor__there_before_the_client_with_min_0__served_when_it_comes(bench):
    t = bench.link("reverse", 0, client={"min": 0}, env={"NP_POOL_GET_TIMEOUT": "15s"}, start=False)
    t.start_server()
    wait_for("the visitors' listener", lambda: is_listening(t.visit))
    s = bench.dial(t.visit, timeout=14)
    s.sendall(b"early")
    t.server.wait_point("a checkpoint with the visitor waiting", lambda p: True)
    t.start_client()
    assert read_n(s, 5) == b"early"
    s.close()
    (end,) = t.server.wait_ends()
    assert end.reason == "done"


def test_single_end__target_accepts_and_closes__not_hammered(bench):
    t = bench.link("single", client={"min": 4}, target=bench.tcp_target(lambda s: None),
                   env={"NP_REPORT_INTERVAL": "500ms"})
    wait_for("the first four connects", lambda: len(t.target.peers) >= 4)
    wait_for("3 s by the program's clock", lambda: len(t.client.points()) >= 6)
    assert len(t.target.peers) < 100, "connects in 3 s to a target that closes each at once"


# ------------------------------------------------------------------ certificates

@pytest.mark.sanitize
def test_sighup__client_with_files_that_joined_a_server__goes_on(bench):
    c = bench.certs
    files = {"mode": 0, "tls": 2, "crt": c.crt, "key": c.key, "ca": c.ca, "sni": TLS_NAME}
    t = bench.link("reverse", 2, client=files)
    assert ask(t.visit)
    for i in range(1, 4):
        t.client.signal(signal.SIGHUP)
        t.client.wait_line("reload", "INFO", count=i)
    t.client.wait_point("a checkpoint after it", lambda p: True)
    assert all(ask(t.visit) for _ in range(5))
    t.client.terminate()


def test_tls_2__asked_for_by_the_server_only__first_attempt_succeeds(bench):
    """The trust store is read after Welcome; what the server says meanwhile must wait."""
    tunnel = bench.addr(1)
    crt, key = bench.certs.leaf("first-attempt", san=f"IP:{tunnel[0]}")
    store = os.path.join(bench.folder, "store.pem")
    with open(bench.certs.ca) as f, open(store, "w") as out:
        out.write(f.read() * 3000)  # takes a while to read, as the stores of systems do
    query = {"ca": "", "sni": "", "min": 0}
    t = bench.link("reverse", 2, tunnel=tunnel, server={"crt": crt, "key": key}, client=query,
                   env={"SSL_CERT_FILE": store, "NP_POOL_GET_TIMEOUT": "15s", "NP_REPORT_INTERVAL": "10s"}, start=False)
    url, env, kw = t.start_args["client"]
    t.start_args["client"] = (url.replace("&ca=", "").replace("&sni=", ""), env, kw)
    assert not any(x in t.start_args["client"][0] for x in ("ca=", "sni=", "pin=", "tls="))
    t.start_server()
    wait_for("the visitors' listener", lambda: is_listening(t.visit))
    s = bench.dial(t.visit, timeout=14)
    s.sendall(b"demand")  # the server asks for a channel right after Welcome
    t.start_client()
    assert read_n(s, 6) == b"demand"
    assert t.client.lines(None, "broke the protocol|no tunnel") == []
    assert len(t.client.lines("INFO", "tunnel up")) == 1


def test_single_end__tls_2_without_files_on_an_address_of_this_host__status_1_and_why(bench):
    visit, target = bench.addr(2), bench.tcp_target()
    n = bench.node(f"client://k@{text_of(visit)}/{text_of(target.addr)}?mode=0&tls=2", name="client")
    n.wait_exit(1)
    assert [x for x in n.lines("ERROR") if "crt" in x.text], n.last_words()
    assert not served(visit, 1), "visitors were received in clear"


# ------------------------------------------------------------------ datagrams

def echoes(s, label, n):
    """How many of @n datagrams come back, each within three tries; others are not counted."""
    back = 0
    for i in range(n):
        data = b"%s %d" % (label, i)
        for _ in range(3):
            s.send(data)
            with contextlib.suppress(TimeoutError):
                while s.recv(1 << 16) != data:
                    pass
                back += 1
                break
    return back


@pytest.mark.sanitize
@pytest.mark.parametrize("who", ["server", "client"])
@over(DUAL)
def test_drain__with_a_session_running__datagram_flow_goes_on(bench, flow, tls, who):
    t = bench.link(flow, tls, udp=True, env={"NP_SHUTDOWN_TIMEOUT": "30s"})
    flow_sock, s = bench.keep(dgram(t.visit, 0.5)), bench.dial(t.visit)
    assert echoes(flow_sock, b"before", 3) == 3
    s.sendall(b"a")
    assert read_n(s, 1) == b"a"
    ends, other = (t.server, t.client) if who == "server" else (t.client, t.server)
    ends.signal(signal.SIGTERM)
    ends.wait_line("draining for at most")
    other.wait_line("server drains" if who == "server" else "client drains")
    assert echoes(flow_sock, b"while it drains", 10) == 10
    assert len({peer for _, peer in t.udp_target.got}) == 1, "it was not the same flow"
    s.sendall(b"b")
    assert read_n(s, 1) == b"b" and ends.alive()
    s.close()
    ends.wait_exit(0)


@over(("single", "reverse"))
def test_rate__datagrams_larger_than_its_burst__are_paid_for(bench, flow, tls):
    rate, size, burst = 125_000, 60_000, 12_500
    target = bench.udp_target(lambda d, p: ())
    t = bench.link(flow, tls, ingress={"rate": 1}, targets=text_of(target.addr))
    start, data = time.monotonic(), bytes(size)
    with dgram(t.visit) as s:
        while (took := time.monotonic() - start) < 3:
            with contextlib.suppress(ConnectionRefusedError):
                s.send(data)
            pause(0.01)
    got = sum(len(d) for d, _ in list(target.got))
    print(f"{got / took:.0f} B/s at 125000 B/s")
    assert got % size == 0 and got >= 2 * size, "datagrams were cut, or none came"
    assert got <= 1.4 * rate * took + burst + size


@pytest.mark.sanitize
@over(DUAL)
def test_flows__that_cannot_be_dialled__peer_killed__survivor_lives(bench, flow, tls):
    t = bench.link(flow, tls, udp=True, egress={"dial": "203.0.113.5"})
    t.egress.signal(signal.SIGSTOP)
    for i in range(200):
        with dgram(t.visit) as s:
            s.send(b"q")
    t.ingress.wait_point("flows that wait for the peer", lambda p: p["udps"] >= 100)
    t.ingress.kill()
    t.egress.signal(signal.SIGCONT)
    t.egress.wait_point("no flow left", lambda p: p["udps"] == 0)
    assert t.egress.wait_ends()[0].line.fields["proto"] == "udp"
    t.start("server" if flow == "reverse" else "client")
    t.wait_up()
    with dial(t.visit) as s:
        s.sendall(b"x")
        assert how_it_ends(s)
    assert t.egress.wait_line("proto=tcp").fields["reason"] == "dial_failed"
    t.egress.terminate()


# ------------------------------------------------------------------ who is refused

REFUSED = [("single", "dial_timeout"), ("reverse", "dial_timeout"), ("forward", "dial_timeout"),
           ("reverse", "pool_timeout")]


@pytest.mark.parametrize("flow,why", REFUSED)
def test_refused__orderly_end_for_the_silent__reset_for_who_sent_bytes(bench, flow, why):
    env = {"NP_TCP_DIAL_TIMEOUT": "1s", "NP_POOL_GET_TIMEOUT": "1s" if why == "pool_timeout" else "10s"}
    t = bench.link(flow, 0, target=bench.mute_target(), env=env, start=why != "pool_timeout")
    if why == "pool_timeout":
        t.start_server()
        wait_for("the visitors' listener", lambda: is_listening(t.visit))
    speaks, silent = bench.dial(t.visit), bench.dial(t.visit)
    speaks.sendall(b"GET / HTTP/1.1\r\n")
    assert (how_it_ends(silent, 8), how_it_ends(speaks, 8)) == ("eof", "reset")
    assert {e.reason for e in t.ingress.wait_ends(2)} == {why}


def frame(kind, body):
    """A frame of the control connection: length, then member @kind of Frame."""
    inner = bytes([kind << 3 | 2]) + varint(len(body)) + body
    return struct.pack(">I", len(inner)) + inner


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def wrong_proof(addr, ctx):
    """Hello is read, Auth and a Proof of nothing are sent; the socket."""
    s = ctx.wrap_socket(dial(addr))
    version = read_n(s, struct.unpack(">I", read_n(s, 4))[0])[5]  # Frame, Hello, min_version, max_version
    auth = b"\x08\1\x10" + bytes([version]) + b"\x2a\x10" + os.urandom(16) + b"\x32\x10" + os.urandom(16)
    s.sendall(frame(2, auth + b"\x38" + varint(5000)) + frame(3, b"\x0a\x20" + os.urandom(32)))
    return s


def test_wrong_keys__80_at_once__ten_lines_a_second_and_a_summary(bench):
    t = bench.link("reverse", 0)
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    ctx.set_alpn_protocols(["nodepass-control/2"])
    start = time.monotonic()
    for _ in range(80):
        bench.keep(wrong_proof(t.tunnel, ctx))
    said = r"client refused: wrong key"
    t.server.wait_line(r"clients refused: \d+ more", "WARN")
    wait_for("80 refusals, said or counted", lambda: len(t.server.lines("WARN", said)) + more(t.server) >= 80)
    seconds = time.monotonic() - start
    assert len(t.server.lines("WARN", said)) <= 10 * (seconds + 2)
    assert ask(t.visit)


def more(node):
    return sum(int(x.text.split(": ")[1].split()[0]) for x in node.lines("WARN", r"clients refused: \d+ more"))
