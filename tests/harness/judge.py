"""An independent reading of a run: wire, journal and report must tell the same story.

- Written from docs/spec/contracts.md and docs/spec/invariants.md; nothing of the product decides
  anything here.
- The journal is read with plain SQL, the report with plain csv, the wire as it was recorded.
- A finding is one sentence that names the campaign and the invariant's number.
- What was true all along, whatever was shown: evidence.py.
"""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.model import CampaignRef
from orchestrator.simulator.routes import Kind
from orchestrator.store.tables import check_whole, connect
from tests.fakes import Sent

#: outcomes that count as success, by what the run was for
STOPPED = {"paused", "already_paused", "not_running"}
RESTORED_WELL = {"restored", "already_running", "not_running", "left_alone"}
UNCOUNTED = {"duplicate", "planned"}
ACCEPTED = "0200000"

_REPORTS = ("results.csv", "failed.csv", "summary.json")
#: what a killed restore may have started: outcome, evidence, state after, whether it took effect.
#: docs/spec/evidence.md, rule 9
_LEFT_TO_A_PERSON = ("unknown", "none", "suspended", False)
_PERHAPS_STARTED = {_LEFT_TO_A_PERSON, ("restored", "inferred", "started", True)}


class MismatchError(AssertionError):
    """The witnesses disagree."""


def agree(condition: object, finding: object) -> None:
    """Say no when the witnesses disagree.

    Raises:
        MismatchError: they do.
    """
    if not condition:
        raise MismatchError(finding)


@dataclass
class Story:
    """Everything that is known of one run of any number of processes."""

    #: pause, pause-all, restore
    kind: str
    run_dir: Path
    #: the lines of the list; None: there was none
    lines: Sequence[CampaignRef] | None
    #: requests of this run
    sent: Sequence[Sent]
    #: the directory of the journal, if not the run's own
    journal: Path | None = None
    #: process → campaigns whose outcome stood when it began
    settled_before: dict[int, set[CampaignRef]] = field(default_factory=dict)
    #: process → (when it was told to stop, when it had ended), virtual seconds
    stops: dict[int, tuple[float, float]] = field(default_factory=dict)
    grace_s: float = 22.0
    #: campaigns that others than us may have changed
    disturbed: set[CampaignRef] = field(default_factory=set)
    #: a success without an effect may have been answered
    lies: bool = False
    exit_code: int | None = None
    storage_failed: bool = False
    #: attempts that may not have arrived, as connections are real; None: each answer was one's own
    unread: int | None = None
    #: nobody else acts and the server lies in nothing, so that more can be asked for
    calm: bool = False
    #: a calm run looked first, so that it infers nothing
    looked: bool = False
    #: a process of a calm run was killed
    killed: bool = False

    @property
    def rows(self) -> list[dict[str, str]]:
        """The rows of results.csv."""
        return read_rows(self.run_dir / "results.csv")

    @property
    def summary(self) -> dict[str, object]:
        """What summary.json says."""
        found: dict[str, object] = json.loads((self.run_dir / "summary.json").read_text("utf-8"))
        return found

    @property
    def successes(self) -> set[str]:
        """Outcomes that count as success here."""
        return RESTORED_WELL if self.kind == "restore" else STOPPED

    @property
    def changes(self) -> dict[CampaignRef, list[Sent]]:
        """The pauses and resumes, by campaign."""
        found: dict[CampaignRef, list[Sent]] = defaultdict(list)
        for one in self.sent:
            if one.is_change and one.ref is not None:
                found[one.ref].append(one)
        return found


def findings(story: Story) -> list[str]:
    """Everything that does not add up; empty when all is well."""
    parts = (
        sums(story),
        _successes(story),
        _calm(story),
        attempts(story),
        settled(story),
        _stops(story),
        _retry_after(story),
        _exit_code(story),
    )
    # Two of a sort tell as much as forty.
    return [finding for part in parts for finding in list(part)[:2]]


# -- what is read -----------------------------------------------------------------------------


def read_rows(path: Path) -> list[dict[str, str]]:
    """A report file.

    Raises:
        MismatchError: it is not whole.
    """
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read()
    agree(text.endswith("\n"), f"{path.name} ends in the middle of a row")
    return list(csv.DictReader(text.splitlines(keepends=True)))


def ref_of(row: Mapping[str, str]) -> CampaignRef:
    """The campaign of a row of results.csv."""
    return CampaignRef(int(row["vdn_id"]), int(row["campaign_id"]))


def changed_by(rows: Iterable[Mapping[str, str]]) -> set[CampaignRef]:
    """The campaigns that a run says it changed."""
    return {ref_of(row) for row in rows if row["changed"] == "yes"}


def journal_copy(run_dir: Path, scratch: Path) -> Path | None:
    """A copy of a run's journal, checked from end to end; None when there is none.

    SQLite tidies up whatever it opens, and the next process must meet what the last one left.
    """
    if not (run_dir / "journal.db").exists():
        return None
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for name in ("journal.db", "journal.db-wal"):
        if (run_dir / name).exists():
            shutil.copyfile(run_dir / name, scratch / name)
    with closing(connect(scratch / "journal.db")) as connection:
        check_whole(connection, scratch / "journal.db")
    return scratch


def query(folder: Path, sql: str) -> list[tuple[object, ...]]:
    """Ask the journal in this directory."""
    with closing(sqlite3.connect(folder / "journal.db")) as connection:
        return connection.execute(sql).fetchall()


def standing(folder: Path) -> set[CampaignRef]:
    """The campaigns whose outcome stands in a journal."""
    found = query(
        folder,
        "SELECT p.vdn_id, p.campaign_id FROM outcomes o JOIN plan p ON p.seq = o.seq"
        " WHERE o.standing = 'stands'",
    )
    return {CampaignRef(int(str(vdn)), int(str(number))) for vdn, number in found}


def intents(folder: Path) -> dict[CampaignRef, tuple[int, int]]:
    """Attempts that may have reached the wire: with an answer on record, and without."""
    found = query(
        folder,
        "SELECT p.vdn_id, p.campaign_id, sum(a.state = 'answered'), sum(a.state = 'intended')"
        " FROM attempts a JOIN plan p ON p.seq = a.seq GROUP BY 1, 2",
    )
    return {
        CampaignRef(int(str(vdn)), int(str(number))): (int(str(answered)), int(str(intended)))
        for vdn, number, answered, intended in found
    }


def last_end(folder: Path) -> str:
    """Why the last process ended; empty when it was killed."""
    ((ended,),) = query(folder, "SELECT coalesce(ended, '') FROM lives ORDER BY life DESC LIMIT 1")
    return str(ended)


# -- what a finished run must show ------------------------------------------------------------


def sums(story: Story) -> Iterator[str]:
    """1 and 2: the rows are the lines, in order; the summary's counts and failed.csv the rows'."""
    rows = story.rows
    shown = [ref_of(row) for row in rows]
    if story.lines is not None and shown != list(story.lines):
        yield f"[1] {len(shown)} rows for {len(story.lines)} lines, or in another order"
    if story.lines is None and len(set(shown)) != len(shown):
        yield "[1] a campaign has two rows"
    counts = dict(Counter(row["outcome"] for row in rows))
    if story.summary["counts"] != counts:
        yield f"[2] summary {story.summary['counts']}, rows {counts}"
    unstopped = [ref_of(row) for row in _counted(rows) if row["outcome"] not in story.successes]
    failed = story.run_dir / "failed.csv"
    if ([ref_of(row) for row in read_rows(failed)] if failed.exists() else []) != unstopped:
        yield "[2] failed.csv is not the rows that are not stopped"


def _counted(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in rows if row["outcome"] not in {*UNCOUNTED, "invalid"}]


def _was_accepted(one: Sent) -> bool:
    return (
        one.delivered
        and one.entry is not None
        and one.entry.http_status == 200
        and one.entry.result_code in {ACCEPTED, "200000"}
        and "disagree" not in one.entry.fault
    )


def _effects(own: Iterable[Sent]) -> int:
    return sum(1 for one in own if one.entry is not None and one.entry.took_effect)


def _successes(story: Story) -> Iterator[str]:
    """3, 17 and exact undo: what is claimed happened, what happened is claimed."""
    changes = story.changes
    rows = _counted(story.rows)
    done = "restored" if story.kind == "restore" else "paused"
    for row in rows:
        ref = ref_of(row)
        own = changes.get(ref, [])
        effects = _effects(own)
        accepted = any(_was_accepted(one) for one in own)
        where = f"{ref} {row['outcome']}/{row['evidence']}/changed {row['changed']}"
        # An intent that a kill cut off before its PUT may be inferred to be ours.
        if row["outcome"] == done and not own and row["evidence"] != "inferred":
            yield f"[3] {where} without a PUT"
        if row["evidence"] == "accepted" and row["outcome"] == done and not accepted:
            yield f"[3] {where}, no acceptance was delivered"
        # After its disk has failed, an emergency goes on; what it did then is on no disk.
        if story.storage_failed:
            continue
        # Who was started again by somebody shows no trace of an effect whose answer was lost.
        if effects and row["changed"] == "no" and ref not in story.disturbed:
            yield f"[undo] {where}, yet {effects} of our PUTs took effect"
        claimed = row["changed"] == "yes" and row["evidence"] != "inferred"
        if claimed and not effects and not story.lies and ref not in story.disturbed:
            yield f"[undo] {where}, yet no PUT of ours took effect"
        if row["outcome"] in {"already_paused", "unattempted"} and effects:
            yield f"[undo] {where}, yet a PUT took effect"
    if not story.storage_failed:
        known = {ref_of(row) for row in rows}
        yield from (f"[1] {ref} got a PUT and has no row" for ref in changes if ref not in known)


def _calm(story: Story) -> Iterator[str]:
    """Undo without any excuse: nothing is changed twice, and nobody wonders whether it was us."""
    if not story.calm:
        return
    changes = story.changes
    yield from (f"[undo] {ref} changed twice" for ref, own in changes.items() if _effects(own) > 1)
    for row in _counted(story.rows):
        started = _effects(changes.get(ref_of(row), ())) > 0
        met = (row["outcome"], row["evidence"], row["state_after"], started)
        if row["changed"] != "maybe" and row["evidence"] != "inferred":
            continue
        if story.kind == "restore":
            if not story.killed or met not in _PERHAPS_STARTED:
                yield f"[undo] perhaps started, and {row}"
        elif row["changed"] == "maybe":
            yield f"[undo] nobody knows whether we changed it: {row}"
        elif story.looked or row["state_before"]:
            yield f"[undo] inferred although its state before was known: {row}"


def left_to_a_person(rows: Iterable[Mapping[str, str]]) -> list[CampaignRef]:
    """What a restore may have started, was seen suspended, and is not started again."""
    wanted = _LEFT_TO_A_PERSON[:3]
    return [
        ref_of(row)
        for row in rows
        if (row["outcome"], row["evidence"], row["state_after"]) == wanted
    ]


def attempts(story: Story) -> Iterator[str]:
    """5 and 6: every PUT has its intent, and no intent is a PUT that was hidden."""
    if story.storage_failed:
        return
    recorded = intents(story.journal or story.run_dir)
    for ref, own in story.changes.items():
        answered, intended = recorded.get(ref, (0, 0))
        least = answered if story.unread is None else 0
        if not least <= len(own) <= answered + intended:
            yield f"[6] {ref}: {len(own)} PUTs, {answered} answered and {intended} open on record"
    surplus = sum(map(sum, recorded.values())) - sum(map(len, story.changes.values()))
    if story.unread is not None and surplus > story.unread:
        yield f"[6] {surplus} intents without a PUT, at most {story.unread} can be explained"


def settled(story: Story) -> Iterator[str]:
    """9: no PUT for what an earlier process decided; an emergency pauses what runs by now."""
    if story.kind == "pause-all" and not story.calm:
        return
    for ref, own in story.changes.items():
        for one in own:
            if ref in story.settled_before.get(one.process, ()):
                yield f"[9] {ref} was settled before life {one.process} and got a PUT in it"


def _stops(story: Story) -> Iterator[str]:
    """13: no PUT leaves after the stop, reads for a last look only, and the end comes soon."""
    for process, (at_s, ended_s) in story.stops.items():
        late = [one for one in story.sent if one.process == process and one.at_s > at_s + 1e-9]
        if any(one.is_change for one in late):
            yield f"[13] life {process}: a PUT left after the stop"
        if any(one.at_s > at_s + 18 for one in late):
            yield f"[13] life {process}: a last look of more than 18 s"
        if ended_s - at_s > story.grace_s:
            yield f"[13] life {process} took {ended_s - at_s:.1f} s to end"


def _retry_after(story: Story) -> Iterator[str]:
    """15: after a Retry-After nothing of the same process leaves before it is over."""
    for one in story.sent:
        name = one.entry.fault if one.entry is not None else ""
        wait_s = float(name.rpartition("after ")[2]) if "after " in name else 0.0
        if not wait_s or not one.delivered or one.ended_s is None:
            continue
        until_s = one.ended_s + wait_s
        early = [
            other
            for other in story.sent
            if other.process == one.process and one.ended_s + 1e-9 < other.at_s < until_s - 1e-6
        ]
        if early:
            yield f"[15] {len(early)} requests left within the {wait_s} s of a Retry-After"


def _exit_code(story: Story) -> Iterator[str]:
    """20: the exit code, computed once more."""
    if story.exit_code is None or story.storage_failed:
        return
    ended = last_end(story.journal or story.run_dir)
    outcomes = {row["outcome"] for row in story.rows} - UNCOUNTED
    signals = {"signal_hup": 129, "signal_int": 130, "signal_term": 143, "": 137, "killed": 137}
    codes = {"bug": 70, "storage": 5, "credentials": 3, "server": 4, "max_failures": 4} | signals
    applying = [codes[ended]] if ended in codes else []
    if story.kind == "pause-all":
        quiet = story.summary["verdict"] == "quiet"
        applying = [code for code in applying if not (quiet and code in signals.values())]
        applying += [] if quiet else [6]
        order = [70, 3, *signals.values(), 6, 5]
    else:
        falls_short = outcomes - story.successes or story.summary["verdict"] == "unverified"
        applying += [1] if falls_short else []
        order = [70, 5, 3, *signals.values(), 4, 1]
    wanted = next((code for code in order if code in applying), 0)
    told = story.summary["exit_code"]
    if story.exit_code != wanted or told != wanted:
        yield f"[20] exit {story.exit_code}, summary {told}, should be {wanted}"


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


def starts(sent: Iterable[Sent], ours: set[CampaignRef]) -> Iterator[str]:
    """Only what is ours is started, nothing twice, nothing again that may have been started.

    A process repeats a start that is in doubt. It takes effect again where somebody has stopped
    the campaign in the same instant, which nobody can see before.
    """
    effects: Counter[CampaignRef] = Counter()
    doubted: dict[CampaignRef, int] = {}
    perhaps: dict[CampaignRef, int] = {}
    for one in sent:
        if one.kind is not Kind.RESUME or one.ref is None:
            continue
        if one.ref not in ours:
            yield f"[not ours] {one.ref} was sent a start"
        if perhaps.get(one.ref, one.process) < one.process:
            yield (
                f"[sent again] {one.ref} may have been started by process {perhaps[one.ref]}"
                f" and was sent a start by process {one.process}"
            )
        took_effect = one.entry is not None and one.entry.took_effect
        effects[one.ref] += took_effect and doubted.get(one.ref) != one.process
        is_accepted = one.delivered and one.entry and one.entry.result_code == ACCEPTED
        if took_effect and not is_accepted:
            doubted[one.ref] = one.process
        if took_effect or (one.ended_s is None and not one.delivered):
            perhaps.setdefault(one.ref, one.process)
    yield from (f"[started twice] {ref}: {n} times" for ref, n in effects.items() if n > 1)


# -- what a killed run leaves -----------------------------------------------------------------


def check_whole_or_absent(run_dir: Path, lines: int | None) -> None:
    """A killed run leaves whole report files or none.

    Raises:
        MismatchError: one is not whole.
    """
    found = {name for name in _REPORTS if (run_dir / name).exists()}
    if "results.csv" in found:
        rows = read_rows(run_dir / "results.csv")
        agree(
            lines is None or len(rows) == lines,
            f"results.csv was left with {len(rows)} rows of {lines}",
        )
    if "summary.json" in found:
        json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))


def check_no_strays(run_dir: Path) -> None:
    """Nothing unfinished lies about after a run that ended.

    Raises:
        MismatchError: something does.
    """
    strays = [path.name for path in run_dir.iterdir() if ".part" in path.name]
    agree(not strays, f"left behind: {strays}")
    agree(not (run_dir / "holder.json").exists(), "the holder's name is still there")
