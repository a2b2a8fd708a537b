"""The control sockets go on accepting, whatever becomes of those who come.

A peer that is gone before the library has shaken hands with it would end a listener's accepting for good, one
that leaves while it is answered would keep all connections that end later: kill -9 of a controller, a port
scanner, a script that connects and leaves.
"""
import contextlib
import json
import os
import random
import socket
import struct
import threading
import time

import pytest

from np_control import DataPlane, apply
from np_net import SLACK, wait_for

NAMES = ("ctl.sock", "events.sock", "events.json.sock")


@pytest.fixture
def node(tmp_path):
    # nng does not free all of a connection that ended in its handshake before the process ends.
    (tmp_path / "suppressions").write_text("leak:libnng.so\n")
    n = DataPlane(tmp_path / "run", {"LSAN_OPTIONS": f"suppressions={tmp_path}/suppressions:print_suppressions=0"})
    yield n
    if n.alive():
        n.terminate()
    n.close()


def come_and_go(path, times):
    for _ in range(times):
        with socket.socket(socket.AF_UNIX) as s, contextlib.suppress(OSError):
            s.connect(path)


def answers(node):
    with contextlib.suppress(OSError):
        return node.client(timeout=0.5).ask(ping={"nonce": "1"})["code"] == "CODE_OK"


def hears(node, name):
    """An event comes: a lease, at the latest five seconds later."""
    with contextlib.suppress(OSError), contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        s.settimeout(12)
        s.connect(node.path(name))
        s.sendall(b"\0SP\0\0\x21\0\0")
        got = b""
        while len(got) < 40:  # more than the greeting
            more = s.recv(4096)
            if not more:
                return False
            got += more
        return True


@pytest.mark.sanitize
def test_callers_that_leave_at_once(node):
    threads = [threading.Thread(target=come_and_go, args=(node.path(name), 300)) for name in NAMES for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert answers(node)  # the first who comes then
    for name in NAMES[1:]:
        assert hears(node, name)
    c = node.client()
    assert c.ask(info={})["code"] == "CODE_OK"
    assert all(os.stat(node.path(name)).st_mode & 0o777 == 0o600 for name in NAMES)


def fds(node):
    return len(os.listdir(f"/proc/{node.pid}/fd"))


@pytest.mark.sanitize
def test_callers_that_leave_before_their_answers(node):
    """nng keeps a connection that is closed while it reads on from it, and all that end after it."""
    before = fds(node)
    body = json.dumps({"ping": {"nonce": "1"}}).encode()
    for _ in range(400):
        c = node.client()
        messages = (struct.pack(">I", 0x80000000 | i) + body for i in range(32))
        c.s.sendall(b"".join(b"\1" + struct.pack(">Q", len(m)) + m for m in messages))
        time.sleep(random.random() * 0.003)
        c.close()
    wait_for("the descriptors back", lambda: fds(node) <= before, 10)
    assert answers(node)
    begin = time.monotonic()
    node.terminate()
    assert node.p.returncode == 0 and time.monotonic() - begin < 5 * SLACK


@pytest.mark.slow
def test_a_quiet_client_is_left_alone(node):
    """One who says nothing loses neither its connection nor an event."""
    c, e = node.client(), node.events()
    assert c.ask(ping={"nonce": "1"})["code"] == "CODE_OK"
    first = e.wait("a lease", lambda x: "lease" in x, 20)
    e.wait("the next lease", lambda x: "lease" in x and x["seq"] != first["seq"], 20)
    assert c.ask(ping={"nonce": "2"})["code"] == "CODE_OK"
    assert [int(x["seq"]) for x in e.all] == list(range(int(first["seq"]), int(first["seq"]) + len(e.all)))


def test_a_listener_leaves__while_events_do_not_pause__its_connection_ends(node):
    """Events 20 times a second: the library is never silent for as long as its last word is waited for."""
    c = node.client()
    assert c.ask(ping={"nonce": "1"})["code"] == "CODE_OK"
    before = len(os.listdir(f"/proc/{node.pid}/fd"))
    with contextlib.ExitStack() as them:
        for _ in range(5):
            s = them.enter_context(socket.socket(socket.AF_UNIX))
            s.settimeout(10)
            s.connect(node.path("events.json.sock"))
            s.sendall(b"\0SP\0\0\x21\0\0")
            assert s.recv(8) == b"\0SP\0\0\x20\0\0"
    numbers = iter(range(1, 10**6))

    def back():
        apply(c, f"i{next(numbers)}", "client://127.0.0.1:9/127.0.0.1:9?mode=1", "DESIRED_STOPPED")
        return len(os.listdir(f"/proc/{node.pid}/fd")) <= before
    wait_for("their descriptors", back, 15, 0.05)
