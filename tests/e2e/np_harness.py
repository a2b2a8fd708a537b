"""Processes under test, their logs, certificates, and tunnels made of them.

The oracles are what the product itself says (log lines, session ends, CHECK_POINT counters), the bytes
that arrive, and /proc. Owns every process it starts and ends it by its pid. Sockets: np_net.py,
np_proxy.py.
"""
import base64
import contextlib
import itertools
import json
import mmap
import os
import re
import resource
import signal
import subprocess
import time
from urllib.parse import quote

import pytest

from np_net import (SLACK, EchoFarm, MuteTarget, TcpTarget, UdpTarget, dial, established, free_port,
                    is_listening, text_of, wait_for)
from np_proxy import FaultProxy

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("NODEPASS_BIN", os.path.join(ROOT, "build", "bin"))
NODEPASS = os.path.join(BIN, "nodepass")
STOP_S = 7          # SIGTERM to exit, sessions drained or not
REPORT = f"{int(500 * max(1, SLACK / 2))}ms"  # NP_REPORT_INTERVAL unless a test says otherwise
TLS_NAME = "tunnel.test"

# What no log may say, unless a test provoked it and says so with node.tolerate().
ALARM = re.compile(r"(?:Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer|runtime error:|assertion|"
                   r"stack smashing|double free|corrupted|core dumped|violation", re.I)


def binary_missing():
    if os.access(NODEPASS, os.X_OK):
        return None
    return f"no program at {NODEPASS}: build it, or set NODEPASS_BIN to the folder it is in"


def built_with(*symbols):
    """Is one of them in the data plane's program?"""
    with open(os.path.join(BIN, "nodepass-dataplane"), "rb") as f, \
            mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
        return any(m.find(x) != -1 for x in symbols)


def instrumented():
    """Built for a sanitizer: what it holds of memory says nothing of the program."""
    return built_with(b"__asan_init", b"__tsan_init")


# ------------------------------------------------------------------ log lines

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3})  ([A-Z]+)  (.*)$")
_FIELD = re.compile(r'(?:^|\s)([A-Za-z_][\w.]*)=("(?:[^"\\]|\\.)*"|\S*)')
_POINT = re.compile(r"CHECK_POINT\|MODE=(\d+)\|PING=(\d+)ms\|POOL=(\d+)\|TCPS=(\d+)\|UDPS=(\d+)\|"
                    r"TCPRX=(\d+)\|TCPTX=(\d+)\|UDPRX=(\d+)\|UDPTX=(\d+)$")
_POINT_NAMES = ("mode", "ping", "pool", "tcps", "udps", "tcprx", "tcptx", "udprx", "udptx")


class Line:
    """One log line in text form; level and text are None for what is not of that form."""

    def __init__(self, raw):
        self.raw = _ANSI.sub("", raw)
        m = _LINE.match(self.raw)
        self.time, self.level, self.text = m.groups() if m else (None, None, None)
        self.fields = {k: v.strip('"') for k, v in _FIELD.findall(self.text or "")}

    @property
    def is_end(self):
        return self.level == "INFO" and {"reason", "visitor", "target", "rx", "tx", "ms"} <= set(self.fields)

    def __repr__(self):
        return self.raw


class End:
    """A session-end line: why, bytes read from (rx) and written to (tx) this end's outer side, who, where."""

    def __init__(self, line):
        f = line.fields
        self.reason, self.visitor, self.target = f["reason"], f["visitor"], f["target"]
        self.rx, self.tx, self.ms = int(f["rx"]), int(f["tx"]), int(f["ms"])
        self.line = line

    def __repr__(self):
        return self.line.raw


# ------------------------------------------------------------------ a process

class Node:
    """One nodepass process with its log."""

    def __init__(self, args, log_path, env, nofile=None, prefix=()):
        self.args, self.log_path, self.env = list(args), log_path, env
        argv = [*prefix, NODEPASS, *self.args]  # what prefix runs must exec: the pid stays
        if nofile:
            argv = ["prlimit", f"--nofile={nofile}:{nofile}", *argv]  # execs: the pid stays
        self._out = open(log_path, "wb")
        self._p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self._out,
                                   stderr=subprocess.STDOUT, env=env)
        self.pid = self._p.pid
        self.expected_status = None  # set by the test that ends the process
        self._allowed = []
        self._offset, self._rest, self._lines = 0, b"", []

    # -- log

    def lines(self, level=None, pattern=None):
        with open(self.log_path, "rb") as f:
            f.seek(self._offset)
            data = f.read()
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._lines += [Line(x.decode("utf-8", "replace")) for x in whole]
        return [x for x in self._lines if (not level or x.level == level)
                and (not pattern or re.search(pattern, x.raw))]

    def log(self):
        return "\n".join(x.raw for x in self.lines()) + self._rest.decode("utf-8", "replace")

    def last_words(self, n=800):
        """The end of the log, or the head of a sanitizer's report, which says where."""
        text = self.log()
        m = re.search(r"^.*(?:ERROR|WARNING): \w*Sanitizer|^.*runtime error:", text, re.M)
        return text[m.start():m.start() + 3 * n] if m else text[-n:]

    def wait_line(self, pattern, level=None, timeout=10, count=1):
        """The @count-th line (1 = first) that matches."""
        wait_for(lambda: f"{count} × {level or 'any'} line /{pattern}/ in {self.name}",
                 lambda: len(self.lines(level, pattern)) >= count or not self.alive(), timeout)
        found = self.lines(level, pattern)
        assert len(found) >= count, f"{self.name} ended without the line /{pattern}/"
        return found[count - 1]

    def ends(self, reason=None):
        return [e for e in (End(x) for x in self.lines() if x.is_end) if reason in (None, e.reason)]

    def wait_ends(self, count=1, reason=None, timeout=10):
        wait_for(lambda: f"{count} session ends {reason or ''} in {self.name}: {self.ends()[-3:]}",
                 lambda: len(self.ends(reason)) >= count, timeout)
        return self.ends(reason)

    def points(self):
        """Counters of every CHECK_POINT so far."""
        found = (_POINT.search(x.raw) for x in self.lines())
        return [dict(zip(_POINT_NAMES, map(int, m.groups()))) for m in found if m]

    def wait_point(self, what, accept, timeout=10):
        """The first CHECK_POINT from now on that @accept(point) likes."""
        seen = len(self.points())
        wait_for(lambda: f"{what} in a checkpoint of {self.name}: {self.points()[-1:]}",
                 lambda: any(accept(p) for p in self.points()[seen:]), timeout)
        return next(p for p in self.points()[seen:] if accept(p))

    def wait_points(self, n, timeout=30):
        """@n further CHECK_POINTs: a span of time by the clock and the work of the process itself."""
        seen = len(self.points())
        wait_for(lambda: f"{n} checkpoints of {self.name}", lambda: len(self.points()) >= seen + n, timeout)

    def run_delay_s(self):
        """Seconds that each thread was ready to run and had no processor, by thread."""
        out = {}
        for tid in os.listdir(f"/proc/{self.pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{self.pid}/task/{tid}/schedstat") as f:
                out[tid] = int(f.read().split()[1]) / 1e9
        return out

    def tolerate(self, *patterns):
        """The test provokes lines that would otherwise fail it."""
        self._allowed += patterns

    def alarms(self):
        return [x.raw for x in self.lines() if ALARM.search(x.raw)
                and not any(re.search(p, x.raw) for p in self._allowed)]

    # -- life

    @property
    def name(self):
        return os.path.basename(self.log_path).removesuffix(".log")

    def alive(self):
        return self._p.poll() is None

    def signal(self, sig):
        if self.alive():
            os.kill(self.pid, sig)

    def wait_exit(self, status, timeout=STOP_S):
        """The test expects the process to end with @status."""
        self.expected_status = status
        try:
            got = self._p.wait(timeout * SLACK)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout * SLACK:g} s") from None
        assert got == status, f"{self.name} exited with {got}, not {status}:\n{self.last_words()}"

    def terminate(self, timeout=STOP_S):
        self.signal(signal.SIGTERM)
        self.wait_exit(0, timeout)

    def kill(self):
        self.expected_status = -signal.SIGKILL
        self.signal(signal.SIGKILL)
        self._p.wait(10)

    def close(self):
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
            self._p.wait(10)
        self._out.close()

    # -- /proc

    def fd_count(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def fd_names(self):
        out = []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(OSError):
                out.append(os.readlink(f"/proc/{self.pid}/fd/{fd}"))
        return sorted(out)

    def rss(self):
        with open(f"/proc/{self.pid}/statm") as f:
            return int(f.read().split()[1]) * resource.getpagesize()

    def cpu_s(self):
        with open(f"/proc/{self.pid}/stat") as f:
            words = f.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def argv(self):
        with open(f"/proc/{self.pid}/cmdline", "rb") as f:
            return f.read().split(b"\0")[:-1]


def good_key():
    """What `nodepass key` prints: 32 random bytes."""
    return "np1_" + base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()


# ------------------------------------------------------------------ certificates

class Certs:
    """Authorities and certificates made with openssl(1)."""

    def __init__(self, folder):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self._serial = itertools.count(1)
        self.ca = self.authority("ca")
        self.crt, self.key = self.leaf("good")
        self.empty = os.path.join(self.folder, "empty.pem")
        open(self.empty, "w").close()

    def _openssl(self, *args, stdin=None):
        r = subprocess.run(["openssl", *args], cwd=self.folder, input=stdin, capture_output=True)
        assert r.returncode == 0, r.stderr.decode()
        return r.stdout

    def path(self, name):
        return os.path.join(self.folder, name)

    def authority(self, name):
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-days", "30", "-subj", f"/CN=e2e {name}", "-addext", "basicConstraints=critical,CA:TRUE",
                      "-addext", "keyUsage=critical,keyCertSign", "-keyout", f"{name}.key", "-out", f"{name}.crt")
        return self.path(f"{name}.crt")

    def leaf(self, name, ca="ca", san=f"DNS:{TLS_NAME}", eku="serverAuth", days=30):
        """(certificate, key), paths."""
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        with open(self.path(f"{name}.ext"), "w") as f:
            f.write(f"subjectAltName={san}\nbasicConstraints=CA:FALSE\nextendedKeyUsage={eku}\n")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key",
                      "-set_serial", str(next(self._serial)), "-days", str(days), "-extfile", f"{name}.ext",
                      "-out", f"{name}.crt")
        return self.path(f"{name}.crt"), self.path(f"{name}.key")

    def pin(self, crt=None, der=None):
        """SHA-256 of the public key (SubjectPublicKeyInfo), hexadecimal."""
        src = ["-in", crt] if crt else ["-inform", "DER"]
        pem = self._openssl("x509", *src, "-noout", "-pubkey", stdin=der)
        spki = self._openssl("pkey", "-pubin", "-outform", "DER", stdin=pem)
        return self._openssl("dgst", "-sha256", "-r", stdin=spki).split()[0].decode()


# ------------------------------------------------------------------ tunnels

class Link:
    """A tunnel: one or two nodes, where visitors go, what the target is.

    reverse: server mode=1, visitors reach the server, the client dials the target.
    forward: server mode=2, visitors reach the client, the server dials the target.
    single:  client mode=1, visitors reach the client, which dials the target.
    """

    def __init__(self, bench, flow, tls):
        self.bench, self.flow, self.tls = bench, flow, tls
        self.server = self.client = self.proxy = self.target = self.udp_target = None
        self.tunnel = self.visit = None
        self.start_args = {}  # "server" | "client" -> (url, env, kw)

    @property
    def ingress(self):
        return self.server if self.flow == "reverse" else self.client

    @property
    def egress(self):
        return self.server if self.flow == "forward" else self.client

    @property
    def nodes(self):
        return [n for n in (self.server, self.client) if n]

    def start(self, core):
        url, env, kw = self.start_args[core]
        node = self.bench.node(url, env=env, name=core, **kw)
        setattr(self, core, node)
        return node

    def start_server(self):
        node = self.start("server")
        wait_for(f"the server listens on {text_of(self.tunnel)}",
                 lambda: is_listening(self.tunnel) or not node.alive())
        return node

    def start_client(self):
        return self.start("client")

    def wait_up(self, timeout=10):
        """Listener there and, with two ends, control connection and a channel: no session is spent on it."""
        wait_for(f"a listener on {text_of(self.visit)}", lambda: is_listening(self.visit, self.proto), timeout)
        if self.flow != "single":
            wait_for("control connection and a channel", lambda: len(established(self.tunnel)) >= self.expect,
                     timeout, step=0.03)
        return self

    def wait_quiet(self, timeout=10):
        """Every session has ended at every end."""
        for n in self.nodes:
            n.wait_point("no session", lambda p: p["tcps"] == 0 and p["udps"] == 0, timeout)


class Bench:
    """Everything one test started; close() ends it and judges how it ended."""

    def __init__(self, folder, certs, net):
        self.folder, self.certs, self.net = str(folder), certs, net
        self.nodes, self._things, self._n = [], [], itertools.count(1)

    # -- parts

    def host(self, h):
        return f"{self.net}.{h}"

    def addr(self, h=1):
        host = h if isinstance(h, str) else self.host(h)
        return host, free_port(host)

    def keep(self, thing):
        self._things.append(thing)
        return thing

    def tcp_target(self, script=None, addr=None, h=9):
        return self.keep(TcpTarget(addr or self.addr(h), **({"script": script} if script else {})))

    def farm(self, addr=None, h=9):
        return self.keep(EchoFarm(addr or self.addr(h)))

    def udp_target(self, script=None, addr=None, h=9):
        return self.keep(UdpTarget(addr or self.addr(h), script))

    def mute_target(self, h=9):
        return self.keep(MuteTarget(self.addr(h)))

    def dial(self, addr, **kw):
        """A visitor that is closed at the end of the test."""
        return self.keep(dial(addr, **kw))

    def env(self, extra=None):
        # How bytes are moved is the runner's choice: every test must pass either way.
        env = {k: v for k, v in os.environ.items() if not k.startswith("NP_") or k in ("NP_RELAY", "NP_PIPE_SIZE")}
        env.update(NP_STATE_DIR=os.path.join(self.folder, "state"), NP_REPORT_INTERVAL=REPORT,
                   NP_RUN_DIR=os.path.join(self.folder, "run"), SSL_CERT_FILE=self.certs.empty)
        env.update(extra or {})
        return env

    def node(self, *args, env=None, name="node", nofile=None, prefix=()):
        log = os.path.join(self.folder, f"{next(self._n)}-{name}.log")
        n = Node(args, log, self.env(env), nofile, prefix)
        self.nodes.append(n)
        return n

    # -- whole tunnels

    def link(self, flow, tls=0, *, server=None, client=None, ingress=None, egress=None, env=None,
             server_env=None, client_env=None, server_kw=None, client_kw=None, key=None, server_key=None,
             client_key=None, target=None, targets=None, udp=False, via=None, visit=None, visit_text=None,
             tunnel=None, tunnel_text=None, start=True, up=True):
        """Builds a tunnel; query parameters by core (server=, client=) or by end (ingress=, egress=).

        via: arguments of a FaultProxy between the two ends ({} for none). key "" = none in the URL.
        """
        t = Link(self, flow, tls)
        if targets is None:
            t.target = target or self.tcp_target()
            t.udp_target = self.udp_target(addr=t.target.addr) if udp is True else udp or None
            targets = text_of(t.target.addr)
        t.visit = visit or self.addr(2)
        at_server, at_client = dict(server or {}), dict(client or {})
        for query, end in ((ingress, "ingress"), (egress, "egress")):
            is_server = flow != "single" and (flow == "reverse") == (end == "ingress")
            (at_server if is_server else at_client).update(query or {})
        if os.environ.get("NP_TEST_LOG"):
            for query in (at_server, at_client):
                query.setdefault("log", os.environ["NP_TEST_LOG"])
        key = good_key() if key is None else key
        ckey = key if client_key is None else client_key
        skey = key if server_key is None else server_key
        t.proto = "udp" if at_server.get("notcp") or at_client.get("notcp") else "tcp"
        t.expect = 1 if at_client.get("min") == 0 else 2
        listen = visit_text or text_of(t.visit)

        if flow == "single":
            at_client = {"mode": 1, "min": 0, **at_client}
            t.tunnel = t.visit
            t.start_args["client"] = (_url("client", "", listen, targets, at_client),
                                      {**(env or {}), **(client_env or {})}, client_kw or {})
        else:
            t.tunnel = tunnel or self.addr(1)
            door = t.tunnel
            if via is not None:
                door = (t.tunnel[0], free_port(t.tunnel[0]))
                t.proxy = self.keep(FaultProxy(door, t.tunnel, **via))
            at_server = {"mode": 1 if flow == "reverse" else 2, "tls": tls, **at_server}
            at_client = {"mode": 2, "min": 4, **at_client}
            if tls == 2:
                at_server = {"crt": self.certs.crt, "key": self.certs.key, **at_server}
                if not {"ca", "sni", "pin"} & set(at_client):
                    at_client.update(ca=self.certs.ca, sni=TLS_NAME)
            ends = (listen, targets) if flow == "reverse" else (targets, listen)
            t.start_args["server"] = (_url("server", skey, text_of(t.tunnel), ends[0], at_server),
                                      {**(env or {}), **(server_env or {})}, server_kw or {})
            t.start_args["client"] = (_url("client", ckey, tunnel_text or text_of(door), ends[1], at_client),
                                      {**(env or {}), **(client_env or {})}, client_kw or {})
        if start:
            if flow != "single":
                t.start_server()
            t.start_client()
            if up:
                t.wait_up()
        return t

    # -- the end

    def close(self):
        """Visitors and targets go first; then every node must end well."""
        for x in reversed(self._things):
            if not isinstance(x, FaultProxy):
                with contextlib.suppress(OSError):
                    x.close()
        trouble = []
        up = [n for n in self.nodes if n.alive() and n.expected_status is None]
        for n in up:
            n.signal(signal.SIGCONT)
            n.signal(signal.SIGTERM)
        end = time.monotonic() + STOP_S * SLACK
        for n in up:
            try:
                n.wait_exit(0, max(0.1, (end - time.monotonic()) / SLACK))
            except AssertionError as e:
                trouble.append(str(e))
        for n in self.nodes:
            if n not in up and n.expected_status is None:
                trouble.append(f"{n.name} ended on its own:\n{n.last_words()}")
            n.close()
            trouble += [f"{n.name}: {x}" for x in n.alarms()[:4]]
        for x in self._things:
            if isinstance(x, FaultProxy):
                x.close()
        return trouble


def _url(core, key, tunnel, target, query):
    user = quote(key, safe="") + "@" if key else ""
    return f"{core}://{user}{tunnel}/{target}" + "".join(
        f"{'&' if i else '?'}{k}={v}" for i, (k, v) in enumerate(query.items()))


def json_lines(node):
    return [json.loads(x.raw) for x in node.lines() if x.raw.strip()]


# ------------------------------------------------------------------ parameters of tests

FLOWS = ("reverse", "forward", "single")
DUAL = ("reverse", "forward")


def over(flows=FLOWS, tls=(0,), sanitize=()):
    """parametrize flow × tls; a single-end client has no tunnel and therefore no tls mode.

    sanitize: ids ("reverse-1", "single") that belong to the subset for instrumented builds.
    """
    rows = []
    for flow in flows:
        for mode in tls if flow != "single" else (0,):
            name = flow if flow == "single" else f"{flow}-{mode}"
            marks = [pytest.mark.sanitize] if name in sanitize else []
            rows.append(pytest.param(flow, mode, id=name, marks=marks))
    return pytest.mark.parametrize("flow,tls", rows)
