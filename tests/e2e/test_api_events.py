"""The event stream of the master's API: its form, the order of events, what a reader that comes back gets."""
import re
import signal
import time

import pytest

from np_crowd import Listener
from np_master import KEY_ID, PATIENCE, single
from np_net import SLACK, ask, is_listening, wait_for


def first_state(stream, id, since=0):
    """States of instance @id in order, repeats left out, log events left out."""
    out = []
    for e in stream.of(id, since=since):
        if e.type != "log" and (not out or out[-1] != e.state):
            out.append(e.state)
    return out


def wait_state(stream, id, kind, status, since=0):
    return stream.wait(f"{kind} {status} of {id}", lambda e: e.id == id and e.state == (kind, status), since)


@pytest.mark.sanitize
def test_opening(masters):
    m = masters()
    ids = {KEY_ID, *(m.create(single(m.bench.addr(2), m.bench.addr(9))) for _ in range(3))}
    s = m.events()
    h = s.response.headers
    assert h["Content-Type"].split(";")[0] == "text/event-stream" and h["Cache-Control"] == "no-cache"
    assert h["Access-Control-Allow-Origin"] == "*" and h["Transfer-Encoding"] == "chunked"
    wait_for("the opening", lambda: len(s.of(type="initial")) >= 4, PATIENCE)
    assert {e.id for e in s.of(type="initial")} == ids and len(s.of(type="initial")) == 4
    assert s.events[0].id == KEY_ID and s.events[0].instance["url"] == m.key and s.events[0].instance["type"] == ""
    again = m.events()
    again.wait("the key", lambda e: e.id == KEY_ID)
    assert m.metrics()["nodepass_events_subscribers"] == 2
    again.close()
    wait_for("one reader", lambda: m.metrics()["nodepass_events_subscribers"] == 1, PATIENCE)


def test_opening_http10(masters):
    m = masters()
    c = m.connect()
    c._http_vsn, c._http_vsn_str = 10, "HTTP/1.0"
    c.request("GET", "/api/v1/events", headers={"X-API-Key": m.key})
    r = c.getresponse()
    assert r.status == 200 and not r.chunked
    assert r.read(13) == b"retry: 3000\n\n"
    r.close()
    c.close()


@pytest.mark.sanitize
def test_life_of_an_instance(masters):
    m = masters()
    s = m.events()
    s.wait("the key", lambda e: e.id == KEY_ID)
    visit, start = m.bench.addr(2), time.monotonic()
    target = m.bench.tcp_target()
    id = m.create(single(visit, target.addr), alias="n")
    create = s.wait("create", lambda e: e.id == id)
    assert create.state == ("create", "stopped") and create.instance["alias"] == "n"
    assert create.at - start < 3 * max(1, SLACK)
    wait_state(s, id, "update", "running")
    log = s.wait("a log line", lambda e: e.id == id and e.type == "log" and "listening for visitors" in e.logs)
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  \x1b\[32mINFO\x1b\[0m  ", log.logs)
    line = m.node.wait_line(r"listening for visitors .* \[" + id + r"\]$", "INFO", PATIENCE)
    assert line.text == re.sub(r"^.*?\x1b\[0m  ", "", log.logs) + f" [{id}]"
    assert first_state(s, id)[:2] == [("create", "stopped"), ("update", "running")]

    n = len(s.events)
    m.patch(id, action="stop")
    wait_state(s, id, "update", "stopped", n)
    n = len(s.events)
    m.patch(id, action="start")
    wait_state(s, id, "update", "running", n)
    n = len(s.events)
    m.patch(id, action="restart")
    down = wait_state(s, id, "update", "stopped", n)
    up = s.wait("running", lambda e: e.id == id and e.state == ("update", "running") and e.at >= down.at, n)
    assert up.at - down.at >= 0.2, "stopped and running are shown 250 ms apart"
    n = len(s.events)
    m.good("DELETE", f"/instances/{id}", status=204)
    s.wait("delete", lambda e: e.id == id and e.type == "delete", n)
    assert first_state(s, id, n)[-2:] == [("update", "stopped"), ("delete", "stopped")]
    last = s.of(id)[-1]
    assert last.type == "delete"
    tags = [e.tag for e in s.events if e.tag]
    boots = {t.split("-")[0] for t in tags}
    numbers = [int(t.split("-")[1]) for t in tags]
    assert len(boots) == 1 and numbers == sorted(set(numbers))


def test_changes_are_updates(masters):
    m = masters()
    id = m.create(single(m.bench.addr(2), m.bench.addr(9)))
    m.wait_instance(id, status="running")
    s = m.events()
    s.wait("the opening", lambda e: e.id == id)
    for change, seen in (({"alias": "x"}, lambda x: x["alias"] == "x"), ({"restart": False}, lambda x: not x["restart"]),
                         ({"meta": {"tags": {"a": "b"}}}, lambda x: x["meta"]["tags"] == {"a": "b"})):
        n = len(s.events)
        m.patch(id, **change)
        s.wait(f"{change}", lambda e, seen=seen: e.id == id and e.type == "update" and seen(e.instance), n)
    n = len(s.events)
    url = single(m.bench.addr(3), m.bench.addr(9))
    m.good("PUT", f"/instances/{id}", {"url": url})
    e = s.wait("the new url", lambda e: e.type == "update" and e.instance["url"] == url, n)
    assert e.instance["status"] == "running"


@pytest.mark.sanitize
def test_heartbeat(masters):
    m = masters()
    live, dead = (m.create(single(m.bench.addr(h), m.bench.addr(9))) for h in (2, 3))
    m.wait_instance(live, status="running")
    m.patch(dead, action="stop")
    m.wait_instance(dead, status="stopped")
    s = m.events()
    s.wait("the opening", lambda e: e.id == dead)
    wait_for("four beats", lambda: len(s.of(live, "update")) >= 4, PATIENCE)
    beats = s.of(live, "update")[:4]
    assert 2.2 < beats[3].at - beats[0].at < 4.5 * max(1, SLACK)
    assert not s.of(dead, "update") and not s.of(KEY_ID, "update")


@pytest.mark.sanitize
@pytest.mark.parametrize("how", ["header", "query"])
def test_replay(masters, how):
    m = masters()
    keep = m.create(single(m.bench.addr(2), m.bench.addr(9)))
    s = m.events()
    last = s.wait("a numbered event", lambda e: e.tag and e.id == keep and e.type == "update").tag
    s.close()
    gone = m.create(single(m.bench.addr(3), m.bench.addr(9)))
    m.wait_instance(gone, status="running")
    m.good("DELETE", f"/instances/{gone}", status=204)
    m.patch(keep, alias="after")
    back = m.events(**({"headers": {"Last-Event-ID": last}} if how == "header" else
                       {"query": f"?last_event_id={last}"}))
    back.wait("what was missed", lambda e: e.type == "delete" and e.id == gone)
    back.wait("what was missed", lambda e: e.type == "update" and e.id == keep and e.instance["alias"] == "after")
    kinds = [e.type for e in back.events]
    assert {e.id for e in back.of(type="initial")} == {KEY_ID, keep}
    assert kinds[:2] == ["initial"] * 2 and "initial" not in kinds[2:]
    assert [e.type for e in back.of(gone) if e.type != "log"][0] == "create"
    numbers = [int(e.tag.split("-")[1]) for e in back.events[2:]]
    assert min(numbers) > int(last.split("-")[1]) and numbers == sorted(numbers)


def test_replay_of_nonsense(masters):
    m = masters()
    for tag in ("x", "0123456789abcdef-5", "-", "f" * 4000):
        s = m.events(headers={"Last-Event-ID": tag})
        assert s.wait("the key", lambda e: True).id == KEY_ID


@pytest.mark.sanitize
@pytest.mark.parametrize("how", ["key", "stop"])
def test_shutdown(masters, how):
    m = masters()
    s = m.events()
    s.wait("the key", lambda e: e.id == KEY_ID)
    if how == "key":
        m.key = m.patch(KEY_ID, action="restart")["url"]
    else:
        m.stop()
    assert s.wait_end() == "clean"
    assert s.events[-1].type == "shutdown"
    if how == "key":
        assert m.events().wait("the key", lambda e: True).instance["url"] == m.key


def test_error_is_told_once(masters):
    m = masters()
    target = m.bench.tcp_target(addr=m.bench.addr(2))  # holds the address that visitors should reach
    s = m.events()
    id = m.create(single(target.addr, m.bench.addr(9)))
    wait_state(s, id, "update", "error")
    s.wait("why", lambda e: e.id == id and e.type == "log" and "ERROR" in e.logs)
    wait_for("a second try", lambda: len(m.node.lines("ERROR", re.escape(f"[{id}]"))) >= 2, PATIENCE)
    assert not is_listening(target.addr) or m.get(id)["status"] == "error"
    target.close()
    n = len(s.events)
    wait_state(s, id, "update", "running", n)
    wait_for("service", lambda: is_listening(target.addr), PATIENCE)


def test_listener_of_another_instance(masters):
    m = masters()
    visit, target = m.bench.addr(2), m.bench.tcp_target()
    a = m.create(single(visit, target.addr))
    m.wait_instance(a, status="running")
    s = m.events()
    b = m.create(single(visit, target.addr))
    wait_state(s, b, "update", "error")
    s.wait("why", lambda e: e.id == b and e.type == "log" and "in use" in e.logs)
    assert ask(visit)
    m.good("DELETE", f"/instances/{a}", status=204)
    m.wait_instance(b, status="running")
    wait_for("service", lambda: is_listening(visit), PATIENCE)


def test_listener_names_its_instance(masters):
    m = masters()
    visit = m.bench.addr(2)
    a = m.create(single(visit, m.bench.addr(9)))
    m.wait_instance(a, status="running")
    s = m.events()
    b = m.create(single(visit, m.bench.addr(9)))
    m.wait_instance(b, status="error")
    s.wait("whose it is", lambda e: e.id == b and e.type == "log" and f"in use by instance {a}" in e.logs)
    line = m.node.wait_line(r"in use.* \[" + b + r"\]$", "ERROR", PATIENCE)
    assert f"in use by instance {a}" in line.text


def test_slow_reader_gets_all_ends(masters):
    """A reader that reads late still learns of each creation and removal."""
    m = masters()
    s = m.events(late=True)
    ids = [m.create(single(m.bench.addr(2), m.bench.addr(9))) for _ in range(40)]
    for id in ids:
        for i in range(3):
            m.patch(id, alias=f"n{i}")
        m.good("DELETE", f"/instances/{id}", status=204)
    s.read()
    s.wait("the last removal", lambda e: e.type == "delete" and e.id == ids[-1])
    for kind in ("create", "delete"):
        assert [e.id for e in s.of(type=kind)] == ids
    assert s.end is None


def test_shutdown_reaches_a_reader_that_is_behind(masters):
    """The master's end waits for those who still read, not only for its data plane's."""
    m = masters()
    target, big = m.bench.addr(9), {"tags": {f"t{i}": "x" * 250 for i in range(100)}}
    for _ in range(30):
        m.patch(m.create(single(m.bench.addr(2), target), restart=False), meta=big)
    s = Listener(m, rcvbuf=65536)
    wait_for("a reader", lambda: m.metrics()["nodepass_events_subscribers"] == 1, PATIENCE)
    m.node.signal(signal.SIGTERM)
    wait_for("the end of the data plane", lambda: not m.planes(), PATIENCE)

    def all_read():
        return not s.take()
    wait_for("the end", all_read, PATIENCE)
    assert s.life[-1:] == [("shutdown", "")] and s.end == "clean"
    m.node.wait_exit(0, PATIENCE)
    s.s.close()
