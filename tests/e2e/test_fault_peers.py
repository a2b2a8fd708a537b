"""Peers and strangers that do what they should not: floods, loris, wrong keys, changed and repeated messages.

Oracles: what reaches a target, what a server holds, how long an authenticated visitor waits meanwhile.
"""
import contextlib
import random
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from np_fault import Shim
from np_harness import good_key, over
from np_net import SLACK, abort, ask, dial, parallel, read_n, served, text_of, token, wait_for
from np_world import compile_c, outcome
from test_handshake import CONTROL, DATA, PREAMBLE, QUIET, hello_bytes, no_verify

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture
def shim(bench, tmp_path, tmp_path_factory):
    s = Shim(tmp_path, tmp_path_factory.getbasetemp())
    yield s
    s.behave()


class Probe(threading.Thread):
    """A visitor a moment, one after the other: how long each waited for its echo."""

    def __init__(self, addr, pause=0.02):
        super().__init__(daemon=True)
        self.addr, self.pause, self.took, self.failed = addr, pause, [], 0
        self._stop_it = threading.Event()
        self.start()

    def run(self):
        while not self._stop_it.wait(self.pause):
            start = time.monotonic()
            try:
                assert ask(self.addr, timeout=10)
                self.took.append(time.monotonic() - start)
            except (OSError, EOFError, AssertionError):
                self.failed += 1

    def quiet(self, n=20):
        """The 95th percentile of the first @n visitors, before anything happens."""
        wait_for("visitors before it begins", lambda: len(self.took) >= n)
        return sorted(self.took[:n])[int(n * 0.95)]

    def stop(self):
        """(number, median, 95th percentile, maximum), seconds"""
        self._stop_it.set()
        self.join(15)
        t = sorted(self.took)
        return len(t), t[len(t) // 2], t[int(len(t) * 0.95)], t[-1]


class Flood:
    def __init__(self, folder, addr, rate, sources, data=b""):
        argv = [compile_c("flood", folder), addr[0], str(addr[1]), str(rate), str(sources), data.hex()]
        self._p = subprocess.Popen(argv[:6 if data else 5], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def stop(self):
        """(connects, failed, seconds)"""
        out = self._p.communicate(timeout=10)[0].decode()
        c, f, ms = (int(x) for x in re.findall(r"=(\d+)", out))
        return c, f, ms / 1000


# ------------------------------------------------------------------ 10 000 connects a second

class Download(threading.Thread):
    """One session that takes what comes; bytes so far."""

    def __init__(self, s):
        super().__init__(daemon=True)
        self.s, self.n = s, 0
        self.start()

    def run(self):
        buf = bytearray(1 << 18)
        with contextlib.suppress(OSError):
            while (n := self.s.recv_into(buf)):
                self.n += n

    def speed(self, seconds):
        n, start = self.n, time.monotonic()
        time.sleep(seconds)  # the span that is measured
        return (self.n - n) / (time.monotonic() - start)


def pour(s):
    block = bytes(1 << 18)
    while True:
        s.sendall(block)


@pytest.mark.parametrize("flow,sources", [("reverse", 200), pytest.param("reverse", 1, marks=pytest.mark.slow),
                                          pytest.param("forward", 200, marks=pytest.mark.slow)])
def test_flood__10000_connects_a_second__transfer_keeps_80_percent(bench, tmp_path_factory, flow, sources):
    """Paced by rate=: at full speed the flood's own processor time would decide on a machine with few cores."""
    t = bench.link(flow, 1, target=bench.tcp_target(pour), ingress={"rate": 32})
    t.server.tolerate(*QUIET)
    s = bench.dial(t.visit, timeout=30)
    d = Download(s)
    wait_for("the transfer runs", lambda: d.n > MIB)
    rss, speeds, cpu, floods = t.server.rss(), {False: [], True: []}, {False: 0, True: 0}, []
    for _ in range(2):
        for flooded in (False, True):
            before = t.server.cpu_s()
            f = Flood(tmp_path_factory.getbasetemp(), t.tunnel, 10_000, sources) if flooded else None
            speeds[flooded].append(d.speed(1.5))
            if f:
                floods.append(f.stop())
            cpu[flooded] += t.server.cpu_s() - before
    quiet, loud = (sum(speeds[k]) / len(speeds[k]) for k in (False, True))
    connects = sum(c for c, _, _ in floods)
    rate = connects / sum(s for _, _, s in floods)
    grown = t.server.rss() - rss
    outcome(f"{rate:.0f} connects/s of garbage from {sources} sources: {loud / 1e6:.1f} MB/s of {quiet / 1e6:.1f} "
            f"({100 * loud / quiet:.0f} %), {(cpu[True] - cpu[False]) / connects * 1e6:.0f} us of the server's processor "
            f"a connect, memory +{grown / MIB:.1f} MiB")
    assert loud >= 0.8 * quiet
    assert grown < 64 * MIB and t.server.fd_count() < 1024 + 200
    abort(s)


@pytest.mark.parametrize("sources,tls", [(200, 1), pytest.param(1, 1, marks=pytest.mark.slow),
                                         pytest.param(200, 0, marks=pytest.mark.slow)])
def test_flood__10000_connects_a_second__visitors_wait_less_than_100_ms(bench, tmp_path_factory, sources, tls):
    t = bench.link("reverse", tls, target=bench.farm())
    t.server.tolerate(*QUIET)
    p = Probe(t.visit)
    calm = p.quiet()
    f = Flood(tmp_path_factory.getbasetemp(), t.tunnel, 10_000, sources)
    wait_for("100 visitors", lambda: len(p.took) + p.failed >= 120, 30)
    n, mid, p95, worst = p.stop()
    c, failed, secs = f.stop()
    accepted = t.target.accepted
    outcome(f"{c / secs:.0f} connects/s: {n} visitors waited {mid * 1e3:.1f} ms (median), {p95 * 1e3:.1f} (95 %), "
            f"{worst * 1e3:.1f} (worst)")
    assert p.failed == 0 and mid < 0.1 and p95 < calm + 0.1 * SLACK
    assert accepted == n + 0, "something else than a visitor reached the target"
    wait_for("all strangers are gone", lambda: t.server.fd_count() < 80, 15)


@pytest.mark.parametrize("sources", [200])
def test_flood__real_client_hellos__a_live_session_still_gets_its_channels(bench, tmp_path_factory, sources):
    """Each visitor stays and needs a channel of its own, whose handshake meets those of the flood."""
    t = bench.link("reverse", 1, target=bench.farm(), client={"min": 1})
    t.server.tolerate(*QUIET)
    assert ask(t.visit)
    cpu, took = t.server.cpu_s(), []
    f = Flood(tmp_path_factory.getbasetemp(), t.tunnel, 2000, sources, hello_bytes(CONTROL))
    wait_for("the flood is felt", lambda: t.server.cpu_s() - cpu > 0.1)
    for _ in range(60):
        s = bench.dial(t.visit, timeout=20)
        start = time.monotonic()
        s.sendall(b"x")
        assert read_n(s, 1) == b"x"
        took.append(time.monotonic() - start)
    c, _, secs = f.stop()
    took.sort()
    outcome(f"{c / secs:.0f} ClientHellos/s: a new channel took {took[30] * 1e3:.1f} ms (median), "
            f"{took[56] * 1e3:.1f} (95 %), {took[-1] * 1e3:.1f} (worst)")
    assert took[30] < 0.1 * SLACK and took[56] < 0.2 * SLACK


# ------------------------------------------------------------------ slow loris

AUTH = bytes.fromhex("00000040123e0801100218818080808080808080012206656467652d312a10202122232425262728292a2b2c2d2e2f"
                     "3210303132333435363738393a3b3c3d3e3f389875")  # docs/PROTOCOL.md, section 15
PROOF = bytes.fromhex("000000241a220a20f87341ea1e6b2fe1a9cd6acd8d8feb6cb9cafb3dda13b01722925e070dbee476")

# stage: (TLS first, bytes at once, bytes one by one)
LORIS = {
    "silence": (None, b"", b""),
    "one-byte": (None, b"\x16", b""),
    "record-header": (None, b"", hello_bytes(CONTROL)[:5]),
    "client-hello": (None, b"", hello_bytes(CONTROL)),
    "after-client-hello": (None, hello_bytes(CONTROL), b""),
    "after-tls": (CONTROL, b"", b""),
    "frame-length": (CONTROL, b"", AUTH[:4]),
    "auth": (CONTROL, b"", AUTH),
    "after-auth": (CONTROL, AUTH, b""),
    "proof": (CONTROL, AUTH, PROOF),
    "preamble": (None, b"", PREAMBLE),
    "preamble-in-tls": (DATA, b"", PREAMBLE),
    "after-tls-data": (DATA, b"", b""),
}


TEN_SECONDS = ("after-tls", "frame-length", "auth", "after-auth", "proof")


@pytest.mark.parametrize("stage", [pytest.param(x, marks=pytest.mark.slow) if x in TEN_SECONDS else x for x in LORIS])
def test_loris__at_each_stage__closed_at_the_deadline__bounded_memory__visitors_do_not_wait(bench, stage):
    """100 at once, a byte every 100 ms: 1 s until TLS and preamble, 10 s for a proof (AUTH_DEADLINE_MIN_MS)."""
    tls, at_once, one_by_one = LORIS[stage]
    t = bench.link("reverse", 0 if stage == "preamble" else 1, target=bench.farm(),
                   server_env={"NP_HANDSHAKE_TIMEOUT": "1s"})
    t.server.tolerate(*QUIET)
    rss, fds = t.server.rss(), t.server.fd_count()
    p = Probe(t.visit)
    calm = p.quiet()
    socks, start = [], time.monotonic()
    for _ in range(100):
        raw = bench.dial(t.tunnel)
        s = bench.keep(no_verify(tls).wrap_socket(raw)) if tls else raw
        s.sendall(at_once) if at_once else None
        s.setblocking(False)
        socks.append(s)
    opened = time.monotonic() - start
    open_ones, drip, peak = set(socks), iter(one_by_one), 0
    deadline = (12 if tls == CONTROL else 2.5) * SLACK + opened
    while open_ones and time.monotonic() - start < deadline:
        b = next(drip, None)
        for s in list(open_ones):
            try:
                if b is not None:
                    s.send(bytes([b]))
                while s.recv(4096):
                    pass
                open_ones.discard(s)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            except OSError:
                open_ones.discard(s)
        peak = max(peak, t.server.rss() - rss)
        time.sleep(0.1)  # the pace of the drip
    took = time.monotonic() - start
    n, mid, p95, worst = p.stop()
    assert not open_ones, f"{len(open_ones)} are still open after {took:.1f} s"
    assert p.failed == 0 and t.target.accepted <= n + 1
    wait_for("descriptors are back", lambda: t.server.fd_count() <= fds + 8, 5)
    outcome(f"{stage}: 100 closed after {took:.1f} s at most, {peak / 100 / KIB:.0f} KiB each at the peak; "
            f"{n} visitors meanwhile waited {mid * 1e3:.1f} ms, {worst * 1e3:.1f} at worst")
    assert mid < 0.1 and p95 < calm + 0.1 * SLACK and peak < 100 * 256 * KIB


# ------------------------------------------------------------------ wrong keys, other servers

@pytest.mark.parametrize("seconds", [4, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.timeout(120)
def test_wrong_key__client_tries_for_ever__bounded_attempts_and_lines_and_memory(bench, seconds):
    """A client that is never let in, while another one serves."""
    t = bench.link("reverse", 1, target=bench.farm())
    url = t.start_args["client"][0]
    wrong = bench.node(re.sub(r"//[^@]*@", f"//{good_key()}@", url), name="wrong")
    wrong.wait_line(r"(?i)wrong key|reject|auth|proof", "WARN")
    rss, cpu, lines = [n.rss() for n in (t.server, wrong)], t.server.cpu_s(), len(t.server.lines("WARN"))
    p, start = Probe(t.visit), time.monotonic()
    tries = len(wrong.lines("WARN"))
    time.sleep(seconds)  # the span that is measured
    took, (n, mid, _, worst) = time.monotonic() - start, p.stop()
    tries, lines = len(wrong.lines("WARN")) - tries, len(t.server.lines("WARN")) - lines
    grown = [n.rss() - r for n, r in zip((t.server, wrong), rss)]
    outcome(f"in {took:.0f} s: {tries} lines of the client, {lines} of the server, "
            f"{t.server.cpu_s() - cpu:.2f} s of processor with {n} visitors, memory +{max(grown) >> 10} KiB; "
            f"visitors waited {mid * 1e3:.1f} ms, {worst * 1e3:.1f} at worst")
    assert p.failed == 0 and tries <= seconds + 2 and 1 <= lines <= seconds + 2 and max(grown) < 4 * MIB and mid < 0.1
    assert t.target.accepted <= n + 1


@over(("reverse", "forward"), (1,))
def test_server__replaced_by_one_with_another_key__gets_no_visitor_and_no_byte__back_when_it_is_back(bench, flow, tls):
    t = bench.link(flow, tls, target=bench.farm(), env={"NP_POOL_GET_TIMEOUT": "1s"})
    assert ask(t.visit)
    before = t.target.accepted
    t.server.kill()
    url, env, kw = t.start_args["server"]
    other = bench.node(re.sub(r"//[^@]*@", f"//{good_key()}@", url), env=env, name="other", **kw)
    t.client.wait_line(r"(?i)wrong key|reject|proof", "WARN", 15)
    assert not served(t.visit, 1.5) and t.target.accepted == before
    other.terminate()
    t.start_server()
    start = time.monotonic()
    wait_for("served", lambda: served(t.visit, 1), 15)
    outcome(f"0 sessions through the other server; served {time.monotonic() - start:.2f} s after the right one was back")


# ------------------------------------------------------------------ peers that hardly move

def test_peer_that_stops_reading__bounded_memory__others_are_served__bytes_are_exact_when_it_reads_again(bench):
    farms = [bench.farm(h=h) for h in (9, 10)]
    t = bench.link("reverse", 1, target=farms[0])
    held = [bench.dial(t.visit, timeout=60) for _ in range(8)]
    for s in held:
        s.sendall(b"x")
        assert read_n(s, 1) == b"x"
    rss, data, sent = t.server.rss(), token("stop", 8 * MIB), [0] * 8
    t.client.signal(signal.SIGSTOP)
    bench.node(t.start_args["client"][0].replace(text_of(farms[0].addr), text_of(farms[1].addr)), name="second")

    def push(i):
        while sent[i] < len(data):
            sent[i] += held[i].send(data[sent[i]:sent[i] + 65536])
    writers = [threading.Thread(target=push, args=(i,), daemon=True) for i in range(8)]
    for w in writers:
        w.start()
    wait_for("the second client serves", lambda: served(t.visit, 1) and farms[1].busy, 20)
    p = Probe(t.visit)
    wait_for("twenty visitors", lambda: len(p.took) + p.failed >= 20, 20)
    wait_for("the pushing stands still", lambda: (a := list(sent), time.sleep(0.5)) and a == sent, 20)
    grown, stuck = t.server.rss() - rss, sum(sent)
    n, mid, _, worst = p.stop()
    t.client.signal(signal.SIGCONT)
    got = parallel(8, lambda i: read_n(held[i], len(data)) == data)
    assert got == [True] * 8
    outcome(f"8 streams stood still after {stuck / MIB:.1f} MiB, the server held {grown / 8 / KIB:.0f} KiB a stream; "
            f"{n} visitors of another client waited {mid * 1e3:.1f} ms, {worst * 1e3:.0f} at worst; all bytes exact")
    assert grown < 8 * 1.5 * MIB and p.failed == 0


def test_one_byte_a_second__session_goes_on_and_read_does_not_end_it(bench):
    def slow(s):
        for b in read_n(s, 4):
            time.sleep(1)  # the pace that this test is about
            s.sendall(bytes([b]))
    t = bench.link("reverse", 1, target=bench.tcp_target(slow), ingress={"read": "3s"}, egress={"read": "3s"})
    s = bench.dial(t.visit, timeout=20)
    start = time.monotonic()
    for b in b"slow":
        s.sendall(bytes([b]))
        time.sleep(1)
    assert read_n(s, 4) == b"slow"
    s.close()
    (end,) = t.ingress.wait_ends(1)
    outcome(f"8 bytes in {time.monotonic() - start:.1f} s, reason {end.reason}")
    assert end.reason == "done"


# ------------------------------------------------------------------ changed and repeated messages

class Flipper(threading.Thread):
    """A relay that changes one bit of what one direction carries, then passes all on."""

    def __init__(self, addr, upstream):
        super().__init__(daemon=True)
        self.addr, self.upstream = addr, upstream
        self.at, self.bit, self.way, self.flips, self.bytes = None, 0, 0, 0, [0, 0]
        self.spy = None  # text whose first letter is made a capital one on its way to the server
        self.ls = socket.create_server(addr)
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                a, _ = self.ls.accept()
                try:
                    b = socket.create_connection(self.upstream)
                except OSError:
                    a.close()
                    continue
                for k, (x, y) in enumerate(((a, b), (b, a))):
                    threading.Thread(target=self.pump, args=(k, x, y), daemon=True).start()

    def pump(self, way, x, y):
        with contextlib.suppress(OSError):
            while (data := x.recv(65536)):
                n = self.bytes[way]
                self.bytes[way] += len(data)
                if self.at is not None and way == self.way and n <= self.at < n + len(data):
                    data = bytearray(data)
                    data[self.at - n] ^= 1 << self.bit
                    self.flips += 1
                    self.at = None
                if self.spy and way == 0 and self.spy in data:
                    data = data.replace(self.spy, self.spy[:1].upper() + self.spy[1:])
                    self.flips += 1
                y.sendall(data)
        for s in (x, y):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def flip(self, way, after, bit):
        self.way, self.bit = way, bit
        self.at = self.bytes[way] + after

    def close(self):
        self.ls.close()


many = pytest.mark.parametrize("places", [12, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])


@pytest.mark.sanitize
@pytest.mark.parametrize("way", ["to-server", "to-client"])
@many
@over(("reverse",), (1,))
def test_wire__one_bit_of_the_handshake_is_flipped__never_a_wrong_session__next_attempt_is_well(bench, flow, tls, way,
                                                                                                      places):
    """So many places of the first bytes that a client and a server exchange, from ClientHello to Proof."""
    t = bench.link(flow, tls, target=bench.farm(), env={"NP_SERVICE_COOLDOWN": "200ms"}, start=False,
                   tunnel_text="door.test:1")
    door = bench.addr(1)
    f = bench.keep(Flipper(door, t.tunnel))
    url, env, kw = t.start_args["client"]
    t.start_args["client"] = (url.replace("door.test:1", text_of(door)), env, kw)
    for n in (t.start_server(), t.start_client()):
        n.tolerate("violation")
    t.wait_up()
    start = list(f.bytes)
    k = way == "to-client"
    t.client.kill()
    t.start_client().tolerate("violation")
    wait_for("served", lambda: served(t.visit, 1), 10)
    span = min(f.bytes[k] - start[k], 3000)
    r = random.Random(7)
    for i in range(places):
        t.client.kill()
        f.flip(k, i * span // places + r.randrange(max(1, span // places)), r.randrange(8))
        t.start_client().tolerate("violation")
        wait_for(f"served after flip {i}", lambda: served(t.visit, 2), 15, 0.005)
    outcome(f"{f.flips} bits of {span} bytes {way} flipped, one a start: the tunnel was up each time, no byte was wrong")
    assert f.flips >= places * 3 // 4


def test_wire__tls_0__can_be_read_and_changed(bench):
    """What docs/SECURITY.md says of tls=0: whoever wants more takes tls=1."""
    t = bench.link("reverse", 0, target=bench.farm(), start=False, tunnel_text="door.test:1")
    door = bench.addr(1)
    f = bench.keep(Flipper(door, t.tunnel))
    url, env, kw = t.start_args["client"]
    t.start_args["client"] = (url.replace("door.test:1", text_of(door)), env, kw)
    t.start_server()
    t.start_client()
    t.wait_up()
    s = bench.dial(t.visit)
    s.sendall(b"in the clear")
    assert read_n(s, 12) == b"in the clear"
    f.spy = b"still in the clear"
    s.sendall(f.spy)
    assert read_n(s, len(f.spy)) == b"Still in the clear" and f.flips == 1


@pytest.mark.parametrize("end", ["client", "server"])
@pytest.mark.parametrize("flow", ["reverse", "forward"])
@many
def test_peer_with_the_key__changes_one_byte_of_what_it_says__others_are_served__it_comes_back(bench, shim, flow, end,
                                                                                                 places):
    """Inside TLS: Auth, Proof, pings, preambles, OPEN, STATUS, DATA, … of a real peer, one byte at a time."""
    t = bench.link(flow, 1, target=bench.farm(), udp=True, env={"NP_SERVICE_COOLDOWN": "200ms",
                   "NP_POOL_GET_TIMEOUT": "2s", "NP_REPORT_INTERVAL": "300ms"}, **{end + "_env": shim.env()})
    honest = bench.link(flow, 1, target=bench.farm(h=10))
    for n in t.nodes:
        n.tolerate("violation")
    before = shim.tls_sent()[0]
    n = getattr(t, "client")
    n.kill()
    t.start_client().tolerate("violation")
    wait_for("served", lambda: served(t.visit, 1), 10)
    span = max(400, min(shim.tls_sent()[0] - before, 1500))
    r, violations = random.Random(11), 0
    for i in range(places):
        shim.flip(r.randrange(span), 1 << r.randrange(8))
        if i % 2:
            n = t.client
            n.kill()
            t.start_client().tolerate("violation")
        for _ in range(3):
            served(t.visit, 0.5)
        shim.behave()
        assert t.server.alive() and t.client.alive()
        wait_for(f"served after change {i}", lambda: served(t.visit, 2), 15, 0.005)
        assert ask(honest.visit)
        violations = len(t.server.lines(None, "violation")) + len(t.client.lines(None, "violation"))
    outcome(f"{places} changed bytes of a {end} with the key: it was served again each time, {violations} violations in the "
            "last logs; the neighbour was never disturbed")


@pytest.mark.parametrize("end", ["client", "server"])
@pytest.mark.parametrize("flow", ["reverse", "forward"])
@many
def test_peer_with_the_key__says_everything_twice__others_are_served__it_comes_back(bench, shim, flow, end, places):
    t = bench.link(flow, 1, target=bench.farm(), udp=True, env={"NP_SERVICE_COOLDOWN": "200ms",
                   "NP_POOL_GET_TIMEOUT": "2s", "NP_REPORT_INTERVAL": "300ms"}, **{end + "_env": shim.env()})
    for n in t.nodes:
        n.tolerate("violation")
    for i in range(places):
        shim.repeat(i // 2 % 20)
        if i % 2:
            t.client.kill()
            t.start_client().tolerate("violation")
        for _ in range(2):
            served(t.visit, 0.5)
        shim.behave()
        assert t.server.alive() and t.client.alive()
        wait_for(f"served after repetition {i}", lambda: served(t.visit, 2), 15, 0.005)
    outcome(f"{places} writes of a {end} with the key were made twice: it was served again each time")


# ------------------------------------------------------------------ versions from the future

def frame(body):
    return len(body).to_bytes(4, "big") + body


def test_version_from_the_future__client__is_told_so_and_nothing_else(bench):
    t = bench.link("reverse", 1)
    t.server.tolerate(*QUIET)
    raw = dial(t.tunnel)
    with contextlib.closing(no_verify(CONTROL).wrap_socket(raw)) as s:
        read_n(s, int.from_bytes(read_n(s, 4), "big"))
        s.sendall(AUTH.replace(b"\x08\x01\x10\x02", b"\x08\x01\x10\x09", 1))
        s.sendall(PROOF)
        body = read_n(s, int.from_bytes(read_n(s, 4), "big"))
        assert body[0] == 0x2a and body[2:4] == b"\x08\x02", f"not Reject VERSION: {body.hex()}"
        assert s.recv(1) == b""
    assert ask(t.visit)
    outcome("Auth of version 9 is answered by Reject VERSION, the connection is closed")


def python_server(bench, hello, visits):
    """A listener that speaks TLS as a server does, says @hello(), and notes when what was answered."""
    addr = bench.addr(1)
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(bench.certs.crt, bench.certs.key)
    ctx.set_alpn_protocols([CONTROL])

    def serve(raw):
        with ctx.wrap_socket(raw, server_side=True) as s:
            s.sendall(hello())
            s.settimeout(2 * SLACK)
            visits.append((time.monotonic(), s.recv(100)))
    bench.tcp_target(serve, addr)
    return addr


def test_salt__a_server_with_a_new_one_each_time__client_stretches_its_key_five_times_at_once(bench):
    visits = []
    addr = python_server(bench, lambda: frame(b"\x0a\x16\x08\x02\x10\x02\x1a\x10" + random.randbytes(16)), visits)
    n = bench.node(f"client://a-word-of-mine@{text_of(addr)}/127.0.0.1:9?mode=2", name="client",
                   env={"NP_SERVICE_COOLDOWN": "100ms"})
    n.wait_line("(?i)salt too often", "WARN", 20)
    wait_for("an attempt without Auth", lambda: any(said == b"" for _, said in visits))
    auths = sum(said != b"" for _, said in visits)
    outcome(f"{auths} of {len(visits)} new salts were answered")
    assert 5 <= auths <= 6


def test_version_from_the_future__server__client_says_so__tries_again_in_growing_pauses(bench):
    visits = []
    addr = python_server(bench, lambda: frame(b"\x0a\x16\x08\x07\x10\x09\x1a\x10" + bytes(16)), visits)
    n = bench.node(f"client://{good_key()}@{text_of(addr)}/127.0.0.1:9?mode=2", name="client")
    n.wait_line(r"(?i)version", "WARN")
    wait_for("four attempts", lambda: len(visits) >= 4, 20)
    assert all(said == b"" for _, said in visits), "it spoke to a server of another version"
    gaps = [b[0] - a[0] for a, b in zip(visits, visits[1:])]
    outcome(f"Hello of versions 7 to 9: {len(visits)} attempts, nothing sent, pauses {[round(g, 2) for g in gaps]} s")
    assert gaps[2] > gaps[0]
