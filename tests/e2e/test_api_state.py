"""What outlives what: the master's state over restarts and kills, sessions over kills and changes."""
import contextlib
import json
import os
import re
import signal
import stat

import pytest

from np_control import DATAPLANE, DataPlane
from np_master import KEY_ID, PATIENCE, single
from np_net import ask, dial, is_listening, read_n, served, text_of, wait_for


def works(s, n=64):
    data = os.urandom(n)
    s.sendall(data)
    return read_n(s, n) == data


STABLE = ("id", "alias", "type", "url", "config", "restart", "meta")


def stable(m):
    return [{k: x[k] for k in STABLE} for x in m.list().values()]


@pytest.mark.sanitize
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_state_survives(one, how):
    """kill: both planes at once and at any moment, as a power failure would."""
    one.patch(one.id, alias="é", meta={"peer": {"sid": "s", "type": "1", "alias": "p"}, "tags": {"k": "v"}})
    b = one.create(single(one.bench.addr(3), one.target.addr), alias="b")
    one.patch(b, restart=False)
    one.good("DELETE", f"/instances/{one.create(single(one.bench.addr(4), one.target.addr))}", status=204)
    one.good("POST", "/info", {"alias": "hub"})
    c = one.create(single(one.bench.addr(5), one.target.addr))
    one.patch(c, action="stop")
    before, info = stable(one), one.good("GET", "/info")
    if how == "stop":
        one.stop()
    else:
        plane = one.plane()
        one.node.kill()
        os.kill(plane, signal.SIGKILL)
        wait_for("its end", lambda: not one.planes(), PATIENCE)
    one.start()
    assert stable(one) == before
    after = one.good("GET", "/info")
    assert (after["mid"], after["alias"]) == (info["mid"], "hub")
    assert one.key not in one.node.log()
    for id, status in ((one.id, "running"), (b, "stopped"), (c, "running")):  # restart decides, not the last state
        one.wait_instance(id, status=status)
    wait_for("service", lambda: served(one.visit), PATIENCE)


@pytest.mark.sanitize
def test_counters_survive(one):
    assert ask(one.visit, b"x" * 700)
    one.wait_instance(one.id, tcprx=700, tcptx=700)
    one.patch(one.id, action="stop")
    one.wait_instance(one.id, status="stopped", tcprx=700)
    one.patch(one.id, action="start")
    wait_for("service", lambda: is_listening(one.visit), PATIENCE)
    assert ask(one.visit, b"x" * 20)
    one.wait_instance(one.id, tcprx=720, tcptx=720)
    one.stop()
    one.start()
    wait_for("service", lambda: is_listening(one.visit), PATIENCE)
    assert ask(one.visit, b"x" * 3)
    one.wait_instance(one.id, tcprx=723, tcptx=723)
    one.patch(one.id, action="reset")
    one.stop()
    one.start()
    assert one.get(one.id)["tcprx"] == 0


def test_counters_of_the_last_moment(one):
    one.env["NP_REPORT_INTERVAL"] = "3s"
    one.stop()
    one.start()
    wait_for("service", lambda: is_listening(one.visit), PATIENCE)
    assert ask(one.visit, b"x" * 10)
    one.wait_instance(one.id, tcprx=10)  # a report was just now: none between the bytes and the restart
    s = one.events()
    assert ask(one.visit, b"x" * 700)
    one.patch(one.id, action="restart")
    s.wait("its stop", lambda e: e.state == ("update", "stopped"))
    wait_for("service", lambda: is_listening(one.visit), PATIENCE)
    assert ask(one.visit, b"x" * 3)
    x = wait_for("the next report", lambda: one.get(one.id)["tcprx"] % 10 == 3 and one.get(one.id), PATIENCE)
    assert x["tcprx"] == 713


def test_files_are_private(one):
    for folder in ("state", "run"):
        top = os.path.join(one.bench.folder, folder)
        assert stat.S_IMODE(os.stat(top).st_mode) == 0o700
        for name in os.listdir(top):
            assert stat.S_IMODE(os.stat(os.path.join(top, name)).st_mode) == 0o600, name
    assert all(one.key.encode() not in x for x in one.node.argv())
    with open(f"/proc/{one.plane()}/cmdline", "rb") as f:
        assert text_of(one.visit).encode() not in f.read()


# ------------------------------------------------------------------ supervision

@pytest.mark.sanitize
def test_data_plane_dies(one):
    s = one.events()
    s.wait("the opening", lambda e: e.id == one.id)
    stopped = one.create(single(one.bench.addr(3), one.target.addr))
    one.patch(stopped, action="stop")
    one.wait_instance(stopped, status="stopped")
    assert ask(one.visit, b"x" * 300)
    one.wait_instance(one.id, tcprx=300)
    plane = one.plane()
    visitor = one.bench.dial(one.visit)
    assert works(visitor)
    os.kill(plane, signal.SIGKILL)
    wait_for("another data plane", lambda: one.planes() not in ([], [plane]), PATIENCE)
    one.wait_ready()
    wait_for("service", lambda: served(one.visit), PATIENCE)
    one.wait_instance(one.id, status="running")
    assert one.get(one.id)["tcprx"] >= 300
    assert one.get(stopped)["status"] == "stopped"  # the desired state, not the restart flag
    assert s.end is None and one.node.alive()


@pytest.mark.sanitize
def test_control_plane_dies(one):
    visitor = one.bench.dial(one.visit)
    assert works(visitor)
    b = one.create(single(one.bench.addr(3), one.target.addr))
    one.patch(b, action="stop")
    one.wait_instance(b, status="stopped")
    plane = one.plane()
    one.kill()
    for _ in range(3):
        assert works(visitor) and ask(one.visit)  # running sessions and new visitors alike
    assert one.plane() == plane
    one.start()
    assert one.plane() == plane and works(visitor)
    x = one.wait_instance(one.id, status="running", tcps=1)
    assert x["restart"] and one.get(b)["status"] == "stopped"
    # Five blocks and three times 24 bytes, no more to come: adopted with its counters, each byte once.
    one.wait_instance(one.id, tcprx=5 * 64 + 3 * 24)
    assert works(visitor)
    one.wait_instance(one.id, tcprx=6 * 64 + 3 * 24)
    one.patch(one.id, action="stop")
    one.wait_instance(one.id, status="stopped")


def test_kills_in_turn(one):
    for _ in range(3):
        one.kill()
        for pid in one.planes():
            os.kill(pid, signal.SIGKILL)
        one.start()
        wait_for("service", lambda: served(one.visit), PATIENCE)
        os.kill(one.plane(), signal.SIGKILL)
        wait_for("service", lambda: served(one.visit), PATIENCE)
    one.wait_ready()
    assert len(one.list()) == 2


# ------------------------------------------------------------------ changes under load

@pytest.mark.sanitize
def test_changes_cut_no_session(one):
    visitor = one.bench.dial(one.visit)
    assert works(visitor)
    other = one.bench.tcp_target(lambda s: s.sendall(b"other"))
    path = f"/instances/{one.id}"
    for url in (single(one.visit, one.target.addr, rate=800), single(one.visit, one.target.addr, rate=0),
                single(one.visit, other.addr), single(one.visit, other.addr, slot=50)):
        x = one.good("PUT", path, {"url": url})
        assert x["url"].split("?")[0] == url.split("?")[0]
        assert works(visitor), url
        x = one.get(one.id)
        assert x["status"] == "running"

    def comes_to_the_other():  # what was answered is stored; the data plane hears of it a moment later
        with contextlib.suppress(TimeoutError), dial(one.visit, 1) as s:
            return s.recv(5) == b"other"

    wait_for("the new target", comes_to_the_other)
    assert works(visitor)
    one.patch(one.id, alias="a", meta={"tags": {"a": "b"}})
    one.patch(one.id, action="reset")
    one.patch(one.id, action="start")
    assert works(visitor)


def test_stop_ends_sessions(one):
    visitor = one.bench.dial(one.visit, timeout=PATIENCE)
    assert works(visitor)
    one.wait_instance(one.id, tcps=1)
    one.patch(one.id, action="stop")
    wait_for("no listener", lambda: not is_listening(one.visit), PATIENCE)
    assert works(visitor)  # has its time
    assert visitor.recv(1) == b""  # and an orderly end
    one.wait_instance(one.id, status="stopped", tcps=0)
    line = one.node.wait_line("reason=instance_stopped", timeout=PATIENCE)
    assert line.raw.endswith(f"[{one.id}]")


# ------------------------------------------------------------------ one master per state

def test_second_master(one):
    for env in ({}, {"NP_STATE_DIR": os.path.join(one.bench.folder, "state2")},
                {"NP_RUN_DIR": os.path.join(one.bench.folder, "run2")}):
        n = one.bench.node(f"master://{text_of(one.bench.addr(7))}", env={**one.env, **env}, name="second")
        n.wait_exit(1, PATIENCE)
        assert n.last_words().strip()
    assert ask(one.visit) and one.call("GET", "/info").status == 200
    assert one.plane()


def test_port_taken(masters, bench):
    target = bench.tcp_target()
    m = masters(addr=target.addr, wait=False)
    m.node.wait_exit(1, PATIENCE)
    assert text_of(target.addr) in m.node.log()
    assert not m.planes()


def test_restart_of_a_port_at_once(one):
    """The API's address is free again when the master has ended, with readers and keep-alive connections open."""
    s, c = one.events(), one.connect()
    c.request("GET", "/api/v1/info", headers={"X-API-Key": one.key})
    assert c.getresponse().read()
    one.stop()
    one.start()
    assert KEY_ID in one.list() and s.wait_end() == "clean"
    c.close()


def test_the_first_request_is_answered_in_full(masters):
    """The API's address is taken before the state is read; a request that comes then waits for it."""
    gob = os.path.join(os.path.dirname(os.path.dirname(__file__)), "fuzz", "corpus", "gob", "two")
    key = "0123456789abcdef0123456789abcdef"
    m = masters(wait=False, key=key, env={"NP_IMPORT_GOB": gob})

    def first():
        with contextlib.suppress(ConnectionRefusedError):
            return m.root(m.api + "/info", headers={"X-API-Key": key})
    r = wait_for("an answer", first, PATIENCE, step=0)
    assert r.status == 200 and r.json["alias"] == "the master"


def answers(m):
    with contextlib.suppress(OSError):
        return m.root("/readyz").status


def test_dataplane__external__neither_started_nor_stopped(masters, bench, tmp_path):
    """NP_DATAPLANE: a master without a data plane waits; one that somebody else starts serves its instances."""
    one = masters(env={"NP_DATAPLANE": "external"}, wait=False)
    one.node.wait_line(r"API Key created", "INFO", PATIENCE)
    wait_for("an answer", lambda: answers(one) == 503, PATIENCE)
    assert one.planes() == []
    plane = bench.keep(DataPlane(os.path.join(bench.folder, "run")))
    wait_for("readiness", lambda: answers(one) == 200, PATIENCE)
    one.node.terminate(PATIENCE)
    assert plane.alive()
    plane.terminate()


LEVELS = "DEBUG|INFO|WARN|ERROR|EVENT"


@pytest.mark.parametrize("form", ["text", "json"])
def test_lines_of_the_data_plane__one_time_and_its_own_level(masters, form):
    one = masters(wait=False, env={"NP_RELAY": "never", "NP_LOG_FORMAT": form})
    said = one.node.wait_line("NP_RELAY=never: not auto, copy or splice", timeout=PATIENCE)
    if form == "text":
        assert said.level == "WARN" and said.text.startswith("data plane: NP_RELAY="), said
        assert not re.search(rf"\d\d:\d\d|{LEVELS}", said.text), said
    else:
        row = json.loads(said.raw)
        assert row["level"] == "warn" and row["msg"].startswith("data plane: NP_RELAY="), said
    assert len(one.node.lines(pattern="NP_RELAY=never")) == 1


def older_dataplane(path, parameter):
    """A data plane of a release that does not know @parameter yet: its name is another one in the program."""
    with open(DATAPLANE, "rb") as f:
        program = f.read()
    name = b"\0" + parameter.encode() + b"\0"
    assert name in program
    with open(path, "wb") as f:
        f.write(program.replace(name, b"\0" + b"?" * len(parameter) + b"\0"))
    os.chmod(path, 0o700)
    return str(path)


@pytest.mark.sanitize
def test_refused_by_the_data_plane__told_again_to_the_next_control_plane(masters, bench, tmp_path):
    """The instance is new, so the data plane, which goes on, has nothing of it that could be listed."""
    plane = bench.keep(DataPlane(os.path.join(bench.folder, "run"), program=older_dataplane(tmp_path / "old", "noudp")))
    one = masters(env={"NP_DATAPLANE": "external"})
    target = bench.tcp_target()
    good = one.create(single(bench.addr(2), target.addr))
    bad = one.create(single(bench.addr(3), target.addr, noudp=1))
    said = rf"the data plane refused this change: .*noudp.* \[{bad}\]$"
    for _ in range(2):
        one.node.wait_line(said, "ERROR", PATIENCE)
        one.wait_instance(bad, status="error")
        one.wait_instance(good, status="running")
        one.kill()
        one.start()
    late = one.create(single(bench.addr(4), target.addr))  # the chain of revisions goes on
    one.wait_instance(late, status="running")
    one.good("DELETE", f"/instances/{bad}", status=204)
    one.node.terminate(PATIENCE)
    plane.terminate()
