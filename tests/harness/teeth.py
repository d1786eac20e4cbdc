"""`./do teeth [only=name] [jobs=2] [quick=1] [seed=…]`: does the suite notice bugs that matter?

Each bug of tests/teeth/bugs.py is put into a copy of the tree, and the tests that should notice it
are run there. If they pass, the wider suite gets its turn; if that passes too, the bug survives.

Rule 1: the tree itself is never changed; what runs is the copy, and that is checked first.
Rule 2: caught means that a test failed. A tree that cannot be collected has caught nothing.
Rule 3: the named tests pass in the untouched copy, and so does what the wider suite is judged by.
Rule 4: a bug whose text is not in the source any more fails the command: mend the table.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.arguments import Arguments
from tests.teeth.bugs import BUGS, Bug

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
#: what a copy is made of
_COPIED = ("orchestrator", "tests", "configs", "docs", "bench", "pyproject.toml", "README.md", "do")
#: all that is quick enough to be asked for each bug; the checks and e2e runs are not
_WIDER = ("tests/core", "tests/edges", "tests/run", "tests/cli", "tests/simulator")
#: bugs that are sown in the short form
QUICK = 6
#: seconds for one test, and for one whole answer of pytest
_TEST_S = 40
_WHOLE_S = 900
_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/\S+)", re.MULTILINE)
#: what pytest's exit codes mean here
_PASSED, _CAUGHT = 0, 1


class SowingError(Exception):
    """The bugs cannot be judged: a text is lost, or the copy is not what it should be."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How pytest answered."""

    exit_code: int
    output: str
    took_s: float

    @property
    def failed(self) -> tuple[str, ...]:
        """The tests that failed."""
        return tuple(_FAILED.findall(self.output))


@dataclass(frozen=True, slots=True)
class Bite:
    """What became of one bug."""

    bug: Bug
    #: the test that failed; empty: it survived
    caught_by: str
    took_s: float
    #: only the wider suite noticed it
    widely: bool = False
    #: why it could not be judged
    problem: str = ""


@dataclass(slots=True)
class Copy:
    """A copy of the tree in which one bug at a time is sown."""

    path: Path
    environ: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make the copy and see that it is what runs.

        Raises:
            SowingError: the installed tree shadows it.
        """
        ignored = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info")
        self.path.mkdir()
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.path / name, ignore=ignored)
            elif source.exists():
                shutil.copy2(source, self.path / name)
        # By content, not by time: a bug of the same size within the same second must be seen.
        compileall.compile_dir(
            self.path / "orchestrator",
            quiet=1,
            invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH,
        )
        kept = {name: value for name, value in os.environ.items() if "ORCHESTRATOR" not in name}
        self.environ = {**kept, "PYTHONPATH": str(self.path)}
        shown = subprocess.run(
            [sys.executable, "-P", "-c", "import orchestrator; print(orchestrator.__file__)"],
            cwd=self.path,
            env=self.environ,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        if Path(shown).resolve() != (self.path / "orchestrator/__init__.py").resolve():
            raise SowingError(f"{shown} would be tested, not the copy in {self.path}")

    def sow(self, bug: Bug) -> dict[Path, str]:
        """Put a bug in; returns what the files were before."""
        before: dict[Path, str] = {}
        for change in bug.changes:
            path = self.path / change.path
            text = path.read_text(encoding="utf-8")
            before.setdefault(path, text)
            path.write_text(text.replace(change.old, change.new), encoding="utf-8")
        return before

    def ask(self, tests: Sequence[str], *, first_only: bool = True) -> Ran:
        """Run these tests here."""
        began_s = time.monotonic()
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += [
            "--timeout",
            str(_TEST_S),
            "--tb",
            "no",
            *(["-x"] if first_only else []),
            *tests,
        ]
        child = subprocess.Popen(
            command,
            cwd=self.path,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, _ = child.communicate(timeout=_WHOLE_S)
            exit_code = child.returncode
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            output, _ = child.communicate()
            exit_code = _CAUGHT
            output += f"\nFAILED tests/… (nothing came to an end within {_WHOLE_S} s)"
        return Ran(exit_code, output, time.monotonic() - began_s)


def lost(bugs: Sequence[Bug], root: Path = ROOT) -> list[str]:
    """Every text to be replaced that does not stand exactly once in its file."""
    found = []
    for bug in bugs:
        texts: dict[str, str] = {}
        for change in bug.changes:
            path = root / change.path
            if change.path not in texts:
                texts[change.path] = path.read_text(encoding="utf-8") if path.exists() else ""
            number = texts[change.path].count(change.old)
            if number != 1:
                found.append(f"{bug.name}: stands {number} times in {change.path}: {change.old!r}")
            texts[change.path] = texts[change.path].replace(change.old, change.new)
    return found


def nodes_of(bug: Bug) -> list[str]:
    """The tests that should notice it, as pytest takes them."""
    return [f"tests/{one}" for one in bug.caught_by]


@dataclass(slots=True)
class Field:
    """The copies, and what is known of the tests without any bug."""

    copies: queue.SimpleQueue[Copy] = field(default_factory=queue.SimpleQueue)
    #: tests of the wider suite that fail without a bug
    weeds: tuple[str, ...] = ()
    #: whether the wider suite was asked without a bug
    weeded: bool = False

    def judge(self, bug: Bug) -> Bite:
        """Sow one bug and ask its own tests."""
        copy = self.copies.get()
        try:
            before = copy.sow(bug)
            try:
                return _bite(bug, copy.ask(nodes_of(bug)))
            finally:
                _put_back(before)
        finally:
            self.copies.put(copy)

    def judge_widely(self, bug: Bug, spent_s: float) -> Bite:
        """Ask everything but the slow ends; without a bug first, to know what fails anyhow."""
        copy = self.copies.get()
        try:
            if not self.weeded:
                self.weeds = copy.ask(_WIDER, first_only=False).failed
                self.weeded = True
            before = copy.sow(bug)
            try:
                without = [part for weed in self.weeds for part in ("--deselect", weed)]
                bite = _bite(bug, copy.ask([*_WIDER, *without]))
            finally:
                _put_back(before)
        finally:
            self.copies.put(copy)
        return Bite(bug, bite.caught_by, spent_s + bite.took_s, widely=True, problem=bite.problem)


def _bite(bug: Bug, ran: Ran) -> Bite:
    if ran.exit_code == _PASSED:
        return Bite(bug, "", ran.took_s)
    if ran.exit_code == _CAUGHT and "+++ Timeout +++" in ran.output:
        return Bite(bug, f"a test hung for {_TEST_S} s", ran.took_s)
    if ran.exit_code == _CAUGHT and ran.failed:
        return Bite(bug, ran.failed[0], ran.took_s)
    last = ran.output.strip().splitlines()[-1:] or ["no word"]
    return Bite(bug, "", ran.took_s, problem=f"pytest ended with {ran.exit_code}: {last[0]}")


def _put_back(before: dict[Path, str]) -> None:
    for path, text in before.items():
        path.write_text(text, encoding="utf-8")


def chosen(arguments: Arguments, seed: int) -> tuple[Bug, ...]:
    """The bugs to be sown.

    Raises:
        SystemExit: there is none of that name.
    """
    only = arguments.text("only")
    found = tuple(bug for bug in BUGS if only in bug.name)
    if not found:
        raise SystemExit(f"there is no bug {only!r}; there are: " + " ".join(b.name for b in BUGS))
    if arguments.whole("quick", 0) and len(found) > QUICK:
        return tuple(random.Random(seed).sample(found, QUICK))
    return found


def show(bite: Bite) -> None:
    """One line of the table."""
    caught = bite.problem or bite.caught_by.removeprefix("tests/") or "SURVIVED"
    if bite.widely and bite.caught_by:
        caught += " (only the wider suite)"
    print(f"{bite.bug.name:<40} {bite.took_s:6.1f} s  {caught}", flush=True)


def sow_all(bugs: Sequence[Bug], *, jobs: int, folder: Path, quick: bool) -> list[Bite]:
    """Judge all of these bugs.

    Raises:
        SowingError: the tests fail without any bug.
    """
    patch = Field()
    for number in range(jobs):
        copy = Copy(folder / f"copy-{number}")
        copy.prepare()
        patch.copies.put(copy)
    copy = patch.copies.get()
    every = sorted({node for bug in bugs for node in nodes_of(bug)})
    sound = copy.ask(every, first_only=False)
    patch.copies.put(copy)
    if sound.exit_code != _PASSED:
        raise SowingError("these fail without any bug:\n" + sound.output[-3000:])
    print(f"teeth: the untouched copy passes {len(every)} selections in {sound.took_s:.1f} s")
    with ThreadPoolExecutor(jobs) as hands:
        bites = list(hands.map(lambda bug: _told(patch.judge(bug), quick=quick), bugs))
    return [
        bite if bite.caught_by or quick else _told(patch.judge_widely(bite.bug, bite.took_s))
        for bite in bites
    ]


def _told(bite: Bite, *, quick: bool = True) -> Bite:
    """Show a bite, unless the wider suite has yet to be asked."""
    if bite.caught_by or bite.widely or quick:
        show(bite)
    return bite


def main(argv: Sequence[str]) -> int:
    """Sow bugs; gives the exit code."""
    arguments = Arguments(argv, known=("only", "jobs", "quick", "seed"))
    seed, jobs = arguments.seed(), arguments.whole("jobs", 2)
    quick = bool(arguments.whole("quick", 0))
    bugs = chosen(arguments, seed)
    print(f"teeth: {len(bugs)} of {len(BUGS)} bugs, seed={seed}", flush=True)
    gone = lost(BUGS)
    for one in gone:
        print(f"teeth: LOST: {one}")
    if gone:
        return 1
    folder = Path(tempfile.mkdtemp(prefix="teeth-"))
    began_s = time.monotonic()
    try:
        bites = sow_all(bugs, jobs=jobs, folder=folder, quick=quick)
    except SowingError as error:
        print(f"teeth: FAILED: {error}")
        return 1
    finally:
        shutil.rmtree(folder)
    survivors = [bite.bug.name for bite in bites if not bite.caught_by]
    print(
        f"teeth: {len(bites) - len(survivors)} of {len(bites)} bugs caught"
        f" ({sum(bite.widely for bite in bites)} by the wider suite),"
        f" {time.monotonic() - began_s:.0f} s"
    )
    if survivors:
        print(f"teeth: FAILED: not caught: {', '.join(survivors)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
