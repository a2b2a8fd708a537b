"""Who is let in: keys, strangers, replay, channels without credentials, certificates, downgrades."""
import base64
import contextlib
import os
import random
import re
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest

from np_harness import DUAL, NODEPASS, TLS_NAME, good_key, over
from np_net import (SLACK, abort, ask, ask_dgram, dial, established, how_it_ends, is_listening, parallel, read_n,
                    text_of, wait_for)

dual = over(DUAL, (0, 1), sanitize=("reverse-1",))
CONTROL, DATA = "nodepass-control/2", "nodepass-data/2"


def shut_out(t, client=None):
    """The client was refused: no channel, no visitor is served."""
    client = client or t.client
    if t.flow == "forward":
        assert not is_listening(t.visit), "the client serves although it was not let in"
    else:
        with dial(t.visit) as s:
            with contextlib.suppress(OSError):
                s.sendall(b"x")
            assert how_it_ends(s)
        assert t.server.wait_ends()[0].reason == "pool_timeout"
    assert client.alive() and t.server.alive()


SHORT = {"NP_POOL_GET_TIMEOUT": "500ms"}


# ------------------------------------------------------------------ keys

@pytest.mark.parametrize("key", ["mypassword", "a", "x" * 200, "with space", "p%40ss:w/rd?&=#", "ключ-密钥", None],
                         ids=["plain", "one-letter", "200-letters", "space", "reserved", "utf8", "np1"])
@over(DUAL)
def test_equal_keys__tunnel_opens(bench, flow, tls, key):
    assert ask(bench.link(flow, tls, key=key).visit)


@dual
@pytest.mark.parametrize("keys", [("right-password-long", "wrong-password-long"), (good_key(), good_key()),
                                  ("", "guess"), ("secret", "")], ids=["words", "np1", "none-some", "some-none"])
def test_unequal_keys__shut_out(bench, flow, tls, keys):
    t = bench.link(flow, tls, server_key=keys[0], client_key=keys[1], env=SHORT, up=False)
    t.client.wait_line(r"(?i)wrong key|reject|auth|proof", "WARN")
    shut_out(t)


@pytest.mark.parametrize("core", ["server", "client"])
def test_no_key__is_the_port_in_lower_case_hexadecimal(bench, core):
    tunnel, visit, target = bench.addr(1), bench.addr(2), bench.tcp_target()
    key = f"{tunnel[1]:x}@"
    bench.node(f"server://{key if core == 'server' else ''}{text_of(tunnel)}/{text_of(visit)}?mode=1", name="server")
    bench.node(f"client://{key if core == 'client' else ''}{text_of(tunnel)}/{text_of(target.addr)}?mode=2",
               name="client")
    wait_for("the listener", lambda: is_listening(visit))
    assert ask(visit)


def test_no_key__both_ends_warn_once_that_it_protects_nothing(bench):
    t = bench.link("reverse", key="")
    for n in t.nodes:
        n.wait_line(r"(?i)key|secret", "WARN")
        assert len(n.lines("WARN", r"(?i)\bkey\b|secret")) == 1
        n.wait_line("auth(: |=)none")


def test_short_key__warned_about_once(bench):
    t = bench.link("reverse", key="short")
    for n in t.nodes:
        assert len(n.lines("WARN", r"(?i)\bkey\b")) == 1


def test_key_command__prints_a_key_that_works(bench):
    out = [subprocess.run([NODEPASS, "key"], capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert out[0] != out[1]
    for text in out:
        assert text.endswith("\n") and len(text) == 48 and text.startswith("np1_")
    assert ask(bench.link("reverse", key=out[0].strip()).visit)


@pytest.mark.parametrize("flow", ["reverse", "forward", "single"])
def test_secrets__neither_in_argv_nor_in_any_log(bench, flow):
    secret = "Zq7-very-secret-word"
    debug = {"log": "debug"}
    if flow == "single":
        visit, target = bench.addr(2), bench.tcp_target()
        n = bench.node(f"client://{secret}@{text_of(visit)}/{text_of(target.addr)}?mode=1&log=debug")
        wait_for("the listener", lambda: is_listening(visit))
        assert ask(visit)
        nodes = [n]
    else:
        t = bench.link(flow, 1, key=secret, server=debug, client=debug)
        assert ask(t.visit)
        wrong = bench.node(t.start_args["client"][0].replace(secret, "Zq7-wrong-word"), env=SHORT, name="wrong")
        wrong.wait_line(r"(?i)wrong key|reject|auth|proof", "WARN")
        nodes = [*t.nodes, wrong]
    for n in nodes:
        argv = n.argv()
        assert not any(b"Zq7" in a for a in argv), "the key is in the process list"
        assert any(b"://" in a for a in argv), "the process list does not say what runs"
    environ = [open(f"/proc/{n.pid}/environ", "rb").read() for n in nodes]
    assert not any(b"Zq7" in e for e in environ)
    for n in nodes:
        n.terminate()
        assert "Zq7" not in n.log()


# ------------------------------------------------------------------ strangers

def hello_bytes(alpn=None, version=None):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    if alpn:
        ctx.set_alpn_protocols([alpn])
    if version:
        ctx.maximum_version = version
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ctx.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


def no_verify(alpn=None, version=None):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    if alpn:
        ctx.set_alpn_protocols([alpn])
    if version:
        ctx.minimum_version, ctx.maximum_version = ssl.TLSVersion.TLSv1_2, version
    return ctx


def _send(data, end=None):
    def probe(addr):
        s = dial(addr, 3)
        with contextlib.suppress(OSError):
            s.sendall(data)
        if end:
            end(s)
        return s
    return probe


def _tls(alpn, then=b""):
    def probe(addr):
        raw = dial(addr, 3)
        try:
            s = no_verify(alpn).wrap_socket(raw)
            s.sendall(then)
            return s
        except OSError:
            return raw
    return probe


# ------------------------------------------------------------------ NodePass 1.x

def line_of_1x(key):
    """Its first line: the key as text, XORed with the key."""
    return base64.b64encode(bytes(len(key))) + b"\n"


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("key", ["", "its-own-key", "k" * 300])
@over(("reverse",), (0, 1))
def test_client_of_1x__one_warning_that_names_it_and_compat__closed(bench, flow, tls, key, pieces):
    t = bench.link(flow, tls, key=key, start=False)
    t.start_server()
    t.server.tolerate(*QUIET)
    line = line_of_1x(key or "2775beef")
    for _ in range(5):
        with dial(t.tunnel) as s:
            me = text_of(s.getsockname()[:2])
            for part in (line[:3], line[3:9], line[9:]) if pieces else (line,):
                s.sendall(part)
            assert how_it_ends(s)
        first = t.server.wait_line(r"compat=1", "WARN")
    assert len(t.server.lines("WARN", "compat=1")) == 1, "it is told again and again"
    assert first.fields["peer"].split(":")[0] == me.split(":")[0]
    other = bench.host(88)
    with dial(t.tunnel, source=other) as s:
        s.sendall(line)
        assert how_it_ends(s)
    assert other in t.server.wait_line("compat=1", "WARN", count=2).raw
    t.start_client()
    t.wait_up()
    assert ask(t.visit)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"AAAA", b"AAAA" * 1000 + b"\n", b"AAAAAAA\n"])
def test_not_quite_1x__closed_without_a_word_about_it(bench, data):
    t = bench.link("reverse", 1, start=False, server_env={"NP_HANDSHAKE_TIMEOUT": "500ms"})
    t.start_server()
    t.server.tolerate(*QUIET)
    with dial(t.tunnel) as s:
        s.sendall(data)
        assert how_it_ends(s)
    assert not t.server.lines("WARN", "compat=1")


PREAMBLE = b"NPD2" + bytes([1, 0, 0, 0]) + b"\x11" * 8 + (1).to_bytes(8, "big") + b"\x22" * 16
STRANGERS = {
    "silence": _send(b""),
    "reset": _send(b"", abort),
    "garbage": _send(random.Random(3).randbytes(4096)),
    "http": _send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "half-hello": _send(hello_bytes(CONTROL)[:57]),
    "hello-and-silence": _send(hello_bytes(CONTROL)),
    "hello-without-alpn": _send(hello_bytes()),
    "huge-record": _send(b"\x16\x03\x01\xff\xff" + bytes(70_000)),
    "tls-without-alpn": _tls(None),
    "control-and-silence": _tls(CONTROL),
    "control-huge-frame": _tls(CONTROL, b"\xff\xff\xff\xff" + bytes(100)),
    "control-garbage-frame": _tls(CONTROL, b"\x00\x00\x00\x40" + bytes(range(64))),
    "data-and-garbage": _tls(DATA, random.Random(4).randbytes(400)),
    "preamble-in-clear": _send(PREAMBLE),
    "half-preamble": _send(PREAMBLE[:13]),
}
QUIET = ("violation", "stranger", "unauthenticated")


@pytest.mark.parametrize("probe", STRANGERS)
@over(("reverse",), (0, 1), sanitize=("reverse-1",))
def test_stranger__running_tunnel_and_new_client_are_not_disturbed(bench, flow, tls, probe):
    t = bench.link(flow, tls)
    t.server.tolerate(*QUIET)
    keep = bench.dial(t.visit)
    keep.sendall(b"a")
    assert read_n(keep, 1) == b"a"
    strangers = []
    for _ in range(4):
        with contextlib.suppress(OSError):
            strangers.append(bench.keep(STRANGERS[probe](t.tunnel)))
    assert all(ask(t.visit, None, 3) for _ in range(5))
    t.client.kill()
    start = time.monotonic()
    t.start_client()
    assert ask(t.visit, None, 6)
    assert time.monotonic() - start < 2 * SLACK, "strangers delay a client"
    assert keep.fileno() >= 0


@over(("reverse",), (0, 1))
def test_strangers__1500_silent_ones__client_gets_in(bench, flow, tls):
    """More than the 1 024 places for those who have not shown a key yet."""
    t = bench.link(flow, tls, start=False)
    t.start_server()
    t.server.tolerate(*QUIET)
    half = hello_bytes(CONTROL)[:99]
    for i in range(1500):
        s = bench.keep(dial(t.tunnel, 5))
        with contextlib.suppress(OSError):
            s.sendall(half if i % 2 else b"")
    start = time.monotonic()
    t.start_client()
    assert ask(t.visit, None, 8)
    assert time.monotonic() - start < 3 * SLACK
    assert t.server.fd_count() < 1200 + 64


@pytest.mark.parametrize("probe", ["silence", "half-hello", "hello-and-silence", "control-and-silence",
                                   "half-preamble"])
def test_stranger__too_slow__is_closed_at_the_handshake_timeout(bench, probe):
    t = bench.link("reverse", 0, server_env={"NP_HANDSHAKE_TIMEOUT": "500ms"}, start=False)
    t.start_server()
    t.server.tolerate(*QUIET)
    before = t.server.fd_count()
    strangers = [STRANGERS[probe](t.tunnel) for _ in range(10)]
    assert all(how_it_ends(s, 14) for s in strangers)
    wait_for("descriptors are back", lambda: t.server.fd_count() <= before)
    for s in strangers:
        s.close()


@over(DUAL, (0, 1))
def test_data_connection__without_credentials__closed_without_an_answer(bench, flow, tls):
    t = bench.link(flow, tls, client={"min": 2})
    t.server.tolerate(*QUIET)
    for kind, data in (("zero id", PREAMBLE), ("kind 2", PREAMBLE[:4] + b"\2" + PREAMBLE[5:]),
                       ("kind 9", PREAMBLE[:4] + b"\x09" + PREAMBLE[5:]),
                       ("reserved", PREAMBLE[:5] + b"\1" + PREAMBLE[6:])):
        with dial(t.tunnel) as raw:
            s = no_verify(DATA).wrap_socket(raw) if tls else raw
            s.sendall(data)
            s.settimeout(10)
            got = b""
            with contextlib.suppress(OSError):
                got = s.recv(4096)
            assert got == b"", f"{kind}: the server answered {got!r}"
            s.close()
    assert all(ask(t.visit) for _ in range(20))


def test_preamble_in_clear__server_with_tls__refused(bench):
    """The preamble of a tls=0 session, right in itself, must not be taken by a server with tls=1."""
    t = bench.link("reverse", 1)
    t.server.tolerate(*QUIET)
    with dial(t.tunnel) as s:
        s.sendall(PREAMBLE)
        assert how_it_ends(s)
    assert ask(t.visit)


@over(("reverse",), (0, 1))
def test_replay__of_all_a_client_sent__gets_nothing(bench, flow, tls):
    t = bench.link(flow, tls, via={}, key="observed-and-recorded", env={"NP_POOL_GET_TIMEOUT": "8s"})
    assert ask(t.visit, b"MARK")
    recorded = [bytes(x.up.head) for x in t.proxy.links]
    before = len(established(t.tunnel))
    t.server.tolerate(*QUIET)
    loot = [b""] * len(recorded)

    def play(i, data):
        got = b""
        with contextlib.suppress(OSError), dial(t.tunnel, 4) as s:
            s.sendall(data)
            with contextlib.suppress(TimeoutError):
                while True:
                    more = s.recv(1 << 16)
                    if not more:
                        break
                    got += more
        loot[i] = got

    players = [threading.Thread(target=play, args=x, daemon=True) for x in enumerate(recorded)]
    for p in players:
        p.start()
    for i in range(10):
        assert ask(t.visit, b"VISITOR-SECRET-%d" % i)
    for p in players:
        p.join(30)
    assert not any(b"VISITOR-SECRET" in x for x in loot)
    if not tls:
        clear = [x for x, data in zip(loot, recorded) if data.startswith(b"NPD2")]
        assert clear == [b""] * len(clear), "a replayed preamble was answered"
    wait_for("the strangers are gone", lambda: len(established(t.tunnel)) <= before + 2, 15)


def test_wire__tls_1__visitors_bytes_are_not_readable(bench):
    t = bench.link("reverse", 1, via={}, udp=True)
    assert ask(t.visit, b"TOP-SECRET" * 30) and ask_dgram(t.visit, b"TOP-SECRET" * 30)
    heads = b"".join(bytes(x.up.head + x.down.head) for x in t.proxy.links)
    assert len(heads) > 1000 and b"TOP-SECRET" not in heads


# ------------------------------------------------------------------ many clients

@over(("reverse",), (0, 1), sanitize=("reverse-1",))
def test_clients__three__share_the_visitors__and_take_over_from_the_dead(bench, flow, tls):
    farms = [bench.farm(h=h) for h in (9, 10, 11)]
    t = bench.link(flow, tls, target=farms[0])
    others = [bench.node(t.start_args["client"][0].replace(text_of(farms[0].addr), text_of(f.addr)), name="other")
              for f in farms[1:]]
    wait_for("three control connections and channels", lambda: len(established(t.tunnel)) >= 3 * 3)
    wait_for("every client serves", lambda: ask(t.visit) and all(f.busy for f in farms))
    held = [bench.dial(t.visit) for _ in range(9)]
    before = [f.busy for f in farms]
    for s in held:
        s.sendall(b"x")
        assert read_n(s, 1) == b"x"
    assert [f.busy - b for f, b in zip(farms, before)] == [3, 3, 3], "not the one with the fewest sessions"
    t.client.kill()
    served = farms[0].busy
    assert all(ask(t.visit) for _ in range(12))
    assert farms[0].busy == served and all(n.alive() for n in others)


def test_clients__forward__each_serves_its_own_visitors(bench):
    t = bench.link("forward", 1)
    visit = bench.addr(3)
    bench.node(t.start_args["client"][0].replace(text_of(t.visit), text_of(visit)), name="other")
    wait_for("the second listener", lambda: is_listening(visit))
    assert parallel(20, lambda i: ask(visit if i % 2 else t.visit)) == [True] * 20


def test_clients__64_per_source__one_more_is_refused_and_disturbs_nobody(bench):
    t = bench.link("reverse", 0, client={"min": 0, "log": "warn"})
    url = t.start_args["client"][0]
    more = [bench.node(url, name="more") for _ in range(15)]
    wait_for("sixteen control connections", lambda: len(established(t.tunnel)) >= 16, 30)
    assert all(n.alive() for n in more)
    assert ask(t.visit)


# ------------------------------------------------------------------ downgrades and certificates

@over(DUAL)
@pytest.mark.parametrize("floor,offered", [(1, 0), (2, 0), (2, 1)])
def test_tls_floor__server_below_it__refused(bench, flow, tls, floor, offered):
    t = bench.link(flow, offered, client={"tls": floor}, env=SHORT, up=False)
    # tls=2 in the client's URL has it verify first, and no certificate of such a server can be right
    t.client.wait_line("tls_too_low" if floor == 1 else "(?i)tls_too_low|certificate", "WARN")
    shut_out(t)


@pytest.mark.parametrize("floor,offered", [(0, 1), (1, 1), (1, 2), (2, 2)])
def test_tls_floor__server_at_or_above_it__accepted(bench, floor, offered):
    assert ask(bench.link("reverse", offered, client={"tls": floor}).visit)


def refused_certificate(t):
    t.client.wait_line(r"(?i)certificate|verif|pin|name", "WARN")
    shut_out(t)


@over(DUAL)
@pytest.mark.parametrize("case", ["foreign-authority", "wrong-name", "no-anchor", "wrong-pin"])
def test_certificate__not_the_right_one__refused(bench, flow, tls, case):
    c = bench.certs
    server, client = {}, {"ca": c.ca, "sni": TLS_NAME}
    if case == "foreign-authority":
        c.authority("foreign")
        crt, key = c.leaf("foreign-leaf", ca="foreign")
        server = {"crt": crt, "key": key}
    elif case == "wrong-name":
        client["sni"] = "elsewhere.test"
    elif case == "no-anchor":
        client = {"sni": TLS_NAME}
    else:
        client = {"pin": c.pin(c.leaf("pinned")[0])}
    refused_certificate(bench.link(flow, 2, server=server, client=client, env=SHORT, up=False))


def test_certificate__tls_2_and_nothing_asked__chain_and_name_are_verified(bench):
    """Neither ca, sni nor pin in the URL: Welcome says tls=2, the system store decides."""
    t = bench.link("reverse", 2, client={"ca": "", "sni": ""}, env=SHORT, up=False)
    refused_certificate(t)


@pytest.mark.parametrize("ca", ["ca=", "system store"])
def test_certificate__address_in_the_certificate__accepted_without_sni(bench, ca):
    tunnel = bench.addr(1)
    crt, key = bench.certs.leaf("by-address", san=f"IP:{tunnel[0]}")
    query = {"ca": bench.certs.ca} if ca == "ca=" else {"ca": "", "sni": "none"}
    t = bench.link("reverse", 2, tunnel=tunnel, server={"crt": crt, "key": key}, client=query,
                   env={"SSL_CERT_FILE": bench.certs.ca} if ca != "ca=" else None)
    assert ask(t.visit)


@over(DUAL)
def test_certificate__right_pin__accepted_without_authority(bench, flow, tls):
    t = bench.link(flow, 2, client={"pin": bench.certs.pin(bench.certs.crt)})
    assert ask(t.visit)


@pytest.mark.parametrize("tls", [0, 1])
def test_certificate__pin_of_a_server_without_files__verified_too(bench, tls):
    t = bench.link("reverse", tls, start=False, env=SHORT)
    t.start_server()
    with dial(t.tunnel) as raw, no_verify(CONTROL).wrap_socket(raw) as s:
        pin = bench.certs.pin(der=s.getpeercert(binary_form=True))
    url = t.start_args["client"][0]
    wrong = bench.node(f"{url}&pin={'0' * 64}", env=SHORT, name="wrong")
    wrong.wait_line(r"(?i)certificate|verif|pin", "WARN")
    t.client = bench.node(f"{url}&pin={pin}", env=SHORT, name="client")
    wait_for("the right one is in", lambda: len(established(t.tunnel)) >= 2)
    assert ask(t.visit)


def test_tls_1_2__refused(bench):
    t = bench.link("reverse", 1)
    t.server.tolerate(*QUIET)
    with dial(t.tunnel) as raw, pytest.raises(OSError):
        no_verify(CONTROL, ssl.TLSVersion.TLSv1_2).wrap_socket(raw)
    with dial(t.tunnel) as raw, no_verify(CONTROL).wrap_socket(raw) as s:
        assert (s.version(), s.selected_alpn_protocol()) == ("TLSv1.3", CONTROL)


@pytest.mark.parametrize("tls", [0, 1])
def test_hello__tells_a_stranger_no_configuration(bench, tls):
    """Before a proof the server says Hello (versions, salt, software) and nothing of flow, limits or channels."""
    t = bench.link("reverse", tls, server={"max": 777})
    t.server.tolerate(*QUIET)
    with dial(t.tunnel) as raw, no_verify(CONTROL).wrap_socket(raw) as s:
        (n,) = struct.unpack(">I", read_n(s, 4))
        assert 0 < n <= 1024
        hello = read_n(s, n)
        assert b"np1_" not in hello and os.uname().nodename.encode() not in hello
        s.settimeout(0.5)
        with pytest.raises((TimeoutError, socket.timeout)):
            s.recv(1)


# ------------------------------------------------------------------ a server that is not there yet

def test_server_that_refuses__waits_double_from_2_ms_to_half_a_second(bench):
    client = bench.node(f"client://{good_key()}@{text_of(bench.addr(1))}/{text_of(bench.addr(2))}?mode=2&log=debug")
    client.wait_line("next attempt in", count=12)
    waits = [int(re.search(r"next attempt in (\d+) ms", x.raw)[1]) for x in client.lines(pattern="next attempt in")]
    longest = [0, 2, 4, 8, 16, 32, 64, 128, 256, 500, 500, 500]
    assert all(w <= most for w, most in zip(waits, longest)), waits
    assert max(waits[9:]) > 256, f"{waits} does not double"
