"""nodepass-dataplane without a URL: commands, events, ownership, its life."""
import json
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import threading

import pytest

import np_harness
from np_control import DATAPLANE, DataPlane, apply, nonce
from np_net import SLACK, TcpTarget, dial, free_port, is_listening, text_of, wait_for

HOST = "127.0.0.1"
pytestmark = pytest.mark.sanitize


@pytest.fixture
def node(tmp_path):
    if np_harness.binary_missing():
        pytest.fail(np_harness.binary_missing(), pytrace=False)
    n = DataPlane(tmp_path / "run")
    assert n.ready == b"R", n.log()
    yield n
    n.close()
    alarms = [x for x in n.log().splitlines() if np_harness.ALARM.search(x)]
    assert not alarms, alarms


@pytest.fixture
def echo():
    t = TcpTarget((HOST, free_port(HOST)))
    yield t
    t.close()


def nngcat(*args, data=None, timeout=10):
    argv = ["nngcat", "--recv-timeout", "5", *args]
    if data is not None:
        argv += ["--data", data]
    r = subprocess.run(argv, capture_output=True, timeout=timeout * SLACK)
    assert r.returncode == 0, r.stderr.decode()
    return r.stdout


def ask(node, request):
    return json.loads(nngcat("--req", "--dial", node.url("ctl.sock"), "--raw", data=json.dumps(request)))


def single(port, target):
    return f"client://{HOST}:{port}/{text_of(target)}?mode=1&min=0"


def round_trip(port, data=b"hello"):
    with dial((HOST, port)) as s:
        s.sendall(data)
        got = b""
        while len(got) < len(data):
            more = s.recv(len(data) - len(got))
            assert more, "closed"
            got += more
        assert got == data


# ------------------------------------------------------------------ commands

def test_nngcat__a_tunnel_from_its_making_to_its_end(node, echo):
    port = free_port(HOST)
    assert ask(node, {"ping": {"nonce": "5"}})["ping"]["nonce"] == "5"
    info = ask(node, {"info": {}})["info"]
    assert info["pid"] == node.pid and info["state"] == "NODE_STATE_STANDALONE"
    r = ask(node, {"request_id": "r1", "apply": {"spec": {
        "id": "web1", "url": single(port, echo.addr), "desired": "DESIRED_RUNNING"}}})
    assert r["code"] in ("CODE_OK", "CODE_ACCEPTED") and r["request_id"] == "r1", r
    wait_for("a listener", lambda: is_listening((HOST, port)))
    round_trip(port)
    page = ask(node, {"list": {"limit": 1000, "with_stats": True}})["list"]["instances"]
    assert [v["status"]["id"] for v in page] == ["web1"]
    assert ask(node, {"get": {"id": "web1"}})["get"]["spec"]["url"] == single(port, echo.addr)
    assert ask(node, {"remove": {"id": "web1"}})["code"] in ("CODE_OK", "CODE_ACCEPTED")
    wait_for("no listener", lambda: not is_listening((HOST, port)))
    assert ask(node, {"get": {"id": "web1"}})["code"] == "CODE_NOT_FOUND"


def test_requests_that_are_none__answered_and_survived(node):
    c = node.client()
    for raw in (b"{", b'{"nope":{}}', b'{"info":{},"info":{}}', b'{"get":{"id":"\\u0000"}}',
                b'{"info":{}} x', b"{" * 5000):
        r = json.loads(c.ask_raw(raw))
        assert r["code"] == "CODE_MALFORMED", (raw[:40], r)
    for raw in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", os.urandom(2000)):
        assert c.ask_raw(raw)[:1] != b"{"
    assert c.ask()["code"] == "CODE_UNSUPPORTED"
    assert c.ask(version=9, info={})["code"] == "CODE_UNSUPPORTED"
    assert c.ask(apply={"spec": {"id": "Bad Id", "url": "server://h:1/h:2"}})["code"] in ("CODE_MALFORMED",
                                                                                         "CODE_INVALID")
    r = apply(c, "a", "server://:0/:1")
    assert r["code"] == "CODE_INVALID" and r["text"], r
    assert c.ask(info={})["code"] == "CODE_OK"
    too_big = node.client()
    too_big.s.settimeout(5 * SLACK)
    with pytest.raises(OSError):
        too_big.s.sendall(b"\1" + struct.pack(">Q", 1 << 40) + b"x" * 100)
        too_big.recv()
    assert c.ask(info={})["code"] == "CODE_OK"


@pytest.mark.parametrize("spec,word", [
    ({"id": "a", "desired": "DESIRED_RUNNING"}, "URL"),
    ({"id": "a", "url": "client://127.0.0.1:1/127.0.0.1:2"}, "desired state"),
    ({"id": "a b", "url": "client://127.0.0.1:1/127.0.0.1:2", "desired": "DESIRED_STOPPED"}, "id"),
    ({"id": "a", "url": "master://127.0.0.1:1/api", "desired": "DESIRED_STOPPED"}, "master://"),
], ids=["no url", "no state", "bad id", "master"])
def test_specs_that_are_none__refused_with_the_reason__nothing_is_there(node, spec, word):
    c = node.client()
    r = c.ask(apply={"spec": spec})
    assert r["code"] in ("CODE_INVALID", "CODE_MALFORMED") and word in r["text"], r
    assert c.ask(info={})["info"].get("instances", 0) == 0


def test_actions__on_what_is_not_there__and_none_at_all__are_refused(node, echo):
    c = node.client()
    assert c.ask(action={"id": "ghost", "verb": "VERB_START"})["code"] == "CODE_NOT_FOUND"
    assert apply(c, "a", single(free_port(HOST), echo.addr), "DESIRED_STOPPED")["code"] == "CODE_OK"
    r = c.ask(action={"id": "a"})
    assert r["code"] == "CODE_INVALID" and "verb" in r["text"], r
    assert c.ask(get={"id": "a"})["get"]["status"]["state"] == "STATE_STOPPED"


def test_log_level__of_one__of_all__while_they_run(node, echo):
    c, ports = node.client(), [free_port(HOST), free_port(HOST)]
    for i, port in enumerate(ports):
        apply(c, f"i{i}", single(port, echo.addr) + "&log=warn")
    wait_for("listeners", lambda: all(is_listening((HOST, p)) for p in ports))

    def said():
        """How often each has said what a session became, after one more of each."""
        for p in ports:
            round_trip(p)
        return [len(re.findall(rf"DEBUG  session \w+ -> \w+ instance=i{i}$", node.log(), re.M)) for i in (0, 1)]

    assert said() == [0, 0]
    assert c.ask(log_level={"id": "ghost", "level": "LEVEL_DEBUG"})["code"] == "CODE_NOT_FOUND"
    assert c.ask(log_level={"id": "i1", "level": "LEVEL_DEBUG"})["code"] == "CODE_OK"
    wait_for("i1 says it, i0 does not", lambda: (s := said())[0] == 0 and s[1] > 0)
    assert c.ask(log_level={"level": "LEVEL_DEBUG"})["code"] == "CODE_OK"
    wait_for("i0 says it", lambda: said()[0] > 0)
    assert c.ask(log_level={"level": "LEVEL_INFO"})["code"] == "CODE_OK"
    wait_for("none says it", lambda: said() == said())


def test_a_client_that_does_not_read__stops_nobody(node, echo):
    c, rude = node.client(), node.client()
    for i in range(40):
        apply(c, f"i{i}", single(free_port(HOST), echo.addr) + "&log=none", desired="DESIRED_STOPPED")
    for _ in range(2000):
        rude.post(b'{"list":{"with_spec":true}}')
    for _ in range(20):
        assert c.ask(ping={"nonce": "1"})["code"] == "CODE_OK"
    rude.s.close()
    assert c.ask(info={})["info"]["instances"] == 40


def test_many_clients_at_once__each_gets_its_answers_in_order(node):
    def run(c, errors):
        try:
            for base in range(0, 320, 32):
                for i in range(32):
                    c.post(json.dumps({"request_id": f"r{base + i}", "ping": {}}).encode())
                for i in range(32):
                    body = c.recv()
                    assert struct.unpack(">I", body[:4])[0] == 0x80000000 | base + i + 1
                    assert json.loads(body[4:])["request_id"] == f"r{base + i}"
        except (AssertionError, OSError) as err:
            errors.append(err)

    errors = []
    threads = [threading.Thread(target=run, args=(node.client(timeout=20), errors)) for _ in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors[:3]


def test_probe__measures_a_connect(node, echo):
    c = node.client()
    r = c.ask(probe={"target": text_of(echo.addr), "count": 3, "timeout_ms": 1000})["probe"]
    assert r["sent"] == 3 and r["ok"] == 3 and 0 < r["rtt_min_us"] <= r["rtt_avg_us"] <= r["rtt_max_us"]
    r = c.ask(probe={"target": f"{HOST}:{free_port(HOST)}"})["probe"]
    assert r["sent"] == 1 and "ok" not in r and "refused" in r["error"]
    assert c.ask(probe={"target": "nonsense"})["code"] == "CODE_INVALID"


# ------------------------------------------------------------------ ownership

def hello(c, epoch, who="c1", desired=0, lease_ms=1000):
    return c.ask(epoch=str(epoch), hello={"controller_id": who, "node_id": "n1", "min_version": 1,
                                          "max_version": 1, "lease_ms": lease_ms,
                                          "desired_revision": str(desired)})


def test_epochs_and_revisions__who_may_change_what(node, echo):
    c, url = node.client(), single(free_port(HOST), echo.addr)
    assert hello(c, 5)["hello"]["info"]["state"] == "NODE_STATE_MANAGED"
    assert hello(c, 5, "c2")["code"] == "CODE_FENCED"
    assert apply(c, "a", url)["code"] == "CODE_FENCED"
    assert apply(c, "a", url, epoch="4", revision="1")["code"] == "CODE_FENCED"
    r = apply(c, "a", url, epoch="5", revision="1", desired="DESIRED_STOPPED")
    assert r["code"] in ("CODE_OK", "CODE_ACCEPTED") and r["applied_revision"] == "1", r
    assert apply(c, "a", url, epoch="5", revision="1", desired="DESIRED_STOPPED")["code"] == "CODE_OK"
    assert apply(c, "a", url, epoch="5", revision="1")["code"] == "CODE_STALE"
    assert apply(c, "a", url, epoch="5", base_revision="7", revision="8")["code"] == "CODE_GAP"
    wait_for("orphaned after four leases of silence",
             lambda: c.ask(info={})["info"]["state"] == "NODE_STATE_ORPHANED", 10)
    assert apply(c, "a", url, desired="DESIRED_STOPPED")["code"] == "CODE_OK"


def test_snapshot__in_chunks__is_the_state_from_then_on(node, echo):
    c, e = node.client(), node.events()
    ports = {i: free_port(HOST) for i in ("a", "b", "x")}
    spec = {i: {"id": i, "url": single(ports[i], echo.addr), "desired": "DESIRED_RUNNING", "revision": "9"}
            for i in ports}
    for i in ("a", "x"):
        apply(c, i, spec[i]["url"])
        e.wait_state(i, "STATE_RUNNING")
    s = dial((HOST, ports["a"]))
    s.sendall(b"before")
    assert hello(c, 1, desired=9)["hello"]["need_snapshot"]
    r = c.ask(epoch="1", revision="9", snapshot={"snapshot_id": "s", "index": 0, "instances": [spec["b"]]})
    assert r["code"] == "CODE_OK" and r["snapshot"]["staged"] == 1
    assert apply(c, "q", spec["x"]["url"], epoch="1", base_revision="2", revision="3")["code"] == "CODE_BUSY"
    bad = {"id": "bad", "url": "server://:0/:1", "desired": "DESIRED_RUNNING", "revision": "9"}
    r = c.ask(epoch="1", revision="9", snapshot={"snapshot_id": "s", "index": 1, "last": True, "total": 3,
                                                 "instances": [spec["a"], bad]})
    got = r["snapshot"]
    assert r["code"] == "CODE_OK" and r["applied_revision"] == "9", r
    assert (got["added"], got["removed"], got["unchanged"]) == (1, 1, 1), got
    assert [n["id"] for n in got["nacks"]] == ["bad"]
    e.wait_state("b", "STATE_RUNNING")
    round_trip(ports["b"])
    wait_for("x is gone", lambda: not is_listening((HOST, ports["x"])))
    assert s.recv(6) == b"before"  # what is equal was not touched
    s.sendall(b"after!")
    assert s.recv(6) == b"after!"
    s.close()
    assert not hello(c, 1, desired=9)["hello"].get("need_snapshot")


# ------------------------------------------------------------------ events

def test_events__changes_leases_statistics__in_one_order(node, echo):
    c, e, port = node.client(), node.events(), free_port(HOST)
    boot = c.ask(info={})["boot_id"]
    hello(c, 1)
    lease = e.wait("a lease since the greeting", lambda x: "lease" in x and "node_id" in x)
    assert lease["boot_id"] == boot and lease["node_id"] == "n1" and lease["lease"]["fds"] > 5
    apply(c, "web1", single(port, echo.addr), epoch="1", revision="1")
    st = e.wait_state("web1", "STATE_RUNNING")
    assert st["starts"] == 1 and st["revision"] == "1", st
    round_trip(port, b"x" * 1000)
    stats = e.wait("its numbers", lambda x: any(
        i["id"] == "web1" and i.get("tcp_rx") == "1000" and i.get("tcp_tx") == "1000"
        for i in x.get("stats", {}).get("stats", ())))
    assert int(stats["stats"]["interval_ms"]) > 0
    closes = e.wait("its closes", lambda x: any(
        m["name"] == "closes" and "1" in m.get("values", ())
        for i in x.get("metrics", {}).get("instances", ()) for m in i["metrics"]))
    assert closes
    lease = e.wait("sums in a lease", lambda x: x.get("lease", {}).get("tcp_rx") == "1000")
    assert lease["lease"]["running"] == 1 and lease["lease"]["applied_revision"] == "1"
    c.ask(epoch="1", base_revision="1", revision="2", remove={"id": "web1"})
    e.wait("that it is gone", lambda x: any(
        s["id"] == "web1" and s.get("removed") for s in x.get("changes", {}).get("changes", ())))
    assert [x["seq"] for x in e.all] == [str(int(e.all[0]["seq"]) + i) for i in range(len(e.all))]
    assert {x["boot_id"] for x in e.all} == {boot}
    # The body comes first: kinds can be subscribed to by prefix.
    raw = nngcat("--sub", "--subscribe", '{"lease"', "--count", "1", "--dial",
                 node.url("events.json.sock"), "--raw")
    assert raw.startswith(b'{"lease"') and json.loads(raw)["lease"].get("instances", 0) == 0
    e.wait("the next lease for who stays", lambda x: "lease" in x and int(x["seq"]) > int(json.loads(raw)["seq"]))


def test_last_numbers__a_restart_and_a_removal__are_said(node, echo):
    """What moves between two reports is in the totals of the boot, and said before the instance is gone."""
    c, e, port = node.client(), node.events(), free_port(HOST)
    assert c.ask(subscribe={"stats_ms": 86400000})["code"] == "CODE_OK"  # none of these comes by its time
    apply(c, "web1", single(port, echo.addr))
    e.wait_state("web1", "STATE_RUNNING")
    round_trip(port, b"x" * 1000)
    assert c.ask(action={"id": "web1", "verb": "VERB_RESTART"})["code"] == "CODE_ACCEPTED"
    e.wait_state("web1", "STATE_STOPPED")
    e.wait_state("web1", "STATE_RUNNING")
    round_trip(port, b"x" * 10)
    view = c.ask(get={"id": "web1"})["get"]["stats"]
    assert view["starts"] == 2 and view["tcp_rx"] == "10" and view["boot"]["tcp_rx"] == "1010", view
    c.ask(remove={"id": "web1"})
    last = e.wait("its numbers", lambda x: "stats" in x)["stats"]["stats"]
    assert [x["id"] for x in last] == ["web1"] and last[0]["boot"]["tcp_tx"] == "1010", last
    e.wait("that it is gone", lambda x: any(
        s["id"] == "web1" and s.get("removed") for s in x.get("changes", {}).get("changes", ())))


def test_lines_and_session_ends__travel_when_asked_for(node, echo):
    c, e, port = node.client(), node.events(), free_port(HOST)
    tag = "t" + nonce()
    apply(c, tag, single(port, echo.addr))
    e.wait_state(tag, "STATE_RUNNING")
    assert not any("logs" in x or "sessions" in x for x in e.all)
    wait_for("its lines on standard output", lambda: tag in node.log())
    assert c.ask(subscribe={"log_level": "LEVEL_INFO", "session_sample": 1})["code"] == "CODE_OK"
    said = node.log()
    round_trip(port)
    end = e.wait("its end", lambda x: "sessions" in x)["sessions"]["sessions"][0]
    assert end["id"] == tag and end["rx"] == "5" and end["tx"] == "5" and end["reason"] == "done", end
    line = next((x for x in e.all if "logs" in x), None) or e.wait("a line", lambda x: "logs" in x)
    line = line["logs"]["lines"][0]
    assert line["id"] == tag and line["level"] == "LEVEL_INFO" and "session end" in line["text"], line
    assert node.log() == said
    assert c.ask(subscribe={"log_level": "LEVEL_NONE", "session_sample": 0})["code"] == "CODE_OK"
    round_trip(port)
    wait_for("lines on standard output again", lambda: "session end" in node.log()[len(said):])


def test_many_session_ends__each_arrives_or_is_counted(node, echo):
    c, e, port = node.client(), node.events(), free_port(HOST)
    apply(c, "a", single(port, echo.addr))
    e.wait_state("a", "STATE_RUNNING")
    assert c.ask(subscribe={"session_sample": 1, "stats_ms": 100})["code"] == "CODE_OK"
    for _ in range(300):
        round_trip(port)

    def told():
        batches = [x["sessions"] for x in list(e.all) if "sessions" in x]
        assert all(len(b.get("sessions", ())) <= 100 for b in batches)
        return sum(len(b.get("sessions", ())) + int(b.get("dropped", 0)) for b in batches)
    wait_for("300 ends", lambda: told() == 300)
    wait_for("300 closes", lambda: any(
        m["name"] == "closes" and m["values"][0] == "300" for x in list(e.all) if "metrics" in x
        for i in x["metrics"]["instances"] for m in i["metrics"]))
    assert c.ask(subscribe={"session_sample": 10})["code"] == "CODE_OK"
    for _ in range(50):
        round_trip(port)
    wait_for("5 of 50 ends", lambda: told() == 305)


def test_secrets__are_in_no_line(node):
    c, e, key = node.client(), node.events(), nonce()
    c.ask(subscribe={"log_level": "LEVEL_DEBUG"})
    port = free_port(HOST)
    apply(c, "s", f"server://{key}@{HOST}:{port}/{HOST}:{free_port(HOST)}?mode=1")
    e.wait_state("s", "STATE_RUNNING")
    apply(c, "s2", f"server://{key}@{HOST}:0/{HOST}:1")
    c.ask(ping={})
    wait_for("statistics", lambda: any("stats" in x for x in list(e.all)), 10)
    assert key not in json.dumps(e.all) and key not in node.log()


# ------------------------------------------------------------------ life

def test_run_directory__is_private_and_locked(node, tmp_path):
    assert stat.S_IMODE(os.stat(node.dir).st_mode) == 0o700
    for name in ("ctl.sock", "events.sock", "events.json.sock", "lock"):
        assert stat.S_IMODE(os.stat(node.path(name)).st_mode) & 0o077 == 0, name
    with open(node.path("lock"), encoding="ascii") as f:
        assert f.read().strip() == str(node.pid)
    r = subprocess.run([DATAPLANE, f"--run-dir={node.dir}"], capture_output=True, timeout=10 * SLACK)
    assert r.returncode == 1 and str(node.pid).encode() in r.stderr
    assert node.client().ask(info={})["code"] == "CODE_OK"
    node.p.kill()
    node.p.wait(10)
    again = DataPlane(node.dir)  # what is left over is no obstacle
    try:
        assert again.ready == b"R" and again.client().ask(info={})["info"]["pid"] == again.pid
    finally:
        again.close()
    (tmp_path / "target").mkdir()
    (tmp_path / "file").symlink_to(tmp_path / "target")
    r = subprocess.run([DATAPLANE, f"--run-dir={tmp_path}/file"], capture_output=True, timeout=10 * SLACK)
    assert r.returncode == 1 and b"file" in r.stderr
    os.chmod(tmp_path / "target", 0o777)
    mended = DataPlane(tmp_path / "target")
    mended.terminate()
    assert stat.S_IMODE(os.stat(mended.dir).st_mode) == 0o700
    if os.geteuid() == 0:
        os.chown(tmp_path / "target", 65534, 65534)
        r = subprocess.run([DATAPLANE, f"--run-dir={tmp_path}/target"], capture_output=True,
                           timeout=10 * SLACK)
        assert r.returncode == 1 and b"user 65534" in r.stderr


STRANGER = """
import socket, struct, sys
for name, mine in (("ctl.sock", 0x30), ("events.json.sock", 0x21)):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(f"/proc/self/fd/{sys.argv[1]}/{name}")
    s.sendall(b"\\0SP\\0" + struct.pack(">HH", mine, 0))
    if mine == 0x30:
        body = struct.pack(">I", 0x80000001) + b'{"info":{}}'
        s.sendall(b"\\1" + struct.pack(">Q", len(body)) + body)
    print(s.recv(8)[:4], s.recv(65536))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_another_user__is_denied_even_where_the_files_let_him(node):
    os.chmod(node.dir, 0o711)
    for name in ("ctl.sock", "events.json.sock"):
        os.chmod(node.path(name), 0o666)
    fd = os.open(node.dir, os.O_PATH)
    r = subprocess.run(["/usr/bin/python3", "-c", STRANGER, str(fd)], pass_fds=(fd,), user=65534, cwd="/",
                       capture_output=True, timeout=30 * SLACK)
    os.close(fd)
    told, heard = r.stdout.decode().splitlines()
    assert "CODE_DENIED" in told and str(node.pid) not in told, r
    assert heard.endswith("b''"), heard


@pytest.mark.sanitize
def test_sigterm_twice__while_instances_are_made__leaves_nothing(node):
    """The leak check of a sanitizer is the oracle: what helper threads made for nobody is freed, too."""
    c = node.client()
    for i in range(60):  # a word as key: two at once are made
        apply(c, f"s{i}", f"server://word{i}@{HOST}:{free_port(HOST)}/{HOST}:{free_port(HOST)}?mode=2")
    node.p.send_signal(signal.SIGTERM)
    wait_for("its last line but one", lambda: "ending: sessions have" in node.log())
    node.p.send_signal(signal.SIGTERM)
    node.wait_exit()
    assert "Sanitizer" not in node.log()


@pytest.mark.parametrize("how", ["SIGTERM", "shutdown"])
def test_end__sessions_finish__then_status_0(node, echo, how):
    c, e, port = node.client(), node.events(), free_port(HOST)
    apply(c, "a", single(port, echo.addr))
    e.wait_state("a", "STATE_RUNNING")
    s = dial((HOST, port))
    s.sendall(b"one")
    assert s.recv(3) == b"one"
    if how == "SIGTERM":
        node.p.send_signal(signal.SIGTERM)
    else:
        assert c.ask(shutdown={"grace_ms": 5000})["code"] == "CODE_OK"
    wait_for("no new visitors", lambda: not is_listening((HOST, port)))
    e.wait("that it drains", lambda x: x.get("lease", {}).get("state") == "NODE_STATE_DRAINING")
    s.sendall(b"two")
    assert s.recv(3) == b"two" and node.alive()
    s.close()
    node.wait_exit(0)


def test_drain__and_back(node, echo):
    c, e, port = node.client(), node.events(), free_port(HOST)
    apply(c, "a", single(port, echo.addr))
    e.wait_state("a", "STATE_RUNNING")
    assert c.ask(drain={"grace_ms": 300})["code"] == "CODE_OK"
    assert apply(c, "b", single(free_port(HOST), echo.addr))["code"] == "CODE_DRAINING"
    e.wait("that it is drained", lambda x: x.get("lease", {}).get("state") == "NODE_STATE_DRAINED")
    wait_for("no listener", lambda: not is_listening((HOST, port)))
    assert c.ask(drain={"cancel": True})["code"] == "CODE_OK"
    wait_for("a listener", lambda: is_listening((HOST, port)))
    round_trip(port)


def test_standard_output_breaks__tunnels_go_on(tmp_path, echo):
    r, w = os.pipe()
    n = DataPlane(tmp_path / "run", stdout=w)
    os.close(w)
    try:
        c, port = n.client(), free_port(HOST)
        apply(c, "a", single(port, echo.addr) + "&log=debug")
        wait_for("a listener", lambda: is_listening((HOST, port)))
        os.close(r)
        for _ in range(50):
            round_trip(port)
        assert c.ask(info={})["code"] == "CODE_OK" and n.alive()
        n.p.send_signal(signal.SIGTERM)
        assert n.p.wait(8 * SLACK) == 0
    finally:
        n.close()


def test_controller_dies__tunnels_go_on(node, echo):
    c, e, port = node.client(), node.events(), free_port(HOST)
    hello(c, 3)
    apply(c, "a", single(port, echo.addr), epoch="3", revision="1")
    e.wait_state("a", "STATE_RUNNING")
    c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
    e.wait("that it is orphaned", lambda x: x.get("lease", {}).get("state") == "NODE_STATE_ORPHANED", 10)
    round_trip(port)
    r = hello(node.client(), 4, "c2", desired=1)
    assert r["code"] == "CODE_OK" and not r["hello"].get("need_snapshot")
    round_trip(port)
