"""A data plane without a URL, and clients of its control sockets.

The SP protocol over a unix socket is spoken by hand (8 bytes of greeting, then length-prefixed messages),
so that a client can also misbehave. Owns the processes it starts.
"""
import base64
import contextlib
import json
import os
import queue
import select
import signal
import socket
import struct
import subprocess
import threading
import time

import np_harness
from np_net import SLACK

DATAPLANE = os.path.join(np_harness.BIN, "nodepass-dataplane")
REQ, REP, PUB, SUB = 0x30, 0x31, 0x20, 0x21


class Sp:
    """One connection of the SP protocol."""

    def __init__(self, path, mine, peer, timeout=5):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(timeout * SLACK)
        self.s.connect(path)
        self.s.sendall(b"\0SP\0" + struct.pack(">HH", mine, 0))
        assert self._read(8) == b"\0SP\0" + struct.pack(">HH", peer, 0)

    def _read(self, n):
        data = b""
        while len(data) < n:
            more = self.s.recv(n - len(data))
            if not more:
                raise ConnectionError("closed")
            data += more
        return data

    def send(self, body):
        self.s.sendall(b"\1" + struct.pack(">Q", len(body)) + body)

    def recv(self):
        kind, n = struct.unpack(">BQ", self._read(9))
        assert kind == 1
        return self._read(n)

    def close(self):
        self.s.close()


class Client(Sp):
    """Asks ctl.sock in JSON."""

    def __init__(self, path, **kw):
        super().__init__(path, REQ, REP, **kw)
        self.number = 0

    def post(self, body):
        self.number += 1
        self.send(struct.pack(">I", 0x80000000 | self.number) + body)

    def take(self):
        data = self.recv()
        assert struct.unpack(">I", data[:4])[0] == 0x80000000 | self.number
        return data[4:]

    def ask_raw(self, body):
        self.post(body)
        return self.take()

    def ask(self, **request):
        reply = self.ask_raw(json.dumps(request).encode())
        assert reply.endswith(b"\n")
        return json.loads(reply)


class Events(threading.Thread):
    """All that comes from events.json.sock, in order."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.sp = Sp(path, SUB, PUB)
        self.sp.s.settimeout(None)
        self.all, self.queue = [], queue.Queue()
        self.start()

    def run(self):
        with contextlib.suppress(OSError, ConnectionError):
            while True:
                e = json.loads(self.sp.recv())
                self.all.append(e)
                self.queue.put(e)

    def wait(self, what, accept, timeout=8):
        """The next event that @accept likes; what comes before it is passed over."""
        until = time.monotonic() + timeout * SLACK
        while True:
            try:
                e = self.queue.get(timeout=max(0, until - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no event: {what}; the last were {self.all[-5:]}") from None
            if accept(e):
                return e

    def wait_state(self, ident, state, timeout=8):
        """The status of @ident when it comes to be @state."""
        def find(e):
            return [c for c in e.get("changes", {}).get("changes", ())
                    if c["id"] == ident and c.get("state") == state]
        return find(self.wait(f"{ident} is {state}", find, timeout))[0]

    def close(self):
        with contextlib.suppress(OSError):
            self.sp.s.shutdown(socket.SHUT_RDWR)
        self.sp.close()
        self.join(5)


class DataPlane:
    """One nodepass-dataplane in a run directory."""

    def __init__(self, folder, env=(), stdout=None, program=DATAPLANE):
        self.dir = str(folder)
        self.log_path = self.dir + ".log"
        self.env = {**os.environ, "NP_REPORT_INTERVAL": "200ms", "NP_SHUTDOWN_TIMEOUT": "2s",
                    "NP_WORKERS": "2", "NO_COLOR": "1", **dict(env)}
        self.env.pop("NP_RUN_DIR", None)
        self._open = []
        r, w = os.pipe()
        out = stdout if stdout is not None else open(self.log_path, "ab")
        self.p = subprocess.Popen([program, f"--run-dir={self.dir}", f"--ready-fd={w}"],
                                  stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                  env=self.env, pass_fds=(w,))
        os.close(w)
        if stdout is None:
            out.close()
        self.pid = self.p.pid
        ready, _, _ = select.select([r], [], [], 10 * SLACK)
        self.ready = os.read(r, 10) if ready else b""
        os.close(r)

    def path(self, name):
        return os.path.join(self.dir, name)

    def url(self, name):
        return "ipc://" + self.path(name)

    def client(self, **kw):
        self._open.append(Client(self.path("ctl.sock"), **kw))
        return self._open[-1]

    def events(self):
        self._open.append(Events(self.path("events.json.sock")))
        return self._open[-1]

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def alive(self):
        return self.p.poll() is None

    def wait_exit(self, status=0, timeout=8):
        got = self.p.wait(timeout * SLACK)
        assert got == status, f"exit status {got}:\n{self.log()[-2000:]}"

    def terminate(self):
        self.p.send_signal(signal.SIGTERM)
        self.wait_exit()

    def close(self):
        """Ends it as its owner would: a sanitizer's last word and the lines that were reached are said at exit. Who is
        connected stays to the end: of a listener that leaves just when an event is sent nng 1.5 loses the event's memory."""
        try:
            if self.alive():
                self.terminate()
        finally:
            if self.alive():
                self.p.kill()
                self.p.wait(10)
            for x in self._open:
                x.close()


def apply(c, ident, url, desired="DESIRED_RUNNING", **more):
    return c.ask(apply={"spec": {"id": ident, "url": url, "desired": desired}}, **more)


def nonce():
    return base64.b16encode(os.urandom(8)).decode().lower()
