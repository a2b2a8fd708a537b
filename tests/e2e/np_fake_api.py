"""A master's API as nodepass-ctl sees it: kept in memory, so that each answer can be chosen."""
import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "0123456789abcdef0123456789abcdef"
BOOT = "00000000000000aa"


def instance(id, alias="", url="server://k%40y@127.0.0.1:1/127.0.0.1:2", status="running", **more):
    base = {"id": id, "alias": alias, "type": url.split(":")[0], "status": status, "url": url, "config": url,
            "restart": True, "meta": {"peer": {"sid": "", "type": "", "alias": ""}, "tags": {}}, "mode": 1, "ping": 3,
            "pool": 4, "tcps": 5, "udps": 6, "tcprx": 1024, "tcptx": 2048, "udprx": 0, "udptx": 0}
    return {**base, **more}


class FakeApi:
    """Requests that came are in @seen as (method, path, body); @refuse: id -> (status, text). What is started says
    "stopped" @slow times, then @becomes; with @becomes None for good."""

    def __init__(self, instances=()):
        self.key, self.seen, self.refuse, self.lock = KEY, [], {}, threading.Lock()
        self.instances = {i["id"]: i for i in instances}
        self.past, self.readers, self.running, self.most = [], [], 0, 0
        self.barrier = None  # what each change waits for
        self.slow, self.becomes = 2, "running"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            api = outer

            def log_message(self, *args):
                pass

            def answer(self, status, value):
                body = b"" if value is None else (json.dumps(value, separators=(",", ":")) + "\n").encode()
                self.send_response(status)
                if body:
                    self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                with outer.lock:
                    outer.seen.append((self.command, self.path, body))
                if self.headers.get("X-API-Key") != outer.key:
                    return self.answer(401, {"error": "Unauthorized: Invalid API key"})
                path = self.path.removeprefix("/api/v1")
                if path.startswith("/events"):
                    return outer.stream(self, path)
                self.answer(*outer.reply(self.command, path, json.loads(body) if body else {}))

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        for q in list(self.readers):
            q.put(None)
        self.server.shutdown()
        self.server.server_close()

    def entry(self):
        return instance("*" * 8, url=self.key, status="", type="")

    def reply(self, method, path, body):
        if path == "/instances" and method == "GET":
            return 200, [self.entry(), *self.instances.values()]
        if path == "/instances":
            new = instance("feed0001", body.get("alias", ""), body["url"], "stopped")
            self.instances[new["id"]] = new
            return 201, new
        if path == "/info":
            return 200, {"mid": "1" * 16, "ver": "v2.0.0", "cpu": 7, "name": ""}
        if path.startswith("/tcping"):
            good = path == "/tcping?target=127.0.0.1%3A80"
            return 200, {"target": "x", "connected": good, "latency": 12 if good else 0,
                         "error": None if good else "connection refused"}
        id = path.removeprefix("/instances/")
        if id == "*" * 8:
            if method == "PATCH":
                self.key = "f" * 32
            return 200, self.entry()
        return self.change(method, id, body)

    def change(self, method, id, body):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            if self.barrier and method != "GET":
                self.barrier.wait(10)
            if id in self.refuse:
                status, text = self.refuse[id]
                return status, {"error": text}
            if id not in self.instances:
                return 404, {"error": "Instance not found"}
            if method == "DELETE":
                del self.instances[id]
                return 204, None
            self.instances[id].update({k: v for k, v in body.items() if k in ("url", "alias")})
            if method == "GET" and self.becomes:
                asked = sum(m == "GET" and p.endswith("/" + id) for m, p, _ in self.seen)
                self.instances[id]["status"] = "stopped" if asked <= self.slow else self.becomes
            return 200, self.instances[id]
        finally:
            with self.lock:
                self.running -= 1

    # --- events

    def block(self, type, inst, logs="", seq=None):
        data = json.dumps({"type": type, "time": "2026-01-02T03:04:05.678Z", "instance": inst, "logs": logs})
        return (f"event: instance\ndata: {data}\n" + (f"id: {BOOT}-{seq}\n" if seq is not None else "") + "\n").encode()

    def publish(self, type, inst, logs=""):
        with self.lock:
            self.past.append((type, inst, logs))
            for q in self.readers:
                q.put(self.block(type, inst, logs, len(self.past)))

    def stream(self, handler, path):
        q, after = queue.Queue(), None
        if "last_event_id=" in path:
            boot, after = path.split("=")[1].replace("%2D", "-").rsplit("-", 1)
            after = int(after) if boot == BOOT else None
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        with self.lock:
            at = len(self.past) if after is None else after
            q.put(b"retry: 3000\n\n" + self.block("initial", self.entry()) +
                  b"".join(self.block("initial", i) for i in list(self.instances.values())[:-1]))
            q.put(self.block("initial", list(self.instances.values())[-1], seq=at))
            for n, event in enumerate(self.past[at:], at + 1):
                q.put(self.block(*event, seq=n))
            self.readers.append(q)
        while True:
            try:
                block = q.get(timeout=0.2)
            except queue.Empty:
                block = b": ping\n\n"
            if block is None:
                return
            try:
                handler.wfile.write(block)
            except OSError:
                return
