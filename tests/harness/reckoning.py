"""Three witnesses compared: the server's ledger, the journal, the report.

- Nothing here asks the product what it believes; files are read, rows are counted again.
- a journal is read from a copy, because SQLite tidies up whatever it opens.
Source: docs/spec/invariants.md, 1-9, 16 and 20.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.model import CampaignRef, Status
from orchestrator.store.tables import check_whole, connect

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from orchestrator.simulator.ledger import Entry
    from orchestrator.simulator.routes import Kind

_REPORTS = ("results.csv", "failed.csv", "summary.json")
#: outcomes that count as success, by what the run was for
_STOPPED = {"paused", "already_paused", "not_running"}
_RESTORED = {"restored", "already_running", "not_running", "left_alone"}


class LedgerMismatchError(AssertionError):
    """The witnesses disagree."""


def agree(condition: object, finding: str) -> None:
    """Say no when the witnesses disagree.

    Raises:
        LedgerMismatchError: they do.
    """
    if not condition:
        raise LedgerMismatchError(finding)


@dataclass(slots=True)
class Told:
    """What a journal says, by campaign."""

    #: outcome and changed, of those that stand
    settled: dict[CampaignRef, tuple[str, str]] = field(default_factory=dict)
    #: attempts that may have reached the wire
    intents: Counter[CampaignRef] = field(default_factory=Counter)
    #: attempts without an answer on record
    open: Counter[CampaignRef] = field(default_factory=Counter)
    plan: set[CampaignRef] = field(default_factory=set)
    #: status before anything was done, where somebody looked
    looks: dict[CampaignRef, int | None] = field(default_factory=dict)
    processes: int = 0
    ended: str | None = None


def read_journal(run_dir: Path, scratch: Path) -> Told | None:
    """Read a copy of a run's journal, checked from end to end; None when there is none.

    Raises:
        LedgerMismatchError: it is damaged.
    """
    if not (run_dir / "journal.db").exists():
        return None
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for name in ("journal.db", "journal.db-wal"):
        if (run_dir / name).exists():
            shutil.copyfile(run_dir / name, scratch / name)
    copy = scratch / "journal.db"
    with closing(connect(copy)) as connection:
        check_whole(connection, copy)
        return _tell(connection)


def _tell(connection: sqlite3.Connection) -> Told:
    told = Told()
    places = {
        seq: CampaignRef(vdn_id, campaign_id)
        for seq, vdn_id, campaign_id in connection.execute(
            "SELECT seq, vdn_id, campaign_id FROM plan WHERE problem = ''"
        )
    }
    told.plan = set(places.values())
    for seq, outcome, changed, standing in connection.execute(
        "SELECT seq, outcome, changed, standing FROM outcomes"
    ):
        if standing == "stands":
            told.settled[places[seq]] = (outcome, changed)
    for seq, state, number in connection.execute(
        "SELECT seq, state, count(*) FROM attempts WHERE state <> 'not_sent' GROUP BY seq, state"
    ):
        told.intents[places[seq]] += number
        if state == "intended":
            told.open[places[seq]] += number
    for seq, status in connection.execute("SELECT seq, status FROM looks"):
        told.looks[places[seq]] = status
    past = connection.execute("SELECT life, ended FROM lives ORDER BY life").fetchall()
    told.processes = len(past)
    told.ended = past[-1][1] if past else None
    return told


def puts_of(entries: Iterable[Entry], kind: Kind) -> Counter[CampaignRef]:
    """How many changes of one kind arrived, by campaign."""
    return Counter(entry.ref for entry in entries if entry.kind is kind and entry.ref is not None)


def ref_of(row: Mapping[str, str]) -> CampaignRef:
    """The campaign of a row of results.csv."""
    return CampaignRef(int(row["vdn_id"]), int(row["campaign_id"]))


def effects_of(entries: Iterable[Entry], kind: Kind) -> Counter[CampaignRef]:
    """How many changes of one kind took effect, by campaign."""
    return Counter(
        entry.ref
        for entry in entries
        if entry.kind is kind and entry.took_effect and entry.ref is not None
    )


def check_intents(
    told: Told, puts: Mapping[CampaignRef, int], *, cut_off: int, called_off: int = 0
) -> None:
    """Every PUT has its intent, and there are no more intents than processes that were cut short.

    Args:
        told: the journal.
        puts: the ledger.
        cut_off: intents that may never have reached the wire: requests in flight at each kill.
        called_off: PUTs that the client gave up before the server had read them.
    """
    for ref, number in puts.items():
        agree(
            told.intents[ref] >= number,
            f"{ref}: {number} PUTs arrived, the journal knows of {told.intents[ref]}",
        )
    surplus = sum(told.intents.values()) - sum(puts.values())
    agree(
        surplus <= cut_off + called_off,
        f"{surplus} intents without a PUT, at most {cut_off + called_off} can be explained",
    )


def check_settled(
    before: Told, earlier: Mapping[CampaignRef, int], now: Mapping[CampaignRef, int]
) -> None:
    """Nothing that was settled on record got another PUT."""
    for ref in before.settled:
        agree(
            now.get(ref, 0) == earlier.get(ref, 0),
            f"{ref} was settled as {before.settled[ref]} and got another PUT",
        )


def read_report(run_dir: Path) -> list[dict[str, str]]:
    """The rows of results.csv.

    Raises:
        LedgerMismatchError: it is not whole.
    """
    text = (run_dir / "results.csv").read_text(encoding="utf-8")
    agree(text.endswith("\n"), "results.csv ends in the middle of a row")
    with (run_dir / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def check_whole_or_absent(run_dir: Path, lines: int | None) -> set[str]:
    """A killed run leaves whole report files or none; gives the names of those that are there."""
    found = {name for name in _REPORTS if (run_dir / name).exists()}
    if "results.csv" in found:
        rows = read_report(run_dir)
        agree(
            lines is None or len(rows) == lines,
            f"results.csv was left with {len(rows)} rows of {lines}",
        )
    if "summary.json" in found:
        json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    return found


def check_no_strays(run_dir: Path) -> None:
    """Nothing unfinished lies about after a run that ended."""
    strays = [path.name for path in run_dir.iterdir() if ".part" in path.name]
    agree(not strays, f"left behind: {strays}")
    agree(not (run_dir / "holder.json").exists(), "the holder's name is still there")


def check_report(
    run_dir: Path, *, lines: Sequence[CampaignRef] | None, exit_code: int | None, restore: bool
) -> list[dict[str, str]]:
    """The report adds up: rows, counts, failed.csv, exit code; gives the rows.

    Args:
        run_dir: where it lies.
        lines: the list, line by line, or None: whatever was found.
        exit_code: what the command returned; a run that was not cut short.
        restore: a restore has other successes.
    """
    rows = read_report(run_dir)
    refs = [ref_of(row) for row in rows]
    if lines is not None:
        agree(refs == list(lines), "results.csv is not the list, line by line")
    counts = Counter(row["outcome"] for row in rows)
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    told = {name: number for name, number in summary["counts"].items() if number}
    agree(told == dict(counts), f"summary.json counts {told}, the rows are {dict(counts)}")
    firsts = [row for row in rows if row["outcome"] != "duplicate"]
    agree(
        len({(row["vdn_id"], row["campaign_id"]) for row in firsts}) == len(firsts),
        "a campaign has two rows that are no duplicates",
    )
    good = _RESTORED if restore else _STOPPED
    bad = [row for row in firsts if row["outcome"] not in good]
    with (run_dir / "failed.csv").open(encoding="utf-8", newline="") as file:
        failed = [(row["vdn_id"], row["campaign_id"]) for row in csv.DictReader(file)]
    agree(
        failed == [(row["vdn_id"], row["campaign_id"]) for row in bad],
        f"failed.csv has {len(failed)} rows, {len(bad)} are not stopped",
    )
    if exit_code is not None:
        agree(summary["exit_code"] == exit_code, f"exit {exit_code}, summary.json says otherwise")
        if lines is not None:
            agree(exit_code == int(bool(bad)), f"exit {exit_code} with {len(bad)} not stopped")
    return rows


def check_changed(
    rows: Iterable[Mapping[str, str]], effects: Mapping[CampaignRef, int], *, looked: bool
) -> int:
    """`changed` is yes exactly where the ledger says so; gives the number of inferred rows.

    Args:
        rows: of results.csv.
        effects: changes of this run that took effect.
        looked: the run looked first, so nothing needs to be inferred.
    """
    inferred = 0
    claimed: set[CampaignRef] = set()
    for row in rows:
        if row["outcome"] == "duplicate":
            continue
        ref = ref_of(row)
        claimed.add(ref)
        if row["evidence"] == "inferred":
            inferred += 1
            agree(
                not looked and not row["state_before"],
                f"{ref} is inferred although its state before was known: {row}",
            )
            continue
        agree(row["changed"] in {"yes", "no"}, f"{ref}: nobody knows whether we changed it: {row}")
        agree(
            (row["changed"] == "yes") == (effects.get(ref, 0) > 0),
            f"{ref}: changed={row['changed']}, the ledger has {effects.get(ref, 0)} effects: {row}",
        )
    missing = [ref for ref in effects if ref not in claimed]
    agree(not missing, f"changed and in no row: {missing[:3]}")
    return inferred


def check_perhaps_started(
    rows: Iterable[dict[str, str]], effects: dict[CampaignRef, int]
) -> tuple[list[dict[str, str]], list[CampaignRef]]:
    """docs/spec/evidence.md, rule 9: what a killed restore may have started is called that.

    Args:
        rows: of results.csv.
        effects: starts that took effect; those of such rows are taken out.

    Returns:
        The other rows, and what was seen suspended and is left to a person.
    """
    sure, left = [], []
    for row in rows:
        if row["changed"] != "maybe" and row["evidence"] != "inferred":
            sure.append(row)
            continue
        ref = ref_of(row)
        started = effects.pop(ref, 0)
        met = (row["outcome"], row["evidence"], row["state_after"], started > 0)
        if met == ("unknown", "none", "suspended", False):
            left.append(ref)
        else:
            agree(met == ("restored", "inferred", "started", True), f"perhaps started, and {row}")
    return sure, left


def check_world(
    statuses: Mapping[CampaignRef, Status], wanted: Mapping[CampaignRef, Status]
) -> None:
    """The campaigns are in the state that they should be in."""
    wrong = {
        ref: (statuses[ref].name, status.name)
        for ref, status in wanted.items()
        if statuses[ref] is not status
    }
    agree(not wrong, f"in another state than they should be (is, should be): {wrong}")
