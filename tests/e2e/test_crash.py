"""The crash test in short, and that its judge finds what it is there to find."""
import os
import re
import subprocess
import sys

import pytest

from np_harness import BIN, ROOT, binary_missing
from np_net import SLACK

sys.path.insert(0, os.path.join(ROOT, "tests", "crash"))

import ledger as books  # noqa: E402


def facts(alias, **kw):
    return {"alias": alias, "url": f"client://127.0.0.1:1/127.0.0.1:2?n={alias}", "restart": True,
            "desired": "running", "peer": "", "tags": {}, **kw}


@pytest.fixture
def kept():
    """Two instances that a client knows well, one that it may have changed, one it may have removed or made."""
    book = books.Ledger()
    for name in ("a", "b", "open", "leaving"):
        book.answered(name, facts(name))
    book.unanswered("open", facts("open.2", restart=False))
    book.unanswered("leaving", books.GONE)
    book.unanswered("coming", facts("coming"))
    return book


def rows(*all):
    return [(f"id-{i}", x) for i, x in enumerate(all)]


@pytest.mark.parametrize("more", [(facts("open"),), (facts("open.2", restart=False), facts("leaving")),
                                  (facts("open"), facts("coming"))])
def test_judge__what_may_be__accepted(kept, more):
    verdict, found = books.judge([kept], rows(facts("a"), facts("b"), *more), "x")
    assert verdict, str(verdict)
    kept.pin(found)
    assert kept.may.keys() == {books.serial_of(x["alias"]) for x in (facts("a"), facts("b"), *more)}
    assert all(len(m) == 1 for m in kept.may.values())


@pytest.mark.parametrize("there,kind", [
    ((facts("a"),), "lost"),
    ((facts("a"), facts("b", tags={"k": "v"})), "lost"),
    ((facts("a"), facts("b", desired="stopped")), "lost"),
    ((facts("a"), facts("b"), facts("stranger")), "ghost"),
    ((facts("a"), facts("b"), facts("b.1")), "duplicate")])
def test_judge__what_may_not_be__named(kept, there, kind):
    verdict, _ = books.judge([kept], rows(*there, facts("open")), "x")
    assert set(verdict.of) >= {kind} and not verdict, str(verdict)


def test_judge__neither_old_nor_new__lost(kept):
    verdict, _ = books.judge([kept], rows(facts("a"), facts("b"), facts("open.2", restart=True)), "x")
    assert "restart" in str(verdict) or "alias" in str(verdict)
    assert set(verdict.of) == {"lost"}


def test_judge__both_planes_new__boot_rule_or_as_before(kept):
    kept.answered("a", facts("a", restart=False))
    kept.booted()
    for desired in ("running", "stopped"):
        there = (facts("a", restart=False, desired=desired), facts("b"), facts("open"))
        assert books.judge([kept], rows(*there), "x")[0]
    assert not books.judge([kept], rows(facts("a"), facts("b", desired="stopped"), facts("open")), "x")[0]


def test_judge_sets__each_way():
    verdict = books.judge_sets([1, 2, 3], [1, 2, 2, 4], "socket", "x")
    assert {k: len(v) for k, v in verdict.of.items()} == {"lost": 1, "ghost": 1, "duplicate": 1}
    assert books.judge_sets([1, 2], [2, 1], "socket", "x")


@pytest.mark.slow
@pytest.mark.timeout(55 + 60 * SLACK)
def test_short_crash_test():
    if binary_missing():
        pytest.fail(binary_missing(), pytrace=False)
    r = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "crash", "crash.py"), "6", "--seed", "4",
                        "--listeners", "10", "--writers", "2"], capture_output=True, text=True,
                       env={**os.environ, "NODEPASS_BIN": BIN, "NP_TEST_SLACK": str(max(SLACK, 2))})
    assert r.returncode == 0, r.stdout[-3000:] + r.stderr[-3000:]
    number = lambda name: int(re.search(rf"^{name} +(\d+)$", r.stdout, re.M)[1])
    assert number("kills of the control plane") + number("kills of the data plane") >= 6
    assert number("answered changes") > 50 and number("events read") > 50
    assert number("bytes of checked sessions") > 10000 and number("short visitors served") > 5
    assert r.stdout.rstrip().endswith("\n0 violations")
