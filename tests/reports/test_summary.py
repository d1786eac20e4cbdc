"""How a run ended: exit code, verdict, summary.json."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from orchestrator.isales.verdict import Kind
from orchestrator.policy.decide import Outcome
from orchestrator.reports.rows import RunKind, Tally
from orchestrator.reports.summary import (
    CallCount,
    CallsRecord,
    Ended,
    RunFacts,
    RunVerdict,
    VdnProof,
    exit_code,
    not_covered,
    rerun_may_help,
    run_verdict,
)
from tests.report_makers import AT_MS, make_facts, make_row, tally_of

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


@pytest.mark.parametrize("counts", [{}, *({outcome.value: 1} for outcome in Outcome)])
def test_every_situation_has_the_exit_code_of_the_design(counts: dict[str, int]) -> None:
    """Invariant 20: each outcome in every combination of kind, end, storage and proof."""
    tally = tally_of(**counts)

    for facts in SITUATIONS:
        for accept in (frozenset[Outcome](), frozenset({Outcome.NOT_FOUND, Outcome.UNKNOWN})):
            own = facts._replace(accept=accept)
            assert exit_code(own, tally) == check_exit_code(own, tally), own


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


def test_the_calls_of_all_vdns_in_one_round_are_summed() -> None:
    """The VDNs of a round have the same time."""
    calls = CallsRecord((CallCount(7, 1234, 41), CallCount(7, 1235, 1), CallCount(9, 1234, 0)))

    assert (calls.total(7), calls.total(9), calls.total(1)) == (42, 0, 0)


def test_what_nobody_counted_is_not_covered() -> None:
    """Quiet says nothing of calls in progress and of reserved ones."""
    uncounted = make_facts(RunKind.PAUSE_ALL, proofs=(QUIET,))
    counted = uncounted._replace(calls=CallsRecord((CallCount(1, 1234, 0),), campaigns=9))

    assert not_covered(uncounted) == ("calls already in progress", "appointments (reserved calls)")
    assert not_covered(counted)[0] == "calls of campaigns that others stopped"
