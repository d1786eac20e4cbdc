"""What a campaign is, and which texts are a campaign id or a VDN.

An id is 1-19 ASCII digits without a leading zero, 1 to 2**63-1; a VDN is 1..9999. `1e3`, `12.0`,
full-width digits and `true` are refused in words; `int()` accepts too much. An id that has not
passed here never reaches a URL. docs/spec/contracts.md, "Lists".
"""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum
from typing import NamedTuple

MAX_CAMPAIGN_ID = 2**63 - 1
MAX_VDN_ID = 9999

_DIGITS = re.compile(r"[0-9]{1,19}")
#: what stands where digits should, and what is to be done about it; the first that fits is said
_SHAPES = (
    (
        r"[+-]?[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+",
        (
            "only digits are allowed, no exponent; a spreadsheet has rounded it and its last digits"
            " are lost, so export the column as text"
        ),
    ),
    (
        # a separator of thousands, a fraction of nothing, a formula, quotes, an error
        (
            r"[0-9]{1,3}(?:[.,'\u2019_ \xa0\u202f][0-9]{3})+(?:[.,]0+)?|[0-9]+[.,]0+|=[\s\"'0-9]*"
            r"|[\"'`\u2018\u2019\u201c\u201d\u201e]+[0-9]+[\"'`\u2018\u2019\u201c\u201d]*|#.*"
        ),
        "only digits are allowed; if a spreadsheet has changed it, format the column as text",
    ),
    (
        r"[0-9]+(?:\s*[,;/|&+\s]\s*[0-9]+)+",
        "it holds several numbers; each needs an entry of its own",
    ),
    (r"[0-9]+\s*(?:-|\.\.+|\u2013)\s*[0-9]+", "a range is not understood; name each number"),
)
#: a text that is longer is nothing that a spreadsheet made of a number
_SHAPE_CHARS = 40
#: white space, and what has no width: non-breaking space, zero-width ones, byte order mark
_AROUND = " \t\r\n\x0b\x0c\xa0\u3000\u200b\u200c\u200d\u2060\ufeff"


class Action(StrEnum):
    """What a run does to campaigns; the value is the last segment of the request path."""

    PAUSE = "pause"
    RESUME = "resume"


class Status(IntEnum):
    """A campaign's status in the listing. Only 3 means the same everywhere."""

    NOT_STARTED = 1
    STARTED = 2
    SUSPENDED = 3
    COMPLETED = 4


#: how people read a status
STATUS_NAMES = {status: status.name.lower() for status in Status}


#: how a status may stand in JSON; a table is quicker than the enum itself
_STATUS_OF: dict[object, Status] = {
    written: status for status in Status for written in (int(status), str(int(status)))
}


class CampaignRef(NamedTuple):
    """One campaign of one VDN: all that a request needs."""

    vdn_id: int
    campaign_id: int


class ObservedState(NamedTuple):
    """What the server said of one campaign in a listing row or a details call."""

    ref: CampaignRef
    #: None when the server gave no status that we know
    status: Status | None
    name: str = ""
    #: as the server wrote it, `yyyy-MM-dd HH:mm:ss`, zone unknown
    begin_time: str = ""


class Refusal(NamedTuple):
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
    # True and 1.0 equal 1, and are no status
    return _STATUS_OF.get(value) if type(value) in (int, str) else None


def _read_number(value: object, *, name: str, maximum: int) -> int | Refusal:
    if isinstance(value, str):
        problem = _shape_words(value)
        number = 0 if problem else int(value)
    elif type(value) is int:  # True is an int, and no number
        problem, number = "", value
    else:
        problem, number = _kind_words(value), 0
    if not problem and not 1 <= number <= maximum:
        problem = f"it must be from 1 to {maximum}"
    return Refusal(f"is not a {name}: {problem}") if problem else number


def _shape_words(value: str) -> str:
    """Say what is wrong with a text that is not 1 to 19 digits; "" when it is."""
    if _DIGITS.fullmatch(value):
        return "a leading zero is not allowed" if value[0] == "0" and len(value) > 1 else ""
    if not value:
        return "it is empty"
    if value.isascii() and value.isdigit():
        return "it has more than 19 digits"
    bare = value.strip(_AROUND)
    if _DIGITS.fullmatch(bare):
        return "only digits are allowed, and it has blanks or invisible characters around them"
    if len(value) < _SHAPE_CHARS:
        for pattern, words in _SHAPES:
            if re.fullmatch(pattern, bare):
                return words
    return "only the digits 0-9 are allowed"


def _kind_words(value: object) -> str:
    """Say what a value is that is no whole number and no text."""
    if isinstance(value, float):
        return _shape_words(str(value))
    kinds = {type(None): "null", bool: "true or false", dict: "an object"}
    return f"digits are wanted, not {kinds.get(type(value), 'an array')}"
