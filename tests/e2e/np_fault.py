"""System calls that fail and clocks that jump, in a program under test: the control block of tests/net/shim.c."""
import errno
import mmap
import os
import struct

from np_world import compile_c

SLOT = struct.Struct("24sIIIiII")
HEAD = struct.Struct("7q")  # two clocks; bytes and writes of TLS, flip at, flip mask, repeat at
SLOTS = 22
EAI_MEMORY = -10

# What the kernel (or the C library) may answer when something runs short.
# In the order of the slots.
SHORT = {
    "socket": ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"),
    "accept4": ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"),
    "connect": ("ENOBUFS", "ENOMEM", "EADDRNOTAVAIL"),
    "bind": ("ENOMEM", "ENOBUFS"),
    "listen": ("ENOMEM",),
    "setsockopt": ("ENOMEM", "ENOBUFS"),
    "getsockopt": ("ENOMEM", "ENOBUFS"),
    "getsockname": ("ENOBUFS",),
    "shutdown": ("ENOBUFS",),
    "epoll_create1": ("EMFILE", "ENFILE", "ENOMEM"),
    "epoll_ctl": ("ENOMEM", "ENOSPC"),
    "eventfd": ("EMFILE", "ENFILE", "ENOMEM"),
    "signalfd": ("EMFILE", "ENFILE", "ENOMEM"),
    "recv": ("ENOMEM", "ENOBUFS"),
    "send": ("ENOMEM", "ENOBUFS"),
    "recvmsg": ("ENOMEM", "ENOBUFS"),
    "sendmsg": ("ENOMEM", "ENOBUFS"),
    "fopen": ("EMFILE", "ENOMEM"),
    "getaddrinfo": ("EAI_MEMORY",),
    "pthread_create": ("EAGAIN",),
    "open": ("EMFILE", "ENFILE", "ENOMEM"),
    "memory": ("ENOMEM",),
}


def number(name):
    return EAI_MEMORY if name == "EAI_MEMORY" else getattr(errno, name)


class Shim:
    """One control block; give env() to the process that is to fail."""

    def __init__(self, folder, so_folder, name="shim"):
        self.path = os.path.join(str(folder), name)
        self.so = compile_c("shim", so_folder, "-shared", "-fPIC")
        with open(self.path, "wb") as f:
            f.truncate(HEAD.size + SLOTS * SLOT.size)
        with open(self.path, "r+b") as f:
            self._map = mmap.mmap(f.fileno(), HEAD.size + SLOTS * SLOT.size)

    def env(self):
        return {"LD_PRELOAD": self.so, "FAULT_FILE": self.path}

    def _offset(self, call):
        for i in range(SLOTS):
            at = HEAD.size + i * SLOT.size
            if SLOT.unpack_from(self._map, at)[0].rstrip(b"\0") == call.encode():
                return at
        raise AssertionError(f"the shim has no call {call}; does the process run?")

    def prepare(self, call, error, skip=0, count=1):
        """Arms @call for a process that has not started yet."""
        self._map[:] = bytes(len(self._map))
        at = HEAD.size + list(SHORT).index(call) * SLOT.size
        SLOT.pack_into(self._map, at, call.encode(), 0, skip, count, number(error), 0, 0)

    def arm(self, call, error, skip=0, count=1):
        at = self._offset(call)
        struct.pack_into("I", self._map, at + 32, 0)
        struct.pack_into("i", self._map, at + 36, number(error))
        struct.pack_into("II", self._map, at + 40, 0, 0)
        struct.pack_into("I", self._map, at + 28, skip)
        struct.pack_into("I", self._map, at + 32, count)

    def disarm(self):
        for i in range(SLOTS):
            struct.pack_into("II", self._map, HEAD.size + i * SLOT.size + 28, 0, 0)

    def calls(self, call):
        return SLOT.unpack_from(self._map, self._offset(call))[1]

    def failed(self, call):
        return SLOT.unpack_from(self._map, self._offset(call))[5]

    def jump(self, realtime_s=0, monotonic_s=0):
        """Both clocks are so far from the machine's from now on."""
        struct.pack_into("qq", self._map, 0, int(realtime_s * 1e9), int(monotonic_s * 1e9))

    def tls_sent(self):
        """(bytes, writes) that the process gave to TLS."""
        return HEAD.unpack_from(self._map, 0)[2:4]

    def flip(self, after, mask):
        """The byte that comes after @after more ones of TLS is changed."""
        struct.pack_into("q", self._map, 40, mask)
        struct.pack_into("q", self._map, 32, self.tls_sent()[0] + after + 1)

    def repeat(self, after):
        """The write that comes after @after more ones is made twice."""
        struct.pack_into("q", self._map, 48, self.tls_sent()[1] + after + 1)

    def behave(self):
        struct.pack_into("q", self._map, 32, 0)
        struct.pack_into("q", self._map, 48, 0)

    def close(self):
        self._map.close()
