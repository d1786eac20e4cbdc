"""`python -m tests.acceptance [name …]`: play the scenarios against the real command.

Exit codes: 0 all passed, 1 something failed, 2 an unknown name or a broken instrument.
The command is this interpreter's `-m orchestrator`, or $ORCHESTRATOR.
"""

import argparse
import gc
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path

from tests.acceptance import (
    scenarios_answers,
    scenarios_ceiling,
    scenarios_emergency,
    scenarios_evidence,
    scenarios_kills,
    scenarios_pause,
    scenarios_silence,
    selfcheck,
)
from tests.acceptance.case import Case, tell
from tests.acceptance.child import ROOT, command
from tests.acceptance.registry import SCENARIOS, Scenario

LOADED = (
    scenarios_answers,
    scenarios_pause,
    scenarios_emergency,
    scenarios_evidence,
    scenarios_kills,
    scenarios_ceiling,
    scenarios_silence,
)


def chosen(names: list[str], issue: int | None, *, short: bool = False) -> list[Scenario]:
    """The scenarios of these names, or patterns as a shell has them."""
    if not names:
        every = [one for one in SCENARIOS.values() if issue in {None, one.issue}]
        return [one for one in every if one.short or not short]
    found = []
    for name in names:
        match = [one for key, one in SCENARIOS.items() if fnmatchcase(key, name)]
        if not match:
            raise SystemExit(f"no scenario {name!r}; --list shows them")
        found += match
    return found


def play(one: Scenario, home: Path, *, terse: bool) -> bool:
    """One scenario; its findings on stdout."""
    case = Case(one.name, home / one.name)
    began_s = time.monotonic()
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection would show up as a gap in arrival times
    try:
        one.act(case)
    except Exception:  # noqa: BLE001
        case.check("the scenario came to its end", False, traceback.format_exc()[-600:])  # noqa: FBT003
    finally:
        gc.enable()
        case.close()
    passed = case.passed
    failures = sum(not ok for ok, _, _ in case.found)
    tell(f"{'PASS' if passed else 'FAIL'} {one.name} (issue {one.issue}): {one.promise}")
    tell(f"     {len(case.found)} checks, {failures} failed, {time.monotonic() - began_s:.1f} s")
    for ok, name, evidence in case.found:
        if not ok or not terse:
            tell(f"     {'ok  ' if ok else 'FAIL'} {name}{': ' + evidence if evidence else ''}")
    return passed


def side_by_side(scenarios: list[Scenario], jobs: int) -> int:
    """Scenarios wait more than they work: several at a time, each in a process of its own."""

    def alone(one: Scenario) -> tuple[str, bool]:
        words = [sys.executable, "-m", "tests.acceptance", one.name, "--terse"]
        ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
        own = [line for line in ended.stdout.splitlines() if line[:4] in {"PASS", "FAIL", "    "}]
        tell("\n".join(own) + ended.stderr)
        return one.name, ended.returncode == 0

    with ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(alone, scenarios))
    failed = [name for name, passed in results if not passed]
    tell(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    if failed:
        tell("failed: " + " ".join(failed))
    return 1 if failed else 0


def dry() -> int:
    """Check the instrument alone: no product is started."""
    failed: list[str] = []

    def check(name: str, ok: object, evidence: object = "") -> None:
        tell(f"{'ok  ' if ok else 'FAIL'} {name}{': ' + str(evidence)[:160] if evidence else ''}")
        if not ok:
            failed.append(name)

    selfcheck.instrument(check)
    tell(
        f"{len(SCENARIOS)} scenarios; instrument "
        f"{'BROKEN: ' + ', '.join(failed) if failed else 'sound'}"
    )
    return 2 if failed else 0


def main() -> int:
    """Choose, play, count."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help="scenario, or a beginning and *")
    parser.add_argument("--list", action="store_true", help="names and promises")
    parser.add_argument("--dry", action="store_true", help="check the instrument alone")
    parser.add_argument("--issue", type=int, help="only the scenarios of this issue")
    parser.add_argument("--short", action="store_true", help="one quick scenario of each kind")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep every run's files here")
    parser.add_argument("--terse", action="store_true", help="show failed checks only")
    parser.add_argument("--jobs", type=int, default=1, help="so many at a time, each on its own")
    asked = parser.parse_args()
    if asked.list:
        for one in chosen(asked.names, asked.issue, short=asked.short):
            tell(f"{one.issue:2}  {one.name:24} {one.promise}{' (short)' if one.short else ''}")
        return 0
    if asked.dry:
        return dry()
    if "ORCHESTRATOR" not in os.environ and not (
        (ROOT / "orchestrator" / "__main__.py").is_file()
        or importlib.util.find_spec("orchestrator")
    ):
        raise SystemExit(f"nothing to test: {shlex.join(command())} does not exist")
    if asked.jobs > 1:
        return side_by_side(chosen(asked.names, asked.issue, short=asked.short), asked.jobs)
    home = asked.keep or Path(tempfile.mkdtemp(prefix="acceptance-"))
    home.mkdir(parents=True, exist_ok=True)
    results: dict[str, bool] = {}
    try:
        for one in chosen(asked.names, asked.issue, short=asked.short):
            shutil.rmtree(home / one.name, ignore_errors=True)
            results[one.name] = play(one, home, terse=asked.terse)
    finally:
        if not asked.keep:
            shutil.rmtree(home, ignore_errors=True)
    failed = [name for name, passed in results.items() if not passed]
    tell(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    if failed:
        tell("failed: " + " ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
