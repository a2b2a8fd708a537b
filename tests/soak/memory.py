#!/usr/bin/python3
"""Resident memory of nodepass-dataplane: idle, with 1 000 and 4 000 idle sessions, and per session.

A session counts once a byte went through it and back. One row per process.
"""
import argparse
import sys

from common import open_bench, table

from np_net import read_n, wait_for


def measure(bench, flow, tls, steps):
    """{process: [KiB at 0 sessions, at steps[0], …]}"""
    t = bench.link(flow, tls, target=bench.farm(), env={"NP_POOL_GET_TIMEOUT": "30s"},
                   client={"min": 0, "log": "warn"} if flow == "single" else {"log": "warn"},
                   server={"log": "warn", "max": 1024})
    for n in t.nodes:
        n.wait_point("idle", lambda p: p["tcps"] == 0)
    out = {n.name.split("-")[1]: [n.rss() // 1024] for n in t.nodes}
    held = []
    for step in steps:
        while len(held) < step:
            s = bench.dial(t.visit, timeout=60)
            s.sendall(b"x")
            assert read_n(s, 1) == b"x"
            held.append(s)
        for n in t.nodes:
            wait_for("all sessions in the checkpoint", lambda: n.points()[-1]["tcps"] == step, 20)
            out[n.name.split("-")[1]].append(n.rss() // 1024)
    for s in held:
        s.close()
    for n in t.nodes:
        n.wait_point("all over", lambda p: p["tcps"] == 0, 60)
        out[n.name.split("-")[1]].append(n.rss() // 1024)
    for n in t.nodes:
        n.terminate()
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sessions", type=int, nargs="+", default=[1000, 4000])
    p.add_argument("--tls", type=int, nargs="+", default=[0, 1])
    p.add_argument("--flow", nargs="+", default=["reverse", "single"], choices=("reverse", "forward", "single"))
    o = p.parse_args()
    bench, _ = open_bench()
    rows, steps = [], sorted(o.sessions)
    try:
        for flow in o.flow:
            for tls in o.tls if flow != "single" else [0]:
                for who, kib in measure(bench, flow, tls, steps).items():
                    per = (kib[len(steps)] - kib[0]) / steps[-1]
                    rows.append([flow, tls if flow != "single" else "-", who, *kib, f"{per:.2f}"])
    finally:
        trouble = bench.close()
    table(["flow", "tls", "process", "idle KiB", *[f"{n} sessions" for n in steps], "after", "KiB/session"], rows)
    print("\n".join(trouble))
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main())
