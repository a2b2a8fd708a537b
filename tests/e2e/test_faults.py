"""Death, silence and lack: ends killed and stopped, connections cut and stalled, signals, descriptors."""
import contextlib
import os
import shutil
import signal
import socket
import ssl
import threading
import time

import pytest

from np_harness import DUAL, TLS_NAME, over
from np_net import (SLACK, abort, ask, ask_dgram, dial, digest, established, how_it_ends, is_listening, parallel,
                    read_eof, read_n, served, token, wait_for)

dual = over(DUAL, (0, 1), sanitize=("reverse-1", "forward-0"))
flows = over(sanitize=("reverse-0", "forward-0", "single"))
MIB = 1 << 20


# ------------------------------------------------------------------ ends that die

@pytest.mark.parametrize("who", ["server", "client"])
@dual
def test_kill__and_start_again__served_within_two_seconds(bench, flow, tls, who):
    t = bench.link(flow, tls)
    assert ask(t.visit)
    getattr(t, who).kill()
    start = time.monotonic()
    t.start_server() if who == "server" else t.start_client()
    wait_for("a session", lambda: served(t.visit, 1), 15)
    took = time.monotonic() - start
    print(f"{took:.2f} s")
    assert took < 2 * SLACK


@pytest.mark.parametrize("who", ["server", "client"])
@over(DUAL, (1,), sanitize=("reverse-1",))
def test_kill__in_a_session__the_other_end_resets_it(bench, flow, tls, who):
    t = bench.link(flow, tls, target=bench.tcp_target(how_it_ends_with_byte))
    s = bench.dial(t.visit)
    s.sendall(b"x")
    assert read_n(s, 1) == b"x"
    victim = getattr(t, who)
    survivor = t.client if who == "server" else t.server
    victim.kill()
    assert survivor.wait_ends(1, "channel_lost", 5)
    if survivor is t.ingress:
        assert how_it_ends(s) == "reset"
    else:
        wait_for("the target's end", lambda: t.target.results)
        assert t.target.results == ["reset"]


def how_it_ends_with_byte(s):
    s.sendall(read_n(s, 1))
    return how_it_ends(s, 20)


@over(("reverse",), (0, 1))
def test_client_away__listener_stays_and_visitors_wait_for_it(bench, flow, tls):
    t = bench.link(flow, tls, env={"NP_POOL_GET_TIMEOUT": "10s"})
    t.client.kill()
    waiting = [bench.dial(t.visit, timeout=12) for _ in range(5)]
    for i, s in enumerate(waiting):
        s.sendall(b"%d" % i)
    assert is_listening(t.visit)
    t.start_client()
    assert [read_n(s, 1) for s in waiting] == [b"%d" % i for i in range(5)]


@over(DUAL, (0,))
def test_peer_away__descriptors_and_processor_stay_low(bench, flow, tls):
    t = bench.link(flow, tls)
    t.server.kill()
    t.client.wait_line(r"(?i)refused|lost|connect")
    fds, cpu = t.client.fd_count(), t.client.cpu_s()
    n = len(t.client.points())
    end = time.monotonic() + 2
    while time.monotonic() < end:  # the time over which the processor is measured
        time.sleep(0.1)
        assert t.client.fd_count() <= fds + 4
    assert t.client.cpu_s() - cpu < 0.2 * SLACK and n >= 0


# ------------------------------------------------------------------ connections that break

def paced_transfer(bench, flow, tls):
    """A tunnel through a proxy with a transfer that stops half-way until gate is set."""
    data, gate = token("paced", 6 * MIB), threading.Event()

    def script(s):
        s.sendall(data[:MIB])
        gate.wait(30)
        s.sendall(data[MIB:])

    t = bench.link(flow, tls, via={}, target=bench.tcp_target(script), env={"NP_POOL_GET_TIMEOUT": "10s"})
    s = bench.dial(t.visit, timeout=30)
    assert read_n(s, MIB) == data[:MIB]
    return t, s, data, gate


@dual
def test_control_cut__running_transfer_goes_on__new_visitors_are_served(bench, flow, tls):
    t, s, data, gate = paced_transfer(bench, flow, tls)
    old = t.proxy.control()
    t.proxy.cut([old])
    t.target.script = lambda c: c.sendall(read_n(c, 3))
    for _ in range(5):
        with dial(t.visit) as v:
            v.sendall(b"new")
            assert read_n(v, 3) == b"new"
    wait_for("a new control connection", lambda: t.proxy.control() not in (None, old))
    gate.set()
    assert digest(data[:MIB] + read_eof(s)) == digest(data)


@dual
def test_channel_cut__its_session_is_reset_at_both_ends__others_live(bench, flow, tls):
    t = bench.link(flow, tls, via={}, target=bench.tcp_target(how_it_ends_with_byte))
    s = bench.dial(t.visit)
    s.sendall(b"x")
    assert read_n(s, 1) == b"x"
    t.proxy.cut(t.proxy.channels())
    assert how_it_ends(s) == "reset"
    wait_for("the target's end", lambda: t.target.results or t.target.errors)
    assert t.target.results == ["reset"]
    assert t.ingress.wait_ends()[0].reason == "channel_lost"
    with dial(t.visit) as v:
        v.sendall(b"y")
        assert read_n(v, 1) == b"y"


@dual
def test_everything_cut__again_and_again__comes_back(bench, flow, tls):
    t = bench.link(flow, tls, via={})
    for _ in range(4):
        t.proxy.cut(t.proxy.live())
        assert ask(t.visit, None, 8)


@over(DUAL, (0, 1))
def test_stall__noticed_within_three_report_intervals(bench, flow, tls):
    t = bench.link(flow, tls, via={}, env={"NP_REPORT_INTERVAL": "500ms"})
    t.client.wait_point("pings flow", lambda p: True)
    old = t.proxy.control()
    t.proxy.stall()
    start = time.monotonic()
    wait_for("an end gives the control connection up", lambda: old.up.eof or old.down.eof or not old.open, 8)
    took = time.monotonic() - start
    print(f"noticed after {took:.2f} s")
    assert 0.9 < took < 3 * SLACK
    t.proxy.cut(t.proxy.live())
    t.proxy.resume()
    assert ask(t.visit, None, 8)


@over(DUAL, (0,))
def test_peer_frozen_for_a_while__sessions_go_on_when_it_thaws(bench, flow, tls):
    t = bench.link(flow, tls, env={"NP_REPORT_INTERVAL": "5s"})
    s = bench.dial(t.visit, timeout=20)
    s.sendall(b"a")
    assert read_n(s, 1) == b"a"
    t.egress.signal(signal.SIGSTOP)
    s.sendall(b"b" * 100_000)
    t.egress.signal(signal.SIGCONT)
    assert read_n(s, 100_000) == b"b" * 100_000


# ------------------------------------------------------------------ targets

@flows
def test_target_refuses__visitor_is_ended_soon__with_that_reason(bench, flow, tls):
    t = bench.link(flow, tls)
    t.target.down()
    start = time.monotonic()
    for _ in range(3):
        with dial(t.visit) as s:
            assert how_it_ends(s)
    assert time.monotonic() - start < 3 * SLACK
    for n in t.nodes:
        assert {e.reason for e in n.wait_ends(3)} == {"dial_refused"}
    t.target.up()
    assert ask(t.visit)


@flows
def test_target_silent__dial_timeout(bench, flow, tls):
    t = bench.link(flow, tls, target=bench.mute_target(), env={"NP_TCP_DIAL_TIMEOUT": "700ms"})
    with dial(t.visit) as s:
        assert how_it_ends(s, 6)
    (end,) = t.ingress.wait_ends()
    assert end.reason == "dial_timeout" and 500 <= end.ms < 3000 * SLACK


@flows
def test_visitor_leaves__while_the_target_is_dialled__dialling_stops(bench, flow, tls):
    t = bench.link(flow, tls, target=bench.mute_target(), env={"NP_TCP_DIAL_TIMEOUT": "30s"})
    for _ in range(3):
        s = dial(t.visit)
        s.sendall(b"x")
        abort(s)
    assert len(t.ingress.wait_ends(3, None, 5)) == 3
    t.egress.wait_point("nothing runs", lambda p: p["tcps"] == 0, 5)


# ------------------------------------------------------------------ signals

@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
@flows
def test_stop__idle__status_0_within_a_second(bench, flow, tls, sig):
    t = bench.link(flow, tls)
    for n in t.nodes:
        n.signal(sig)
        n.wait_exit(0, 2)


@pytest.mark.parametrize("who", ["ingress", "egress"])
@flows
def test_sigterm__running_sessions_finish_first__no_new_ones(bench, flow, tls, who):
    if flow == "single" and who == "egress":
        pytest.skip("one process is both ends")
    t = bench.link(flow, tls)
    s = bench.dial(t.visit)
    s.sendall(b"a")
    assert read_n(s, 1) == b"a"
    n = getattr(t, who)
    n.signal(signal.SIGTERM)
    if who == "ingress":
        wait_for("the listener is gone", lambda: not is_listening(t.visit), 3)
    data = token("rest", 500_000)
    w = threading.Thread(target=s.sendall, args=(data,), daemon=True)
    w.start()
    assert read_n(s, len(data)) == data
    w.join()
    assert n.alive()
    s.close()
    n.wait_exit(0, 3)
    assert n.ends("done")


@flows
def test_sigterm__sessions_that_do_not_end__cut_at_the_shutdown_timeout(bench, flow, tls):
    t = bench.link(flow, tls, env={"NP_SHUTDOWN_TIMEOUT": "1s"})
    s = bench.dial(t.visit)
    s.sendall(b"a")
    assert read_n(s, 1) == b"a"
    start = time.monotonic()
    t.ingress.signal(signal.SIGTERM)
    assert how_it_ends(s) == "reset"
    t.ingress.wait_exit(0, 3)
    assert 0.8 < time.monotonic() - start < 3 * SLACK
    assert [e.reason for e in t.ingress.ends()] == ["shutdown"]


@flows
def test_sigterm__twice__ends_at_once(bench, flow, tls):
    t = bench.link(flow, tls, env={"NP_SHUTDOWN_TIMEOUT": "60s"})
    s = bench.dial(t.visit)
    s.sendall(b"a")
    assert read_n(s, 1) == b"a"
    t.ingress.signal(signal.SIGTERM)
    wait_for("the listener is gone", lambda: not is_listening(t.visit), 3)
    assert t.ingress.alive()
    t.ingress.signal(signal.SIGTERM)
    t.ingress.wait_exit(0, 2)


def shown(addr, alpn="nodepass-control/2"):
    """The certificate that a TLS listener shows, DER."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    if alpn:
        ctx.set_alpn_protocols([alpn])
    with dial(addr) as raw, ctx.wrap_socket(raw, server_hostname=TLS_NAME) as s:
        return s.getpeercert(binary_form=True)


def own_pair(bench, name="first"):
    crt, key = os.path.join(bench.folder, "live.crt"), os.path.join(bench.folder, "live.key")
    install(bench.certs.leaf(name), crt, key)
    return crt, key


def install(pair, crt, key):
    for source, place in zip(pair, (crt, key)):
        shutil.copy(source, place + ".new")
        os.replace(place + ".new", place)


def der_of(path):
    with open(path) as f:
        return ssl.PEM_cert_to_DER_cert(f.read())


@over()
def test_sighup__certificate_is_re_read__sessions_go_on(bench, flow, tls):
    crt, key = own_pair(bench)
    files = {"tls": 2, "crt": crt, "key": key}
    t = bench.link(flow, 2 if flow != "single" else 0, **({"client": files} if flow == "single" else {"server": files}))
    node, addr = (t.client, t.visit) if flow == "single" else (t.server, t.tunnel)
    alpn = None if flow == "single" else "nodepass-control/2"
    node.tolerate("violation")
    assert shown(addr, alpn) == der_of(crt)
    visitor = bench.dial(t.visit)
    if flow == "single":
        ctx = ssl.create_default_context(cafile=bench.certs.ca)
        visitor = bench.keep(ctx.wrap_socket(visitor, server_hostname=TLS_NAME))
    visitor.sendall(b"a")
    assert read_n(visitor, 1) == b"a"
    second = bench.certs.leaf("second")
    install(second, crt, key)
    node.signal(signal.SIGHUP)
    wait_for("the new certificate", lambda: shown(addr, alpn) == der_of(second[0]))
    visitor.sendall(b"b")
    assert read_n(visitor, 1) == b"b", "a running session was cut"
    if flow != "single":
        assert all(ask(t.visit) for _ in range(20))


def test_sighup__bad_pair__said_and_the_old_one_stays(bench):
    crt, key = own_pair(bench)
    t = bench.link("reverse", 2, server={"crt": crt, "key": key})
    t.server.tolerate("violation")
    first = der_of(crt)
    shutil.copy(bench.certs.leaf("odd")[0], crt)  # not the key's
    t.server.signal(signal.SIGHUP)
    t.server.wait_line(r"live\.(crt|key)")
    assert shown(t.tunnel) == first and ask(t.visit)


def test_certificate_files_change__noticed_at_the_reload_interval(bench):
    crt, key = own_pair(bench)
    t = bench.link("reverse", 2, server={"crt": crt, "key": key}, env={"NP_RELOAD_INTERVAL": "1s"})
    t.server.tolerate("violation")
    second = bench.certs.leaf("second")
    install(second, crt, key)
    wait_for("the new certificate", lambda: shown(t.tunnel) == der_of(second[0]), 6)
    assert all(ask(t.visit) for _ in range(20))


# ------------------------------------------------------------------ descriptors, idleness

@pytest.mark.parametrize("flow,side", [("reverse", "server"), ("reverse", "client"), ("forward", "client"),
                                       ("forward", "server"), ("single", "client")])
def test_out_of_descriptors__neither_dies_nor_spins__recovers(bench, flow, side):
    t = bench.link(flow, 0, env={"NP_POOL_GET_TIMEOUT": "2s"}, **{side + "_kw": {"nofile": 64}})
    n = getattr(t, side)
    keep = bench.dial(t.visit)
    keep.sendall(b"a")
    assert read_n(keep, 1) == b"a"
    socks = []
    for _ in range(150):
        with contextlib.suppress(OSError):
            s = dial(t.visit, 2)
            socks.append(s)
            s.setblocking(False)
            s.send(b"x")
    n.wait_line(r"(?i)descriptor|too many open files", timeout=10)
    cpu = n.cpu_s()
    keep.sendall(b"b")
    assert read_n(keep, 1) == b"b", "a session that ran suffers"
    t0 = time.monotonic()
    while time.monotonic() - t0 < 1:  # the time over which the processor is measured
        time.sleep(0.1)
        assert n.alive()
    assert n.cpu_s() - cpu < 0.5 * SLACK, "it spins"
    for s in socks:
        s.close()
    wait_for("new sessions", lambda: served(t.visit, 1), 15)
    keep.sendall(b"c")
    assert read_n(keep, 1) == b"c"


@over(tls=(0, 1), sanitize=("reverse-1", "single"))
def test_descriptors__after_600_sessions_of_all_kinds__none_left(bench, flow, tls):
    t = bench.link(flow, tls, target=bench.farm(), udp=True, client={"min": 4}, server={"max": 8} if flow != "single"
                   else None, env={"NP_UDP_READ_TIMEOUT": "1s", "NP_REPORT_INTERVAL": "300ms"})

    def visit(i):
        with contextlib.suppress(OSError):
            if i % 5 == 4:
                return ask_dgram(t.visit, b"%d" % i, 0.3)
            s = dial(t.visit)
            s.sendall(token(i, 3000))
            if i % 5 == 1:
                return abort(s)
            if i % 5 == 2:
                s.shutdown(socket.SHUT_WR)
            if i % 5 != 3:
                read_n(s, 3000)
            s.close()

    parallel(100, visit, 20)
    t.wait_quiet()
    before = [n.fd_count() for n in t.nodes]
    parallel(600, visit, 30)
    t.wait_quiet()
    # idle channels or waiting target connections may differ by the pool's bounds
    wait_for(lambda: f"descriptors are back at {before}: {[n.fd_count() for n in t.nodes]}",
             lambda: all(n.fd_count() <= b + 8 for n, b in zip(t.nodes, before)), 15)
    wait_for("the targets' connections are gone", lambda: t.target.open <= 8, 5)


@over(DUAL, (0, 1))
def test_idle_tunnel__uses_no_processor(bench, flow, tls):
    t = bench.link(flow, tls, client={"min": 64})
    t.ingress.wait_point("the pool", lambda p: p["pool"] >= 64)
    t.ingress.wait_point("and a quiet second", lambda p: True)
    before = [n.cpu_s() for n in t.nodes]
    end = time.monotonic() + 2
    while time.monotonic() < end:  # the time over which the processor is measured
        time.sleep(0.2)
    assert max(n.cpu_s() - b for n, b in zip(t.nodes, before)) <= 0.06 * SLACK
    assert len(established(t.tunnel)) >= 65
