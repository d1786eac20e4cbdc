"""One entry of a list: what was written, and which campaign it names.

Cells and JSON values become a CampaignRef here only. `--vdn` fills in what an entry does not say
and overrules nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from orchestrator.errors import OrchestratorError
from orchestrator.model import CampaignRef, Refusal, read_campaign_id, read_vdn_id

#: characters of what was written that are kept for the report
TEXT_LIMIT = 200
#: characters of it that a message shows
_SHOWN_LIMIT = 40

#: of whoever is asked for the format
ADVICE = "correct the list, or say how it is written: --format csv, json or jsonl (JSON Lines)"
_IGNORED_IN_NAMES = re.compile(r"[\s_-]")


class ManifestUnreadableError(OrchestratorError):
    """The list cannot be read to its end, so all of it is refused, `--skip-invalid` or not."""

    exit_code = 2

    def __init__(self, place: str, reason: str, *, advice: str = ADVICE) -> None:
        where = f"line {place}" if place.isdecimal() else place
        super().__init__(f"the list, {where}: {reason}. Nothing was sent.", advice=advice)
        #: a line number, a JSON path or `byte N`
        self.place = place
        self.reason = reason


class Absent(Enum):
    """What stands for a value that the entry does not have; null is a value."""

    ABSENT = auto()


ABSENT: Final = Absent.ABSENT


class OtherNumber(str):
    """A JSON number that is no id whatever its value (`12.0`, `1e3`, 20 digits), as written."""

    __slots__ = ()


class Meaning(Enum):
    """What a column or a JSON key is for."""

    CAMPAIGN = auto()
    #: JSON only: an array of ids
    CAMPAIGNS_OF_VDN = auto()
    VDN = auto()
    #: JSON only: an array of entries
    ENTRIES = auto()
    #: the run whose report this row comes from
    RUN = auto()


#: names as people write them, without case, white space, `_` and `-`
_MEANINGS = {
    "campaignid": Meaning.CAMPAIGN,
    "campaignids": Meaning.CAMPAIGNS_OF_VDN,
    "vdnid": Meaning.VDN,
    "vdn": Meaning.VDN,
    "campaigns": Meaning.ENTRIES,
    "runid": Meaning.RUN,
}


@dataclass(slots=True)  # not frozen: that would take three times as long to make, a million times
class ManifestLine:
    """One entry of a list, good or bad."""

    #: CSV and JSON Lines: the physical line on which it starts; JSON: 1, 2, 3 …
    line: int
    #: the same for messages: `17`, or a JSON path
    place: str
    #: None when the entry is bad
    ref: CampaignRef | None
    #: of a bad entry: what was written, at most TEXT_LIMIT characters, and what is wrong with it
    vdn_text: str = ""
    campaign_text: str = ""
    problem: str = ""


@lru_cache(maxsize=64)
def meaning_of(name: str) -> Meaning | None:
    """Tell what a column or key of this name is for; None when it is ignored."""
    return _MEANINGS.get(_IGNORED_IN_NAMES.sub("", name).casefold())


def text_of(value: object) -> str:
    """Write a cell or a JSON value down for the report, bounded."""
    if isinstance(value, str):
        return value[:TEXT_LIMIT]
    if value is ABSENT:
        return ""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{…}"
    if isinstance(value, list):
        return "[…]"
    return str(value)[:TEXT_LIMIT]


def shown(value: object) -> str:
    """Write a cell or a JSON value into a message: one line, all that is not ASCII escaped."""
    if not isinstance(value, str) or isinstance(value, OtherNumber):
        return text_of(value)
    return ascii(value) if len(value) <= _SHOWN_LIMIT else ascii(value[:_SHOWN_LIMIT]) + "…"


class LineReader:
    """Judges entries, for one list with one `--vdn`."""

    def __init__(self, default_vdn: int | None) -> None:
        self.default_vdn = default_vdn
        #: how something was read that may have been meant in another way; empty: nothing
        self.note = ""
        #: the run that every row so far names; empty: there is none
        self.run_id: str | None = None
        # most lists repeat one VDN for long stretches; text only, because True == 1 == 1.0
        self._last_vdn_text: str | None = None
        self._last_vdn_id = 0

    def read(self, line: int, place: str, vdn: object, campaign: object) -> ManifestLine:
        """Judge what an entry says; values are texts, JSON values or ABSENT."""
        vdn_id = self._vdn_id(vdn)
        campaign_id = read_campaign_id(campaign)
        if isinstance(vdn_id, int) and isinstance(campaign_id, int):
            return ManifestLine(line, place, CampaignRef(vdn_id, campaign_id))
        problems = [vdn_id] if isinstance(vdn_id, str) else []
        if campaign is ABSENT:
            problems.append("no campaign id is given")
        elif isinstance(campaign_id, Refusal):
            problems.append(f"{shown(campaign)} {campaign_id.reason}")
        return refused(line, place, vdn, campaign, "; ".join(problems))

    def name_run(self, run_id: str) -> None:
        """Take in which run a row names."""
        if run_id != self.run_id:
            self.run_id = run_id if self.run_id is None else ""

    def _vdn_id(self, vdn: object) -> int | str:
        if isinstance(vdn, str) and vdn == self._last_vdn_text:
            return self._last_vdn_id
        if vdn is ABSENT:
            return self.default_vdn or "no VDN is given: name it, or add --vdn"
        found = read_vdn_id(vdn)
        if isinstance(found, Refusal):
            return f"{shown(vdn)} {found.reason}"
        if self.default_vdn not in {None, found}:
            return f"the VDN is {found} here, but --vdn is {self.default_vdn}"
        if isinstance(vdn, str):
            self._last_vdn_text, self._last_vdn_id = vdn, found
        return found


def refused(line: int, place: str, vdn: object, campaign: object, problem: str) -> ManifestLine:
    """Make the line of an entry that is bad for a reason of its own."""
    return ManifestLine(line, place, None, text_of(vdn), text_of(campaign), problem)
