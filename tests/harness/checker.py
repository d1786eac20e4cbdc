"""An independent reading of a run: wire, journal and report must tell the same story.

- Written from docs/spec/contracts.md and docs/spec/invariants.md; nothing of the product decides
  anything here.
- The journal is read with plain SQL, the report with plain csv, the wire as it was recorded.
- a finding is one sentence that names the campaign and the invariant's number.
"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.simulator.routes import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.fakes import Sent

Pair = tuple[int, int]

STOPPED = {"paused", "already_paused", "not_running"}
RESTORED_WELL = {"restored", "already_running", "not_running", "left_alone"}
UNCOUNTED = {"duplicate", "planned"}
ACCEPTED = "0200000"


@dataclass
class Story:
    """Everything that is known of one run of any number of processes."""

    kind: str
    run_dir: Path
    #: the lines of the list as pairs; None: there was none
    lines: Sequence[Pair] | None
    #: requests of this run
    sent: Sequence[Sent]
    #: process → campaigns whose outcome stood when it began
    settled_before: dict[int, set[Pair]] = field(default_factory=dict)
    #: process → (when it was told to stop, when it had ended), virtual seconds
    stops: dict[int, tuple[float, float]] = field(default_factory=dict)
    grace_s: float = 22.0
    #: campaigns that others than us may have changed
    disturbed: set[Pair] = field(default_factory=set)
    #: a success without an effect may have been answered
    lies: bool = False
    exit_code: int | None = None
    storage_failed: bool = False


def findings(story: Story) -> list[str]:
    """Everything that does not add up; empty when all is well."""
    rows = read_rows(story.run_dir / "results.csv")
    parts = (
        _lines(story, rows),
        _conservation(story, rows),
        _successes(story, rows),
        _attempts(story),
        _settled(story),
        _stops(story),
        _retry_after(story),
        _exit_code(story, rows),
    )
    # Two of a sort tell as much as forty.
    return [finding for part in parts for finding in part[:2]]


def read_rows(path: Path) -> list[dict[str, str]]:
    """A report file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def query(run_dir: Path, sql: str) -> list[tuple[object, ...]]:
    """Ask a journal."""
    connection = sqlite3.connect(run_dir / "journal.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def standing(run_dir: Path) -> set[Pair]:
    """The campaigns whose outcome stands in a journal."""
    found = query(
        run_dir,
        "SELECT p.vdn_id, p.campaign_id FROM outcomes o JOIN plan p ON p.seq = o.seq"
        " WHERE o.standing = 'stands'",
    )
    return {(int(str(vdn)), int(str(number))) for vdn, number in found}


def last_end(run_dir: Path) -> str:
    """Why the last process ended; empty when it was killed."""
    ((ended,),) = query(run_dir, "SELECT coalesce(ended, '') FROM lives ORDER BY life DESC LIMIT 1")
    return str(ended)


def _pair(row: dict[str, str]) -> Pair:
    return int(row["vdn_id"]), int(row["campaign_id"])


def _counted(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in rows if row["outcome"] not in {*UNCOUNTED, "invalid"}]


def _lines(story: Story, rows: list[dict[str, str]]) -> list[str]:
    """1: the rows are the lines, in order."""
    shown = [_pair(row) for row in rows]
    if story.lines is not None and shown != list(story.lines):
        return [f"[1] {len(shown)} rows for {len(story.lines)} lines, or in another order"]
    if story.lines is None and len(set(shown)) != len(shown):
        return ["[1] a campaign has two rows"]
    return []


def _conservation(story: Story, rows: list[dict[str, str]]) -> list[str]:
    """2: the summary's counts are the rows'."""
    summary = json.loads((story.run_dir / "summary.json").read_text(encoding="utf-8"))
    counts = dict(Counter(row["outcome"] for row in rows))
    found = []
    if summary["counts"] != counts:
        found.append(f"[2] summary {summary['counts']}, rows {counts}")
    failed = read_rows(story.run_dir / "failed.csv")
    wells = STOPPED if story.kind != "restore" else RESTORED_WELL
    unstopped = [_pair(row) for row in _counted(rows) if row["outcome"] not in wells]
    if [_pair(row) for row in failed] != unstopped:
        found.append("[2] failed.csv is not the rows that are not stopped")
    return found


def _by_campaign(sent: Iterable[Sent]) -> dict[Pair, list[Sent]]:
    found: dict[Pair, list[Sent]] = defaultdict(list)
    for one in sent:
        if one.is_change and one.ref is not None:
            found[one.ref.vdn_id, one.ref.campaign_id].append(one)
    return found


def _was_accepted(one: Sent) -> bool:
    return (
        one.delivered
        and one.entry is not None
        and one.entry.http_status == 200
        and one.entry.result_code in {ACCEPTED, "200000"}
        and "disagree" not in one.entry.fault
    )


def _successes(story: Story, rows: list[dict[str, str]]) -> list[str]:
    """3, 17 and exact undo: what is claimed happened, what happened is claimed."""
    puts = _by_campaign(story.sent)
    done = "restored" if story.kind == "restore" else "paused"
    found = []
    for row in _counted(rows):
        pair = _pair(row)
        own = puts.get(pair, [])
        effects = sum(1 for one in own if one.entry is not None and one.entry.took_effect)
        accepted = any(_was_accepted(one) for one in own)
        where = f"{pair} {row['outcome']}/{row['evidence']}/changed {row['changed']}"
        # An intent that a kill cut off before its PUT may be inferred to be ours.
        if row["outcome"] == done and not own and row["evidence"] != "inferred":
            found.append(f"[3] {where} without a PUT")
        if row["evidence"] == "accepted" and row["outcome"] == done and not accepted:
            found.append(f"[3] {where}, no acceptance was delivered")
        # After its disk has failed, an emergency goes on; what it did then is on no disk.
        if story.storage_failed:
            continue
        # Who was started again by somebody shows no trace of an effect whose answer was lost.
        if effects and row["changed"] == "no" and pair not in story.disturbed:
            found.append(f"[undo] {where}, yet {effects} of our PUTs took effect")
        claimed = row["changed"] == "yes" and row["evidence"] != "inferred"
        if claimed and not effects and not story.lies and pair not in story.disturbed:
            found.append(f"[undo] {where}, yet no PUT of ours took effect")
        if row["outcome"] in {"already_paused", "unattempted"} and effects:
            found.append(f"[undo] {where}, yet a PUT took effect")
    if story.storage_failed:
        return found
    known = {_pair(row) for row in _counted(rows)}
    found += [f"[1] {pair} got a PUT and has no row" for pair in puts if pair not in known]
    return found


def _attempts(story: Story) -> list[str]:
    """5 and 6: every PUT has its intent, and no intent is a PUT that was hidden."""
    recorded = query(
        story.run_dir,
        "SELECT p.vdn_id, p.campaign_id, sum(a.state = 'answered'), sum(a.state = 'intended')"
        " FROM attempts a JOIN plan p ON p.seq = a.seq GROUP BY 1, 2",
    )
    journal = {(int(str(v)), int(str(c))): (int(str(a)), int(str(i))) for v, c, a, i in recorded}
    found = []
    for pair, own in _by_campaign(story.sent).items():
        answered, intended = journal.get(pair, (0, 0))
        if not answered <= len(own) <= answered + intended:
            if story.storage_failed:
                continue
            found.append(
                f"[6] {pair}: {len(own)} PUTs, {answered} answered and {intended} open on record"
            )
    return found


def _settled(story: Story) -> list[str]:
    """9: no PUT for what an earlier process decided; an emergency pauses what runs by now."""
    if story.kind == "pause-all":
        return []
    return [
        f"[9] {one.ref} was settled before life {one.process} and got a PUT in it"
        for one in story.sent
        if one.is_change
        and one.ref is not None
        and (one.ref.vdn_id, one.ref.campaign_id) in story.settled_before.get(one.process, ())
    ]


def _stops(story: Story) -> list[str]:
    """13: no PUT leaves after the stop, reads for a last look only, and the end comes soon."""
    found = []
    for process, (at_s, ended_s) in story.stops.items():
        late = [one for one in story.sent if one.process == process and one.at_s > at_s + 1e-9]
        if any(one.is_change for one in late):
            found.append(f"[13] life {process}: a PUT left after the stop")
        if any(one.at_s > at_s + 18 for one in late):
            found.append(f"[13] life {process}: a last look of more than 18 s")
        if ended_s - at_s > story.grace_s:
            found.append(f"[13] life {process} took {ended_s - at_s:.1f} s to end")
    return found


def _retry_after(story: Story) -> list[str]:
    """15: after a Retry-After nothing of the same process leaves before it is over."""
    found = []
    for one in story.sent:
        wait_s = _asked_wait_s(one)
        if not wait_s or not one.delivered or one.ended_s is None:
            continue
        until_s = one.ended_s + wait_s
        early = [
            other
            for other in story.sent
            if other.process == one.process and one.ended_s + 1e-9 < other.at_s < until_s - 1e-6
        ]
        if early:
            found.append(f"[15] {len(early)} requests left within the {wait_s} s of a Retry-After")
    return found


def _asked_wait_s(one: Sent) -> float:
    name = one.entry.fault if one.entry is not None else ""
    return float(name.rpartition("after ")[2]) if "after " in name else 0.0


def _exit_code(story: Story, rows: list[dict[str, str]]) -> list[str]:
    """20: the exit code, computed once more."""
    if story.exit_code is None or story.storage_failed:
        return []
    ended = last_end(story.run_dir)
    outcomes = {row["outcome"] for row in rows} - UNCOUNTED
    summary = json.loads((story.run_dir / "summary.json").read_text(encoding="utf-8"))
    signals = {"signal_hup": 129, "signal_int": 130, "signal_term": 143, "": 137, "killed": 137}
    codes = {"bug": 70, "storage": 5, "credentials": 3, "server": 4, "max_failures": 4} | signals
    applying = [codes[ended]] if ended in codes else []
    if story.storage_failed:
        applying.append(5)
    if story.kind == "pause-all":
        quiet = summary["verdict"] == "quiet"
        applying = [code for code in applying if not (quiet and code in signals.values())]
        applying += [] if quiet else [6]
        order = [70, 3, *signals.values(), 6, 5]
    else:
        wells = STOPPED if story.kind != "restore" else RESTORED_WELL
        applying += [1] if outcomes - wells or summary["verdict"] == "unverified" else []
        order = [70, 5, 3, *signals.values(), 4, 1]
    wanted = next((code for code in order if code in applying), 0)
    found = []
    if story.exit_code != wanted or summary["exit_code"] != wanted:
        found.append(
            f"[20] exit {story.exit_code}, summary {summary['exit_code']}, should be {wanted}"
        )
    return found


def proofs_hold(run_dir: Path, gap_s: float = 5.0) -> list[str]:
    """Quiet rests on two complete sweeps per VDN without a started campaign, far enough apart."""
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    if summary["verdict"] != "quiet":
        return []
    found = []
    sweeps = query(
        run_dir,
        "SELECT vdn_id, started_at_ms, ended_at_ms, started, complete, rows, total_size"
        " FROM sweeps ORDER BY number",
    )
    by_vdn: dict[int, list[tuple[object, ...]]] = defaultdict(list)
    for sweep in sweeps:
        by_vdn[int(str(sweep[0]))].append(sweep)
    for vdn_id, own in by_vdn.items():
        clean = []
        for sweep in reversed(own):
            if sweep[3]:
                break
            if sweep[4]:
                clean.append(sweep)
        if len(clean) < 2:
            found.append(f"[quiet] VDN {vdn_id} has {len(clean)} clean sweeps at the end")
        elif int(str(clean[0][1])) - int(str(clean[-1][2])) < gap_s * 1000 - 2:
            found.append(f"[quiet] VDN {vdn_id}: its sweeps are too close to each other")
    return found


def touched_only(sent: Iterable[Sent], allowed: set[Pair]) -> list[str]:
    """No resume but for these campaigns, and each took effect at most once."""
    found = []
    effects: Counter[Pair] = Counter()
    for one in sent:
        if one.kind is not Kind.RESUME or one.ref is None:
            continue
        pair = (one.ref.vdn_id, one.ref.campaign_id)
        if pair not in allowed:
            found.append(f"[restore] {pair} was sent a start and is not ours")
        effects[pair] += one.entry is not None and one.entry.took_effect
    return [
        *found,
        *(f"[restore] {pair} started {n} times" for pair, n in effects.items() if n > 1),
    ]
