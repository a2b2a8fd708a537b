"""The command line of `nodepass`: what it prints, its exit status, and how the URL reaches the data plane."""
import json
import os
import re
import shutil
import signal
import stat
import subprocess

import pytest

import np_harness
from np_net import SLACK, is_listening, served, text_of, wait_for

KEY = "a-secret-that-nobody-may-see"
TG = "127.0.0.1:10101/127.0.0.1:8080"
S, C = f"server://{TG}", f"client://{TG}"
CRASH = re.compile(r"Sanitizer|runtime error|assertion|core dumped", re.I)


@pytest.fixture(scope="session", autouse=True)
def program():
    missing = np_harness.binary_missing()
    if missing:
        pytest.fail(missing, pytrace=False)


def run(*args, exe=None, **kw):
    """Runs the program to its end; it has 5 s, crashes fail the test whatever it expects."""
    p = subprocess.run([exe or np_harness.NODEPASS, *args], stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=5 * SLACK, **kw)
    p.out, p.err = p.stdout.decode(), p.stderr.decode()
    assert p.returncode >= 0 and not CRASH.search(p.err), p
    return p


def refused(*args):
    p = run(*args)
    assert p.returncode == 2, p
    assert p.out == ""
    lines = p.err.splitlines()
    assert lines and lines[0].startswith("nodepass: ")
    return lines


# ------------------------------------------------------------------ what it says about itself

def test_no_argument_prints_a_banner_with_the_version_and_exits_with_1():
    p = run()
    assert p.returncode == 1 and p.err == ""
    assert re.search(r"\bv\d+\.\d+\.\d+\b", p.out)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_cores_parameters_and_variables(flag):
    p = run(flag)
    assert p.returncode == 0 and p.err == ""
    for word in ("server", "client", "master", "log", "tls", "crt", "key", "min", "max", "mode", "read", "rate",
                 "proxy", "slot", "dns", "dial", "lbs", "block", "ctl", "NP_API", "NP_STATE_DIR", "NP_REPORT_INTERVAL", "NP_WORKERS", "NP_LOG_COLOR"):
        assert re.search(rf"\b{word}\b", p.out), word
    assert max(map(len, p.out.splitlines())) <= 120


def test_version_is_one_line():
    p = run("--version")
    assert p.returncode == 0
    assert re.fullmatch(r"nodepass \d+\.\d+\.\d+\b.*\n", p.out)


def test_key_is_fresh_each_time():
    keys = {run("key").out for _ in range(5)}
    assert len(keys) == 5
    assert all(re.fullmatch(r"np1_[A-Za-z0-9_-]{43}\n", k) for k in keys)


@pytest.mark.parametrize("args", [["key"], ["--help"], ["--version"]])
def test_output_that_cannot_be_written_is_no_success(args):
    with open("/dev/full", "wb") as full:
        p = subprocess.run([np_harness.NODEPASS, *args], stdout=full, stderr=subprocess.PIPE, timeout=5 * SLACK)
    assert p.returncode == 1 and b"No space" in p.stderr


# ------------------------------------------------------------------ what it refuses

# (arguments, what the first line has to name)
BAD = [
    ([""], "empty"),
    ([S, ""], "empty"),
    (["--frobnicate"], "--frobnicate"),
    (["-x"], "-x"),
    (["--help=me"], "--help=me"),
    ([S, "--loud"], "--loud"),
    ([S, "client://127.0.0.1:1"], "URL 2: target"),
    ([S, C + "?tls=9"], "URL 2: .*tls=9"),
    ([S, "master://127.0.0.1:9090"], "URL 2: .*master"),
    (["master://127.0.0.1:9090", S], "URL 1: .*master"),
    (["@"], "file"),
    (["@/nonexistent/tunnels.conf"], "/nonexistent/tunnels.conf: No such"),
    (["@/"], "/: .*directory"),
    (["@/dev/null"], "/dev/null: .*no URL"),
    ([S, "tls=1"], "tls=1"),
    (["key", "please"], "please"),
    (["nodepass"], "nodepass"),
    ([f"tunnel://{TG}"], "tunnel"),
    ([f"//{TG}"], "core|scheme"),
    (["server://"], "tunnel address"),
    (["server:///127.0.0.1:8080"], "tunnel address"),
    (["client://127.0.0.1:10101"], "target"),
    (["client://127.0.0.1:10101/?mode=1"], "target"),
    (["client://127.0.0.1:0/127.0.0.1:8080"], "port"),
    (["server://127.0.0.1:99999/127.0.0.1:8080"], "99999"),
    (["server://127.0.0.1:10101/127.0.0.1:abc"], "abc"),
    (["client://127.0.0.1:10101/127.0.0.1:80,,127.0.0.1:81"], "target"),
    (["client://127.0.0.1:10101/[::1:80"], r"\[::1:80"),
    ([S + "?log=loud"], "log.*loud"),
    ([S + "?tls=3"], "tls.*3.*0"),
    ([S + "?mode=x"], "mode.*x"),
    ([C + "?min=-1"], "min.*-1.*65535"),
    ([S + "?max=0"], "max.*0.*65535"),
    ([S + "?read=5x"], "read.*5x"),
    ([S + "?rate=abc"], "rate.*abc"),
    ([C + "?proxy=3"], "proxy.*3"),
    ([S + "?slot=-1"], "slot.*-1"),
    ([C + "?dial=notanip"], "dial.*notanip"),
    ([C + "?block=4"], "block.*4"),
    ([C + "?notcp=1&noudp=1"], "notcp|noudp"),
    ([S + "?tls=0&tls=1"], "tls"),
    ([S + "?tls=2"], "crt|key"),
    ([S + "?quic=1"], "quic"),
    ([S + "?foo=1"], "foo"),
    ([S + "?log=%g1"], "log|%g1"),
]


@pytest.mark.parametrize("args,named", BAD, ids=[" ".join(a)[-40:] or "empty" for a, _ in BAD])
def test_bad_input_is_refused_with_a_line_that_names_it(args, named):
    lines = refused(*args)
    assert re.search(named, lines[0]), lines[0]
    assert len(lines) <= (4 if "foo=" in args[0] else 1)


def test_unknown_parameter_names_the_nearest_and_all_known():
    text = " ".join(refused(S + "?tlss=1"))
    assert "tlss" in text
    assert all(re.search(rf"\b{p}\b", text) for p in ("tls", "log", "max", "mode", "read", "rate", "proxy", "slot"))


@pytest.mark.parametrize("args", [
    [f"server://{KEY}@{TG}?tls=9"],
    [f"server://{KEY}@{TG}?nope=1"],
    [f"tunnel://{KEY}@{TG}"],
    [f"server://{KEY}@127.0.0.1:x/127.0.0.1:1"],
    [f"server://{KEY}@/127.0.0.1:1"],
    [f"server:/{KEY}@{TG}"],
    [f"{KEY}@{TG}"],
    [S, f"client://{KEY}@{TG}?nope=1"],
    [S, f"{KEY}@{TG}"],
    [f"--url=server://{KEY}@{TG}"],
    [f"master://{KEY}@127.0.0.1:9090?tls=9"],
])
def test_no_error_shows_the_key(args):
    assert KEY not in "\n".join(refused(*args))


@pytest.mark.parametrize("url,named", [
    ("master://127.0.0.1:9090?tls=7", "tls"),
    ("master://127.0.0.1", "port"),
    ("master://127.0.0.1:9090?nope=1", "nope"),
    ("master://127.0.0.1:9090/healthz", "healthz"),
    ("master://127.0.0.1:9090/readyz/", "readyz"),
    ("master://127.0.0.1:9090/metrics/api?log=info", "metrics"),
    (f"master://{KEY}@127.0.0.1:9090/metrics", "metrics"),
])
def test_a_master_url_is_checked_before_anything_starts(url, named):
    lines = refused(url)
    assert len(lines) == 1 and re.search(named, lines[0])


# ------------------------------------------------------------------ several URLs

def test_a_file_with_bad_lines__each_is_named__nothing_starts(bench, tmp_path):
    visit, conf = bench.addr(2), tmp_path / "tunnels.conf"
    conf.write_text(f"""# tunnels of this host

   client://{text_of(visit)}/{TG.split('/')[1]}?mode=1   # a good one
client://{KEY}@{TG}?rate=x
\tserver://{KEY}@:1
client://{KEY}@{TG}?mode=2 tls=1
""" + f"client://{KEY}@{TG}?sni=" + "a" * 6000 + f"\nclient://{KEY}@{TG}?mode=3")
    lines = refused(f"@{conf}")
    assert [x.split(": ")[1] for x in lines] == [f"{conf}:{n}" for n in (4, 5, 6, 7, 8)]
    for line, named in zip(lines, ("rate=x", "target address", "blank|control|tls", "too long", "mode=3")):
        assert re.search(named, line), line
    assert KEY not in "\n".join(lines)
    assert not is_listening(visit)


def test_many_bad_lines__twenty_are_told_and_the_rest_is_counted(tmp_path):
    conf = tmp_path / "many.conf"
    conf.write_text(f"{C}?tls=9\n" * 50)
    lines = refused(f"@{conf}")
    assert len(lines) == 21 and "30 more" in lines[-1]


def test_a_file_that_one_url_names_is_missing__line_is_named__nothing_starts(bench, tmp_path, certs):
    visit, conf = bench.addr(2), tmp_path / "tunnels.conf"
    conf.write_text(f"client://{text_of(visit)}/{TG.split('/')[1]}?mode=1\n"
                    f"server://{KEY}@{text_of(bench.addr(1))}/{text_of(bench.addr(3))}?tls=2&crt={certs.crt}&key=/none.pem\n")
    n = bench.node(f"@{conf}")
    n.wait_exit(2)
    assert re.search(rf"nodepass: {conf}:2: .*/none.pem", n.log()), n.log()
    assert "listening" not in n.log()


@pytest.mark.sanitize
@pytest.mark.parametrize("how", ["words", "file", "both"])
def test_several_urls__each_is_an_instance_with_its_number_in_the_log(bench, tmp_path, how):
    target, key = bench.tcp_target(), np_harness.good_key()
    tunnel, visits = bench.addr(1), [bench.addr(2 + i) for i in range(3)]
    urls = [f"server://{key}@{text_of(tunnel)}/{text_of(visits[0])}?mode=1&tls=1",
            f"client://{key}@{text_of(tunnel)}/{text_of(target.addr)}?mode=2&min=2",
            f"client://{text_of(visits[1])}/{text_of(target.addr)}?mode=1",
            f"client://{text_of(visits[2])}/{text_of(target.addr)}?mode=1&log=none"]
    conf = tmp_path / "tunnels.conf"
    in_file = {"words": [], "file": urls, "both": urls[2:]}[how]
    conf.write_text("# comment\n" + "\r\n".join(in_file) + "\n")
    words = {"words": urls, "file": [f"@{conf}"], "both": urls[:2] + [f"@{conf}"]}[how]
    n = bench.node(*words)
    for v in visits:
        wait_for(f"a session at {text_of(v)}", lambda v=v: is_listening(v) and served(v))
    place = {"words": "URL 3", "file": f"{conf}:4", "both": f"{conf}:2"}[how]
    assert text_of(visits[1]) in n.wait_line(rf"{re.escape(place)}: client://.*instance=3", "INFO").raw
    assert {e.line.fields["instance"] for e in n.wait_ends(3)} == {"1", "2", "3"}
    n.wait_line(r"tunnel up .*instance=2")
    assert not n.lines(pattern="instance=4")
    assert all(x.fields.get("instance") for x in n.lines(pattern="listening|mode:|CHECK_POINT"))
    assert key not in n.log() and not any(key.encode() in a for a in n.argv())
    assert sum(b"://" in a for a in n.argv()) == 4


def test_several_urls__one_address_is_taken__status_1_and_its_number(bench):
    target, visit = bench.tcp_target(), bench.addr(2)
    n = bench.node(*[f"client://{text_of(a)}/{text_of(target.addr)}?mode=1" for a in (visit, target.addr)])
    n.wait_exit(1)
    assert n.lines("ERROR", rf"{re.escape(text_of(target.addr))}.*instance=2")
    assert not is_listening(visit)


def test_several_urls__sigterm__sessions_of_all_finish__status_0(bench):
    target, visits = bench.tcp_target(), [bench.addr(2), bench.addr(3)]
    n = bench.node(*[f"client://{text_of(v)}/{text_of(target.addr)}?mode=1" for v in visits])
    socks = []
    for v in visits:
        wait_for("a session", lambda v=v: is_listening(v) and served(v))
        socks.append(bench.dial(v))
        socks[-1].sendall(b"x")
        assert socks[-1].recv(1) == b"x"
    os.kill(n.pid, signal.SIGTERM)
    wait_for("no listener", lambda: not any(map(is_listening, visits)))
    for s in socks:
        s.sendall(b"end")
        assert s.recv(3) == b"end"
        s.close()
    n.wait_exit(0)


def test_300_urls__one_process_serves_them(bench, tmp_path):
    target, conf = bench.tcp_target(), tmp_path / "tunnels.conf"
    visits = [bench.addr(2) for _ in range(300)]
    conf.write_text("".join(f"client://{text_of(v)}/{text_of(target.addr)}?mode=1&min=0\n" for v in visits))
    n = bench.node(f"@{conf}")
    wait_for("all listen", lambda: len(n.lines(pattern="listening for visitors")) == 300)
    assert served(visits[0]) and served(visits[299])
    assert n.argv()[-1] == b"(284 more)" and len(n.argv()) == 19


# ------------------------------------------------------------------ how the URL is handed over

FAKE = """#!/usr/bin/python3
import fcntl, json, os, sys
fd = int(sys.argv[1].removeprefix("--url-fd="))
out = {"argv": sys.argv, "fd": fd, "url": os.read(fd, 10000).decode(), "seals": fcntl.fcntl(fd, fcntl.F_GET_SEALS),
       "open": sorted(int(f) for f in os.listdir("/proc/self/fd")), "environ": dict(os.environ)}
with open("/proc/self/cmdline") as f:
    out["cmdline"] = f.read()
with open(os.environ["FAKE_OUT"], "w") as f:
    json.dump(out, f)
"""


@pytest.fixture
def install(tmp_path):
    """install(place): a copy of the program in bin/, and one that tells what it was given in @place."""
    def install(place, name="nodepass-dataplane"):
        exe = tmp_path / "bin" / "nodepass"
        exe.parent.mkdir(exist_ok=True)
        shutil.copy(np_harness.NODEPASS, exe)
        if place:
            fake = tmp_path / place / name
            fake.parent.mkdir(parents=True, exist_ok=True)
            fake.write_text(FAKE)
            fake.chmod(0o755)
        return str(exe)
    return install


def told(exe, tmp_path, *command):
    out = tmp_path / "told.json"
    env = {**os.environ, "FAKE_OUT": str(out)}
    p = run(*(command or (f"server://{KEY}@{TG}?tls=1",)), exe=exe, env=env)
    assert p.returncode == 0 and p.err == "", p
    return json.loads(out.read_text())


@pytest.mark.parametrize("place", ["bin", "libexec/nodepass"])
def test_the_data_plane_is_found_and_gets_the_url_in_a_sealed_memfd(install, tmp_path, place):
    seen = told(install(place), tmp_path)
    assert seen["url"] == f"server://{KEY}@{TG}?tls=1"
    assert seen["seals"] == 0xF  # SEAL, SHRINK, GROW, WRITE
    assert len(seen["argv"]) == 3
    assert re.fullmatch(rf"server://{re.escape(TG)}(\?tls=1)?", seen["argv"][2])


@pytest.mark.parametrize("place", ["bin", "libexec/nodepass"])
def test_a_master_becomes_the_control_plane_in_the_same_way(install, tmp_path, place):
    url = "master://127.0.0.1:9090/metricsapi?log=info"
    seen = told(install(place, "nodepass-controlplane"), tmp_path, url)
    assert seen["argv"][0].endswith("/nodepass-controlplane") and len(seen["argv"]) == 3
    assert seen["url"] == url and seen["seals"] == 0xF
    assert seen["argv"][2].startswith("master://127.0.0.1:9090/metricsapi")


CTL = """#!/usr/bin/python3
import json, os, sys
with open(os.environ["FAKE_OUT"], "w") as f:
    json.dump(sys.argv[1:], f)
sys.exit(7)
"""


@pytest.mark.parametrize("place", ["bin", "libexec/nodepass"])
def test_ctl_gets_its_words_as_they_were_and_its_exit_status_is_passed_on(install, tmp_path, place):
    exe, out = install(place, "nodepass-ctl"), tmp_path / "told.json"
    (tmp_path / place / "nodepass-ctl").write_text(CTL)
    words = ["rm", "--json", "", "--", "-h", "a b"]
    assert run("ctl", *words, exe=exe, env={**os.environ, "FAKE_OUT": str(out)}).returncode == 7
    assert json.loads(out.read_text()) == words


@pytest.mark.parametrize("command,name", [(["ctl", "ls"], "nodepass-ctl"),
                                          (["master://127.0.0.1:9090"], "nodepass-controlplane")])
def test_a_missing_program_is_one_line_that_names_it(install, tmp_path, command, name):
    if os.path.exists("/usr/local/libexec/nodepass/" + name):
        pytest.skip(f"{name} is installed on this machine")
    p = run(*command, exe=install(None))
    assert p.returncode == 1 and p.err.count("\n") == 1 and str(tmp_path / "bin" / name) in p.err


def test_the_key_is_in_neither_argv_nor_environment_of_the_data_plane(install, tmp_path):
    seen = told(install("bin"), tmp_path)
    assert KEY not in seen["cmdline"] and KEY not in json.dumps(seen["environ"])


def test_no_other_descriptor_is_inherited(install, tmp_path):
    seen = told(install("bin"), tmp_path)
    # 0, 1, 2, the URL, and the folder that the listing itself opens
    assert len(seen["open"]) == 5 and {0, 1, 2, seen["fd"]} <= set(seen["open"])


def test_closed_standard_descriptors_do_not_become_the_url(install, tmp_path):
    exe = install("bin")
    seen = told("/bin/sh", tmp_path, "-c", f'exec "{exe}" "{S}" <&- >&- 2>&-')
    assert seen["fd"] > 2 and seen["url"] == S


def test_a_missing_data_plane_is_one_line_that_names_the_places(install, tmp_path):
    p = run(S, exe=install(None))
    if os.path.exists("/usr/local/libexec/nodepass/nodepass-dataplane"):
        pytest.skip("a data plane is installed on this machine")
    assert p.returncode == 1 and p.err.count("\n") == 1
    assert str(tmp_path / "bin" / "nodepass-dataplane") in p.err and "libexec/nodepass" in p.err


def test_a_data_plane_that_cannot_run_is_named(install, tmp_path):
    exe = install("bin")
    fake = tmp_path / "bin" / "nodepass-dataplane"
    fake.chmod(stat.S_IRUSR)
    p = run(S, exe=exe)
    assert p.returncode == 1 and p.err.count("\n") == 1 and str(fake) in p.err


@pytest.mark.sanitize
def test_a_running_tunnel_shows_its_key_nowhere(bench):
    t = bench.link("reverse", 1, key=KEY)
    t.wait_up()
    for node in t.nodes:
        with open(f"/proc/{node.pid}/cmdline", "rb") as f:
            words = f.read().split(b"\0")
        assert any(w.startswith((b"server://", b"client://")) for w in words), words
        with open(f"/proc/{node.pid}/environ", "rb") as f:
            assert KEY.encode() not in f.read() + b"\0".join(words)
        assert KEY not in node.log()


@pytest.mark.sanitize
def test_a_taken_tunnel_address_is_a_line_and_exit_status_1(bench):
    target = bench.tcp_target()
    n = bench.node(f"server://{KEY}@{text_of(target.addr)}/{text_of(bench.addr(2))}?mode=1")
    wait_for("the end of the process", lambda: not n.alive(), 10)
    n.wait_exit(1)
    assert any(text_of(target.addr) in x.raw for x in n.lines("ERROR"))


@pytest.mark.parametrize("query,named", [
    ("tls=2&crt={missing}&key={key}", "{missing}"),
    ("tls=2&crt={crt}&key={missing}", "{missing}"),
    ("tls=2&crt={empty}&key={key}", "{empty}"),
])
def test_files_that_cannot_be_used_are_named_with_exit_status_2(bench, certs, query, named):
    names = {"missing": bench.folder + "/none.pem", "crt": certs.crt, "key": certs.key, "empty": certs.empty}
    n = bench.node(f"server://{KEY}@{text_of(bench.addr(1))}/{text_of(bench.addr(2))}?" + query.format(**names))
    n.wait_exit(2)
    assert named.format(**names) in n.log()
