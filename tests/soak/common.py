"""What the long-running scripts share: the suite's harness, a bench outside of pytest, tables."""
import os
import resource
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

import np_harness  # noqa: E402


def open_bench(folder=None):
    """(bench, folder). Ends with a message when the program is missing."""
    missing = np_harness.binary_missing()
    if missing:
        sys.exit(missing)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = os.path.abspath(folder or tempfile.mkdtemp(prefix="nodepass-soak-"))
    os.makedirs(folder, exist_ok=True)
    certs = np_harness.Certs(os.path.join(folder, "certs"))
    net = f"127.{230 + os.getpid() % 20}.{os.getpid() // 20 % 254}"
    return np_harness.Bench(folder, certs, net), folder


def table(head, rows):
    """Prints rows of anything in columns; numbers to the right."""
    cells = [[str(x) for x in r] for r in [head, *rows]]
    wide = [max(len(r[i]) for r in cells) for i in range(len(head))]
    for n, r in enumerate(cells):
        print("  ".join(x.rjust(w) if n and x.replace(".", "").isdigit() else x.ljust(w)
                        for x, w in zip(r, wide)).rstrip())
    sys.stdout.flush()
