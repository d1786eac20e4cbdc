"""tests/faults.md: each known fault, what we promise about it, and the tests that show it.

The promises (and the reasons of rows without a test) are kept by hand in fault_promises.txt; the
tests are found by their marks: `[S15]` or `[S15, N18]` in the docstring of a test function.
`python -m tests.checks.fault_table --write` makes the table; without it, only checks.

Rule 1: every row of ROWS has a promise, and stands in the table.
Rule 2: every row has a test, except P, X and Z rows that give a reason.
Rule 3: every test named in the table exists and carries the mark.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from tests.checks.tree import ROOT, place, python_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: family -> its highest number
FAMILIES = {"N": 30, "S": 46, "P": 36, "I": 39, "C": 14, "X": 7, "Z": 25}
ROWS = tuple(f"{family}{n:02}" for family, most in FAMILIES.items() for n in range(1, most + 1))
#: rows that may need root or a special kernel
MAY_GIVE_A_REASON = frozenset("PXZ")

TABLE = "tests/faults.md"
PROMISES = "tests/checks/fault_promises.txt"

_ROW = re.compile(r"([NSPICXZ]\d\d) (! )?(\S.*)")
_MARK = re.compile(r"\[([NSPICXZ]\d\d(?:[,\s]+[NSPICXZ]\d\d)*)\]")
_TABLE_ROW = re.compile(r"\| ([NSPICXZ]\d\d) \| (.+?) \| (.+?) \|")
_TEST = re.compile(r"`([^`]+::[^`]+)`")
_REASON = "not tested here: "

_HEAD = """\
# Faults, promises, tests

Made by `python -m tests.checks.fault_table --write`; checked by `./do lint`. The promises are
kept in [fault_promises.txt](checks/fault_promises.txt); a test claims a row by its docstring.

| id | promise | test |
|---|---|---|
"""


def read_promises(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Read the hand-kept file: promise by row, and reason by row without a test."""
    promises: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        row = _ROW.fullmatch(line)
        if row is None:
            msg = f"{PROMISES}: {line!r} is neither `ID promise` nor `ID ! reason`"
            raise ValueError(msg)
        (reasons if row[2] else promises)[row[1]] = row[3]
    return promises, reasons


def _rows_marked(docstring: str) -> list[str]:
    return [row for mark in _MARK.findall(docstring) for row in re.findall(r"\w+", mark)]


def _test_functions(path: Path, root: Path) -> Iterator[tuple[str, str]]:
    """The name (file::Class::test) and docstring of every test in a file."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{prefix}::{node.name}")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
                "test"
            ):
                yield f"{prefix}::{node.name}", ast.get_docstring(node) or ""

    yield from walk(ast.parse(path.read_text()).body, place(path, root))


def read_marks(root: Path = ROOT) -> dict[str, list[str]]:
    """Which tests claim which row, in the order of the files."""
    claims: dict[str, list[str]] = defaultdict(list)
    for path in python_files("tests", root):
        if path.name.startswith("test_"):
            for name, docstring in _test_functions(path, root):
                for row in dict.fromkeys(_rows_marked(docstring)):
                    claims[row].append(name)
    return dict(claims)


def render(root: Path = ROOT) -> str:
    """The table as it should stand."""
    promises, reasons = read_promises((root / PROMISES).read_text())
    claims = read_marks(root)
    lines = [_HEAD]
    for row in ROWS:
        tests = "<br>".join(f"`{name}`" for name in claims.get(row, ()))
        shown = tests or (f"{_REASON}{reasons[row]}" if row in reasons else "**missing**")
        lines.append(f"| {row} | {promises.get(row, '?')} | {shown} |\n")
    return "".join(lines)


def problems(root: Path = ROOT) -> list[str]:
    """Every broken rule, as a sentence."""
    promises, reasons = read_promises((root / PROMISES).read_text())
    claims = read_marks(root)
    table = {row: shown for row, _, shown in _TABLE_ROW.findall((root / TABLE).read_text())}
    found = [f"{PROMISES}: {row} has no promise" for row in ROWS if row not in promises]
    found += [f"{claims[row][0]}: claims {row}, which is no row" for row in claims.keys() - {*ROWS}]
    for row in ROWS:
        named = _TEST.findall(table.get(row, ""))
        found += [
            f"{TABLE}: {row} names {name}, which does not exist or does not carry [{row}]"
            for name in named
            if name not in claims.get(row, ())
        ]
        if row not in table:
            found.append(f"{TABLE}: {row} is missing; run the --write")
        elif claims.get(row) and row in reasons:
            found.append(f"{PROMISES}: {row} has a test now; drop its reason")
        elif claims.get(row) and not named:
            found.append(f"{TABLE}: {row} has a test that it does not name; run the --write")
        elif not claims.get(row) and row[0] not in MAY_GIVE_A_REASON:
            found.append(f"{TABLE}: {row} has no test")
        elif not claims.get(row) and not table[row].startswith(_REASON):
            found.append(f"{TABLE}: {row} has neither a test nor a reason")
    if not found and (root / TABLE).read_text() != render(root):
        found.append(f"{TABLE}: differs from the tests; run the --write")
    return found


def main(arguments: list[str]) -> int:
    """Check, after writing if asked to."""
    if "--write" in arguments:
        (ROOT / TABLE).write_text(render())
    found = problems()
    for problem in found:
        print(problem, file=sys.stderr)
    rows = len(ROWS)
    print(f"{TABLE}: {rows} rows, {sum(row in ROWS for row in read_marks())} with tests")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
