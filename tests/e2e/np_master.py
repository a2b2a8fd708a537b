"""A master under test: the process, its API, its event stream; every answer is held against its own document.

What the API says is checked by Schema (the document of /openapi.json) and by the common headers at each
call; a test adds what is particular. Processes: np_harness.py. Fixtures: masters, one.
"""
import contextlib
import http.client
import json
import os
import re
import signal
import ssl
import threading
import time

import pytest

from np_net import SLACK, is_listening, text_of, wait_for

KEY_ID = "********"
PATIENCE = 20.0  # deadline of everything; a loaded machine is no error
FIELDS = ["id", "alias", "type", "status", "url", "config", "restart", "meta", "mode", "ping", "pool", "tcps",
          "udps", "tcprx", "tcptx", "udprx", "udptx"]
CORS = {"Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET, PATCH, POST, PUT, DELETE, OPTIONS",
        "Access-Control-Allow-Headers": "Content-Type, Authorization, X-API-Key, Cache-Control"}


# ------------------------------------------------------------------ schemas

_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
          "null": type(None)}


class Schema:
    """The part of JSON Schema that the API's document uses."""

    def __init__(self, doc):
        self.doc = doc

    def at(self, ref):
        node = self.doc
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]
        return node

    def check(self, schema, value, where="$"):
        while "$ref" in schema:
            schema = self.at(schema["$ref"])
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        fits = [k for k in kinds if isinstance(value, _TYPES[k])
                and not (isinstance(value, bool) and k in ("integer", "number"))]
        assert fits or not kinds, f"{where}: {value!r} is no {kinds}"
        assert value in schema.get("enum", [value]), f"{where}: {value!r} not in {schema['enum']}"
        if isinstance(value, str):
            assert re.search(schema.get("pattern", ""), value), f"{where}: {value!r} against {schema['pattern']}"
            assert len(value.encode()) <= schema.get("maxLength", 1 << 30), f"{where}: too long"
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            assert schema.get("minimum", value) <= value <= schema.get("maximum", value), f"{where}: {value}"
        elif isinstance(value, list):
            for i, x in enumerate(value):
                self.check(schema.get("items", {}), x, f"{where}[{i}]")
        elif isinstance(value, dict):
            self.check_object(schema, value, where)

    def check_object(self, schema, value, where):
        known = schema.get("properties", {})
        missing = set(schema.get("required", [])) - set(value)
        assert not missing, f"{where}: without {sorted(missing)}"
        more = schema.get("additionalProperties", not known)
        for name, x in value.items():
            assert name in known or more, f"{where}.{name} is not in the document"
            inner = known.get(name, more if isinstance(more, dict) else {})
            self.check(inner, x, f"{where}.{name}")

    def answer(self, method, path, status, value):
        """@value is what the document promises for this operation and status."""
        path = re.sub(r"^/instances/.*", "/instances/{id}", path.split("?")[0])
        op = self.doc["paths"].get(path, {}).get(method.lower())
        if op is None:  # a method that the row does not have
            assert status in (401, 405), f"{method} {path}: {status}, and no such operation in the document"
            return self.check(self.at("#/components/schemas/Error"), value)
        reply = op["responses"].get(str(status))
        assert reply, f"{method} {path}: {status} is not in the document: {value}"
        return self.check(reply["content"]["application/json"]["schema"], value, f"{method} {path} {status}")

    def instance(self, value):
        assert list(value) == FIELDS, f"members {list(value)}"
        self.check(self.at("#/components/schemas/Instance"), value)


# ------------------------------------------------------------------ answers and events

class Reply:
    def __init__(self, res):
        self.status, self.version = res.status, res.version
        self.headers, self.body = res.headers, res.read()

    @property
    def kind(self):
        return self.headers.get("Content-Type", "")

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        assert list(self.json) == ["error"]
        return self.json["error"]

    def __repr__(self):
        return f"{self.status} {self.kind} {self.body[:300]!r}"


class Event:
    def __init__(self, block, schema):
        m = re.fullmatch(rb"event: instance\ndata: ([^\n]+)(?:\nid: ([0-9a-f]+-\d+))?", block)
        assert m, f"not a block of this stream: {block[:300]!r}"
        assert len(block) < 60 * 1024
        data = json.loads(m[1])
        assert list(data) == ["type", "time", "instance", "logs"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", data["time"])
        assert isinstance(data["logs"], str) and (data["type"] == "log") == (data["logs"] != "")
        self.type, self.instance, self.logs = data["type"], data["instance"], data["logs"]
        self.tag, self.at = (m[2] or b"").decode(), time.monotonic()
        assert (self.instance is None) == (self.type == "shutdown")
        if self.instance is not None:
            schema.instance(self.instance)

    @property
    def id(self):
        return self.instance and self.instance["id"]

    @property
    def state(self):
        return self.type, self.instance and self.instance["status"]

    def __repr__(self):
        return f"{self.type}({self.id} {self.instance and self.instance['status']} {self.logs})"


class Events:
    """Reads a stream in a thread; end: None while it runs, "clean" after the last chunk, else "cut"."""

    def __init__(self, master, headers=None, query="", late=False):
        self.schema, self.events, self.end, self.trouble = master.schema, [], None, None
        self._http = master.connect()
        self._http.request("GET", master.api + "/events" + query,
                           headers={"X-API-Key": master.key, **(headers or {})})
        self.response = self._http.getresponse()
        assert self.response.status == 200
        self._sock = self._http.sock
        self._thread = threading.Thread(target=self._run, daemon=True)
        if not late:
            self.read()

    def read(self):
        self._thread.start()

    def _run(self):
        try:
            self._read()
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            self.end = "cut"
        except AssertionError as e:
            self.trouble, self.end = e, "cut"

    def _read(self):
        rest, first = b"", True
        while data := self.response.read1(1 << 16):
            *blocks, rest = (rest + data).split(b"\n\n")
            for b in blocks:
                assert not first or b == b"retry: 3000", f"the stream begins with {b!r}"
                if not first and not b.startswith(b":"):
                    self.events.append(Event(b, self.schema))
                first = False
        assert not rest, f"half a block at the end: {rest!r}"
        self.end = "clean"

    def of(self, id=None, type=None, since=0):
        return [e for e in self.events[since:] if id in (None, e.id) and type in (None, e.type)]

    def wait(self, what, accept, since=0):
        """The first event from number @since on that @accept(event) likes."""
        def probe():
            if self.trouble:
                raise self.trouble
            return next((e for e in self.events[since:] if accept(e)), None)
        return wait_for(lambda: f"{what} in {self.events[since:][-8:]} ({self.end})", probe, PATIENCE)

    def wait_end(self):
        self._thread.join(PATIENCE * SLACK)
        if self.trouble:
            raise self.trouble
        return self.end

    def close(self):
        with contextlib.suppress(OSError, AttributeError):
            self._sock.shutdown(2)
        if self._thread.ident:
            self._thread.join(5)
        self.response.close()
        self._http.close()


# ------------------------------------------------------------------ the master

class Master:
    def __init__(self, bench, *, query="", prefix="", env=None, addr=None, key=None, wait=True):
        self.bench, self.addr = bench, addr or bench.addr(1)
        self.url = f"master://{text_of(self.addr)}{prefix}{query}"
        self.api, self.tls, self.key, self.schema = (prefix or "/api") + "/v1", "tls=" in query, key, None
        self.env = {"NP_REPORT_INTERVAL": "1s", "NP_SHUTDOWN_TIMEOUT": "2s", **(env or {})}
        self.start(wait)

    # -- life

    def start(self, wait=True):
        self.node = self.bench.node(self.url, env=self.env, name="master")
        if not wait:
            return self
        if self.key is None:
            self.key = self.node.wait_line(r"API Key created: [0-9a-f]{32}$", "INFO", PATIENCE).text[-32:]
        self.wait_ready()
        doc = self.call("GET", "/openapi.json")
        assert doc.status == 200
        self.schema = Schema(doc.json)
        return self

    def wait_ready(self):
        def probe():
            assert self.node.alive(), self.node.last_words()
            with contextlib.suppress(OSError):
                return self.root("/readyz").status == 200
        wait_for(lambda: f"readiness: {self.node.last_words()}", probe, PATIENCE, step=0.03)

    def planes(self):
        """Process ids of the data planes of this test: /proc knows them at every log level."""
        mark = f"--run-dir={os.path.join(self.bench.folder, 'run')}\0".encode()
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
                if mark in f.read():
                    found.append(int(pid))
        return found

    def plane(self):
        found = self.planes()
        assert len(found) == 1, f"data planes {found}: {self.node.last_words()}"
        return found[0]

    def kill(self):
        """kill -9 of the control plane only."""
        self.node.kill()

    def stop(self):
        self.node.terminate(PATIENCE)
        wait_for("the end of the data plane", lambda: not self.planes(), PATIENCE)

    def close(self):
        """Ends what still runs; what went wrong."""
        trouble = []
        if self.node.alive():
            self.node.signal(signal.SIGTERM)
            try:
                self.node.wait_exit(0, PATIENCE)
            except AssertionError as e:
                trouble.append(str(e))
                self.node.kill()
        if self.node.expected_status == 0:
            try:
                wait_for("the end of the data plane after its master's", lambda: not self.planes(), PATIENCE)
            except AssertionError as e:
                trouble.append(str(e))
        for pid in self.planes():
            os.kill(pid, signal.SIGKILL)
        return trouble

    # -- the API

    def connect(self):
        kw = {"timeout": PATIENCE * SLACK}
        if self.tls:
            return http.client.HTTPSConnection(*self.addr, context=ssl._create_unverified_context(), **kw)
        return http.client.HTTPConnection(*self.addr, **kw)

    def root(self, path, method="GET", body=None, headers=None):
        """A request as it is: no prefix, no key."""
        c = self.connect()
        try:
            c.request(method, path, body, headers or {})
            return Reply(c.getresponse())
        finally:
            c.close()

    def call(self, method, path, body=None, key=True, headers=None):
        """A request to a route; checks what all answers have in common. @body: JSON value or bytes."""
        headers = dict(headers or {})
        if key:
            headers["X-API-Key"] = self.key if key is True else key
        if body is not None and not isinstance(body, (bytes, list)):
            body = json.dumps(body, ensure_ascii=False).encode()
        r = self.root(self.api + path, method, body, headers)
        assert {k: r.headers.get(k) for k in CORS} == CORS, f"{method} {path}: {r.headers}"
        assert r.headers.get("Date")
        if r.kind == "application/json" and method not in ("HEAD", "OPTIONS"):
            assert r.body.endswith(b"}\n") or r.body.endswith(b"]\n"), r
            assert json.dumps(r.json, separators=(",", ":"), ensure_ascii=False).encode() == \
                re.sub(rb"\\u(00(?:26|3c|3e)|202[89])", lambda m: chr(int(m[1], 16)).encode(), r.body[:-1]), r
            if self.schema:
                self.schema.answer(method, path, r.status, r.json)
        return r

    def good(self, method, path, body=None, status=200):
        r = self.call(method, path, body)
        assert r.status == status, r
        return r.json if r.body else None

    def create(self, url, **kw):
        return self.good("POST", "/instances", {"url": url, **kw}, 201)["id"]

    def get(self, id):
        return self.good("GET", f"/instances/{id}")

    def patch(self, id, **kw):
        return self.good("PATCH", f"/instances/{id}", kw)

    def list(self):
        return {x["id"]: x for x in self.good("GET", "/instances")}

    def wait_instance(self, id, **want):
        def probe():
            x = self.get(id)
            return all(x[k] == v for k, v in want.items()) and x
        return wait_for(lambda: f"{want} of {self.get(id)}: {self.node.last_words()}", probe, PATIENCE, step=0.05)

    def events(self, **kw):
        return self.bench.keep(Events(self, **kw))

    def metrics(self):
        """{series with its labels: value}"""
        r = self.root("/metrics", headers={"X-API-Key": self.key})
        assert r.status == 200, r
        rows = (x.rsplit(" ", 1) for x in r.body.decode().splitlines() if not x.startswith("#"))
        return {k: float(v) for k, v in rows}


def single(visit, *targets, **query):
    """The URL of an instance that needs no peer: visitors at @visit, served by @targets."""
    more = "".join(f"&{k}={v}" for k, v in query.items())
    return f"client://{text_of(visit)}/{','.join(text_of(t) for t in targets)}?mode=1{more}"


@pytest.fixture
def masters(bench):
    """Makes masters; what they leave behind is trouble."""
    made = []

    def make(**kw):
        made.append(Master.__new__(Master))
        made[-1].__init__(bench, **kw)
        return made[-1]

    yield make
    trouble = [t for m in made if hasattr(m, "node") for t in m.close()]
    if trouble:
        pytest.fail("\n".join(trouble), pytrace=False)


@pytest.fixture
def one(masters):
    """A master with one running instance and its target."""
    m = masters()
    m.target, m.visit = m.bench.tcp_target(), m.bench.addr(2)
    m.id = m.create(single(m.visit, m.target.addr))
    m.wait_instance(m.id, status="running")
    wait_for("the listener", lambda: is_listening(m.visit), PATIENCE)
    return m
