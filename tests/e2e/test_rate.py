"""rate=: how exact it is, with one stream and with a thousand, and who gets what of it."""
import contextlib
import datetime
import re
import select
import socket
import struct
import threading
import time

import pytest

from np_harness import over
from np_net import SLACK, abort, dgram, dial, parallel, read_n, wait_for

flows = over(sanitize=("reverse-0",))
MBIT = 125_000
BURST_S = 0.08  # a bucket holds 100 ms; some of them are used up when the wait begins


class Starved(threading.Thread):
    """How long the threads of @nodes had no processor, sampled all the time: what is not granted then is the machine's."""

    def __init__(self, *nodes):
        super().__init__(daemon=True)
        self.nodes, self.over, self.samples = nodes, threading.Event(), []
        self.sample()
        self.start()

    def sample(self):
        # first the time: a wait that ends in between is in a span too many, not in none
        self.samples.append((time.time(), [n.run_delay_s() for n in self.nodes]))

    def run(self):
        while not self.over.wait(0.05):
            self.sample()

    def stop(self):
        self.over.set()
        self.join(10)
        self.sample()

    def between(self, t0, t1):
        """Seconds of waits that a bucket does not outlast, in the span and the samples around it. A wait is accounted
        when it is over: the whole of it between two samples."""
        lost = 0.0
        for (a, before), (b, after) in zip(self.samples, self.samples[1:]):
            if b >= t0 and a <= t1:
                waits = [max(y[x] - w.get(x, 0) for x in y) for w, y in zip(before, after)]
                lost += sum(w for w in waits if w > BURST_S)
        return lost


def windows(node, counter, width, since):
    """(begin, end, bytes) of every window of @width seconds after @since (wall clock), from CHECK_POINTs."""
    points = []
    for x in node.lines("EVENT", "CHECK_POINT"):
        at = datetime.datetime.strptime(x.time, "%Y-%m-%d %H:%M:%S.%f").timestamp()
        points.append((at, int(re.search(rf"{counter}=(\d+)", x.raw)[1])))
    points = [p for p in points if p[0] > since]
    out = []
    for i, (t0, b0) in enumerate(points):
        later = [p for p in points[i:] if p[0] >= t0 + width - 0.01]
        if later:
            out.append((t0, later[0][0], later[0][1] - b0))
    return out


class Pull:
    """@streams visitors that read what a target sends without end; bytes got by each."""

    def __init__(self, t, streams):
        t.target.script = self._source
        self.t, self.over, self.sources = t, threading.Event(), {}
        self.socks = [s for s in parallel(streams, self._open, 64) if isinstance(s, socket.socket)]
        assert len(self.socks) == streams
        wait_for("all sessions", lambda: len(self.sources) == streams, 60)
        self.got, self.sent = [0] * streams, [0] * streams
        self.ahead = max(1 << 16, (4 << 20) // streams)  # under way: a thousand of them fit into any kernel
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self._read, self._send)]
        for th in self.threads:
            th.start()

    def _source(self, s):
        i = struct.unpack(">I", read_n(s, 4))[0]
        s.setblocking(False)
        self.sources[i] = s
        self.over.wait(300)

    def _open(self, i):
        s = dial(self.t.visit, 60)
        s.sendall(struct.pack(">I", i))
        return s

    def _read(self):
        poll = select.epoll()
        for i, s in enumerate(self.socks):
            poll.register(s.fileno(), select.EPOLLIN)
        index = {s.fileno(): i for i, s in enumerate(self.socks)}
        while not self.over.is_set():
            for fd, _ in poll.poll(0.05, 256):
                i = index[fd]
                self.got[i] += len(self.socks[i].recv(1 << 16))
        poll.close()

    def _send(self):
        block = bytes(8192)
        while not self.over.is_set():
            idle = True
            for i in range(len(self.socks)):
                if self.sent[i] - self.got[i] < self.ahead:
                    with contextlib.suppress(BlockingIOError):
                        self.sent[i] += self.sources[i].send(block)
                        idle = False
            if idle:
                self.over.wait(0.001)

    def stop(self):
        self.over.set()
        for th in self.threads:
            th.join(10)
        for s in self.socks:
            abort(s)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("streams", [1, 100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("tls", [0, 1])
def test_rate__every_window_of_two_seconds__within_five_percent__fair(bench, tls, streams):
    """The oracle is what the end counts itself, every half second, by its own clock. Time in which a process had no
    processor is no time to it: a bucket holds 100 ms, and what a thread could not take in longer is nobody's fault."""
    rate = 40
    t = bench.link("reverse", tls, server={"rate": rate, "max": 1100}, client={"min": 64},
                   env={"NP_POOL_GET_TIMEOUT": "60s", "NP_REPORT_INTERVAL": "500ms"})
    p = Pull(t, streams)
    starved = Starved(*t.nodes)
    try:
        # Until the kernel's buffers towards the visitors are in balance.
        wait_for("all have some", lambda: min(p.got) > 0, 20)
        t.ingress.wait_points(2)
        before, since = list(p.got), time.time()
        t.ingress.wait_points(16)
        after = list(p.got)
    finally:
        p.stop()
        starved.stop()
    found = []
    for t0, t1, n in windows(t.ingress, "TCPTX", 2, since):
        delay = starved.between(t0, t1)
        found.append((n / (t1 - t0) / rate / MBIT, n / max(t1 - t0 - delay, 0.001) / rate / MBIT, delay))
    low, high = min(f[0] for f in found), max(f[0] for f in found)
    shares = sorted(b - a for a, b in zip(before, after))
    print(f"{low:.3f} … {high:.3f} of the rate, {min(f[1] for f in found):.3f} at least of the time it had a processor "
          f"(it waited up to {max(f[2] for f in found) * 1e3:.0f} ms in 2 s); smallest share "
          f"{shares[0] / (sum(shares) / len(shares)):.2f}")
    assert len(found) >= 10
    assert high < 1.05
    assert min(f[1] for f in found) > 0.95
    assert shares[0] > sum(shares) / len(shares) / 3


def flood(t, over, size, per_s):
    """Datagrams of @size, @per_s of them a second; returns how many came back so far in a list."""
    s, back = dgram(t.visit, 0.01), [0, 0]

    def run():
        gap, due = 1 / per_s, time.monotonic()
        s.setblocking(False)
        while not over.is_set():
            with contextlib.suppress(OSError):
                s.send(bytes(size))
                back[1] += 1
            with contextlib.suppress(OSError):
                while True:
                    back[0] += len(s.recv(1 << 16))
            due += gap  # the pace
            over.wait(max(0, due - time.monotonic()))
        s.close()

    th = threading.Thread(target=run, daemon=True)
    th.start()
    return th, back


@pytest.mark.parametrize("rate", [1, 16])
@flows
def test_rate__flood_of_datagrams_beside_a_stream__each_gets_its_third(bench, flow, tls, rate):
    """Two streams: half of the rate is the share of each."""
    t = bench.link(flow, tls, udp=True, ingress={"rate": rate})
    over, back = threading.Event(), None
    got = [0]

    def visit():
        with dial(t.visit, 30) as s, contextlib.suppress(OSError):
            s.settimeout(1)
            threading.Thread(target=pump, args=(s,), daemon=True).start()
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    got[0] += len(s.recv(1 << 16))
            abort(s)

    def pump(s):
        with contextlib.suppress(OSError):
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    s.send(bytes(16384))

    threads = [threading.Thread(target=visit, daemon=True)]
    threads[0].start()
    wait_for("the stream runs", lambda: got[0] > 0)
    th, back = flood(t, over, 1200, 3 * rate * MBIT / 1200)
    threads.append(th)
    try:
        t.ingress.wait_points(4)
        a = (got[0], back[0], time.monotonic())
        t.ingress.wait_points(8)
        b = (got[0], back[0], time.monotonic())
    finally:
        over.set()
        for x in threads:
            x.join(10)
    span = (b[2] - a[2]) * rate * MBIT
    tcp, udp = (b[0] - a[0]) / span, (b[1] - a[1]) / span
    print(f"of the rate: stream {tcp:.2f}, datagrams {udp:.2f}")
    assert tcp > 1 / 6 and udp > 1 / 6
    assert tcp + udp < 1.1


@pytest.mark.parametrize("rate", [1, 16])
@flows
def test_rate__modest_flow_beside_a_flood_of_another__gets_its_third(bench, flow, tls, rate):
    t = bench.link(flow, tls, udp=True, ingress={"rate": rate})
    over = threading.Event()
    offer = rate * MBIT / 4  # half of its share
    pair = [flood(t, over, 1200, 4 * rate * MBIT / 1200), flood(t, over, 600, offer / 600)]
    try:
        t.ingress.wait_points(4)
        a = (pair[1][1][0], time.monotonic())
        t.ingress.wait_points(8)
        b = (pair[1][1][0], time.monotonic())
    finally:
        over.set()
        for th, _ in pair:
            th.join(10)
    share = (b[0] - a[0]) / (b[1] - a[1]) / (rate * MBIT / 2)
    print(f"the modest flow got {share:.2f} of a share, it asked for 0.5")
    assert share > 1 / 3


def test_rate__a_stream_beside_others__never_stands_still(bench):
    t = bench.link("reverse", 0, server={"rate": 8})
    p = Pull(t, 10)
    try:
        wait_for("all have some", lambda: min(p.got) > 0, 20)
        t.ingress.wait_points(2)
        last, seen = list(p.got), [time.monotonic()] * len(p.got)
        longest, end = 0, time.monotonic() + 4
        while time.monotonic() < end:
            p.over.wait(0.02)  # between two looks
            for i, n in enumerate(p.got):
                if n != last[i]:
                    last[i], seen[i] = n, time.monotonic()
                longest = max(longest, time.monotonic() - seen[i])
    finally:
        p.stop()
    assert longest < 1.0 * SLACK, f"{longest:.2f} s"
