"""Results of a run: rounds become figures, figures become JSON, Markdown and charts.

Results: {"machine": …, "versions": {way: …}, "cases": {case: {way: {"rounds": [{field: value}], "error": text}}}}.
"""
import json
import os

import charts
from cases import MEASURES
from goals import GOALS, judge
from measure import aggregate, ratio, spread
from peers import SCENARIOS, TITLES

HERE = os.path.dirname(os.path.abspath(__file__))
NOISY = 0.3  # spread of the rounds from which a figure is called noisy
CHARTS = [
    ("throughput", "Throughput, Gbit/s", ("tput-1-up", "tput-8-up"), "gbps"),
    ("cpu-per-gb", "CPU seconds per GB, all ends (less is better)", ("tput-1-up", "tput-8-up"), "cpu_s_gb"),
    ("connections", "Connections a second (connect, request, reply, close)", ("crr",), "rate"),
    ("requests", "Requests a second, 64 connections", ("rr-64",), "rate"),
    ("datagrams", "Datagrams a second with less than 1 % lost", ("udp-64", "udp-1400"), "pps"),
    ("session-memory", "KB per idle session, all ends (less is better)", ("mem",), "session_1000_kb"),
]


def fields_of(case):
    return MEASURES[case.split("/")[1]].fields


def value(results, case, way, field):
    """The figure of a way, over the rounds; None when it was not measured."""
    rounds = results["cases"].get(case, {}).get(way, {}).get("rounds", [])
    return aggregate([r.get(field) for r in rounds], fields_of(case)[field].aggregate)


def direct_value(results, case, field):
    """The figure without any relay, which is measured in one of the scenarios for all."""
    for other in (f"{s}/{case.split('/')[1]}" for s in SCENARIOS):
        v = value(results, other, "direct", field)
        if v is not None:
            return v
    return None


def best_peer(results, case, field):
    """(name, value) of the peer with the best figure, or (None, None)."""
    found = [(value(results, case, way, field), way) for way in results["cases"].get(case, {}) if way in results["peers"]]
    found = [f for f in found if f[0] is not None]
    if not found:
        return None, None
    best = max(found) if fields_of(case)[field].good == "high" else min(found)
    return best[1], best[0]


def reference(results, goal):
    if goal.of == "peer":
        return best_peer(results, goal.case, goal.field)[1]
    if goal.of == "direct":
        return direct_value(results, goal.case, goal.field)
    if goal.of:
        return value(results, goal.case, goal.of, goal.field)
    return None


def verdicts(results, case, field):
    """[(words, met)] of the goals for a figure."""
    ours = value(results, case, "nodepass", field)
    return [judge(g, ours, reference(results, g)) for g in GOALS if g.case == case and g.field == field]


# ------------------------------------------------------------------ words

def number(v):
    """A figure for a reader: three digits that count, blanks between thousands."""
    if v is None:
        return "–"
    if v == 0:
        return "0"
    if abs(v) >= 1000:
        return f"{v:,.0f}".replace(",", " ")
    return f"{v:.0f}" if abs(v) >= 100 else f"{v:.1f}" if abs(v) >= 10 else f"{v:.2f}" if abs(v) >= 0.1 else f"{v:.3f}"


def times(v):
    return "–" if v is None else f"{v:.2f}"


def goal_cell(found):
    words = {True: "met", False: "**not met**", None: "not measured"}
    return "; ".join(f"{text}: {words[met]}" for text, met in found) or ""


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in rows])


def summary(results, scenario):
    """Ours against the best peer and direct, a row per figure."""
    rows = []
    for case in [c for c in results["cases"] if c.startswith(scenario + "/")]:
        title = MEASURES[case.split("/")[1]].title
        for name, field in fields_of(case).items():
            ours = value(results, case, "nodepass", name)
            peer, theirs = best_peer(results, case, name)
            direct = direct_value(results, case, name)
            if ours is None and theirs is None:
                continue
            cell = "; ".join([number(ours)] + [f"{way}: {number(value(results, case, way, name))}" for way in results["also"]
                                               if value(results, case, way, name) is not None])
            rows.append((title, field.unit, cell, f"{number(theirs)} ({peer})" if peer else "–", times(ratio(ours, theirs)),
                         number(direct), times(ratio(ours, direct)), goal_cell(verdicts(results, case, name))))
            title = "·"
    return table(("case", "figure", "NodePass", "best peer", "ratio", "direct", "ratio", "goal"), rows)


def details(results, scenario):
    """All ways, a table per case."""
    text = []
    for case in [c for c in results["cases"] if c.startswith(scenario + "/")]:
        fields = fields_of(case)
        rows = []
        for way, got in results["cases"][case].items():
            if got["rounds"]:
                rows.append([way] + [number(value(results, case, way, f)) for f in fields])
            if got.get("error"):
                rows.append([way, f"not measured: {got['error']}".replace("|", "/")] + [""] * (len(fields) - 1))
        text.append(f"#### {case}: {MEASURES[case.split('/')[1]].title}\n\n"
                    + table(["way"] + [f.unit for f in fields.values()], rows))
    return "\n\n".join(text)


def noisy(results):
    """[(spread, case, way, figure)] of throughputs, rates and CPU times whose rounds lie far apart."""
    found = []
    for case, ways in results["cases"].items():
        for way, got in ways.items():
            for field in fields_of(case):
                values = [r[field] for r in got["rounds"] if r.get(field) is not None]
                if len(values) > 1 and field in ("gbps", "rate", "pps", "cpu_s_gb", "cpu_us") and spread(values) > NOISY:
                    found.append((spread(values), case, way, fields_of(case)[field].unit))
    return sorted(found, reverse=True)


def noise_text(results):
    found = noisy(results)
    measured = sum(1 for ways in results["cases"].values() for got in ways.values() if len(got["rounds"]) > 1)
    if not measured:
        return "One round only: nothing can be said about noise."
    if not found:
        return f"No throughput, rate or CPU time had rounds further apart than {NOISY:.0%} of the median."
    rows = [(case, way, unit, f"{s:.0%}") for s, case, way, unit in found[:20]]
    more = f"\n\n{len(found) - 20} more are in results.json." if len(found) > 20 else ""
    return (f"Rounds further apart than {NOISY:.0%} of the median:\n\n"
            + table(("case", "way", "figure", "(largest − smallest) / median"), rows) + more)


def markdown(results, chart_folder):
    """The whole page. chart_folder: where the charts are, relative to the page; "" = no charts."""
    m = results["machine"]
    judged = [judge(g, value(results, g.case, "nodepass", g.field), reference(results, g))[1]
              for g in GOALS if g.case in results["cases"]]
    met, known = sum(1 for v in judged if v), sum(1 for v in judged if v is not None)
    parts = [
        "# Benchmarks",
        "Made by `./dev bench`; do not edit. Everything runs on one machine, over loopback, and shares its cores: the "
        "figures compare ways of the same bytes, they say nothing about a network. CPU is that of all processes of a way, "
        "both ends. The ways take turns in each round; throughput and rates are those of the best round, CPU, latency and "
        "memory the median. How to repeat it: `./dev bench`, shorter `./dev bench --quick`, one case `./dev bench single/crr`.",
        table(("", ""), [("date", m["date"]), ("commit", m["commit"]), ("machine", f"{m['cpu']}, {m['cores']} cores, {m['memory_gb']} GB"),
                         ("kernel", m["kernel"]), ("run", f"{m['mode']}, {m['minutes']} minutes, up to {m['rounds']} rounds"),
                         ("network", m["network"]),
                         ("load of the machine", f"{m['load_before']} before, {m['busy_before']} of its CPU time was used by others"),
                         ("versions", ", ".join(f"{k} {v}" for k, v in results["versions"].items() if k != "direct")),
                         ("left out, as the machine was too busy", ", ".join(m.get("left_out", [])) or "–"),
                         ("not here", ", ".join(results["missing"]) or "–")]),
        f"{met} of {known} goals that could be judged are met.",
    ]
    if chart_folder:
        parts += ["## Charts"] + [f"![{title}]({chart_folder}/{name}.svg)" for name, title, ms, _ in CHARTS
                                  if any(c.split("/")[1] in ms for c in results["cases"])]
    present = [s for s in SCENARIOS if any(c.startswith(s + "/") for c in results["cases"])]
    for s in present:
        parts += [f"## {TITLES[s][0].upper()}{TITLES[s][1:]}", summary(results, s)]
    parts += ["## What was noisy", noise_text(results)]
    with open(os.path.join(HERE, "limits.md"), encoding="utf-8") as f:
        parts += ["## What limits", f.read().strip()]
    parts += ["## All figures"]
    for s in present:
        parts += [f"### {TITLES[s][0].upper()}{TITLES[s][1:]}", details(results, s)]
    return "\n\n".join(parts) + "\n"


def chart(results, title, measures, field):
    groups = []
    for s in SCENARIOS:
        for name in measures:
            case = f"{s}/{name}"
            bars = [(way, value(results, case, way, field)) for way in results["cases"].get(case, {})]
            bars = [b for b in bars if b[1] is not None]
            if bars:
                good = fields_of(case)[field].good
                bars.sort(key=lambda b: b[1], reverse=good == "high")
                groups.append((f"{TITLES[s]}: {MEASURES[name].title}", bars))
    return charts.bars(title, groups, number) if groups else None


def write_all(results, folder, page, chart_folder):
    """Writes page (a path), results.json and charts into the folder. Returns the paths."""
    os.makedirs(folder, exist_ok=True)
    written = []
    for name, title, measures, field in CHARTS:
        svg = chart(results, title, measures, field)
        if svg:
            written.append(_write(os.path.join(folder, name + ".svg"), svg))
    written.append(_write(os.path.join(folder, "results.json"), json.dumps(rounded(results), indent=1, ensure_ascii=False) + "\n"))
    written.append(_write(page, markdown(results, chart_folder if len(written) > 1 else "")))
    return written


def rounded(data):
    if isinstance(data, float):
        return float(f"{data:.4g}")
    if isinstance(data, dict):
        return {k: rounded(v) for k, v in data.items()}
    return [rounded(v) for v in data] if isinstance(data, list) else data


def _write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def line(case, figures):
    """A round in one line, for the progress."""
    return ", ".join(f"{number(figures[n])} {f.unit}" for n, f in fields_of(case).items() if figures.get(n) is not None)


def terminal(results):
    """The short table at the end of a run."""
    out = []
    for case in results["cases"]:
        for name, field in fields_of(case).items():
            ours = value(results, case, "nodepass", name)
            peer, theirs = best_peer(results, case, name)
            direct = direct_value(results, case, name)
            others = [f"{w} {number(value(results, case, w, name))} ({times(ratio(ours, value(results, case, w, name)))})"
                      for w in results["cases"][case] if w in results["also"]]
            if ours is None and theirs is None:
                continue
            out.append(f"{case:<18} {number(ours):>9} {field.unit:<26} "
                       + "  ".join(([f"{peer} {number(theirs)} ({times(ratio(ours, theirs))})"] if peer else [])
                                   + ([f"direct {number(direct)} ({times(ratio(ours, direct))})"] if direct else []) + others
                                   + [f"[{text}: {'met' if met else 'not met' if met is False else '?'}]"
                                      for text, met in verdicts(results, case, name)]))
    return "\n".join(out)
