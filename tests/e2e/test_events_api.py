"""The event stream and /metrics of a master, as readers over the network see them."""
import http.client
import json
import re
import socket
import threading
import time

import pytest

from np_harness import is_listening, wait_for

METRICS_KEY = "collector"
SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*",?)*)\})? (\d+(?:\.\d+)?)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Stream(threading.Thread):
    """GET /events, read in a thread; .end is None, "clean" after the last chunk, or "reset"."""

    def __init__(self, master, last=None, read=True):
        super().__init__(daemon=True)
        self.events, self.end, self.head = [], None, b""
        self._sock = socket.socket()
        if not read:  # what the kernel would hide
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._sock.settimeout(30)
        self._sock.connect(master.addr)
        extra = f"Last-Event-ID: {last}\r\n" if last else ""
        self._sock.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: {master.key}\r\n{extra}\r\n".encode())
        self.go = threading.Event()
        if read:
            self.go.set()
        self.start()

    def run(self):
        self.go.wait()
        f, text = self._sock.makefile("rb"), b""
        try:
            while (line := f.readline()) not in (b"\r\n", b""):
                self.head += line
            while True:
                size = f.readline()
                if not size:
                    self.end = "reset"
                    return
                n = int(size, 16)
                text += f.read(n)
                f.readline()
                *blocks, text = text.split(b"\n\n")
                for b in blocks:
                    self._take(b.decode())
                if n == 0:
                    self.end = "clean"
                    return
        except (OSError, ValueError):
            self.end = "reset"

    def _take(self, block):
        if block.startswith((":", "retry: 3000")):
            return
        lines = block.split("\n")
        assert lines[0] == "event: instance" and lines[1].startswith("data: {") and len(block) < 61440, block[:200]
        e = json.loads(lines[1][6:])
        assert list(e) == ["type", "time", "instance", "logs"], block[:200]
        e["seq"] = lines[2][4:] if len(lines) > 2 else None
        self.events.append(e)

    def seen(self, type=None, id=None):
        return [e for e in list(self.events) if type in (None, e["type"])
                and (id is None or (e["instance"] or {}).get("id") == id)]

    def wait(self, what, accept, timeout=10):
        wait_for(lambda: f"{what} on the stream (end {self.end}, last {self.events[-3:]})",
                 lambda: any(accept(e) for e in list(self.events)), timeout)
        return next(e for e in self.events if accept(e))

    def opened(self):
        """All initial events came: the last one has an id."""
        self.wait("opening", lambda e: e["type"] == "initial" and e["seq"])
        return self

    def last_id(self):
        return [e["seq"] for e in self.events if e["seq"]][-1]

    def close(self):
        self.go.set()
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._sock.close()


class Master:
    def __init__(self, bench):
        self.bench, self.addr = bench, bench.addr()
        self.start()
        self.key = self.node.wait_line("API Key created: ").raw.split("created: ")[1][:32]

    def start(self):
        self.node = self.bench.node("master://%s:%d" % self.addr, env={"NP_METRICS_KEY": METRICS_KEY}, name="master")
        self.node.wait_line("Master started")

    def ask(self, method, path, body=None, headers=None):
        c = http.client.HTTPConnection(*self.addr, timeout=20)
        c.request(method, path, body=json.dumps(body) if body is not None else None,
                  headers={"X-API-Key": self.key} if headers is None else headers)
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, data

    def api(self, method, path, body=None):
        status, data = self.ask(method, "/api/v1" + path, body)
        assert status in (200, 201, 204), (status, data)
        return json.loads(data) if data else None

    def instance(self, query="mode=1", target="127.0.0.1:9"):
        host, port = self.bench.addr(2)
        got = self.api("POST", "/instances", {"url": f"client://{host}:{port}/{target}?{query}"})
        return got["id"], (host, port)

    def stream(self, **kw):
        return self.bench.keep(Stream(self, **kw))

    def metrics(self):
        """name -> [(labels, value)], each line read strictly."""
        status, text = self.ask("GET", "/metrics", headers={"Authorization": "Bearer " + METRICS_KEY})
        assert status == 200 and text.endswith(b"\n")
        found, types = {}, {}
        for line in text.decode().splitlines():
            if line.startswith("#"):
                _, kind, name, rest = line.split(" ", 3)
                assert kind in ("HELP", "TYPE") and rest
                if kind == "TYPE":
                    assert name not in types and rest in ("counter", "gauge", "histogram"), line
                    types[name] = rest
                continue
            m = SAMPLE.fullmatch(line)
            assert m, line
            family = re.sub("_(bucket|sum|count)$", "", m[1])
            assert m[1] in types or types.get(family) == "histogram", line
            found.setdefault(m[1], []).append((dict(LABEL.findall(m[2] or "")), float(m[3])))
        return found


@pytest.fixture
def master(bench):
    return Master(bench)


@pytest.mark.sanitize
def test_events__reader_returns__opening_then_what_it_missed(master):
    id, _ = master.instance()
    s = master.stream()
    s.wait("running", lambda e: e["type"] == "update" and e["instance"]["status"] == "running")
    s.close()
    last = s.last_id()
    for n in range(5):
        master.api("PATCH", "/instances/" + id, {"alias": f"away-{n}"})
    gone, _ = master.instance()
    master.api("DELETE", "/instances/" + gone)
    back = master.stream(last=last).opened()
    back.wait("delete", lambda e: e["type"] == "delete" and e["instance"]["id"] == gone)
    assert sorted(e["instance"]["id"] for e in back.seen("initial")) == ["********", id]
    assert [e["type"] for e in back.seen(id=gone)][0] == "create"
    back.wait("newest alias", lambda e: e["type"] == "update" and e["instance"]["alias"] == "away-4")
    boot, seq = last.split("-")
    numbers = [e["seq"].split("-") for e in back.seen() if e["type"] != "initial"]
    assert {b for b, _ in numbers} == {boot}
    numbers = [int(n) for _, n in numbers]
    assert numbers == sorted(set(numbers)) and numbers[0] > int(seq)


def test_events__id_of_an_earlier_boot__opening_only(master):
    id, _ = master.instance()
    s = master.stream().opened()
    last = s.last_id()
    master.node.terminate()
    s.wait("shutdown", lambda e: e["type"] == "shutdown")
    wait_for(lambda: f"clean end, not {s.end}", lambda: s.end == "clean", 5)
    master.start()
    back = master.stream(last=last).opened()
    assert sorted(e["instance"]["id"] for e in back.seen("initial")) == ["********", id]
    assert back.last_id().split("-")[0] != last.split("-")[0]
    assert not back.seen("create") and not back.seen("shutdown")


def test_events__key_changed__shutdown_and_clean_end(master):
    s = master.stream().opened()
    master.key = master.api("PATCH", "/instances/********", {"action": "restart"})["url"]
    s.wait("shutdown", lambda e: e["type"] == "shutdown" and e["instance"] is None)
    wait_for(lambda: f"clean end, not {s.end}", lambda: s.end == "clean", 5)
    assert s.events[-1]["type"] == "shutdown"
    again = master.stream(last=s.last_id()).opened()
    assert again.seen("initial", "********")[0]["instance"]["url"] == master.key
    assert not again.seen("shutdown")


@pytest.mark.sanitize
def test_events__many_readers__each_has_each_event(master):
    readers = [master.stream() for _ in range(200)]
    for s in readers:
        s.opened()
    assert master.metrics()["nodepass_events_subscribers"] == [({}, 200)]
    ids = [master.instance()[0] for _ in range(5)]
    for id in ids:
        master.api("DELETE", "/instances/" + id)
    for s in readers:
        s.wait("last delete", lambda e: e["type"] == "delete" and e["instance"]["id"] == ids[-1])
        assert [e["instance"]["id"] for e in s.seen("create")] == ids
        assert [e["instance"]["id"] for e in s.seen("delete")] == ids
        s.close()
    wait_for("no reader left", lambda: master.metrics()["nodepass_events_subscribers"] == [({}, 0)], 10)


def test_events__reader_that_rests__newest_state_nothing_else_lost(master):
    id, _ = master.instance()
    slow, fast = master.stream(read=False), master.stream().opened()
    for n in range(400):
        tags = {f"tag{k}": "v" * 200 for k in range(20)}
        master.api("PATCH", "/instances/" + id, {"alias": f"a{n}", "meta": {"tags": tags}})
        if n % 16 == 15:  # on a busy machine even who reads all the time falls behind
            fast.wait("update", lambda e: e["type"] == "update" and e["instance"]["alias"] == f"a{n}")
    other, _ = master.instance()
    master.api("DELETE", "/instances/" + other)
    fast.wait("delete", lambda e: e["type"] == "delete")
    assert len({e["instance"]["alias"] for e in fast.seen("update", id)} - {""}) == 400
    assert master.metrics()["nodepass_events_coalesced_total"][0][1] > 100
    slow.go.set()
    slow.wait("delete", lambda e: e["type"] == "delete")
    assert [e["type"] for e in slow.seen(id=other)][0] == "create"
    assert slow.seen("update", id)[-1]["instance"]["alias"] == "a399"
    assert len(slow.seen("update", id)) < 300 and slow.end is None


def test_events__reader_takes_nothing__reset_after_half_a_minute(master):
    id, _ = master.instance()
    slow, fast = master.stream(read=False), master.stream().opened()
    for n in range(200):
        tags = {f"tag{k}": "v" * 200 for k in range(20)}
        master.api("PATCH", "/instances/" + id, {"alias": f"a{n}", "meta": {"tags": tags}})
    wait_for("eviction", lambda: master.metrics()["nodepass_events_evicted_total"] == [({}, 1)], 45)
    slow.go.set()
    wait_for(lambda: f"reset, not {slow.end}", lambda: slow.end == "reset", 5)
    assert fast.end is None
    fast.wait("newest", lambda e: e["type"] == "update" and e["instance"]["alias"] == "a199")


def test_metrics__keys__own_and_api(master):
    assert master.ask("GET", "/metrics", headers={})[0] == 401
    assert master.ask("GET", "/metrics")[0] == 200
    assert master.ask("GET", "/metrics", headers={"X-API-Key": METRICS_KEY})[0] == 200
    assert master.ask("GET", "/metrics", headers={"Authorization": "Bearer wrong"})[0] == 401
    start = time.monotonic()
    assert master.ask("GET", "/metrics", headers={"authorization": "bearer " + METRICS_KEY})[0] == 200
    assert time.monotonic() - start < 1, "right keys are not delayed by wrong ones"
    # The key of the collector opens nothing else.
    for headers in ({"X-API-Key": METRICS_KEY}, {"Authorization": "Bearer " + METRICS_KEY}):
        assert master.ask("GET", "/api/v1/instances", headers=headers)[0] == 401


@pytest.mark.sanitize
def test_metrics__sessions__closes_and_bytes_add_up(master):
    target = master.bench.farm()
    id, addr = master.instance(target="%s:%d" % target.addr)
    master.api("PATCH", "/instances/" + id, {"alias": 'a "quoted"\\ one'})
    wait_for("listener", lambda: is_listening(addr), 10)  # an instance that starts counts as running
    for _ in range(3):
        v = master.bench.dial(addr)
        v.sendall(b"x" * 1000)
        got = b""
        while len(got) < 1000:
            got += v.recv(1000)
        v.shutdown(socket.SHUT_WR)
        assert v.recv(1) == b""
        v.close()

    def of(name, **labels):
        return sum(n for have, n in master.metrics().get(name, ())
                   if have.get("id") == id and labels.items() <= have.items())

    wait_for(lambda: f"3 closes: {master.metrics().get('nodepass_instance_sessions_closed_total')}",
             lambda: of("nodepass_instance_sessions_closed_total", reason="done") == 3, 10)
    assert of("nodepass_instance_sessions_closed_total") == of("nodepass_instance_tcp_sessions_total") == 3
    for direction in ("rx", "tx"):
        wait_for("bytes", lambda: of("nodepass_instance_bytes_total", proto="tcp", direction=direction) == 3000, 10)
    assert of("nodepass_instance_status", status="running", alias='a \\"quoted\\"\\\\ one', type="client") == 1
    m = master.metrics()
    assert m["nodepass_dataplane_up"] == [({}, 1)] and m["process_resident_memory_bytes"][0][1] > 1 << 20
    master.api("DELETE", "/instances/" + id)
    assert of("nodepass_instance_status") == 0 and id not in str(master.metrics())
