#!/usr/bin/python3
"""Real applications through tunnels, one after the other and then all at once; prints a table.

Tunnels: (a) reverse, tls=1; (b) forward, tls=2 with an authority of its own; (c) single-end forward.
Each has its own sshd, nginx, iperf3, dnsmasq and redis behind it, one tunnel per application. What is not
installed is skipped and said. Quick run: --mib 50 --requests 1000 --seconds 3 --together 10
"""
import argparse
import itertools
import os
import sys
import threading
import time
import traceback

from common import open_bench, table

import np_apps
from np_net import SLACK

TUNNELS = {"a": ("reverse", 1), "b": ("forward", 2), "c": ("single", 0)}


class At:
    def __init__(self, addr):
        self.addr = addr


class Stage:
    """One tunnel kind with every application behind a tunnel of its own."""

    def __init__(self, bench, folder, name, options):
        self.bench, self.o, self.name = bench, options, name
        self.flow, self.tls = TUNNELS[name]
        self.folder = os.path.join(folder, name)
        self.via = {}
        os.makedirs(os.path.join(self.folder, "www"))
        self.big = np_apps.make_file(os.path.join(self.folder, "www", "big"), options.mib << 20)
        self.big_digest = np_apps.file_digest(self.big)
        with open(os.path.join(self.folder, "www", "small"), "w") as f:
            f.write("hello\n")
        for app, tools, make in (
                ("nginx", ("nginx", "curl"), lambda a: np_apps.nginx(self.folder, a, self.folder + "/www")),
                ("ssh", ("sshd", "ssh", "scp"), lambda a: np_apps.Ssh(self.folder, a)),
                ("iperf3", ("iperf3",), lambda a: np_apps.iperf3_server(self.folder, a)),
                ("dns", ("dnsmasq", "dig"), lambda a: np_apps.dnsmasq(self.folder, a)),
                ("redis", ("redis-server", "redis-benchmark"), lambda a: np_apps.redis(self.folder, a))):
            if np_apps.missing(*tools):
                continue
            server = bench.keep(make(bench.addr(10 + len(self.via))))
            if app == "ssh":
                self.ssh = server
            self.via[app] = bench.link(self.flow, self.tls, target=At(server.addr), client={"log": "warn"},
                                       server={"log": "warn"}).visit

    # ---- what is run; each returns a text for the table and raises when it is wrong

    def ssh_command(self):
        assert self.ssh.command(self.via["ssh"], "echo through; exit 7", status=7).stdout == b"through\n"
        return "output and exit status intact"

    def scp(self):
        out = os.path.join(self.folder, f"scp-{threading.get_ident()}")
        start = time.monotonic()
        self.ssh.copy_from(self.via["ssh"], self.big, out, timeout=1200)
        took = time.monotonic() - start
        ok = np_apps.file_digest(out) == self.big_digest
        os.unlink(out)
        assert ok, "the copy differs"
        return f"{self.o.mib / took:.0f} MiB/s, checksum equal"

    def curl(self):
        start = time.monotonic()
        assert np_apps.curl_digest(self.via["nginx"], "big", self.folder, 1200) == self.big_digest, "differs"
        return f"{self.o.mib / (time.monotonic() - start):.0f} MiB/s, checksum equal"

    def http(self):
        host = "http://%s:%d/small" % self.via["nginx"]
        if np_apps.which("ab"):
            out = np_apps.run("ab", "-q", "-n", self.o.requests, "-c", 20, host, timeout=600).stdout.decode()
            failed = next(x for x in out.splitlines() if x.startswith("Failed requests"))
            assert failed.split()[-1] == "0" and "Non-2xx" not in out, failed
            rate = next(x for x in out.splitlines() if x.startswith("Requests per second")).split()[3]
            return f"{self.o.requests} requests, {rate}/s, none failed"
        out = np_apps.run("wrk", "-t", 1, "-c", 20, "-d", f"{self.o.seconds}s", host, timeout=600).stdout.decode()
        assert "Socket errors" not in out and "Non-2xx" not in out, out
        return next(x.strip() for x in out.splitlines() if "requests in" in x)

    def iperf(self, *options):
        def run():
            r = np_apps.iperf3(self.via["iperf3"], self.o.seconds, *options, tries=200)
            text = " + ".join(f"{x:.0f}" for x in r["mbit_s"]) + " Mbit/s"
            if r["lost_percent"] is not None:
                text += f", {r['lost_percent']:.2f} % lost"
            return text
        return run

    def dig(self, tcp):
        def run():
            names = [f"h{i}.test" for i in range(100)]
            for _ in range(3):
                assert np_apps.dig(self.via["dns"], names, tcp) == [f"10.9.8.{i}" for i in range(100)]
            return "300 answers right"
        return run

    def redis(self):
        host = ["-h", self.via["redis"][0], "-p", self.via["redis"][1]]
        out = np_apps.run("redis-benchmark", *host, "-n", self.o.requests * 10, "-P", 16, "-c", 20, "-t", "set,get",
                          "--csv", timeout=600).stdout.decode()
        return ", ".join("%s %s/s" % tuple(x.strip('"') for x in row.split(",")[:2]) for row in out.splitlines()[1:])

    def works(self):
        """(application, command as a person would say it, function)"""
        rows = [("ssh", "ssh: a command", self.ssh_command), ("ssh", f"scp {self.o.mib} MiB", self.scp),
                ("nginx", f"curl {self.o.mib} MiB", self.curl), ("nginx", f"ab {self.o.requests}", self.http),
                ("iperf3", "iperf3", self.iperf()), ("iperf3", "iperf3 -R", self.iperf("-R")),
                ("iperf3", "iperf3 --bidir", self.iperf("--bidir")),
                ("iperf3", "iperf3 -u -b 200M", self.iperf("-u", "-b", "200M")),
                ("dns", "dig +notcp", self.dig(False)), ("dns", "dig +tcp", self.dig(True)),
                ("redis", "redis-benchmark -P 16", self.redis)]
        return [(text, fn) for app, text, fn in rows if app in self.via]


def attempt(fn):
    start = time.monotonic()
    try:
        text, ok = fn(), True
    except Exception as e:  # a row of the table
        text, ok = " ".join(traceback.format_exception_only(e))[:200].replace("\n", " "), False
    return text, ok, time.monotonic() - start


def together(stages, seconds):
    """Everything at the same time, each again and again: {(stage, text): [runs, failures, last text]}"""
    end, seen = time.monotonic() + seconds, {}

    def loop(name, works):
        for text, fn in itertools.cycle(works):
            if time.monotonic() > end:
                return
            result, ok, _ = attempt(fn)
            row = seen.setdefault((name, text), [0, 0, result])
            row[0] += 1
            row[1] += not ok
            if ok == (not row[1]):
                row[2] = result  # the last one, or the last that failed

    jobs = []
    for s in stages:
        iperf = [w for w in s.works() if w[0].startswith("iperf3")]  # its server serves one client at a time
        for works in [[w] for w in s.works() if w not in iperf] + [iperf] * bool(iperf):
            jobs.append(threading.Thread(target=loop, args=(s.name, works), daemon=True))
    for j in jobs:
        j.start()
    for j in jobs:
        j.join()
    return seen


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mib", type=int, default=1024, help="size of the files copied")
    p.add_argument("--requests", type=int, default=10_000)
    p.add_argument("--seconds", type=int, default=10, help="of each iperf3 run")
    p.add_argument("--together", type=int, default=60, help="seconds of everything at once, 0 = not")
    p.add_argument("--tunnels", nargs="+", choices=tuple(TUNNELS), default=list(TUNNELS))
    o = p.parse_args()
    bench, folder = open_bench()
    rows, failed, stages = [], 0, []
    try:
        stages = [Stage(bench, folder, name, o) for name in o.tunnels]
        for s in stages:
            for text, fn in s.works():
                result, ok, took = attempt(fn)
                failed += not ok
                verdict = "ok" if ok else "FAILED"
                rows.append([f"({s.name}) {s.flow} tls={s.tls}", text, f"{took:.1f} s", verdict, result])
                print("  ".join(rows[-1]), flush=True)
        if o.together:
            for (name, text), (runs, bad, result) in sorted(together(stages, o.together * SLACK).items()):
                failed += bad
                verdict = "ok" if not bad else f"{bad} FAILED"
                rows.append([f"({name}) all at once", text, f"{runs} runs", verdict, result])
    finally:
        trouble = bench.close()
        for s in stages:
            os.unlink(s.big)
    print()
    table(["tunnel", "command", "took", "verdict", "result"], rows)
    print("\n".join(trouble))
    print(f"logs in {folder}")
    return 1 if failed or trouble else 0


if __name__ == "__main__":
    sys.exit(main())
