#!/usr/bin/python3
"""Tunnels under random visitors and random faults for a long time: do memory and descriptors stay?

Three tunnels run at once. "main": server S and client C, to which a second client comes and is killed;
"peer": a client P whose server is killed and started again; "single": a single-end client N. Visitors churn
(whole sessions, half-closes, resets), stall, hold idle sessions and send datagrams; connections between the
ends are cut and stalled, the target stops and returns, certificates are re-read. S, C, P and N are never
restarted: their memory and descriptors are sampled every ten seconds and compared in two calm moments,
after the first sixth of the time and at the end. Exit status 0 when they have not grown, no session got a
foreign byte, nothing crashed and everything ended well on SIGTERM.
"""
import argparse
import contextlib
import random
import signal
import sys
import threading
import time

from common import open_bench, table

from np_churn import HEAD, churn_target, churn_visit
from np_net import ask_dgram, dial, is_listening, wait_for

RSS_TOLERANCE = 0.10     # of the calm value after the first sixth,
RSS_TOLERANCE_KIB = 2048  # and this much on top
FD_TOLERANCE = 24        # idle channels may differ within the pool's bounds


class Soak:
    def __init__(self, options):
        self.o = options
        self.bench, self.folder = open_bench(options.folder)
        self.random = random.Random(options.seed)
        self.faults, self.counts = [], {}
        self.number, self.lock = 0, threading.Lock()
        self.run, self.stop = threading.Event(), threading.Event()  # visitors may come; all is over
        self.active = 0
        self.samples = []

    # ---- set up

    def begin(self):
        b, o = self.bench, self.o
        script = churn_target(o.seed, self.faults, calm=False)
        env = {"NP_REPORT_INTERVAL": "1s", "NP_UDP_READ_TIMEOUT": "5s", "NP_RELOAD_INTERVAL": "30s"}
        query = {"client": {"min": 4, "log": "warn"}, "server": {"max": 64, "log": "warn"}, "env": env}
        self.target = b.tcp_target(script, h=9)
        self.udp = b.udp_target(addr=self.target.addr)
        self.main = b.link(o.flow, o.tls, target=self.target, via={}, **query)
        self.peer = b.link(o.flow, o.tls, target=self.target, via={}, **query)
        self.single = b.link("single", 0, target=self.target, client={"min": 2, "log": "warn"}, env=env)
        self.links = [self.main, self.peer, self.single]
        self.measured = {"S": self.main.server, "C": self.main.client, "P": self.peer.client,
                         "N": self.single.client}
        self.guest = None

    # ---- visitors

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def next_number(self):
        with self.lock:
            self.number += 1
            return self.number

    def visitor(self, seed):
        r = random.Random(seed)
        while not self.stop.is_set():
            if not self.run.wait(0.2):
                continue
            with self.lock:
                self.active += 1
            try:
                self.visit(r, r.choice(self.links))
            finally:
                with self.lock:
                    self.active -= 1

    def visit(self, r, link):
        kind = r.choices(("churn", "stall", "idle", "datagrams"), (80, 6, 6, 8))[0]
        try:
            if kind == "churn":
                ok = churn_visit(self.o.seed, self.next_number(), link.visit, self.faults, calm=False, timeout=15)
            elif kind == "datagrams":
                data = r.randbytes(r.choice((0, 1, 100, 1400, 9000, 65507)))
                ok = ask_dgram(link.visit, data, 0.5, 2)
            else:
                with dial(link.visit, 10) as s:
                    if kind == "stall":
                        s.settimeout(0.5)
                        with contextlib.suppress(TimeoutError):
                            s.sendall(HEAD.pack(b"STAL", r.randrange(4)) + bytes(r.randrange(1 << 21)))
                    self.stop.wait(r.uniform(0.5, 4))
                ok = True
        except (OSError, EOFError):
            ok = False
        self.count(kind if ok else kind + " cut")

    # ---- faults

    def disturb(self):
        r = self.random
        while not self.stop.wait(r.uniform(0.5, 2 * self.o.pace)):
            if not self.run.is_set():
                continue
            what = r.choices(("control", "channels", "stall", "guest", "server", "target", "reload"),
                             (15, 25, 10, 20, 10, 10, 10))[0]
            link = r.choice((self.main, self.peer))
            with self.lock:
                self.active += 1
            try:
                self.fault(what, link, r)
                self.count("fault " + what)
            finally:
                with self.lock:
                    self.active -= 1

    def fault(self, what, link, r):
        if what == "control":
            link.proxy.cut(filter(None, [link.proxy.control()]))
        elif what == "channels":
            live = link.proxy.channels()
            link.proxy.cut(r.sample(live, r.randrange(len(live) + 1)))
        elif what == "stall":
            link.proxy.stall()
            self.stop.wait(r.uniform(0.1, 4))
            link.proxy.resume()
        elif what == "guest":
            if self.guest:
                self.guest.kill()
                self.retire(self.guest)
                self.guest = None
            elif self.o.flow == "reverse":
                url, env, kw = self.main.start_args["client"]
                self.guest = self.bench.node(url, env=env, name="guest", **kw)
        elif what == "server":
            self.peer.server.kill()
            self.retire(self.peer.server)
            self.stop.wait(r.uniform(0, 2))
            self.peer.start_server()
        elif what == "target":
            self.target.down()
            self.target.drop()
            self.stop.wait(r.uniform(0, 1))
            self.target.up()
        elif what == "reload":
            self.main.server.signal(signal.SIGHUP)

    def retire(self, node):
        """A killed node's log was judged; keep the list of nodes short."""
        self.faults += node.alarms()
        node.close()
        self.bench.nodes.remove(node)

    # ---- measuring

    def measure(self):
        return {k: (n.rss() // 1024, n.fd_count()) for k, n in self.measured.items()}

    def sample(self, mark=""):
        m = self.measure()
        self.samples.append((time.monotonic() - self.start, m, mark))
        row = [f"{self.samples[-1][0]:.0f}", self.active, self.number]
        row += [x for k in self.measured for x in m[k]]
        print("  ".join(f"{x:>8}" for x in row) + f"  {mark}", flush=True)
        return m

    def calm(self, mark):
        """Nobody visits, nothing is disturbed, sessions are over: what is held now is held for good."""
        self.run.clear()
        wait_for("visitors and faults pause", lambda: self.active == 0, 60)
        for link in self.links:
            wait_for("the tunnel works", lambda: is_listening(link.visit), 20)
        if self.guest:
            self.guest.kill()
            self.retire(self.guest)
            self.guest = None
        for n in self.measured.values():
            n.wait_point("no session", lambda p: p["tcps"] == 0 and p["udps"] == 0, 60)
            n.wait_point("a further second", lambda p: True)
        m = self.sample(mark)
        self.run.set()
        return m

    def calm_or_fault(self, mark):
        try:
            return self.calm(mark)
        except AssertionError as e:
            self.faults.append(f"no calm: {e}")
            return None

    def go(self):
        o = self.o
        self.begin()
        self.start = time.monotonic()
        print("  ".join(f"{x:>8}" for x in ["s", "active", "sessions"] +
                        [f"{k} {w}" for k in self.measured for w in ("KiB", "fds")]))
        threads = [threading.Thread(target=self.visitor, args=(f"{o.seed}/{i}",), daemon=True)
                   for i in range(o.visitors)] + [threading.Thread(target=self.disturb, daemon=True)]
        for t in threads:
            t.start()
        self.run.set()
        first = last = None
        while (now := time.monotonic() - self.start) < o.seconds:
            if first is None and now >= o.seconds / 6:
                first = self.calm_or_fault("calm")
            time.sleep(max(0.1, min(o.every, o.seconds - now)))
            self.sample()
            if self.faults:
                break
            dead = [k for k, n in self.measured.items() if not n.alive()]
            if dead:
                self.faults.append(f"ended on their own: {dead}")
                break
        if not self.faults:
            last = self.calm_or_fault("calm")
        self.stop.set()
        for t in threads:
            t.join(30)
        return self.verdict(first, last)

    def verdict(self, first, last):
        print()
        table(["event", "times"], sorted(self.counts.items()))
        bad = list(dict.fromkeys(self.faults))
        for k in self.measured if first and last else ():
            (rss0, fds0), (rss1, fds1) = first[k], last[k]
            if rss1 > rss0 * (1 + RSS_TOLERANCE) + RSS_TOLERANCE_KIB:
                bad.append(f"{k}: memory grew from {rss0} to {rss1} KiB")
            if fds1 > fds0 + FD_TOLERANCE:
                bad.append(f"{k}: descriptors grew from {fds0} to {fds1}: {self.measured[k].fd_names()[-12:]}")
        for link in self.links if last else ():
            link.proxy and link.proxy.resume()
        bad += self.bench.close()
        print(f"\nseed {self.o.seed}, logs in {self.folder}")
        for x in bad[:20]:
            print("FAULT:", x[:1000])
        print("verdict:", "FAILED" if bad else "passed")
        return 1 if bad else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=float, default=1800)
    p.add_argument("--tls", type=int, choices=(0, 1, 2), default=1)
    p.add_argument("--flow", choices=("reverse", "forward"), default="reverse")
    p.add_argument("--visitors", type=int, default=12, help="visitors at once")
    p.add_argument("--pace", type=float, default=2.5, help="mean seconds between faults")
    p.add_argument("--every", type=float, default=10, help="seconds between samples")
    p.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    p.add_argument("--folder", help="for logs; a new one in the temporary folder by default")
    soak = Soak(p.parse_args())
    try:
        return soak.go()
    finally:  # interrupted, too: no process stays
        for n in soak.bench.nodes:
            n.close()


if __name__ == "__main__":
    sys.exit(main())
