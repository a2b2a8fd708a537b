"""Two network namespaces with an emulated link between them (tests/net/link.c), and a tunnel across it.

"near" has the server, "far" the client. A namespace is a descriptor: nothing is left behind when the test's
process ends, and nothing outside is touched. Needs the right to make namespaces and TUN devices (root);
where that is missing tests are skipped and say why. What is made under `with world.near:` (sockets,
processes) belongs there; threads that are started inside must make their sockets with world.near of their
own.
"""
import contextlib
import ctypes
import fcntl
import os
import select
import struct
import subprocess
import threading
import time

import pytest

from np_harness import ROOT
from np_net import SLACK, dial, served, wait_for

NEAR, FAR, OUTER = "10.99.1.1", "10.99.2.2", "10.99.3.3"  # OUTER: the far end as a NAT shows it
CLONE_NEWNET, TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x40000000, 0x400454CA, 1, 0x1000
_libc = ctypes.CDLL(None, use_errno=True)


def compile_c(name, folder, *options):
    """Builds tests/net/<name>.c once per folder; the path of what came out."""
    out = os.path.join(str(folder), name + (".so" if "-shared" in options else ""))
    if not os.path.exists(out):
        r = subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", *options,
                            "-o", out, os.path.join(ROOT, "tests", "net", name + ".c"), "-ldl", "-lpthread"],
                           capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
    return out


def _call(fn, *args):
    if fn(*args) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Net:
    """A network namespace of our own; `with net:` puts the calling thread into it."""

    def __init__(self):
        made = []

        def make():
            try:
                _call(_libc.unshare, CLONE_NEWNET)
                made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
            except OSError as e:
                made.append(e)
        t = threading.Thread(target=make)
        t.start()
        t.join()
        if isinstance(made[0], OSError):
            pytest.skip(f"no network namespaces here: {made[0].strerror} (they need root)")
        self.fd = made[0]
        self._before = threading.local()
        self.run("ip link set lo up")

    def __enter__(self):
        stack = self._before.__dict__.setdefault("stack", [])
        stack.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        _call(_libc.setns, self.fd, CLONE_NEWNET)
        return self

    def __exit__(self, *_):
        fd = self._before.stack.pop()
        _call(_libc.setns, fd, CLONE_NEWNET)
        os.close(fd)

    def run(self, *commands):
        with self:
            for c in commands:
                subprocess.run(c.split(), check=True, stdin=subprocess.DEVNULL, capture_output=True)

    def tun(self, address, peers):
        """A TUN device "link0"; its descriptor, non-blocking."""
        with self:
            try:
                fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"link0", IFF_TUN | IFF_NO_PI))
            except OSError as e:
                pytest.skip(f"no TUN devices here: {e.strerror}")
        self.run(f"ip addr add {address}/32 dev link0", "ip link set link0 up txqueuelen 4000",
                 *(f"ip route add {p} dev link0" for p in peers))
        return fd

    def close(self):
        os.close(self.fd)


class World:
    """near ── link ── far. set() changes the link and returns its counters when the change holds."""

    def __init__(self, folder, seed=1):
        self.near, self.far = Net(), Net()
        fds = [self.near.tun(NEAR, (FAR, OUTER)), self.far.tun(FAR, (NEAR,))]
        self._p = subprocess.Popen([compile_c("link", folder), *map(str, fds), str(seed)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, pass_fds=fds)
        for fd in fds:
            os.close(fd)

    def set(self, **kw):
        """delay, jitter, extra: ms; slow: who has the extra delay; loss, reorder: percent; cut: open|drop|reset;
        nat: address|off; idle: s; unknown"""
        scale = {"delay": 1000, "jitter": 1000, "extra": 1000, "loss": 10_000, "reorder": 10_000, "idle": 1000}
        for k, v in (kw or {"show": 0}).items():
            text = f"{k} {int(v * scale[k]) if k in scale else v}\n"
            self._p.stdin.write(text.encode())
            self._p.stdin.flush()
            assert select.select([self._p.stdout], [], [], 10 * SLACK)[0], f"the link does not answer {text!r}"
            line = self._p.stdout.readline().decode()
            assert "=" in line, f"{text!r}: {line!r}"
        return {k: int(v) for k, v in (w.split("=") for w in line.split())}

    def counters(self):
        return self.set()

    def close(self):
        self._p.stdin.close()
        try:
            self._p.wait(5)
        except subprocess.TimeoutExpired:
            self._p.kill()
            self._p.wait(5)
        self._p.stdout.close()
        self.near.close()
        self.far.close()

    # -- a tunnel

    def net_of(self, t, end):
        """Where the ingress or the egress of @t is."""
        return self.near if (t.flow == "reverse") == (end == "ingress") else self.far

    def link(self, bench, flow, tls, target=None, **kw):
        """A tunnel whose two ends are on the two sides of the link, and serve."""
        here = ("127.0.0.1", 9000)
        egress = self.far if flow == "reverse" else self.near
        with egress:
            target = target() if target else bench.farm(addr=here)
            udp = bench.udp_target(addr=here) if kw.pop("udp", None) else None
        t = bench.link(flow, tls, tunnel=(NEAR, 10101), visit=("127.0.0.1", 8000), target=target, udp=udp,
                       start=False, **kw)
        self.start(t, "server")
        self.start(t, "client")
        self.wait_served(t)
        return t

    def start(self, t, core):
        with self.near if core == "server" else self.far:
            t.start_server() if core == "server" else t.start_client()

    def served(self, t, timeout=2.0):
        with self.net_of(t, "ingress"):
            return served(t.visit, timeout)

    def wait_served(self, t, timeout=15.0):
        """Seconds until a visitor is served."""
        start = time.monotonic()
        wait_for("a visitor is served", lambda: self.served(t), timeout, 0.02)
        return time.monotonic() - start

    def dial(self, bench, t, **kw):
        """A visitor that is closed with the test."""
        with self.net_of(t, "ingress"):
            return bench.keep(dial(t.visit, **kw))

    def visitors(self, t, n, fn, workers=None):
        """fn(socket, i) for @n visitors, @workers at once; the list of what came back, exceptions as values."""
        from np_net import parallel

        def one(i):
            with self.net_of(t, "ingress"):
                s = dial(t.visit, 60)
            with contextlib.closing(s):
                return fn(s, i)
        return parallel(n, one, workers)


def outcome(text):
    """What a fault led to, for who runs the tests with -rP."""
    print("outcome: " + text)
