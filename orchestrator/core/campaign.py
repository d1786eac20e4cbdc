"""What a campaign is, and which texts are a campaign id or a VDN.

Rule 1: an id is 1-19 ASCII digits without a leading zero, 1 to 2**63-1; a VDN is 1..9999.
Rule 2: nothing is guessed. `1e3`, `12.0`, full-width digits and `true` are refused in words.
Rule 3: an id that has not passed here never reaches a URL.
Source: design.md §5, api.md §2; `int()` accepts too much (faults.md §0.8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum

MAX_CAMPAIGN_ID = 2**63 - 1
MAX_VDN_ID = 9999

_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_SPREADSHEET = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)


class Action(StrEnum):
    """What a run does to campaigns; the value is the last segment of the request path."""

    PAUSE = "pause"
    RESUME = "resume"


class Status(IntEnum):
    """A campaign's status as the listing shows it (api.md §2.4). Only 3 means the same everywhere."""

    NOT_STARTED = 1
    STARTED = 2
    SUSPENDED = 3
    COMPLETED = 4


#: how people read a status
STATUS_NAMES = {
    Status.NOT_STARTED: "not_started",
    Status.STARTED: "started",
    Status.SUSPENDED: "suspended",
    Status.COMPLETED: "completed",
}


@dataclass(frozen=True, slots=True, order=True)
class CampaignRef:
    """One campaign of one VDN: all that a request needs."""

    vdn_id: int
    campaign_id: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the server said of one campaign in a listing row or a details call."""

    ref: CampaignRef
    #: None when the server gave no status that we know
    status: Status | None
    name: str = ""
    #: as the server wrote it, `yyyy-MM-dd HH:mm:ss`, zone unknown
    begin_time: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a text is not an id, in words that follow the text itself."""

    reason: str


def read_campaign_id(value: object) -> int | Refusal:
    """Read a campaign id from a cell (str) or a JSON value (int or str)."""
    return _read_number(value, name="campaign id", maximum=MAX_CAMPAIGN_ID)


def read_vdn_id(value: object) -> int | Refusal:
    """Read a VDN id, 1..9999, from a cell (str) or a JSON value (int or str)."""
    return _read_number(value, name="VDN", maximum=MAX_VDN_ID)


def read_status(value: object) -> Status | None:
    """Read a status from JSON, number or digit string; None when it is none that we know."""
    if isinstance(value, str) and len(value) == 1 and value in "1234":
        return Status(int(value))
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4:
        return Status(value)
    return None


def _read_number(value: object, *, name: str, maximum: int) -> int | Refusal:
    if isinstance(value, bool) or value is None or not isinstance(value, (int, str)):
        return Refusal(f"is not a {name}: digits are wanted, not {_kind_of(value)}")
    if isinstance(value, int):
        if 1 <= value <= maximum:
            return value
        return Refusal(f"is not a {name}: {_range_words(maximum)}")
    if not value:
        return Refusal(f"is not a {name}: it is empty")
    if not _DIGITS.fullmatch(value):
        return Refusal(f"is not a {name}: {_shape_words(value)}")
    if value[0] == "0":
        return Refusal(f"is not a {name}: a leading zero is not allowed")
    number = int(value)
    if number > maximum:
        return Refusal(f"is not a {name}: {_range_words(maximum)}")
    return number


def _range_words(maximum: int) -> str:
    return f"it must be from 1 to {maximum}"


def _shape_words(value: str) -> str:
    if len(value) > 19 and value.isascii() and value.isdigit():
        return "more than 19 digits"
    if len(value) < 40 and _SPREADSHEET.fullmatch(value) and not value.startswith(("+", "-")):
        return "only digits are allowed; a spreadsheet has probably rounded it, export the column as text"
    if value.strip() != value and _DIGITS.fullmatch(value.strip()):
        return "only digits are allowed, and it has white space around them"
    return "only the digits 0-9 are allowed, 1 to 19 of them"


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "an array"
    return "a fraction"
