"""Real applications behind and in front of a tunnel: how each is started, asked and judged.

Each server class has addr and close(); the functions run a client to its end and return what it said.
Used by test_apps.py (small) and tests/soak/apps.py (large).
"""
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time

from np_net import SLACK, is_listening, text_of, wait_for

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


def which(tool):
    return shutil.which(tool, path=PATH)


def missing(*tools):
    return [t for t in tools if not which(t)]


def run(*argv, timeout=60, status=0, **kw):
    """Runs a client; fails with what it wrote when its exit status is another than @status (None: any)."""
    argv = [which(str(argv[0])) or argv[0], *map(str, argv[1:])]
    r = subprocess.run(argv, capture_output=True, timeout=timeout * SLACK, **kw)
    said = f"{' '.join(argv)[:200]}: {r.returncode}: {r.stderr[-400:]} {r.stdout[-400:]}"
    assert status in (None, r.returncode), said
    return r


def file_digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()


def make_file(path, size):
    """@size bytes that do not compress, made fast."""
    block = os.urandom(1 << 20)
    with open(path, "wb") as f:
        for i in range(0, size, len(block)):
            f.write(i.to_bytes(8, "big") + block[8:min(len(block), size - i)])
        f.truncate(size)
    return path


class Server:
    """A helper program in the foreground."""

    def __init__(self, folder, name, addr, *argv, proto="tcp"):
        self.addr = addr
        self._log = open(os.path.join(folder, name + ".log"), "wb")
        self._p = subprocess.Popen([which(argv[0]), *map(str, argv[1:])], stdin=subprocess.DEVNULL,
                                   stdout=self._log, stderr=subprocess.STDOUT, cwd=folder)
        wait_for(f"{name} listens", lambda: is_listening(addr, proto) or self._p.poll() is not None, 10)
        assert self._p.poll() is None, open(self._log.name).read()[-800:]

    def close(self):
        self._p.terminate()
        try:
            self._p.wait(10)
        except subprocess.TimeoutExpired:
            self._p.kill()
            self._p.wait(10)
        self._log.close()


def nginx(folder, addr, root):
    conf = os.path.join(folder, "nginx.conf")
    with open(conf, "w") as f:
        f.write(f"""daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; keepalive_requests 1000000; client_max_body_size 0;
 client_body_temp_path {folder}/n1; proxy_temp_path {folder}/n2; fastcgi_temp_path {folder}/n3;
 uwsgi_temp_path {folder}/n4; scgi_temp_path {folder}/n5;
 server {{ listen {text_of(addr)} backlog=4096; root {root}; }} }}
""")
    return Server(folder, "nginx", addr, "nginx", "-e", "stderr", "-c", conf, "-p", folder)


class Ssh:
    """sshd with a host key and a user key of its own."""

    def __init__(self, folder, addr):
        self.folder, self.addr = os.path.join(folder, "ssh"), addr
        os.makedirs(self.folder, 0o700)
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", 0o755, exist_ok=True)
        for name in ("host", "user"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.folder}/{name}")
        shutil.copy(f"{self.folder}/user.pub", f"{self.folder}/authorized")
        with open(f"{self.folder}/config", "w") as f:
            f.write(f"ListenAddress {text_of(addr)}\nHostKey {self.folder}/host\nPidFile none\nStrictModes no\n"
                    f"AuthorizedKeysFile {self.folder}/authorized\nUsePAM no\nPasswordAuthentication no\n"
                    "PermitRootLogin yes\nSubsystem sftp internal-sftp\nMaxStartups 100\n")
        self._server = Server(folder, "sshd", addr, "sshd", "-D", "-e", "-f", f"{self.folder}/config")
        self.options = ["-F", "/dev/null", "-i", f"{self.folder}/user", "-o", "StrictHostKeyChecking=no", "-o",
                        "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"]

    def command(self, via, text, status=0, **kw):
        return run("ssh", *self.options, "-p", via[1], via[0], text, status=status, **kw)

    def copy_from(self, via, path, out, timeout=600):
        run("scp", *self.options, "-P", via[1], f"{via[0]}:{path}", out, timeout=timeout)

    def copy_to(self, via, path, out, timeout=600):
        run("scp", *self.options, "-P", via[1], path, f"{via[0]}:{out}", timeout=timeout)

    def close(self):
        self._server.close()


def redis(folder, addr):
    return Server(folder, "redis", addr, "redis-server", "--bind", addr[0], "--port", addr[1], "--save", "",
                  "--appendonly", "no", "--protected-mode", "no", "--dir", folder)


def dnsmasq(folder, addr):
    """Answers h0.test … h99.test with 10.9.8.0 … 99 and big.test with 3 000 bytes of text."""
    hosts = [f"--host-record=h{i}.test,10.9.8.{i}" for i in range(100)]
    return Server(folder, "dnsmasq", addr, "dnsmasq", "-k", "-C", "/dev/null", "-h", "-R", "-z", "-a", addr[0], "-p",
                  addr[1], "--pid-file=", "--user=" + ("root" if os.geteuid() == 0 else ""), "--edns-packet-max=4096",
                  "--txt-record=big.test," + ",".join(["x" * 250] * 12), *hosts)


def iperf3_server(folder, addr):
    return Server(folder, "iperf3", addr, "iperf3", "-s", "-B", addr[0], "-p", addr[1])


def iperf3(via, seconds, *options, tries=5):
    """{"mbit_s": [per direction], "lost_percent": …}; waits while the server is busy with the test before."""
    for _ in range(tries):
        r = run("iperf3", "-c", via[0], "-p", via[1], "-t", seconds, "-J", *options, timeout=seconds + 40, status=None)
        j = json.loads(r.stdout)
        if "busy" not in j.get("error", ""):
            break
        time.sleep(0.5)  # its own single-client limit, nothing of ours
    assert "error" not in j, j["error"]
    end = {k: v for k, v in j["end"].items() if k.startswith("sum") and isinstance(v, dict)}
    sums = [v for k, v in end.items() if k.startswith("sum_received")] or [end["sum"]]
    lost = [v["lost_percent"] for v in sums if "lost_percent" in v]
    return {"mbit_s": [v["bits_per_second"] / 1e6 for v in sums], "lost_percent": max(lost) if lost else None}


def curl_digest(via, name, folder, timeout=600):
    out = os.path.join(folder, f"curl-{os.getpid()}-{time.monotonic_ns()}.out")
    try:
        run("curl", "-sS", "--fail", "-o", out, f"http://{text_of(via)}/{name}", timeout=timeout)
        return file_digest(out)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(out)


def dig(via, names, tcp=False, tries=3):
    """Answers, one per name, in order."""
    how = ["+tcp" if tcp else "+notcp", f"+tries={tries}", "+time=2", "+short"]
    r = run("dig", f"@{via[0]}", "-p", via[1], *how, *names, timeout=60)
    return r.stdout.decode().split()
