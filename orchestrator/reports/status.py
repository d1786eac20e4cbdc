"""What `status` says of a VDN: how many campaigns are in each state, and whether it is quiet.

A listing that was not read completely is said; what it did not show is never counted as zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.model import ObservedState, Status
from orchestrator.reports.rows import iso_time, scheduled
from orchestrator.reports.summary import OUT_OF_REACH, SIGNAL_EXIT_CODES, Ended
from orchestrator.text import for_terminal

#: campaigns that are named
NAMES_SHOWN = 5
_NAME_LIMIT = 60
_REASON_LIMIT = 200
#: state → its key in the document; the words for people have blanks
_KEYS: Mapping[Status | None, str] = {
    Status.STARTED: "started",
    Status.SUSPENDED: "suspended",
    Status.COMPLETED: "completed",
    Status.NOT_STARTED: "not_started",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VdnStatus:
    """One VDN, as its listings show it."""

    vdn_id: int
    #: when it was read, wall-clock milliseconds; None: it was not
    read_at_ms: int | None = None
    #: why the listings may not be believed; empty: they may
    problem: str = ""
    no_campaigns: bool = False
    #: what either listing shows as started
    started: tuple[ObservedState, ...] = ()
    #: campaigns of each state in the unfiltered listing
    counts: Mapping[Status | None, int] = field(default_factory=dict)
    #: campaigns about which the two listings disagree
    disputed: int = 0
    #: campaigns with a begin time ahead, and the first of these times as the server writes it
    may_start: int = 0
    first_start: str = ""
    #: whether quiet was to be proven, and when the first and the newest clean pass were made
    proves: bool = False
    quiet_since_ms: int | None = None
    again_at_ms: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether its numbers may be believed."""
        return self.read_at_ms is not None and not (self.problem or self.no_campaigns)

    @property
    def is_quiet(self) -> bool:
        """Whether two complete passes showed nothing started."""
        return self.quiet_since_ms is not None

    @property
    def is_seen(self) -> bool:
        """Whether any of it was read: else its numbers are not zero but unknown."""
        return self.is_complete or self.no_campaigns or bool(self.started or self.counts)

    def numbers(self) -> dict[str, int]:
        """Campaigns by state; `unknown` are those with a state that we cannot read."""
        found = {key: self.counts.get(status, 0) for status, key in _KEYS.items()}
        found["started"] = len(self.started)
        known = sum(self.counts.get(status, 0) for status in _KEYS)
        return found | {"unknown": sum(self.counts.values()) - known}


def status_exit_code(vdns: tuple[VdnStatus, ...], *, ended: Ended, proves: bool) -> int:
    """0 when all is read (or proven quiet); 70, 3, a signal come first; then 6, or 4 and 1."""
    if ended is Ended.BUG:
        return 70
    if ended in {Ended.CREDENTIALS, Ended.DENIED}:
        return 3
    if ended in SIGNAL_EXIT_CODES:
        return SIGNAL_EXIT_CODES[ended]
    if proves:
        return 0 if all(one.is_quiet for one in vdns) else 6
    if ended in OUT_OF_REACH:
        return 4
    return 0 if all(one.is_complete for one in vdns) else 1


def status_line(vdn: VdnStatus) -> str:
    """Say it in one line."""
    name = f"VDN {vdn.vdn_id}"
    if vdn.is_quiet:
        may_start = scheduled(vdn.may_start, vdn.first_start)
        return (
            f"{name} is quiet: the server's listings showed nothing running at"
            f" {_time(vdn.quiet_since_ms)} and again at {_time(vdn.again_at_ms)}."
            f" {_numbers(vdn)}.{may_start}"
        )
    if vdn.no_campaigns:
        said = "is NOT PROVEN quiet: it has no campaigns" if vdn.proves else "has no campaigns"
        return f"{name} {said} at all: is {vdn.vdn_id} the right VDN?"
    verdict = (" is NOT quiet" if vdn.started else " is NOT PROVEN quiet") if vdn.proves else ""
    return f"{name}{verdict}: {_read(vdn)}"


def _read(vdn: VdnStatus) -> str:
    """Numbers and names, or what kept us from them."""
    why = for_terminal(vdn.problem, limit=_REASON_LIMIT)
    if not vdn.is_seen:
        return f"it could not be read ({why})."
    may_start = scheduled(vdn.may_start, vdn.first_start)
    said = f"{_numbers(vdn)} at {_time(vdn.read_at_ms)}.{_names(vdn)}{may_start}"
    if vdn.disputed:
        said += f" The server's two listings disagree about {vdn.disputed:,} of them."
    if not vdn.problem:
        return said
    return f"it could not be read completely ({why}), so there may be more: {said}"


def _numbers(vdn: VdnStatus) -> str:
    shown = {key: number for key, number in vdn.numbers().items() if number or key != "unknown"}
    return ", ".join(f"{number:,} {key.replace('_', ' ')}" for key, number in shown.items())


def _names(vdn: VdnStatus) -> str:
    if not vdn.started:
        return ""
    shown = ", ".join(
        f"{row.ref.campaign_id} {for_terminal(row.name, limit=_NAME_LIMIT)}".rstrip()
        for row in vdn.started[:NAMES_SHOWN]
    )
    more = len(vdn.started) - NAMES_SHOWN
    return f" Started: {shown}{f' and {more:,} more' if more > 0 else ''}."


def _time(at_ms: int | None) -> str:
    return "an unknown time" if at_ms is None else f"{iso_time(at_ms)[11:19]}Z"


def status_document(vdn: VdnStatus) -> dict[str, object]:
    """Make one VDN's part of `status --json`."""
    return {
        "vdn_id": vdn.vdn_id,
        "read_at": iso_time(vdn.read_at_ms) or None,
        "complete": vdn.is_complete,
        **{key: number if vdn.is_seen else None for key, number in vdn.numbers().items()},
        "may_start": vdn.may_start,
        "first_start": vdn.first_start,
        "disputed": vdn.disputed,
        "problem": "no campaigns" if vdn.no_campaigns else vdn.problem,
        "first_started": [
            {"campaign_id": row.ref.campaign_id, "name": row.name}
            for row in vdn.started[:NAMES_SHOWN]
        ],
        "quiet": vdn.is_quiet if vdn.proves else None,
        "quiet_since": iso_time(vdn.quiet_since_ms) or None,
        "again_at": iso_time(vdn.again_at_ms) or None,
    }
