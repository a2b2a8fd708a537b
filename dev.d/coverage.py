"""coverage.py SUMMARY: of gcovr's JSON summary the lines by folder; fails below a goal."""
import collections, json, sys
goals, sums = {"common": 90, "dataplane": 80}, collections.Counter()
files = json.load(open(sys.argv[1]))["files"]
for f in files:
    parts = f["filename"].split("/")
    for folder in {parts[0], "/".join(parts[:-1])}:
        sums[folder, "all"] += f["line_total"]
        sums[folder, "hit"] += f["line_covered"]
print("%-20s %7s %7s %7s" % ("folder", "lines", "reached", ""))
low = []
for folder in sorted({k[0] for k in sums}):
    total, hit = sums[folder, "all"], sums[folder, "hit"]
    goal, share = goals.get(folder), 100 * hit / max(1, total)
    print("%-20s %7d %7d %6.1f%%%s" % (folder, total, hit, share, "  goal %d %%" % goal if goal else ""))
    if goal and share < goal:
        low.append(folder)
print("files with the most lines that are not reached:")
for f in sorted(files, key=lambda f: f["line_covered"] - f["line_total"])[:12]:
    print("  %-40s %4d of %4d" % (f["filename"], f["line_total"] - f["line_covered"], f["line_total"]))
sys.exit("below its goal: " + ", ".join(low) if low else 0)
