"""The cases: what is measured in a scenario, how long, in which figures, and what is wanted of them.

A case is "<scenario>/<measure>", such as "tls/crr". A measure is a function from a Bench to figures of one round; the
rounds of all ways alternate (bench.py). Figures are aggregated as their Field says.
"""
import contextlib
import fnmatch
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass

from measure import (Failed, Ports, Stage, cpu_ns, last_words, ratio, settled_memory_kb, tree, until_listening)
from peers import SCENARIOS, HAProxy, Net, Nginx, NodePass, write

REQUEST_BYTES = 64
READY_TRIES = 15  # seconds until a way carries bytes
SETTLE_S = 2
WARM_S = 0.5      # windows and pools have grown then
MANY = 100
IDLE_WINDOWS = 6  # at most, until the CPU of an idle process no longer falls


@dataclass(frozen=True)
class Field:
    """A figure: its unit, which end of the scale is good, and how rounds become one."""
    unit: str
    good: str      # "high" or "low"
    how: str = ""  # as measure.aggregate; the better round without it

    @property
    def aggregate(self):
        return self.how or self.good


class Run:
    """A way that runs: where to connect to, and the processes it is made of."""

    def __init__(self, entry, pids):
        self.entry, self.pids = entry, pids

    def settle(self):
        """Waits until it has done what it does at the start, such as filling a pool."""
        end = time.monotonic() + SETTLE_S
        before, busy = cpu_ns(self.pids), True
        while busy and time.monotonic() < end:
            time.sleep(0.05)
            now = cpu_ns(self.pids)
            busy, before = now - before > 2_500_000, now

    def cpu_of(self, action):
        """(result of the action, CPU nanoseconds that the way used meanwhile)"""
        before = cpu_ns(self.pids)
        result = action()
        return result, cpu_ns(self.pids) - before


class Bench:
    """What a measure works with: one way, the load, ports, the targets, how long."""

    def __init__(self, load, folder, quick=False):
        self.load, self.folder, self.scale, self.quick = load, folder, 1.0, quick
        self.ports = Ports()
        self.targets = Stage(os.path.join(folder, "targets"))
        self.echo = self.ports.take()
        self.iperf = self.web = None
        self.hints = {}     # (way, case) -> datagrams a second of an earlier round
        self.way = self.case = self.scenario = None
        self.profiler = None  # profile.py: called with the run, returns a context around the load

    def start_targets(self, tools):
        """The targets of all runs. tools: iperf3 and httpd, too."""
        self.targets.start([self.load.program, "serve", f"127.0.0.1:{self.echo}"])
        until_listening(self.echo)
        if tools:
            self.iperf, self.web = self.ports.take(), self.ports.take()
            self.targets.start(["iperf3", "--server", "--bind", "127.0.0.1", "--port", str(self.iperf)])
            self.targets.start([os.path.join(os.path.dirname(self.load.program), "np-httpd"), str(self.web)])
            until_listening(self.iperf)
            until_listening(self.web)

    def seconds(self, base):
        return round(max(0.2, base * self.scale), 2)

    def net(self, target):
        return Net(self.ports.take(), target or self.echo, self.ports.take(), self.ports.take())

    @contextlib.contextmanager
    def running(self, udp=False, target=None):
        """The way, started and carrying bytes."""
        if self.way.name == "direct":
            yield Run(target or self.echo, [])
            return
        net = self.net(target)
        with Stage(os.path.join(self.folder, self.way.name)) as stage:
            started = []
            ends = self.way.ends(self.scenario, net, udp, stage.folder)
            for i, end in enumerate(ends):
                started.append(stage.start(end.argv, end.env, f"{self.way.name}-{i}"))
                if i == 0 and self.scenario != "single":
                    with contextlib.suppress(Failed):  # who has no such port is seen to fail below
                        until_listening(self.way.tunnel_port or net.tunnel, 5)
            try:
                self.ready(net.visit, target, started)
            except Failed as e:
                said = "; ".join(last_words(p) for p in started)
                raise Failed(f"{self.way.name} carries nothing ({said})") from e
            run = Run(net.visit, [p.pid for p in started])
            run.settle()
            if self.profiler and self.way.name == "nodepass":
                with self.profiler(run):
                    yield run
            else:
                yield run

    def ready(self, port, target, started):
        """Waits until bytes come through, as long as all that was started runs."""
        if target is not None and target in (self.iperf, self.web):  # these do not echo a byte
            until_listening(port)
            time.sleep(0.3 if self.scenario != "single" else 0.05)
            return
        for patience in range(READY_TRIES, -1, -1):
            try:
                self.load.first(port, 1)
                return
            except Failed:
                if patience == 0 or any(p.poll() is not None for p in started):
                    raise


# ------------------------------------------------------------------ throughput

def throughput(streams, direction):
    def measure(b):
        with b.running() as run:
            got, cpu = b.load.measured(run.pids, "tput", run.entry, "-n", streams, "-d", direction, "-t", b.seconds(1.5),
                                       "-w", WARM_S)
        if got["broken"] or got["faults"]:
            raise Failed(f"{got['broken']} of {streams} streams broke, {got['faults']} pieces were wrong")
        figures = {"gbps": got["gbps"]}
        if run.pids:
            figures["cpu_s_gb"] = cpu / got["bytes"]  # ns per byte is s per GB
        return figures
    return measure


def iperf(b):
    figures = {}
    with b.running(target=b.iperf) as run:
        for streams in (1, 8):
            p = subprocess.run(["iperf3", "--client", "127.0.0.1", "--port", str(run.entry), "--parallel", str(streams),
                                "--time", str(max(1, round(b.seconds(2)))), "--json"],
                               capture_output=True, text=True, timeout=60, check=False)
            figures[f"gbps_{streams}"] = iperf_gbps(p.stdout)
    return figures


def iperf_gbps(text):
    try:
        return json.loads(text)["end"]["sum_received"]["bits_per_second"] / 1e9
    except (KeyError, ValueError):
        raise Failed("iperf3 gave no result") from None


# ------------------------------------------------------------------ requests

def requests(command, conns):
    def measure(b):
        with b.running() as run:
            got, cpu = b.load.measured(run.pids, command, run.entry, "-c", conns, "-s", REQUEST_BYTES,
                                       "-t", b.seconds(1.5), "-w", WARM_S)
        bad = {k: got[k] for k in ("refused", "broken", "damaged", "stuck") if got[k]}
        if got["damaged"] or sum(bad.values()) > 0.001 * got["done"]:
            raise Failed(", ".join(f"{v} {k}" for k, v in bad.items()))
        figures = {"rate": got["rate"], "p50_us": got["p50_us"], "p99_us": got["p99_us"]}
        if run.pids:
            figures["cpu_us"] = cpu / 1e3 / got["done"]
        return figures
    return measure


def wrk_rate(text):
    """Requests a second from wrk's output; None when requests failed."""
    if re.search(r"Non-2xx|connect [1-9]|timeout [1-9]", text):
        return None
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    return float(found.group(1)) if found else None


def wrk(b):
    figures = {}
    with b.running(target=b.web) as run:
        for name, conns, header in (("rate_new", 32, "Connection: close"), ("rate_kept", 64, "Connection: keep-alive")):
            p = subprocess.run(["wrk", "--threads", "1", "--connections", str(conns), "--duration",
                                f"{max(1, round(b.seconds(2)))}s", "--header", header,
                                f"http://127.0.0.1:{run.entry}/"], capture_output=True, text=True, timeout=60, check=False)
            rate = wrk_rate(p.stdout)
            if rate is None:
                raise Failed("wrk: requests failed")
            figures[name] = rate
    return figures


# ------------------------------------------------------------------ datagrams

def datagrams(size):
    def measure(b):
        sink = b.ports.take() if b.way.name == "direct" else None
        with b.running_udp(sink) as (run, sink):
            args = ("-l", f"127.0.0.1:{sink}", "-s", size)
            key = b.way.name, b.case
            hint = ("-g", int(b.hints[key])) if key in b.hints else ()
            found = b.load.run("udp", run.entry, *args, "-S", "-t", b.seconds(0.25), *hint)
            rate = found["got_pps"]
            b.hints[key] = max(2000, rate)
            same, cpu = run.cpu_of(lambda: b.load.run(
                "udp", run.entry, *args, "-r", max(200, int(rate * 0.95)), "-t", b.seconds(0.5)))
            flat = b.load.run("udp", run.entry, *args, "-r", 0, "-t", b.seconds(0.4))
        figures = {"pps": rate, "flat_loss": flat["loss"] * 100, "flat_pps": flat["got_pps"],
                   "damaged": found["damaged"] + same["damaged"] + flat["damaged"]}
        if run.pids and same["got"]:
            figures["cpu_us"] = cpu / 1e3 / same["got"]
        return figures
    return measure


@contextlib.contextmanager
def _running_udp(b, sink):
    if sink:  # direct: the load sends to itself
        yield Run(sink, []), sink
        return
    # TCP on the same port, so that it is seen when the way is open.
    sink = b.ports.take()
    with Stage(os.path.join(b.folder, "sink")) as stage:
        stage.start([b.load.program, "serve", f"127.0.0.1:{sink}"])
        until_listening(sink)
        with b.running(udp=True, target=sink) as run:
            yield run, sink


Bench.running_udp = _running_udp


# ------------------------------------------------------------------ memory, start

def memory(b):
    figures = {}
    with b.running() as run:
        if not run.pids:
            raise Failed("no process")
        idle = settled_memory_kb(run.pids)
        figures["idle_kb"] = idle
        for sessions in (1000, 4000):
            if sessions > (1000 if b.quick else b.way.hold_max):
                continue
            held, _ = b.load.hold(run.entry, sessions, lambda: settled_memory_kb(run.pids))
            figures[f"session_{sessions}_kb"] = max(0.0, (held - idle) / sessions)
        b.load.run("tput", run.entry, "-n", 8, "-t", b.seconds(0.5))
        b.load.run("crr", run.entry, "-c", 32, "-t", b.seconds(0.5))
        figures["after_kb"] = settled_memory_kb(run.pids)
    return figures


def start(b):
    together, cpu = _start(b, True)
    figures = {"together_ms": together, "cpu_ms": cpu}
    if b.scenario != "single":
        figures["client_ms"], _ = _start(b, False)
    return figures


def _start(b, together):
    """From the start of the (last) program to the first byte that comes back, milliseconds; CPU time until then."""
    net = b.net(None)
    with Stage(os.path.join(b.folder, b.way.name)) as stage:
        ends = b.way.ends(b.scenario, net, False, stage.folder)
        if not ends:
            raise Failed("no process")
        # It tries from before on, so that its own start is not measured.
        probe = b.load.begin("first", net.visit, "-t", READY_TRIES)
        begin, pids = time.monotonic_ns(), []
        for i, end in enumerate(ends):
            if i > 0 and not together:
                until_listening(b.way.tunnel_port or net.tunnel)
                begin = time.monotonic_ns()
            pids.append(stage.start(end.argv, end.env, f"{b.way.name}-{i}").pid)
        first = b.load.end(probe, READY_TRIES + 5)
        return (first["at_ns"] - begin) / 1e6, cpu_ns(pids) / 1e6


def many(b):
    """A hundred single hops in one process, which all ways read from a file. NodePass: by the API of a master, too."""
    pairs = [(b.ports.take(), b.echo) for _ in range(MANY)]
    with Stage(os.path.join(b.folder, "many-" + b.way.name)) as stage:
        begin = time.monotonic()
        pids = [stage.start(_many_argv(b.way, stage.folder, pairs)).pid]
        for visit, _ in pairs:
            b.load.first(visit)
        took = time.monotonic() - begin
        figures = {"all_kb": settled_memory_kb(pids), "all_ms": took * 1e3, "idle_ms_s": _idle_cpu(pids, b.seconds(1))}
    if isinstance(b.way, NodePass):
        figures["api_ms"] = _many_by_api(b)
    return figures


def _idle_cpu(pids, window_s):
    """CPU milliseconds a second, from when they no longer fall: giving back what a load needed is not idle."""
    last = None
    for _ in range(IDLE_WINDOWS):
        before, since = cpu_ns(pids), time.monotonic()
        time.sleep(window_s)
        now = (cpu_ns(pids) - before) / 1e6 / (time.monotonic() - since)
        if last is not None and now > 0.9 * last:
            return min(now, last)
        last = now
    return last


def _many_argv(way, folder, pairs):
    if isinstance(way, HAProxy):
        return [way.path, "-db", "-f", write(folder, "many.cfg", way.config(pairs))]
    if isinstance(way, Nginx):
        return [way.path, "-e", f"{folder}/start.log", "-p", folder,
                "-c", write(folder, "many.conf", way.config(folder, pairs, False))]
    if isinstance(way, NodePass):
        return [way.path, "@" + write(folder, "many.urls", "\n".join(_many_urls(pairs)) + "\n")]
    raise Failed("not asked of this one")


def _many_urls(pairs):
    return [f"client://127.0.0.1:{visit}/127.0.0.1:{target}?mode=1&log=warn" for visit, target in pairs]


def _many_by_api(b):
    """The same by one request after the other, each stored on disk before it is answered; milliseconds from the start
    of the master to the byte through the last."""
    pairs = [(b.ports.take(), b.echo) for _ in range(MANY)]
    with Stage(os.path.join(b.folder, "many-api-" + b.way.name)) as stage:
        begin = time.monotonic()
        master(b, stage, b.way, {}, _many_urls(pairs))
        for visit, _ in pairs:
            b.load.first(visit)
        return (time.monotonic() - begin) * 1e3


def master(b, stage, way, env, urls):
    """A master with these instances; returns the pid of its data plane."""
    port = b.ports.take()
    run = tempfile.mkdtemp(prefix="np-bench-")  # the names of sockets are to be short
    stage.temporary.append(run)
    env = {"NP_STATE_DIR": os.path.join(run, "state"), "NP_RUN_DIR": os.path.join(run, "run"), "NP_LOG_COLOR": "0", **env}
    for name in ("NP_STATE_DIR", "NP_RUN_DIR"):
        os.makedirs(env[name], mode=0o700, exist_ok=True)
    started = stage.start([way.path, f"master://127.0.0.1:{port}?log=warn"], env, "master")
    until_listening(port)
    key = subprocess.run([way.path, "ctl", "key"], env={**os.environ, **env},
                         capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    for url in urls:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/instances", method="POST",
                                         data=json.dumps({"url": url}).encode(),
                                         headers={"X-API-Key": key, "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20):
            pass
    for pid in tree([started.pid]):
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            if b"nodepass-dataplane" in f.read().split(b"\0")[0]:
                return pid
    raise Failed("the master has no data plane")


def workers(b):
    """Both encrypted ends in one process, with one worker and with two; the load elsewhere where there is room."""
    if not isinstance(b.way, NodePass):
        raise Failed("not asked of this one")
    cores = sorted(os.sched_getaffinity(0))
    ours, others = cores[:2], cores[2:] or cores[:2]
    figures = {}
    for n in (1, 2):
        net = b.net(None)
        with Stage(os.path.join(b.folder, f"workers-{n}")) as stage:
            pid = master(b, stage, b.way, {"NP_WORKERS": str(n)},
                         [f"server://bench@127.0.0.1:{net.tunnel}/127.0.0.1:{net.visit}?mode=1&tls=1&log=warn",
                          f"client://bench@127.0.0.1:{net.tunnel}/127.0.0.1:{net.target}?mode=2&log=warn"])
            b.load.first(net.visit)
            for task in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(task), ours)
            os.sched_setaffinity(0, others)
            try:
                got = b.load.run("tput", net.visit, "-n", 8, "-t", b.seconds(2), "-w", WARM_S)
            finally:
                os.sched_setaffinity(0, cores)
            figures[f"gbps_{n}"] = got["gbps"]
    figures["gain"] = ratio(figures["gbps_2"], figures["gbps_1"])
    return figures


# ------------------------------------------------------------------ the list

@dataclass(frozen=True)
class Measure:
    """A measure: its function, figures, and in which runs it is."""
    title: str
    run: object
    fields: dict
    cost_s: float            # of one way in one round, about, at scale 1
    rounds: int = 5          # of a full run
    quick: int = 0           # rounds of a quick run
    kind: str = "tcp"
    scenarios: tuple = SCENARIOS


TPUT = {"gbps": Field("Gbit/s", "high"), "cpu_s_gb": Field("CPU s/GB", "low", "median")}
RATE = {"rate": Field("/s", "high"), "p50_us": Field("p50 µs", "low", "median"), "p99_us": Field("p99 µs", "low", "median"),
        "cpu_us": Field("CPU µs each", "low", "median")}
UDP = {"pps": Field("datagrams/s, < 1 % lost", "high"), "cpu_us": Field("CPU µs each", "low", "median"),
       "flat_pps": Field("/s through when flat out", "high", "median"), "flat_loss": Field("% lost when flat out", "low", "median"),
       "damaged": Field("damaged", "low", "sum")}

MEASURES = {}
for _n in (1, 8):
    for _d in ("up", "down", "both"):
        MEASURES[f"tput-{_n}-{_d}"] = Measure(f"throughput, {_n} stream{'s' if _n > 1 else ''}, {_d}", throughput(_n, _d), TPUT,
                                              2.1, quick=2 * (_d == "up"))
MEASURES |= {
    "crr": Measure("connect, request, reply, close; 32 at once", requests("crr", 32), RATE, 2.0, quick=2),
    "rr-1": Measure("request and reply, 1 connection", requests("rr", 1), RATE, 2.0),
    "rr-64": Measure("request and reply, 64 connections", requests("rr", 64), RATE, 2.0, quick=2),
    "udp-64": Measure("datagrams of 64 bytes", datagrams(64), UDP, 6.0, rounds=3, kind="udp"),
    "udp-1400": Measure("datagrams of 1400 bytes", datagrams(1400), UDP, 6.0, rounds=3, quick=1, kind="udp"),
    "mem": Measure("memory", memory, {
        "idle_kb": Field("KB idle", "low", "median"), "session_1000_kb": Field("KB per idle session, 1 000 held", "low", "median"),
        "session_4000_kb": Field("KB per idle session, 4 000 held", "low", "median"),
        "after_kb": Field("KB after load", "low", "median")}, 3.0, rounds=2, quick=1, kind="own"),
    "start": Measure("start to the first relayed byte", start, {
        "together_ms": Field("ms, all ends started together", "low", "median"),
        "cpu_ms": Field("CPU ms until then", "low", "median"),
        "client_ms": Field("ms, the other end runs", "low", "median")}, 0.5, quick=2, kind="own"),
    "many": Measure(f"{MANY} instances in one process", many, {
        "all_kb": Field("KB idle", "low", "median"), "all_ms": Field("ms until all carry bytes", "low", "median"),
        "idle_ms_s": Field("CPU ms a second, idle", "low", "median"),
        "api_ms": Field("ms until all carry bytes, made over the API one by one", "low", "median")}, 4.0, rounds=3, kind="many", scenarios=("single",)),
    "workers": Measure("both ends in one process, 8 streams, 1 and 2 workers", workers, {
        "gbps_1": Field("Gbit/s, 1 worker", "high"), "gbps_2": Field("Gbit/s, 2 workers", "high"),
        "gain": Field("gain", "high", "median")}, 6.0, rounds=3, kind="ours", scenarios=("tls",)),
    "iperf3": Measure("iperf3", iperf, {"gbps_1": Field("Gbit/s, 1 stream", "high"), "gbps_8": Field("Gbit/s, 8 streams", "high")},
                      5.0, rounds=2, kind="tools"),
    "wrk": Measure("wrk (HTTP)", wrk, {"rate_new": Field("/s, a connection each", "high"),
                                       "rate_kept": Field("/s, 64 connections", "high")}, 5.0, rounds=2, kind="tools"),
}


def select(patterns, quick):
    """The cases, in order. Patterns: "crr", "tls", "tls/crr", with * and ?. An unknown one is a ValueError."""
    every = [f"{s}/{m}" for s in SCENARIOS for m, measure in MEASURES.items() if s in measure.scenarios]
    if not patterns:
        return [c for c in every if not quick or MEASURES[c.split("/")[1]].quick]
    chosen = set()
    for pattern in patterns:
        hits = [c for c in every if fnmatch.fnmatch(c, pattern) or pattern in c.split("/") or
                fnmatch.fnmatch(c.split("/")[1], pattern)]
        if not hits:
            raise ValueError(f"no case '{pattern}'; there are {', '.join(SCENARIOS)} and {', '.join(MEASURES)}")
        chosen.update(hits)
    return [c for c in every if c in chosen]


def takes_part(way, case):
    """Is the way asked for the case?"""
    scenario, name = case.split("/")
    kind = MEASURES[name].kind
    if way.name == "direct":
        return kind in ("tcp", "udp", "tools")
    if scenario not in way.scenarios or name not in (getattr(way, "only", None) or MEASURES):
        return False
    if kind == "udp":
        return way.udp
    if kind == "many":
        return isinstance(way, (NodePass, HAProxy, Nginx)) and way.name != "haproxy-splice"
    return kind != "ours" or isinstance(way, NodePass)
