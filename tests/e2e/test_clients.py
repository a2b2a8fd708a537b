"""Programs of others against a master: curl, ssh, pynng, schemathesis, Chromium, wrk, thousands of readers.

What is not installed is skipped; `./dev clients` installs it, runs all of this in full (NP_CLIENTS_FULL) and
prints the figures.
"""
import contextlib
import functools
import http.server
import json
import os
import re
import resource
import shlex
import subprocess
import threading
import time

import pytest

from np_apps import Ssh, missing, run
from np_browser import Browser
from np_crowd import Churn, Crowd, Listener
from np_harness import ROOT
from np_master import KEY_ID, PATIENCE, single
from np_net import SLACK, how_it_ends, is_listening, text_of, wait_for

FULL = bool(os.environ.get("NP_CLIENTS_FULL"))
VENV = os.environ.get("NP_CLIENTS_VENV", os.path.join(ROOT, "build", "clients"))
HERE = os.path.join(ROOT, "tests", "clients")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
pytestmark = pytest.mark.timeout((240 if FULL else 90) * max(1, SLACK))


def need(*tools):
    absent = missing(*tools)
    return pytest.mark.skipif(bool(absent), reason="not installed: " + " ".join(absent))


def python_with(module):
    """The Python of ./dev clients, when it has @module."""
    python = os.path.join(VENV, "bin", "python")
    found = os.path.exists(python) and subprocess.run([python, "-c", f"import {module}"],
                                                      capture_output=True).returncode == 0
    return pytest.mark.skipif(not found, reason=f"not installed: {module} (./dev clients)")


def figure(what, value):
    """A row of the table of ./dev clients."""
    if os.environ.get("NP_FIGURES"):
        with open(os.environ["NP_FIGURES"], "a") as f:
            f.write(f"{what}\t{value}\n")


@pytest.fixture
def master(masters):
    return masters(env={"NP_REPORT_INTERVAL": "5s" if FULL else "1s"})


# ------------------------------------------------------------------ curl and ssh

def curl(master, line):
    """A line of the manual with host and key filled in, as a shell would run it."""
    line = line.replace("http://localhost:9090", f"http://{text_of(master.addr)}").replace("abc123def456789", master.key)
    return json.loads(run(*shlex.split(line.replace("\\\n", " ")), "-sS", "--fail", "--noproxy", "*").stdout)


@need("curl", "sshd", "ssh", "ssh-keygen")
@pytest.mark.sanitize
def test_curl_lines_make_a_tunnel_that_carries_ssh(master, bench):
    ssh = bench.keep(Ssh(bench.folder, bench.addr(9)))
    tunnel, visit = bench.addr(2), bench.addr(3)
    server = curl(master, f"""curl -X POST http://localhost:9090/api/v1/instances \\
-H "X-API-Key: abc123def456789" \\
-d '{{"url":"server://{text_of(tunnel)}/{text_of(visit)}?tls=1"}}'""")
    # A client that finds nobody at an address of this machine takes it for itself.
    wait_for("the server", lambda: is_listening(tunnel), PATIENCE)
    client = curl(master, f"""curl -X POST http://localhost:9090/api/v1/instances \\
-H "X-API-Key: abc123def456789" -d '{{"url":"client://{text_of(tunnel)}/{text_of(ssh.addr)}"}}'""")
    listed = curl(master, """curl http://localhost:9090/api/v1/instances \\
-H "X-API-Key: abc123def456789\"""")
    assert {server["id"], client["id"], KEY_ID} == {x["id"] for x in listed}
    wait_for("the visitors' listener", lambda: is_listening(visit), PATIENCE)
    assert ssh.command(visit, "echo through").stdout == b"through\n"
    patched = curl(master, f"""curl -X PATCH http://localhost:9090/api/v1/instances/{server["id"]} \\
-H "X-API-Key: abc123def456789" \\
-d '{{"action":"restart"}}'""")
    assert patched["id"] == server["id"]
    master.node.wait_line("listening for visitors", count=2)  # the first one was that before the restart
    wait_for("the visitors' listener", lambda: is_listening(visit), PATIENCE)
    size = 20_000_000 if FULL else 2_000_000
    start = time.monotonic()
    said = ssh.command(visit, f"head -c {size} /dev/zero | sha256sum; head -c {size} /dev/zero").stdout
    digest, data = said.split(b"\n", 1)
    assert len(data) == size and not data.strip(b"\0") and len(digest.split()[0]) == 64
    figure("ssh through a tunnel that curl made", f"{size / 1e6 / (time.monotonic() - start):.0f} MB/s")


# ------------------------------------------------------------------ pynng

@python_with("pynng")
def test_pynng_script(master, bench):
    id = master.create(single(bench.addr(2), bench.addr(9)))
    master.wait_instance(id, status="running")
    p = subprocess.Popen([os.path.join(VENV, "bin", "python"), os.path.join(HERE, "scripting.py"),
                          os.path.join(bench.folder, "run"), id], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True)
    try:
        first = p.stderr.readline()
        assert first == "reading\n", first + p.stderr.read()
        master.patch(id, action="restart")  # what it reads as a change
        out, err = p.communicate(timeout=60 * SLACK)
    finally:
        p.kill()
        p.wait()
    assert p.returncode == 0, err
    seen = json.loads(out)
    codes = seen["codes"]
    assert {codes[k] for k in ("ping", "info", "list", "get", "probe")} == {"CODE_OK"}, codes
    assert codes["missing"] == "CODE_NOT_FOUND" and codes["nonsense"] == "CODE_MALFORMED", codes
    # The master manages this node: scripts look, and change nothing.
    assert codes["apply"] == codes["remove"] == "CODE_FENCED", codes
    assert {"lease", "stats", "changes"} <= set(seen["kinds"])
    assert seen["numbers"] == list(range(seen["numbers"][0], seen["numbers"][0] + len(seen["numbers"])))
    assert id in master.list()
    figure("pynng: commands without Hello", f"{seen['pings_s']} a second, one at a time")


# ------------------------------------------------------------------ schemathesis

@python_with("schemathesis")
def test_schemathesis(masters):
    # A probe of a made-up host must not take the time of ten.
    m = masters(env={"NP_REPORT_INTERVAL": "500ms"})
    document, key = f"http://{text_of(m.addr)}{m.api}/openapi.json", f"X-API-Key: {m.key}"
    m.create(single(m.bench.addr(2), m.bench.addr(9)))
    examples = 200 if FULL else 15
    env = {**os.environ, "no_proxy": "*", "PYTHONWARNINGS": "ignore"}
    r = run(os.path.join(VENV, "bin", "schemathesis"), "run", document, "--header", key, "--checks", CHECKS,
            "--exclude-path", "/events", "--max-examples", examples, "--phases", "examples,coverage,fuzzing",
            "--request-timeout", 30, "--seed", 7, "--generation-database", "none", "--no-color",
            "--warnings", "off", timeout=200, status=None, env=env, cwd=m.bench.folder)
    said = r.stdout.decode()
    assert r.returncode == 0, said[-6000:] + r.stderr.decode()[-2000:]
    cases = re.search(r"(\d+) generated", said) or re.search(r"(\d+) (?:passed|cases)", said)
    r = run(os.path.join(VENV, "bin", "python"), os.path.join(HERE, "stream.py"), document, m.key, examples,
            timeout=100, status=None, env=env, cwd=m.bench.folder)
    assert r.returncode == 0, r.stdout.decode()[-3000:] + r.stderr.decode()[-3000:]
    figure("schemathesis: cases, and answers of /events", f"{cases and cases[1]}, {r.stdout.decode().strip()}")


# ------------------------------------------------------------------ Chromium

@pytest.fixture
def browser(bench):
    b = Browser(bench.folder)
    yield b
    b.close()


@need("chromium", "chromedriver")
def test_chromium_shows_the_docs(master, browser):
    document = json.loads(master.root(f"{master.api}/openapi.json").body)
    n = sum(method in ("get", "post", "put", "patch", "delete") for x in document["paths"].values() for method in x)
    browser.open(f"http://{text_of(master.addr)}{master.api}/docs")
    browser.wait("all operations", "return document.querySelectorAll('.swagger-ui .opblock').length === arguments[0]", n)
    assert browser.run("return document.querySelector('.swagger-ui .info .title').innerText")
    hosts = browser.run("return performance.getEntriesByType('resource').map(e => new URL(e.name).host)")
    assert set(hosts) <= {text_of(master.addr)}, hosts
    assert not [x for x in browser.said() if "Refused" in x or "Uncaught" in x]
    picture = os.environ.get("NP_CLIENTS_PICTURE", os.path.join(master.bench.folder, "docs.png"))
    browser.screenshot(picture)
    assert os.path.getsize(picture) > 20000
    figure("Chromium: operations in the docs page", n)


PAGE = """<!doctype html><title>elsewhere</title><script>
const [api, key] = location.hash.slice(1).split(",");
window.seen = []; window.failed = null; window.code = 0;
async function read() {
  const r = await fetch(api + "/events", {headers: {"X-API-Key": key}});
  window.code = r.status; window.kind = r.headers.get("content-type");
  const text = r.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await text.read();
    if (done) { window.seen.push({type: "end"}); return; }
    const blocks = (rest + value).split("\\n\\n");
    rest = blocks.pop();
    for (const b of blocks) {
      const line = b.split("\\n").find(x => x.startsWith("data: "));
      if (line) { const e = JSON.parse(line.slice(6)); window.seen.push({type: e.type, id: e.instance && e.instance.id}); }
    }
  }
}
read().catch(e => { window.failed = String(e); });
async function call(method, path, body, k) {
  const r = await fetch(api + path, {method, body: body && JSON.stringify(body),
    headers: {"X-API-Key": k === undefined ? key : k, "Content-Type": "application/json"}});
  return {status: r.status, json: r.status === 204 ? null : await r.json()};
}
function start(name, ...a) { window[name] = null; call(...a).then(x => { window[name] = x; }, e => { window.failed = String(e); }); }
</script>"""


@pytest.fixture
def elsewhere(bench):
    """A page of another origin; the paths that were asked for."""
    folder = os.path.join(bench.folder, "www")
    os.makedirs(folder)
    with open(os.path.join(folder, "page.html"), "w") as f:
        f.write(PAGE)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *_: None
    s = http.server.ThreadingHTTPServer(bench.addr(8), handler)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    yield f"http://{text_of(s.server_address)}/page.html"
    s.shutdown()
    s.server_close()


@need("chromium", "chromedriver")
def test_chromium_reads_events_from_another_origin(master, bench, browser, elsewhere):
    target = bench.tcp_target()
    browser.open(f"{elsewhere}#http://{text_of(master.addr)}{master.api},{master.key}")

    def seen(kind, id):
        browser.wait(f"{kind} of {id}", "if (window.failed) throw window.failed;"
                     "return window.seen.some(e => e.type === arguments[0] && e.id === arguments[1])", kind, id)

    def call(method, path, body=None, *key):
        browser.run("start('answer', ...arguments)", method, path, body, *key)
        return browser.wait(f"{method} {path}", "if (window.failed) throw window.failed; return window.answer")

    seen("initial", KEY_ID)
    assert browser.run("return [window.code, window.kind]") == [200, "text/event-stream"]
    made = call("POST", "/instances", {"url": single(bench.addr(2), target.addr), "alias": "ü"})
    assert made["status"] == 201 and made["json"]["alias"] == "ü"
    id = made["json"]["id"]
    for kind in ("create", "update", "log"):
        seen(kind, id)
    assert call("PATCH", f"/instances/{id}", {"action": "stop"})["status"] == 200
    assert call("PUT", f"/instances/{id}", {"url": single(bench.addr(3), target.addr)})["status"] == 200
    assert call("GET", "/info", None)["json"]["ver"]
    assert call("GET", "/instances", None, "wrong")["status"] == 401  # errors can be read across origins, too
    assert call("DELETE", f"/instances/{id}")["status"] == 204
    seen("delete", id)
    browser.run("window.seen.length = 0")
    master.stop()
    seen("shutdown", None)
    browser.wait("a clean end", "return window.failed === null && window.seen.some(e => e.type === 'end')")
    figure("Chromium: fetch() stream from another origin", "initial create update log delete shutdown")


# ------------------------------------------------------------------ load

def make_instances(master, n):
    """@n running instances; listeners on many addresses."""
    for i in range(n):
        master.good("POST", "/instances", {"url": single(master.bench.addr(30 + i % 200), master.bench.addr(9), min=0)},
                    201)
    wait_for("all of them run", lambda: sum(x["status"] == "running" for x in master.list().values()) == n, 60)


@need("wrk")
def test_wrk_beside_readers_and_changes(master, bench):
    n, readers, seconds = (1000, 200, 20) if FULL else (60, 40, 3)
    make_instances(master, n)
    crowd = bench.keep(Crowd(master))
    crowd.join(readers)
    crowd.wait("the opening", lambda x: x.initial == n + 1, 60)
    log = open(os.path.join(bench.folder, "wrk.log"), "w+")
    p = subprocess.Popen(["wrk", "-t", "2", "-c", "16", "-d", f"{seconds}s", "--timeout", "5s", "--latency", "-H",
                          f"X-API-Key: {master.key}", f"http://{text_of(master.addr)}{master.api}/instances"],
                         stdout=log, stderr=log)
    life, slowest = [], 0.0
    with contextlib.closing(log):
        while p.poll() is None:
            start = time.monotonic()
            id = master.create(single(bench.addr(20), bench.addr(9), min=0))
            master.good("DELETE", f"/instances/{id}", status=204)
            slowest = max(slowest, (time.monotonic() - start) / 2)
            life += [("create", id), ("delete", id)]
        log.seek(0)
        said = log.read()
    assert p.returncode == 0, said
    assert "Socket errors" not in said and "Non-2xx" not in said, said
    assert len(life) >= 4, "too few changes while wrk ran"
    crowd.wait("all creates and deletes", lambda x: x.life == life, 60)
    assert not [x for x in crowd.all if x.end], "readers were cut"
    p99, rate = re.search(r"99%\s+(\S+)", said)[1], re.search(r"Requests/sec:\s+(\S+)", said)[1]
    figure(f"wrk: GET /instances, {n} instances, {readers} readers", f"p99 {p99}, {rate} a second, 16 connections, "
           f"no error; {len(life)} changes meanwhile, slowest {slowest * 1e3:.0f} ms")


def test_crowd_of_readers(master, bench):
    """None loses a create, a delete or the shutdown, others come and go; those who stand still are reset."""
    n, changes = (2000, 60) if FULL else (200, 20)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 2 * n + 500, "too few descriptors: ulimit -n"
    make_instances(master, 20)
    crowd = bench.keep(Crowd(master))
    start = time.monotonic()
    crowd.join(n)
    crowd.wait("the opening", lambda x: x.initial == 21, 60)
    opened = time.monotonic() - start
    stalled = [Listener(master, rcvbuf=4096) for _ in range(20)]
    churn, life, last = Churn(crowd), [], 0.0
    for _ in range(changes):
        id = master.create(single(bench.addr(2), bench.addr(9), min=0))
        master.good("DELETE", f"/instances/{id}", status=204)
        life += [("create", id), ("delete", id)]
    done = time.monotonic()
    crowd.wait("every create and delete", lambda x: x.life == life, 60)
    last = time.monotonic() - done
    churn.stop()
    if FULL:  # a queue that fills up, or half a minute without a byte taken
        big = {"tags": {f"t{i}": "x" * 200 for i in range(100)}}
        id = next(i for i in master.list() if i != KEY_ID)
        ends, until = [], time.monotonic() + 90 * SLACK
        while time.monotonic() < until and master.metrics()["nodepass_events_subscribers"] > n:
            master.patch(id, meta=big)
            time.sleep(0.1)
        ends = [how_it_ends(x.s) for x in stalled]
        assert set(ends) == {"reset"}, ends
    assert master.metrics()["nodepass_events_subscribers"] >= n
    for x in stalled:
        x.s.close()
    id = master.create(single(bench.addr(2), bench.addr(9), min=0))
    life.append(("create", id))
    crowd.wait("one more create, and no end", lambda x: x.life == life and x.end is None, 60)
    master.stop()
    crowd.wait("the shutdown and a clean end", lambda x: x.life == life + [("shutdown", "")] and x.end == "clean", 30)
    figure(f"{n} readers at once", f"opened in {opened:.1f} s; {len(life)} creates and deletes seen by each, the last "
           f"{last * 1e3:.0f} ms after its answer; {churn.came} more came and went; shutdown seen by each"
           + ("; 20 that stood still were reset" if FULL else ""))
