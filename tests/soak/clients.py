#!/usr/bin/python3
"""Clients of one server are killed and restarted at random under thousands of visitors: does one fail that should not?

A visitor that was greeted by the target and whose client was not killed must get all its answers; the server's memory
and descriptors are compared in calm moments, after a sixth of the time and at the end. Exit status 0 when both hold.
"""
import argparse
import sys
import time

from common import open_bench

from np_clients import Clients


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=float, default=600)
    p.add_argument("--clients", type=int, default=24, help="at most 64: they have one source")
    p.add_argument("--visitors", type=int, default=2000, help="in flight")
    p.add_argument("--tls", type=int, default=1, choices=(0, 1, 2))
    p.add_argument("--seed", type=int, default=int(time.time()))
    o = p.parse_args()
    bench, folder = open_bench()
    print(f"seed {o.seed}, folder {folder}", flush=True)
    c = Clients(bench, o.clients, o.visitors, o.seed, o.tls)
    c.run(o.seconds / 6)
    before = c.calm()
    print(f"calm: {before[0]} KiB, {before[1]} descriptors; {c.counts}", flush=True)
    end = time.monotonic() + o.seconds * 5 / 6
    while (left := end - time.monotonic()) > 0 and not c.faults:
        c.run(min(60, left))
        print(f"{left:.0f} s left: {c.counts}, server {c.t.server.rss() >> 10} KiB, {c.t.server.fd_count()} descriptors",
              flush=True)
    after = c.calm()
    c.stop()
    print(f"calm: {after[0]} KiB, {after[1]} descriptors; {c.counts}")
    faults = c.faults + bench.close()
    if after[0] > before[0] * 1.1 + 4096 or after[1] > before[1] + 8 * o.clients:
        faults.append(f"the server grew from {before} to {after}")
    print(*faults[:20], f"{len(faults)} faults", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
