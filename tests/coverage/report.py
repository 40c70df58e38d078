#!/usr/bin/env python3
"""Reads what gcov says in JSON, one object file a line; prints cases, and writes DIR/table and
DIR/missed: tests/coverage/report.py DIR

The same source is in many objects: a line or a branch counts if it ran in any of them. Of an ASSERT
only the branch on which it holds counts: the other one is the way to panic, which no test can take
without a bug in the code. Nothing else is left out. Inline functions of headers count, too."""
import glob
import json
import os
import re
import sys

GATED = ("src/base/", "src/core/", "include/")
LINES_MIN, BRANCHES_MIN, FILE_BRANCHES_MIN = 95, 90, 90  # percent: over all files, and of each


def die(text):
    print(text)
    sys.exit(1)


class File:
    def __init__(self, name):
        self.name = name
        self.lines = {}  # number: count
        self.branches = {}  # number: counts, in the order of gcov
        with open(name, encoding="utf-8") as f:
            self.text = [""] + f.read().split("\n")

    def add(self, number, count, branches):
        self.lines[number] = self.lines.get(number, 0) + count
        known = self.branches.setdefault(number, [0] * len(branches))
        if len(known) != len(branches):
            die(f"not ok coverage: {self.name}:{number} has {len(known)} branches in one "
                f"object and {len(branches)} in another")
        for i, n in enumerate(branches):
            known[i] += n

    def judge_asserts(self):
        for number, counts in self.branches.items():
            if not counts or not re.match(r"\s*ASSERT\(", self.text[number]):
                continue
            if len(counts) != 2:
                die(f"not ok coverage: {self.name}:{number}: an ASSERT of more than one "
                    "condition; which way is its failure?")
            self.branches[number] = [max(counts)]

    def line_counts(self):
        return sum(n > 0 for n in self.lines.values()), len(self.lines)

    def branch_counts(self):
        all_counts = [n for counts in self.branches.values() for n in counts]
        return sum(n > 0 for n in all_counts), len(all_counts)

    def missed(self):
        for number in sorted(self.lines):
            lost = [str(i) for i, n in enumerate(self.branches[number]) if n == 0]
            what = "never run" if self.lines[number] == 0 else "branch " + ", ".join(lost)
            if lost or self.lines[number] == 0:
                yield f"{self.name}:{number}: {what}: {self.text[number].strip()}"


def percent(pair):
    return 100.0 * pair[0] / pair[1] if pair[1] else 100.0


def row(name, lines, branches):
    cells = [f"{n:5d} of {of:5d} {percent((n, of)):6.1f} %" for n, of in (lines, branches)]
    return f"{name:28s}{cells[0]:>24s}{cells[1]:>24s}"


def read(stream):
    files = {}
    for text in stream:
        for f in json.loads(text)["files"]:
            name = os.path.normpath(f["file"])
            if not name.startswith(GATED):
                continue
            at = files.setdefault(name, File(name))
            for line in f["lines"]:
                at.add(line["line_number"], line["count"],
                       [b["count"] for b in line["branches"]])
    return files


def case(name, share, least):
    good = share >= least
    print(f"{'ok' if good else 'not ok'} coverage: {name}: {share:.1f} %"
          + ("" if good else f", and {least} % is the least (see build/coverage/missed)"))
    return good


def total_of(files):
    pairs = [(f.line_counts(), f.branch_counts()) for f in files]
    return [tuple(sum(p[i][k] for p in pairs) for k in (0, 1)) for i in (0, 1)]


def main():
    out = sys.argv[1]
    by_name = read(sys.stdin)
    for name in glob.glob("src/base/*.c") + glob.glob("src/core/*.c"):
        if name not in by_name:
            die(f"not ok coverage: nothing is known of {name}")
    files = sorted(by_name.values(), key=lambda f: f.name)
    for f in files:
        f.judge_asserts()
    lines, branches = total_of(files)
    with open(os.path.join(out, "table"), "w", encoding="utf-8") as table:
        print(f"{'':28s}{'lines':>24s}{'branches':>24s}", file=table)
        for f in files:
            print(row(f.name, f.line_counts(), f.branch_counts()), file=table)
        print(row("total", lines, branches), file=table)
    with open(os.path.join(out, "missed"), "w", encoding="utf-8") as missed:
        for f in files:
            missed.writelines(text + "\n" for text in f.missed())
    good = case("lines in all", percent(lines), LINES_MIN)
    good &= case("branches in all", percent(branches), BRANCHES_MIN)
    for f in files:
        good &= case(f"branches of {f.name}", percent(f.branch_counts()), FILE_BRANCHES_MIN)
    return 0 if good else 1


sys.exit(main())
