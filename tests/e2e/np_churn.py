"""Sessions that do unlike things and check every byte: the proof that none belongs to another session.

What session n does is a function of a seed and of n, known to its visitor and, from the first bytes, to its
target: each end knows what it must get, whatever way the session ends. Used by test_data.py and tests/soak.
"""
import random
import socket
import struct
import threading

from np_net import abort, dial, read_n, token

HEAD = struct.Struct(">4sQ")
KINDS = ("whole",) * 6 + ("half", "half", "target_half", "target_half", "visitor_reset", "visitor_quits",
                          "target_reset", "target_quits", "mute")
CLEAN = ("whole", "half", "target_half")


class Plan:
    """What session @n does: a function of the seed and the number, known to both of its ends."""

    def __init__(self, seed, n):
        r = random.Random(f"{seed}/{n}")
        size = lambda: r.choice((0, 1, 40, 700, 5000, 20_000, 120_000)) + r.randrange(50)
        self.kind, self.number = r.choice(KINDS), n
        self.up = HEAD.pack(b"TURN", n) + token(f"{seed}/{n}/up", size())
        self.down = token(f"{seed}/{n}/down", size())
        self.cut = r.random()


def churn_target(seed, faults, calm=True):
    """A target's script; what is wrong goes to @faults.

    @calm: nothing but the plans ends sessions. Otherwise bytes are judged, ends are not: the kernel ends
    the connections of a killed process as if they had been closed.
    """
    def script(s):
        head = b""
        try:
            head = read_n(s, HEAD.size)
        except (EOFError, ConnectionResetError):
            return  # mute, or reset at once
        magic, n = HEAD.unpack(head)
        if magic == b"STAL":
            threading.Event().wait(n)  # a reader that stands still so many seconds, then goes
            return
        if magic != b"TURN":
            faults.append(f"the target got a foreign start {head!r}")
            return
        p = Plan(seed, n)
        if p.kind == "target_quits":
            s.sendall(p.down[:int(len(p.down) * p.cut)])
            return  # unread input: the kernel resets
        if p.kind == "target_reset":
            s.sendall(p.down[:int(len(p.down) * p.cut)])
            abort(s)
            return
        if p.kind == "target_half":
            s.sendall(p.down)
            s.shutdown(socket.SHUT_WR)
        got = head
        try:
            want = len(p.up) if p.kind in ("whole", "visitor_quits") else 1 << 30
            while len(got) < want:
                data = s.recv(1 << 16)
                if not data:
                    break
                got += data
            clean = True
        except ConnectionResetError:
            clean = False
        if not p.up.startswith(got) or (calm and clean and p.kind in CLEAN and got != p.up):
            faults.append(f"target of {n} ({p.kind}): {len(got)} bytes that are not its {len(p.up)}")
        if calm and not clean and p.kind in CLEAN:
            faults.append(f"target of {n} ({p.kind}) saw a reset")
        if calm and clean and p.kind == "visitor_reset":
            faults.append(f"target of {n} saw a clean end for a reset after {len(got)} of {len(p.up)} bytes")
        if p.kind != "target_half":
            s.sendall(p.down)
    return script


def churn_visit(seed, n, addr, faults, calm=True, timeout=30):
    """Session @n as its visitor; True when it went to its planned end."""
    p = Plan(seed, n)
    s = dial(addr, timeout)
    if p.kind == "mute":
        s.close()
        return True
    got, clean = b"", True
    try:
        if p.kind == "visitor_reset":
            s.sendall(p.up[:max(HEAD.size, int(len(p.up) * p.cut))])
            abort(s)
            return True
        s.sendall(p.up)
        if p.kind == "visitor_quits":
            got = s.recv(max(1, int(len(p.down) * p.cut)))
        else:
            if p.kind == "half":
                s.shutdown(socket.SHUT_WR)
            while len(got) <= len(p.down):
                data = s.recv(1 << 16)
                if not data:
                    break
                got += data
    except OSError as e:
        clean = False
        if calm and p.kind in CLEAN:
            faults.append(f"visitor {n} ({p.kind}): {e!r} after {len(got)} of {len(p.down)} bytes")
    finally:
        s.close()
    if not p.down.startswith(got) or (calm and clean and p.kind in CLEAN and got != p.down):
        faults.append(f"visitor {n} ({p.kind}): {len(got)} bytes that are not its {len(p.down)}")
    return clean or p.kind not in CLEAN
