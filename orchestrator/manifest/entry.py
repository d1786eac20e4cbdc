"""One entry of a list: what was written, and which campaign it names.

Cells and JSON values become a CampaignRef here only; csv_list.py recognises blocks of plain numbers
(`GoodLines`) by a stricter rule. `--vdn` fills in what an entry does not say and overrules nothing.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.model import CampaignRef, Refusal, read_campaign_id, read_vdn_id

if TYPE_CHECKING:
    from collections.abc import Iterator

#: characters of what was written that are kept for the report
TEXT_LIMIT = 200
#: characters of it that a message shows
_SHOWN_LIMIT = 40

_IGNORED_IN_NAMES = re.compile(r"[\s_-]")


class Absent(Enum):
    """What stands for a value that the entry does not have; null is a value."""

    ABSENT = auto()


ABSENT: Final = Absent.ABSENT


class Meaning(Enum):
    """What a column or a JSON key is for."""

    CAMPAIGN = auto()
    #: JSON only: an array of ids
    CAMPAIGNS_OF_VDN = auto()
    VDN = auto()
    #: JSON only: an array of entries
    ENTRIES = auto()


#: names as people write them, without case, white space, `_` and `-`
_MEANINGS = {
    "campaignid": Meaning.CAMPAIGN,
    "campaignids": Meaning.CAMPAIGNS_OF_VDN,
    "vdnid": Meaning.VDN,
    "vdn": Meaning.VDN,
    "campaigns": Meaning.ENTRIES,
}


class ManifestLine(NamedTuple):
    """One entry of a list, good or bad."""

    #: CSV and JSON Lines: the physical line on which it starts; JSON: 1, 2, 3 …
    line: int
    #: the same for messages: `17`, or a JSON path
    place: str
    #: None when the entry is bad
    ref: CampaignRef | None
    #: as written, at most TEXT_LIMIT characters; empty when not written
    vdn_text: str
    campaign_text: str
    #: empty when the entry is good
    problem: str


class GoodLines(NamedTuple):
    """Entries that are all good and stand on lines that follow each other: a block at a time."""

    first_line: int
    #: False when they have their VDN from `--vdn`
    vdn_written: bool
    #: as long as each other
    vdn_ids: list[int]
    campaign_ids: list[int]

    def lines(self) -> Iterator[ManifestLine]:
        """Give the same entries one by one."""
        pairs = map(CampaignRef, self.vdn_ids, self.campaign_ids)
        for line, ref in enumerate(pairs, start=self.first_line):
            vdn_text = str(ref.vdn_id) if self.vdn_written else ""
            yield ManifestLine(line, str(line), ref, vdn_text, str(ref.campaign_id), "")


class Written(NamedTuple):
    """Where an entry stands and what it says, before it is judged."""

    line: int
    place: str
    vdn: object
    campaign: object


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
    if not isinstance(value, str):
        return text_of(value)
    return ascii(value) if len(value) <= _SHOWN_LIMIT else ascii(value[:_SHOWN_LIMIT]) + "…"


class LineReader:
    """Judges entries, for one list with one `--vdn`."""

    def __init__(self, default_vdn: int | None) -> None:
        self.default_vdn = default_vdn
        #: how something was read that may have been meant in another way; empty: nothing
        self.note = ""
        # most lists repeat one VDN for long stretches; text only, because True == 1 == 1.0
        self._last_vdn_text: str | None = None
        self._last_vdn_id = 0

    def read(self, entry: Written) -> ManifestLine:
        """Judge what an entry says; values are texts, JSON values or ABSENT."""
        line, place, vdn, campaign = entry
        vdn_id = self._vdn_id(vdn)
        campaign_id = _campaign_id(campaign)
        if isinstance(vdn_id, int) and isinstance(campaign_id, int):
            ref = CampaignRef(vdn_id, campaign_id)
            return ManifestLine(line, place, ref, text_of(vdn), text_of(campaign), "")
        problems = [found for found in (vdn_id, campaign_id) if isinstance(found, str)]
        return self.refuse(entry, "; ".join(problems))

    def refuse(self, entry: Written, problem: str) -> ManifestLine:
        """Make the line of an entry that is bad for a reason of its own."""
        line, place, vdn, campaign = entry
        return ManifestLine(line, place, None, text_of(vdn), text_of(campaign), problem)

    def contradicts(self, vdn: object) -> bool:
        """Whether this VDN is not the one of `--vdn`."""
        return self.default_vdn is not None and self._vdn_id(vdn) != self.default_vdn

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


def _campaign_id(campaign: object) -> int | str:
    if campaign is ABSENT:
        return "no campaign id is given"
    found = read_campaign_id(campaign)
    return f"{shown(campaign)} {found.reason}" if isinstance(found, Refusal) else found
