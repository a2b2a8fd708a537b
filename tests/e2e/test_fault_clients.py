"""Two dozen clients that die and come back under two thousand visitors; the long form is tests/soak/clients.py."""
import pytest

from np_clients import Clients
from np_harness import instrumented
from np_net import wait_for
from np_world import outcome


@pytest.mark.parametrize("clients,visitors,seconds,pause", [
    pytest.param(6, 200, 8, (0.1, 0.6), marks=[pytest.mark.sanitize]),
    pytest.param(24, 2000, 120, (0.5, 2.0), marks=[pytest.mark.slow])], ids=["6", "24"])
@pytest.mark.timeout(600)
def test_clients__killed_at_random__no_visitor_of_a_living_one_fails__nothing_is_left(bench, clients, visitors, seconds,
                                                                                      pause):
    c = Clients(bench, clients, visitors, seed=1, pause=pause)
    try:
        c.run(seconds / 2)
        before = c.calm() if seconds > 60 else (c.t.server.rss() >> 10, c.t.server.fd_count())
        c.run(seconds / 2)
        wait_for("as many kills and visitors as this is about", lambda: c.faults or (
            c.counts["kills"] >= seconds // 4 and c.counts["whole"] > visitors and min(c.greeted) > 0), 60)
        after = c.calm()
    finally:
        c.stop()
    outcome(f"{c.counts}, server {before} KiB and descriptors, then {after}")
    assert c.faults == []
    assert instrumented() or after[0] < before[0] * 1.1 + 4096
    assert after[1] <= before[1] + 8 * clients
