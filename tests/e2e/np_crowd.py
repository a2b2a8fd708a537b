"""Thousands of readers of the event stream on one thread, each of which is judged.

A reader knows which creates and deletes it has seen; it may also stand still (never read). Owns its sockets.
"""
import contextlib
import re
import select
import socket
import threading
import time

from np_net import SLACK, abort, text_of, wait_for

_CHUNK = re.compile(rb"\r\n[0-9a-f]+\r\n")
_LIFE = re.compile(rb'"type":"(create|delete|shutdown)","time":"[^"]*","instance":(?:null|\{"id":"([0-9a-f]{8})")')
_FIRST = re.compile(rb'"type":"initial"')


class Listener:
    """One reader. life: (kind, id) in order; end: None, "clean" (last chunk, then EOF), "cut" or "reset"."""

    def __init__(self, master, rcvbuf=None):
        self.s = socket.socket()
        if rcvbuf:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.s.settimeout(20 * SLACK)
        self.s.connect(master.addr)
        self.s.sendall(f"GET {master.api}/events HTTP/1.1\r\nHost: {text_of(master.addr)}\r\n"
                       f"X-API-Key: {master.key}\r\n\r\n".encode())
        self.s.setblocking(False)
        self.rest, self.life, self.initial, self.bytes, self.end, self.head = b"", [], 0, 0, None, b""

    def take(self):
        """Reads what is there; False at the end."""
        try:
            data = self.s.recv(1 << 18)
        except BlockingIOError:
            return True
        except OSError:
            self.end = "reset"
            return False
        if not data:
            self.end = "clean" if self.rest.endswith(b"0\r\n\r\n") else "cut"
            return False
        self.bytes += len(data)
        if not self.head:
            self.head = data[:15]
        self.rest += data
        cut = self.rest.rfind(b"\n\n") + 2
        if cut > 1:
            # A block may be spread over chunks; JSON has no line ends inside.
            whole, self.rest = _CHUNK.sub(b"", self.rest[:cut]), self.rest[cut:]
            self.initial += len(_FIRST.findall(whole))
            self.life += [(k.decode(), i.decode()) for k, i in _LIFE.findall(whole)]
        return True


class Crowd:
    """Many listeners that read."""

    def __init__(self, master):
        self.master, self.all, self.gone, self._by_fd = master, [], [], {}
        self._ep, self._lock, self._end = select.epoll(), threading.Lock(), False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self, n):
        made = []
        for _ in range(n):
            x = Listener(self.master)
            made.append(x)
            with self._lock:
                self._by_fd[x.s.fileno()] = x
                self.all.append(x)
            self._ep.register(x.s, select.EPOLLIN)
        return made

    def leave(self, listeners, reset=False):
        for x in listeners:
            with self._lock:
                self._by_fd.pop(x.s.fileno(), None)
                self.all.remove(x)
            with contextlib.suppress(OSError):
                self._ep.unregister(x.s)
            if reset:
                abort(x.s)
            else:
                x.s.close()

    def wait(self, what, accept, timeout=30):
        def text():
            bad = [x for x in list(self.all) if not accept(x)]
            return f"{what}: {len(bad)} of {len(self.all)} not: " + str(
                [(x.head, x.initial, x.life[-2:], x.end) for x in bad[:3]])
        wait_for(text, lambda: all(accept(x) for x in list(self.all)), timeout, step=0.05)

    def _run(self):
        while not self._end:
            for fd, _ in self._ep.poll(0.2, 256):
                with self._lock:
                    x = self._by_fd.get(fd)
                if x and not x.take():
                    with contextlib.suppress(OSError):
                        self._ep.unregister(fd)

    def close(self):
        self._end = True
        self._thread.join(10)
        for x in self.all:
            x.s.close()
        self._ep.close()


class Churn(threading.Thread):
    """Readers that come and go, until stop()."""

    def __init__(self, crowd, at_once=20):
        super().__init__(daemon=True)
        self._crowd, self._n, self._end, self.came, self.trouble = crowd, at_once, False, 0, None
        self.start()

    def run(self):
        try:
            while not self._end:
                made = self._crowd_of_passers()
                self.came += len(made)
                for i, s in enumerate(made):
                    abort(s) if i % 2 else s.close()
        except OSError as e:
            self.trouble = e

    def _crowd_of_passers(self):
        made = []
        for i in range(self._n):
            x = Listener(self._crowd.master)
            x.s.settimeout(20 * SLACK)
            if i % 3:
                x.s.recv(1000 * (i + 1))  # some stay for a moment
            made.append(x.s)
        time.sleep(0.02)  # how long they stay
        return made

    def stop(self):
        self._end = True
        self.join(30 * SLACK)
        assert not self.trouble, self.trouble
