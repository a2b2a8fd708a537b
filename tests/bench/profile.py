#!/usr/bin/python3
"""./dev profile CASE: where the CPU time of NodePass goes in a case.

perf samples all threads of the way while the load runs; without it, callgrind counts the instructions of one end. Both
leave a list of functions; perf a flame graph, too (a drawing of our own: perf's needs a download).
"""
import argparse
import contextlib
import os
import shutil
import subprocess
import sys

import cases
import charts
import peers
from measure import Failed, Load, raise_nofile
from report import line

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
HERTZ = 997  # no multiple of what timers in the programs do
TOP = 40


class Callgrind(peers.NodePass):
    """NodePass with its last end (that of the target, or the only one) under callgrind."""

    def ends(self, scenario, net, udp, folder, extra=""):
        ends = super().ends(scenario, net, udp, folder, extra)
        ends[-1].argv = ["valgrind", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={folder}/callgrind.%p",
                         *ends[-1].argv]
        return ends


def perf_works():
    perf = shutil.which("perf")
    if not perf:
        return False
    p = subprocess.run([perf, "record", "-q", "-e", "cpu-clock", "-o", "/dev/null", "--", "true"], capture_output=True, check=False)
    return p.returncode == 0


def recorder(data):
    """The context around the load: perf samples what runs."""
    @contextlib.contextmanager
    def record(run):
        p = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", str(HERTZ), "-g", "-o", data,
                              "-p", ",".join(map(str, run.pids))], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            yield
        finally:
            p.send_signal(2)
            p.communicate()
    return record


def perf_report(case, data, out):
    top = subprocess.run(["perf", "report", "-i", data, "--stdio", "--no-children", "-g", "none", "--percent-limit", "0.5",
                          "--sort", "symbol,dso"], capture_output=True, text=True, check=False).stdout
    lines = [x.rstrip() for x in top.splitlines() if x.strip() and not x.startswith("#")][:TOP]
    script = subprocess.run(["perf", "script", "-i", data, "-F", "comm,pid,time,event,ip,sym,dso"],
                            capture_output=True, text=True, check=False).stdout
    stacks = charts.fold(script)
    if not stacks:
        raise Failed("perf took no samples")
    path = out + ".svg"
    with open(path, "w", encoding="utf-8") as f:
        f.write(charts.flame(case, stacks))
    return lines, path


def callgrind_report(folder, out):
    files = [os.path.join(folder, n) for n in os.listdir(folder) if n.startswith("callgrind.")]
    files = [f for f in files if os.path.getsize(f) > 0]
    if not files:
        raise Failed("callgrind left nothing")
    largest = max(files, key=os.path.getsize)
    path = out + ".callgrind"
    shutil.copy(largest, path)
    text = subprocess.run(["callgrind_annotate", path], capture_output=True, text=True, check=False).stdout.splitlines()
    return [x.rstrip() for x in text if "%)" in x][:TOP], path


def main():
    parser = argparse.ArgumentParser(prog="./dev profile")
    parser.add_argument("case", metavar="CASE", help="one case, such as tls/crr; ./dev bench --list shows them")
    parser.add_argument("--callgrind", action="store_true", help="instructions instead of samples")
    args = parser.parse_args()
    build = os.environ.get("BENCH_BUILD", os.path.join(ROOT, "build"))
    folder = os.path.join(build, "profile")
    own = os.environ.get("NODEPASS_BIN", os.path.join(build, "bin"))
    if args.case not in cases.select([], False):
        print(f"profile: no case '{args.case}'; a case is such as tls/crr, see ./dev bench --list", file=sys.stderr)
        return 2
    raise_nofile()
    sampling = not args.callgrind and perf_works()
    out = os.path.join(folder, args.case.replace("/", "-"))
    run = os.path.join(folder, "run")
    shutil.rmtree(run, ignore_errors=True)
    bench = cases.Bench(Load(os.path.join(build, "tests", "np-load")), run)
    bench.case, bench.scenario = args.case, args.case.split("/")[0]
    bench.scale = 2
    bench.way = (peers.NodePass if sampling else Callgrind)(own)
    bench.profiler = recorder(out + ".data") if sampling else None
    measure = cases.MEASURES[args.case.split("/")[1]]
    try:
        bench.start_targets(measure.kind == "tools")
        print(line(args.case, measure.run(bench)) + ("" if sampling else " (under callgrind)"))
        lines, path = (perf_report(args.case, out + ".data", out) if sampling
                       else callgrind_report(os.path.join(run, "nodepass"), out))
    except Failed as e:
        print(f"profile: {e}", file=sys.stderr)
        return 1
    finally:
        bench.targets.stop()
    with open(out + ".txt", "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(f"written: {os.path.relpath(out + '.txt')} {os.path.relpath(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
