"""Variables: each changes what it says it changes. (Values that are refused: test_limits.py,
test_env.c; NP_SHUTDOWN_TIMEOUT: test_faults.py; NP_RELOAD_INTERVAL: test_certs.py; NP_UDP_OFFLOAD: test_udp.py; NP_LOG_*:
test_log.py; folders and what concerns a master (NP_DATAPLANE, NP_IMPORT_GOB): test_api_state.py.)
"""
import contextlib
import ctypes
import datetime
import fcntl
import os
import socket
import struct
import threading
import time

import pytest

from np_harness import over
from np_net import (SLACK, SOL_UDP, ask, ask_dgram, dgram, dial, established, how_it_ends, is_listening, read_n, served, text_of,
                    wait_for)

F_GETPIPE_SZ, PIDFD_GETFD, UDP_GRO = 1032, 438, 104
flows = over()


def frames(data):
    """(type, length) of the frames at the start of a recorded stream that begins with a preamble."""
    out, at = [], 40
    while at + 8 <= len(data):
        kind, _, _, n = struct.unpack(">BBHI", data[at:at + 8])
        out.append((kind, n))
        at += 8 + n
    return out


@pytest.mark.parametrize("size,limit", [(4096, 32768), (16384, 131072)])
def test_tcp_data_buf_size__one_wake_up_reads_eight_of_them_at_most(bench, size, limit):
    """Seen in the DATA frames of a client that reads a target with everything there to be read."""
    def script(s):
        s.recv(1)
        s.sendall(bytes(4_000_000))

    t = bench.link("reverse", 0, via={}, client={"min": 1}, target=bench.tcp_target(script),
                   env={"NP_TCP_DATA_BUF_SIZE": str(size), "NP_RELAY": "copy"})
    biggest = 0
    for _ in range(3):  # a channel's record ends after 64 KiB: each session begins a new one
        with dial(t.visit) as s:
            s.sendall(b"x")
            assert len(read_n(s, 4_000_000)) == 4_000_000
    for link in t.proxy.links:
        if not link.is_control:
            biggest = max([biggest] + [n for kind, n in frames(bytes(link.up.head)) if kind == 3])
    print(f"largest DATA frame {biggest}")
    assert limit // 8 < biggest <= limit


@flows
def test_udp_data_buf_size__larger_datagrams_are_dropped_never_cut(bench, flow, tls):
    t = bench.link(flow, tls, udp=True, env={"NP_UDP_DATA_BUF_SIZE": "2048"})
    assert ask_dgram(t.visit, bytes(2048))
    assert not ask_dgram(t.visit, bytes(2049), 0.3, 2)
    assert {len(d) for d, _ in t.udp_target.got} == {2048}


def test_handshake_timeout__silent_connection_to_the_tunnel_port(bench):
    t = bench.link("reverse", 0, start=False, server_env={"NP_HANDSHAKE_TIMEOUT": "1s"})
    t.start_server()
    with dial(t.tunnel) as s:
        start = time.monotonic()
        assert how_it_ends(s, 5)
        assert 0.8 < time.monotonic() - start < 2 * SLACK


@flows
def test_tcp_dial_timeout__target_that_does_not_answer(bench, flow, tls):
    t = bench.link(flow, tls, targets=text_of(bench.mute_target().addr), env={"NP_TCP_DIAL_TIMEOUT": "700ms"})
    with dial(t.visit) as s:
        assert how_it_ends(s, 5)
    (end,) = t.egress.wait_ends(1, "dial_timeout")
    assert 600 <= end.ms < 1700 * SLACK


def test_udp_dial_timeout__name_that_nobody_resolves(bench, names):
    t = bench.link("single", targets="slow.test:9", env={"NP_UDP_DIAL_TIMEOUT": "700ms"}, client_kw=names.kw)
    names.silent = True
    with dgram(t.visit) as s:
        wait_for("the flow's end", lambda: s.send(b"x") and t.ingress.ends("resolve_failed"), 6, step=0.1)
    (end,) = [e for e in t.ingress.ends() if "proto=udp" in e.line.raw][:1]
    assert end.reason == "resolve_failed" and 600 <= end.ms < 1700 * SLACK


@flows
def test_udp_read_timeout__flow_without_a_datagram(bench, flow, tls):
    t = bench.link(flow, tls, udp=True, env={"NP_UDP_READ_TIMEOUT": "1s"})
    assert ask_dgram(t.visit)
    assert 900 <= t.ingress.wait_ends(1)[0].ms < 2500 * SLACK


def test_pool_get_timeout__visitor_without_a_client(bench):
    t = bench.link("reverse", 0, start=False, server_env={"NP_POOL_GET_TIMEOUT": "800ms"})
    t.start_server()
    with dial(t.visit) as s:
        assert how_it_ends(s, 4)
    assert 700 <= t.server.wait_ends(1, "pool_timeout")[0].ms < 1800 * SLACK


@pytest.mark.parametrize("interval,least,most", [("3s", 0, 30), ("50ms", 48, 60)])
def test_min_pool_interval__pause_between_two_refills(bench, interval, least, most):
    """48 channels take one refill and another."""
    t = bench.link("reverse", 0, client={"min": 48, "noudp": 1}, up=False,
                   env={"NP_MIN_POOL_INTERVAL": interval, "NP_MAX_POOL_INTERVAL": "3s", "NP_REPORT_INTERVAL": "200ms"})
    t.client.wait_line("tunnel up")
    if least:
        wait_for("all channels", lambda: len(established(t.tunnel)) - 1 >= least, 2)
    else:
        t.client.wait_points(9)
    n = len(established(t.tunnel)) - 1
    print(f"{n} channels after 1.8 s at most with {interval}")
    assert least <= n <= most


def test_max_pool_interval__pause_after_a_target_failed(bench):
    def count(interval):
        target = bench.tcp_target(lambda s: None)
        t = bench.link("single", client={"min": 1}, target=target,
                       env={"NP_MIN_POOL_INTERVAL": "50ms", "NP_MAX_POOL_INTERVAL": interval,
                            "NP_REPORT_INTERVAL": "500ms"})
        t.client.wait_points(6)
        t.client.terminate()
        return len(target.peers)

    slow, fast = count("1s"), count("100ms")
    print(f"{slow} connections in 3 s, {fast} with a tenth")
    assert slow <= 5 and fast > 2 * slow


def test_report_interval__checkpoints(bench):
    t = bench.link("single", env={"NP_REPORT_INTERVAL": "200ms"})
    t.client.wait_points(11)
    at = [datetime.datetime.strptime(x.time, "%Y-%m-%d %H:%M:%S.%f") for x in t.client.lines("EVENT", "CHECK_POINT")]
    gaps = sorted((b - a).total_seconds() for a, b in zip(at[-11:], at[-10:]))
    assert 0.15 < gaps[5] < 0.2 + 0.1 * SLACK, gaps


@pytest.mark.parametrize("interval,back", [("1s", True), ("1m", False)])
def test_fallback_interval__return_to_the_primary(bench, interval, back):
    a, b = bench.tcp_target(h=9), bench.farm(h=10)
    t = bench.link("single", targets=f"{text_of(a.addr)},{text_of(b.addr)}", client={"lbs": 2},
                   env={"NP_FALLBACK_INTERVAL": interval, "NP_REPORT_INTERVAL": "250ms"})
    a.down()
    assert all(ask(t.visit) for _ in range(3)) and b.busy == 3
    a.up()
    n = len(a.peers)
    if back:
        wait_for("the primary's first visitor", lambda: ask(t.visit) and len(a.peers) > n, 5)
        return
    for _ in range(8):
        assert ask(t.visit)
        t.client.wait_points(1)
    assert len(a.peers) == n


@pytest.mark.parametrize("cooldown,attempts,low,high", [("200ms", 12, 0.05, 0.3), ("3s", 7, 0.75, 3.1)])
def test_service_cooldown__longest_pause_between_attempts(bench, cooldown, attempts, low, high):
    """The server is there and hangs up: 100, 200, 400, 800 ms … up to the cap, with jitter."""
    at = []
    door = bench.tcp_target(lambda s: at.append(time.monotonic()))
    bench.node(f"client://k@{text_of(door.addr)}/{text_of(bench.addr(2))}?mode=2", env={"NP_SERVICE_COOLDOWN": cooldown})
    wait_for(lambda: f"attempts: {at}", lambda: len(at) >= attempts, 15)
    gaps = sorted(b - a for a, b in zip(at, at[1:]))
    print(f"pauses with {cooldown}: {[round(g, 2) for g in gaps]}")
    assert low < gaps[-1] and gaps[len(gaps) // 2] < high * SLACK


@pytest.mark.sanitize
def test_semaphore_limit__visitors_that_wait_for_a_channel(bench):
    t = bench.link("reverse", 0, start=False, server_env={"NP_SEMAPHORE_LIMIT": "64", "NP_POOL_GET_TIMEOUT": "60s"})
    t.start_server()
    held = [bench.dial(t.visit) for _ in range(70)]
    assert len(t.server.wait_ends(6, "queue_full")) == 6
    assert sum(how_it_ends(s, 0.05) is not None for s in held) == 6


@pytest.mark.parametrize("n", [1, pytest.param(3, marks=pytest.mark.sanitize)])
def test_workers__threads_that_move_bytes(bench, n):
    t = bench.link("single", env={"NP_WORKERS": str(n)})
    socks = [bench.dial(t.visit) for _ in range(12)]
    for s in socks:
        s.sendall(b"x")
        assert read_n(s, 1) == b"x"
    loops = sum("eventpoll" in x for x in t.client.fd_names())
    assert loops == n, t.client.fd_names()


def pipe_sizes(node):
    seen = set()
    for fd in os.listdir(f"/proc/{node.pid}/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{node.pid}/fd/{fd}").startswith("pipe:"):
                p = os.open(f"/proc/{node.pid}/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK)
                seen.add(fcntl.fcntl(p, F_GETPIPE_SZ))
                os.close(p)
    return seen


@contextlib.contextmanager
def stalled(bench, env):
    """A session whose visitor reads nothing: where bytes go through a pipe, it keeps what it has."""
    over = threading.Event()

    def script(s):
        with contextlib.suppress(OSError):
            while not over.is_set():
                s.sendall(bytes(1 << 20))

    t = bench.link("single", target=bench.tcp_target(script), env=env)
    s = bench.dial(t.visit, rcvbuf=4096)
    try:
        s.sendall(b"x")
        yield t
    finally:
        over.set()


@pytest.mark.parametrize("size", [pytest.param(65536, marks=pytest.mark.sanitize), 524288])
def test_pipe_size__of_a_spliced_direction(bench, size):
    with stalled(bench, {"NP_PIPE_SIZE": str(size), "NP_RELAY": "splice"}) as t:
        wait_for(lambda: f"a pipe of {size}: {pipe_sizes(t.client)}", lambda: size in pipe_sizes(t.client))


def test_relay__copy__no_pipe(bench):
    with stalled(bench, {"NP_PIPE_SIZE": "131072", "NP_RELAY": "copy"}) as t:
        t.client.wait_point("bytes stand still", lambda p: p["tcptx"] > 4096)
        t.client.wait_points(1)
        assert 131072 not in pipe_sizes(t.client)


@pytest.mark.parametrize("offload", [0, pytest.param(1, marks=pytest.mark.sanitize)])
def test_udp_offload__sockets_ask_for_several_datagrams_at_once(bench, offload):
    """The socket's own option, of a copy of its descriptor (pidfd_getfd)."""
    t = bench.link("single", udp=True, env={"NP_UDP_OFFLOAD": str(offload)})
    assert ask_dgram(t.visit)
    pidfd = os.pidfd_open(t.client.pid)
    found = []
    for fd in os.listdir(f"/proc/{t.client.pid}/fd"):
        copy = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, pidfd, int(fd), 0)
        if copy == -1:
            continue
        with contextlib.suppress(OSError), contextlib.closing(socket.socket(fileno=copy)) as s:
            if s.type == socket.SOCK_DGRAM:
                found.append(s.getsockopt(SOL_UDP, UDP_GRO))
    os.close(pidfd)
    assert len(found) == 2 and set(found) == {offload}, found
