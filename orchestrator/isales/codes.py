"""The result codes of pause and resume: one table.

Codes are exact text: 0200001 and 02000001 differ. A code that is not in the table is unknown. A
JSON number has lost exactly one leading zero, and only in the known ranges.
Source: the interface's pages of 2023-09-27 and cec_07_4008/0729; docs/spec/interface.md.
"""

from __future__ import annotations

#: code → its short name in reports; what it means for a request is in verdict.py
RESULT_CODES = {
    "0200000": "success",
    "0200001": "parameter_error",
    "0200006": "database_error",
    "0200007": "campaign_not_found",
    "0200011": "status_not_allowed",
    "0200022": "called_too_fast",
    "02000001": "parameter_empty",
    "02000002": "parameter_illegal_characters",
    "02000003": "parameter_too_long",
    "02000004": "parameter_too_short",
    "02000005": "parameter_length_range",
    "02000006": "parameter_type",
    "02000007": "parameter_value",
    "02000008": "parameter_conversion",
    "02000009": "parameter_combination",
    "02000010": "parameter_hour_minute",
    "02000011": "parameter_too_many",
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
    return RESULT_CODES.get(code, "unknown_code" if code else "")
