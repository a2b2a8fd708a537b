"""Run modes and how they are chosen, addresses that are taken, forms of addresses, lists of targets."""
import ssl

import pytest

from np_harness import DUAL, TLS_NAME, good_key, over
from np_net import (ask, ask_dgram, dial, established, free_port, how_it_ends, is_listening, read_n, text_of, wait_for)

flows = over()


def server(bench, tunnel, target, query="", **kw):
    return bench.node(f"server://k@{text_of(tunnel)}/{target}{query}", name="server", **kw)


def client(bench, tunnel, target, query="", **kw):
    return bench.node(f"client://k@{text_of(tunnel)}/{target}{query}", name="client", **kw)


def wait_listening(addr, proto="tcp"):
    wait_for(f"a {proto} socket on {text_of(addr)}", lambda: is_listening(addr, proto))


# ------------------------------------------------------------------ auto-detection

@pytest.mark.parametrize("query", [pytest.param("", marks=pytest.mark.sanitize), "?mode=0", "?mode="])
def test_server_mode_0__target_address_free__receives(bench, query):
    tunnel, visit, target = bench.addr(1), bench.addr(2), bench.tcp_target()
    s = server(bench, tunnel, text_of(visit), query)
    wait_listening(visit)
    wait_listening(visit, "udp")
    client(bench, tunnel, text_of(target.addr), "?mode=2")
    assert ask(visit)
    assert s.wait_point("the mode", lambda p: True)["mode"] == 1
    s.wait_line(r"(?i)mode.*(reverse|1)", "INFO")


@pytest.mark.parametrize("why", ["taken", "foreign", "several"])
def test_server_mode_0__target_address_not_for_binding__sends_and_says_why(bench, why):
    tunnel, visit, target = bench.addr(1), bench.addr(2), bench.tcp_target()
    targets = {"taken": text_of(target.addr), "foreign": "192.0.2.7:81",
               "several": ",".join([text_of(target.addr), text_of(bench.addr(10))])}[why]
    s = server(bench, tunnel, targets)
    wait_listening(tunnel)
    client(bench, tunnel, text_of(visit), "?mode=2")
    wait_listening(visit)
    if why != "foreign":
        assert ask(visit)
    assert s.wait_point("the mode", lambda p: True)["mode"] == 2
    line = s.wait_line(r"(?i)mode.*forward|mode=2", "INFO")
    hint = {"taken": "in use", "foreign": "(?i)assign|not local|EADDRNOTAVAIL", "several": "(?i)several|targets"}[why]
    s.wait_line(hint, "INFO")
    assert line


@pytest.mark.parametrize("query", ["", "?mode=0"])
def test_client_mode_0__tunnel_address_free__single_end(bench, query):
    visit, target = bench.addr(2), bench.tcp_target()
    c = client(bench, visit, text_of(target.addr), query)
    wait_listening(visit)
    wait_listening(visit, "udp")
    assert ask(visit)
    assert c.wait_point("the mode", lambda p: True)["mode"] == 1
    c.wait_line(r"(?i)single", "INFO")


@pytest.mark.parametrize("mode", [pytest.param(1, marks=pytest.mark.sanitize), 2])
def test_client_mode_0__tunnel_address_taken__joins_the_server(bench, mode):
    tunnel, visit, target = bench.addr(1), bench.addr(2), bench.tcp_target()
    a, b = (visit, target.addr) if mode == 1 else (target.addr, visit)
    server(bench, tunnel, text_of(a), f"?mode={mode}")
    wait_listening(tunnel)
    c = client(bench, tunnel, text_of(b))
    wait_listening(visit)
    assert ask(visit)
    assert c.wait_point("the mode", lambda p: True)["mode"] == 2
    c.wait_line(r"in use", "INFO")


# ------------------------------------------------------------------ taken addresses

@pytest.mark.parametrize("what", ["server-target", "server-tunnel", "client-tunnel", "server-target-udp"])
def test_taken_address__status_1_and_one_error_that_names_it(bench, what):
    busy = bench.tcp_target() if what != "server-target-udp" else bench.udp_target()
    other = bench.tcp_target(h=10).addr
    free = bench.addr(1)
    url = {"server-target": f"server://{text_of(free)}/{text_of(busy.addr)}?mode=1",
           "server-target-udp": f"server://{text_of(free)}/{text_of(busy.addr)}?mode=1",
           "server-tunnel": f"server://{text_of(busy.addr)}/{text_of(other)}?mode=2",
           "client-tunnel": f"client://{text_of(busy.addr)}/{text_of(other)}?mode=1"}[what]
    n = bench.node(url)
    n.wait_exit(1, 5)
    (error,) = n.lines("ERROR")
    assert text_of(busy.addr) in error.text and "in use" in error.text


def test_server_mode_2__never_binds_the_target_address(bench):
    tunnel, visit, target = bench.addr(1), bench.addr(2), bench.addr(9)
    server(bench, tunnel, text_of(target), "?mode=2")
    wait_listening(tunnel)
    client(bench, tunnel, text_of(visit), "?mode=2")
    wait_listening(visit)
    assert not is_listening(target) and not is_listening(target, "udp")
    bench.tcp_target(addr=target)
    assert ask(visit)


def test_client_mode_2__no_server__keeps_trying_and_binds_nothing(bench):
    tunnel, visit, target = bench.addr(1), bench.addr(2), bench.tcp_target()
    c = client(bench, tunnel, text_of(target.addr), "?mode=2")
    c.wait_line(r"(?i)refused|connect", timeout=5)
    assert c.alive() and not is_listening(tunnel)
    server(bench, tunnel, text_of(visit), "?mode=1")
    wait_listening(visit)
    assert ask(visit)


def test_forward_client__target_address_taken__status_1_and_one_error_that_names_it(bench):
    busy = bench.tcp_target(h=2)
    t = bench.link("forward", visit=busy.addr, up=False)
    t.client.wait_exit(1, 5)
    (error,) = t.client.lines("ERROR")
    assert text_of(busy.addr) in error.text and "in use" in error.text


# ------------------------------------------------------------------ forms of addresses

@over(tls=(0, 1), sanitize=("reverse-1", "single"))
def test_ipv6__tunnel_target_and_visitors(bench, flow, tls):
    target = bench.tcp_target(addr=bench.addr("::1"))
    t = bench.link(flow, tls, target=target, udp=True, visit=bench.addr("::1"), tunnel=bench.addr("::1"))
    assert ask(t.visit) and ask_dgram(t.visit)


@flows
def test_names__of_tunnel_and_target(bench, flow, tls):
    target = bench.tcp_target(addr=bench.addr("127.0.0.1"))
    tunnel = bench.addr("127.0.0.1")
    t = bench.link(flow, tls, targets=f"localhost:{target.addr[1]}", tunnel=tunnel,
                   tunnel_text=f"localhost:{tunnel[1]}")
    assert ask(t.visit)


@flows
def test_unknown_target_name__is_no_error_at_start__visitor_is_ended(bench, flow, tls):
    t = bench.link(flow, tls, targets="no-such-host.invalid:80", env={"NP_TCP_DIAL_TIMEOUT": "2s"})
    with dial(t.visit) as s:
        assert how_it_ends(s, 10)
    assert t.ingress.wait_ends()[0].reason in ("resolve_failed", "dial_timeout")
    assert all(n.alive() for n in t.nodes)


@pytest.mark.parametrize("core", ["server", "client"])
def test_address_without_host__all_addresses_v4_and_v6(bench, core):
    target, port = bench.tcp_target(), free_port("0.0.0.0")
    udp = bench.udp_target(addr=target.addr)
    if core == "client":
        bench.node(f"client://:{port}/{text_of(target.addr)}?mode=1")
    else:
        tunnel = bench.addr(1)
        server(bench, tunnel, f":{port}", "?mode=1")
        client(bench, tunnel, text_of(target.addr), "?mode=2")
    wait_listening(("127.0.0.1", port))
    for host in ("127.0.0.1", bench.host(33), "::1"):
        assert ask((host, port)) and ask_dgram((host, port))
    assert udp.got


def test_tunnel_address_without_host__client_reaches_it(bench):
    port, visit, target = free_port("0.0.0.0"), bench.addr(2), bench.tcp_target()
    key = good_key()
    bench.node(f"server://{key}@:{port}/{text_of(visit)}?mode=1&tls=1", name="server")
    bench.node(f"client://{key}@[::1]:{port}/{text_of(target.addr)}?mode=2", name="client")
    wait_listening(visit)
    assert ask(visit)


# ------------------------------------------------------------------ lists of targets

@flows
def test_targets__three__used_in_turn(bench, flow, tls):
    farms = [bench.farm(h=h) for h in (9, 10, 11)]
    t = bench.link(flow, tls, targets=",".join(text_of(f.addr) for f in farms))
    assert all(ask(t.visit) for _ in range(12))
    assert [f.busy for f in farms] == [4, 4, 4]


@over(sanitize=("reverse-0", "forward-0", "single"))
def test_targets__one_refuses__visitor_does_not_notice(bench, flow, tls):
    a, b, dead = bench.farm(h=9), bench.farm(h=10), bench.addr(11)
    t = bench.link(flow, tls, targets=",".join(text_of(x) for x in (dead, a.addr, b.addr)))
    assert all(ask(t.visit, None, 2) for _ in range(12))
    assert a.busy + b.busy == 12 and min(a.busy, b.busy) >= 3
    assert t.egress.wait_ends(12, "done")[-1].target in (text_of(a.addr), text_of(b.addr))


@over(("reverse", "single"))
def test_targets__one_is_silent__the_next_is_dialled_after_a_second(bench, flow, tls):
    mute, a = bench.mute_target(9), bench.farm(h=10)
    t = bench.link(flow, tls, targets=f"{text_of(mute.addr)},{text_of(a.addr)}")
    assert all(ask(t.visit, None, 4) for _ in range(3))
    assert a.busy == 3


@flows
def test_targets__all_refuse__visitor_is_ended_with_that_reason(bench, flow, tls):
    t = bench.link(flow, tls, targets=",".join(text_of(bench.addr(h)) for h in (10, 11)))
    with dial(t.visit) as s:
        assert how_it_ends(s, 5)
    assert t.ingress.wait_ends()[0].reason == "dial_refused"


# ------------------------------------------------------------------ TLS for visitors of a single end

@pytest.mark.parametrize("tls", [pytest.param(1, marks=pytest.mark.sanitize), 2])
def test_single_end_tls__terminated_for_visitors(bench, tls):
    files = {"crt": bench.certs.crt, "key": bench.certs.key} if tls == 2 else {}
    t = bench.link("single", client={"tls": tls, **files})
    ctx = ssl.create_default_context(cafile=bench.certs.ca)
    if tls == 1:
        ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    data = bytes(range(256)) * 2000
    for _ in range(5):
        with dial(t.visit) as raw, ctx.wrap_socket(raw, server_hostname=TLS_NAME) as s:
            s.sendall(data[:100_000])
            assert read_n(s, 100_000) == data[:100_000]
    with dial(t.visit) as s:  # who speaks no TLS gets nothing and harms nothing
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert how_it_ends(s)
    assert t.client.wait_ends(1, "tls_failed")


@over(DUAL, sanitize=("forward-0",))
def test_two_tunnels_side_by_side__one_ends__the_other_goes_on(bench, flow, tls):
    """Two tunnels side by side on one host share nothing: ending one leaves the other."""
    a, b = bench.link(flow, tls), bench.link(flow, tls)
    assert ask(a.visit) and ask(b.visit)
    a.server.terminate()
    assert all(ask(b.visit) for _ in range(5))
    assert established(b.tunnel)
