#!/usr/bin/python3
"""./dev bench: NodePass and its peers over loopback, in turns.

Plans which way runs which case, alternates the ways in each round, shows the progress, and leaves results.json, charts
and a page. The parts: peers.py (ways), cases.py (what is measured), goals.py, measure.py (CPU, memory, load),
report.py and charts.py.
"""
import argparse
import datetime
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import cases
import peers
import report
from measure import Failed, Load, raise_nofile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
QUICK_S, FULL_S = 150, 2100  # what a run is planned for
SETUP_S = 0.35               # a way's start and end, about
SCALE_MIN, SCALE_MAX = 0.25, 1.0
LATE = 1.15                  # of the planned time: then what is left is left out


def arguments():
    p = argparse.ArgumentParser(prog="./dev bench", description="NodePass and its peers over loopback, in turns")
    p.add_argument("cases", nargs="*", metavar="CASE", help="single, plain, tls; a measure; or both, as tls/crr; * and ? match")
    p.add_argument("--quick", action="store_true", help="fewer cases, peers and rounds: less than 3 minutes")
    p.add_argument("--peers", metavar="NAME[,NAME]", help="only these; none = only NodePass and direct")
    p.add_argument("--also", action="append", default=[], metavar="NAME=FOLDER", help="another build of NodePass, in turns")
    p.add_argument("--rounds", type=int, help="rounds of each case")
    p.add_argument("--seconds", type=float, help="factor on the length of a measurement, 1 = 1.5 s for most")
    p.add_argument("--publish", action="store_true", help="write docs/BENCHMARKS.md, as the full run does")
    p.add_argument("--list", action="store_true", help="say which cases and peers there are")
    return p.parse_args()


def busy(seconds=1.0):
    """Share of the machine's CPU time that is used while nothing is measured."""
    def sample():
        with open("/proc/stat", encoding="ascii") as f:
            v = [int(x) for x in f.readline().split()[1:9]]
        return sum(v), v[3] + v[4]
    a = sample()
    time.sleep(seconds)
    b = sample()
    return 1 - (b[1] - a[1]) / max(1, b[0] - a[0])


def machine(args):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())
    with open("/proc/meminfo", encoding="ascii") as f:
        memory = int(f.readline().split()[1])
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "commit": commit.stdout.strip() or "?",
            "cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_gb": round(memory / 2**20), "kernel": platform.release(),
            "mode": "selection" if args.cases else "quick" if args.quick else "full",
            "network": "a namespace of its own" if os.environ.get("BENCH_NAMESPACE") else "the host's loopback",
            "load_before": f"{os.getloadavg()[0]:.1f}", "busy_before": f"{busy():.0%}"}


def choose(args, here):
    """The ways of this run."""
    names = None if args.peers is None else set(args.peers.split(",")) - {"none"}
    known = {w.name for w in here}
    if names and names - known:
        raise ValueError(f"no peer '{sorted(names - known)[0]}' here; there are {', '.join(sorted(known))}")
    ours = [w for w in here if not w.reaches]
    others = [w for w in here if w.reaches and (w.name in names if names is not None else not args.quick or w.quick)]
    return ours + others


@dataclass
class Step:
    """A case of the run."""
    case: str
    ways: list
    rounds: int

    @property
    def measure(self):
        return cases.MEASURES[self.case.split("/")[1]]


class Plan:
    """Which ways run which case how often; keeps the run within its time, whatever else the machine does."""

    def __init__(self, args, ways):
        self.limit_s = QUICK_S if args.quick else FULL_S
        self.fixed = args.seconds
        self.steps, direct = [], set()
        self.slow = 1.0  # how much longer it takes than thought
        for case in cases.select(args.cases, args.quick and not args.cases):
            name = case.split("/")[1]
            step = Step(case, [w for w in ways if cases.takes_part(w, case) and (w.name != "direct" or name not in direct)], 0)
            direct.add(name)  # there is one way that is direct, for all scenarios
            step.rounds = args.rounds or (step.measure.quick or 1 if args.quick else step.measure.rounds)
            if any(not w.reaches and w.name != "direct" for w in step.ways):
                self.steps.append(step)

    @property
    def count(self):
        return sum(s.rounds * len(s.ways) for s in self.steps)

    def cost_s(self, done, scale):
        """About how long the steps from there on take."""
        return sum(s.rounds * len(s.ways) * (s.measure.cost_s * scale + SETUP_S) for s in self.steps[done:])

    def adapt(self, done, elapsed_s):
        """The factor on the length of measurements for the steps from there on; takes rounds off when it must."""
        if self.fixed:
            return self.fixed
        left = max(0.0, self.limit_s - elapsed_s)
        setup = self.cost_s(done, 0) * self.slow
        scale = (left - setup) / max(0.01, (self.cost_s(done, 1) * self.slow - setup))
        if scale < SCALE_MIN:
            for s in self.steps[done:]:
                s.rounds = max(1, s.rounds - 1)
        return min(SCALE_MAX, max(SCALE_MIN, scale))


class Progress:
    def __init__(self, plan):
        self.plan, self.done, self.begin = plan, 0, time.monotonic()

    @property
    def elapsed_s(self):
        return time.monotonic() - self.begin

    def say(self, case, way, turn, words):
        self.done += 1
        t = int(self.elapsed_s)
        print(f"[{self.done:4d}/{max(self.plan.count, self.done)} {t // 60:2d}:{t % 60:02d}] {case:<18} {turn} {way:<15} {words}", flush=True)


def run(bench, plan, results):
    progress = Progress(plan)
    for i, step in enumerate(plan.steps):
        if not plan.fixed and progress.elapsed_s > LATE * plan.limit_s:
            left = [s.case for s in plan.steps[i:]]
            results["machine"]["left_out"] = left
            print(f"bench: the machine is too busy: {', '.join(left)} left out", flush=True)
            return
        bench.scale = plan.adapt(i, progress.elapsed_s)
        before, thought = progress.elapsed_s, step.rounds * len(step.ways) * (step.measure.cost_s * bench.scale + SETUP_S)
        bench.case, bench.scenario = step.case, step.case.split("/")[0]
        found = results["cases"].setdefault(step.case, {w.name: {"rounds": []} for w in step.ways})
        for turn in range(step.rounds):
            for k in range(len(step.ways)):
                bench.way = step.ways[(k + turn) % len(step.ways)]
                words = once(bench, step, found[bench.way.name])
                progress.say(step.case, bench.way.name, turn + 1, words)
        plan.slow = 0.5 * plan.slow + 0.5 * (progress.elapsed_s - before) / thought


def once(bench, step, found):
    """One way, one round. Returns the line to say."""
    if found.get("failed", 0) > 1:
        return "left out"
    try:
        figures = step.measure.run(bench)
    except (Failed, OSError) as e:
        found["error"], found["failed"] = str(e), found.get("failed", 0) + 1
        return f"not measured: {e}"
    found["rounds"].append(figures)
    return report.line(step.case, figures)


def prepare(args):
    """(bench, plan, results, folder): all that is needed before the first measurement."""
    build = os.environ.get("BENCH_BUILD", os.path.join(ROOT, "build"))
    out = os.environ.get("BENCH_OUT", os.path.join(build, "bench"))
    also = [a.partition("=")[::2] for a in args.also]
    own = os.environ.get("NODEPASS_BIN", os.path.join(build, "bin"))
    shared = os.environ.get("BENCH_SHARED", os.path.join(ROOT, "build-shared", "bin"))
    here, missing = peers.find(own, shared, also, os.path.join(ROOT, "build", "bench-peers", "bin"))
    absent = [w.name for w in here if not w.path]
    if absent:
        raise ValueError(f"no program of '{absent[0]}' in its folder")
    ways = choose(args, here)
    if args.list:
        print("cases: " + " ".join(cases.select([], False)))
        print("peers: " + " ".join(w.name for w in here) + "; not here: " + " ".join(missing))
        sys.exit(0)
    plan = Plan(args, ways)
    bench = cases.Bench(Load(os.path.join(build, "tests", "np-load")), os.path.join(out, "run"), args.quick)
    used = [w for w in ways if any(w in step.ways for step in plan.steps)]
    results = {"machine": machine(args), "versions": {w.name: w.version() for w in used}, "missing": missing,
               "peers": [w.name for w in used if w.reaches], "also": [w.name for w in used if w.name not in ("nodepass", "direct") and not w.reaches], "cases": {}}
    results["machine"]["rounds"] = max((step.rounds for step in plan.steps), default=0)
    scale = plan.adapt(0, 0)
    print(f"{plan.count} measurements of {len(plan.steps)} cases, {len(used)} ways; about {plan.cost_s(0, scale) / 60:.0f} minutes; "
          f"not here: {', '.join(missing) or 'nothing'}", flush=True)
    return bench, plan, results, out


def main():
    args = arguments()
    raise_nofile()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        bench, plan, results, out = prepare(args)
    except ValueError as e:
        print(f"bench: {e}", file=sys.stderr)
        return 2
    begin = time.monotonic()
    try:
        bench.start_targets(any(step.measure.kind == "tools" for step in plan.steps))
        run(bench, plan, results)
    except KeyboardInterrupt:
        print("bench: interrupted; what was measured so far is written", file=sys.stderr)
        args.publish, args.cases = False, args.cases or ["interrupted"]
    finally:
        bench.targets.stop()
    results["machine"]["minutes"] = f"{(time.monotonic() - begin) / 60:.1f}"
    print("\n" + report.terminal(results) + "\n")
    written = report.write_all(results, out, os.path.join(out, "BENCHMARKS.md"), ".")
    if args.publish or not (args.quick or args.cases):
        docs = os.path.join(ROOT, "docs")
        written = report.write_all(results, os.path.join(docs, "benchmarks"), os.path.join(docs, "BENCHMARKS.md"), "benchmarks")
    print("written: " + " ".join(os.path.relpath(w) for w in written if w.endswith((".md", ".json"))))
    ours = [w for ways in results["cases"].values() for n, w in ways.items() if n == "nodepass"]
    return 1 if any(w.get("error") for w in ours) else 0


if __name__ == "__main__":
    sys.exit(main())
