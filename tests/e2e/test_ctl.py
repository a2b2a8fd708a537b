"""`nodepass ctl` against an API whose answers the test chooses."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading

import pytest

import np_harness
from np_fake_api import KEY, FakeApi, instance
from np_net import SLACK, free_port, wait_for

pytestmark = pytest.mark.sanitize
CTL = os.path.join(np_harness.BIN, "nodepass-ctl")
SECRET = "k%40y"
A, B, C = instance("aaaa0001", "web"), instance("aaab0002", "mail"), instance("bbbb0003", "")


@pytest.fixture
def api():
    api = FakeApi(dict(i) for i in (A, B, C))
    yield api
    api.close()


def environment(api=None, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NP_API", "NP_RUN", "NP_STATE", "XDG_"))}
    env["LC_ALL"] = "C"
    if api:
        env.update(NP_API=api.url, NP_API_KEY=KEY)
    return {**env, **more}


def run(api, *words, status=0, env=None, stdin=None, program=CTL):
    words = ("ctl", *words) if program == np_harness.NODEPASS else words
    p = subprocess.run([program, *words], env=env or environment(api), capture_output=True, timeout=20 * SLACK,
                       **({"input": stdin.encode()} if stdin is not None else {"stdin": subprocess.DEVNULL}))
    p.out, p.err = p.stdout.decode(), p.stderr.decode()
    assert p.returncode == status, (p.returncode, p.out, p.err)
    assert "Sanitizer" not in p.err and "runtime error" not in p.err, p.err
    return p


def posted(api):
    """The body of the last POST."""
    return json.loads([body for method, _, body in api.seen if method == "POST"][-1])


# ------------------------------------------------------------------ what is shown

def test_ls_is_a_table_without_the_api_key_and_tunnel_keys(api):
    p = run(api, "ls", program=np_harness.NODEPASS)
    lines = p.out.splitlines()
    assert [x.split()[0] for x in lines] == ["ID", "aaaa0001", "aaab0002", "bbbb0003"]
    assert re.split(r"\s{2,}", lines[1])[:4] == ["aaaa0001", "web", "server", "running"]
    assert "server://***@127.0.0.1:1/127.0.0.1:2" in lines[1] and "1.0K" in lines[1]
    assert KEY not in p.out and SECRET not in p.out


def test_ls_json_is_what_the_api_says_without_its_key(api):
    p = run(api, "ls", "--json")
    assert [i["id"] for i in json.loads(p.out)] == ["aaaa0001", "aaab0002", "bbbb0003"]
    assert json.loads(p.out)[0] == A and KEY not in p.out


def test_bytes_for_the_terminal_in_names_do_not_reach_it(api):
    api.instances["aaaa0001"]["alias"] = "a\033]0;x\007b\nc\033[2Jé"
    p = run(api, "ls")
    assert len(p.out.splitlines()) == 4
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", p.out) and "é" in p.out


def test_show_has_all_members_and_hides_the_tunnel_key(api):
    p = run(api, "show", "web", "bbbb")
    assert re.search(r"^id +aaaa0001$", p.out, re.M) and re.search(r"^id +bbbb0003$", p.out, re.M)
    assert "5 TCP, 6 UDP" in p.out and SECRET not in p.out


def test_info_tcping_and_key(api):
    assert re.search(r"^ver +v2\.0\.0$", run(api, "info").out, re.M)
    assert json.loads(run(api, "info", "--json").out)["cpu"] == 7
    assert "12 ms" in run(api, "tcping", "127.0.0.1:80").out
    assert "connection refused" in run(api, "tcping", "127.0.0.1:81", status=1).out
    assert run(api, "key").out == KEY + "\n"
    assert run(api, "key", "rotate").out == "f" * 32 + "\n"


def test_top_prints_as_many_tables_as_asked_for(api):
    p = run(api, "top", "--count", "2", "--every", "50ms", "web")
    assert p.out.count("ID ") == 2 and p.out.count("aaaa0001") == 2 and "bbbb0003" not in p.out


# ------------------------------------------------------------------ changes

def test_add_prints_the_id_and_sends_url_and_alias(api):
    assert run(api, "add", "client://127.0.0.1:1/127.0.0.1:2?a=1&b", "--alias", 'x "y"').out == "feed0001\n"
    assert posted(api) == {"url": "client://127.0.0.1:1/127.0.0.1:2?a=1&b", "alias": 'x "y"'}
    assert run(api, "add", "-", stdin="server://s@:1/:2\n").out == "feed0001\n"
    assert posted(api) == {"url": "server://s@:1/:2"}


@pytest.mark.parametrize("words", [("add", "client://127.0.0.1:1/127.0.0.1:2"), ("start", "aaaa0001", "mail")])
def test_add_and_start_return_when_it_runs_or_say_that_it_does_not(api, words):
    ids = ["feed0001"] if words[0] == "add" else ["aaaa0001", "aaab0002"]
    out = "feed0001\n" if words[0] == "add" else "done 2, failed 0\n"
    api.instances["aaaa0001"]["status"] = api.instances["aaab0002"]["status"] = "stopped"
    assert run(api, *words).out == out
    for id in ids:
        assert sum((m, p) == ("GET", f"/api/v1/instances/{id}") for m, p, _ in api.seen) == api.slow + 1
    api.becomes = "error"
    for id in ids:
        api.instances[id]["status"] = "stopped"
    p = run(api, *words, status=1)
    assert p.out == out
    said = [f"nodepass ctl: {i}: it does not run; 'nodepass ctl logs {i}' says why" for i in ids]
    assert sorted(p.err.splitlines()) == said  # asked eight at a time, so in any order
    api.becomes = None
    for id in ids:
        api.instances[id]["status"] = "stopped"
    p = run(api, *words, "--wait", "50ms", status=1)
    assert p.out == out and p.err.count(": it does not run yet, after 50 ms; ") == len(ids)
    del api.seen[:]
    assert run(api, *words, "--wait", "0").out == out
    assert not [p for m, p, _ in api.seen if m == "GET" and p != "/api/v1/instances"]
    if words[0] == "add":
        assert json.loads(run(api, *words, "--wait", "0", "--json").out)["status"] == "stopped"


def test_what_is_removed_while_add_waits_is_told(api):
    api.refuse["feed0001"] = (404, "Instance not found")
    p = run(api, "add", "client://127.0.0.1:1/127.0.0.1:2", status=1)
    assert p.out == "feed0001\n" and p.err == "nodepass ctl: feed0001: Instance not found (HTTP 404)\n"


def test_set_and_alias_name_one_instance(api):
    run(api, "set", "mail", "server://:3/:4")
    assert api.seen[-1][:2] == ("PUT", "/api/v1/instances/aaab0002") and api.instances["aaab0002"]["url"] == "server://:3/:4"
    run(api, "alias", "bb", "new")
    assert api.instances["bbbb0003"]["alias"] == "new"
    assert "one instance" in run(api, "alias", "all", "x", status=1).err


@pytest.mark.parametrize("command", ["start", "stop", "restart", "reset"])
def test_actions_go_to_those_that_are_named(api, command):
    assert run(api, command, "web", "bbbb0003").out == "done 2, failed 0\n"
    changed = {(p.rsplit("/", 1)[1], b) for m, p, b in api.seen if m == "PATCH"}
    assert changed == {(i, f'{{"action":"{command}"}}') for i in ("aaaa0001", "bbbb0003")}


@pytest.mark.parametrize("word,named", [("aaa", "2 instances: aaaa0001, aaab0002"), ("nobody", "'nobody'"), ("", "''"),
                                        ("*" * 8, "no instance")])
def test_a_word_that_names_none_or_several_changes_nothing(api, word, named):
    assert named in run(api, "rm", "web", word, status=1).err
    assert {m for m, _, _ in api.seen} == {"GET"}


def test_rm_all_without_a_terminal_wants_yes(api):
    assert "--yes" in run(api, "rm", "all", status=2).err and len(api.instances) == 3
    assert run(api, "rm", "all", "--yes").out == "done 3, failed 0\n" and not api.instances


def test_bulk_reports_what_failed_and_does_the_rest(api):
    api.refuse["aaab0002"] = (409, "Instance \033[2Jbusy")
    p = run(api, "stop", "all", status=1)
    assert p.out == "done 2, failed 1\n" and "aaab0002" in p.err and "busy (HTTP 409)" in p.err
    assert "\033" not in p.err
    rows = json.loads(run(api, "stop", "all", "--json", status=1).out)
    assert [(r["id"], r["status"], r["error"] is None) for r in rows] == [
        ("aaaa0001", 200, True), ("aaab0002", 409, False), ("bbbb0003", 200, True)]


def test_bulk_runs_many_at_a_time_but_not_more_than_eight(api):
    api.instances = {f"{n:08x}": instance(f"{n:08x}") for n in range(64)}
    api.barrier = threading.Barrier(8)
    assert run(api, "stop", "all").out == "done 64, failed 0\n"
    assert api.most == 8


# ------------------------------------------------------------------ events

def test_logs_prints_the_past_and_ends(api):
    api.publish("log", A, "\033[32mINFO\033[0m  one")
    api.publish("update", A)
    api.publish("log", B, "two\033[2J")
    api.publish("update", B)
    assert run(api, "logs").out == "INFO  one [aaaa0001]\ntwo?[2J [aaab0002]\n"
    assert run(api, "logs", "mail").out == "two?[2J [aaab0002]\n"
    p = run(api, "events", "web")
    assert [x.split()[1] for x in p.out.splitlines()] == ["log", "update"]
    assert len([json.loads(x) for x in run(api, "events", "--json").out.splitlines()]) == 4


def test_logs_follows_over_a_break_without_loss_or_repeat(api):
    api.publish("log", A, "one")
    p = subprocess.Popen([CTL, "logs", "-f"], env=environment(api), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert p.stdout.readline() == b"one [aaaa0001]\n"
        with api.lock:
            old, api.readers = api.readers, []
            for q in old:
                q.put(None)
        api.publish("log", A, "two")  # while nobody reads
        assert p.stdout.readline() == b"two [aaaa0001]\n"
        wait_for("a reader", lambda: api.readers, 10)
        api.publish("log", B, "three")
        assert p.stdout.readline() == b"three [aaab0002]\n"
    finally:
        p.terminate()
        _, err = p.communicate(timeout=10)
    assert err.count(b"trying again") == 1


# ------------------------------------------------------------------ where the API is

def place(tmp_path, fake, mode=0o600, **more):
    """A run-time folder with master.json, and a copy of ctl beside a control plane that tells its key."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    file = folder / "master.json"
    file.write_text(json.dumps({"api": fake.url, "pid": os.getpid(), "tls": "0", **more}))
    file.chmod(mode)
    program = tmp_path / "bin" / "nodepass-controlplane"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = --print-api-key ] && [ -n "$NP_STATE_DIR" ] && echo {KEY}\n')
    program.chmod(0o755)
    shutil.copy(CTL, tmp_path / "bin")
    return str(tmp_path / "bin" / "nodepass-ctl"), environment(NP_RUN_DIR=str(folder), HOME=str(tmp_path)), program


def test_the_master_of_this_user_is_found_with_its_key(api, tmp_path):
    ctl, env, _ = place(tmp_path, api)
    assert "aaaa0001" in run(api, "ls", env=env, program=ctl).out
    assert run(api, "key", env=env, program=ctl).out == KEY + "\n"


@pytest.mark.parametrize("mode,more,named", [
    (0o622, {}, "others may write"),
    (0o600, {"pid": 2 ** 22 + 1}, "no longer runs"),
    (0o600, {"api": "ftp://x"}, "not of a running master"),
    (0o600, {"api": ["x"]}, "not of a running master"),
])
def test_a_file_that_cannot_be_trusted_is_not_used(api, tmp_path, mode, more, named):
    ctl, env, _ = place(tmp_path, api, mode, **more)
    assert named in run(api, "ls", env=env, program=ctl, status=1).err and not api.seen


def test_without_a_master_the_file_is_named(api, tmp_path):
    err = run(api, "ls", env=environment(NP_RUN_DIR=str(tmp_path)), status=1).err
    assert f"{tmp_path}/master.json" in err and "NP_API" in err


def test_the_key_of_this_machine_goes_to_no_other(api, tmp_path):
    ctl, env, _ = place(tmp_path, api)
    assert "NP_API_KEY" in run(api, "ls", "--api", api.url, env=env, program=ctl, status=1).err
    assert not api.seen


def test_key_file_address_forms_and_a_wrong_key(api, tmp_path):
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "bad").write_text("two words\n")
    short = api.url.removeprefix("http://").removesuffix("/api/v1")
    for url in (api.url, api.url + "/", short, short + "/"):
        assert "aaaa0001" in run(api, "--api", url, "--key-file", str(tmp_path / "key"), "ls", env=environment()).out
    assert "key" in run(api, "--api", short, "--key-file", str(tmp_path / "bad"), "ls", env=environment(), status=1).err
    assert "401" in run(api, "ls", "--key", "wrong", status=1).err
    for url in ("ftp://h", "http://", "http://u:p@h/", "http://h/?x"):
        assert "address of the API" in run(api, "ls", "--api", url, status=1).err


def test_keys_are_not_in_the_arguments_of_a_running_ctl(api):
    p = subprocess.Popen([CTL, "--api", api.url, "--key", KEY, "logs", "-f"], env=environment(), stdout=subprocess.DEVNULL)
    try:
        wait_for("the stream", lambda: api.readers, 10)
        with open(f"/proc/{p.pid}/cmdline", "rb") as f:
            assert KEY.encode() not in f.read()
    finally:
        p.terminate()
        p.wait(10)


# ------------------------------------------------------------------ the command line

@pytest.mark.parametrize("words", [[], ["nonsense"], ["rm"], ["set", "x"], ["info", "x"], ["ls", "--nope"],
                                   ["top", "-n", "x"], ["top", "--every", "0s"], ["key", "turn"], ["alias", "web", ""]])
def test_a_wrong_command_line_is_status_2_and_asks_nothing(api, words):
    run(api, *words, status=2)
    assert not api.seen


def test_help_names_every_command(api):
    for words in (["help"], ["--help"], ["ls", "-h"]):
        out = run(api, *words).out
        for word in "ls show add rm start stop restart reset set alias logs events top info key tcping".split():
            assert re.search(rf"^  {word} ", out, re.M), word


def test_output_that_cannot_be_written_is_no_success(api):
    with open("/dev/full", "wb") as full:
        p = subprocess.run([CTL, "ls"], env=environment(api), stdout=full, stderr=subprocess.PIPE, timeout=20)
    assert p.returncode == 1 and b"No space" in p.stderr


# ------------------------------------------------------------------ with a real master

class Master:
    """`nodepass master://…` with folders of its own; ends with its data plane."""

    def __init__(self, folder, query=""):
        self.env = environment(NP_RUN_DIR=str(folder / "run"), NP_STATE_DIR=str(folder / "state"), NP_LOG_COLOR="0",
                               NP_SHUTDOWN_TIMEOUT="1s", HOME=str(folder))
        self.log = open(folder / "master.log", "ab+")
        self.port = free_port("127.0.0.1")
        self.process = subprocess.Popen([np_harness.NODEPASS, f"master://127.0.0.1:{self.port}{query}"], env=self.env,
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)

    def ctl(self, *words, **kw):
        return run(None, *words, env=self.env, program=np_harness.NODEPASS, **kw)

    def is_up(self):
        assert self.process.poll() is None, self.text()
        return "Master started" in self.text() and os.path.exists(self.env["NP_RUN_DIR"] + "/master.json")

    def text(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as f:
            return f.read()

    def close(self):
        self.process.terminate()
        try:
            return self.process.wait(15 * SLACK)
        finally:
            self.process.kill()
            self.log.close()


@pytest.fixture
def folder():
    """Short: the path of a socket has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="np-ctl-") as name:
        yield pathlib.Path(name)


@pytest.mark.parametrize("query", ["", "?tls=1", "/some/prefix"])
def test_a_running_master_is_managed_without_address_and_key(folder, query):
    master = Master(folder, query)
    try:
        wait_for("the master", master.is_up, 20)
        a, b = free_port("127.0.0.1"), free_port("127.0.0.1")
        id = master.ctl("add", f"client://127.0.0.1:{a}/127.0.0.1:9?mode=1", "--alias", "web").out.strip()
        other = master.ctl("add", f"server://secret@127.0.0.1:{b}/127.0.0.1:9?mode=2").out.strip()
        assert re.fullmatch("[0-9a-f]{8}", id) and id != other
        assert master.ctl("ls").out.count("running") == 2
        taken = f"client://127.0.0.1:{a}/127.0.0.1:9?mode=1"
        third = master.ctl("add", taken, status=1)
        assert "it does not run" in third.err and "in use" in master.ctl("logs", third.out.strip()).out
        assert master.ctl("rm", third.out.strip()).out == "done 1, failed 0\n"
        assert "secret" not in master.ctl("ls").out
        wait_for("its log", lambda: f"[{id}]" in master.ctl("logs", "web").out, 10)
        for turn in range(5):
            if turn > 0:
                assert master.ctl("start", "all").out == "done 2, failed 0\n"
                assert master.ctl("ls").out.count("running") == 2
            assert master.ctl("stop", "all").out == "done 2, failed 0\n"
            wait_for("both stopped", lambda: master.ctl("ls").out.count("stopped") == 2, 10)
        assert json.loads(master.ctl("ls", "web", "--json").out)[0]["id"] == id
        assert "Invalid URL" in master.ctl("set", "web", "client://127.0.0.1:0/x:1", status=1).err
        assert master.ctl("rm", "web", other).out == "done 2, failed 0\n"
        assert master.ctl("ls", "--json").out == "[]\n"
    finally:
        assert master.close() == 0, master.text()


def test_certificate_of_the_master_is_known_by_its_key__changed__still__other_refused(folder):
    """No authority can vouch for 127.0.0.1: what the running master wrote of its key does."""
    certs = np_harness.Certs(folder / "certs")
    master = Master(folder, f"?tls=2&crt={certs.crt}&key={certs.key}")
    try:
        wait_for("the master", master.is_up, 20)
        assert master.ctl("ls", "--json").out == "[]\n"
        before = json.loads((folder / "run/master.json").read_text())
        for name, file in zip(certs.leaf("next"), (certs.crt, certs.key)):
            os.replace(name, file)
        master.process.send_signal(signal.SIGHUP)
        wait_for("the new pin", lambda: json.loads((folder / "run/master.json").read_text()) != before, 10)
        assert master.ctl("ls", "--json").out == "[]\n"
        (folder / "run/master.json").write_text(json.dumps(before))  # as if another one answered there
        assert "public key" in master.ctl("ls", status=1).err
        assert "certificate" in master.ctl("--cacert", certs.ca, "ls", status=1).err, "its name is not 127.0.0.1"
        assert master.ctl("--insecure", "ls", "--json").out == "[]\n"
    finally:
        assert master.close() == 0, master.text()


def test_the_key_is_printed_and_changed_with_and_without_a_running_master(folder):
    master = Master(folder)
    try:
        wait_for("the master", master.is_up, 20)
        first = master.ctl("key").out
        assert first.strip() in master.text()
        second = master.ctl("key", "rotate").out
        assert second != first and re.fullmatch("[0-9a-f]{32}\n", second) and master.ctl("key").out == second
        assert "401" in master.ctl("ls", "--key", first.strip(), status=1).err
        master.ctl("ls")
    finally:
        assert master.close() == 0, master.text()
    assert master.ctl("key").out == second
    third = master.ctl("key", "rotate").out
    assert third not in (first, second) and master.ctl("key").out == third
    assert "no longer runs" in master.ctl("ls", status=1).err or "no master" in master.ctl("ls", status=1).err
