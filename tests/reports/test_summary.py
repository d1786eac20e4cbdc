"""How a run ended: exit code, verdict, summary.json."""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.isales.verdict import Kind
from orchestrator.policy.decide import Outcome
from orchestrator.reports.rows import RunKind, SweepRecord, Tally
from orchestrator.reports.summary import (
    CallCount,
    CallsRecord,
    Ended,
    Note,
    ProcessFacts,
    RunFacts,
    RunVerdict,
    VdnProof,
    exit_code,
    not_covered,
    rerun_may_help,
    run_verdict,
    summary_document,
)
from orchestrator.settings.secret import Secret
from tests.report_makers import AT_MS, make_facts, make_row, tally_of

if TYPE_CHECKING:
    from collections.abc import Iterator

QUIET = VdnProof(1234, quiet_since_ms=AT_MS)
RUNNING = VdnProof(1235, started=3, seen_at_ms=AT_MS)
UNPROVEN = VdnProof(1236, problem="page 3 failed")
EMPTY = VdnProof(1243, no_campaigns=True)


# -- invariant 20: an independent checker -----------------------------------------------------


def check_exit_code(facts: RunFacts, tally: Tally) -> int:
    """The exit code again, from docs/spec/contracts.md, without a table or a name of summary.py."""
    signals = {"signal_hup": 129, "signal_int": 130, "killed": 143, "signal_term": 143}
    ended = facts.ended.value
    fine = {"paused", "already_paused", "not_running", "duplicate", "planned"}
    fine |= {"restored", "already_running", "left_alone"} | {one.value for one in facts.accept}
    fine -= {"invalid"}
    short = sum(number for outcome, number in tally.counts.items() if outcome.value not in fine)
    quiet = bool(facts.proofs) and not [p for p in facts.proofs if p.quiet_since_ms is None]
    unstored = facts.storage_failed or ended == "storage"
    if ended == "bug":
        return 70
    if facts.dry_run and ended == "finished":
        return 5 if facts.storage_failed else 0
    if facts.kind == "pause-all":
        if ended in {"credentials", "denied"}:
            return 3
        if not quiet:
            return signals.get(ended, 6)
        return 5 if unstored else 0
    if unstored:
        return 5
    if ended in {"credentials", "denied"}:
        return 3
    if ended in {"server", "untrusted", "wrong_name", "expired", "max_failures"}:
        return 4
    return signals.get(ended) or int(short > 0 or facts.unverified > 0)


PROOFS = [(), (QUIET,), (QUIET, RUNNING), (UNPROVEN, EMPTY)]


def every_situation() -> Iterator[RunFacts]:
    """Every kind of run with every end, stored, dry, quiet, verified or not."""
    for kind, ended, storage_failed, dry_run, proofs, unverified in product(
        RunKind, Ended, [False, True], [False, True], PROOFS, [0, 3]
    ):
        if proofs and kind is not RunKind.PAUSE_ALL:
            continue
        yield make_facts(
            kind,
            ended=ended,
            storage_failed=storage_failed,
            dry_run=dry_run,
            proofs=proofs,
            unverified=unverified,
        )


SITUATIONS = list(every_situation())
FACTS = ("ended", "storage_failed", "dry_run", "unverified")
ACCEPT = st.frozensets(st.sampled_from([Outcome.NOT_FOUND, Outcome.DENIED, Outcome.UNKNOWN]))
COUNTS = st.dictionaries(st.sampled_from([outcome.value for outcome in Outcome]), st.just(1))


@given(st.sampled_from(SITUATIONS), ACCEPT, COUNTS)
def test_the_exit_code_follows_from_outcomes_and_end(
    facts: RunFacts, accept: frozenset[Outcome], counts: dict[str, int]
) -> None:
    """Invariant 20: two independent readings of docs/spec/contracts.md agree on every run."""
    changes = {name: getattr(facts, name) for name in FACTS}
    own = make_facts(facts.kind, accept=accept, proofs=facts.proofs, **changes)
    tally = tally_of(**counts)

    assert exit_code(own, tally) == check_exit_code(own, tally)


@pytest.mark.parametrize("counts", [{}, *({outcome.value: 1} for outcome in Outcome)])
def test_every_situation_has_the_exit_code_of_the_design(counts: dict[str, int]) -> None:
    """Invariant 20: each outcome in every combination of kind, end, storage and proof."""
    tally = tally_of(**counts)

    for facts in SITUATIONS:
        assert exit_code(facts, tally) == check_exit_code(facts, tally), facts


@pytest.mark.parametrize(
    ("kind", "changes", "counts", "code", "verdict"),
    [
        # Realistic
        ("pause", {}, {"paused": 3, "duplicate": 1}, 0, "complete"),
        ("pause", {}, {"paused": 3, "not_found": 1}, 1, "incomplete"),
        ("pause", {"accept": {Outcome.NOT_FOUND}}, {"not_found": 1}, 0, "complete"),
        ("pause", {}, {"paused": 3, "invalid": 1}, 1, "incomplete"),
        ("pause", {"dry_run": True}, {"planned": 3, "invalid": 1}, 0, "planned"),
        ("pause", {"ended": Ended.DEADLINE}, {"paused": 1}, 0, "complete"),
        ("pause", {"ended": Ended.DEADLINE}, {"unattempted": 1}, 1, "incomplete"),
        ("pause", {"ended": Ended.SIGNAL_TERM}, {"unattempted": 1}, 143, "interrupted"),
        ("pause", {"ended": Ended.KILLED}, {"unattempted": 1}, 143, "interrupted"),
        ("pause", {"ended": Ended.CREDENTIALS}, {"denied": 1}, 3, "ended_early"),
        ("pause", {"ended": Ended.DENIED}, {"unattempted": 1}, 3, "ended_early"),
        ("pause", {"ended": Ended.UNTRUSTED}, {"unattempted": 1}, 4, "ended_early"),
        ("pause", {"ended": Ended.SERVER}, {"failed": 1}, 4, "ended_early"),
        ("pause", {"ended": Ended.MAX_FAILURES}, {"failed": 1}, 4, "ended_early"),
        ("pause", {"ended": Ended.STORAGE}, {"unattempted": 1}, 5, "ended_early"),
        ("pause", {"ended": Ended.BUG}, {"unattempted": 1}, 70, "ended_early"),
        # a check that failed is not a check that passed
        ("pause", {"unverified": 8}, {"paused": 40}, 1, "unverified"),
        ("restore", {"unverified": 1}, {"restored": 40}, 1, "unverified"),
        ("pause", {"unverified": 8}, {"paused": 39, "failed": 1}, 1, "incomplete"),
        ("pause", {"unverified": 8, "ended": Ended.DEADLINE}, {"paused": 40}, 1, "unverified"),
        ("pause", {"unverified": 8, "ended": Ended.SIGNAL_INT}, {}, 130, "interrupted"),
        ("pause", {"unverified": 8, "ended": Ended.SERVER}, {"paused": 40}, 4, "ended_early"),
        ("pause", {"unverified": 8, "dry_run": True}, {"planned": 3}, 0, "planned"),
        ("pause-all", {"unverified": 8, "proofs": (QUIET,)}, {"paused": 8}, 0, "quiet"),
        ("restore", {}, {"restored": 3, "left_alone": 1, "not_running": 1}, 0, "complete"),
        ("restore", {}, {"restored": 3, "failed": 1}, 1, "incomplete"),
        ("pause-all", {"proofs": (QUIET,)}, {"not_found": 1}, 0, "quiet"),
        ("pause-all", {"proofs": (QUIET, RUNNING)}, {"paused": 1}, 6, "still_running"),
        ("pause-all", {"proofs": (EMPTY,)}, {}, 6, "not_proven"),
        ("pause-all", {"proofs": ()}, {}, 6, "not_proven"),
        ("pause-all", {"dry_run": True}, {"planned": 3}, 0, "planned"),
        # several apply
        ("pause", {"ended": Ended.SIGNAL_INT, "storage_failed": True}, {}, 5, "interrupted"),
        ("pause-all", {"storage_failed": True, "proofs": (QUIET,)}, {}, 5, "quiet"),
        ("pause-all", {"storage_failed": True, "proofs": (RUNNING,)}, {}, 6, "still_running"),
        ("pause-all", {"journal_incomplete": True, "proofs": (QUIET,)}, {}, 5, "quiet"),
        ("pause-all", {"ended": Ended.SIGNAL_INT, "proofs": (QUIET,)}, {}, 0, "quiet"),
        ("pause-all", {"ended": Ended.SIGNAL_INT, "proofs": (UNPROVEN,)}, {}, 130, "not_proven"),
        ("pause-all", {"ended": Ended.CREDENTIALS, "proofs": (UNPROVEN,)}, {}, 3, "not_proven"),
        ("pause-all", {"ended": Ended.SERVER, "dry_run": True}, {}, 6, "not_proven"),
    ],
)
def test_runs_end_as_the_design_says(
    kind: str, changes: dict[str, Any], counts: dict[str, int], code: int, verdict: str
) -> None:
    """[P17] Exit code and verdict of the situations that docs/spec/contracts.md names."""
    accept = frozenset(changes.get("accept", ()))
    facts = make_facts(RunKind(kind), **(changes | {"accept": accept}))
    tally = tally_of(**counts)

    assert (exit_code(facts, tally), run_verdict(facts, tally)) == (code, RunVerdict(verdict))


@pytest.mark.parametrize(
    ("kind", "changes", "counts", "helps"),
    [
        ("pause", {}, {"paused": 1}, False),
        ("pause", {}, {"failed": 1}, True),
        ("pause", {}, {"unknown": 1}, True),
        ("pause", {}, {"still_running": 1}, True),
        ("pause", {}, {"unattempted": 1}, True),
        ("pause", {}, {"not_found": 1, "rejected": 1, "denied": 1, "invalid": 1}, False),
        ("pause", {"accept": frozenset({Outcome.UNKNOWN})}, {"unknown": 1}, False),
        ("pause", {"ended": Ended.CREDENTIALS}, {"unattempted": 1}, False),
        ("pause", {"dry_run": True}, {"unattempted": 1}, False),
        ("pause", {"unverified": 1}, {"paused": 1}, True),
        ("restore", {"unverified": 1}, {"restored": 1}, True),
        ("pause", {"unverified": 1, "ended": Ended.CREDENTIALS}, {"paused": 1}, False),
        ("pause-all", {"proofs": (QUIET,)}, {}, False),
        ("pause-all", {"proofs": (QUIET, RUNNING)}, {}, True),
        ("pause-all", {"proofs": (EMPTY, QUIET)}, {}, False),
        ("pause-all", {"proofs": ()}, {}, True),
    ],
)
def test_a_scheduler_is_told_whether_to_try_again(
    kind: str, changes: dict[str, Any], counts: dict[str, int], *, helps: bool
) -> None:
    """Trying again helps against outages, not against a wrong key, id or VDN."""
    assert rerun_may_help(make_facts(RunKind(kind), **changes), tally_of(**counts)) is helps


def test_nothing_repeats_a_restore_that_was_stopped_again() -> None:
    """A scheduler that reads `rerun_may_help` would start what somebody has just stopped."""
    row = make_row(Outcome.FAILED, cause=Kind.ACCEPTED)

    assert not rerun_may_help(make_facts(RunKind.RESTORE), tally_of(row))
    assert rerun_may_help(make_facts(RunKind.RESTORE), tally_of(failed=1))


# -- summary.json -----------------------------------------------------------------------------


def test_the_summary_of_a_pause_is_the_contract() -> None:
    """Every key of docs/reference.md, in order, times in ISO, counts in the order of the table."""
    facts = make_facts(
        manifest_path="lists/spring.csv",
        manifest_sha256="ab" * 32,
        manifest_lines=4,
        rate_ceiling_per_s=10,
        worst_1s=10,
        mean_per_s=9.81234,
        lag_s=8.25,
        clock_offset_s=-1.5,
        processes=(
            ProcessFacts(AT_MS, AT_MS + 1000, Ended.SIGNAL_INT, 12, "jump1"),
            ProcessFacts(AT_MS + 2000, None, None, 13, "jump1"),
        ),
        accept=frozenset({Outcome.NOT_FOUND}),
    )
    tally = tally_of(
        make_row(Outcome.UNKNOWN, vdn_id="1300"),
        make_row(Outcome.INVALID, vdn_id="x"),
        make_row(vdn_id="1201"),
        make_row(vdn_id="7"),
    )

    document = summary_document(facts, tally)

    assert list(document.items()) == [
        ("schema", 1),
        ("run_id", "20261123T230501Z-7f3a"),
        ("action", "pause"),
        ("verdict", "incomplete"),
        ("exit_code", 1),
        ("reason", "wrong list"),
        ("operator", "ana"),
        ("host", "jump1"),
        ("version", "0.1.0"),
        ("server", "https://isales.example.com:28080"),
        ("server_name", "production"),
        ("settings", {"pace.rate_per_s": 10.0}),
        ("manifest", {"path": "lists/spring.csv", "sha256": "ab" * 32, "lines": 4}),
        ("started_at", "2026-11-23T23:05:01.123Z"),
        ("ended_at", "2026-11-23T23:06:01.123Z"),
        ("counts", {"paused": 2, "unknown": 1, "invalid": 1}),
        (
            "by_vdn",
            {
                "7": {"paused": 1},
                "1201": {"paused": 1},
                "1300": {"unknown": 1},
                "invalid": {"invalid": 1},
            },
        ),
        ("rate", {"ceiling_per_s": 10, "worst_1s": 10, "mean_per_s": 9.812}),
        ("lag_s", 8.25),
        ("rerun_may_help", True),
        ("notes", []),
        ("clock_offset_s", -1.5),
        (
            "processes",
            [
                {
                    "started_at": "2026-11-23T23:05:01.123Z",
                    "ended_at": "2026-11-23T23:05:02.123Z",
                    "ended": "signal_int",
                    "pid": 12,
                    "host": "jump1",
                },
                {
                    "started_at": "2026-11-23T23:05:03.123Z",
                    "ended_at": None,
                    "ended": None,
                    "pid": 13,
                    "host": "jump1",
                },
            ],
        ),
    ]
    assert list(document["by_vdn"]) == ["7", "1201", "1300", "invalid"]  # type: ignore[call-overload]


def test_the_summary_of_a_restore_names_its_source_and_what_was_chosen() -> None:
    """Which run, which lists, how many: enough to read it without the command line."""
    chosen: dict[str, object] = {
        "only": None,
        "except": {"list": "1005,1017", "campaigns": 2},
        "vdns": [],
        "limit": 3,
    }
    note = Note("2026-11-27T10:41:07.000Z", "ada", "ticket 4711")
    facts = make_facts(RunKind.RESTORE, source_run="r1", selection=chosen, notes=(note,))

    document = summary_document(facts, tally_of(make_row(Outcome.RESTORED)))

    assert (document["source_run"], document["selection"]) == ("r1", chosen)
    assert document["notes"] == [
        {"at": "2026-11-27T10:41:07.000Z", "operator": "ada", "text": "ticket 4711"}
    ]


def test_the_summary_of_a_pause_all_shows_its_sweeps() -> None:
    """The sweeps that are the proof, and what they do not cover; no list, so no manifest."""
    sweep = SweepRecord(
        vdn_id=1234,
        started_at_ms=AT_MS,
        ended_at_ms=AT_MS + 500,
        pages=2,
        rows=101,
        total_size=None,
        started=0,
        complete=False,
        problem="page 2 failed",
    )
    facts = make_facts(RunKind.PAUSE_ALL, proofs=(QUIET,), sweeps=(sweep,), ended_at_ms=None)

    document = summary_document(facts, tally_of())

    assert document["manifest"] is None
    assert document["ended_at"] is None
    assert list(document)[-4:] == ["sweeps", "not_covered", "clock_offset_s", "processes"]
    assert document["sweeps"] == [
        {
            "vdn_id": 1234,
            "started_at": "2026-11-23T23:05:01.123Z",
            "ended_at": "2026-11-23T23:05:01.623Z",
            "pages": 2,
            "rows": 101,
            "total_size": None,
            "started": 0,
            "complete": False,
            "problem": "page 2 failed",
        }
    ]
    assert document["not_covered"] == [
        "calls already in progress",
        "appointments (reserved calls)",
    ]


def test_the_summary_has_the_countdown_of_the_calls_where_they_were_counted() -> None:
    """Number by number with time and VDN, and when the last of them was over."""
    counts = (CallCount(1_795_430_467_000, 1234, 41), CallCount(1_795_430_670_000, 1234, 0))
    calls = CallsRecord(counts, silent_at_ms=1_795_430_670_000, campaigns=60)
    facts = make_facts(RunKind.PAUSE_ALL, proofs=(QUIET,), calls=calls)

    document = summary_document(facts, tally_of())

    keys = list(document)
    assert keys[keys.index("not_covered") :][:3] == ["not_covered", "calls", "silent_at"]
    assert (calls.total(1_795_430_467_000), calls.total(1)) == (41, 0)
    assert document["calls"] == [
        {"at": "2026-11-23T10:41:07.000Z", "vdn_id": 1234, "in_progress": 41},
        {"at": "2026-11-23T10:44:30.000Z", "vdn_id": 1234, "in_progress": 0},
    ]
    assert document["silent_at"] == "2026-11-23T10:44:30.000Z"


@pytest.mark.parametrize(("unread", "named"), [(1, "1 campaign"), (1_200, "1,200 campaigns")])
def test_campaigns_of_which_no_number_came_are_not_covered(unread: int, named: str) -> None:
    """Counting says nothing of them."""
    calls = CallsRecord((CallCount(1, 1234, 0),), campaigns=2_000, unread=unread)
    facts = make_facts(RunKind.PAUSE_ALL, proofs=(QUIET,), calls=calls)

    assert f"calls of {named} without a number" in not_covered(facts)


def test_calls_change_no_exit_code() -> None:
    """Quiet with calls that go on, or that could not be counted, is quiet."""
    for calls in (None, CallsRecord(problem="HTTP 500"), CallsRecord((CallCount(1, 1234, 9),))):
        facts = make_facts(RunKind.PAUSE_ALL, proofs=(QUIET,), calls=calls)

        assert (exit_code(facts, tally_of()), run_verdict(facts, tally_of())) == (0, "quiet")


def test_the_summary_of_a_pause_all_has_a_verdict_for_each_vdn() -> None:
    """Beside its outcomes; a VDN in which nothing was found to pause has one too."""
    facts = make_facts(RunKind.PAUSE_ALL, proofs=(EMPTY, UNPROVEN, RUNNING, QUIET))
    tally = tally_of(make_row(vdn_id="1234"), make_row(Outcome.FAILED, vdn_id="1235"))

    by_vdn = summary_document(facts, tally)["by_vdn"]

    assert isinstance(by_vdn, dict)
    assert list(by_vdn.items()) == [
        ("1234", {"paused": 1, "verdict": "quiet"}),
        ("1235", {"failed": 1, "verdict": "still_running"}),
        ("1236", {"verdict": "not_proven"}),
        ("1243", {"verdict": "not_proven"}),
    ]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (RunKind.PAUSE, {}),
        (RunKind.RESTORE, {}),
        (RunKind.PAUSE_ALL, {"dry_run": True, "proofs": (UNPROVEN,)}),
    ],
)
def test_where_nothing_was_to_be_proven_no_vdn_has_a_verdict(
    kind: RunKind, changes: dict[str, Any]
) -> None:
    """A list, a restore and a dry run count outcomes only."""
    document = summary_document(make_facts(kind, **changes), tally_of(make_row(vdn_id="1236")))

    assert document["by_vdn"] == {"1236": {"paused": 1}}


def test_only_a_repeat_names_its_parent() -> None:
    """The run whose failed.csv was its list."""
    documents = [
        summary_document(make_facts(parent_run=parent), tally_of()) for parent in ("", "r1")
    ]

    assert [document.get("parent_run") for document in documents] == [None, "r1"]
    assert "parent_run" not in documents[0]


def test_no_secret_gets_into_the_summary() -> None:
    """Invariant 18: a Secret that strayed into the settings is shown as ***; all is plain JSON."""
    settings = {
        "credentials.secret_key": Secret("canary-0123456789"),
        "signing": {"signed_headers": ("host",), "millis": False},
        "retry": [float("inf"), None, 5],
    }

    document = summary_document(make_facts(settings=settings), tally_of())

    text = json.dumps(document, allow_nan=False)
    assert "canary" not in text
    assert json.loads(text)["settings"] == {
        "credentials.secret_key": "***",
        "signing": {"signed_headers": ["host"], "millis": False},
        "retry": [None, None, 5],
    }
