"""summary.json: the keys that other programs read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.policy.decide import Outcome
from orchestrator.reports.document import summary_document
from orchestrator.reports.rows import RunKind, SweepRecord
from orchestrator.reports.summary import (
    CallCount,
    CallsRecord,
    Ended,
    Note,
    ProcessFacts,
    VdnProof,
)
from orchestrator.settings.secret import Secret
from tests.report_makers import AT_MS, make_facts, make_row, tally_of

QUIET = VdnProof(1234, quiet_since_ms=AT_MS)
RUNNING = VdnProof(1235, started=3, seen_at_ms=AT_MS)
UNPROVEN = VdnProof(1236, problem="page 3 failed")
EMPTY = VdnProof(1243, no_campaigns=True)


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
    assert document["calls"] == [
        {"at": "2026-11-23T10:41:07.000Z", "vdn_id": 1234, "in_progress": 41},
        {"at": "2026-11-23T10:44:30.000Z", "vdn_id": 1234, "in_progress": 0},
    ]
    assert document["silent_at"] == "2026-11-23T10:44:30.000Z"


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
