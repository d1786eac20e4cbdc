"""Small journals made by hand, and everything in them as one value."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from orchestrator.isales.verdict import CONSEQUENCES, Kind, Verdict
from orchestrator.manifest.entry import ManifestLine
from orchestrator.model import CampaignRef
from orchestrator.reports.rows import RunKind
from orchestrator.store import PlanWriter, RunRecord
from orchestrator.store.tables import TABLES, put, set_durable

#: one row for every table, without the checksum
SAMPLES: dict[str, tuple[int | str | None, ...]] = {
    "meta": ("facts", '{"run_id": "20261123T230501Z-7f3a"}'),
    "plan": (7, 8, None, None, "12e3", "=1+1", "is not a VDN"),
    "duplicates": (3, 1),
    "looks": (1, 2, "spring 春", "2025-01-01 08:00:00", 1_795_475_101_123),
    "attempts": (1, 1, 1, 2, 1_000, "answered", 1_001, 1_080, "database_error", 1, "0200006", "db",
                 200, "database operation error (0200006)"),
    "outcomes": (1, 1, "failed", "none", "no", "exhausted", None, None, 1_090, "", "database"),
    "sweeps": (1, 1234, 1_000, 2_000, 3, 250, 250, 0, 1, ""),
    "lives": (1, 1_000, None, None, 4711, "jump1", 0, 0, 0),
    "restored": (1, "20261124T000000Z-0001", "intended", 1_000),
}  # fmt: skip


def run_record(**changes: Any) -> RunRecord:
    """What is on record of a run from its beginning."""
    record = RunRecord(
        run_id="20261123T230501Z-7f3a",
        kind=RunKind.PAUSE,
        reason="flood",
        operator="ada",
        host="jump1",
        version="1.0",
        server="http://127.0.0.1:8080",
        fingerprint="http://127.0.0.1:8080",
        settings={"signing": {"millis": False}},
        rate_per_s=10.0,
        concurrency=8,
        started_at_ms=1_000,
        dry_run=False,
    )
    return record._replace(**changes)


def line(number: int, campaign_id: int, *, vdn_id: int = 1234) -> ManifestLine:
    """A good line of a list."""
    ref = CampaignRef(vdn_id, campaign_id)
    return ManifestLine(number, str(number), ref, str(vdn_id), str(campaign_id), "")


def bad_line(
    number: int, text: str = "x", *, problem: str = "is not a campaign id"
) -> ManifestLine:
    """A bad line of a list."""
    return ManifestLine(number, str(number), None, "1234", text, problem)


def make_journal(lines: Iterable[ManifestLine], path: Path | None = None) -> sqlite3.Connection:
    """A journal of these lines, in memory unless told otherwise."""
    plan = PlanWriter(path)
    plan.take(lines)
    return plan.finish(run_record()).connection


def fill(connection: sqlite3.Connection) -> None:
    """Put the sample row into every table."""
    for table, row in SAMPLES.items():
        put(connection, table, row)


def sample_journal(path: Path) -> sqlite3.Connection:
    """A journal on disk with something in every table, in WAL mode."""
    connection = make_journal([line(one, one) for one in range(1, 40)], path)
    set_durable(connection)
    fill(connection)
    return connection


def dump(connection: sqlite3.Connection) -> dict[str, list[Any]]:
    """Every row of every table."""
    return {
        table: connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
        for table in TABLES
    }


def verdict(kind: Kind, code: str = "", *, http_status: int | None = 200) -> Verdict:
    """A verdict of this kind, in doubt or not as that kind is."""
    in_doubt = CONSEQUENCES[kind].in_doubt
    return Verdict(kind, f"because of {kind.value}", code, "", http_status, in_doubt)
