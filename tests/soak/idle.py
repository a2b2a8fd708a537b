#!/usr/bin/python3
"""What idle instances cost: a master with N single-end instances that nobody visits.

A row a round: processor of both planes in the window (of one core; the window is longer than a minute, so
that the full report of each minute is in it), memory per instance beyond that of an empty master, and how
long the planes take from their start until all run again. Sockets are the kernel's and in no column.
"""
import argparse
import os
import sys
import threading
import time

from common import open_bench, table

from np_master import Master
from np_net import wait_for

TICK = os.sysconf("SC_CLK_TCK")
QUIET = 0.05  # of a core over a second: above what idle instances take, below any work


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        rest = f.read().rsplit(")", 1)[1].split()
    return (int(rest[11]) + int(rest[12])) / TICK


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(x.split()[1]) for x in f if x.startswith("VmRSS:"))


def url(i):
    return f"client://127.{70 + i // 62500}.{i // 250 % 250}.{1 + i % 250}:7000/127.0.0.1:9?mode=1&noudp=1"


def create(m, n):
    numbers, lock, trouble = iter(range(n)), threading.Lock(), []

    def run():
        c = m.connect()
        while not trouble:
            with lock:
                i = next(numbers, None)
            if i is None:
                return
            c.request("POST", m.api + "/instances", '{"url":"%s"}' % url(i), {"X-API-Key": m.key})
            r = c.getresponse()
            body = r.read()
            if r.status != 201:
                trouble.append(f"{r.status} {body!r}")
    threads = [threading.Thread(target=run) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if trouble:
        sys.exit(f"an instance could not be made: {trouble[0]}")


def running(m):
    return m.metrics().get("nodepass_dataplane_instances_running", 0)


def wait_running(m, n):
    wait_for(lambda: f"{n} running instances, not {running(m)}", lambda: running(m) == n, 120, step=0.1)


def planes(m):
    return {"data": m.plane(), "control": m.node.pid}  # what was started became the control plane


def wait_quiet(m):
    """Until both planes have done what they do once, such as the memory that they give back after a start."""
    spans, seen = 3, [sum(cpu_s(pid) for pid in planes(m).values())]

    def quiet():
        seen.append(sum(cpu_s(pid) for pid in planes(m).values()))
        return len(seen) > spans and seen[-1] - seen[-1 - spans] < QUIET * spans
    wait_for(lambda: f"quiet planes, not {seen[-5:]} s of processor", quiet, 60, step=1)


def start_again(m, n):
    """Seconds of both planes from exec to the last instance; the gap between two looks is in it."""
    m.stop()
    began = time.monotonic()
    m.start()
    wait_running(m, n)
    return time.monotonic() - began


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--instances", type=int, default=10000)
    p.add_argument("--window", type=int, default=65, metavar="SECONDS")
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--report", default="5s", help="NP_REPORT_INTERVAL (its default is 5s)")
    o = p.parse_args()
    bench, _ = open_bench()
    rows = []
    try:
        m = Master(bench, env={"NP_REPORT_INTERVAL": o.report})
        wait_quiet(m)
        empty = {who: rss_kib(pid) for who, pid in planes(m).items()}
        create(m, o.instances)
        wait_running(m, o.instances)
        for n in range(o.rounds):
            start_s = start_again(m, o.instances)
            wait_quiet(m)
            pids = planes(m)
            before = {who: cpu_s(pid) for who, pid in pids.items()}
            began = time.monotonic()
            time.sleep(o.window)  # the span that is measured
            took = time.monotonic() - began
            used = {who: (cpu_s(pid) - before[who]) / took * 100 for who, pid in pids.items()}
            kib = {who: (rss_kib(pid) - empty[who]) / o.instances for who, pid in pids.items()}
            rows.append([n + 1, o.instances, f"{start_s:.1f}", f"{used['data']:.2f}", f"{kib['data']:.2f}",
                         f"{used['control']:.2f}", f"{kib['control']:.2f}"])
        m.stop()
    finally:
        table(["round", "instances", "start s", "data CPU %", "data KiB/instance", "control CPU %",
               "control KiB/instance"], rows)
        trouble = bench.close()
    print("\n".join(trouble))
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main())
