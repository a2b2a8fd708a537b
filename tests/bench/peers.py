"""Ways that bytes can take: NodePass, its peers, and none (direct). How each is found, started and named.

A way is a peer in a scenario: "single" (one process between visitor and target), "plain" (two ends with a connection
between them) or "tls" (the same, encrypted). What runs in both ends counts as the peer's.
"""
import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field

SCENARIOS = ("single", "plain", "tls")
TITLES = {"single": "single hop", "plain": "two hops, plain", "tls": "two hops, encrypted"}
SECRET = "bench0secret"


@dataclass
class Net:
    """Ports of one run, all on 127.0.0.1."""
    visit: int   # where the load connects to
    target: int  # where it comes out again
    tunnel: int  # between the ends
    extra: int   # for peers that need one more


@dataclass
class End:
    """A process to start."""
    argv: list
    env: dict = field(default_factory=dict)


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


class Peer:
    """One program. Subclasses say what it can do and how it is started."""
    name = program = ""
    scenarios = ()
    udp = True
    quick = False      # is in the quick run
    reaches = True     # counts for "best peer"
    hold_max = 4000    # idle sessions that can be asked of it
    version_args = ("--version",)
    tunnel_port = None  # of its first end, where it cannot be chosen
    paths = ()         # folders to look in before PATH

    def __init__(self):
        self.path = shutil.which(self.program, path=os.pathsep.join([*self.paths, os.environ.get("PATH", ""),
                                                                     "/usr/sbin", "/sbin"]))

    def version(self):
        try:
            p = subprocess.run([self.path, *self.version_args], capture_output=True, text=True, timeout=10,
                               stdin=subprocess.DEVNULL, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return "?"
        return version_in(p.stdout + p.stderr)

    def ends(self, scenario, net, udp, folder):
        """What is started, in this order: the end that listens for the other one first."""
        raise NotImplementedError


def version_in(text):
    """What looks like a version number: behind the word, else the first one."""
    number = r"(\d+\.\d+(?:\.\d+)*(?:[-+~][\w.]+)*)"
    found = re.search(r"version:?\s+v?" + number, text, re.I) or re.search(number, text)
    return found.group(1) if found else "?"


class Direct(Peer):
    name = "direct"
    scenarios = SCENARIOS
    quick = True
    reaches = False

    def __init__(self):
        self.path = "-"

    def version(self):
        return "-"

    def ends(self, scenario, net, udp, folder):
        return []


class NodePass(Peer):
    """Ours; several builds of it can be compared."""
    scenarios = SCENARIOS
    quick = True
    reaches = False

    def __init__(self, folder, name="nodepass", only=None):
        self.name, self.only = name, only  # only: the measures that it is asked for, None = all
        self.path = os.path.join(folder, "nodepass")
        if not os.access(self.path, os.X_OK):
            self.path = None

    @functools.cached_property
    def key(self):
        """One as the documentation tells to make: a word would be stretched for 50 ms at each end."""
        return subprocess.run([self.path, "key"], capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    def ends(self, scenario, net, udp, folder, extra=""):
        run = {"NP_RUN_DIR": "", "NP_LOG_COLOR": "0"}
        if scenario == "single":
            return [End([self.path, f"client://127.0.0.1:{net.visit}/127.0.0.1:{net.target}?mode=1&log=warn{extra}"], run)]
        tls = 1 if scenario == "tls" else 0
        return [End([self.path, f"server://{self.key}@127.0.0.1:{net.tunnel}/127.0.0.1:{net.visit}"
                                f"?mode=1&tls={tls}&log=warn{extra}"], run),
                End([self.path, f"client://{self.key}@127.0.0.1:{net.tunnel}/127.0.0.1:{net.target}"
                                f"?mode=2&log=warn{extra}"], run)]


class GoNodePass(Peer):
    """The Go project of that name: the program that BENCH_GO_NODEPASS names."""
    name = "nodepass-go"
    scenarios = SCENARIOS
    quick = True

    def __init__(self):
        self.program = os.environ.get("BENCH_GO_NODEPASS", "")
        self.path = shutil.which(self.program) if self.program else None

    def version(self):
        return "?"

    def ends(self, scenario, net, udp, folder):
        if scenario == "single":
            return [End([self.path, f"client://127.0.0.1:{net.visit}/127.0.0.1:{net.target}?mode=1&log=error"])]
        tls = 1 if scenario == "tls" else 0
        return [End([self.path, f"server://{SECRET}@127.0.0.1:{net.tunnel}/127.0.0.1:{net.visit}?tls={tls}&mode=1&log=error"]),
                End([self.path, f"client://{SECRET}@127.0.0.1:{net.tunnel}/127.0.0.1:{net.target}?mode=2&log=error"])]


class HAProxy(Peer):
    name = program = "haproxy"
    scenarios = ("single",)
    udp = False
    splice = False
    version_args = ("-v",)

    def config(self, pairs):
        text = "global\n  maxconn 6000\n  maxpipes 1000\n" + ("" if self.splice else "  nosplice\n")
        text += ("defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 10m\n  timeout server 10m\n"
                 + ("  option splice-auto\n" if self.splice else ""))
        for i, (visit, target) in enumerate(pairs):
            text += f"listen l{i}\n  bind 127.0.0.1:{visit}\n  server s 127.0.0.1:{target}\n"
        return text

    def ends(self, scenario, net, udp, folder):
        return [End([self.path, "-db", "-f", write(folder, "haproxy.cfg", self.config([(net.visit, net.target)]))])]


class HAProxySplice(HAProxy):
    name = "haproxy-splice"
    splice = True
    quick = True


class Nginx(Peer):
    name = program = "nginx"
    scenarios = ("single",)
    quick = True
    version_args = ("-v",)

    def config(self, folder, pairs, udp):
        module = next((p for p in ("/usr/lib/nginx/modules/ngx_stream_module.so",) if os.path.exists(p)), None)
        text = f"load_module {module};\n" if module else ""
        text += (f"daemon off;\nworker_processes auto;\nworker_rlimit_nofile 65536;\npid {folder}/nginx.pid;\n"
                 f"error_log {folder}/nginx-error.log crit;\n"
                 "events { worker_connections 16384; }\nstream {\n")
        for visit, target in pairs:
            text += f"  server {{ listen 127.0.0.1:{visit} backlog=4096; proxy_pass 127.0.0.1:{target}; tcp_nodelay on; }}\n"
            if udp:
                text += f"  server {{ listen 127.0.0.1:{visit} udp; proxy_pass 127.0.0.1:{target}; }}\n"
        return text + "}\n"

    def ends(self, scenario, net, udp, folder):
        path = write(folder, "nginx.conf", self.config(folder, [(net.visit, net.target)], udp))
        return [End([self.path, "-e", f"{folder}/nginx-start.log", "-p", folder, "-c", path])]


class Socat(Peer):
    name = program = "socat"
    scenarios = ("single",)
    hold_max = 1000  # a process for each
    version_args = ("-V",)

    def version(self):
        p = subprocess.run([self.path, "-V"], capture_output=True, text=True, timeout=10, check=False)
        return version_in(p.stdout.partition("version")[2])

    def ends(self, scenario, net, udp, folder):
        ends = [End([self.path, f"TCP-LISTEN:{net.visit},bind=127.0.0.1,fork,reuseaddr,backlog=4096,nodelay",
                     f"TCP:127.0.0.1:{net.target},nodelay"])]
        if udp:
            ends.append(End([self.path, f"UDP-LISTEN:{net.visit},bind=127.0.0.1,fork,reuseaddr",
                             f"UDP:127.0.0.1:{net.target}"]))
        return ends


class Realm(Peer):
    name = program = "realm"
    scenarios = ("single",)
    quick = True

    def ends(self, scenario, net, udp, folder):
        argv = [self.path, "-l", f"127.0.0.1:{net.visit}", "-r", f"127.0.0.1:{net.target}"]
        return [End(argv + (["-u"] if udp else []))]


class Gost(Peer):
    name = program = "gost"
    scenarios = SCENARIOS
    quick = True
    version_args = ("-V",)

    def ends(self, scenario, net, udp, folder):
        listen = ["-L", f"tcp://127.0.0.1:{net.visit}/127.0.0.1:{net.target}"]
        if udp:
            listen += ["-L", f"udp://127.0.0.1:{net.visit}/127.0.0.1:{net.target}"]
        if scenario == "single":
            return [End([self.path, *listen])]
        via = ("relay+tls" if scenario == "tls" else "relay") + f"://127.0.0.1:{net.tunnel}"
        return [End([self.path, "-L", via]), End([self.path, *listen, "-F", via])]


class Rathole(Peer):
    name = program = "rathole"
    scenarios = ("plain", "tls")
    quick = True

    def noise(self):
        text = subprocess.run([self.path, "--genkey"], capture_output=True, text=True, timeout=10, check=False).stdout
        keys = re.findall(r"Key:\s*(\S+)", text)
        return keys if len(keys) == 2 else ["", ""]

    def ends(self, scenario, net, udp, folder):
        server = f'[server]\nbind_addr = "127.0.0.1:{net.tunnel}"\ndefault_token = "{SECRET}"\n'
        client = f'[client]\nremote_addr = "127.0.0.1:{net.tunnel}"\ndefault_token = "{SECRET}"\n'
        if scenario == "tls":
            private, public = self.noise()
            server += f'[server.transport]\ntype = "noise"\n[server.transport.noise]\nlocal_private_key = "{private}"\n'
            client += f'[client.transport]\ntype = "noise"\n[client.transport.noise]\nremote_public_key = "{public}"\n'
        for kind in ("tcp", "udp") if udp else ("tcp",):
            server += f'[server.services.{kind}]\ntype = "{kind}"\nbind_addr = "127.0.0.1:{net.visit}"\n'
            client += f'[client.services.{kind}]\ntype = "{kind}"\nlocal_addr = "127.0.0.1:{net.target}"\n'
        env = {"RUST_LOG": "error"}
        return [End([self.path, "--server", write(folder, "rathole-server.toml", server)], env),
                End([self.path, "--client", write(folder, "rathole-client.toml", client)], env)]


class Frp(Peer):
    name, program = "frp", "frps"
    scenarios = ("plain", "tls")
    quick = True

    def __init__(self):
        super().__init__()
        self.client = shutil.which("frpc")
        if not self.client:
            self.path = None

    def ends(self, scenario, net, udp, folder):
        auth = f'auth.token = "{SECRET}"\nlog.level = "error"\n'
        server = f'bindAddr = "127.0.0.1"\nbindPort = {net.tunnel}\n{auth}'
        client = (f'serverAddr = "127.0.0.1"\nserverPort = {net.tunnel}\n{auth}'
                  f'transport.tls.enable = {"true" if scenario == "tls" else "false"}\n')
        for kind in ("tcp", "udp") if udp else ("tcp",):
            client += (f'[[proxies]]\nname = "{kind}"\ntype = "{kind}"\nlocalIP = "127.0.0.1"\n'
                       f'localPort = {net.target}\nremotePort = {net.visit}\n')
        return [End([self.path, "-c", write(folder, "frps.toml", server)]),
                End([self.client, "-c", write(folder, "frpc.toml", client)])]


class Bore(Peer):
    """Has one port for its ends that cannot be chosen: it runs only where that is free."""
    name = program = "bore"
    scenarios = ("plain",)
    udp = False
    tunnel_port = 7835

    def ends(self, scenario, net, udp, folder):
        return [End([self.path, "server", "--min-port", "1024", "--bind-addr", "127.0.0.1"]),
                End([self.path, "local", "--to", "127.0.0.1", "--port", str(net.visit), str(net.target)])]


class Chisel(Peer):
    """Always encrypts: SSH inside a web socket."""
    name = program = "chisel"
    scenarios = ("tls",)

    def ends(self, scenario, net, udp, folder):
        remotes = [f"127.0.0.1:{net.visit}:127.0.0.1:{net.target}"]
        if udp:
            remotes.append(remotes[0] + "/udp")
        return [End([self.path, "server", "--host", "127.0.0.1", "-p", str(net.tunnel)]),
                End([self.path, "client", f"127.0.0.1:{net.tunnel}", *remotes])]


class Stunnel(Peer):
    name, program = "stunnel", "stunnel4"
    scenarios = ("tls",)
    udp = False
    quick = True
    version_args = ("-version",)

    def version(self):
        p = subprocess.run([self.path, "-version"], capture_output=True, text=True, timeout=10, check=False)
        return version_in(p.stderr.partition("stunnel")[2])

    def ends(self, scenario, net, udp, folder):
        pem = os.path.join(folder, "stunnel.pem")
        if not os.path.exists(pem):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-days", "30", "-subj", "/CN=bench", "-keyout", pem, "-out", pem + ".crt"],
                           check=True, capture_output=True)
            with open(pem, "a", encoding="ascii") as f, open(pem + ".crt", encoding="ascii") as crt:
                f.write(crt.read())
        head = "foreground = yes\npid =\ndebug = err\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
        server = head + f"[s]\naccept = 127.0.0.1:{net.tunnel}\nconnect = 127.0.0.1:{net.target}\ncert = {pem}\n"
        client = head + f"[c]\nclient = yes\naccept = 127.0.0.1:{net.visit}\nconnect = 127.0.0.1:{net.tunnel}\n"
        return [End([self.path, write(folder, "stunnel-server.conf", server)]),
                End([self.path, write(folder, "stunnel-client.conf", client)])]


class Shadowsocks(Peer):
    name, program = "shadowsocks", "ss-tunnel"
    scenarios = ("tls",)
    version_args = ("-h",)

    def __init__(self):
        super().__init__()
        self.server = shutil.which("ss-server")
        if not self.server:
            self.path = None

    def ends(self, scenario, net, udp, folder):
        common = ["-p", str(net.tunnel), "-s", "127.0.0.1", "-k", SECRET, "-m", "aes-128-gcm", "-t", "600",
                  "--no-delay"] + (["-u"] if udp else [])
        return [End([self.server, *common]),
                End([self.path, *common, "-b", "127.0.0.1", "-l", str(net.visit), "-L", f"127.0.0.1:{net.target}"])]


ALL = (HAProxySplice, HAProxy, Nginx, Realm, Socat, GoNodePass, Gost, Rathole, Frp, Bore, Chisel, Stunnel, Shadowsocks)


def find(own, shared, also, installed):
    """All peers that are here, ours and direct first; and the names of those that are not.

    own: folder of the programs to measure.  shared: that of the same with shared libraries, may be absent: for what
    depends on that.  also: (name, folder) of further builds.  installed: folder of peers that were installed for this.
    """
    Peer.paths = (installed,)
    here = [Direct(), NodePass(own)] + [NodePass(folder, name) for name, folder in also]
    if os.path.exists(os.path.join(shared, "nodepass")):
        here.insert(2, NodePass(shared, "nodepass-shared", ("mem", "start")))
    missing = []
    for kind in ALL:
        peer = kind()
        if peer.path:
            here.append(peer)
        else:
            missing.append(kind.name)
    return here, missing
