"""A pynng script beside a managed data plane: it looks without saying Hello, and reads events.

Usage: scripting.py RUN_DIR ID; RUN_DIR of a running master, ID of one of its instances. Prints what it saw as JSON.
"""
import json
import sys
import time

import pynng

PATIENCE_MS = 20000


class Node:
    def __init__(self, run_dir):
        self.req = pynng.Req0(dial=f"ipc://{run_dir}/ctl.sock", recv_timeout=PATIENCE_MS, resend_time=-1)
        self.sub = pynng.Sub0(dial=f"ipc://{run_dir}/events.json.sock", topics=[b""], recv_timeout=PATIENCE_MS)

    def ask(self, **request):
        self.req.send(json.dumps(request).encode())
        return json.loads(self.req.recv())

    def event(self):
        return json.loads(self.sub.recv())


def main():
    node, id, codes, kinds, numbers = Node(sys.argv[1]), sys.argv[2], {}, set(), []
    for name, request in (("ping", {"ping": {"nonce": "7"}}), ("info", {"info": {}}), ("list", {"list": {"limit": 5}}),
                          ("get", {"get": {"id": id}}), ("missing", {"get": {"id": "nothing"}}),
                          ("probe", {"probe": {"target": "127.0.0.1:1", "count": 1}}),
                          ("apply", {"apply": {"spec": {"id": "mine", "desired": "DESIRED_RUNNING",
                                                        "url": "client://127.0.0.1:1/127.0.0.1:2?mode=1"}}}),
                          ("remove", {"remove": {"id": id}}), ("nonsense", {"nonsense": {}})):
        reply = node.ask(**request)
        codes[name] = reply["code"]
    end = time.monotonic() + PATIENCE_MS / 1000
    while not {"lease", "stats", "changes"} <= kinds and time.monotonic() < end:
        e = node.event()
        kinds |= set(e) & {"lease", "stats", "changes", "logs", "metrics", "sessions", "overflow"}
        numbers.append(int(e["seq"]))
        if len(numbers) == 1:
            print("reading", file=sys.stderr, flush=True)
    raw = pynng.Req0(dial=f"ipc://{sys.argv[1]}/ctl.sock", recv_timeout=PATIENCE_MS)
    start, n = time.monotonic(), 0
    while time.monotonic() - start < 1:
        raw.send(b'{"ping":{"nonce":"1"}}')
        assert json.loads(raw.recv())["code"] == "CODE_OK"
        n += 1
    print(json.dumps({"codes": codes, "kinds": sorted(kinds), "numbers": numbers, "pings_s": n}))


if __name__ == "__main__":
    main()
