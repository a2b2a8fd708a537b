"""Arithmetic of the benchmark: figures from rounds, ratios, goals, what is read from programs and /proc, charts."""
import unittest
import xml.dom.minidom

import bench
import cases
import charts
import goals
import measure
import peers
import report


class Way:
    def __init__(self, name, reaches=True, scenarios=peers.SCENARIOS, udp=True):
        self.name, self.reaches, self.scenarios, self.udp = name, reaches, scenarios, udp


def results_of(rounds, peers_=("a", "b")):
    return {"cases": {"single/crr": {way: {"rounds": [{"rate": v} for v in values]} for way, values in rounds.items()}},
            "peers": list(peers_), "also": [], "missing": [], "versions": {},
            "machine": dict.fromkeys(("date", "commit", "cpu", "cores", "memory_gb", "kernel", "mode", "network", "load_before",
                                      "busy_before", "minutes", "rounds"), "x")}


class Arithmetic(unittest.TestCase):
    def test_ratio(self):
        self.assertEqual(measure.ratio(3, 2), 1.5)
        self.assertIsNone(measure.ratio(None, 2))
        self.assertIsNone(measure.ratio(3, None))
        self.assertIsNone(measure.ratio(3, 0))

    def test_aggregate(self):
        values = [3, None, 1, 2]
        self.assertEqual([measure.aggregate(values, how) for how in ("high", "low", "median", "sum")], [3, 1, 2, 6])
        self.assertIsNone(measure.aggregate([None], "high"))

    def test_spread(self):
        self.assertEqual(measure.spread([9, 10, 12]), 0.3)
        self.assertEqual(measure.spread([5]), 0)
        self.assertEqual(measure.spread([]), 0)

    def test_best_peer__is_of_peers_only_and_by_the_field(self):
        r = results_of({"nodepass": [9], "direct": [99], "a": [5, 7], "b": [6, 6], "c": []})
        self.assertEqual(report.best_peer(r, "single/crr", "rate"), ("a", 7))
        r["cases"]["single/crr"]["a"]["rounds"] = [{"p99_us": 4}, {"p99_us": 8}, {"p99_us": 5}]
        r["cases"]["single/crr"]["b"]["rounds"] = [{"p99_us": 6}]
        self.assertEqual(report.best_peer(r, "single/crr", "p99_us"), ("a", 5))

    def test_noisy__names_what_lies_apart(self):
        r = results_of({"nodepass": [100, 101], "a": [50, 100]})
        self.assertEqual([(case, way) for _, case, way, _ in report.noisy(r)], [("single/crr", "a")])

    def test_numbers_for_a_reader(self):
        self.assertEqual([report.number(v) for v in (None, 0, 12345.6, 123.4, 12.34, 1.234, 0.01234)],
                         ["–", "0", "12 346", "123", "12.3", "1.23", "0.012"])


class Goals(unittest.TestCase):
    def test_relative(self):
        goal = goals.Goal("single/crr", "rate", ">=", 1.8, "peer")
        self.assertEqual(goals.judge(goal, 180, 100), ("≥ 1.8 × best peer", True))
        self.assertFalse(goals.judge(goal, 179, 100)[1])
        self.assertIsNone(goals.judge(goal, 179, None)[1])
        self.assertIsNone(goals.judge(goal, None, 100)[1])

    def test_bound(self):
        goal = goals.Goal("single/crr", "cpu_us", "<=", 70)
        self.assertTrue(goals.judge(goal, 70, None)[1])
        self.assertFalse(goals.judge(goal, 71, None)[1])

    def test_named_peer_that_is_not_here(self):
        goal = goals.Goal("single/crr", "cpu_us", "<=", 0.5, "x", 40)
        self.assertFalse(goals.judge(goal, 45, 80)[1])
        self.assertEqual(goals.judge(goal, 39, None), ("≤ 40 (x not here)", True))

    def test_all_goals_are_of_figures_that_exist(self):
        for goal in goals.GOALS:
            self.assertIn(goal.case, cases.select([], False))
            self.assertIn(goal.field, report.fields_of(goal.case))


class Selection(unittest.TestCase):
    def test_select(self):
        self.assertEqual(cases.select(["tls/crr"], False), ["tls/crr"])
        self.assertEqual(cases.select(["crr"], False), ["single/crr", "plain/crr", "tls/crr"])
        self.assertEqual(cases.select(["plain/rr-*", "single/start"], False), ["single/start", "plain/rr-1", "plain/rr-64"])
        self.assertTrue(all(c.startswith("tls/") for c in cases.select(["tls"], False)))
        self.assertLess(len(cases.select([], True)), len(cases.select([], False)))
        with self.assertRaises(ValueError):
            cases.select(["crr", "nonsense"], False)

    def test_takes_part(self):
        self.assertTrue(cases.takes_part(Way("x"), "tls/udp-64"))
        self.assertFalse(cases.takes_part(Way("x", udp=False), "tls/udp-64"))
        self.assertFalse(cases.takes_part(Way("x", scenarios=("single",)), "tls/crr"))
        self.assertFalse(cases.takes_part(peers.Direct(), "tls/mem"))
        self.assertFalse(cases.takes_part(Way("x"), "tls/workers"))

    def test_plan__fits_its_time(self):
        class Args:
            cases, quick, rounds, seconds = [], True, None, None
        plan = bench.Plan(Args, [peers.Direct(), Way("nodepass", reaches=False), Way("a"), Way("b")])
        self.assertEqual(sum(w.name == "direct" for s in plan.steps for w in s.ways),
                         len({s.case.split("/")[1] for s in plan.steps} - {"mem", "start"}))
        self.assertLessEqual(plan.cost_s(0, plan.adapt(0, 0)), bench.QUICK_S * 1.01)
        before = plan.count
        plan.adapt(1, bench.QUICK_S)  # the time is over: what is left is done once
        self.assertLess(plan.count, before)
        self.assertTrue(all(s.rounds >= 1 for s in plan.steps))


class Reading(unittest.TestCase):
    def test_stat_fields__name_with_brackets(self):
        fields = measure.stat_fields("12 (a ) (b) S 1 2 3 4 5 6 7 8 9 10 77 88 5 6 7\n")
        self.assertEqual((fields[0], fields[1], fields[11], fields[12]), ("S", "1", "77", "88"))

    def test_memory_value(self):
        self.assertEqual(measure.memory_value("Rss: 12 kB\nVmRSS:\t  345 kB\n", "VmRSS"), 345)
        self.assertEqual(measure.memory_value("", "VmRSS"), 0)

    def test_cpu_ns__own_work_is_counted(self):
        me = [measure.os.getpid()]
        before, until = measure.cpu_ns(me), measure.time.process_time() + 0.05
        while measure.time.process_time() < until:
            pass
        self.assertGreater(measure.cpu_ns(me) - before, 40e6)

    def load(self, script):
        """A load that is a shell script."""
        load = measure.Load("/bin/sh")
        load.begin = lambda *args: measure.subprocess.Popen(["/bin/sh", "-c", script], stdout=-1, stderr=-1, text=True)
        return load

    def test_measured__lines_that_come_at_once(self):
        script = """printf '{"event":"warm"}\\n{"event":"over"}\\n{"rate":7}\\n'"""
        self.assertEqual(self.load(script).measured([], "crr", 1), ({"rate": 7}, 0))

    def test_measured__failures_are_said(self):
        for script, words in (("echo '{\"rate\":7}'", "warm"), ("echo no way >&2; exit 2", "no way"), ("exec sleep 9", "0.2 s")):
            with self.assertRaisesRegex(measure.Failed, words):
                self.load(script).measured([], "crr", 1, timeout=0.2)

    def test_wrk_rate(self):
        self.assertEqual(cases.wrk_rate("  Socket errors: connect 0, read 3, timeout 0\nRequests/sec:  123.45\n"), 123.45)
        self.assertIsNone(cases.wrk_rate("  Socket errors: connect 7, read 0, timeout 0\nRequests/sec: 9\n"))
        self.assertIsNone(cases.wrk_rate(""))

    def test_iperf_gbps(self):
        self.assertEqual(cases.iperf_gbps('{"end":{"sum_received":{"bits_per_second":2e9}}}'), 2)
        with self.assertRaises(measure.Failed):
            cases.iperf_gbps('{"error":"refused"}')

    def test_version_in(self):
        self.assertEqual(peers.version_in("HAProxy version 2.6.12-1+deb12u2 2025"), "2.6.12-1+deb12u2")
        self.assertEqual(peers.version_in("nginx version: nginx/1.22.1"), "1.22.1")
        self.assertEqual(peers.version_in("Built: 2026-11-26T12:46:47.06Z\nBuild Version:   0.5.0\n"), "0.5.0")
        self.assertEqual(peers.version_in("none"), "?")


class Output(unittest.TestCase):
    def test_fold(self):
        script = ("w 1 1.0: cpu-clock:\n\tff inner+0x1 (/bin/x)\n\tfe outer+0x2 (/bin/x)\n\n"
                  "w 1 1.1: cpu-clock:\n\tff inner+0x9 (/bin/x)\n\tfe outer+0x2 (/bin/x)\n\nw 1: cpu-clock:\n\tfe outer (/bin/x)\n")
        self.assertEqual(charts.fold(script), {("outer", "inner"): 2, ("outer",): 1})
        root = charts.tree_of(charts.fold(script))
        self.assertEqual((root[0], root[1]["outer"][0], root[1]["outer"][1]["inner"][0]), (3, 3, 2))

    def test_svg_is_xml(self):
        xml.dom.minidom.parseString(charts.flame("<t>", {("a<b>", "c&d"): 3}))
        xml.dom.minidom.parseString(charts.flame("t", {}))
        xml.dom.minidom.parseString(charts.bars("a & b", [("g", [("x", 1.0), ("<y>", 0.0)])], report.number))

    def test_markdown__has_ratios_goals_and_failures(self):
        r = results_of({"nodepass": [90], "direct": [100], "a": [60], "b": []})
        r["cases"]["single/crr"]["b"]["error"] = "it | broke"
        page = report.markdown(r, "")
        self.assertIn("| 90.0 | 60.0 (a) | 1.50 | 100 | 0.90 | ≥ 1 × best peer: met |", page)
        self.assertIn("not measured: it / broke", page)
        self.assertIn("1 of 1 goals", page)


if __name__ == "__main__":
    unittest.main()
