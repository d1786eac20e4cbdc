"""What to do after a run: commands that can be pasted, and what has to be done before them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.isales.verdict import Kind
from orchestrator.policy.decide import Outcome
from orchestrator.reports.next_steps import advice, certificate_advice, next_step
from orchestrator.reports.rows import RunKind
from orchestrator.reports.sentences import verdict_line
from orchestrator.reports.summary import EARLY, Ended, VdnProof
from tests.report_makers import database_failure, make_facts, make_row, tally_of

RUN = "20261123T230501Z-7f3a"
REACHED = "when the server can be reached"


@pytest.mark.parametrize("ended", Ended)
def test_what_cut_a_run_short_comes_with_advice(ended: Ended) -> None:
    """Trouble has a command that finishes the run; an end in order needs none."""
    said = advice(make_facts(ended=ended), tally_of(unattempted=1))

    assert (f"`orchestrator continue {RUN}`" in said) == (ended in EARLY)
    assert bool(said) == (ended in EARLY)


@pytest.mark.parametrize(
    ("kind", "changes", "outcomes", "said"),
    [
        (RunKind.PAUSE, {}, {"paused": 2}, ""),
        (RunKind.PAUSE, {}, {"rejected": 2, "not_found": 1}, ""),
        (RunKind.PAUSE, {}, {"failed": 2}, "Try the 2 again: orchestrator pause failed.csv"),
        (RunKind.PAUSE, {"unverified": 1}, {"paused": 1}, f"Next: orchestrator continue {RUN}"),
        (
            RunKind.PAUSE,
            {"dry_run": True},
            {"planned": 2},
            "Next: the same command without --dry-run",
        ),
        (
            RunKind.PAUSE,
            {"storage_failed": True},
            {"paused": 2},
            f"Next: make room for the journal and the report, then `orchestrator continue {RUN}`",
        ),
        (RunKind.PAUSE_ALL, {"proofs": (VdnProof(7, quiet_since_ms=1),)}, {"paused": 2}, ""),
        (
            RunKind.PAUSE_ALL,
            {"proofs": (VdnProof(7, no_campaigns=True),)},
            {},
            "Next: check the VDN number",
        ),
    ],
)
def test_what_is_left_decides_what_comes_next(
    kind: RunKind, changes: dict[str, Any], outcomes: dict[str, int], said: str
) -> None:
    """Nothing where all is done, or where nothing would be better the next time."""
    assert next_step(make_facts(kind, **changes), tally_of(**outcomes)) == said


def test_what_may_have_been_started_is_not_tried_again_unlooked() -> None:
    """The same restore would leave it unknown once more: somebody looks, then insists."""
    facts = make_facts(RunKind.RESTORE, source_run="20261123T200000Z-0001")

    assert next_step(facts, tally_of(restored=54, unknown=6)).endswith(
        "Next: look at the 6 unknown on the server, then `orchestrator restore"
        " 20261123T200000Z-0001 --include-inferred`"
    )


def test_refused_credentials_say_where_they_were_found() -> None:
    """The access key of a variable, the secret of a file; and a VDN to check them with."""
    facts = make_facts(ended=Ended.CREDENTIALS)
    keys = "the access key is from ORCHESTRATOR_ACCESS_KEY, the secret key is in the file /etc/sk"

    said = advice(facts, tally_of(make_row(vdn_id="1201")), keys=keys)

    assert said.startswith(f"{keys}: correct the wrong one")
    assert "`orchestrator check --vdn 1201`" in said


def test_an_untrusted_certificate_says_which_flag_and_who_has_the_file() -> None:
    """--ca-file with a PEM file from whoever runs the server; the command can be pasted."""
    line = next_step(make_facts(ended=Ended.UNTRUSTED, worst_1s=1), tally_of(unattempted=1))

    assert "a PEM file" in line
    assert line.endswith(f"then `orchestrator continue {RUN}` with --ca-file and that file")


def test_an_untrusted_certificate_can_be_looked_at_where_nobody_can_be_asked() -> None:
    """At 3 a.m. nobody has the file; `init` shows the certificate, and another one needs more."""
    untrusted, wrong = (make_facts(ended=one) for one in (Ended.UNTRUSTED, Ended.WRONG_NAME))

    assert "; with nobody to ask, `orchestrator init` shows" in advice(untrusted, tally_of())
    assert "init" not in advice(wrong, tally_of())


def test_a_file_that_does_not_vouch_is_to_be_replaced() -> None:
    """The command names it already, so that the same file gets the right certificate."""
    facts = make_facts(ended=Ended.UNTRUSTED, settings={"server": {"ca_file": "/etc/ca.pem"}})

    said = advice(facts, tally_of(unattempted=1))

    assert said.endswith(f"put it into /etc/ca.pem, and `orchestrator continue {RUN}`")


def test_too_many_failures_name_the_file_to_look_at() -> None:
    """The path as a shell takes it, in both places."""
    facts, tally = make_facts(ended=Ended.MAX_FAILURES), tally_of(unattempted=1)

    assert "look at 'a b/failed.csv', then" in advice(facts, tally, failed_path="'a b/failed.csv'")
    assert "look at 'a b/failed.csv', then" in next_step(
        facts, tally, failed_path="'a b/failed.csv'"
    )


def test_an_emergency_without_a_disk_is_begun_again_not_continued() -> None:
    """Its journal was in memory: nothing is left to continue."""
    proofs = (VdnProof(7), VdnProof(8, no_campaigns=True))
    facts = make_facts(
        RunKind.PAUSE_ALL, proofs=proofs, ended=Ended.SIGNAL_INT, storage_failed=True
    )

    assert next_step(facts, tally_of()) == "Next: orchestrator pause-all --vdn 7"


def test_a_limited_restore_is_repeated_with_what_is_left() -> None:
    """--limit 10, of which 3 failed: 3 more at most, and not 10."""
    facts = make_facts(RunKind.RESTORE, source_run=RUN)
    tally = tally_of(restored=7, failed=3)

    assert next_step(facts, tally, is_limited=True).endswith(f"restore {RUN} --limit 3")
    assert next_step(facts, tally).endswith(f"restore {RUN}")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("stopped again by run X (pause by ana)", "2 were stopped again by run X (pause by ana)"),
        ("", "2 were suspended again by somebody"),
    ],
)
def test_what_a_newer_stop_has_overtaken_is_asked_about_not_repeated(error: str, said: str) -> None:
    """A restore was accepted, and the campaigns are off again: nobody is told to start them."""
    row = make_row(Outcome.FAILED, cause=Kind.ACCEPTED, error=error)
    facts = make_facts(RunKind.RESTORE, source_run="20261123T104107Z-0aa1")
    tally = tally_of(row, row, database_failure())

    assert "3 failed (mostly suspended again since)" in verdict_line(facts, tally)
    assert next_step(facts, tally) == f"Next: ask before anything is started: {said}"
    assert "1 was " in next_step(facts, tally_of(row))


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        (RunKind.PAUSE, {"ended": Ended.SERVER}),
        (
            RunKind.PAUSE_ALL,
            {"ended": Ended.DEADLINE, "proofs": (VdnProof(7, problem="no such name"),)},
        ),
    ],
)
def test_a_server_that_was_never_reached_has_a_url_to_correct(
    kind: RunKind, facts: dict[str, Any]
) -> None:
    """The setting is named; what was typed is not repeated by a command."""
    made = make_facts(kind, server="https://h:1", **facts)
    tally = tally_of(unattempted=1)
    correct = (
        "correct the URL https://h:1 (from {}) and give the same command again; if it is right"
    )

    typed = next_step(made, tally, url_from="--base-url")
    kept = next_step(made, tally, url_from="/etc/o.toml")

    again = correct.format("--base-url")
    assert typed == f"Next: {again}, continue run {RUN} with it {REACHED}"
    again = correct.format("/etc/o.toml")
    vdn = 7 if kind is RunKind.PAUSE_ALL else 1201
    check = f"`orchestrator check --vdn {vdn}` shows what fails, then"
    assert kept == f"Next: {again}, {check} `orchestrator continue {RUN}`"
    assert advice(made, tally, url_from="--base-url") in {"", typed.removeprefix("Next: ")}
    assert "correct the URL" not in next_step(made._replace(worst_1s=1), tally, url_from="x")


@pytest.mark.parametrize(
    ("ended", "first", "last"),
    [
        (
            Ended.WRONG_NAME,
            "ask whoever runs the server for a certificate of this name, then",
            "correct the URL https://h:1 (from --base-url) and give the same command again",
        ),
        (Ended.EXPIRED, "set this machine's clock right if it is wrong, else ask whoever", ""),
    ],
)
@pytest.mark.parametrize("kind", [RunKind.PAUSE, RunKind.PAUSE_ALL])
def test_a_bad_certificate_has_the_advice_that_fits(
    kind: RunKind, ended: Ended, first: str, last: str
) -> None:
    """Another name, or another time: `check` would only say it again."""
    made = make_facts(kind, ended=ended, server="https://h:1", proofs=(VdnProof(7, problem="p"),))

    hint = advice(made, tally_of(unattempted=1), url_from="--base-url")
    following = next_step(made, tally_of(unattempted=1), url_from="--base-url")

    assert hint.startswith(first)
    assert following == f"Next: {hint}"
    assert hint.endswith(last)
    assert hint.startswith(certificate_advice(ended))
    assert certificate_advice(Ended.SERVER) == ""
    assert "check" not in hint
