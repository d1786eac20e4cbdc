"""Reading what a run leaves behind, with the contract's columns and nothing else."""

import csv
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

COLUMNS = [
    "vdn_id", "campaign_id", "campaign_name", "outcome", "stopped", "changed", "evidence",
    "may_start", "state_before", "state_after", "state_seen_at", "attempts", "result_code",
    "result_name", "result_desc", "http_status", "first_sent_at", "settled_at", "duration_ms",
    "line", "duplicate_of", "run_id", "error",
]  # fmt: skip
SUMMARY_KEYS = [
    "schema", "run_id", "action", "verdict", "exit_code", "reason", "operator", "host", "version",
    "server", "settings", "manifest", "started_at", "ended_at", "counts", "by_vdn", "rate",
    "rerun_may_help",
]  # fmt: skip
RATE_KEYS = ("ceiling_per_s", "worst_1s", "mean_per_s")
SWEEP_KEYS = [
    "vdn_id", "started_at", "ended_at", "pages", "rows", "total_size", "started", "complete",
    "problem",
]  # fmt: skip
#: design 6, the table of outcomes: stopped and changed as the file writes them
MEANING = {
    "paused": ("yes", {"yes"}),
    "already_paused": ("yes", {"no"}),
    "not_running": ("yes", {"no"}),
    "not_found": ("no", {"no"}),
    "rejected": ("no", {"no"}),
    "denied": ("no", {"no"}),
    "failed": ("no", {"no"}),
    "unknown": ("no", {"maybe"}),
    "still_running": ("no", {"yes"}),
    "unattempted": ("no", {"no"}),
    "invalid": ("", {"no", ""}),
    "duplicate": ("", {"no", ""}),
    "planned": ("", {"no", ""}),
}
EVIDENCE = {"accepted", "listed", "read", "inferred", "none", ""}

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """results.csv, failed.csv and summary.json of one run directory."""

    folder: Path
    columns: list[str]
    rows: list[Row]
    failed: list[Row]
    summary: dict[str, Any]

    def counts(self) -> Counter[str]:
        """Rows per outcome, counted here."""
        return Counter(row["outcome"] for row in self.rows)

    def of(self, vdn_id: int, campaign_id: int) -> Row:
        """The first row of a campaign; empty when there is none."""
        wanted = str(vdn_id), str(campaign_id)
        return next((row for row in self.rows if key(row) == wanted), {})

    def by_campaign(self) -> dict[tuple[int, int], Row]:
        """The deciding row of each campaign: neither invalid nor duplicate."""
        return {
            (int(row["vdn_id"]), int(row["campaign_id"])): row
            for row in self.rows
            if row["outcome"] not in {"invalid", "duplicate"}
        }


def key(row: Row) -> tuple[str, str]:
    """VDN and campaign as text."""
    return row.get("vdn_id", ""), row.get("campaign_id", "")


def read_rows(path: Path) -> tuple[list[str], list[Row]]:
    """Columns and rows of a CSV file; none of a file that is not there."""
    if not path.is_file():
        return [], []
    with path.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines, strict=True)
        rows = [{name: value or "" for name, value in row.items()} for row in reader]
        return list(reader.fieldnames or []), rows


def read_report(folder: Path) -> Report:
    """All three files; a missing one is an empty one (and fails a check)."""
    columns, rows = read_rows(folder / "results.csv")
    _, failed = read_rows(folder / "failed.csv")
    path = folder / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return Report(folder, columns, rows, failed, summary)


def moment(text: str) -> float:
    """ISO 8601 to seconds; the contract writes UTC with milliseconds."""
    return datetime.fromisoformat(text).timestamp()


def worst_second(times_s: Iterable[float]) -> int:
    """The most arrivals in any window of one second, [t, t + 1)."""
    times = sorted(times_s)
    worst = first = 0
    for last, at_s in enumerate(times):
        while at_s - times[first] >= 1.0:
            first += 1
        worst = max(worst, last - first + 1)
    return worst
