"""The project's checks find what they are there to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.checks import fault_table, forbidden, lock, minimum_versions, names
from tests.checks.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

HASH = "--hash=sha256:" + "0" * 64


def test_the_lock_of_this_project_is_whole() -> None:
    """[Z20] Every pin is hashed and no index is named, in both lock files."""
    assert lock.problems() == []


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("aiohttp==3.14.5", "has no sha256"),
        (f"aiohttp>=3.14.5 {HASH}", "is not a pin"),
        (f"aiohttp @ https://host.invalid/a.whl {HASH}", "is not a pin"),
        ("--index-url https://host.invalid/simple", "is not a pin"),
        ("-f wheels", "is not a pin"),
        ("aiohttp==3.14.5 --hash=md5:00", "is not a pin"),
    ],
)
def test_a_bad_line_in_a_lock_is_named(line: str, complaint: str) -> None:
    """[Z20] No hash, no exact version, an address or an option: each is a problem."""
    pins, problems = lock.read_lock(f"# made by\n{line}\nidna==3.20 \\\n    {HASH}\n", "lock")

    assert list(pins) == ["idna"]
    assert len(problems) == 1
    assert complaint in problems[0]


def test_the_locked_versions_are_above_the_table() -> None:
    """[Z21] Nothing locked or allowed is below its least version."""
    assert minimum_versions.problems() == []


def test_a_version_below_the_table_is_named(tmp_path: Path) -> None:
    """[Z21] aiohttp 3.14.2, locked and allowed, is two problems."""
    pins = [f"{name}=={least}" for name, (least, _) in minimum_versions.MINIMUM_VERSIONS.items()]
    text = "\n".join(f"{pin} {HASH}" for pin in pins).replace("aiohttp==3.14.3", "aiohttp==3.14.2")
    (tmp_path / "requirements.txt").write_text(text)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["aiohttp>=3.14.2"]\n[dependency-groups]\n'
    )

    problems = minimum_versions.problems(tmp_path)

    assert [problem.split(":")[0] for problem in problems] == ["requirements.txt", "pyproject.toml"]


@pytest.mark.parametrize(
    "text",
    [
        "connector = TCPConnector(ssl=False)",
        "context.verify_mode = CERT_NONE",
        "context.check_hostname = False",
        "get(url, verify=False)",
        "import pickle",
        "yaml.load(text)",
        "run(words, shell=True)",
        "tempfile.mktemp()",
        "open('/work/x')",
        "# https://pypi.org/simple",
    ],
)
def test_a_forbidden_string_is_found(tmp_path: Path, text: str) -> None:
    """[C11, Z02, Z19] Each weakening switch and each trace of a machine is named."""
    (tmp_path / "orchestrator").mkdir()
    (tmp_path / "orchestrator" / "x.py").write_text(f"\n{text}\n")

    problems = forbidden.problems(tmp_path)

    assert len(problems) == 1
    assert problems[0].startswith("orchestrator/x.py:2: ")


def test_nothing_forbidden_stands_in_this_tree() -> None:
    """[C11, Z02, Z19] No switch turns verification off, nothing runs what it reads."""
    assert forbidden.problems() == []


def test_banned_words_and_silent_tests_are_found(tmp_path: Path) -> None:
    """A class named by a banned word and a test without a sentence are two problems."""
    for folder in ("orchestrator", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "orchestrator" / "x.py").write_text("class TaskManager: ...\ndef started(): ...\n")
    (tmp_path / "tests" / "test_x.py").write_text("def test_it(): ...\n")

    problems = names.problems(tmp_path)

    assert [problem.split(": ")[0] for problem in problems] == [
        "orchestrator/x.py:1",
        "tests/test_x.py:1",
    ]


def _fault_tree(root: Path, docstring: str, reason: str = "") -> None:
    (root / "tests" / "checks").mkdir(parents=True)
    promises = [f"{row} holds\n" for row in fault_table.ROWS]
    (root / fault_table.PROMISES).write_text("".join(promises) + reason)
    (root / "tests" / "test_all.py").write_text(
        f'class TestIt:\n    def test_it(self):\n        """{docstring}"""\n'
    )
    (root / fault_table.TABLE).write_text(fault_table.render(root))


def test_a_fault_table_in_which_every_row_has_a_test_passes(tmp_path: Path) -> None:
    """One test that claims all rows, but for one with a reason: no problem."""
    rows = [row for row in fault_table.ROWS if row != "P08"]
    _fault_tree(tmp_path, f"Everything [{', '.join(rows)}].", "P08 ! needs root\n")

    assert fault_table.problems(tmp_path) == []
    assert "| N01 | holds | `tests/test_all.py::TestIt::test_it` |" in fault_table.render(tmp_path)
    assert "| P08 | holds | not tested here: needs root |" in fault_table.render(tmp_path)


def test_rows_without_a_test_are_named(tmp_path: Path) -> None:
    """A missing S row is a problem even with a reason; a missing Z row is one without."""
    rows = [row for row in fault_table.ROWS if row not in ("S05", "Z03")]
    _fault_tree(tmp_path, f"[{' '.join(rows)}] and [N99]", "S05 ! too hard\n")

    problems = fault_table.problems(tmp_path)

    assert len(problems) == 3
    assert problems[0].endswith("claims N99, which is no row")
    assert problems[1].endswith("S05 has no test")
    assert problems[2].endswith("Z03 has neither a test nor a reason")


def test_a_test_that_vanished_from_under_the_table_is_named(tmp_path: Path) -> None:
    """The table names a test that lost its mark: that row is a problem."""
    _fault_tree(tmp_path, f"[{', '.join(fault_table.ROWS)}]")
    test = tmp_path / "tests" / "test_all.py"
    test.write_text(test.read_text().replace("X05, ", ""))

    problems = fault_table.problems(tmp_path)

    assert problems[0].endswith("does not exist or does not carry [X05]")


def test_every_row_of_the_fault_table_has_a_promise() -> None:
    """The hand-kept promises cover all rows and no others."""
    promises, reasons = fault_table.read_promises((ROOT / fault_table.PROMISES).read_text())

    assert tuple(promises) == fault_table.ROWS
    assert {row[0] for row in reasons} <= fault_table.MAY_GIVE_A_REASON
