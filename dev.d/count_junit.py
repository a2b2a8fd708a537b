"""count_junit.py FILE: "passed failed skipped" of a JUnit file that pytest wrote; all 0 when there is none."""
import sys, xml.etree.ElementTree as et
try:
    worst = {}  # a test whose clean-up fails, too, stands there twice
    for case in et.parse(sys.argv[1]).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        rank = 2 if kinds & {"failure", "error"} else 1 if "skipped" in kinds else 0
        key = case.get("classname"), case.get("name")
        worst[key] = max(rank, worst.get(key, 0))
    print(*(sum(r == rank for r in worst.values()) for rank in (0, 2, 1)))
except (OSError, et.ParseError):
    print(0, 0, 0)
