#!/usr/bin/python3
"""The tables of README.md and of the manual page, against the program's own (`nodepass --markdown`).

    tables.py <program>            says what differs, exit status 1 when something does
    tables.py --write <program>    brings both files up to date

A table stands between two marker lines that name it. There is no second list of parameters: what this script
writes comes from common/tbl.
"""
import os
import re
import subprocess
import sys
import textwrap

README, MANUAL = "README.md", "packaging/nodepass.1"


def blocks(text, begin, end):
    """name -> text between its markers"""
    return dict(re.findall(rf"{begin}\n(.*?){end}", text, re.S))


def rows(table):
    """The cells of a Markdown table without its two head lines, code marks removed."""
    for line in table.splitlines()[2:]:
        yield [c.strip().replace("`", "").replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]


def mdoc(text):
    """Text for mdoc(7) in short lines; nothing in it is taken for a request or an escape."""
    text = text.replace("\\", r"\e").replace("–", r"\(en").replace("…", "...").replace("×", "x")
    lines = textwrap.wrap(text, 76, break_long_words=False, break_on_hyphens=False)
    return "\n".join(re.sub(r"^([.'])", r"\\&\1", x) for x in lines)


def manual_table(name, table):
    head = [c.strip() for c in table.splitlines()[0].split("|")[1:-1]]
    out = [".Bl -tag -width Ds"]
    for cells in rows(table):
        row = dict(zip(head, cells))
        out.append(".It " + ("Cm " if name == "parameters" else "Ev ") + mdoc(row.pop(head[0])))
        meaning = row.pop(head[-1])
        facts = "; ".join(f"{k}: {v}" for k, v in row.items() if v not in ("", "–", "-"))
        out.append(mdoc(meaning))
        if facts:
            out.append(mdoc(f"({facts})"))
    out.append(".El")
    return "\n".join(out) + "\n"


def main(argv):
    write = argv[1:2] == ["--write"]
    if len(argv) != 2 + write:
        sys.exit(__doc__)
    program = os.path.abspath(argv[-1])
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    text = subprocess.run([program, "--markdown"], check=True, capture_output=True, text=True).stdout
    tables = blocks(text, r"<!-- table: (\w+) -->", r"<!-- end -->")
    if sorted(tables) != ["environment", "parameters"] or any(t.count("\n") < 5 for t in tables.values()):
        sys.exit(f"{program} --markdown prints no usable tables")
    bad = 0
    for path, begin, end, render in (
            (README, "<!-- table: {} -->\n", "<!-- end -->", lambda n, t: t),
            (MANUAL, '.\\" table: {}\n', '.\\" end', manual_table)):
        with open(path, encoding="utf-8") as f:
            old = new = f.read()
        for name, table in tables.items():
            mark = begin.format(name)
            i = new.find(mark)
            j = new.find(end, i)
            if i < 0 or j < 0:
                sys.exit(f"{path}: the markers of the table '{name}' are missing")
            new = new[:i + len(mark)] + render(name, table) + new[j:]
        if new != old and write:
            with open(path, "w", encoding="utf-8") as f:
                f.write(new)
            print(f"{path}: written")
        elif new != old:
            bad = 1
            for a, b in zip(old.splitlines() + [""], new.splitlines()):
                if a != b:
                    print(f"{path}: has\n  {a}\nthe program says\n  {b}")
                    break
            print(f"{path}: out of date; tests/lint/tables.py --write build/bin/nodepass writes it anew")
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv))
