"""What travels with an instance: the files that its URL names, and K of a server's key that is a word."""
import glob
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl

import pytest

from np_harness import TLS_NAME
from np_master import PATIENCE, single
from np_net import dial, is_listening, read_n, served, text_of, wait_for

pytestmark = pytest.mark.sanitize


def shown(addr):
    """The certificate that @addr shows, DER; None: there was no handshake, as while it stops or has no TLS yet."""
    ctx = ssl._create_unverified_context()
    try:
        with socket.create_connection(addr, PATIENCE) as raw, ctx.wrap_socket(raw) as s:
            return s.getpeercert(True)
    except OSError:
        return None


def der(path):
    with open(path) as f:
        return ssl.PEM_cert_to_DER_cert(f.read())


def put(files, pair):
    """@pair takes the place of the two files, as a renewal does it."""
    for new, old in zip(pair, files):
        shutil.copy(new, old + ".new")
        os.rename(old + ".new", old)


@pytest.fixture
def pairs(certs, tmp_path):
    """(paths in use, pair a, pair b)"""
    made = [certs.leaf(f"material-{x}") for x in "ab"]
    files = (str(tmp_path / "site.crt"), str(tmp_path / "site.key"))
    put(files, made[0])
    return files, *made


@pytest.fixture
def tls(masters, pairs):
    """A master with a TLS listener for visitors, its files and target."""
    m = masters(env={"NP_RELOAD_INTERVAL": "1s"})
    m.target, m.visit = m.bench.tcp_target(), m.bench.addr(2)
    m.files, m.a, m.b = pairs
    m.site = single(m.visit, m.target.addr, tls=2, crt=m.files[0], key=m.files[1])
    m.id = m.create(m.site)
    wait_for("the certificate", lambda: shown(m.visit) == der(m.a[0]), PATIENCE)
    return m


def visitor(m):
    s = ssl._create_unverified_context().wrap_socket(socket.create_connection(m.visit, PATIENCE))
    m.bench.keep(s)
    return s


def works(s, n=64):
    data = os.urandom(n)
    s.sendall(data)
    return read_n(s, n) == data


def test_changed_files_cut_nothing(tls):
    s = visitor(tls)
    assert works(s)
    put(tls.files, tls.b)
    wait_for("the new certificate", lambda: shown(tls.visit) == der(tls.b[0]), PATIENCE)
    assert works(s)
    assert tls.get(tls.id)["status"] == "running"


def test_data_plane_reads_no_file(tls):
    """A data plane that is started again gets the pair, though its files are gone."""
    for f in tls.files:
        os.unlink(f)
    plane = tls.plane()
    os.kill(plane, signal.SIGKILL)
    wait_for("the certificate of the next one",
             lambda: tls.planes() not in ([plane], []) and shown(tls.visit) == der(tls.a[0]), PATIENCE)
    assert f"crt={tls.files[0]}: No such file or directory, the old certificate stays" in \
        tls.node.wait_line("the old certificate stays", "ERROR", PATIENCE).text


def test_bad_pair_is_said_once(tls):
    put(tls.files, (tls.b[0], tls.a[1]))
    said = f"key={tls.files[1]} does not belong to the certificate in {tls.files[0]}, the old certificate stays"
    tls.node.wait_line("does not belong", "ERROR", PATIENCE)
    tls.node.signal(signal.SIGHUP)  # one more look, after which nothing more is said
    tls.node.wait_line("reload: reading certificate files", "INFO", PATIENCE)
    put(tls.files, tls.b)
    wait_for("the new certificate", lambda: shown(tls.visit) == der(tls.b[0]), PATIENCE)
    assert tls.node.log().count(said) == 1
    assert tls.get(tls.id)["status"] == "running"


def test_sighup_looks_at_once(masters, pairs):
    m = masters()  # 5 s between two looks
    files, a, b = pairs
    visit = m.bench.addr(2)
    m.create(single(visit, m.bench.tcp_target().addr, tls=2, crt=files[0], key=files[1]))
    wait_for("the certificate", lambda: shown(visit) == der(a[0]), PATIENCE)
    put(files, b)
    m.node.signal(signal.SIGHUP)
    wait_for("the new certificate", lambda: shown(visit) == der(b[0]), PATIENCE)


def test_unreadable_files(masters, pairs):
    """error, with the file and the reason; retried; what a PUT would replace goes on meanwhile."""
    m = masters()
    files, a, _ = pairs
    os.unlink(files[1])
    target, visit, events = m.bench.tcp_target(), m.bench.addr(2), m.events()
    url = single(visit, target.addr, tls=2, crt=files[0], key=files[1])
    id = m.create(url)
    m.wait_instance(id, status="error")
    text = f"key={files[1]}: No such file or directory"
    events.wait("the reason", lambda e: e.type == "log" and e.id == id and text in e.logs)
    assert text in m.node.log()
    other = m.bench.addr(3)
    plain = m.create(single(other, target.addr))
    wait_for("the plain one", lambda: is_listening(other), PATIENCE)
    s = m.bench.keep(dial(other))
    m.good("PUT", f"/instances/{plain}", {"url": single(other, target.addr, tls=2, crt=files[0], key=files[1])})
    m.wait_instance(plain, status="error")
    assert works(s) and works(m.bench.keep(dial(other)))
    put(files, a)
    m.wait_instance(id, status="running")
    m.wait_instance(plain, status="running")
    for addr in (visit, other):
        wait_for("the certificate", lambda: shown(addr) == der(a[0]), PATIENCE)
    assert works(s)


def test_stop_while_it_waits(masters, pairs):
    m = masters()
    files, a, _ = pairs
    os.unlink(files[0])
    visit = m.bench.addr(2)
    id = m.create(single(visit, m.bench.tcp_target().addr, tls=2, crt=files[0], key=files[1]))
    m.wait_instance(id, status="error")
    m.patch(id, action="stop")
    m.wait_instance(id, status="stopped")
    put(files, a)
    m.node.signal(signal.SIGHUP)
    m.patch(id, action="start")
    m.wait_instance(id, status="running")
    wait_for("the certificate", lambda: shown(visit) == der(a[0]), PATIENCE)


def test_files_changed_while_the_master_was_down(tls):
    tls.kill()
    put(tls.files, tls.b)
    assert shown(tls.visit) == der(tls.a[0])
    tls.start()
    wait_for("the new certificate", lambda: shown(tls.visit) == der(tls.b[0]), PATIENCE)


def with_a_plain_one(masters, files, first, target):
    """(master, visitors' addresses of both, their ids): one with @files, which show @first, one without TLS."""
    m = masters(env={"NP_RELOAD_INTERVAL": "1s"})
    visit, other = m.bench.addr(2), m.bench.addr(3)
    tls = m.create(single(visit, target(m.bench).addr, tls=2, crt=files[0], key=files[1]))
    plain = m.create(single(other, m.bench.farm().addr))
    wait_for("the certificate", lambda: shown(visit) == der(first[0]), PATIENCE)
    return m, visit, other, tls, plain


@pytest.mark.parametrize("what", ["pair", "gone"])
def test_master_starts_while_files_are_bad(masters, certs, pairs, what):
    """A new data plane: that instance alone stands in error, with file and fault, and recovers; the rest runs."""
    files, a, b = pairs
    m, visit, other, tls, plain = with_a_plain_one(masters, files, a, lambda bench: bench.tcp_target())
    m.stop()
    if what == "pair":
        put(files, (b[0], a[1]))
        text = f"key={files[1]} does not belong to the certificate in {files[0]}"
    else:
        os.unlink(files[1])
        text = f"key={files[1]}: No such file or directory"
    m.start()
    m.wait_instance(plain, status="running")
    m.wait_instance(tls, status="error")
    wait_for("the plain one", lambda: served(other), PATIENCE)
    m.node.wait_line(re.escape(text), "ERROR", PATIENCE)
    assert not is_listening(visit)
    put(files, b)
    m.wait_instance(tls, status="running")
    wait_for("the mended certificate", lambda: shown(visit) == der(b[0]), PATIENCE)


@pytest.mark.parametrize("then", ["PUT of another", "data plane dies"])
def test_master_starts_while_files_are_bad__what_runs_goes_on(masters, pairs, then):
    """The data plane lived on: it has the certificate that was good, whatever it is told of others."""
    files, a, b = pairs
    m, visit, other, tls, plain = with_a_plain_one(masters, files, a, lambda bench: bench.farm())
    s = m.bench.keep(dial(other))
    m.kill()
    put(files, (b[0], a[1]))
    m.start()
    m.node.wait_line("does not belong to the certificate", "ERROR", PATIENCE)
    m.good("PUT", f"/instances/{plain}", {"url": single(other, m.bench.farm(m.bench.addr(5)).addr, noudp=1)})
    m.wait_instance(plain, status="running")
    assert shown(visit) == der(a[0])
    m.patch(tls, action="restart")  # with what it has
    wait_for("the old certificate", lambda: shown(visit) == der(a[0]), PATIENCE)
    if then == "data plane dies":
        os.kill(m.plane(), signal.SIGKILL)
        m.wait_instance(tls, status="error")
        wait_for("the plain one", lambda: served(other), PATIENCE)
    put(files, b)
    wait_for("the mended certificate", lambda: shown(visit) == der(b[0]), PATIENCE)
    m.wait_instance(tls, status="running")


def test_trust_of_a_client_travels(masters, certs, pairs):
    """ca=: a server behind another authority is not joined, one behind the right one is."""
    m = masters()
    files, a, _ = pairs
    ca = certs.path("ca.crt")
    target = m.bench.tcp_target()
    tunnel, visit = m.bench.addr(2), m.bench.addr(3)
    m.create(f"server://word-of-many@{text_of(tunnel)}/{text_of(visit)}?mode=1&tls=2&crt={files[0]}&key={files[1]}")
    client = f"client://word-of-many@{text_of(tunnel)}/{text_of(target.addr)}?mode=2&sni={TLS_NAME}&ca="
    id = m.create(client + certs.authority("stranger"))
    m.node.wait_line("certificate", "WARN", PATIENCE)
    m.good("PUT", f"/instances/{id}", {"url": client + ca})
    assert works(m.bench.keep(dial(visit)))
    assert f"ca={ca}" not in m.node.log()


def rows(m):
    """The instances' rows, as text."""
    path, = glob.glob(os.path.join(m.bench.folder, "**", "nodepass.db"), recursive=True)
    assert os.stat(path).st_mode & 0o77 == 0
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        tables = [t for t, in db.execute("select name from sqlite_master where type = 'table'")]
        return "\n".join(str(r) for t in tables for r in db.execute(f"select * from {t}"))


def test_mutual_tls_travels(masters, certs, tmp_path):
    """ca of a server, crt and key of its client: both come with the instances, and are exchanged live."""
    m = masters(env={"NP_RELOAD_INTERVAL": "1s"})
    for name, ca in (("mtls-a", "ca"), ("mtls-b", "ca"), ("mtls-foreign", "mtls-other")):
        if ca != "ca" and not os.path.exists(certs.path(f"{ca}.crt")):
            certs.authority(ca)
        certs.leaf(name, ca=ca, eku="clientAuth")
    pair = lambda name: (certs.path(f"{name}.crt"), certs.path(f"{name}.key"))
    files = (str(tmp_path / "cli.crt"), str(tmp_path / "cli.key"))
    put(files, pair("mtls-foreign"))
    tunnel, visit, target = m.bench.addr(1), m.bench.addr(2), m.bench.tcp_target()
    m.create(f"server://k@{text_of(tunnel)}/{text_of(visit)}?mode=1&tls=2&crt={certs.crt}&key={certs.key}&ca={certs.ca}")
    m.create(f"client://k@{text_of(tunnel)}/{text_of(target.addr)}?mode=2&tls=2&ca={certs.ca}&sni={TLS_NAME}"
             f"&crt={files[0]}&key={files[1]}")
    m.node.wait_line("client refused: its certificate is not valid", timeout=PATIENCE)
    assert not target.peers
    put(files, pair("mtls-a"))
    wait_for("a session", lambda: served(visit), PATIENCE)
    s = m.bench.keep(dial(visit))
    assert works(s)
    put(files, pair("mtls-b"))
    wait_for("the exchange", lambda: m.node.log().count("certificate replaced crt=") >= 2, PATIENCE)
    assert works(s) and all(served(visit) for _ in range(5)), "a running session was cut"


def test_private_keys_are_kept_nowhere(tls):
    with open(tls.a[1]) as f:
        secret = f.read().split("\n")[1][:40]
    assert secret not in rows(tls) and secret not in tls.node.log()
    assert "BEGIN" not in rows(tls)


def server(at, key):
    return f"server://{key}@{text_of(at)}/127.0.0.1:1?mode=2"


def auth_of(m, id):
    row = next(r for r in rows(m).split("\n") if id in r and '"url"' in r)
    return json.loads(re.search(r"\{.*\}", row)[0]).get("auth")


def test_k_is_derived_once_for_a_word(masters):
    """Kept over restarts; made anew for another key and never used for it; shared by who has the word."""
    m = masters()
    at = m.bench.addr(2), m.bench.addr(3)
    a, b = (m.create(server(x, "a-word-of-mine")) for x in at)
    for x in at:
        wait_for("the listener", lambda x=x: is_listening(x), PATIENCE)
    first = auth_of(m, a)
    assert first and auth_of(m, b)["k"] == first["k"]
    m.stop()
    m.start()
    m.wait_instance(a, status="running")
    assert auth_of(m, a) == first
    m.good("PUT", f"/instances/{a}", {"url": server(at[0], "another-word-here")})
    wait_for("another K", lambda: auth_of(m, a) not in (None, first), PATIENCE)
    assert auth_of(m, a)["salt"] != first["salt"] and auth_of(m, b) == first


def test_k_follows_the_key(masters):
    """Another key in the URL: a client that has it is let in."""
    m = masters()
    target = m.bench.tcp_target()
    tunnel, visit = m.bench.addr(2), m.bench.addr(3)
    id = m.create(f"server://a-word-of-mine@{text_of(tunnel)}/{text_of(target.addr)}?mode=2")
    wait_for("the listener", lambda: is_listening(tunnel), PATIENCE)
    wrong = auth_of(m, id)
    m.good("PUT", f"/instances/{id}",
           {"url": f"server://another-word@{text_of(tunnel)}/{text_of(target.addr)}?mode=2"})
    wait_for("another K", lambda: auth_of(m, id) not in (None, wrong), PATIENCE)
    m.create(f"client://another-word@{text_of(tunnel)}/{text_of(visit)}?mode=2")
    wait_for("the tunnel", lambda: is_listening(visit), PATIENCE)
    assert works(m.bench.keep(dial(visit)))
