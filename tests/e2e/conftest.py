"""Fixtures: one bench per test (addresses, folder, processes), one set of certificates per worker."""
import itertools
import os
import re
import resource

import pytest

import np_harness

pytest_plugins = ("np_master", "np_names")

# Net 127.A.B.0/24 per test: A from the run and the worker, B counted.
_worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
_run = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_TESTRUNUID", ""))[:6] or os.getpid())
_nets = (f"127.{20 + (_run * 8 + _worker) % 200}.{n % 254}" for n in itertools.count(1))

resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


@pytest.fixture(scope="session")
def certs(tmp_path_factory):
    return np_harness.Certs(tmp_path_factory.mktemp("certs"))


@pytest.fixture
def bench(request, tmp_path, certs):
    missing = np_harness.binary_missing()
    if missing:
        pytest.fail(missing, pytrace=False)
    b = np_harness.Bench(tmp_path, certs, next(_nets))
    yield b
    trouble = b.close()
    failed = trouble or getattr(request.node, "call_failed", True)
    for n in b.nodes if failed else ():
        request.node.add_report_section("teardown", n.name, " ".join(n.args) + "\n" + n.log()[-4000:])
    if trouble:
        pytest.fail("\n".join(trouble), pytrace=False)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if call.when == "call":
        item.call_failed = report.failed
