"""What is wanted of the figures: ratios to the best peer, to direct or to a named peer, and bounds.

A named peer that was not measured is replaced by what it reached on another machine ("otherwise"), which is said.
"""
from dataclasses import dataclass

from measure import ratio


@dataclass(frozen=True)
class Goal:
    case: str
    field: str
    sign: str             # ">=" or "<="
    bound: float
    of: str = ""          # "peer" (the best), "direct", the name of a peer; without it bound is the value itself
    otherwise: float = 0  # the bound itself when the named peer is not here


GOALS = [
    Goal("single/tput-1-up", "gbps", ">=", 1.1, "peer"), Goal("single/tput-1-up", "gbps", ">=", 0.65, "direct"),
    Goal("single/tput-8-up", "gbps", ">=", 1.0, "peer"), Goal("single/tput-8-up", "gbps", ">=", 0.65, "direct"),
    Goal("single/tput-1-up", "cpu_s_gb", "<=", 0.75, "realm", 0.29),
    Goal("single/tput-8-up", "cpu_s_gb", "<=", 0.75, "realm", 0.225),
    *(Goal(f"plain/tput-{n}-up", f, s, b, "peer") for n in (1, 8) for f, s, b in (("gbps", ">=", 1.7), ("cpu_s_gb", "<=", 0.6))),
    *(Goal(f"tls/tput-{n}-up", f, s, b, "peer") for n in (1, 8) for f, s, b in (("gbps", ">=", 1.1), ("cpu_s_gb", "<=", 0.9))),
    Goal("single/crr", "rate", ">=", 1.0, "peer"), Goal("single/crr", "p99_us", "<=", 1.0, "peer"),
    Goal("single/crr", "cpu_us", "<=", 70),
    Goal("plain/crr", "rate", ">=", 1.8, "peer"), Goal("tls/crr", "rate", ">=", 2.5, "peer"),
    Goal("single/rr-64", "rate", ">=", 1.0, "peer"), Goal("plain/rr-64", "rate", ">=", 1.5, "peer"),
    Goal("tls/rr-64", "rate", ">=", 1.5, "peer"),
    *(Goal(f"single/udp-{n}", f, s, b, o) for n in (64, 1400)
      for f, s, b, o in (("pps", ">=", 1.5, "peer"), ("cpu_us", "<=", 2.5, ""), ("damaged", "<=", 0, ""))),
    *(Goal(f"{s}/udp-{n}", "pps", ">=", 3.0, "peer") for s in ("plain", "tls") for n in (64, 1400)),
    Goal("single/mem", "idle_kb", "<=", 4096), Goal("single/mem", "session_4000_kb", "<=", 1),
    Goal("plain/mem", "session_4000_kb", "<=", 1), Goal("tls/mem", "session_4000_kb", "<=", 36),
    Goal("single/start", "together_ms", "<=", 5), Goal("plain/start", "together_ms", "<=", 100),
    Goal("tls/start", "together_ms", "<=", 100),
]


def judge(goal, ours, reference):
    """(words, met or None when it cannot be said). reference: the value of what the goal is relative to, or None."""
    sign = "≥" if goal.sign == ">=" else "≤"
    if goal.of and reference is None and goal.otherwise:
        words, value, bound = f"{sign} {goal.otherwise:g} ({goal.of} not here)", ours, goal.otherwise
    elif goal.of:
        names = {"peer": "best peer", "direct": "direct"}
        words, value, bound = f"{sign} {goal.bound:g} × {names.get(goal.of, goal.of)}", ratio(ours, reference), goal.bound
    else:
        words, value, bound = f"{sign} {goal.bound:g}", ours, goal.bound
    if value is None:
        return words, None
    return words, value >= bound if goal.sign == ">=" else value <= bound
