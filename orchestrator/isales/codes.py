"""What the result codes of pause and resume mean: one table.

Codes are exact text: 0200001 and 02000001 differ. A code that is not in the table is unknown. A
JSON number has lost exactly one leading zero, and only in the known ranges.
Source: the interface's pages of 2023-09-27 and cec_07_4008/0729; docs/spec/interface.md.
"""

from __future__ import annotations

from enum import StrEnum


class Meaning(StrEnum):
    """What a code says about the request that it answers."""

    SUCCESS = "success"
    WRONG_STATE = "wrong_state"
    DATABASE_ERROR = "database_error"
    NOT_FOUND = "not_found"
    PARAMETER = "parameter"
    #: called too fast; nothing was done
    THROTTLED = "throttled"


#: code → what it means, and its short name in reports
RESULT_CODES: dict[str, tuple[Meaning, str]] = {
    "0200000": (Meaning.SUCCESS, "success"),
    "0200001": (Meaning.PARAMETER, "parameter_error"),
    "0200006": (Meaning.DATABASE_ERROR, "database_error"),
    "0200007": (Meaning.NOT_FOUND, "campaign_not_found"),
    "0200011": (Meaning.WRONG_STATE, "status_not_allowed"),
    "0200022": (Meaning.THROTTLED, "called_too_fast"),
    "02000001": (Meaning.PARAMETER, "parameter_empty"),
    "02000002": (Meaning.PARAMETER, "parameter_illegal_characters"),
    "02000003": (Meaning.PARAMETER, "parameter_too_long"),
    "02000004": (Meaning.PARAMETER, "parameter_too_short"),
    "02000005": (Meaning.PARAMETER, "parameter_length_range"),
    "02000006": (Meaning.PARAMETER, "parameter_type"),
    "02000007": (Meaning.PARAMETER, "parameter_value"),
    "02000008": (Meaning.PARAMETER, "parameter_conversion"),
    "02000009": (Meaning.PARAMETER, "parameter_combination"),
    "02000010": (Meaning.PARAMETER, "parameter_hour_minute"),
    "02000011": (Meaning.PARAMETER, "parameter_too_many"),
}

#: numbers that can only be a code without its leading zero: first and last of each range
_NUMERIC_RANGES = (
    (200000, 200999),
    (2000001, 2000011),
    (3000001, 3000006),
    (4000004, 4000005),
)


def read_code(value: object) -> str:
    """Read a code as the server wrote it: text as it is, a number in a known range with its zero.

    Returns:
        The code, or a text that is in no table (`?` and what was there) for anything else.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        for first, last in _NUMERIC_RANGES:
            if first <= value <= last:
                return f"0{value}"
    return f"?{str(value)[:40]}"


def name_of(code: str) -> str:
    """The short name of a code for reports; `unknown_code` when it is not in the table."""
    if code in RESULT_CODES:
        return RESULT_CODES[code][1]
    return "unknown_code" if code else ""
