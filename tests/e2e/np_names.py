"""A DNS server of our own, and processes that ask it: a private resolv.conf in a mount namespace."""
import os
import shutil
import socket
import struct

import pytest

from np_net import UdpTarget


class Names:
    """Answers A and AAAA from @table (name -> addresses), which may change at any time.

    silent: no answer at all; broken: SERVFAIL. asked: how often each name was asked for.
    """

    def __init__(self, bench):
        self.table, self.asked, self.silent, self.broken = {}, {}, False, False
        self.server = UdpTarget((bench.host(53), 53), self._answer)
        conf = os.path.join(bench.folder, "resolv.conf")
        with open(conf, "w") as f:
            f.write(f"nameserver {bench.host(53)}\noptions timeout:1 attempts:1\n")
        self.kw = {"prefix": ("unshare", "-m", "sh", "-c",
                              f'mount --bind {conf} /etc/resolv.conf && exec "$@"', "sh")}

    def _answer(self, query, _):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, kind = ".".join(labels).lower(), struct.unpack(">H", query[at + 1:at + 3])[0]
        self.asked[name] = self.asked.get(name, 0) + 1
        if self.silent:
            return ()
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        addrs = [socket.inet_pton(family, a) for a in self.table.get(name, ())
                 if family and (":" in a) == (family == socket.AF_INET6)]
        code = 2 if self.broken else 0 if name in self.table else 3
        addrs = [] if code else addrs
        body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(a)) + a for a in addrs)
        return (query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(addrs), 0, 0) + query[12:at + 5] + body,)

    def close(self):
        self.server.close()


@pytest.fixture
def names(bench):
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("a private resolv.conf needs root and unshare(1)")
    return bench.keep(Names(bench))
