"""The load of a crash test: clients that change instances, sessions whose bytes are checked, event readers.

Everything runs in threads of its own and reports what may not happen to Faults. Kills announce themselves
(Kills): what fails although the process behind it was not killed meanwhile is a fault.
"""
import contextlib
import hashlib
import http.client
import json
import random
import socket
import threading
import time

from ledger import GONE, Ledger
from np_net import dial, read_n, text_of, token

LOST = (OSError, http.client.HTTPException, ValueError)  # what a killed server looks like to a client


class Faults:
    def __init__(self):
        self._lock, self.all = threading.Lock(), []

    def add(self, kind, text):
        with self._lock:
            self.all.append((kind, text))

    def count(self, kind):
        return sum(k == kind for k, _ in self.all)


class Kills:
    """Which process was killed how often; up: the event that it serves again."""

    def __init__(self):
        self.count = {"control": 0, "data": 0}
        self.up = {"control": threading.Event(), "data": threading.Event()}
        for e in self.up.values():
            e.set()

    def announce(self, who):
        self.up[who].clear()
        self.count[who] += 1

    def back(self, who):
        self.up[who].set()

    def mark(self, who):
        """To be handed to is_since() later."""
        return self.count[who], self.up[who].is_set()

    def is_since(self, who, mark):
        """Whether the process was down at @mark or was killed since."""
        return mark != (self.count[who], True) or not self.up[who].is_set()


class Gate:
    """Lets clients work, or holds all of them between two requests."""

    def __init__(self):
        self._lock = threading.Condition()
        self._open, self._inside, self.ended = True, 0, False

    @contextlib.contextmanager
    def turn(self):
        with self._lock:
            self._lock.wait_for(lambda: self._open or self.ended)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                self._lock.notify_all()

    def close(self, timeout):
        with self._lock:
            self._open = False
            assert self._lock.wait_for(lambda: self._inside == 0, timeout), "a request is not answered"

    def open(self):
        with self._lock:
            self._open = True
            self._lock.notify_all()

    def end(self):
        with self._lock:
            self.ended = True
            self._lock.notify_all()


class Api:
    """Requests over one connection that is kept; any failure of it is the caller's."""

    def __init__(self, addr, key, timeout):
        self.addr, self.key, self.timeout, self._http = addr, key, timeout, None

    def ask(self, method, path, body=None):
        if self._http is None:
            self._http = http.client.HTTPConnection(*self.addr, timeout=self.timeout)
        try:
            self._http.request(method, "/api/v1" + path, None if body is None else json.dumps(body),
                               {"X-API-Key": self.key})
            r = self._http.getresponse()
            data = r.read()
        except LOST:
            self.close()
            raise
        return r.status, json.loads(data) if data else None

    def close(self):
        if self._http:
            self._http.close()
        self._http = None


class Worker(threading.Thread):
    """A thread that ends with its gate; what it raises is a fault."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world = world

    def run(self):
        try:
            while not self.world.gate.ended:
                self.turn()
        except Exception as e:  # shown with the rest
            self.world.faults.add("broken", f"{type(self).__name__}: {type(e).__name__} {e}")

    def turn(self):
        raise NotImplementedError


# ------------------------------------------------------------------ clients that change instances

def url_single(visit, target, **query):
    """In its normal form: parameters in order."""
    return f"client://{text_of(visit)}/{text_of(target)}?" + "&".join(f"{k}={v}" for k, v in sorted(query.items()))


class Writer(Worker):
    """Makes, changes and removes instances of its own, between @few and @many of them."""

    def __init__(self, world, name, host, few=4, many=30):
        super().__init__(world)
        self.name_, self.host, self.few, self.many = name, host, few, many
        self.random, self.ledger, self.acknowledged = random.Random(f"{world.seed}/{name}"), Ledger(), 0
        self.api, self.ids = Api(world.addr, world.key, world.patience), {}
        self._serial, self._port, self._process = 0, 10000, 0

    def place(self):
        self._port += 1
        return f"{self.host}.{1 + self._port // 50000}", 10000 + self._port % 50000

    def url(self):
        return url_single(self.place(), self.world.target, min=0, mode=1, slot=self.random.randrange(10, 999))

    def turn(self):
        with self.world.gate.turn():
            if not self.world.gate.ended and self.world.kills.up["control"].is_set():
                self.change()
        # Writers compete with visitors for two cores; both must get on.
        time.sleep(self.random.random() * self.world.pace_s)

    def change(self):
        mine = {s: f for s, f in self.ledger.settled().items() if s in self.ids}
        if len(mine) < self.few or (len(mine) < self.many and self.random.random() < 0.25):
            return self.make()
        serial = self.random.choice(sorted(mine))
        facts, kind = mine[serial], self.random.choices(("patch", "action", "put", "delete"), (5, 4, 3, 2))[0]
        if kind == "delete":
            return self.send(serial, GONE, 204, "DELETE")
        if kind == "put":
            url = self.url() if self.random.random() < 0.5 else self.other_slot(facts["url"])
            return self.send(serial, {**facts, "url": url, "desired": "running"}, 200, "PUT", {"url": url})
        body = self.patch(facts) if kind == "patch" else {"action": self.random.choice(
            ("start", "stop", "stop", "restart", "reset"))}
        return self.send(serial, self.patched(serial, facts, body), 200, "PATCH", body)

    def other_slot(self, url):
        head, slot = url.rsplit("=", 1)
        return f"{head}={int(slot) % 999 + 1}"

    def patch(self, facts):
        body, n = {}, self.random.randrange(1, 16)
        if n & 1:
            body["alias"] = f"{facts['alias'].split('.')[0]}.{self.random.randrange(1000)}"
        if n & 2:
            body["restart"] = self.random.random() < 0.5
        if n & 4:
            body["meta"] = {"tags": {f"t{self.random.randrange(9)}": str(self.random.random())}}
        if n & 8:
            body.setdefault("meta", {})["peer"] = {"sid": str(self.random.random())}
        return body

    def patched(self, serial, facts, body):
        meta, new = body.get("meta", {}), dict(facts)
        new.update({k: body[k] for k in ("alias", "restart") if k in body})
        new["tags"] = meta.get("tags", new["tags"])
        new["peer"] = meta["peer"]["sid"] if "peer" in meta else new["peer"]
        new["desired"] = {"start": "running", "restart": "running", "stop": "stopped"}.get(
            body.get("action"), new["desired"])
        return new

    def make(self):
        self._serial += 1
        serial, url = f"{self.name_}-{self._serial}", self.url()
        facts = {"alias": serial, "url": url, "restart": True, "desired": "running", "peer": "", "tags": {}}
        self.send(serial, facts, 201, "POST", {"url": url, "alias": serial})

    def send(self, serial, facts, status, method, body=None):
        mark = self.world.kills.mark("control")
        path = "/instances" + (f"/{self.ids[serial]}" if method != "POST" else "")
        if mark[0] != self._process:
            self.api.close()  # a connection to a process that is gone
            self._process = mark[0]
        try:
            got, answer = self.api.ask(method, path, body)
        except LOST as e:
            self.ledger.unanswered(serial, facts)
            if not self.world.kills.is_since("control", mark):
                self.world.faults.add("unanswered", f"{method} {path}: {e!r}")
            return
        if got != status:
            self.world.faults.add("refused", f"{method} {path} {body}: {got} {answer}")
            self.ledger.unanswered(serial, facts)
            return
        self.acknowledged += 1
        self.ledger.answered(serial, facts)
        if method == "POST":
            self.ids[serial] = answer["id"]
        if answer and (answer["url"], answer["alias"]) != (facts["url"], facts["alias"]):
            self.world.faults.add("lost", f"{method} {path} {body} is answered with {answer}")


class Painter(Writer):
    """Changes what others serve with, where that cuts no session: texts and limits of fixed instances."""

    def change(self):
        serial = self.random.choice(sorted(self.ledger.settled()) or [None])
        if serial is None:
            return
        facts = self.ledger.settled()[serial]
        if facts["url"].startswith("client") and "mode=1" in facts["url"] and self.random.random() < 0.4:
            url = self.other_slot(facts["url"])
            self.send(serial, {**facts, "url": url, "desired": "running"}, 200, "PUT", {"url": url})
            return
        body = self.patch(facts)
        body["restart"] = True  # it has to run after whatever happens
        self.send(serial, self.patched(serial, facts, body), 200, "PATCH", body)

    def other_slot(self, url):
        head, slot = url.rsplit("=", 1)
        return f"{head}={1000 + (int(slot) + 1) % 1000}"  # never so few that a visitor is refused


# ------------------------------------------------------------------ visitors

class Session(Worker):
    """A session that goes on and on: what comes back has the hash of what was sent."""

    def __init__(self, world, name, visit):
        super().__init__(world)
        self.name_, self.visit, self.bytes, self.ended, self._n = name, visit, 0, 0, 0

    def turn(self):
        mark, sent, got = self.world.kills.mark("data"), hashlib.sha256(), hashlib.sha256()
        self._n += 1
        try:
            with dial(self.visit, self.world.patience) as s:
                s.settimeout(self.world.patience)
                self.talk(s, sent, got)
        except (OSError, EOFError) as e:
            self.ended += 1
            if not self.world.kills.is_since("data", mark) and not self.world.gate.ended:
                self.world.faults.add("cut", f"session {self.name_}/{self._n}: {e!r}")
            self.world.kills.up["data"].wait(self.world.patience)

    def talk(self, s, sent, got):
        k = 0
        while not self.world.gate.ended:
            block = token(f"{self.world.seed}/{self.name_}/{self._n}/{k}", 1 + k * 977 % 20000)
            k += 1
            sent.update(block)
            s.sendall(block)
            got.update(read_n(s, len(block)))
            self.bytes += len(block)
            if got.digest() != sent.digest():
                self.world.faults.add("cut", f"session {self.name_}/{self._n}: foreign bytes in block {k}")
                return
            time.sleep(self.world.pace_s)


class Visitor(Worker):
    """One short session after the other: nobody is refused because the control plane is away."""

    def __init__(self, world, visits):
        super().__init__(world)
        self.visits, self.served, self._n = visits, 0, 0

    def turn(self):
        visit, mark = self.visits[self._n % len(self.visits)], self.world.kills.mark("data")
        self._n += 1
        data = token(f"{self.world.seed}/visitor/{self._n}", 500)
        try:
            with dial(visit, self.world.patience) as s:
                s.sendall(data)
                if read_n(s, len(data)) != data:
                    self.world.faults.add("cut", f"visitor {self._n} of {text_of(visit)}: foreign bytes")
            self.served += 1
        except (OSError, EOFError) as e:
            if not self.world.kills.is_since("data", mark):
                self.world.faults.add("cut", f"visitor {self._n} of {text_of(visit)}: {e!r}")
            self.world.kills.up["data"].wait(self.world.patience)
        time.sleep(self.world.pace_s)


# ------------------------------------------------------------------ readers of events

class Reader(Worker):
    """Knows by its events alone which instances there are."""

    def __init__(self, world, name, restless=False):
        super().__init__(world)
        self.name_, self.restless, self.random = name, restless, random.Random(f"{world.seed}/{name}")
        self.view, self.events, self.tag, self.sock, self.opened = set(), 0, "", None, 0

    def turn(self):
        self.world.kills.up["control"].wait(self.world.patience)
        mark, headers = self.world.kills.mark("control"), {"X-API-Key": self.world.key}
        if self.tag:
            headers["Last-Event-ID"] = self.tag
        c = http.client.HTTPConnection(*self.world.addr, timeout=3 * self.world.patience)
        try:
            c.request("GET", "/api/v1/events", headers=headers)
            r = c.getresponse()
            self.sock, self.view, quits = c.sock or r.fp.raw._sock, set(), self.random.random() * 3 + time.monotonic()
            self.opened += 1
            for block in blocks(r):
                self.take(block)
                if self.world.gate.ended or (self.restless and time.monotonic() > quits):
                    return
            raise ConnectionError("the stream has ended")
        except LOST as e:
            if not self.world.kills.is_since("control", mark) and not self.world.gate.ended:
                self.world.faults.add("reader", f"{self.name_}: {e!r}")
                time.sleep(0.1)  # the pace of who comes back
        finally:
            c.close()

    def take(self, block):
        lines = dict(x.split(": ", 1) for x in block.decode().split("\n") if not x.startswith(":"))
        if "data" not in lines:
            return
        e = json.loads(lines["data"])
        kind, id = e["type"], e["instance"] and e["instance"]["id"]
        self.events, self.tag = self.events + 1, lines.get("id", self.tag)
        if kind == "create" and id in self.view and not self.restless:
            self.world.faults.add("duplicate", f"create of {id} for a reader that knows it")
        if kind == "update" and id not in self.view and not self.restless:
            self.world.faults.add("ghost", f"update of {id} for a reader that does not know it")
        if kind in ("initial", "create"):
            self.view.add(id)
        elif kind == "delete":
            self.view.discard(id)

    def hurry(self):
        with contextlib.suppress(OSError, AttributeError):
            self.sock.shutdown(socket.SHUT_RDWR)


def blocks(response):
    rest = b""
    while data := response.read1(1 << 16):
        *whole, rest = (rest + data).split(b"\n\n")
        yield from whole
