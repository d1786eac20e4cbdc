"""Command lines that cannot be acted on: exit 2, two lines, nothing on stdout."""

from __future__ import annotations

import pytest

from orchestrator.cli.main import main

REALISTIC = {
    ("pauze", "x.csv"): "unknown command pauze (did you mean pause?)",
    ("pause",): "pause: MANIFEST is missing",
    ("pause", "x.csv", "--rat", "5"): "pause: unknown flag --rat (did you mean --rate?)",
    ("pause", "x.csv", "--vdn"): "pause: --vdn needs a value",
    ("pause", "x.csv", "y.csv"): "pause: one argument too many: y.csv",
    ("pause-all",): "pause-all: --vdn is missing",
    ("pause-all", "--vdn", "0", "--yes"): "--vdn: '0' is not a VDN",
    ("pause-all", "--vdn", "10000", "--yes"): "--vdn: '10000' is not a VDN",
    ("continue",): "continue: RUN is missing",
    ("pause", "x.csv", "--rate", "0"): "--rate: must be above 0 and at most 100,000",
    ("pause", "x.csv", "--rate", "nan"): "--rate: must be a number",
    ("pause", "x.csv", "--rate", "1e9"): "--rate: must be a number",
    ("pause", "x.csv", "--concurrency", "1025"): "--concurrency: must be from 1 to 1,024",
    ("pause", "x.csv", "--max-failures", "150%"): "--max-failures: the percentage must be",
    ("pause", "x.csv", "--max-failures", "few"): "--max-failures: must be a whole number",
    ("pause", "x.csv", "--max-campaigns", "0"): "--max-campaigns: must be from 1",
    ("pause", "x.csv", "--accept", "not-found"): "(did you mean not_found?)",
    ("pause", "x.csv", "--accept", "invalid"): "--accept: 'invalid' is no outcome",
    ("pause", "x.csv", "--deadline", "inf"): "--deadline: must be a number",
    ("pause", "x.csv", "--deadline", "-1"): "--deadline",
    ("pause", "x.csv", "--format", "xml"): "--format: must be one of csv, json, jsonl",
    ("pause", "x.csv", "--log-format", "xml"): "--log-format: must be console or json",
    ("pause-all", "--vdn", "1", "--yes", "--hold", "ten"): "--hold: must be a number",
    ("restore", "last", "--limit", "x"): "--limit: must be a whole number",
    ("simulate", "--scenario", "storm"): "--scenario: must be one of",
    ("simulate", "--port", "70000"): "--port: must be from 0 to 65,535",
    ("simulate", "--faults", "2"): "--faults: must be",
    ("completion", "tcsh"): "SHELL: must be one of bash, zsh, fish",
    ("report", "nothing-there"): "there is no run nothing-there",
    ("runs", "--yes"): "runs: unknown flag --yes",
    ("pause", "x.csv", "--insecure"): "--insecure (TLS is always verified; --ca-file FILE",
    ("pause", "x.csv", "--no-verify-ssl"): "--no-verify-ssl (TLS is always verified; --ca-file",
    ("pause", "x.csv", "--ssl_no_verify"): "(TLS is always verified; --ca-file FILE",
    ("pause-all", "--vdn", "1", "--no-check-certificate"): "(TLS is always verified; --ca-file",
    ("check", "--tls-skip-verify"): "(TLS is always verified; --ca-file",
    ("check", "-k"): "(TLS is always verified; --ca-file",
    ("pause", "x.csv", "--cacert", "c"): "unknown flag --cacert (did you mean --ca-file?)",
    ("pause", "x.csv", "--workers", "3"): "unknown flag --workers (did you mean --concurrency?)",
    ("pause", "x.csv", "--host", "h"): "unknown flag --host (did you mean --base-url?)",
    ("pause", "x.csv", "--no-verfy"): "unknown flag --no-verfy (did you mean --no-verify?)",
    ("restor", "last"): "unknown command restor (did you mean restore?)",
    ("pause-all", "--vdn", "12,13", "--yes"): "names several VDNs",
    ("pause-all", "--vdn", "12 13", "--yes"): "names several VDNs",
    ("pause-all", "--vdn", "12", "13", "--yes"): "too many: 13 (did you mean --vdn 13?)",
    ("pause-all", "-vdn", "12"): "unknown flag -vdn (did you mean --vdn?)",
    ("pause-all", "--VDN", "12"): "unknown flag --VDN (did you mean --vdn?)",
    ("pause-all", "\u2014vdn", "12"): "\u2014vdn begins with a long dash",
    ("pause-all", "--vdn", "12", "\u2013yes"): "write --yes",
    ("pause-all", "--vdn", "1", "--reason", "\u201cwrong", "list\u201d"): "curly quotation marks",
    ("pause-all", "--vdn", "12-15", "--yes"): "a range is not understood",
    ("pause", "x.csv", "--deadline", "30s"): "write the number alone, without a unit",
    ("pause", "x.csv", "--rate", "1,5"): "write a fraction with a point",
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
    assert second.startswith("do: ")


@pytest.mark.parametrize(("line", "never"), [
    (("resume", "last"), "restore"), (("retry", "last"), "restore"),
    (("pause", "x.csv", "--verify-nothing"), "--no-verify"),
    (("pause", "x.csv", "--yes"), "did you mean"),
    (("pause", "x.csv", "--insecure"), "--concurrency"),
    (("pause", "x.csv", "--no-verify-ssl"), "--no-verify?"),
])  # fmt: skip
def test_no_guess_leads_to_what_starts_calls_or_leaves_a_check_out(
    line: tuple[str, ...], never: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`resume` is not `restore`: a guess that is followed at 3 a.m. must do no harm."""
    assert main(line) == 2

    assert never not in capsys.readouterr().err.replace(" ".join(line), "")


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


def test_without_a_server_the_error_says_where_it_looked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Flag, variable and file, what was sent (nothing), and what to add."""
    code = main(["pause", "x.csv"])

    first, second = capsys.readouterr().err.splitlines()
    assert code == 2
    assert first.startswith(
        "error: no server configured (looked in --base-url, ORCHESTRATOR_BASE_URL, "
    )
    assert first.endswith("Nothing was sent; campaigns are still dialling.")
    assert second == "do: add --base-url https://HOST:28080"


def test_what_came_from_outside_is_made_printable(capsys: pytest.CaptureFixture[str]) -> None:
    """An escape sequence in an argument reaches no terminal."""
    main(["pause\x1b[2J"])

    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert r"\x1b" in err
