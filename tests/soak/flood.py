#!/usr/bin/python3
"""What connections that bring garbage cost a tunnel, apart from what they cost the machine.

Their generator, their packets and whoever accepts them take processor time that a transfer on the same cores lacks,
whatever we do. So a round compares three spans beside the same tunnel: no flood; the flood at a plain listener, which
accepts, reads once and resets (tests/net/drop.c), the least that any program does; the flood at the tunnel port. In
what the last two differ is ours. In each span a transfer runs flat out, then visitors come one after the other.
Judged, over all rounds: the median of the transfer at the tunnel's flood is at least --least percent of that at the
plain one's, and so it is with the longest wait of a visitor, which may be --more-ms longer. Exit status 0 when both
hold and the flood was nearly as fast as asked for.
"""
import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

from common import open_bench, table

import np_harness
from np_net import ask, is_listening, text_of, wait_for
from np_world import compile_c
from test_handshake import QUIET

LOAD = os.path.join(os.path.dirname(np_harness.BIN), "tests", "np-load")
FLOODS = ("none", "plain", "tunnel")


def median(values):
    return sorted(values)[len(values) // 2]


def load(command, addr, *args):
    out = subprocess.run([LOAD, command, text_of(addr), *map(str, args)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(out.stdout.splitlines()[-1])


class Program:
    """One of tests/net, which works until its input ends. end(): the numbers it says then."""

    def __init__(self, *argv, first=False):
        """@first: before all others, where that is permitted."""
        self._p = subprocess.Popen(list(map(str, argv)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._p.pid
        if first:
            with contextlib.suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, self.pid, -10)

    def end(self):
        return SimpleNamespace(**{k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", self._p.communicate()[0])})


class Flooded:
    """A tunnel, the plain listener beside it, and the spans."""

    def __init__(self, bench, folder, o):
        self.o, self.flood = o, compile_c("flood", folder)
        target, plain = bench.addr(9), bench.addr(8)
        self.serve = subprocess.Popen([LOAD, "serve", text_of(target)], stdout=subprocess.DEVNULL)
        self.drop = Program(compile_c("drop", folder), *plain)
        wait_for("both listen", lambda: is_listening(target) and is_listening(plain), 10)
        self.t = bench.link(o.flow, o.tls, target=SimpleNamespace(addr=target))
        self.t.server.tolerate(*QUIET)
        wait_for("the tunnel serves", lambda: ask(self.t.visit), 15)
        self.at = {"plain": plain, "tunnel": self.t.tunnel}

    def _span(self, flood, command, *args):
        """(figures of np-load, connects a second that were taken off the backlog)"""
        if flood not in self.at:
            return load(command, self.t.visit, *args), 0
        full = overflows()
        f = Program(self.flood, *self.at[flood], self.o.rate, self.o.sources, first=True)
        figures, did = load(command, self.t.visit, *args), f.end()
        return figures, (did.connects - overflows() + full) / did.ms * 1000

    def round(self):
        """{flood: figures}"""
        r = {}
        for flood in FLOODS:
            tput, rate = self._span(flood, "tput", "-d", "down", "-n", self.o.streams, "-w", 0.5, "-t", self.o.seconds)
            crr, rate2 = self._span(flood, "crr", "-c", 1, "-w", 0.5, "-t", self.o.seconds)
            r[flood] = SimpleNamespace(gbps=tput["gbps"], rate=min(rate, rate2), visitors=crr["done"],
                                       p50=crr["p50_us"] / 1e3, p99=crr["p99_us"] / 1e3, max=crr["max_us"] / 1e3)
            bad = [k for x in (tput, crr) for k in ("broken", "faults", "refused", "damaged", "stuck") if x.get(k)]
            if bad:
                raise SystemExit(f"{flood}: {bad} of a transfer or a visitor")
        return r

    def cost(self):
        """{flood: us of processor for each connection} with nothing else to do"""
        us = {}
        for flood in self.at:
            f = Program(self.flood, *self.at[flood], self.o.rate, self.o.sources, first=True)
            pid = self.drop.pid if flood == "plain" else self.t.server.pid
            before = cpu_s(pid)
            time.sleep(self.o.seconds)  # the span that is measured
            used = cpu_s(pid) - before
            us[flood] = used / f.end().connects * 1e6
        return us

    def close(self):
        self.drop.end()
        self.serve.kill()
        self.serve.wait()


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def overflows():
    """SYNs that a full backlog has thrown away, of all listeners of this network namespace."""
    with open("/proc/net/netstat", encoding="ascii") as f:
        names, values = (x.split() for x in f if x.startswith("TcpExt:"))
    return int(values[names.index("ListenDrops")])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2, help="of each span; there are six in a round")
    p.add_argument("--rate", type=int, default=10_000, help="connects a second")
    p.add_argument("--sources", type=int, default=200)
    p.add_argument("--streams", type=int, default=1, help="of the transfer")
    p.add_argument("--flow", default="reverse", choices=("reverse", "forward"))
    p.add_argument("--tls", type=int, default=1, choices=(0, 1, 2))
    p.add_argument("--least", type=float, default=80, help="percent of the plain flood's transfer")
    p.add_argument("--more-ms", type=float, default=100, help="of a visitor's longest wait")
    o = p.parse_args()
    bench, folder = open_bench()
    f = Flooded(bench, folder, o)
    rounds = []
    for n in range(o.rounds):
        rounds.append(f.round())
        table(("round", "flood", "a second", "Gbit/s", "visitors", "median ms", "99 % ms", "longest ms"),
              [(n + 1, k, f"{x.rate:.0f}", f"{x.gbps:.2f}", x.visitors, f"{x.p50:.2f}", f"{x.p99:.1f}", f"{x.max:.1f}")
               for k, x in rounds[-1].items()])
    us = f.cost()
    f.close()
    faults = bench.close()
    of = lambda flood, what: median([getattr(r[flood], what) for r in rounds])
    speed, wait = 100 * of("tunnel", "gbps") / of("plain", "gbps"), of("tunnel", "max") - of("plain", "max")
    rate = min(of("plain", "rate"), of("tunnel", "rate"))
    print(f"transfer: {of('none', 'gbps'):.2f} Gbit/s, {of('plain', 'gbps'):.2f} beside a plain flood, "
          f"{of('tunnel', 'gbps'):.2f} beside one at the tunnel port: {speed:.0f} % of it")
    print(f"longest wait of a visitor: {of('none', 'max'):.1f} ms, {of('plain', 'max'):.1f}, {of('tunnel', 'max'):.1f}")
    print(f"a connection costs {us['plain']:.1f} us there and {us['tunnel']:.1f} us here")
    if speed < o.least:
        faults.append(f"the transfer keeps {speed:.0f} %, not {o.least:.0f}")
    if wait > o.more_ms:
        faults.append(f"a visitor waits {wait:.0f} ms longer")
    if rate < 0.8 * o.rate:
        faults.append(f"{rate:.0f} connects a second are no flood of {o.rate}")
    print(*faults, f"{len(faults)} faults", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
