"""Many clients on one server, killed and restarted at random, under thousands of visitors.

A visitor knows who serves it: each client dials the target from an address of its own (dial=), and the target
greets with the number of that address. So a visitor that was greeted and then fails although its client was not
killed is a fault of the tunnel. Used by test_fault_clients.py and tests/soak/clients.py.
"""
import contextlib
import os
import random
import select
import socket
import threading
import time
import zlib

from np_net import SLACK, wait_for

ROUND = 512        # bytes of a question and of its answer
ROUNDS = 4         # of a visitor
PAUSE_S = 0.5, 2.0  # between them, if nothing else is said
POOL_HELD_S = 10   # pools keep what a burst needed for 7 s, then they fall from second to second


class Greeter:
    """The target: says the last byte of who connected, then echoes. One thread."""

    def __init__(self, addr):
        self.addr, self._conns = addr, {}
        self._ls = socket.create_server(addr, backlog=4096)
        self._ls.setblocking(False)
        self._wake = socket.socketpair()
        self._ep = select.epoll()
        for s in (self._ls, self._wake[0]):
            self._ep.register(s, select.EPOLLIN)
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    @property
    def open(self):
        return len(self._conns)

    def _loop(self):
        while True:
            for fd, _ in self._ep.poll():
                if fd == self._wake[0].fileno():
                    return
                if fd == self._ls.fileno():
                    with contextlib.suppress(BlockingIOError):
                        for _ in range(64):
                            s, peer = self._ls.accept()
                            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                            s.settimeout(5 * SLACK)  # what is written here is less than any socket buffer
                            self._conns[s.fileno()] = s
                            self._ep.register(s, select.EPOLLIN)
                            self._send(s, bytes([int(peer[0].rsplit(".", 1)[1])]))
                elif fd in self._conns:
                    s = self._conns[fd]
                    try:
                        data = s.recv(65536)
                    except OSError:
                        data = b""
                    if not data or not self._send(s, data):
                        self._conns.pop(fd).close()

    @staticmethod
    def _send(s, data):
        try:
            s.sendall(data)
        except OSError:
            return False
        return True

    def close(self):
        self._wake[1].send(b"x")
        self._thread.join(5)
        for s in (*self._conns.values(), self._ls, *self._wake):
            s.close()
        self._ep.close()


class Visitor:
    __slots__ = ("s", "number", "round", "want", "due", "client", "born", "left")


class Clients:
    """The tunnel, @n clients, the killer and the visitors. faults: what must not be."""

    def __init__(self, bench, n, in_flight, seed, tls=1, pause=PAUSE_S):
        self.bench, self.n, self.in_flight = bench, n, in_flight
        self.random, self.pause = random.Random(seed), pause
        self.greeter = bench.keep(Greeter(bench.addr(9)))
        self.t = bench.link("reverse", tls, target=self.greeter, server={"log": "warn", "max": 1024}, start=False,
                            env={"NP_REPORT_INTERVAL": "1s", "NP_SEMAPHORE_LIMIT": "65536",
                                 "NP_POOL_GET_TIMEOUT": "10s", "NP_WORKERS": "2"})
        self.t.start_server()
        self.url = self.t.start_args["client"][0] + "&log=none&dial="
        self.killed = [0.0] * n  # when each client was killed last
        self.nodes = [None] * n
        for i in range(n):
            self._start(i)
        self.faults, self.counts = [], {"whole": 0, "killed": 0, "not greeted": 0, "kills": 0, "most": 0}
        self.greeted = [0] * n
        self._suspects = []
        self._live, self._numbers = {}, 0
        self._ep = select.epoll()
        self.wanted = 0
        self._end, self._killing = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._visit, self._kill)]
        for t in self._threads:
            t.start()

    def _start(self, i):
        self.nodes[i] = self.bench.node(self.url + self.bench.host(100 + i), env=self.t.start_args["client"][1],
                                        name=f"client-{i}")

    # -- the killer

    def _kill(self):
        while not self._end.is_set():
            if not self._killing.wait(0.2):
                continue
            i = self.random.randrange(self.n)
            self.killed[i] = time.monotonic()
            node = self.nodes[i]
            node.kill()
            self.bench.nodes.remove(node)
            node.close()
            os.unlink(node.log_path)
            self.counts["kills"] += 1
            self._end.wait(self.random.uniform(0, 1.0))
            self._start(i)
            self._end.wait(self.random.uniform(0.2, 24 / self.n))

    # -- visitors

    def _open(self, now):
        v = Visitor()
        self._numbers += 1
        v.number, v.round, v.want, v.client, v.born = self._numbers, 0, 1, None, now
        v.due, v.left = None, b""
        v.s = socket.socket()
        v.s.setblocking(False)
        v.s.connect_ex(self.t.visit)
        self._live[v.s.fileno()] = v
        self._ep.register(v.s, select.EPOLLIN)

    def _close(self, v, what):
        self._live.pop(v.s.fileno())
        v.s.close()
        if what == "cut":
            if v.client is None:
                what = "not greeted"
            else:  # a kill that is just being counted explains it, too
                self._suspects.append((time.monotonic() + 2, v))
                return
        self.counts[what] += 1

    def _judge(self, now, all_of_them=False):
        while self._suspects and (all_of_them or self._suspects[0][0] < now):
            _, v = self._suspects.pop(0)
            if self.killed[v.client] < v.born:
                self.faults.append(f"visitor {v.number} of client {v.client}, which lived, was cut in round {v.round} "
                                   f"after {now - v.born:.1f} s")
            self.counts["killed"] += 1

    def _on_bytes(self, v, now):
        try:
            data = v.s.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            return self._close(v, "cut")
        if not data:
            return self._close(v, "cut")
        if v.client is None:
            v.client = data[0] - 100
            self.greeted[v.client] += 1
            data, v.due = data[1:], now
        if not v.left.startswith(data):
            self.faults.append(f"visitor {v.number}: bytes that are not its own")
        v.left = v.left[len(data):]
        if data and not v.left:
            v.round += 1
            if v.round == ROUNDS:
                return self._close(v, "whole")
            v.due = now + self.random.uniform(*self.pause)

    def _ask(self, v):
        v.due = None
        block = zlib.crc32(b"%d/%d" % (v.number, v.round)).to_bytes(4, "big") * (ROUND // 4)
        v.left = block
        try:
            v.s.sendall(block)
        except OSError:
            self._close(v, "cut")

    def _visit(self):
        swept = 0.0
        while not self._end.is_set():
            now = time.monotonic()
            for fd, _ in self._ep.poll(0.02):
                if fd in self._live:
                    self._on_bytes(self._live[fd], now)
            if now - swept < 0.05:
                continue
            swept = now
            self._judge(now)
            for v in [v for v in self._live.values() if v.due is not None and v.due <= now]:
                self._ask(v)
            for _ in range(min(100, self.wanted - len(self._live))):
                self._open(now)
            self.counts["most"] = max(self.counts["most"], len(self._live))

    # -- what the test does

    def run(self, seconds):
        self.wanted = self.in_flight
        wait_for("all visitors are in flight", lambda: len(self._live) >= self.in_flight * 0.95, 60)
        self._killing.set()
        self._end.wait(seconds)

    def calm(self):
        """No kills, no visitors, every client up: (KiB, descriptors) of the server."""
        self._killing.clear()
        self.wanted = 0
        wait_for("every visitor has left", lambda: not self._live and not self._suspects, 60)
        self.t.server.wait_point("no session", lambda p: p["tcps"] == 0, 60)
        # pools fall back to what nobody asks for, some seconds after the last who did
        least, since = 1 << 30, time.monotonic()

        def settled():
            nonlocal least, since
            fds = self.t.server.fd_count()
            if fds < least:
                least, since = fds, time.monotonic()
            return time.monotonic() - since > POOL_HELD_S
        wait_for("the pools have shrunk", settled, 90, step=0.5)
        return self.t.server.rss() >> 10, self.t.server.fd_count()

    def stop(self):
        self._end.set()
        for t in self._threads:
            t.join(10)
        self._judge(time.monotonic(), True)
        for v in list(self._live.values()):
            v.s.close()
        self._ep.close()
