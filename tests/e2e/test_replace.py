"""Replacing a running instance: visitors come all the time, none is refused, and no session is cut.

A PUT that cannot be taken over makes a new instance beside the old one. Oracles: as many visitors served as
came, the bytes of each compared, sessions that run through all replacements, close reasons.
"""
import hashlib
import os
import socket
import threading

import pytest

from np_master import PATIENCE, single
from np_net import SLACK, dial, read_n, served, text_of, wait_for

ROLES = ("single", "reverse-server", "reverse-client", "forward-server", "forward-client")
REPLACEMENTS = 8
VISITORS = 6   # at once
RUNNERS = 3    # sessions that run through all of it
BLOCK = 1500


def cells(listener, sanitize):
    """parametrize role × what changes, where the role has it. listener: what a PUT of the listener adds to the query."""
    rows = []
    for role in ROLES:
        for side, changes in (("listener", (listener, "")), ("client's tunnel side", ("tunnel", "")),
                              ("server's tunnel side", ("&tls=1", ""))):
            if side == "listener" or side.split("'")[0] in role:
                name = f"{role}-{side}"
                marks = [pytest.mark.sanitize] if name in sanitize else []
                rows.append(pytest.param(role, changes, id=name, marks=marks))
    return pytest.mark.parametrize("role,changes", rows)


class Stream:
    """Visitors one after the other in each of VISITORS threads, until stop(); what went wrong."""

    def __init__(self, addr):
        self.addr, self.came, self.served, self.trouble = addr, 0, 0, []
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(VISITORS)]
        self._threads += [threading.Thread(target=self._run_through, daemon=True) for _ in range(RUNNERS)]
        self.runners = 0
        for t in self._threads:
            t.start()

    def _note(self, what):
        with self._lock:
            self.trouble.append(what)

    def _visit(self):
        while not self._stop.is_set():
            data = os.urandom(BLOCK)
            with self._lock:
                self.came += 1
            try:
                with dial(self.addr, PATIENCE) as s:
                    s.sendall(data)
                    s.shutdown(1)
                    got = read_n(s, len(data))
                    assert s.recv(1) == b""
                assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest(), "other bytes came back"
                with self._lock:
                    self.served += 1
            except (OSError, EOFError, AssertionError) as e:
                self._note(f"a visitor: {e!r}")

    def _run_through(self):
        sent, back = hashlib.sha256(), hashlib.sha256()
        try:
            with dial(self.addr, PATIENCE) as s:
                while not self._stop.wait(0.01):
                    data = os.urandom(BLOCK)
                    sent.update(data)
                    s.sendall(data)
                    back.update(read_n(s, len(data)))
                s.shutdown(1)
                assert s.recv(1) == b""
            assert sent.digest() == back.digest(), "other bytes came back"
            with self._lock:
                self.runners += 1
        except (OSError, EOFError, AssertionError) as e:
            self._note(f"a session that was there before: {e!r}")

    def wait_more(self, n=20):
        want = self.served + n
        wait_for(lambda: f"{n} more visitors; {self.trouble[:5]}",
                 lambda: self.served >= want or self.trouble, PATIENCE)

    def stop(self):
        self._stop.set()
        for t in self._threads:
            t.join(PATIENCE * SLACK)
        assert not any(t.is_alive() for t in self._threads)


class Pair:
    """A master with what @role needs; replaced by put(n), always by what needs another instance."""

    def __init__(self, m, role, udp=None):
        """@udp: a target of datagrams; else one of TCP is made."""
        self.m, bench = m, m.bench
        self.visit, tunnel, target = bench.addr(2), bench.addr(3), udp or bench.farm()
        flow = 1 if role.startswith("reverse") else 2
        there = text_of(self.visit if flow == 1 else target.addr)
        here = text_of(target.addr if flow == 1 else self.visit)
        self.urls = {"server": f"server://key@:{tunnel[1]}/{there}?mode={flow}&log=debug",
                     "client": f"client://key@{text_of(tunnel)}/{here}?mode=2&log=debug"}
        self.replaced, self.tunnel = "client", text_of(tunnel)
        self.other = text_of((bench.addr(4)[0], tunnel[1]))
        if role == "single":
            self.urls = {"client": single(self.visit, target.addr, log="debug")}
        else:
            self.replaced = role.split("-")[1]
        self.ids = {who: m.create(url) for who, url in self.urls.items()}
        for id in self.ids.values():
            m.wait_instance(id, status="running")
        if not udp:
            wait_for("service", lambda: served(self.visit, PATIENCE), PATIENCE)

    def put(self, change):
        """@change: more of the query, or "tunnel": the same server at another address."""
        url = self.urls[self.replaced]
        url = url.replace(self.tunnel, self.other) if change == "tunnel" else url + change
        self.m.good("PUT", f"/instances/{self.ids[self.replaced]}", {"url": url})

    def replace_under(self, traffic, changes):
        """The two @changes in turn, while @traffic goes on; ends it."""
        try:
            for n in range(REPLACEMENTS):
                traffic.wait_more()
                self.put(changes[n % 2])
                self.m.node.wait_line("replaced, running sessions finish", timeout=PATIENCE, count=n + 1)
                self.m.wait_instance(self.ids[self.replaced], status="running")
            traffic.wait_more()
        finally:
            traffic.stop()


@pytest.mark.timeout(60 * SLACK)
@cells("&noudp=1", ("single-listener", "reverse-server-server's tunnel side",
                     "reverse-client-client's tunnel side", "forward-client-listener"))
def test_replaced__visitors_come_all_the_time__none_is_lost(masters, role, changes):
    m = masters(env={"NP_WORKERS": "2"})
    p = Pair(m, role)
    s = Stream(p.visit)
    p.replace_under(s, changes)
    assert not s.trouble, (len(s.trouble), s.trouble[:10])
    assert s.served == s.came and s.runners == RUNNERS, (s.came, s.served, s.runners)


def udp_served(addr):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.connect(addr)
        try:
            s.send(b"?")
            return s.recv(10) == b"?"
        except OSError:
            return False


class Datagrams:
    """FLOWS that stay and as many that are new each time send a numbered datagram, and the next one when it came
    back: sent == echoed unless one was lost. Small ones, few at once: no buffer of the kernel overflows."""
    FLOWS, GIVE_UP = 4, 5.0

    def __init__(self, addr):
        self.addr, self.sent, self.echoed, self.lost = addr, 0, 0, []
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(i, stays), daemon=True)
                         for i in range(self.FLOWS) for stays in (True, False)]
        for t in self._threads:
            t.start()

    def _run(self, i, stays):
        n, s = 0, None
        while not self._stop.is_set():
            if s is None or not stays:
                if s is not None:
                    s.close()
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                s.settimeout(self.GIVE_UP * SLACK)
                s.connect(self.addr)
            n += 1
            data = f"{i} {stays} {n}".encode()
            with self._lock:
                self.sent += 1
            try:
                s.send(data)
                got = s.recv(100)
                assert got == data, f"{got} came instead"
                with self._lock:
                    self.echoed += 1
            except (OSError, AssertionError) as e:
                with self._lock:
                    self.lost.append(f"{data}: {e!r}")
            self._stop.wait(0.002)
        s.close()

    def wait_more(self, n=100):
        want = self.echoed + n
        wait_for(lambda: f"{n} more datagrams; {self.lost[:5]}", lambda: self.echoed >= want or self.lost, PATIENCE)

    def stop(self):
        self._stop.set()
        for t in self._threads:
            t.join(PATIENCE * SLACK)
        assert not any(t.is_alive() for t in self._threads)


@pytest.mark.timeout(60 * SLACK)
@cells("&notcp=1", ("single-listener", "reverse-server-listener", "forward-client-client's tunnel side"))
def test_replaced__datagrams_come_all_the_time__none_is_lost(masters, role, changes):
    m = masters(env={"NP_WORKERS": "2"})
    p = Pair(m, role, m.bench.udp_target())
    wait_for("a flow", lambda: udp_served(p.visit), PATIENCE)
    d = Datagrams(p.visit)
    p.replace_under(d, changes)
    assert not d.lost and d.sent == d.echoed, (d.sent, d.echoed, d.lost[:10])
