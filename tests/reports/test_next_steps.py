"""What to do after a run: commands that can be pasted, and what has to be done before them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.isales.verdict import Kind
from orchestrator.policy.decide import Outcome
from orchestrator.reports.next_steps import certificate_advice, next_step
from orchestrator.reports.rows import RunKind
from orchestrator.reports.sentences import verdict_line
from orchestrator.reports.summary import EARLY, Ended, VdnProof
from tests.report_makers import database_failure, make_facts, make_row, tally_of

RUN = "20261123T230501Z-7f3a"
REACHED = "when the server can be reached"


CONTINUE = f"then `orchestrator continue {RUN}`"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ended": Ended.CREDENTIALS}, f"correct the credentials, {CONTINUE}"),
        ({"ended": Ended.CREDENTIALS, "dry_run": True}, "then the same command again"),
        ({"ended": Ended.DENIED}, f"may do this, {CONTINUE}"),
        (
            {"ended": Ended.SERVER},
            f"run `orchestrator check --vdn 1201` to see what the server says, {CONTINUE}",
        ),
        ({"ended": Ended.MAX_FAILURES}, f"look at 'a b/failed.csv', {CONTINUE}"),
        ({"ended": Ended.STORAGE}, f"make room for the journal and the report, {CONTINUE}"),
        ({"ended": Ended.BUG}, f"report this with the run directory, {CONTINUE}"),
        ({"ended": Ended.WRONG_NAME}, f"a certificate of this name, {CONTINUE}"),
        ({"ended": Ended.EXPIRED}, f"for a new certificate, {CONTINUE}"),
        (
            {"ended": Ended.UNTRUSTED},
            (
                f"(a PEM file), {CONTINUE} with --ca-file and that file; with nobody to ask,"
                " `orchestrator init` shows the server's certificate and asks whether it is the"
                " right one"
            ),
        ),
        (
            {"ended": Ended.UNTRUSTED, "settings": {"server": {"ca_file": "/etc/ca.pem"}}},
            f"then put it into /etc/ca.pem, and `orchestrator continue {RUN}`",
        ),
        *(
            ({"ended": one}, f"Next: orchestrator continue {RUN}")
            for one in sorted(set(Ended) - EARLY)
        ),
    ],
)
def test_what_cut_a_run_short_comes_with_what_to_do_and_a_command(
    changes: dict[str, Any], said: str
) -> None:
    """Each cause has its own first step, and the run is finished afterwards."""
    made = make_facts(worst_1s=1, **changes)
    step = next_step(made, tally_of(unattempted=1), failed_path="'a b/failed.csv'")

    assert step.startswith("Next: ")
    assert step.endswith(said)


def test_refused_credentials_say_where_they_were_found() -> None:
    """The access key of a variable, the secret of a file."""
    keys = "the access key is from ORCHESTRATOR_ACCESS_KEY, the secret key is in the file /etc/sk"

    said = next_step(make_facts(ended=Ended.CREDENTIALS), tally_of(), keys=keys)

    assert said == f"Next: {keys}: correct the wrong one, {CONTINUE}"


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
    assert "correct the URL" not in next_step(made._replace(worst_1s=1), tally, url_from="x")


@pytest.mark.parametrize("kind", [RunKind.PAUSE, RunKind.PAUSE_ALL])
def test_a_certificate_of_another_name_may_be_another_servers(kind: RunKind) -> None:
    """The URL may be wrong; `check` would only say the name again."""
    proofs = (VdnProof(7, problem="p"),)
    made = make_facts(kind, ended=Ended.WRONG_NAME, server="https://h:1", proofs=proofs)

    step = next_step(made, tally_of(unattempted=1), url_from="--base-url")

    assert step == (
        f"Next: {certificate_advice(Ended.WRONG_NAME)}, {CONTINUE}; if the URL is wrong, correct"
        " the URL https://h:1 (from --base-url) and give the same command again"
    )
    assert certificate_advice(Ended.SERVER) == ""
