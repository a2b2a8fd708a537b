"""A client without mode= beside the server that it is meant for, in one data plane: it joins that server, whoever
is ready first; and who came too late is told by whom the address is taken.
"""
import os
import signal
import threading

import pytest

from np_harness import TLS_NAME
from np_master import PATIENCE
from np_net import SLACK, served, text_of, wait_for

pytestmark = pytest.mark.timeout(60 * SLACK)
PAIRS = 4
IN_USE = r"tunnel address {}: listen \(TCP\): address already in use, in use by instance {}, a mode=0 client .*"


class Tunnel:
    """Visitors come to @visit: of the server (reverse), so that a client that listens itself serves nobody there."""

    def __init__(self, m, n, word):
        self.m, self.visit, self.at = m, m.bench.addr(2 + 2 * n), m.bench.addr(3 + 2 * n)
        target = m.bench.farm()
        self.urls = {"server": f"server://{word}@{text_of(self.at)}/{text_of(self.visit)}?mode=1",
                     "client": f"client://{word}@{text_of(self.at)}/{text_of(target.addr)}"}
        self.ids = {}

    def post(self, *who):
        for w in who:
            self.ids[w] = self.m.create(self.urls[w])

    def wait_served(self):
        wait_for(lambda: f"service of {self.urls} {self.ids}: {self.m.node.last_words()}",
                 lambda: served(self.visit, 1), PATIENCE)


def test_client_right_behind_its_server__joins_it(masters):
    """The server's key takes its time: the client waits for nothing, but leaves the address alone."""
    m = masters()
    tunnels = [Tunnel(m, n, f"a-word-of-pair-{n}") for n in range(PAIRS)]
    for t in tunnels:
        t.post("server", "client")
    for t in tunnels:
        t.wait_served()
        for id in t.ids.values():
            m.wait_instance(id, status="running")
    m.node.wait_line(r"mode: client of a server, because tunnel address .* is that of instance "
                     + tunnels[0].ids["server"], "INFO", PATIENCE)
    assert "address already in use" not in m.node.log()


@pytest.mark.parametrize("how", ["data plane", "both"])
def test_started_again__the_order_of_ids_decides_nothing(masters, how):
    m = masters()
    tunnels = [Tunnel(m, n, f"a-word-of-pair-{n}") for n in range(PAIRS)]
    for t in tunnels:
        t.post("server", "client")
        t.wait_served()
    for _ in range(2):
        if how == "both":
            m.stop()
            m.start()
        else:
            old = m.plane()
            os.kill(old, signal.SIGKILL)
            wait_for("another data plane", lambda: m.planes() not in ([], [old]), PATIENCE)
        for t in tunnels:
            t.wait_served()
    assert "address already in use" not in m.node.log()


@pytest.mark.sanitize
def test_side_by_side__requests_that_meet(masters):
    """Both POSTs under way at once: served, or the server is told by whom the address is taken."""
    m = masters()
    tunnels = [Tunnel(m, n, f"a-word-of-pair-{n}") for n in range(PAIRS)]
    threads = [threading.Thread(target=t.post, args=(w,)) for t in tunnels for w in t.urls]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for t in tunnels:
        late = lambda t=t: m.get(t.ids["server"])["status"] == "error"
        wait_for(lambda: f"an end: {m.node.last_words()}", lambda t=t: served(t.visit, 1) or late(), PATIENCE)
        if late():
            m.patch(t.ids["client"], action="restart")
        t.wait_served()


@pytest.mark.parametrize("way", ["restart", pytest.param("mode", marks=pytest.mark.sanitize)])
def test_server_comes_second__named_and_mended(masters, way):
    """What a client chose stands; the server says who has its address, and gets it when that one begins anew."""
    m = masters()
    t = Tunnel(m, 0, "a-word-of-mine")
    t.post("client")
    wait_for("the client itself listens", lambda: served(t.at, 1), PATIENCE)
    t.post("server")
    m.wait_instance(t.ids["server"], status="error")
    text = IN_USE.format(text_of(t.at), t.ids["client"])
    m.node.wait_line(text, "ERROR", PATIENCE)
    assert served(t.at, 1)
    if way == "restart":
        m.patch(t.ids["client"], action="restart")
    else:
        m.good("PUT", f"/instances/{t.ids['client']}", {"url": t.urls["client"] + "?mode=2"})
    t.wait_served()
    m.wait_instance(t.ids["server"], status="running")


def test_server_whose_files_are_bad__its_client_does_not_take_its_place(masters, certs, tmp_path):
    m = masters(env={"NP_RELOAD_INTERVAL": "1s"})
    crt, key = tmp_path / "s.crt", tmp_path / "s.key"
    t = Tunnel(m, 0, "a-word-of-mine")
    t.urls["server"] += f"&tls=2&crt={crt}&key={key}"
    t.urls["client"] += f"?ca={certs.ca}&sni={TLS_NAME}"
    t.post("server")
    m.wait_instance(t.ids["server"], status="error")
    t.post("client")
    m.node.wait_line(r"mode: client of a server", "INFO", PATIENCE)
    crt.write_bytes(open(certs.crt, "rb").read())
    key.write_bytes(open(certs.key, "rb").read())
    t.wait_served()
