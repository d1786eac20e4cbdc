"""Command lines that cannot be acted on: exit 2, two lines, nothing on stdout."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli import usage
from orchestrator.cli.flags import SHARED
from orchestrator.cli.main import main
from orchestrator.cli.parser import Parser
from orchestrator.cli.table import COMMANDS
from orchestrator.errors import UsageError
from orchestrator.settings.schema import SPECS

WORDS = [
    *("--vdn", "--rate", "--accept", "--run-dir", "--reason", "--config", "--yes", "-q", "-v"),
    *("--debug", "--json", "--dry-run", "1", "list.csv", "a b", "", "none", "-", "--", "--rate=5"),
    *("-1", "-x", "-vx", "-vv", "--no-verify", "--foo", "--foo=1", "--ye", "-- x", "a=b", "é\n"),
]

REALISTIC = {
    ("pauze", "x.csv"): "unknown command pauze (did you mean pause?)",
    ("pause",): "pause: LIST is missing",
    ("pause", "x.csv", "--rat", "5"): "pause: unknown flag --rat (did you mean --rate?)",
    ("pause", "x.csv", "--vdn"): "pause: --vdn needs a value",
    ("pause", "x.csv", "y.csv"): "pause: one argument too many: y.csv",
    ("pause-all",): "pause-all: --vdn is missing",
    ("pause-all", "--vdn", "0", "--yes"): "--vdn: '0' is not a VDN",
    ("pause", "x.csv", "--rate", "nan"): "--rate: must be a number",
    ("pause", "x.csv", "--concurrency", "1025"): "--concurrency: must be from 1 to 1,024",
    ("pause", "x.csv", "--max-failures", "150%"): "--max-failures: the percentage must be",
    ("pause", "x.csv", "--max-failures", "few"): "--max-failures: must be a whole number",
    ("pause", "x.csv", "--max-campaigns", "0"): "--max-campaigns: must be from 1",
    ("pause", "x.csv", "--accept", "not-found"): "(did you mean not_found?)",
    ("pause", "x.csv", "--accept", "invalid"): "--accept: 'invalid' is not an outcome",
    ("pause", "x.csv", "--deadline", "inf"): "--deadline: must be a number",
    ("pause", "x.csv", "--format", "xml"): "--format: must be one of csv, json, jsonl",
    (
        "pause",
        "x.csv",
        "--log-format",
        "xml",
    ): "--log-format: must be one of console, json, not 'xml'",
    ("pause-all", "--vdn", "1", "--yes", "--hold", "ten"): "--hold: must be a number",
    ("restore", "last", "--limit", "x"): "--limit: must be a whole number",
    ("simulate", "--scenario", "storm"): "--scenario: must be one of",
    ("completion", "tcsh"): "SHELL: must be one of bash, zsh, fish",
    ("report", "nothing-there"): "there is no run nothing-there",
    ("runs", "--yes"): "--yes: it belongs to --prune",
    ("runs", "--older-than", "9"): "--older-than: it belongs to --prune",
    ("runs", "--prune"): "--prune: needs --older-than DAYS",
    ("runs", "--prune", "--older-than", "9", "--vdn", "7"): "--vdn: it does not belong to --prune",
    ("runs", "--prune", "--older-than", "0"): "--older-than: must be",
    ("pause", "x.csv", "--run-dir", "a/{day}"): "--run-dir: a/{day} has braces that are not",
    ("pause", "x.csv", "--insecure"): "--insecure (TLS is always verified; --ca-file FILE",
    ("pause", "x.csv", "--ssl_no_verify"): "(TLS is always verified; --ca-file FILE",
    ("check", "-k"): "(TLS is always verified; --ca-file",
    ("check", "--url=https://u"): "check: unknown flag --url (did you mean --base-url?)",
    ("pause", "x.csv", "--limit", "5"): "--limit (--rate R limits the requests in a second, ",
    ("pause-all", "--vdn", "1", "-y"): "unknown flag -y (flags that skip the question or a check",
    ("pause", "x.csv", "--yes"): "unknown flag --yes (this command asks nothing)",
    ("pause-all", "--all"): "unknown flag --all (a VDN is always named: --vdn N, once for each)",
    ("pause", "x", "--rat", "5", "--foo", "--host=h"): (
        "unknown flags --rat (did you mean --rate?), --foo, --host (did you mean --base-url?)"
    ),
    # as a text program writes --
    ("pause", "x", "\u2014rate", "5"): "pause: unknown flag \u2014rate (did you mean --rate?)",
    ("pause-all", "\u2013vdn=1"): "pause-all: unknown flag \u2013vdn (did you mean --vdn?)",
    ("pause", "x", "--rate", "many", "--foo"): "pause: unknown flag --foo. Nothing was sent.",
    ("pause", "--foo"): "pause: unknown flag --foo. Nothing was sent.",
    ("pause", "x", "--reason", "--x"): "pause: unknown flag --x; --reason needs a value",
    ("pause", "x", "--reason", "--vdn", "1"): "pause: --reason needs a value. Nothing was sent.",
    ("pause", "x", "--rate", "1", "--rate", "1"): "pause: --rate is given twice",
    ("pause", "x", "--json=no"): "pause: --json takes no value",
    ("pause", "x", "--dry"): "pause: unknown flag --dry (did you mean --dry-run?)",
    ("pause-all", "--vdn", "1", "--ye"): "pause-all: unknown flag --ye. Nothing was sent.",
    ("pause", ""): "LIST: is empty",
    ("pause", "x", "--run-dir", ""): "--run-dir: is empty",
    ("pause", "x", "--rate="): "--rate: ",
    ("resume", "last"): "unknown command resume (continue RUN finishes a run that was interrupted)",
    ("pause_all",): "unknown command pause_all (did you mean pause-all?)",
    ("help", "pauze"): "unknown command pauze (did you mean pause?)",
    ("config", "foo"): "unknown command config foo (did you mean config show?)",
    ("-v", "pause", "x"): "unknown command -v (flags come after the command)",
    ("pause-all", "1234"): "pause-all: one argument too many: 1234 (did you mean --vdn 1234?)",
    ("pause-all", "--vdn", "12,13", "--yes"): "names several VDNs",
    ("pause-all", "--vdn", "12", "13", "--yes"): "too many: 13 (did you mean --vdn 13?)",
    ("pause-all", "-vdn", "12"): "unknown flag -vdn (did you mean --vdn?)",
    ("pause-all", "--VDN", "12"): "unknown flag --VDN (did you mean --vdn?)",
    ("stop", "--vdn", "7"): "unknown flag --vdn (pause-all --vdn N stops what dials in a VDN)",
    ("pause", "x", "--vdn", "0", "--foo"): "pause: unknown flag --foo. Nothing was sent.",
    ("pause-all", "--vdn", "12-15", "--yes"): "a range is not understood",
    ("pause", "x.csv", "--deadline", "30s"): "must be a number, not '30s'",
    ("pause", "x.csv", "--rate", "1,5"): "must be a number, not '1,5'",
}


@pytest.mark.parametrize(("line", "said"), REALISTIC.items())
def test_a_refused_command_line_is_two_lines_and_exit_2(
    line: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is wrong names the flag or the command; the second line says what to do [C06] [C07]."""
    monkeypatch.setenv("ORCHESTRATOR_BASE_URL", "http://127.0.0.1:9")

    code = main(line)

    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("error: ")
    assert said in first
    assert second.startswith("hint: ")


@pytest.mark.parametrize(("line", "never"), [
    (("restor", "last"), "restore"), (("undo", "last"), "restore"), (("start",), "restore"),
    (("pause", "x.csv", "--no-verfy"), "--no-verify"), (("pause", "x", "--accpt"), "--accept"),
    (("pause-all", "--vdn", "1", "--yess"), "--yes"), (("pause-all", "--YES"), "--yes"),
    (("pause", "x.csv", "--skip-invald"), "--skip-invalid"),
    (("pause", "x.csv", "--insecure"), "--concurrency"),
    (("restore", "x", "--even-if-olds"), "--even-if-old"),
])  # fmt: skip
def test_no_guess_leads_to_what_starts_calls_or_leaves_a_check_out(
    line: tuple[str, ...], never: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`restor` is not `restore`: a guess that is followed at 3 a.m. must do no harm."""
    assert main(line) == 2

    said = capsys.readouterr().err
    assert never not in said.replace(" ".join(line), "").replace(line[-1], "").replace(line[0], "")


def test_every_answer_of_the_alias_table_is_a_flag_or_a_command_or_a_sentence() -> None:
    """And none of them starts calls, skips the question or switches off a check."""
    flags = {flag.name for one in COMMANDS.values() for flag in (*one.flags, *SHARED)}
    answers = set(usage.TYPED.values())

    assert [one for one in answers if " " not in one and one not in flags | {*COMMANDS}] == []
    dangerous = "restore|--(yes|no-verify|accept|skip-invalid|include-inferred|even-if-old)"
    assert [one for one in answers if re.search(rf"(^|[^\w-])({dangerous})\b", one)] == []


@pytest.mark.parametrize(("words", "reason"), [
    (("--reason", "-5 campaigns"), "-5 campaigns"), (("--reason=--x",), "--x"),
    (("--reason", "-5"), "-5"), (("--reason", ""), ""), (("--reason=a=b",), "a=b"),
    (("--reason", "none"), "none"), (("--reason", "[1]"), "[1]"),
])  # fmt: skip
def test_a_value_is_taken_as_it_is(words: tuple[str, ...], reason: str) -> None:
    """Dashes, brackets, equals signs, words that a parser could take for something else."""
    assert Parser("pause").read(["x.csv", *words]).reason == reason


def test_flags_may_stand_before_and_after_the_list_and_values_may_follow_an_equals_sign() -> None:
    """`pause --vdn 12 list.csv -vv --rate=5`; after `--` a name may begin with a dash."""
    found = Parser("pause").read(["--vdn", "12", "list.csv", "-vv", "-q", "--rate=5"])
    dashed = Parser("pause").read(["--json", "--", "-list.csv"])

    assert (found.vdn, found.list, found.verbose, found.quiet) == (12, Path("list.csv"), 2, True)
    assert vars(found)["pace.rate_per_s"] == "5"
    assert (dashed.list, dashed.json) == (Path("-list.csv"), True)
    assert Parser("pause").read(["-"]).list is None
    assert Parser("pause-all").read(["--vdn", "1", "--vdn=2"]).vdn == [1, 2]


@given(st.sampled_from([*COMMANDS]), st.lists(st.sampled_from(WORDS), max_size=6))
def test_whatever_is_typed_is_read_or_refused_in_our_words(command: str, words: list[str]) -> None:
    """Six words in any order: a UsageError or a whole result, never a SystemExit."""
    found = None
    with suppress(UsageError):
        found = Parser(command).read(words)
    if found is None:
        return
    assert set(SPECS) & set(vars(found))
    flags = {word.partition("=")[0] for word in words[: [*words, "--"].index("--")]}
    own = {flag.name for flag in (*COMMANDS[command].flags, *SHARED)} | {"-vv", "-h"}
    assert {flag for flag in flags if flag.startswith("--") and " " not in flag} <= own


@pytest.mark.parametrize(
    "flag", ["--token", "--secret-key", "--secret", "--sk", "--secret_key", "--SECRET-KEY"]
)
@pytest.mark.parametrize("form", ["{} {}", "{}={}"])
def test_a_secret_on_the_command_line_gets_a_hint(
    flag: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No such flag; files and the variable are named, the value is not repeated [C04]."""
    code = main(["pause", "x.csv", *form.format(flag, "hunter2").split()])

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "ORCHESTRATOR_SECRET_KEY_FILE" in err
    assert "hunter2" not in err


@pytest.mark.parametrize(
    ("line", "init"),
    [("pause x.csv", "init"), ("pause-all --vdn 1234 --yes", "init --vdn 1234")],
)
def test_without_a_server_the_error_says_where_it_looked(
    capsys: pytest.CaptureFixture[str], line: str, init: str
) -> None:
    """Flag, variable and file, what was sent (nothing), and what to add."""
    code = main(line.split())

    first, second = capsys.readouterr().err.splitlines()
    assert code == 2
    assert first.startswith(
        "error: no server configured (looked in --base-url, ORCHESTRATOR_BASE_URL, "
    )
    assert first.endswith("Nothing was sent; campaigns are still dialling.")
    assert second == f"hint: `orchestrator {init}` (or add --base-url https://HOST:28080)"


def test_what_came_from_outside_is_made_printable(capsys: pytest.CaptureFixture[str]) -> None:
    """An escape sequence in an argument reaches no terminal."""
    main(["pause\x1b[2J"])

    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert r"\x1b" in err
