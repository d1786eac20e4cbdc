"""Each file of the pure folders is fully covered, branches too, by its own tests alone.

Reads what `./do test` has measured (one context per test), so it costs no second run: for
policy/x.py it counts only what ran under tests/policy/test_x.py or tests/policy/test_x_….py, and
what ran at import. `python -m tests.checks.own_coverage policy/x y` looks at these only.
The idea is websockets' maxi_cov.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from coverage import Coverage

from tests.checks.tree import ROOT, place

PACKAGE = ROOT / "orchestrator"
#: classes of a sentence and a number; whoever raises them tests them
_WITHOUT_OWN_TESTS = {"errors"}


def pure_files() -> dict[str, Path]:
    """Name, as policy/pacer, and file: what import-linter keeps pure (pyproject.toml)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {one["id"]: one for one in project["tool"]["importlinter"]["contracts"]}
    found = {}
    for module in contracts["pure"]["source_modules"]:
        path = ROOT.joinpath(*module.split("."))
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]:
            name = file.relative_to(PACKAGE).with_suffix("").as_posix()
            if file.stem != "__init__" and name not in _WITHOUT_OWN_TESTS:
                found[name] = file
    return found


def test_files() -> list[str]:
    """The own tests of all pure files."""
    found = []
    for name in pure_files():
        folder, _, stem = name.rpartition("/")
        place_of_tests = ROOT / "tests" / folder
        own = [place_of_tests / f"test_{stem}.py", *place_of_tests.glob(f"test_{stem}_*.py")]
        found += [place(path) for path in own if path.exists()]
    return sorted(set(found))


def own_tests(name: str) -> str:
    """A pattern of the contexts that count for a file."""
    folder, _, stem = name.rpartition("/")
    return rf"^tests/{folder + '/' if folder else ''}test_{re.escape(stem)}(_\w+)?\.py::"


def _measured(name: str, source: Path, coverage: Coverage) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        outfile = Path(folder, "coverage.json")
        contexts = [own_tests(name), "^$"]  # "" is what ran at import
        coverage.json_report(morfs=[str(source)], contexts=contexts, outfile=str(outfile))
        measured: dict[str, Any] = json.loads(outfile.read_text())["files"]
    return next(iter(measured.values()))


def problems(names: Collection[str] = ()) -> list[str]:
    """Every pure file that its own tests leave uncovered, with lines and branches."""
    coverage = Coverage(config_file=str(ROOT / "pyproject.toml"), messages=False)
    coverage.load()
    found = []
    for name, source in pure_files().items():
        if names and name not in names:
            continue
        result = _measured(name, source, coverage)
        lines = result["missing_lines"]
        branches = [f"{start}->{end}" for start, end in result["missing_branches"]]
        if lines or branches:
            missing = ", ".join([*map(str, lines), *branches][:12])
            found.append(f"{name}.py: its own tests leave uncovered: {missing}")
    return found


def main(names: list[str]) -> int:
    """Say each problem on a line, or with --tests which tests count; exit 1 if there is one."""
    if names == ["--tests"]:
        print(*test_files(), sep="\n")
        return 0
    found = problems(names)
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print("own coverage: every pure file is fully covered by its own tests")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
