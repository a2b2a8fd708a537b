"""A TCP proxy between the two ends of a tunnel that counts, records, delays, stalls and cuts.

One thread with epoll per proxy. Knows the name of the control channel's ALPN, to tell the control connection
from the channels, and nothing else of the protocol.
"""
import collections
import contextlib
import select
import socket
import threading
import time

from np_net import abort, family_of

_EOF = None


class _Way:
    """One direction of a link: bytes from @src wait in @queue until they are due for @dst."""

    def __init__(self, src, dst):
        self.src, self.dst = src, dst
        self.queue, self.queued, self.total = collections.deque(), 0, 0
        self.head = bytearray()  # first bytes, for a look at them
        self.eof = self.shut = False


class ProxyLink:
    def __init__(self, number, near, far):
        self.number, self.near, self.far = number, near, far  # near: the dialling side
        self.up, self.down = _Way(near, far), _Way(far, near)
        self.open, self.held = True, False
        self.ended_by = None  # "near" | "far" | "test"

    @property
    def is_control(self):
        return b"nodepass-control/2" in self.up.head


class FaultProxy:
    """Between client and server: counts, records, delays, stalls, cuts.

    hold_new: new connections are accepted, but nothing is forwarded; refuse_new: they are reset.
    """
    RECORD = 1 << 16
    QUEUE = 1 << 20

    def __init__(self, addr, upstream, delay_s=0.0):
        self.addr, self.upstream, self.delay_s = addr, upstream, delay_s
        self.links, self.hold_new, self.refuse_new = [], False, False
        self._stalled = False
        self._by_fd, self._busy = {}, set()
        self._commands = collections.deque()
        self._wake = socket.socketpair()
        self._ls = socket.socket(family_of(addr), socket.SOCK_STREAM)
        self._ls.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._ls.bind(addr[:2])
        self._ls.listen(1024)
        self._ls.setblocking(False)
        self._ep = select.epoll()
        self._ep.register(self._ls, select.EPOLLIN)
        self._ep.register(self._wake[0], select.EPOLLIN)
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    # -- what tests call

    @property
    def accepted(self):
        return len(self.links)

    def live(self):
        return [x for x in list(self.links) if x.open]

    def control(self):
        """The newest live control connection, or None."""
        return next((x for x in reversed(self.live()) if x.is_control), None)

    def channels(self):
        return [x for x in self.live() if not x.is_control]

    def cut(self, links):
        for x in filter(None, links):
            self._do(lambda x=x: self._end(x, "test"))

    def stall(self):
        """Nothing is forwarded any more; what comes is still read, so that ends are seen."""
        self._do(lambda: setattr(self, "_stalled", True))

    def resume(self):
        self._do(lambda: setattr(self, "_stalled", False))

    def release(self):
        """Ends hold_new and lets the held links run."""
        def run():
            self.hold_new = False
            for x in self.links:
                x.held = False
        self._do(run)

    def close(self):
        self._do(None)
        self._thread.join(5)
        for x in self.live():
            self._end(x, "test")
        for s in (self._ls, *self._wake, self._ep):
            s.close()

    # -- its thread

    def _do(self, fn):
        done = threading.Event()
        self._commands.append((fn, done))
        self._wake[1].send(b"x")
        assert done.wait(10), "the proxy's thread has ended"

    def _loop(self):
        while True:
            for fd, ev in self._ep.poll(self._timeout()):
                if fd == self._wake[0].fileno():
                    self._wake[0].recv(4096)
                    while self._commands:
                        fn, done = self._commands.popleft()
                        if fn:
                            fn()
                        done.set()
                        if not fn:
                            return
                elif fd == self._ls.fileno():
                    self._accept()
                elif fd in self._by_fd:
                    self._event(*self._by_fd[fd], ev)
            if not self._stalled:
                now = time.monotonic()
                for item in list(self._busy):
                    self._flush(*item, now)

    def _timeout(self):
        if self._stalled or not self._busy:
            return -1
        now = time.monotonic()
        dues = [w.queue[0][0] for x, w in self._busy if w.queue and not x.held and w.dst not in self._full]
        return max(0.0, min(dues) - now) if dues else -1

    _full = frozenset()

    def _accept(self):
        try:
            near, _ = self._ls.accept()
        except OSError:
            return
        far = socket.socket(family_of(self.upstream), socket.SOCK_STREAM)
        try:
            if self.refuse_new:
                raise ConnectionRefusedError
            far.connect(self.upstream[:2])
        except OSError:
            far.close()
            abort(near)
            return
        link = ProxyLink(len(self.links), near, far)
        link.held = self.hold_new
        for s in (near, far):
            s.setblocking(False)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._by_fd[near.fileno()] = (link, link.up, link.down)
        self._by_fd[far.fileno()] = (link, link.down, link.up)
        self.links.append(link)
        for s in (near, far):
            self._ep.register(s, select.EPOLLIN)

    def _interest(self, link, way, back):
        """@way reads from the socket, @back writes to it."""
        mask = select.EPOLLIN if not way.eof and way.queued < self.QUEUE else 0
        if back.dst in self._full:
            mask |= select.EPOLLOUT
        self._ep.modify(way.src, mask)

    def _event(self, link, way, back, ev):
        if ev & select.EPOLLOUT:
            self._full = self._full - {way.src}
            self._interest(link, way, back)
        if not ev & (select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP) or not link.open:
            return
        try:
            data = way.src.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            return self._end(link, "near" if way is link.up else "far")
        if way.eof:
            return
        due = time.monotonic() + self.delay_s
        if data:
            way.queue.append((due, data))
            way.queued += len(data)
            way.total += len(data)
            if len(way.head) < self.RECORD:
                way.head += data[:self.RECORD - len(way.head)]
        else:
            way.eof = True
            link.ended_by = link.ended_by or ("near" if way is link.up else "far")
            way.queue.append((due, _EOF))
        self._busy.add((link, way))
        self._interest(link, way, back)

    def _flush(self, link, way, now):
        if link.held or not link.open or way.dst in self._full:
            return
        while way.queue and way.queue[0][0] <= now:
            due, data = way.queue.popleft()
            try:
                if data is _EOF:
                    way.shut = True
                    way.dst.shutdown(socket.SHUT_WR)
                    continue
                n = way.dst.send(data)
            except BlockingIOError:
                n = 0
            except OSError:
                return self._end(link, link.ended_by or "far")
            way.queued -= n
            if n < len(data):
                way.queue.appendleft((due, data[n:]))
                self._full = self._full | {way.dst}
                break
        if not way.queue:
            self._busy.discard((link, way))
        if link.up.shut and link.down.shut:
            return self._end(link, link.ended_by)
        back = link.down if way is link.up else link.up
        self._interest(link, way, back)
        self._interest(link, back, way)

    def _end(self, link, who):
        if not link.open:
            return
        link.open, link.ended_by = False, who
        for s, way in ((link.near, link.up), (link.far, link.down)):
            self._busy.discard((link, way))
            self._full = self._full - {s}
            self._by_fd.pop(s.fileno(), None)
            with contextlib.suppress(OSError):
                abort(s) if not (link.up.shut and link.down.shut) else s.close()
