"""How a run as a whole ended: what is known of it, verdict, exit code.

The exit code is a function of the outcomes and of why the run ended. When several reasons apply,
the first of 70, 5, 3, a signal, 4, 1 counts; for pause-all the first of 70, 3, a signal before
quiet, 6, 5. A dry run that came to its end exits 0. docs/spec/contracts.md, "Exit codes".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from orchestrator.policy.decide import Outcome
from orchestrator.reports.rows import STOPPED_AGAIN, UNSTOPPED, RunKind, SweepRecord, Tally, plural

#: what a quiet VDN may still be doing; `not_covered` says it every time
_CALLS = "calls already in progress"
_APPOINTMENTS = "appointments (reserved calls)"
#: a lag of the listings that is worth a word, seconds
LAG_TOLD_S = 5.0


class Ended(StrEnum):
    """Why a run ended."""

    FINISHED = "finished"
    DEADLINE = "deadline"
    SIGNAL_HUP = "signal_hup"
    SIGNAL_INT = "signal_int"
    SIGNAL_TERM = "signal_term"
    #: 401: the keys are wrong
    CREDENTIALS = "credentials"
    #: 403: the server, or a firewall, lets us do nothing
    DENIED = "denied"
    #: nobody whom we trust vouches for the server's certificate
    UNTRUSTED = "untrusted"
    #: its certificate is for another name
    WRONG_NAME = "wrong_name"
    #: its certificate is not valid any more, or not yet, as our clock has it
    EXPIRED = "expired"
    SERVER = "server"
    MAX_FAILURES = "max_failures"
    #: kill -9, a power cut: it has no end on record
    KILLED = "killed"
    #: the journal could not be written
    STORAGE = "storage"
    BUG = "bug"


class RunVerdict(StrEnum):
    """How a run ended, in one word; `verdict` in summary.json."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    INTERRUPTED = "interrupted"
    ENDED_EARLY = "ended_early"
    #: everything is done, and the look after it could not confirm all of it
    UNVERIFIED = "unverified"
    QUIET = "quiet"
    STILL_RUNNING = "still_running"
    NOT_PROVEN = "not_proven"
    PLANNED = "planned"


#: 128 + the number of the signal, as a shell shows it
SIGNAL_EXIT_CODES = {
    Ended.SIGNAL_HUP: 129,
    Ended.SIGNAL_INT: 130,
    # no process is left to exit with a code of its own: told as what a supervisor asks for first
    Ended.KILLED: 143,
    Ended.SIGNAL_TERM: 143,
}

#: the exit code that each end asks for; the others ask for none
_EXIT_CODES = {
    **SIGNAL_EXIT_CODES,
    Ended.BUG: 70,
    Ended.STORAGE: 5,
    Ended.CREDENTIALS: 3,
    Ended.DENIED: 3,
    Ended.UNTRUSTED: 4,
    Ended.WRONG_NAME: 4,
    Ended.EXPIRED: 4,
    Ended.SERVER: 4,
    Ended.MAX_FAILURES: 4,
}

_ORDER = (70, 5, 3, *SIGNAL_EXIT_CODES.values(), 4, 1)
_EMERGENCY_ORDER = (70, 3, *SIGNAL_EXIT_CODES.values(), 6, 5)

#: the run was cut short by trouble
EARLY = frozenset(_EXIT_CODES) - frozenset(SIGNAL_EXIT_CODES)

#: the server is no server for us: it cannot be reached, or nobody can know that it is the right one
OUT_OF_REACH = frozenset({Ended.SERVER, Ended.UNTRUSTED, Ended.WRONG_NAME, Ended.EXPIRED})

#: who we are is refused: nothing will be done until somebody changes that
REFUSED = frozenset({Ended.CREDENTIALS, Ended.DENIED})

#: outcomes that may be better next time without anybody correcting anything
MAY_PASS = frozenset({Outcome.FAILED, Outcome.UNKNOWN, Outcome.STILL_RUNNING, Outcome.UNATTEMPTED})


class VdnProof(NamedTuple):
    """What pause-all can say of one VDN in the end."""

    vdn_id: int
    #: wall-clock milliseconds of the end of the first clean pass; None: quiet is not proven
    quiet_since_ms: int | None = None
    #: only in journals of earlier versions
    clean_sweeps: int = 2
    #: campaigns that the newest pass showed as started, and when it ended
    started: int = 0
    seen_at_ms: int | None = None
    #: either moment on the operator's own clock, such as `17:41`; empty: not said
    local_time: str = ""
    #: why nothing is proven; empty: the end of the run says it
    problem: str = ""
    #: the unfiltered listing is empty: probably another VDN was meant
    no_campaigns: bool = False
    #: campaigns with a begin time ahead, and the first of these times as the server writes it
    may_start: int = 0
    first_start: str = ""
    #: wall-clock milliseconds of the start of the newest clean pass; None: in earlier versions
    again_at_ms: int | None = None
    #: … of the end of the last complete unfiltered listing
    whole_at_ms: int | None = None
    #: a hold: the longest time between two clean looks, seconds
    longest_gap_s: float = 0.0

    @property
    def verdict(self) -> RunVerdict:
        """Quiet, still running, or not proven."""
        if self.quiet_since_ms is not None:
            return RunVerdict.QUIET
        return RunVerdict.STILL_RUNNING if self.started else RunVerdict.NOT_PROVEN


class Note(NamedTuple):
    """A remark that somebody added to a run afterwards."""

    #: UTC, like every time in a report
    at: str
    operator: str
    text: str


class ProcessFacts(NamedTuple):
    """One process that worked on the run."""

    started_at_ms: int
    #: None: it works, or was killed
    ended_at_ms: int | None
    ended: Ended | None
    pid: int
    host: str


class CallCount(NamedTuple):
    """The calls in progress of one VDN, summed over the campaigns that were stopped there."""

    #: wall-clock milliseconds
    at_ms: int
    vdn_id: int
    in_progress: int


class CallsRecord(NamedTuple):
    """How the calls in progress ended, as far as they were counted after quiet."""

    #: round by round, oldest first; the VDNs of one round have the same time
    counts: tuple[CallCount, ...] = ()
    #: when the last campaign was read as 0 for the second time; None: not all were
    silent_at_ms: int | None = None
    #: campaigns that this run has stopped, and those among them of which no number came
    campaigns: int = 0
    unread: int = 0
    #: why counting ended early; empty: it did not
    problem: str = ""
    #: VDNs that the interface does not take
    beyond: tuple[int, ...] = ()

    def total(self, at_ms: int) -> int:
        """The calls of all VDNs in the round that ended at this instant."""
        return sum(one.in_progress for one in self.counts if one.at_ms == at_ms)


class RunFacts(NamedTuple):
    """All that is known of a run besides its rows."""

    run_id: str
    kind: RunKind
    reason: str
    operator: str
    host: str
    version: str
    server: str
    #: as shown by `config show`: secrets masked
    settings: Mapping[str, object]
    started_at_ms: int
    #: None while it runs, or when it was killed
    ended_at_ms: int | None
    ended: Ended
    #: what people call the server
    server_name: str = ""
    #: the reason of `ended` in words for people; may be empty
    why: str = ""
    dry_run: bool = False
    storage_failed: bool = False
    #: the disk of an earlier process failed: what it did afterwards is not in the journal
    journal_incomplete: bool = False
    accept: frozenset[Outcome] = frozenset()
    #: None when there was no list
    manifest_path: str | None = None
    manifest_sha256: str = ""
    manifest_lines: int = 0
    rate_ceiling_per_s: float = 0.0
    #: requests in the busiest second
    worst_1s: int = 0
    mean_per_s: float = 0.0
    #: restore: the run that is undone
    source_run: str = ""
    #: restore: what was chosen of it, as summary.json shows it
    selection: Mapping[str, object] = {}
    #: restore: campaigns that another restore had started before
    restored_before: int = 0
    #: remarks that were added afterwards
    notes: tuple[Note, ...] = ()
    #: pause: the run that this one repeats
    parent_run: str = ""
    sweeps: tuple[SweepRecord, ...] = ()
    #: pause-all: one per VDN
    proofs: tuple[VdnProof, ...] = ()
    #: how far the server's listings lagged behind, as far as this run has seen it, seconds
    lag_s: float = 0.0
    #: the server's clock against ours, seconds; None: no Date was seen
    clock_offset_s: float | None = None
    #: every process that worked on it, oldest first
    processes: tuple[ProcessFacts, ...] = ()
    #: campaigns that count as done, and that no later look could confirm
    unverified: int = 0
    #: None: calls in progress were not counted
    calls: CallsRecord | None = None
    #: False: nothing could be changed, because the operator had not typed the VDN number
    confirmed: bool = True

    @property
    def quiet(self) -> bool:
        """Whether every VDN is proven quiet."""
        return bool(self.proofs) and all(proof.verdict is RunVerdict.QUIET for proof in self.proofs)


def exit_code(facts: RunFacts, tally: Tally) -> int:
    """Decide the exit code: the first in order of those that apply, 0 when none does."""
    order = _EMERGENCY_ORDER if facts.kind is RunKind.PAUSE_ALL else _ORDER
    applying = _applying(facts, tally)
    return next((code for code in order if code in applying), 0)


def _applying(facts: RunFacts, tally: Tally) -> set[int]:
    codes = {_EXIT_CODES.get(facts.ended, 0)}
    if facts.storage_failed or facts.journal_incomplete:
        codes.add(5)
    if is_whole_dry_run(facts):
        return codes
    if facts.kind is not RunKind.PAUSE_ALL:
        falls_short = _falls_short(tally, facts.accept) or facts.unverified > 0
        return codes | {1} if falls_short else codes
    return codes - set(SIGNAL_EXIT_CODES.values()) if facts.quiet else codes | {6}


def is_whole_dry_run(facts: RunFacts) -> bool:
    """Whether it was to change nothing, and came to its end."""
    return facts.dry_run and facts.ended is Ended.FINISHED


def _falls_short(tally: Tally, accept: frozenset[Outcome]) -> bool:
    return any(tally.counts[outcome] for outcome in (UNSTOPPED - accept) | {Outcome.INVALID})


def run_verdict(facts: RunFacts, tally: Tally) -> RunVerdict:
    """Say in one word how the run ended."""
    if is_whole_dry_run(facts):
        return RunVerdict.PLANNED
    if facts.kind is RunKind.PAUSE_ALL:
        return _emergency_verdict(facts)
    if facts.ended in SIGNAL_EXIT_CODES:
        return RunVerdict.INTERRUPTED
    if facts.ended in EARLY:
        return RunVerdict.ENDED_EARLY
    if _falls_short(tally, facts.accept):
        return RunVerdict.INCOMPLETE
    return RunVerdict.UNVERIFIED if facts.unverified else RunVerdict.COMPLETE


def _emergency_verdict(facts: RunFacts) -> RunVerdict:
    if facts.quiet:
        return RunVerdict.QUIET
    if any(proof.verdict is RunVerdict.STILL_RUNNING for proof in facts.proofs):
        return RunVerdict.STILL_RUNNING
    return RunVerdict.NOT_PROVEN


def rerun_may_help(facts: RunFacts, tally: Tally) -> bool:
    """Whether a scheduler should try again, with nobody correcting anything in between.

    Refused credentials stay refused, as do rejected, denied and missing campaigns. Where somebody
    has stopped again what a restore started, to repeat it would be to fight.
    """
    if facts.ended in REFUSED or facts.dry_run:
        return False
    failures = tally.reasons.get(Outcome.FAILED)
    if failures and failures[STOPPED_AGAIN]:
        return False
    if facts.kind is RunKind.PAUSE_ALL:
        return not facts.proofs or any(
            proof.verdict is not RunVerdict.QUIET and not proof.no_campaigns
            for proof in facts.proofs
        )
    return facts.unverified > 0 or any(tally.counts[outcome] for outcome in MAY_PASS - facts.accept)


def not_covered(facts: RunFacts) -> tuple[str, ...]:
    """What a quiet VDN may still be doing."""
    calls = facts.calls
    if calls is None or not calls.counts:
        return (_CALLS, _APPOINTMENTS)
    left = ["calls of campaigns that others stopped"]
    if calls.unread:
        left.append(f"calls of {plural(calls.unread, 'campaign')} without a number")
    return (*left, _APPOINTMENTS)
