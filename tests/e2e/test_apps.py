"""Real applications through tunnels; those that are not installed are skipped."""
import os

import pytest

import np_apps
from np_apps import missing
from np_harness import over

wide = pytest.mark.parametrize("flow,tls", [("reverse", 1), ("forward", 2), ("single", 0)],
                               ids=["reverse-1", "forward-2", "single"])


def need(*tools):
    absent = missing(*tools)
    return pytest.mark.skipif(bool(absent), reason="not installed: " + " ".join(absent))


class At:
    """What bench.link needs of a target that is another program."""

    def __init__(self, addr):
        self.addr = addr


def link_to(bench, flow, tls, server, **kw):
    bench.keep(server)
    return bench.link(flow, tls, target=At(server.addr), **kw)


@need("nginx", "curl")
@wide
def test_curl__large_file_and_1000_keep_alive_requests_of_nginx(bench, flow, tls):
    root = os.path.join(bench.folder, "www")
    os.makedirs(root)
    big = np_apps.make_file(os.path.join(root, "big"), 60 << 20)
    with open(os.path.join(root, "small"), "w") as f:
        f.write("hello\n")
    t = link_to(bench, flow, tls, np_apps.nginx(bench.folder, bench.addr(9), root))
    assert np_apps.curl_digest(t.visit, "big", bench.folder) == np_apps.file_digest(big)
    url = f"http://{t.visit[0]}:{t.visit[1]}/small?[1-1000]"
    form = "%{http_code} %{num_connects}\n"
    rows = np_apps.run("curl", "-sS", "-o", "/dev/null", "-w", form, url).stdout.splitlines()
    assert [r.split()[0] for r in rows] == [b"200"] * 1000
    assert sum(int(r.split()[1]) for r in rows) == 1, "keep-alive was broken"


@need("nginx", "wrk")
@over(("reverse", "single"), (0,))
def test_wrk__keep_alive_and_closing__no_errors(bench, flow, tls):
    root = os.path.join(bench.folder, "www")
    os.makedirs(root)
    with open(os.path.join(root, "small"), "w") as f:
        f.write("hello\n")
    t = link_to(bench, flow, tls, np_apps.nginx(bench.folder, bench.addr(9), root))
    for extra in ([], ["-H", "Connection: close"]):
        out = np_apps.run("wrk", "-t", 1, "-c", 20, "-d", "2s", *extra,
                          f"http://{t.visit[0]}:{t.visit[1]}/small").stdout.decode()
        print(out)
        assert "Socket errors" not in out and "Non-2xx" not in out
        assert int(out.split(" requests in ")[0].split()[-1]) > 100


@need("sshd", "ssh", "scp", "ssh-keygen")
@wide
def test_ssh__command_status_and_scp_both_ways(bench, flow, tls):
    sshd = np_apps.Ssh(bench.folder, bench.addr(9))
    t = link_to(bench, flow, tls, sshd)
    assert sshd.command(t.visit, "echo through; exit 7", status=7).stdout == b"through\n"
    big = np_apps.make_file(os.path.join(bench.folder, "big"), 20 << 20)
    for i, copy in enumerate((sshd.copy_from, sshd.copy_to)):
        out = os.path.join(bench.folder, f"copy{i}")
        copy(t.visit, big, out)
        assert np_apps.file_digest(out) == np_apps.file_digest(big)


@need("iperf3")
@wide
def test_iperf3__tcp_both_ways_and_udp(bench, flow, tls):
    server = np_apps.iperf3_server(bench.folder, bench.addr(9))
    t = link_to(bench, flow, tls, server)
    for options in ([], ["-R"], ["--bidir"], ["-P", 8]):
        r = np_apps.iperf3(t.visit, 1, *options)
        print(options, r)
        assert min(r["mbit_s"]) > 1  # no stall; how fast is the benchmark's matter
    for options in ([], ["-R"]):
        r = np_apps.iperf3(t.visit, 2, "-u", "-b", "10M", "-l", 1200, *options)
        print("udp", options, r)
        assert r["lost_percent"] < 2 and max(r["mbit_s"]) > 8


@need("dnsmasq", "dig")
@wide
def test_dig__100_names_over_udp_and_tcp_and_a_large_answer(bench, flow, tls):
    t = link_to(bench, flow, tls, np_apps.dnsmasq(bench.folder, bench.addr(9)))
    names = [f"h{i}.test" for i in range(100)]
    for tcp in (False, True):
        assert np_apps.dig(t.visit, names, tcp) == [f"10.9.8.{i}" for i in range(100)]
    big = np_apps.run("dig", f"@{t.visit[0]}", "-p", t.visit[1], "+bufsize=4096", "+notcp", "+ignore", "+short",
                      "big.test", "TXT").stdout
    assert big.count(b"x") == 3000, "a datagram of 3 000 bytes did not arrive whole"


@need("redis-server", "redis-benchmark", "redis-cli")
@wide
@pytest.mark.sanitize
def test_redis__pipelined_benchmark__every_command_counted_once(bench, flow, tls):
    t = link_to(bench, flow, tls, np_apps.redis(bench.folder, bench.addr(9)))
    host = ["-h", t.visit[0], "-p", t.visit[1]]
    np_apps.run("redis-benchmark", *host, "-n", 10_000, "-P", 16, "-c", 20, "-t", "set,get,incr", "--csv")
    assert int(np_apps.run("redis-cli", *host, "get", "counter:__rand_int__").stdout) == 10_000
