"""What users can meet stands in README.md or docs/, and what these say is there."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.flags import EXIT_CODES, SHARED
from orchestrator.cli.parser import Parser, find_command
from orchestrator.cli.table import COMMANDS
from orchestrator.isales.codes import RESULT_CODES
from orchestrator.policy.decide import Evidence, Outcome
from orchestrator.reports.document import summary_document
from orchestrator.reports.rows import COLUMNS, RunKind, SweepRecord, Tally
from orchestrator.reports.summary import (
    CallCount,
    CallsRecord,
    Ended,
    RunFacts,
    RunVerdict,
)
from orchestrator.simulator.scenarios import SCENARIOS
from tests.checks.tree import files, place
from tests.cli.makers import environment, served, write_list

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
#: where a file lies that is named without the whole of its path
PLACES = ("", "orchestrator")
EVIDENCE = (ROOT / "docs" / "spec" / "evidence.md").read_text(encoding="utf-8")
DOCUMENTS = README + "".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md"))
)
MARKDOWN = sorted(
    path
    for pattern in ("*.md", "bench/*.md", "docs/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
)
EVENT_CALLS = {"debug", "info", "warning", "error"}
#: a fenced block: its language and its text
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: a document that a file names; `docs/…md` and `tests/faults.md`, from the root
NAMED_DOCUMENT = re.compile(r"(?<![\w/.-])((?:docs|tests)/[\w./-]+\.md)\b")
#: a document and a numbered rule of it
NAMED_RULE = re.compile(r"docs/spec/evidence\.md, rules? ([0-9]+)")
#: documents that the repository has never held, or does not hold any more
STRAY = re.compile(r"(?<![\w/-])(?:design|api|findings|style)\.md\b|(?<!tests/)\bfaults\.md §")
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def quoted(name: str) -> bool:
    """Whether a name stands in the documents as code, alone or with its value."""
    return bool(re.search(rf"`{re.escape(name)}(?:[ =][^`]*)?`", DOCUMENTS))


def flags_of(command: str) -> Iterator[str]:
    """Every flag of a command, --help aside."""
    for flag in (*COMMANDS[command].flags, *SHARED):
        if not flag.is_argument and flag.name != "--help":
            yield flag.name


def section_of(command: str) -> str:
    """What the reference says about one command, with what it says about all."""
    everyone = REFERENCE.partition("### Flags of every command")[2].partition("\n### ")[0]
    pattern = rf"### `orchestrator {command}\b[^\n]*\n(.*?)^##"
    own = re.search(pattern, REFERENCE, re.DOTALL | re.MULTILINE)
    assert own, command
    return everyone + own[1]


def events_in_code() -> dict[str, set[str]]:
    """Every event name that the product says, with the names of its fields."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "orchestrator").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            speaker = node.func.value
            name = speaker.attr if isinstance(speaker, ast.Attribute) else ""
            name = speaker.id if isinstance(speaker, ast.Name) else name
            if node.func.attr in EVENT_CALLS and name == "events":
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}"
                fields = {one.arg for one in node.keywords if one.arg}
                found.setdefault(str(node.args[0].value), set()).update(fields - {"cause"})
    return found


def slug(heading: str) -> str:
    """The anchor of a heading, as code forges make it."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_flag_stands_in_the_section_of_its_command(command: str) -> None:
    """A flag that is not in the reference of its command does not exist for readers."""
    section = section_of(command)

    missing = [one for one in flags_of(command) if not re.search(rf"`{one}[ `]", section)]

    assert missing == []


def test_no_section_names_a_flag_that_its_command_does_not_take() -> None:
    """The first cell of each row of a command's own table is one of its flags."""
    for command in COMMANDS:
        own = section_of(command)
        named = set(re.findall(r"^\| `(--?[a-z0-9-]+)", own, re.MULTILINE))
        assert named <= set(flags_of(command)), command


def test_every_outcome_evidence_verdict_and_scenario_is_documented() -> None:
    """Each value stands in the documents as code."""
    values = [*Outcome, *Evidence, *RunVerdict, *RunKind, *SCENARIOS, *("yes", "no", "maybe")]

    assert [str(value) for value in values if not quoted(str(value))] == []


@pytest.mark.parametrize("code", [part for code in EXIT_CODES for part in code.split("/")])
def test_every_exit_code_has_a_row_in_the_reference(code: str) -> None:
    """Scripts are written by this table."""
    firsts = re.findall(r"^\| ([0-9, ]+) \|", REFERENCE, re.MULTILINE)
    assert code in {one for cell in firsts for one in cell.split(", ")}


def test_every_result_code_stands_in_the_reference_with_its_name() -> None:
    """The table of isales/codes.py, row by row."""
    for code, name in RESULT_CODES.items():
        assert f"| `{code}` | `{name}` |" in REFERENCE


def test_every_event_stands_in_the_reference_with_its_fields_and_no_other_does() -> None:
    """Names and fields are found in the source; what the table adds is noticed too."""
    rows = dict(re.findall(r"^\| `(\w+\.\w+)` \| \w+ \| ([^|]*)\|", REFERENCE, re.MULTILINE))
    said = events_in_code()

    assert set(rows) == set(said)
    for name, fields in said.items():
        assert fields <= set(re.findall(r"`(\w+)`", rows[name])), name


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_stands_in_the_reference(column: str) -> None:
    """Of results.csv and failed.csv."""
    assert f"`{column}`" in REFERENCE.partition("### Columns of")[2].partition("\n## ")[0]


def test_every_key_of_the_summary_stands_in_the_reference() -> None:
    """Of a pause-all with a list's facts, which has all keys; inner ones too."""
    sweep = SweepRecord(1, 0, 0, 1, 0, 0, 0, complete=True, problem="")
    facts = RunFacts(
        run_id="r",
        kind=RunKind.PAUSE_ALL,
        reason="",
        operator="o",
        host="h",
        version="v",
        server="s",
        settings={},
        started_at_ms=0,
        ended_at_ms=0,
        ended=Ended.FINISHED,
        manifest_path="list.csv",
        sweeps=(sweep,),
        calls=CallsRecord((CallCount(0, 1, 0),)),
    )
    document = summary_document(facts, Tally())
    sweeps, rate, manifest = document["sweeps"], document["rate"], document["manifest"]
    calls = document["calls"]
    assert isinstance(sweeps, list)
    assert isinstance(calls, list)
    assert isinstance(rate, dict)
    assert isinstance(manifest, dict)
    section = REFERENCE.partition("### Keys of summary.json")[2].partition("\n## ")[0]

    for key in {*document, *sweeps[0], *calls[0], *rate, *manifest}:
        assert f"`{key}`" in section, key


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    """A file or folder of this tree, and a heading of it when there is an anchor."""
    for target in LINK.findall(BLOCK.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        if anchor:
            headings = HEADING.findall(found.read_text(encoding="utf-8"))
            assert anchor in {slug(one) for one in headings}, target


def test_every_document_that_a_file_names_is_in_the_repository() -> None:
    """In code, tests, documents and configuration: `docs/spec/evidence.md, rule 9` leads there."""
    rules = set(re.findall(r"^## Rule ([0-9]+):", EVIDENCE, re.MULTILINE))
    wrong = []
    for path in files(ROOT):
        text = path.read_text(encoding="utf-8", errors="replace")
        missing = {name for name in NAMED_DOCUMENT.findall(text) if not (ROOT / name).is_file()}
        unknown = {f"rule {number}" for number in NAMED_RULE.findall(text) if number not in rules}
        stray = set(STRAY.findall(text)) if path != Path(__file__) else set()
        wrong += [f"{place(path)}: {name}" for name in missing | unknown | stray]

    assert rules == {str(number) for number in range(1, 11)}
    assert wrong == []


def defined_names() -> set[str]:
    """`module.function`, `Class` and `Class.method` of the whole product."""
    found = set()
    for path in sorted((ROOT / "orchestrator").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found.add(node.name)
                found.update(
                    f"{node.name}.{one.name}"
                    for one in node.body
                    if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
                )
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(f"{path.stem}.{node.name}")
    return found


def test_the_way_of_one_campaign_names_what_the_code_has_in_fifteen_steps() -> None:
    """`Saved.rows` or `bulk._from_ready`: a class, a method, or a function of a module."""
    way = ARCHITECTURE.partition("## The way of one campaign")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([A-Za-z]\w*(?:\.\w+)?)`", way)) - {"pause-all"}

    assert len(re.findall(r"^[0-9]+\. ", way, re.MULTILINE)) <= 15
    assert len(named) > 10
    assert sorted(named - defined_names()) == []


def test_every_file_that_the_architecture_names_is_there() -> None:
    """Of the product, the tests and the documents: `policy/decide.py`, `docs/reference.md`."""
    named = set(re.findall(r"`([\w/]+/[\w.]+\.(?:py|md|toml))`", ARCHITECTURE))

    assert len(named) > 10
    assert [
        one for one in sorted(named) if not any((ROOT / top / one).is_file() for top in PLACES)
    ] == []


def test_every_command_line_in_the_documents_can_be_parsed() -> None:
    """Lines of shell blocks and code in sentences that begin with the command or ./do."""
    blocks = "\n".join(text for kind, text in BLOCK.findall(README) if kind == "sh")
    inline = re.findall(r"`((?:\./do )?orchestrator [^`]+)`", BLOCK.sub("", README))
    parsed = 0
    for line in [*blocks.splitlines(), *inline]:
        words = shlex.split(line, comments=True)
        if words[:1] == ["./do"]:
            words = words[2:] if words[1] == "orchestrator" else words[1:]
            if words[0] not in COMMANDS:
                continue
        elif words[:1] == ["orchestrator"]:
            words = words[1:]
        else:
            continue
        if words and not words[0].startswith(("-", "…", "COMMAND")):
            name, rest = find_command(words)
            Parser(name).read(rest)
            parsed += 1
    assert parsed >= 10


def test_the_readme_is_short_and_begins_with_the_emergency() -> None:
    """At most 180 lines; whoever opens it at 3 a.m. sees the command first."""
    assert len(README.splitlines()) <= 190
    assert README.index("orchestrator pause-all --vdn") < README.index("./do demo")


@pytest.mark.sockets
def test_the_library_example_of_the_readme_runs(tmp_path: Path) -> None:
    """As a user would run it: its own process, settings from the environment, a list beside it."""
    (example,) = [text for kind, text in BLOCK.findall(README) if kind == "python"]
    write_list(tmp_path, 1_234_001, 1_234_002).rename(tmp_path / "campaigns.csv")

    with served() as simulator:
        done = subprocess.run(
            [sys.executable, "-c", example],
            env=environment(tmp_path, simulator.base_url),
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("2 lines: 2 stopped (2 paused).")
