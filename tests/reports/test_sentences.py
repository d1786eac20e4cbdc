"""The lines that people read."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.isales.verdict import Kind
from orchestrator.policy.decide import Outcome
from orchestrator.reports.next_steps import next_step
from orchestrator.reports.rows import RunKind, Tally
from orchestrator.reports.sentences import begun_line, unstopped_lines, verdict_line
from orchestrator.reports.summary import CallCount, CallsRecord, Ended, RunFacts, VdnProof
from tests.report_makers import HOSTILE, database_failure, make_facts, make_row, tally_of

RUN = "20261123T230501Z-7f3a"
#: 10:41:07Z
SINCE_MS = 1_795_430_467_000
AGAIN_MS = SINCE_MS + 5_000
QUIET = VdnProof(1234, quiet_since_ms=SINCE_MS, again_at_ms=AGAIN_MS, local_time="17:41")
IS_QUIET = (
    "is quiet: the server's listings showed nothing running at 10:41:07Z and again at 10:41:12Z"
    " (17:41 here)."
)
NOT_MEASURED = "Since nothing was paused, the age of these listings was not measured."
NOT_COVERED = "Not covered: calls already in progress; appointments (reserved calls)."
AGAIN = f"{NOT_COVERED} Next: orchestrator pause-all --vdn 1234"


def last_line(facts: RunFacts, tally: Tally, *, failed_path: str = "failed.csv") -> str:
    """As the command prints it: how it ended, and what to do."""
    following = next_step(facts, tally, failed_path=failed_path)
    return f"{verdict_line(facts, tally)} {following}".rstrip()


def test_the_sentence_of_the_design_for_a_list() -> None:
    """3,000 lines with 39 failures: the very sentence of docs/spec/contracts.md."""
    failures = [database_failure() for _ in range(6)]
    tally = tally_of(*failures, paused=2704, already_paused=257, not_found=31, unknown=2)

    assert last_line(make_facts(), tally, failed_path="…/failed.csv") == (
        "3,000 lines: 2,961 stopped (2,704 paused, 257 already), 39 not stopped: 31 not found,"
        " 6 failed (database), 2 unknown. Try the 8 again: orchestrator pause …/failed.csv"
    )


def test_the_sentence_of_the_design_for_an_emergency() -> None:
    """VDN 1234 is quiet: the very sentence of docs/spec/contracts.md."""
    proof = QUIET._replace(may_start=2, first_start="08:00")
    tally = tally_of(*[make_row(vdn_id="1234") for _ in range(38)])

    assert last_line(make_facts(RunKind.PAUSE_ALL, proofs=(proof,)), tally) == (
        "VDN 1234 is quiet: the server's listings showed nothing running at 10:41:07Z and again at"
        " 10:41:12Z (17:41 here). We paused 38. 2 more are scheduled to start, the first at 08:00"
        " server time. Not covered: calls already in progress; appointments (reserved calls)."
    )


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"action": "pause-all", "vdns": [1234]}, "to stop VDN 1234"),
        ({"action": "pause-all", "vdns": [7, 12]}, "to stop VDNs 7, 12"),
        (
            {"action": "pause", "manifest": {"path": "/lists/n.csv"}},
            "to pause the list /lists/n.csv",
        ),
        ({"action": "pause", "manifest": {"path": "-"}}, "to pause a list"),
        ({"action": "restore", "source_run": "7f3a"}, "to start again what run 7f3a stopped"),
    ],
)
def test_the_beginning_says_who_what_where_and_why(changes: dict[str, Any], what: str) -> None:
    """One line, whatever somebody wrote into the reason."""
    known: dict[str, Any] = {
        "vdns": [],
        "manifest": None,
        "source_run": None,
        "operator": "ana",
        "host": "jump1",
    }
    known |= {"server_name": "production", "reason": ""}

    line = begun_line(known | changes)
    hostile = begun_line(known | changes | {"reason": "two\nlines\u202e."})

    assert line == f"ana on jump1 began {what} on production: no reason was given."
    assert hostile.endswith(r"on production: two\nlines\u202e.")


@pytest.mark.parametrize(
    ("changes", "counts", "line"),
    [
        ({}, {"paused": 1}, "1 line: 1 stopped (1 paused)."),
        ({}, {}, "0 lines: 0 stopped."),
        (
            {},
            {"paused": 1, "not_running": 1, "duplicate": 2, "invalid": 1},
            "5 lines: 2 stopped (1 paused, 1 not running); not sent: 2 duplicate, 1 invalid.",
        ),
        (
            {"accept": frozenset({Outcome.NOT_FOUND})},
            {"paused": 1, "not_found": 2},
            "3 lines: 1 stopped (1 paused), 2 not stopped: 2 not found (accepted).",
        ),
        (
            {"dry_run": True},
            {"planned": 2, "duplicate": 1},
            (
                "3 lines: 1 duplicate, 2 planned. Nothing was sent."
                " Next: the same command without --dry-run"
            ),
        ),
        (
            {"ended": Ended.SIGNAL_INT, "why": "SIGINT"},
            {"paused": 1, "unattempted": 2},
            (
                "Interrupted (SIGINT): 3 lines: 1 stopped (1 paused), 2 not stopped: 2 not"
                " attempted."
                f" Next: orchestrator continue {RUN}"
            ),
        ),
        (
            {"ended": Ended.SERVER, "why": "no useful answer for 1,800 s\x1b[2J", "worst_1s": 3},
            {"unattempted": 1},
            (
                "Ended early (no useful answer for 1,800 s\\x1b[2J): 1 line: 0 stopped,"
                " 1 not stopped: 1 not attempted. Next: run `orchestrator check --vdn 1201` to see"
                f" what the server says, then `orchestrator continue {RUN}`"
            ),
        ),
        (
            {"storage_failed": True},
            {"paused": 1},
            (
                "1 line: 1 stopped (1 paused). The report could not be stored."
                f" Next: make room for the journal and the report, then"
                f" `orchestrator continue {RUN}`"
            ),
        ),
        (
            {},
            {"unattempted": 1},
            f"1 line: 0 stopped, 1 not stopped: 1 not attempted. Next: orchestrator continue {RUN}",
        ),
        # a check that failed is not a check that passed, and `continue` makes it again
        (
            {"unverified": 8},
            {"paused": 40},
            (
                "40 lines: 40 stopped (40 paused). 8 campaigns were accepted and could not be"
                f" checked afterwards. Next: orchestrator continue {RUN}"
            ),
        ),
        (
            {"unverified": 1},
            {"paused": 1, "not_found": 1},
            (
                "2 lines: 1 stopped (1 paused), 1 not stopped: 1 not found. 1 campaign was"
                " accepted and"
                f" could not be checked afterwards. Next: orchestrator continue {RUN}"
            ),
        ),
        # a lag is said when it is over 5 s
        ({"lag_s": 5.0}, {"paused": 1}, "1 line: 1 stopped (1 paused)."),
        (
            {"lag_s": 8.4},
            {"paused": 1},
            "1 line: 1 stopped (1 paused). The server's listings were up to 8 s old.",
        ),
    ],
)
def test_the_last_line_of_a_pause(
    changes: dict[str, Any], counts: dict[str, int], line: str
) -> None:
    """How many, how many not, why, and what to type next."""
    assert last_line(make_facts(**changes), tally_of(**counts)) == line


def test_the_main_reason_of_a_group_is_called_the_main_one() -> None:
    """Two failed by the database, one otherwise: `mostly database`."""
    other = database_failure(cause=Kind.UNREACHABLE, error="no route to host")
    tally = tally_of(database_failure(), other, database_failure())

    assert "3 failed (mostly database)" in last_line(make_facts(), tally)


def test_the_last_line_of_a_restore_mirrors_that_of_a_pause() -> None:
    """Running again is the success, and the next step is the same restore once more."""
    facts = make_facts(RunKind.RESTORE, source_run="20261123T200000Z-0001")
    tally = tally_of(
        database_failure(), restored=35, already_running=1, not_running=1, left_alone=2
    )

    assert last_line(facts, tally) == (
        "40 lines: 36 running again (35 restored, 1 already), 1 not running, 2 left alone,"
        " 1 not started again: 1 failed (database). Try the 1 again: orchestrator restore"
        " 20261123T200000Z-0001"
    )


@pytest.mark.parametrize(
    ("outcomes", "before", "line"),
    [
        ({"left_alone": 62}, 62, "62 lines: 62 started again before, by another restore."),
        (
            {"left_alone": 64, "restored": 1, "not_running": 1},
            62,
            (
                "66 lines: 1 running again (1 restored), 62 started again before, by another"
                " restore, 1 not running, 2 left alone."
            ),
        ),
        ({"left_alone": 2}, 0, "2 lines: 0 running again, 2 left alone."),
    ],
)
def test_a_repeated_restore_says_what_was_started_before(
    outcomes: dict[str, int], before: int, line: str
) -> None:
    """Not "0 running again" while all of it was started, once, by the restore before."""
    facts = make_facts(RunKind.RESTORE, source_run="r1", restored_before=before)

    assert last_line(facts, tally_of(**outcomes)) == line


@pytest.mark.parametrize(
    ("proof", "changes", "line"),
    [
        (QUIET, {}, f"{IS_QUIET} We paused 1. {NOT_COVERED}"),
        # a hold names the longest time between two clean looks
        (
            QUIET._replace(longest_gap_s=10.4),
            {},
            (
                f"{IS_QUIET} We paused 1. The longest time between two clean looks was 10 s."
                f" {NOT_COVERED}"
            ),
        ),
        # a lag is said when it is over 5 s
        (
            QUIET,
            {"lag_s": 7.6},
            f"{IS_QUIET} We paused 1. {NOT_COVERED} The server's listings were up to 8 s old.",
        ),
        # a journal of an earlier version knows the last look, or the first only
        (
            VdnProof(1234, quiet_since_ms=SINCE_MS, seen_at_ms=AGAIN_MS, clean_sweeps=14),
            {},
            f"{IS_QUIET.replace(' (17:41 here)', '')} We paused 1. {NOT_COVERED}",
        ),
        (
            VdnProof(1234, quiet_since_ms=SINCE_MS),
            {},
            (
                "is quiet: the server's listings showed nothing running at 10:41:07Z and again at"
                f" 10:41:07Z. We paused 1. {NOT_COVERED}"
            ),
        ),
        (
            VdnProof(1234, started=3, seen_at_ms=SINCE_MS, local_time="17:41", may_start=1),
            {},
            (
                "is STILL RUNNING: 3 campaigns started at 10:41:07Z (17:41 here). We paused 1."
                f" 1 more is scheduled to start. {AGAIN}"
            ),
        ),
        (
            VdnProof(1234, started=1),
            {},
            f"is STILL RUNNING: 1 campaign started. We paused 1. {AGAIN}",
        ),
        (
            VdnProof(1234, problem="page 3 of the listing failed"),
            {},
            f"is NOT PROVEN quiet: page 3 of the listing failed. We paused 1. {AGAIN}",
        ),
        (
            VdnProof(1234, no_campaigns=True),
            {},
            (
                "is NOT PROVEN quiet: it has no campaigns at all, is 1234 the right VDN?"
                f" We paused 1. {NOT_COVERED} Next: check the VDN number"
            ),
        ),
        (
            VdnProof(1234),
            {"ended": Ended.DEADLINE},
            (
                "is NOT PROVEN quiet: out of time. We paused 1."
                f" {NOT_COVERED} Next: orchestrator continue {RUN}"
            ),
        ),
        (
            VdnProof(1234),
            {},
            f"is NOT PROVEN quiet: no two clean passes. We paused 1. {AGAIN}",
        ),
        (
            QUIET,
            {"journal_incomplete": True},
            (
                f"{IS_QUIET} We paused 1. {NOT_COVERED} The disk failed while this run was"
                " recorded: campaigns that it paused then may be missing here and in a restore; the"
                " output of that process lists them."
            ),
        ),
        (
            QUIET,
            {"storage_failed": True},
            (
                f"{IS_QUIET} We paused 1. {NOT_COVERED}"
                " The journal or the report could not be stored."
            ),
        ),
    ],
)
def test_the_last_line_of_an_emergency(proof: VdnProof, changes: dict[str, Any], line: str) -> None:
    """Quiet, still running, or not proven and why; never quiet by default."""
    facts = make_facts(RunKind.PAUSE_ALL, proofs=(proof,), **changes)

    assert last_line(facts, tally_of(make_row(vdn_id="1234"))) == f"VDN 1234 {line}"


def test_where_nothing_was_paused_the_age_of_the_listings_is_not_claimed() -> None:
    """Without an acceptance of ours a lag cannot be seen, and the sentence says so."""
    line = last_line(make_facts(RunKind.PAUSE_ALL, proofs=(QUIET,)), tally_of())

    assert line == f"VDN 1234 {IS_QUIET} We paused 0. {NOT_MEASURED} {NOT_COVERED}"


def test_with_several_vdns_bad_news_comes_first() -> None:
    """One is quiet, two are not: they lead, and only they are to be paused again."""
    proofs = (QUIET, VdnProof(7, started=1), VdnProof(8))
    line = last_line(make_facts(RunKind.PAUSE_ALL, proofs=proofs), tally_of())

    assert line.startswith("VDN 7 is STILL RUNNING: 1 campaign started. We paused 0. VDN 8 is NOT")
    assert line.endswith("Next: orchestrator pause-all --vdn 7 --vdn 8")


def test_a_dry_run_of_an_emergency_says_what_would_happen() -> None:
    """How many campaigns of each VDN, and that no PUT was sent."""
    facts = make_facts(RunKind.PAUSE_ALL, dry_run=True, proofs=(VdnProof(7), VdnProof(8)))
    tally = tally_of(make_row(Outcome.PLANNED, vdn_id="7"))

    assert last_line(facts, tally) == (
        "VDN 7: 1 campaign would be paused; VDN 8: 0 campaigns would be paused."
        " No PUT was sent. Next: the same command without --dry-run"
    )


@pytest.mark.parametrize("ended", Ended)
@pytest.mark.parametrize("kind", RunKind)
def test_every_end_has_words(kind: RunKind, ended: Ended) -> None:
    """No end and no kind of run leaves people without a last line."""
    facts = make_facts(kind, ended=ended, proofs=(VdnProof(7),))

    assert last_line(facts, tally_of(**{outcome.value: 1 for outcome in Outcome}))


# -- the campaigns that are not stopped -------------------------------------------------------


def test_the_first_unstopped_campaigns_are_named_with_their_reason() -> None:
    """Name, reason and number of attempts, as far as they are known."""
    tally = tally_of(
        make_row(),
        database_failure(),
        make_row(Outcome.NOT_FOUND, campaign_id="147", campaign_name="", error="no such campaign"),
        make_row(Outcome.REJECTED, campaign_id="148", error="", result_desc="bad \u202eid"),
        make_row(
            Outcome.UNATTEMPTED, campaign_id="149", campaign_name="", result_desc="", attempts=0
        ),
    )

    assert unstopped_lines(make_facts(), tally) == [
        (
            'VDN 1201 campaign 146 "spring": failed: database operation error (0200006)'
            " after 5 attempts"
        ),
        "VDN 1201 campaign 147: not found: no such campaign after 1 attempt",
        'VDN 1201 campaign 148 "spring": rejected: bad \\u202eid after 1 attempt',
        "VDN 1201 campaign 149: not attempted",
    ]


def test_what_finds_no_room_is_counted() -> None:
    """Of 39 failures 20 are named; the accepted ones are not among them."""
    tally = tally_of(*[database_failure() for _ in range(39)], not_found=5)
    facts = make_facts(accept=frozenset({Outcome.NOT_FOUND}))

    lines = unstopped_lines(facts, tally, failed_path="…/failed.csv")

    assert len(lines) == 2
    assert lines[-1] == "… and 19 more, see …/failed.csv"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_does_not_move_the_cursor(text: str) -> None:
    """[S43] [Z10] The corpus as name, error and problem: one printable line of bounded length."""
    row = database_failure(campaign_name=text, error=text)
    proof = VdnProof(7, problem=text, may_start=1, first_start=text)

    lines = unstopped_lines(make_facts(why=text), tally_of(row))
    lines.append(last_line(make_facts(RunKind.PAUSE_ALL, proofs=(proof,)), tally_of(row)))

    assert len(lines) == 2
    for line in lines:
        assert line.isprintable()
        assert len(line) < 700


# -- calls in progress --------------------------------------------------------------------------

#: 2026-11-23T10:41:07Z
_FIRST_MS = 1_795_430_467_000
_LAST_MS = _FIRST_MS + 203_000
_LEFT = "Not covered: calls of campaigns that others stopped"
_RESERVED = "appointments (reserved calls)."


def counted(first: int, last: int, **more: Any) -> CallsRecord:
    """Two rounds of VDN 1234."""
    counts = (CallCount(_FIRST_MS, 1234, first), CallCount(_LAST_MS, 1234, last))
    return CallsRecord(counts=counts, **({"campaigns": 60} | more))


@pytest.mark.parametrize(
    ("calls", "line"),
    [
        (
            counted(41, 0, silent_at_ms=_LAST_MS),
            (
                "41 calls were in progress at 10:41:07Z, none at 10:44:30Z, in the campaigns that"
                f" we stopped. {_LEFT}; {_RESERVED}"
            ),
        ),
        (
            counted(1, 0, silent_at_ms=_LAST_MS),
            (
                "1 call was in progress at 10:41:07Z, none at 10:44:30Z, in the campaigns that we"
                f" stopped. {_LEFT}; {_RESERVED}"
            ),
        ),
        (
            counted(41, 3),
            (
                "41 calls were in progress at 10:41:07Z, 3 still at 10:44:30Z, in the campaigns"
                f" that we stopped. {_LEFT}; {_RESERVED}"
            ),
        ),
        (
            counted(0, 0, silent_at_ms=_LAST_MS),
            (
                "No call was in progress at 10:44:30Z in the campaigns that we stopped."
                f" {_LEFT}; {_RESERVED}"
            ),
        ),
        (
            counted(41, 7, problem="HTTP 500: server error"),
            (
                "41 calls were in progress at 10:41:07Z, 7 still at 10:44:30Z, in the campaigns"
                " that we stopped. Counting ended early (HTTP 500: server error)."
                f" {_LEFT}; {_RESERVED}"
            ),
        ),
        (
            counted(41, 0, unread=2),
            (
                "41 calls were in progress at 10:41:07Z, none at 10:44:30Z, in 58 of the 60"
                f" campaigns that we stopped. {_LEFT}; calls of 2 campaigns without a number;"
                f" {_RESERVED}"
            ),
        ),
        (
            counted(4, 0, campaigns=3, unread=1, beyond=(6000,)),
            (
                "4 calls were in progress at 10:41:07Z, none at 10:44:30Z, in 2 of the 3 campaigns"
                " that we stopped. CC-CMS takes no VDN above 5000: VDN 6000 was not counted."
                f" {_LEFT}; calls of 1 campaign without a number; {_RESERVED}"
            ),
        ),
        (
            CallsRecord(campaigns=60, unread=60, problem="code 0100006"),
            f"Calls in progress could not be counted (code 0100006). {NOT_COVERED}",
        ),
        (
            CallsRecord(campaigns=2, unread=2, beyond=(6000,)),
            (
                "Calls in progress could not be counted. CC-CMS takes no VDN above 5000: VDN 6000"
                f" was not counted. {NOT_COVERED}"
            ),
        ),
    ],
)
def test_the_countdown_of_calls_is_said_with_what_it_leaves_out(
    calls: CallsRecord, line: str
) -> None:
    """Between the proof and what is not covered; a lone number never claims more than was read."""
    facts = make_facts(RunKind.PAUSE_ALL, proofs=(QUIET,), calls=calls)

    assert last_line(facts, tally_of(make_row(vdn_id="1234"))) == (
        f"VDN 1234 {IS_QUIET} We paused 1. {line}"
    )


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (0, "We paused 1."),
        (1, "We paused 1. 1 that we found is not stopped."),
        (42, "We paused 1. 42 that we found are not stopped."),
    ],
)
def test_an_emergency_that_was_cut_short_says_how_many_go_on(left: int, said: str) -> None:
    """Whoever reads it out must not have to add it up."""
    facts = make_facts(RunKind.PAUSE_ALL, proofs=(VdnProof(1201),), ended=Ended.SIGNAL_INT)
    rows = [make_row(), *[make_row(Outcome.UNATTEMPTED) for _ in range(left)]]

    assert f"{said} Not covered" in last_line(facts, tally_of(*rows))


def test_campaigns_of_one_reason_are_one_line() -> None:
    """Twenty rows that say one thing: all are named, and the reason stands once."""
    rows = [
        make_row(Outcome.UNATTEMPTED, campaign_id=str(n), error="the run ended", attempts=n % 2)
        for n in range(5)
    ]
    elsewhere = [row._replace(vdn_id=str(n // 3 + 1)) for n, row in enumerate(rows)]

    assert unstopped_lines(make_facts(), tally_of(*rows)) == [
        "VDN 1201 campaigns 0, 1, 2, 3, 4: not attempted: the run ended"
    ]
    assert unstopped_lines(make_facts(), tally_of(*elsewhere)) == [
        "VDN 1 campaigns 0, 1, 2; VDN 2 campaigns 3, 4: not attempted: the run ended"
    ]


def test_a_file_that_was_not_written_is_not_pointed_to() -> None:
    """The disk was full: the rest is counted, and failed.csv is not named."""
    tally = tally_of(*[database_failure() for _ in range(39)])

    assert unstopped_lines(make_facts(storage_failed=True), tally)[-1] == "… and 19 more"
