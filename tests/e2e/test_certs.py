"""Certificates: of clients (mutual TLS), and all of them when their files change."""
import os
import shutil
import signal
import ssl

import pytest

from np_harness import DUAL, TLS_NAME, over
from np_net import ask, ask_dgram, dial, established, read_n, served, wait_for

dual = over(DUAL, (2,), sanitize=("reverse-2",))
SHORT = {"NP_POOL_GET_TIMEOUT": "500ms"}
FAST = {"NP_RELOAD_INTERVAL": "1s"}


@pytest.fixture(scope="module")
def mtls(certs):
    """Certificates of clients: good, of another authority, for servers only, expired."""
    certs.leaf("client", eku="clientAuth")
    certs.leaf("client2", eku="clientAuth")
    certs.authority("other")
    certs.leaf("foreign", ca="other", eku="clientAuth")
    certs.leaf("old", eku="clientAuth", days=-1)
    return certs


def pair(certs, name):
    return {"crt": certs.path(f"{name}.crt"), "key": certs.path(f"{name}.key")}


def trusting(certs, **more):
    return {"tls": 2, "ca": certs.ca, "sni": TLS_NAME, **more}


def link(bench, certs, flow, client, **kw):
    return bench.link(flow, 2, server={"ca": certs.ca}, client=trusting(certs, **client), **kw)


# ------------------------------------------------------------------ mutual TLS

@dual
def test_client_certificate__of_the_authority__tunnel_opens_tcp_and_udp(bench, mtls, flow, tls):
    t = link(bench, mtls, flow, pair(mtls, "client"), udp=True)
    assert all(ask(t.visit) for _ in range(20)) and ask_dgram(t.visit)


@pytest.mark.parametrize("who,why", [
    (None, "no certificate"), ("foreign", "issuer certificate"), ("good", "purpose"), ("old", "expired")])
@dual
def test_client_certificate__none_or_wrong__refused_and_named(bench, mtls, flow, tls, who, why):
    t = link(bench, mtls, flow, pair(mtls, who) if who else {}, up=False, env=SHORT)
    line = t.server.wait_line("client refused: .*" + why, "WARN")
    assert line.fields["peer"].startswith(bench.net + ".") or line.fields["peer"].startswith("127.")
    t.client.wait_line("certificate", "WARN")
    assert not t.client.lines(pattern="tunnel up")
    assert not served(t.visit)


@dual
def test_client_certificate__server_does_not_ask__not_needed_and_no_harm(bench, mtls, flow, tls):
    t = bench.link(flow, 2, client=trusting(mtls, **pair(mtls, "foreign")))
    assert ask(t.visit)


def test_client_certificate__stranger_with_the_key_of_nobody__learns_no_authority(bench, mtls):
    """The request for a certificate names none."""
    t = link(bench, mtls, "reverse", pair(mtls, "client"))
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    ctx.set_alpn_protocols(["nodepass-data/2"])
    before = len(t.server.lines("WARN"))
    with dial(t.tunnel) as raw, pytest.raises(OSError), ctx.wrap_socket(raw) as s:
        s.sendall(bytes(40))
        s.recv(1)
        s.recv(1)
    assert len(t.server.lines("WARN")) == before, "strangers are no clients"
    assert ask(t.visit)


@pytest.mark.parametrize("server_tls", [0, 1])
def test_client_certificate__given_to_a_server_without_tls_2__not_needed(bench, mtls, server_tls):
    t = bench.link("reverse", server_tls, client=pair(mtls, "client"))
    assert ask(t.visit)


@pytest.mark.parametrize("core,query,words", [
    ("server", "ca=/x&tls=1", "ca=/x.*tls=2"), ("server", "ca=/x", "ca=/x.*tls=2"),
    ("client", "mode=2&crt=/x", "key is required"), ("client", "mode=2&key=/x", "crt is required"),
    ("client", "mode=2&tls=2&key=/x", "crt is required")])
def test_parameters__that_do_not_go_together__status_2(bench, core, query, words):
    n = bench.node(f"{core}://127.0.0.1:10101/127.0.0.1:8080?{query}")
    n.wait_exit(2)
    assert n.lines(pattern=words), n.log()


@pytest.mark.parametrize("core", ["server", "client"])
@pytest.mark.parametrize("name", ["crt", "key", "ca"])
def test_files__missing_at_start__status_2_and_named(bench, mtls, core, name):
    query = {"tls": 2, "mode": 2, **pair(mtls, "client"), "ca": mtls.ca, name: "/none.pem"}
    n = bench.node(f"{core}://127.0.0.1:10101/127.0.0.1:8080?" + "&".join(f"{k}={v}" for k, v in query.items()))
    n.wait_exit(2)
    assert "/none.pem" in n.log()


# ------------------------------------------------------------------ re-read

def put(certs, name, folder, as_name):
    """Replaces a pair as a renewal does: new files, moved over the old ones."""
    for ext in ("crt", "key"):
        new = os.path.join(folder, "new")
        shutil.copy(certs.path(f"{name}.{ext}"), new)
        os.replace(new, os.path.join(folder, f"{as_name}.{ext}"))


def files(folder, name):
    return {x: os.path.join(folder, f"{name}.{x}") for x in ("crt", "key")}


def shown_by(addr):
    """The certificate that a server shows now, DER."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    ctx.set_alpn_protocols(["nodepass-control/2"])
    with dial(addr) as raw, ctx.wrap_socket(raw) as s:
        return s.getpeercert(True)


def der(path):
    with open(path) as f:
        return ssl.PEM_cert_to_DER_cert(f.read())


@pytest.mark.parametrize("how", ["time", "SIGHUP"])
@dual
def test_server_certificate__new_files__new_connections_show_it_and_nothing_is_cut(bench, certs, flow, tls, how):
    certs.leaf("renewed")
    put(certs, "good", bench.folder, "srv")
    t = bench.link(flow, 2, server=files(bench.folder, "srv"), env=FAST if how == "time" else None)
    with dial(t.visit) as running:
        running.sendall(b"1")
        assert read_n(running, 1) == b"1"
        put(certs, "renewed", bench.folder, "srv")
        if how == "SIGHUP":
            t.server.signal(signal.SIGHUP)
        wait_for("the new certificate", lambda: shown_by(t.tunnel) == der(certs.path("renewed.crt")))
        running.sendall(b"2")
        assert read_n(running, 1) == b"2"
    assert len(t.server.lines("INFO", "certificate replaced")) == 1
    socks = [bench.dial(t.visit) for _ in range(40)]  # more than there are channels of before
    for s in socks:
        s.sendall(b"x")
        assert read_n(s, 1) == b"x"
    assert not t.client.lines(pattern="no tunnel"), "the session did not outlive it"


@pytest.mark.parametrize("bad", ["mismatch", "garbage", "gone"])
@dual
def test_server_certificate__bad_new_pair__reported_and_the_old_one_stays(bench, certs, flow, tls, bad):
    certs.leaf("renewed")
    put(certs, "good", bench.folder, "srv")
    t = bench.link(flow, 2, server=files(bench.folder, "srv"))
    crt = os.path.join(bench.folder, "srv.crt")
    if bad == "mismatch":
        shutil.copy(certs.path("renewed.crt"), crt)
    elif bad == "garbage":
        with open(crt, "w") as f:
            f.write("no certificate")
    else:
        os.unlink(crt)
    t.server.signal(signal.SIGHUP)
    assert "srv." in t.server.wait_line("the old certificate stays", "ERROR").raw
    assert shown_by(t.tunnel) == der(certs.crt)
    assert all(ask(t.visit) for _ in range(10))
    put(certs, "renewed", bench.folder, "srv")
    t.server.signal(signal.SIGHUP)
    wait_for("the mended one", lambda: shown_by(t.tunnel) == der(certs.path("renewed.crt")))


@dual
def test_client_certificate__new_files__next_channels_show_it(bench, mtls, flow, tls):
    """The server trusts a second authority only; the client gets a certificate of it without a break."""
    put(mtls, "client", bench.folder, "cli")
    ca = os.path.join(bench.folder, "ca.crt")
    with open(ca, "w") as f:
        f.write(open(mtls.ca).read() + open(mtls.path("other.crt")).read())
    t = bench.link(flow, 2, server={"ca": ca}, client=trusting(mtls, **files(bench.folder, "cli")))
    with dial(t.visit) as running:
        running.sendall(b"1")
        assert read_n(running, 1) == b"1"
        put(mtls, "foreign", bench.folder, "cli")
        t.client.signal(signal.SIGHUP)
        t.client.wait_line("certificate replaced")
        with open(ca, "w") as f:
            f.write(open(mtls.path("other.crt")).read())
        t.server.signal(signal.SIGHUP)
        t.server.wait_line("certificate replaced")
        socks = [bench.dial(t.visit) for _ in range(30)]
        for s in socks:
            s.sendall(b"x")
            assert read_n(s, 1) == b"x"
        running.sendall(b"2")
        assert read_n(running, 1) == b"2"
    assert not t.server.lines("WARN", "client refused")


@dual
def test_client_authority__taken_away__running_session_goes_on__new_ones_are_refused(bench, mtls, flow, tls):
    ca = os.path.join(bench.folder, "ca.crt")
    shutil.copy(mtls.ca, ca)
    t = bench.link(flow, 2, server={"ca": ca}, client=trusting(mtls, **pair(mtls, "client")), env=SHORT)
    with dial(t.visit) as running:
        running.sendall(b"1")
        assert read_n(running, 1) == b"1"
        shutil.copy(mtls.path("other.crt"), ca)
        t.server.signal(signal.SIGHUP)
        t.server.wait_line("certificate replaced")
        running.sendall(b"2")
        assert read_n(running, 1) == b"2"
    t.client.kill()
    t.start_client()
    t.server.wait_line("client refused: its certificate is not valid", "WARN")
    assert not t.client.lines(pattern="tunnel up")


@dual
def test_client__bad_new_pair__reported_and_the_old_one_stays(bench, mtls, flow, tls):
    put(mtls, "client", bench.folder, "cli")
    t = link(bench, mtls, flow, files(bench.folder, "cli"))
    shutil.copy(mtls.path("foreign.crt"), os.path.join(bench.folder, "cli.crt"))
    t.client.signal(signal.SIGHUP)
    t.client.wait_line("cli.*the old certificate stays", "ERROR")
    t.server.kill()
    t.start_server()
    t.wait_up()
    wait_for("a session after the reconnect", lambda: served(t.visit))


def test_single_end_certificate__new_files__next_visitors_see_it(bench, certs):
    certs.leaf("renewed")
    put(certs, "good", bench.folder, "srv")
    t = bench.link("single", client={"tls": 2, **files(bench.folder, "srv")})
    assert shown_by_plain(t.visit) == der(certs.crt)
    put(certs, "renewed", bench.folder, "srv")
    t.client.signal(signal.SIGHUP)
    wait_for("the new certificate", lambda: shown_by_plain(t.visit) == der(certs.path("renewed.crt")))


def shown_by_plain(addr):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    with dial(addr) as raw, ctx.wrap_socket(raw) as s:
        return s.getpeercert(True)
