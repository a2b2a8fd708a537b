#!/usr/bin/python3
"""Every test that docs/SECURITY.md names exists: `file.py::beginning of a test's name`, `test_x.c`, `fuzz_x.c`.

Prints one line per name that leads nowhere and exits 1 when there is one.
"""
import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NAME = re.compile(r"`((?:test|fuzz)_\w+\.(?:py|c))(?:::(test_\w+))?`")


def leads_somewhere(file, test):
    found = glob.glob(os.path.join(ROOT, "tests", "**", file), recursive=True)
    if not found or not test:
        return bool(found)
    with open(found[0], encoding="utf-8") as f:
        return re.search(rf"^def {test}\w*\(", f.read(), re.M) is not None


def main():
    with open(os.path.join(ROOT, "docs", "SECURITY.md"), encoding="utf-8") as f:
        text = f.read()
    names = NAME.findall(text)
    if len(names) < 40:
        print("docs/SECURITY.md: hardly any test is named; has the form changed?")
        return 1
    lost = [n for n in names if not leads_somewhere(*n)]
    for file, test in lost:
        print(f"docs/SECURITY.md: there is no test {file}{'::' + test if test else ''}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
