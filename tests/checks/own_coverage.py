"""Each file of core is fully covered, branches too, by its own tests alone.

Reads what `./do test` has measured (one context per test), so it costs no second run: for
core/x.py it counts only what ran under tests/core/test_x.py or tests/core/test_x_….py, and what
ran at import. `python -m tests.checks.own_coverage x y` looks at x and y only.
The idea is websockets' maxi_cov.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coverage import Coverage

from tests.checks.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Collection

CORE = ROOT / "orchestrator" / "core"


def own_tests(name: str) -> str:
    """A pattern of the contexts that count for core/`name`.py."""
    return rf"^tests/core/test_{re.escape(name)}(_\w+)?\.py::"


def _measured(source: Path, coverage: Coverage) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        outfile = Path(folder, "coverage.json")
        contexts = [own_tests(source.stem), "^$"]  # "" is what ran at import
        coverage.json_report(morfs=[str(source)], contexts=contexts, outfile=str(outfile))
        measured: dict[str, Any] = json.loads(outfile.read_text())["files"]
    return next(iter(measured.values()))


def problems(names: Collection[str] = ()) -> list[str]:
    """Every core file that its own tests leave uncovered, with lines and branches."""
    coverage = Coverage(config_file=str(ROOT / "pyproject.toml"), messages=False)
    coverage.load()
    found = []
    for source in sorted(CORE.rglob("*.py")):
        if source.stem == "__init__" or (names and source.stem not in names):
            continue
        result = _measured(source, coverage)
        lines = result["missing_lines"]
        branches = [f"{start}->{end}" for start, end in result["missing_branches"]]
        if lines or branches:
            missing = ", ".join([*map(str, lines), *branches][:12])
            found.append(f"core/{source.name}: its own tests leave uncovered: {missing}")
    return found


def main(names: list[str]) -> int:
    """Say each problem on a line; exit 1 if there is one."""
    found = problems(names)
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print("own coverage: every file of core is fully covered by its own tests")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
