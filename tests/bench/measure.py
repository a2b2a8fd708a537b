"""What is measured and with what: processes of one run, their CPU time and memory, the load's figures.

Owns every process it starts and ends it by its pid, what it forked, too. CPU time of a way is that of all its
processes, running and reaped; memory is RSS, or PSS where a program has forked, so that shared pages count once.
"""
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import socket
import statistics
import subprocess
import time

STOP_S = 5          # SIGTERM to SIGKILL
NOFILE = 65536
PR_SET_PDEATHSIG = 1
TICKS = os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """What could not be measured, in one line."""


# ------------------------------------------------------------------ arithmetic

def ratio(value, of):
    """value / of; None when one of them is missing or there is nothing to divide by."""
    return None if value is None or not of else value / of


def spread(values):
    """How far the rounds lie apart: (largest - smallest) / median; 0 for one round."""
    middle = statistics.median(values) if values else 0
    return (max(values) - min(values)) / middle if middle else 0.0


def aggregate(values, how):
    """One figure from the rounds. how: high and low are the best round; median, sum, max."""
    values = [v for v in values if v is not None]
    if not values:
        return None
    return {"high": max, "low": min, "median": statistics.median, "sum": sum, "max": max}[how](values)


# ------------------------------------------------------------------ /proc

def stat_fields(text):
    """The fields of /proc/<pid>/stat behind the name, which may hold blanks and brackets; [0] is the state."""
    return text[text.rindex(")") + 2:].split()


def _stat(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return stat_fields(f.read())
    except (FileNotFoundError, ProcessLookupError):
        return None


def tree(roots):
    """The processes and all that descend from them."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(name)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
    found, rest = [], list(roots)
    while rest:
        pid = rest.pop()
        found.append(pid)
        rest += children.get(pid, [])
    return found


def cpu_ns(roots):
    """CPU time of the tree, nanoseconds. Children that were waited for are counted in whole ticks."""
    total = 0
    for pid in tree(roots):
        fields = _stat(pid)
        if not fields:
            continue
        try:  # the process's CPU clock: clock ids of processes are part of the kernel's interface
            total += time.clock_gettime_ns((~pid << 3) | 2)
        except OSError:
            total += (int(fields[11]) + int(fields[12])) * 10**9 // TICKS
        total += (int(fields[13]) + int(fields[14])) * 10**9 // TICKS
    return total


def memory_value(text, name):
    """A value in KB of /proc/<pid>/status or smaps_rollup."""
    for line in text.splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0


def _memory(pid, file, name):
    try:
        with open(f"/proc/{pid}/{file}", encoding="utf-8") as f:
            return memory_value(f.read(), name)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def memory_kb(roots):
    """Resident memory of the tree; see the head of the module."""
    total = 0
    for root in roots:
        pids = tree([root])
        if len(pids) == 1:
            total += _memory(root, "status", "VmRSS")
        else:
            total += sum(_memory(pid, "smaps_rollup", "Pss") for pid in pids)
    return total


def settled_memory_kb(roots, patience_s=2.0):
    """The memory when it has not changed for 100 ms, or after the patience."""
    end, last, since = time.monotonic() + patience_s, None, time.monotonic()
    while time.monotonic() < end:
        now = memory_kb(roots)
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > 0.1:
            break
        time.sleep(0.02)
    return last


# ------------------------------------------------------------------ processes

def raise_nofile():
    """As many descriptors as thousands of sessions of a relay need, or what is allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, NOFILE), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return
        except (ValueError, OSError):
            continue


def _end_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Ports:
    """Ports of 127.0.0.1 that are free for TCP and UDP, below those that the kernel gives out itself."""

    def __init__(self, first=10240, last=32000):
        self.next, self.first, self.last = first, first, last

    def take(self):
        for _ in range(self.last - self.first):
            port = self.next
            self.next = self.next + 1 if self.next < self.last else self.first
            with socket.socket() as t, socket.socket(type=socket.SOCK_DGRAM) as u:
                try:
                    t.bind(("127.0.0.1", port))
                    u.bind(("127.0.0.1", port))
                    return port
                except OSError:
                    continue
        raise Failed("no free port")


class Stage:
    """The processes of one measurement; leaving it ends them."""

    def __init__(self, folder):
        self.folder, self.running, self.temporary = folder, [], []
        os.makedirs(folder, exist_ok=True)

    def start(self, argv, env=None, name=None, **kw):
        """Starts a program with its log in the folder."""
        log = os.path.join(self.folder, (name or os.path.basename(argv[0])) + ".log")
        kw.setdefault("stdin", subprocess.DEVNULL)
        with open(log, "ab") as out:
            kw.setdefault("stdout", out)
            # The child's only own step is a system call; no lock is taken between fork and exec.
            p = subprocess.Popen(argv, stderr=out, env={**os.environ, **(env or {})}, cwd=self.folder,
                                 preexec_fn=_end_with_parent, **kw)
        p.log = log
        self.running.append(p)
        return p

    def stop(self):
        pids = tree(p.pid for p in self.running if p.poll() is None)
        for p in self.running:
            if p.poll() is None:
                p.terminate()
        for p in self.running:
            try:
                p.wait(STOP_S)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        for pid in pids:  # children that outlived their parent
            fields = _stat(pid)
            if fields and fields[0] != "Z" and int(fields[1]) in (1, os.getpid()):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        for folder in self.temporary:
            shutil.rmtree(folder, ignore_errors=True)
        self.running, self.temporary = [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def last_words(proc):
    """The end of a log, for the message of a failure."""
    with open(proc.log, encoding="utf-8", errors="replace") as f:
        lines = [line.strip() for line in f.read().splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no output"


def until_listening(port, seconds=10):
    """Waits until something listens on the TCP port."""
    want = f"0100007F:{port:04X}", f"00000000:{port:04X}"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name in ("tcp", "tcp6"):
            try:
                with open(f"/proc/net/{name}", encoding="ascii") as f:
                    for line in f:
                        field = line.split()
                        if field[3] == "0A" and (field[1] in want or field[1].endswith(f":{port:04X}")):
                            return
            except FileNotFoundError:
                continue
        time.sleep(0.001)
    raise Failed(f"nothing listens on port {port}")


# ------------------------------------------------------------------ load

class Load:
    """np-load; each call is one measurement. Numbers of its JSON line come back as a dictionary."""

    def __init__(self, program):
        self.program = program

    def begin(self, command, port, *args):
        """Starts a measurement; end() takes its figures."""
        argv = [self.program, command, f"127.0.0.1:{port}", *map(str, args)]
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, preexec_fn=_end_with_parent)

    def end(self, p, timeout, on_event=lambda: None):
        """The figures. on_event() is called for each line that says that something began or is over."""
        command, until, out, events = p.args[1], time.monotonic() + timeout, b"", 0
        try:
            while select.select([p.stdout], [], [], max(0, until - time.monotonic()))[0]:
                # Not through the file object: what it has read ahead select() does not know.
                chunk = os.read(p.stdout.fileno(), 65536)
                out += chunk
                while events < out.count(b'{"event"'):
                    events += 1
                    on_event()
                if not chunk:
                    p.wait(STOP_S)
                    break
            else:
                raise Failed(f"np-load {command} did not end within {timeout} s")
        except subprocess.TimeoutExpired:
            raise Failed(f"np-load {command} did not end") from None
        finally:
            if p.poll() is None:
                p.kill()
            error = p.communicate()[1]
        lines = out.decode().splitlines()
        if p.returncode != 0 or not lines:
            raise Failed(f"np-load {command}: {(error or 'nothing came through').strip()[:200]}")
        return json.loads(lines[-1])

    def run(self, command, port, *args, timeout=60):
        return self.end(self.begin(command, port, *args), timeout)

    def measured(self, pids, command, port, *args, timeout=60):
        """(figures, CPU nanoseconds of the processes) of what counts: the warming up is left out of both."""
        used = []
        figures = self.end(self.begin(command, port, *args), timeout, lambda: used.append(cpu_ns(pids)))
        if len(used) != 2:
            raise Failed(f"np-load {command} did not say when it was warm and when it was over")
        return figures, used[1] - used[0]

    def first(self, port, seconds=15):
        return self.run("first", port, "-t", seconds, timeout=seconds + 5)

    def hold(self, port, sessions, held):
        """Opens sessions, calls held() while they idle; returns what it returned and the figures."""
        p = subprocess.Popen([self.program, "hold", f"127.0.0.1:{port}", "-n", str(sessions), "-c", "64"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             preexec_fn=_end_with_parent)
        try:
            ready, _, _ = select.select([p.stdout], [], [], 60)
            line = p.stdout.readline() if ready else ""
            if not line:
                raise Failed(f"{sessions} sessions were not opened")
            value = held()
            out, _ = p.communicate("\n", timeout=60)
        except subprocess.TimeoutExpired:
            raise Failed("held sessions did not answer") from None
        finally:
            if p.poll() is None:
                p.kill()
                p.wait()
        if not out.strip():
            raise Failed(f"{sessions} sessions were not held")
        figures = json.loads(out.splitlines()[-1])
        if figures["alive"] < sessions:
            raise Failed(f"only {figures['alive']} of {sessions} sessions were alive")
        return value, figures
