"""Sockets of the suite: kernel tables, visitors, scripted targets. Knows nothing of NodePass.

Every object starts its own threads and ends them in close(). All traffic stays on 127.0.0.0/8 and ::1.
"""
import contextlib
import hashlib
import itertools
import os
import select
import socket
import struct
import threading
import time

SLACK = float(os.environ.get("NP_TEST_SLACK", "1"))  # multiplies every deadline on slow machines


def poll(probe, seconds, step=0.01):
    """Until probe() is true, or the time is over; its last value."""
    end = time.monotonic() + seconds
    while not (value := probe()) and time.monotonic() <= end:
        time.sleep(step)
    return value


def wait_for(what, probe, timeout=10.0, step=0.01):
    """Polls until probe() is true and returns its value; fails with @what at the deadline."""
    value = poll(probe, timeout * SLACK, step)
    if not value:
        raise AssertionError(f"not within {timeout * SLACK:g} s: {what() if callable(what) else what}")
    return value


# ------------------------------------------------------------------ addresses and the kernel's tables

def text_of(addr):
    return f"[{addr[0]}]:{addr[1]}" if ":" in addr[0] else f"{addr[0]}:{addr[1]}"


def family_of(addr):
    return socket.AF_INET6 if ":" in addr[0] else socket.AF_INET


_ports = itertools.count(os.getpid() * 97)


def free_port(host):
    """A port of @host, below the ephemeral range, that nothing holds for TCP or UDP."""
    for n in _ports:
        port = 12000 + n % 20000
        fam = family_of((host, 0))
        with socket.socket(fam, socket.SOCK_STREAM) as s, socket.socket(fam, socket.SOCK_DGRAM) as d:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((host, port))
                d.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable")


def _proc_addr(word):
    host, port = word.split(":")
    raw = bytes.fromhex(host)
    raw = b"".join(raw[i:i + 4][::-1] for i in range(0, len(raw), 4))
    if len(raw) == 16 and raw[:12] == bytes(10) + b"\xff\xff":
        raw = raw[12:]
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw), int(port, 16)


def socket_table(proto="tcp", listeners=False):
    """Yields (local, remote, state) of the sockets of this network namespace; state is a number.

    @listeners: only those; the kernel lists them first, and walking all others costs it milliseconds.
    """
    for name in (proto, proto + "6"):
        with contextlib.suppress(OSError), open(f"/proc/net/{name}") as f:
            next(f)
            for line in f:
                words = line.split(None, 4)
                state = int(words[3], 16)
                if listeners and state != 0x0A:
                    break
                yield words[1], words[2], state


def is_listening(addr, proto="tcp"):
    wanted = 0x0A if proto == "tcp" else 0x07
    suffix = f":{addr[1]:04X}"
    hosts = {addr[0], "::"} | ({"0.0.0.0"} if ":" not in addr[0] else set())
    return any(state == wanted and local.endswith(suffix) and _proc_addr(local)[0] in hosts
               for local, _, state in socket_table(proto, proto == "tcp"))


def established(addr):
    """Remote ends of the established connections whose local end is @addr."""
    suffix = f":{addr[1]:04X}"
    out = []
    for local, remote, state in socket_table():
        if state == 0x01 and local.endswith(suffix) and _proc_addr(local) == (addr[0], addr[1]):
            out.append(_proc_addr(remote))
    return out


# ------------------------------------------------------------------ bytes

def token(seed, n):
    """@n bytes that are a function of @seed (anything printable) and of nothing else."""
    return hashlib.shake_128(str(seed).encode()).digest(n) if n else b""


def digest(data):
    return hashlib.sha256(data).hexdigest()


# ------------------------------------------------------------------ visitors

def dial(addr, timeout=10.0, source=None, rcvbuf=None):
    s = socket.socket(family_of(addr), socket.SOCK_STREAM)
    try:
        s.settimeout(timeout * SLACK)
        if rcvbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if source:
            s.bind((source, 0))
        s.connect(addr[:2])
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        s.close()
        raise
    return s


def read_n(s, n):
    parts, left = [], n
    while left:
        data = s.recv(min(left, 1 << 18))
        if not data:
            raise EOFError(f"end of stream after {n - left} of {n} bytes")
        parts.append(data)
        left -= len(data)
    return b"".join(parts)


def read_eof(s):
    parts = []
    while True:
        data = s.recv(1 << 18)
        if not data:
            return b"".join(parts)
        parts.append(data)


def send_later(s, data):
    """Sends in a thread of its own; join() it. Errors end the sending quietly: the reader finds out."""
    def run():
        with contextlib.suppress(OSError):
            s.sendall(data)
    t = threading.Thread(target=run, daemon=True)
    t.start()
    return t


def abort(s):
    """Closes with a reset."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def how_it_ends(s, timeout=5.0):
    """Reads to the end: "eof", "reset", or None when neither comes within @timeout."""
    s.settimeout(timeout * SLACK)
    try:
        while s.recv(1 << 16):
            pass
        return "eof"
    except TimeoutError:
        return None
    except OSError:
        return "reset"


def ask(addr, data=None, timeout=10.0, source=None):
    """One session against an echoing target; True when exactly what was sent comes back."""
    data = data if data is not None else os.urandom(24)
    with dial(addr, timeout, source) as s:
        s.sendall(data)
        return read_n(s, len(data)) == data


def served(addr, timeout=1.0, source=None):
    """ask() for probing: failures are False."""
    try:
        return ask(addr, None, timeout, source)
    except (OSError, EOFError):
        return False


SO_SNDBUFFORCE, SO_RCVBUFFORCE, SOL_UDP, UDP_SEGMENT, UDP_GRO = 32, 33, 17, 103, 104


def large_buffers(s):
    """4 MiB each way; without CAP_NET_ADMIN what the system's limit leaves of it."""
    for force, option in ((SO_SNDBUFFORCE, socket.SO_SNDBUF), (SO_RCVBUFFORCE, socket.SO_RCVBUF)):
        try:
            s.setsockopt(socket.SOL_SOCKET, force, 4 << 20)
        except PermissionError:
            s.setsockopt(socket.SOL_SOCKET, option, 4 << 20)


def dgram(addr=None, timeout=2.0, source=None):
    s = socket.socket(family_of(addr or ("", 0)), socket.SOCK_DGRAM)
    large_buffers(s)
    s.settimeout(timeout * SLACK)
    if source:
        s.bind((source, 0) if isinstance(source, str) else source)
    if addr:
        s.connect(addr[:2])
    return s


def ask_dgram(addr, data=None, timeout=1.0, tries=3, source=None):
    """True when the datagram comes back within @tries (UDP may lose); what else comes is not accepted."""
    data = data if data is not None else os.urandom(24)
    with dgram(addr, timeout, source) as s:
        for _ in range(tries):
            try:
                s.send(data)
                return s.recv(1 << 16) == data
            except (TimeoutError, ConnectionRefusedError):
                continue
    return False


def parallel(n, fn, workers=None):
    """fn(0) … fn(n-1), each in a thread (at most @workers at once); exceptions become values."""
    results, numbers, lock = [None] * n, iter(range(n)), threading.Lock()

    def run():
        while True:
            with lock:
                i = next(numbers, None)
            if i is None:
                return
            try:
                results[i] = fn(i)
            except Exception as e:  # a value for the caller to look at
                results[i] = e
    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(n, workers or n))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


# ------------------------------------------------------------------ targets

def echo(s):
    while True:
        data = s.recv(1 << 16)
        if not data:
            return
        s.sendall(data)


class TcpTarget:
    """A listener; each connection runs @script(sock) in a thread. The script may be replaced any time.

    results: what scripts returned (None is left out); errors: what they raised; peers: who connected.
    """

    def __init__(self, addr, script=echo):
        self.addr, self.script = addr, script
        self.results, self.errors, self.peers = [], [], []
        self._socks = set()
        self.up()

    def up(self):
        self._ls = socket.socket(family_of(self.addr), socket.SOCK_STREAM)
        self._ls.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._ls.bind(self.addr[:2])
        self._ls.listen(1024)
        self._thread = threading.Thread(target=self._accept, args=(self._ls,), daemon=True)
        self._thread.start()

    def down(self):
        """Stops listening; connections go on."""
        with contextlib.suppress(OSError):
            self._ls.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._ls.close()

    def drop(self):
        for s in list(self._socks):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.down()
        self.drop()

    def _accept(self, ls):
        while True:
            try:
                s, peer = ls.accept()
            except OSError:
                return
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.settimeout(60 * SLACK)
            self.peers.append(peer)
            self._socks.add(s)
            threading.Thread(target=self._run, args=(s, self.script), daemon=True).start()

    def _run(self, s, script):
        try:
            result = script(s)
            if result is not None:
                self.results.append(result)
        except Exception as e:  # the test judges
            self.errors.append(e)
        finally:
            self._socks.discard(s)
            with contextlib.suppress(OSError):
                s.close()


class EchoFarm:
    """An echoing listener on one epoll thread, for thousands of sessions. busy: sessions that brought a byte."""

    def __init__(self, addr):
        self.addr, self.accepted, self.busy, self.sources = addr, 0, 0, set()
        self._ls = socket.socket(family_of(addr), socket.SOCK_STREAM)
        self._ls.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._ls.bind(addr[:2])
        self._ls.listen(4096)
        self._ls.setblocking(False)
        self._wake = socket.socketpair()
        self._conns = {}  # fd -> [sock, out, eof, used]
        self._ep = select.epoll()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    @property
    def open(self):
        return len(self._conns)

    def _loop(self):
        ep, ls, wake = self._ep, self._ls, self._wake[0]
        ep.register(ls, select.EPOLLIN)
        ep.register(wake, select.EPOLLIN)
        while True:
            for fd, ev in ep.poll():
                if fd == wake.fileno():
                    return
                if fd == ls.fileno():
                    self._accept()
                elif fd in self._conns:
                    self._serve(fd, ev)

    def _accept(self):
        with contextlib.suppress(BlockingIOError):
            for _ in range(256):
                s, peer = self._ls.accept()
                s.setblocking(False)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.accepted += 1
                self.sources.add(peer[0])
                self._conns[s.fileno()] = [s, b"", False, False]
                self._ep.register(s, select.EPOLLIN)

    def _end(self, fd):
        self._conns.pop(fd)[0].close()

    def _serve(self, fd, ev):
        c = self._conns[fd]
        try:
            if ev & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and not c[1]:
                data = c[0].recv(1 << 16)
                if data:
                    self.busy += not c[3]
                    c[3] = True
                    c[1] = data
                else:
                    c[2] = True
            if c[1]:
                with contextlib.suppress(BlockingIOError):
                    c[1] = c[1][c[0].send(c[1]):]
            if c[2] and not c[1]:
                return self._end(fd)
            self._ep.modify(fd, select.EPOLLOUT if c[1] else select.EPOLLIN)
        except BlockingIOError:
            pass
        except OSError:
            self._end(fd)

    def close(self):
        self._wake[1].send(b"x")
        self._thread.join(5)
        for fd in list(self._conns):
            self._end(fd)
        for s in (self._ls, *self._wake, self._ep):
            s.close()


class UdpTarget:
    """Answers each datagram with those that @script(data, peer) returns; got: (data, peer) in order."""

    def __init__(self, addr, script=None):
        self.addr, self.got = addr, []
        self.script = script or (lambda data, peer: (data,))
        self._s = socket.socket(family_of(addr), socket.SOCK_DGRAM)
        large_buffers(self._s)
        self._s.bind(addr[:2])
        self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _loop(self):
        while True:
            if self._stop[0] in select.select([self._s, self._stop[0]], [], [])[0]:
                return
            with contextlib.suppress(OSError):
                data, peer = self._s.recvfrom(1 << 16)
                self.got.append((data, peer))
                for answer in self.script(data, peer) or ():
                    self._s.sendto(answer, peer)

    def sources(self, data):
        """Addresses that datagrams equal to @data came from."""
        return {peer for d, peer in list(self.got) if d == data}

    def close(self):
        self._stop[1].send(b"x")
        self._thread.join(5)
        for s in (self._s, *self._stop):
            s.close()


class MuteTarget:
    """A listener whose backlog is full: connects to it hang."""

    def __init__(self, addr):
        self.addr = addr
        self._ls = socket.socket(family_of(addr), socket.SOCK_STREAM)
        self._ls.bind(addr[:2])
        self._ls.listen(0)
        self._fill = []
        for _ in range(3):
            s = socket.socket(family_of(addr), socket.SOCK_STREAM)
            s.setblocking(False)
            s.connect_ex(addr[:2])
            self._fill.append(s)

    def close(self):
        for s in (self._ls, *self._fill):
            s.close()
