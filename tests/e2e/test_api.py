"""The master's API, request by request: routes, statuses, errors, what is validated, what is changed.

Each answer is also held against the master's own OpenAPI document (np_master.py). Event streams:
test_api_events.py; restarts and processes: test_api_state.py.
"""
import json
import re
import socket
import ssl
import time
from urllib.parse import parse_qsl, urlsplit

import pytest

from np_master import FIELDS, KEY_ID, PATIENCE, single
from np_net import (SLACK, ask, free_port, is_listening, parallel, read_eof, read_n, served, text_of,
                    wait_for)

BAD_JSON = [b"", b"{", b"[]", b'{"url":1}', b'{"url":null}', b'{"url":""}', b"{}", b"null", b"\xff"]


def raw(m, data, timeout=PATIENCE):
    """The bytes that answer @data, to the end of the connection."""
    with socket.create_connection(m.addr, timeout * SLACK) as s:
        s.sendall(data)
        return read_eof(s)


def keyed(m, line, *headers, body=b""):
    head = [line, "Host: x", f"X-API-Key: {m.key}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


# ------------------------------------------------------------------ routes, keys

@pytest.mark.sanitize
def test_keys(masters):
    m = masters()
    for method, path in (("GET", "/instances"), ("GET", "/instances/12345678"), ("PATCH", "/instances/"),
                         ("BREW", "/info"), ("DELETE", "/events"), ("GET", "/events"), ("GET", "/tcping")):
        r = m.call(method, path, key=False)
        assert (r.status, r.kind) == (401, "application/json")
        assert r.error == "Unauthorized: API key required"
        assert r.headers["WWW-Authenticate"] is None
    assert m.call("GET", "/info", key="").error == "Unauthorized: API key required"
    for name in ("x-api-key", "X-API-KEY"):
        assert m.call("GET", "/info", key=False, headers={name: m.key}).status == 200
    assert m.call("GET", "/info", key=f"  {m.key}\t").status == 200
    assert m.call("GET", "/info", key=False, headers={"Authorization": f"Bearer {m.key}"}).status == 401
    assert m.call("GET", f"/info?key={m.key}", key=False).status == 401


def test_wrong_key_waits(masters):
    m = masters()
    wrong = [m.key[:-1], m.key + "0", m.key.upper() + "g"]
    start = time.monotonic()
    for r in parallel(3, lambda i: m.call("GET", "/info", key=wrong[i])):
        assert r.status == 401 and r.error == "Unauthorized: Invalid API key"
    assert time.monotonic() - start >= 0.9  # the second of one source waits for a second
    assert m.call("GET", "/info").status == 200


@pytest.mark.sanitize
def test_routes(masters):
    m = masters()
    rows = {"/instances": "GET POST", "/instances/12345678": "GET PATCH PUT DELETE", "/events": "GET",
            "/info": "GET POST", "/tcping": "GET"}
    for path, known in rows.items():
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "BREW"):
            if method not in known.split():
                r = m.call(method, path)
                assert r.status == 405, f"{method} {path}: {r}"
                if method != "HEAD":
                    assert r.error == "Method not allowed"
    for path in (*rows, "/openapi.json", "/docs"):
        r = m.call("OPTIONS", path, key=False)
        assert (r.status, r.body, r.headers["Content-Length"]) == (200, b"", "0"), path
    for path in ("/openapi.json", "/docs"):
        assert m.call("HEAD", path, key=False).body == b""
        for method in ("GET", "POST", "DELETE"):
            assert m.root(m.api + path, method).status == 200
    assert m.call("GET", "/instances/").error == "Instance ID is required"


def test_unknown_paths(masters):
    m = masters()
    for path in ("/", "/api", "/api/v1", "/api/v1/", "/api/v1/info/", "/api/v1/events/", "/x", "/API/v1/info"):
        for method in ("GET", "OPTIONS", "POST"):
            r = m.root(path, method)
            assert r.status == 404 and r.body == b"404 page not found\n", f"{method} {path}: {r}"
            assert r.kind == "text/plain; charset=utf-8"
            assert r.headers["X-Content-Type-Options"] == "nosniff"
    for path, clean in (("/api//v1/info?a=b", "/api/v1/info?a=b"), ("/api/./v1/info", "/api/v1/info"),
                        ("/api/x/../v1/info", "/api/v1/info")):
        r = m.root(path)
        assert (r.status, r.headers["Location"]) == (301, clean), r
        assert r.kind == "text/html; charset=utf-8"
    r = m.root(f"/%61pi/v1/instances/{'%2A' * 8}", headers={"X-API-Key": m.key})
    assert r.status == 200 and r.json["id"] == KEY_ID
    assert m.call("GET", "/instances/a%2Fb").status == 404


def test_prefix(masters, bench):
    m = masters(prefix="/a/b")
    assert m.call("GET", "/info").status == 200
    assert m.root("/api/v1/info").status == 404
    assert m.schema.doc["servers"][0]["url"] == "/a/b/v1"
    for word in ("metrics", "healthz", "readyz"):
        n = bench.node(f"master://{text_of(bench.addr(3))}/{word}", name=word)
        n.wait_exit(2, PATIENCE)


@pytest.mark.sanitize
def test_http_details(masters):
    m = masters()
    url = single(m.bench.addr(2), m.bench.addr(9)).encode()
    body = b'{"URL":"' + url + b'","x":[1,{}]} trailing'
    r = raw(m, keyed(m, "POST /api/v1/instances HTTP/1.1", "Transfer-Encoding: chunked",
                     body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)))
    assert r.startswith(b"HTTP/1.1 201 "), r
    with socket.create_connection(m.addr, PATIENCE * SLACK) as s:
        s.sendall(keyed(m, "POST /api/v1/info HTTP/1.1", "Expect: 100-continue", "Content-Length: 13"))
        assert read_n(s, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b'{"alias":"a"}')
        assert read_eof(s).startswith(b"HTTP/1.1 200 OK\r\n")
    r = raw(m, f"GET /api/v1/info HTTP/1.0\r\nX-API-Key: {m.key}\r\n\r\n".encode())
    assert re.match(rb"HTTP/1\.[01] 200 ", r) and b"\r\nDate: " in r, r
    r = raw(m, f"GET /api/v1/info HTTP/1.1\r\nX-API-Key: {m.key}\r\n\r\n".encode())
    assert b" 400 " in r[:20] and b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in r, r
    assert b" 400 " in raw(m, b"\0\1\2\r\n\r\n")[:20]
    assert b" 431 " in raw(m, keyed(m, "GET /api/v1/info HTTP/1.1", "X-Big: " + "x" * 17000))[:20]
    big = m.call("POST", "/instances", {"url": "x" * (1 << 20)})
    assert big.status == 413 and big.error
    assert raw(m, b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    c = m.connect()
    for _ in range(3):  # one connection
        c.request("GET", "/api/v1/info", headers={"X-API-Key": m.key})
        assert c.getresponse().read()
    c.close()


def test_tls(masters):
    m = masters(query="?tls=1")
    assert m.good("GET", "/info")["tls"] == "1"
    ctx = ssl._create_unverified_context()
    ctx.set_alpn_protocols(["h2", "http/1.1"])
    with ctx.wrap_socket(socket.create_connection(m.addr, PATIENCE * SLACK)) as s:
        assert s.version() == "TLSv1.3" and s.selected_alpn_protocol() == "http/1.1"
    old = ssl._create_unverified_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        old.wrap_socket(socket.create_connection(m.addr, PATIENCE * SLACK)).close()
    r = raw(m, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert r.startswith(b"HTTP/1.0 400 Bad Request\r\n") and b"HTTP request to an HTTPS server" in r
    assert m.events().wait("the key", lambda e: e.id == KEY_ID).type == "initial"
    url = f"server://{text_of(m.bench.addr(2))}/{text_of(m.bench.addr(3))}"
    x = m.get(m.create(url))
    assert x["url"] == url + "?tls=1"


# ------------------------------------------------------------------ GET, POST

@pytest.mark.sanitize
def test_shape(masters):
    m = masters()
    r = m.call("GET", "/instances")
    assert re.match(rb'\[\{"id":"\*{8}","alias":"","type":"","status":"","url":"[0-9a-f]{32}","config":"'
                    rb'[0-9a-f]{16}","restart":false,', r.body)
    url = single(m.bench.addr(2), m.bench.addr(9))
    r = m.call("POST", "/instances", {"url": url})
    assert re.match(rb'\{"id":"[0-9a-f]{8}","alias":"","type":"client","status":"stopped","url":"'
                    + re.escape(url.encode()) + b'","config":"', r.body)
    assert r.json["restart"] is True
    assert r.json["meta"] == {"peer": {"sid": "", "type": "", "alias": ""}, "tags": {}}
    more = [m.create(single(m.bench.addr(2), m.bench.addr(9)), alias=f"n{i}") for i in range(3)]
    got = m.good("GET", "/instances")
    assert [x["id"] for x in got] == [KEY_ID, r.json["id"], *more]
    assert all(list(x) == FIELDS for x in got) and got[-1]["alias"] == "n2"


def test_url_and_config(masters):
    m = masters(query="?log=warn")
    visit, target = m.bench.addr(2), m.bench.addr(9)
    x = m.get(m.create(f"CLIENT://{text_of(visit)}/{text_of(target)}?mode=1&min=3&block=0"))
    assert x["url"] == f"client://{text_of(visit)}/{text_of(target)}?block=0&log=warn&min=3&mode=1"
    query = parse_qsl(urlsplit(x["config"]).query)
    assert query == sorted(query)
    want = {"min": "3", "mode": "1", "log": "warn", "rate": "0", "slot": "65536", "notcp": "0", "noudp": "0"}
    assert want.items() <= dict(query).items()
    x = m.get(m.create(f"server://{text_of(m.bench.addr(3))}/{text_of(target)}?log=debug&crt=/a%20b&key=k&tls=0"))
    assert parse_qsl(urlsplit(x["url"]).query) == [("crt", "/a b"), ("key", "k"), ("log", "debug"), ("tls", "0")]
    dup = single(visit, target)
    assert m.create(dup) != m.create(dup)  # two of a kind are accepted


BAD_URLS = [("http://h:1/t:2", "Invalid URL scheme"), ("x", "Invalid URL"),
            ("client://h:1", "Invalid URL format"), ("client:///t:2", "Invalid URL format"),
            ("client://h/t:2", "Invalid URL format"), ("client://h:0/t:2", "Invalid URL format"),
            ("client://h:99999/t:2", "Invalid URL format"), ("client://h:1/t:x", "Invalid URL format"),
            ("client://h:1/t:2?what=1", "what"), ("client://h:1/t:2?min=1&min=2", "min"),
            ("client://h:1/t:2?rate=fast", "rate"), ("client://h:1/t:2?mode=7", "mode"),
            ("client://h:1/t:2?log=loud", "log"), ("server://h:1/t:2?tls=9", "tls"),
            ("client://h\x01:1/t:2", "Invalid URL format")]


def test_bad_urls(masters):
    m = masters()
    id = m.create(single(m.bench.addr(2), m.bench.addr(9)))
    url = m.get(id)["url"]
    for method, path in (("POST", "/instances"), ("PUT", f"/instances/{id}")):
        for bad, word in BAD_URLS:
            r = m.call(method, path, {"url": bad})
            assert r.status == 400 and r.error.startswith("Invalid URL") and word in r.error, f"{bad}: {r}"
        for bad in BAD_JSON:
            r = m.call(method, path, bad)
            assert (r.status, r.error) == (400, "Invalid request body"), bad
    assert m.get(id)["url"] == url and len(m.list()) == 2
    secret = "np1_" + "Q" * 43
    r = m.call("POST", "/instances", {"url": f"client://{secret}@h:1/t:2?rate=fast"})
    assert r.status == 400 and secret not in r.error and secret not in m.node.log()


def test_alias_at_creation(masters):
    m = masters()
    url = single(m.bench.addr(2), m.bench.addr(9))
    assert m.get(m.create(url, alias="é" * 128))["alias"] == "é" * 128
    r = m.call("POST", "/instances", {"url": url, "alias": "é" * 129})
    assert (r.status, r.error) == (400, "Instance alias exceeds maximum length 256")
    assert m.get(m.create(url, alias=None))["alias"] == ""
    assert m.call("POST", "/instances", {"url": url, "alias": 5}).error == "Invalid request body"
    r = m.call("POST", "/instances", {"url": url, "alias": "a<&>\"\\\n\u2028"})
    assert rb'"a\u003c\u0026\u003e\"\\\n\u2028"' in r.body


# ------------------------------------------------------------------ PATCH

@pytest.mark.sanitize
def test_patch_rules(one):
    before = one.get(one.id)
    for body in (b"", b"{", b"null", b"{}", b'{"alias":7}', b'{"restart":"x","alias":"lost"}', b"[]", b'{"meta":3}',
                 b'{"alias":""}', b'{"alias":null,"action":null,"restart":null,"meta":null}', b'{"other":1}'):
        r = one.call("PATCH", f"/instances/{one.id}", body)
        assert r.status == 200, body
        assert {k: r.json[k] for k in ("alias", "restart", "meta", "url")} == \
            {k: before[k] for k in ("alias", "restart", "meta", "url")}, body
    assert one.call("PATCH", f"/instances/{one.id}", b'{"ALIAS":"x","alias":"y"} z').json["alias"] == "y"
    assert one.patch(one.id, alias="")["alias"] == "y"
    assert one.patch(one.id, restart=False)["restart"] is False
    assert one.call("PATCH", "/instances/00000000", {"alias": "x"}).error == "Instance not found"


def test_patch_is_atomic(one):
    long = "é" * 129
    rows = [({"action": "status"}, "Invalid action: status"), ({"action": "STOP"}, "Invalid action: STOP"),
            ({"alias": long}, "Instance alias exceeds maximum length 256"),
            ({"meta": {"peer": {"sid": long}}}, "Meta peer.sid exceeds maximum length 256"),
            ({"meta": {"peer": {"type": long}}}, "Meta peer.type exceeds maximum length 256"),
            ({"meta": {"peer": {"alias": long}}}, "Meta peer.alias exceeds maximum length 256"),
            ({"meta": {"tags": {long: ""}}}, "Meta tag key exceeds maximum length 256"),
            ({"meta": {"tags": {"k": long}}}, "Meta tag value exceeds maximum length 256")]
    before = one.get(one.id)
    for change, text in rows:
        r = one.call("PATCH", f"/instances/{one.id}", {"alias": "new", "restart": False, **change})
        assert (r.status, r.error) == (400, text)
    r = one.call("PATCH", f"/instances/{one.id}", {"alias": "new", "meta": {"tags": {str(i): "v" * 250
                                                                                    for i in range(200)}}})
    assert r.status == 400, r
    after = one.get(one.id)
    assert all(after[k] == before[k] for k in ("alias", "restart", "meta", "status"))


def test_meta(one):
    peer = {"sid": "s", "type": "1", "alias": "a"}
    assert one.patch(one.id, meta={"peer": peer, "tags": {"k": "v", "l": ""}})["meta"]["peer"] == peer
    assert one.patch(one.id, meta={"peer": {"sid": "t", "alias": None}})["meta"] == \
        {"peer": {"sid": "t", "type": "", "alias": ""}, "tags": {"k": "v", "l": ""}}
    assert one.patch(one.id, meta={})["meta"]["tags"] == {"k": "v", "l": ""}
    assert one.patch(one.id, meta={"tags": {"x": "1"}})["meta"]["tags"] == {"x": "1"}
    assert one.patch(one.id, meta={"tags": None})["meta"]["tags"] == {"x": "1"}
    last = one.patch(one.id, meta={"tags": {}, "peer": {}})["meta"]
    assert last == {"peer": {"sid": "", "type": "", "alias": ""}, "tags": {}}
    assert one.call("PATCH", f"/instances/{one.id}", b'{"meta":{"tags":{"a":"1","a":"2"}}}') \
        .json["meta"]["tags"] == {"a": "2"}


@pytest.mark.sanitize
def test_actions(one):
    assert ask(one.visit)
    one.patch(one.id, action="stop")
    one.wait_instance(one.id, status="stopped", tcps=0)
    assert not is_listening(one.visit)
    for action in ("start", "start", "restart", "restart"):
        one.patch(one.id, action=action)
        wait_for("service", lambda: one.get(one.id)["status"] == "running" and is_listening(one.visit), PATIENCE)
    one.patch(one.id, action="stop")
    one.wait_instance(one.id, status="stopped")
    one.patch(one.id, action="restart")
    one.wait_instance(one.id, status="running")


def test_reset(one):
    data = b"x" * 1000
    assert ask(one.visit, data)
    one.wait_instance(one.id, tcprx=1000, tcptx=1000)
    x = one.patch(one.id, action="reset")
    assert [x[k] for k in ("tcprx", "tcptx", "udprx", "udptx")] == [0] * 4
    assert ask(one.visit, data[:10])
    one.wait_instance(one.id, tcprx=10, tcptx=10)


# ------------------------------------------------------------------ PUT, DELETE, the key

@pytest.mark.sanitize
def test_put(one):
    path = f"/instances/{one.id}"
    url = one.get(one.id)["url"]
    assert one.call("PUT", path, {"url": url}).error == "Instance URL conflict"
    shuffled = url.replace("client", "CLIENT", 1)
    assert one.call("PUT", path, {"url": shuffled}).status == 409
    assert one.call("PUT", f"/instances/{KEY_ID}", {"url": url}).error == "Forbidden: API Key"
    assert one.call("PUT", "/instances/00000000", {"url": url}).error == "Instance not found"
    one.patch(one.id, alias="stays", meta={"tags": {"k": "v"}}, restart=False)
    visit = one.bench.addr(3)
    x = one.good("PUT", path, {"url": single(visit, one.target.addr)})
    assert (x["alias"], x["meta"]["tags"], x["restart"], x["id"]) == ("stays", {"k": "v"}, False, one.id)
    assert x["url"] == single(visit, one.target.addr) and text_of(visit) in x["config"]
    one.wait_instance(one.id, status="running")
    wait_for("the new listener alone", lambda: is_listening(visit) and not is_listening(one.visit), PATIENCE)
    assert ask(visit)
    one.patch(one.id, action="stop")
    one.wait_instance(one.id, status="stopped")
    tunnel = one.bench.addr(4)
    server = f"server://{text_of(tunnel)}/{text_of(visit)}?mode=1"
    assert one.good("PUT", path, {"url": server})["type"] == "server"
    one.wait_instance(one.id, status="running")  # a stopped one is started
    wait_for("the server's listener", lambda: is_listening(tunnel), PATIENCE)


def test_delete(one):
    path = f"/instances/{one.id}"
    r = one.call("DELETE", path)
    assert (r.status, r.body, r.kind) == (204, b"", "")
    for method in ("GET", "PATCH", "DELETE"):
        assert one.call(method, path, {} if method == "PATCH" else None).error == "Instance not found"
    assert one.call("DELETE", f"/instances/{KEY_ID}").error == "Forbidden: API Key"
    assert list(one.list()) == [KEY_ID]
    wait_for("the end of the listener", lambda: not is_listening(one.visit), PATIENCE)
    for _ in range(20):  # creation and removal leave nothing behind
        one.good("DELETE", f"/instances/{one.create(single(one.visit, one.target.addr))}", status=204)
    assert list(one.list()) == [KEY_ID]
    wait_for("no listener", lambda: not is_listening(one.visit), PATIENCE)


@pytest.mark.sanitize
def test_key_change(one):
    old = one.key
    for change in ({"alias": "x"}, {"action": "stop"}, {"restart": True}, {"meta": {"tags": {"a": "b"}}}, {}):
        x = one.good("PATCH", f"/instances/{KEY_ID}", change)
        assert (x["url"], x["alias"], x["restart"], x["meta"]["tags"]) == (old, "", False, {})
    r = one.call("PATCH", f"/instances/{KEY_ID}", {"action": "restart"})
    new = re.match(r'.*url":"([^"]+)".*', r.body.decode())[1]
    assert re.fullmatch("[0-9a-f]{32}", new) and new != old
    assert one.call("GET", "/info").status == 401
    one.key = new
    assert one.list()[KEY_ID]["url"] == new
    assert new not in one.node.log()


# ------------------------------------------------------------------ the rest

@pytest.mark.sanitize
def test_info(masters):
    m = masters(query="?log=debug")
    x = m.good("GET", "/info")
    assert re.fullmatch(r"v[2-9]\.\d+\.\d+.*", x["ver"]) and x["os"] == "linux" and x["mem_total"] > x["mem_used"] > 0
    assert (x["name"], x["log"], x["tls"], x["crt"], x["key"]) == (m.addr[0], "debug", "0", "", "")
    assert x["mid"] == m.list()[KEY_ID]["config"]
    assert m.good("POST", "/info", {"alias": "hub"})["alias"] == "hub"
    assert m.list()[KEY_ID]["alias"] == "hub"
    r = m.call("POST", "/info", {"alias": "é" * 129})
    assert (r.status, r.error) == (400, "Master alias exceeds maximum length 256")
    for bad in (b"", b"{", b"[]", b'{"alias":1}'):
        assert m.call("POST", "/info", bad).error == "Invalid request body"
    assert m.good("GET", "/info")["alias"] == "hub"
    for clear in ({}, {"alias": None}):
        m.good("POST", "/info", {"alias": "hub"})
        assert m.good("POST", "/info", clear)["alias"] == ""


def test_tcping(masters):
    m = masters()
    target = m.bench.tcp_target()
    r = m.call("GET", f"/tcping?target={text_of(target.addr)}")
    assert list(r.json) == ["target", "connected", "latency", "error"]
    assert r.json["connected"] is True and r.json["error"] is None and r.json["target"] == text_of(target.addr)
    for bad in (text_of((target.addr[0], free_port(target.addr[0]))), "foo", "h:99999", "[::1"):
        x = m.good("GET", f"/tcping?target={bad}")
        assert (x["connected"], x["latency"], x["target"]) == (False, 0, bad) and x["error"]
    for path in ("/tcping", "/tcping?target="):
        assert m.call("GET", path).error == "Target address required"


def test_documents(masters):
    m = masters()
    doc = m.schema.doc
    assert doc["openapi"] == "3.1.1" and doc["info"]["version"] == "v1"
    assert set(doc["paths"]) == {"/instances", "/instances/{id}", "/events", "/info", "/tcping", "/openapi.json",
                                 "/docs"}
    page = m.call("GET", "/docs", key=False)
    assert page.status == 200 and page.kind.startswith("text/html")
    assert not re.search(rb'(?:src|href)="(?:https?:)?//', page.body)
    for link in re.findall(r'(?:src|href)="([^"#]+)"', page.body.decode()):
        path = link if link.startswith("/") else m.api + "/" + link.removeprefix("./")
        if not link.startswith("data:"):
            assert m.root(path).status == 200, link
    for ref in set(re.findall(r'"\$ref": ?"([^"]+)"', json.dumps(doc))):
        assert m.schema.at(ref)


def test_health_and_metrics(one):
    for path in ("/healthz", "/readyz"):
        assert one.root(path).status == 200
        assert one.root(path, "HEAD").body == b""
    assert one.root("/metrics").status == 401
    assert ask(one.visit, b"x" * 500)
    one.wait_instance(one.id, tcprx=500, tcptx=500)
    rows = one.metrics()
    assert rows["nodepass_dataplane_up"] == 1
    mine = {k: v for k, v in rows.items() if one.id in k}
    assert any("bytes" in k and v == 500 for k, v in mine.items()), mine
    one.good("DELETE", f"/instances/{one.id}", status=204)
    wait_for("the end of its series", lambda: not [k for k in one.metrics() if one.id in k], PATIENCE)


def test_metrics_key(masters):
    m = masters(env={"NP_METRICS_KEY": "only-for-metrics"})
    assert m.root("/metrics", headers={"X-API-Key": "only-for-metrics"}).status == 200
    assert m.call("GET", "/info", key="only-for-metrics").status == 401
    assert m.metrics()


def histogram(m, name, id):
    """[(bound in seconds, cumulative count)], sum, count of one instance."""
    rows = [(k, v) for k, v in m.metrics().items() if k.startswith(f"nodepass_instance_{name}_seconds") and id in k]
    buckets = [(float(re.search(r'le="([^"]+)"', k)[1]), v) for k, v in rows if "_bucket{" in k]
    one = {part: [v for k, v in rows if f"_{part}{{" in k] for part in ("sum", "count")}
    assert [len(x) for x in one.values()] == [bool(buckets)] * 2, rows
    return buckets, *(x[0] if x else 0 for x in one.values())


def test_metrics__handshakes_and_dials__as_histograms(masters):
    m = masters()
    target, visit, tunnel = m.bench.tcp_target(), m.bench.addr(2), text_of(m.bench.addr(3))
    server = m.create(f"server://key@{tunnel}/{text_of(visit)}?mode=1")
    client = m.create(f"client://key@{tunnel}/{text_of(target.addr)}?mode=2&min=1")
    wait_for("service", lambda: served(visit), PATIENCE)
    for _ in range(20):
        assert ask(visit)

    def settled(name, id, n):
        buckets, total, count = histogram(m, name, id)
        return count >= n and (buckets, total, count)
    for name, id, n in (("handshake", server, 1), ("handshake", client, 1), ("dial", client, 21)):
        buckets, total, count = wait_for(f"{n} in {name}", lambda: settled(name, id, n), PATIENCE)
        bounds, counts = zip(*buckets)
        assert list(bounds) == sorted(bounds) and bounds[-1] == float("inf") and bounds[0] == 0.0005
        assert list(counts) == sorted(counts) and counts[-1] == count
        assert 0 < total < count * PATIENCE * SLACK
    assert histogram(m, "dial", server) == ([], 0, 0)  # it dials nobody
    idle = m.create(single(m.bench.addr(4), m.bench.addr(9)))
    m.wait_instance(idle, status="running")
    assert histogram(m, "dial", idle) == ([], 0, 0)
