#!/usr/bin/python3
"""Kills control plane and data plane with -9 at random moments, under load, and compares what is there with
what was promised.

After each kill and at the end: every answered change is in GET /instances, in the store and in the data
plane; nothing else is; the sockets that listen are those of the instances that run; event readers know the
same instances; the key is the same; sessions went on unless their data plane was killed; every listener was
back within a second. The last line of the table counts the violations; the exit status is 1 with any.
"""
import argparse
import contextlib
import json
import os
import random
import resource
import select
import shutil
import signal
import sqlite3
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

import ledger as books  # noqa: E402
import load  # noqa: E402
import np_control  # noqa: E402
import np_harness  # noqa: E402
from np_master import KEY_ID, Master  # noqa: E402
from np_net import SLACK, _proc_addr, poll, text_of, wait_for  # noqa: E402

PATIENCE = 20 * SLACK  # of everything that has no limit of its own
BACK_S = 1.0 * max(1, SLACK)  # a killed data plane's listeners
HEALTHY_S, PAUSE_S, PAUSE_MAX_S = 10, 0.1, 5  # of the supervisor
TWICE = 0.15  # of the kills hit while the kill before is not got over
CONTROL, DATA = "control", "data"


# ------------------------------------------------------------------ what is there

def listeners_of(pid):
    """Addresses on which process @pid accepts TCP connections."""
    inodes = set()
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                name = os.readlink(f"/proc/{pid}/fd/{fd}")
                inodes |= {name[8:-1]} if name.startswith("socket:[") else set()
    out = []
    with open("/proc/net/tcp") as f:
        next(f)
        for line in f:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                out.append(text_of(_proc_addr(words[1])))
    return out


def listening():
    """Every address of this network namespace that listens."""
    with open("/proc/net/tcp") as f:
        next(f)
        return {w[1] for w in (line.split(None, 4) for line in f) if w[3] == "0A"}


def proc_name(addr):
    host = "".join(f"{int(x):02X}" for x in reversed(addr[0].split(".")))
    return f"{host}:{addr[1]:04X}"


def listens_for(url):
    """Where a running instance of this test listens. Servers' visitors come to the target address."""
    scheme, rest = url.split("://")
    tunnel, target = rest.split("?")[0].split("@")[-1].split("/")
    if scheme == "server":
        return [tunnel] + ([target] if "mode=1" in rest else [])
    return [tunnel] if "mode=1" in rest else []


def store_rows(folder):
    """[(id, facts)] of the database, read while its owner works on it."""
    db = sqlite3.connect(f"file:{folder}/nodepass.db?mode=ro", uri=True, timeout=10)
    try:
        return [(id, books.facts_of_blob(json.loads(blob)))
                for id, blob in db.execute("SELECT id, blob FROM rows WHERE kind = 2 ORDER BY seq")]
    finally:
        db.close()


def plane_list(path):
    """id -> (desired, state) of what the data plane holds, and the ids as often as it lists them."""
    c, out, ids, after = np_control.Client(path, timeout=PATIENCE), {}, [], ""
    try:
        while True:
            page = c.ask(list={"after": after, "limit": 500, "with_spec": True})["list"]
            for x in page.get("instances", ()):
                ids.append(x["spec"]["id"])
                out[ids[-1]] = (x["spec"].get("desired", ""), x["status"].get("state", ""))
            after = page.get("next", "")
            if not after:
                return out, ids
    finally:
        c.close()


# ------------------------------------------------------------------ the test

class World:
    """What all parts share."""

    def __init__(self, master, target, seed):
        self.addr, self.key, self.target, self.seed = master.addr, master.key, target, seed
        self.patience, self.pace_s = PATIENCE, 0.02
        self.faults, self.kills, self.gate = load.Faults(), load.Kills(), load.Gate()


class CrashTest:
    def __init__(self, bench, seed, writers, ballast):
        self.bench, self.random = bench, random.Random(seed)
        self.master = Master(bench, env={"NP_REPORT_INTERVAL": "1s"})
        self.master.wait_ready()
        self.target = bench.farm()
        self.world = World(self.master, self.target.addr, seed)
        self.faults, self.kills, self.gate = self.world.faults, self.world.kills, self.world.gate
        self.recovery = {CONTROL: [], DATA: [], "both": [], "again": []}
        self.checks, self.single_back, self.data_ends = 0, [], []
        self.fixed = self.make_fixed(ballast)
        self.watched = [a for f in self.fixed.ledger.settled().values() for a in listens_for(f["url"])]
        self.watched += [text_of(self.visits["forward"])]
        net = ".".join(bench.net.split(".")[:2])
        self.writers = [load.Writer(self.world, f"w{i}", f"{net}.{100 + 20 * i}") for i in range(writers)]
        self.writers = [self.fixed, *self.writers]
        self.readers = [load.Reader(self.world, f"r{i}", restless=i == 0) for i in range(4)]
        self.sessions = [load.Session(self.world, f"{flow}-{i}", visit)
                         for flow, visit in self.visits.items() for i in range(4)]
        self.visitor = load.Visitor(self.world, list(self.visits.values()))

    # -- the start

    def make_fixed(self, ballast):
        """Tunnels that sessions run through, and more listeners whose return is timed."""
        b, key = self.bench, np_harness.good_key()
        self.visits = {f: b.addr(h) for f, h in (("single", 2), ("reverse", 3), ("forward", 4))}
        there, back = b.addr(5), b.addr(6)
        t = text_of(self.target.addr)
        urls = [load.url_single(self.visits["single"], self.target.addr, min=2, mode=1, slot=1000),
                f"server://{key}@{text_of(there)}/{text_of(self.visits['reverse'])}?mode=1&tls=1",
                f"client://{key}@{text_of(there)}/{t}?min=4&mode=2",
                f"server://{key}@{text_of(back)}/{t}?mode=2",
                f"client://{key}@{text_of(back)}/{text_of(self.visits['forward'])}?min=4&mode=2"]
        urls += [load.url_single(b.addr(7), self.target.addr, min=0, mode=1, slot=1000) for _ in range(ballast)]
        painter = load.Painter(self.world, "fixed", "127.0.0")
        for i, url in enumerate(urls):
            alias = f"fixed-{i}"
            x = self.master.good("POST", "/instances", {"url": url, "alias": alias}, 201)
            assert x["url"] == url, f"{url} is stored as {x['url']}"
            painter.ids[alias] = x["id"]
            painter.ledger.answered(alias, {"alias": alias, "url": url, "restart": True, "desired": "running",
                                            "peer": "", "tags": {}})
        for flow, visit in self.visits.items():
            wait_for(f"the {flow} tunnel", lambda v=visit: proc_name(v) in listening(), PATIENCE)
        return painter

    @property
    def workers(self):
        return [*self.writers, *self.readers, *self.sessions, self.visitor]

    # -- killing

    def kill_control(self):
        """kill -9, and at once another one, as an init system would do."""
        self.kills.announce(CONTROL)
        self.master.kill()
        self.master.node = self.bench.node(self.master.url, env=self.master.env, name="master")

    def kill_data(self):
        """False: there was none, its successor is not there yet."""
        planes = self.master.planes()
        if not planes:
            return False
        self.kills.announce(DATA)
        for pid in planes:
            with contextlib.suppress(ProcessLookupError):
                fd = os.pidfd_open(pid)
                try:
                    os.kill(pid, signal.SIGKILL)
                    assert select.select([fd], [], [], PATIENCE)[0], "a killed process does not end"
                finally:
                    os.close(fd)
        return True

    def wait_control(self):
        """The API answers, and the data plane holds what it wants."""
        self.master.wait_ready()
        self.kills.back(CONTROL)

    def wait_data(self, start):
        """Every watched listener is there again; how long each took, in seconds."""
        missing, took = {proc_name(self.parse(a)): a for a in self.watched}, []

        def look():
            there, now = listening(), time.monotonic()
            for name in [n for n in missing if n in there]:
                del missing[name]
                took.append(now - start)
            return not missing
        poll(look, PATIENCE, 0.002)
        for a in missing.values():
            self.faults.add("late", f"{a} does not listen {PATIENCE:g} s after the kill")
        self.kills.back(DATA)
        return took

    @staticmethod
    def parse(text):
        host, port = text.rsplit(":", 1)
        return host, int(port)

    def strike(self, who):
        """One kill, sometimes two; how many there were."""
        start, twice = time.monotonic(), self.random.random() < TWICE
        done = [who] if who == CONTROL or self.kill_data() else []
        if who == CONTROL:
            self.kill_control()
        if twice:
            time.sleep(self.random.random() * 0.3)  # the moment is the test
            other = CONTROL if who == DATA else DATA
            if other == CONTROL:
                self.kill_control()
                done.append(other)
            elif self.kill_data():
                done.append(other)
        if CONTROL in done and DATA in done:
            for w in self.writers:  # nobody may have known any more which of them ran
                w.ledger.booted()
        if CONTROL in done:
            self.wait_control()
            if DATA not in done:
                self.recovery[CONTROL].append(time.monotonic() - start)
        if DATA in done:
            took = self.wait_data(start)
            if took and CONTROL not in done:
                self.in_time(start, took)
            elif took:
                self.recovery["both"].append(max(took))
        if CONTROL in done:  # a new one that found the data plane may have seen its end
            self.data_ends = [start] if done[-1] == DATA else []
        return done

    def in_time(self, start, took):
        """One that fails again within ten seconds is started later each time; a supervisor remembers that as
        long as it lives."""
        if not self.data_ends or start - self.data_ends[-1] > HEALTHY_S:
            self.data_ends = []
        pause_s = min(PAUSE_S * 2 ** (len(self.data_ends) - 1), PAUSE_MAX_S) if self.data_ends else 0
        self.data_ends.append(start)
        self.recovery["again" if pause_s else DATA].append(max(took))
        if not pause_s:
            self.single_back += took
        if max(took) > BACK_S + pause_s:
            self.faults.add("late", f"a listener was back after {max(took):.3f} s, of these {pause_s:g} s of pause")

    # -- comparing

    def compare(self):
        """One look at everything: (verdict, what to pin)."""
        listed = self.master.good("GET", "/instances")
        verdict = books.Verdict()
        keys = [x for x in listed if x["id"] == KEY_ID]
        if [x["url"] for x in keys] != [self.world.key]:
            verdict.add("key", f"{keys}")
        rows = [(x["id"], x) for x in listed if x["id"] != KEY_ID]
        ledgers = [w.ledger for w in self.writers]
        seen = [(id, books.facts_of(x)) for id, x in rows]
        of_api, found = books.judge(ledgers, seen, "the list")
        of_store, _ = books.judge(ledgers, store_rows(os.path.join(self.bench.folder, "state")), "the store")
        held, ids = plane_list(os.path.join(self.bench.folder, "run", "ctl.sock"))
        verdicts = [of_api, of_store, books.judge_sets([id for id, _ in rows], ids, "instance", "the data plane")]
        for id, x in rows:
            want = {"running": "DESIRED_RUNNING", "stopped": "DESIRED_STOPPED"}.get(x["status"])
            if id in held and held[id][0] != want:
                verdict.add("lost", f"{id} is {x['status']} in the list and {held[id]} in the data plane")
        want = [a for _, x in rows if x["status"] == "running" for a in listens_for(x["url"])]
        want += [text_of(self.visits["forward"])]
        verdicts.append(books.judge_sets(want, listeners_of(self.master.plane()), "socket", "the data plane"))
        for r in self.readers:
            verdicts.append(books.judge_sets([id for id, _ in rows] + [KEY_ID], list(r.view), "instance",
                                             f"what reader {r.name_} knows"))
        for v in verdicts:
            for kind, texts in v.of.items():
                verdict.of[kind] += texts
        return verdict, found

    def check(self, when):
        """Clients pause; what is there settles, or does not."""
        self.gate.close(PATIENCE)
        end, found = time.monotonic() + PATIENCE, {}
        while True:
            began = time.monotonic()
            try:
                verdict, found = self.compare()
            except (OSError, AssertionError, KeyError, sqlite3.Error) as e:
                verdict = books.Verdict()
                verdict.add("broken", f"{e!r}")
            if verdict or began > end:  # a look that took long says nothing
                break
            time.sleep(0.02)
        for kind, texts in verdict.of.items():
            for text in texts:
                self.faults.add(kind, f"{when}: {text}")
        for w in self.writers:
            w.ledger.pin(found)
            w.ids = {s: i for s, i in w.ids.items() if s in w.ledger.may}
        self.find_ids()
        self.checks += 1
        self.gate.open()

    def find_ids(self):
        """Of instances whose POST was not answered and that are there all the same."""
        by = {books.serial_of(x["alias"]): x["id"] for x in self.master.good("GET", "/instances")}
        for w in self.writers:
            w.ids = {s: by[s] for s in w.ledger.may if s in by}

    # -- all of it

    def run(self, kills, say):
        for w in self.workers:
            w.start()
        self.check("before the first kill")
        done = 0
        while done < kills:
            time.sleep(self.random.random())  # the moment is the test
            who = self.random.choice((CONTROL, DATA))
            hit = self.strike(who)
            done += len(hit)
            before = len(self.faults.all)
            self.check(f"after kill {done} ({' and '.join(hit)})")
            say(f"{done:4d} of {kills}  {'+'.join(hit):13} " + "  ".join(
                f"{k} {t}" for k, t in self.faults.all[before:][:3]))
        self.check("at the end")
        self.gate.end()
        for r in self.readers:
            r.hurry()
        for w in self.workers:
            w.join(PATIENCE)
            if w.is_alive():
                self.faults.add("broken", f"{type(w).__name__} does not end")

    def close(self):
        self.gate.end()
        for r in self.readers:
            r.hurry()
        return self.master.close()


# ------------------------------------------------------------------ the table

def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


def report(t, trouble, spent):
    f, ms = t.faults, lambda v: f"{quantile(v, 0.5) * 1e3:.0f} / {quantile(v, 0.99) * 1e3:.0f} / " \
        f"{max(v, default=float('nan')) * 1e3:.0f} ms"
    rows = [
        ("kills of the control plane", t.kills.count[CONTROL]),
        ("kills of the data plane", t.kills.count[DATA]),
        ("of these both within 0.3 s", 2 * len(t.recovery["both"])),
        ("API and state back, p50 / p99 / max", ms(t.recovery[CONTROL])),
        ("a listener back, p50 / p99 / max", ms(t.single_back)),
        ("all listeners back, p50 / p99 / max", ms(t.recovery[DATA])),
        ("the same when it fails again and again", ms(t.recovery["again"])),
        ("the same when both were killed", ms(t.recovery["both"])),
        ("listeners that are timed", len(t.watched)),
        ("comparisons", t.checks),
        ("answered changes", sum(w.acknowledged for w in t.writers)),
        ("bytes of checked sessions", sum(s.bytes for s in t.sessions)),
        ("sessions that their data plane's kill ended", sum(s.ended for s in t.sessions)),
        ("short visitors served", t.visitor.served),
        ("events read", sum(r.events for r in t.readers)),
        ("seconds", round(spent)),
    ]
    bad = [
        ("answered changes lost", f.count("lost")),
        ("requests without an answer, without a kill", f.count("unanswered")),
        ("changes refused", f.count("refused")),
        ("sessions and visitors cut", f.count("cut")),
        ("readers cut without a kill", f.count("reader")),
        ("ghosts", f.count("ghost")),
        ("duplicates", f.count("duplicate")),
        ("other keys", f.count("key")),
        (f"listeners later than {BACK_S:g} s and the pause", f.count("late")),
        ("other trouble", f.count("broken") + len(trouble)),
    ]
    wide = max(len(k) for k, _ in rows + bad)
    for k, v in rows + [("", "")] + bad:
        print(f"{k:{wide}}  {v}".rstrip())
    for kind, text in f.all[:40]:
        print(f"  {kind}: {text}")
    for text in trouble:
        print(f"  {text}")
    total = sum(v for _, v in bad)
    print(f"{total} violations")
    sys.stdout.flush()
    return total


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("kills", type=int, nargs="?", default=100)
    p.add_argument("--seed", type=int, default=None, help="of a run that is to be repeated; printed at the start")
    p.add_argument("--writers", type=int, default=4, help="clients that make, change and remove instances")
    p.add_argument("--listeners", type=int, default=100, help="instances more whose return is timed")
    p.add_argument("--keep", action="store_true", help="leave the folder with logs and store")
    p.add_argument("--quiet", action="store_true", help="only the table")
    o = p.parse_args()
    missing = np_harness.binary_missing()
    if missing:
        sys.exit(missing)
    seed = o.seed if o.seed is not None else random.SystemRandom().randrange(1 << 31)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = tempfile.mkdtemp(prefix="nodepass-crash-")
    print(f"seed {seed}; logs and store in {folder}", flush=True)
    net = f"127.{20 + os.getpid() % 200}.{1 + os.getpid() // 200 % 90}"
    bench = np_harness.Bench(folder, np_harness.Certs(os.path.join(folder, "certs")), net)
    started, trouble, test = time.monotonic(), [], None
    try:
        test = CrashTest(bench, seed, o.writers, o.listeners)
        test.run(o.kills, (lambda text: None) if o.quiet else lambda text: print(text, flush=True))
    finally:
        trouble = (test.close() if test else []) + bench.close()
    bad = report(test, trouble, time.monotonic() - started)
    if not bad and not o.keep:
        shutil.rmtree(folder)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
