"""JSON read strictly: one document, no repeated keys, no NaN, bounded depth.

Control characters in a text are allowed. Every refusal is a `BadJsonError` with its reason. A lone
surrogate is legal JSON and no storable text: pass a text that is kept through `storable`.
"""

from __future__ import annotations

import json
import math
from codecs import BOM_UTF8
from typing import NoReturn

#: no number of this API comes near this many digits
_MAX_NUMBER_CHARS = 40


class BadJsonError(ValueError):
    """The text is not the JSON that we accept; the message says why."""


def without_mark(body: bytes) -> bytes:
    """The same bytes without a byte order mark.

    Not "utf-8-sig": Python loads that codec from a file, and files may have run out.
    """
    return body.removeprefix(BOM_UTF8)


def read_json(text: str) -> object:
    """Parse one JSON document.

    Raises:
        BadJsonError: for anything that is not one strict document.
    """
    if not text.strip():
        raise BadJsonError("the answer is empty")
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise BadJsonError("nested too deeply") from error
    except BadJsonError:
        raise
    except ValueError as error:
        raise BadJsonError(f"not JSON: {error}") from error


def storable(text: str) -> str:
    """The same text with a question mark for every half character, so that any file can hold it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def whole_number(value: object, *, most: int) -> int | None:
    """A count that a server wrote as a number or as digits; None: it is none, or beyond `most`."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value) if len(value) <= len(str(most)) else None
    return value if type(value) is int and 0 <= value <= most else None


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadJsonError("a key appears twice in one object")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise BadJsonError(f"{name} is not JSON")


def _bounded_int(digits: str) -> int:
    if len(digits) > _MAX_NUMBER_CHARS:
        raise BadJsonError("a number is too long")
    return int(digits)


def _bounded_float(digits: str) -> float:
    if len(digits) > _MAX_NUMBER_CHARS:
        raise BadJsonError("a number is too long")
    number = float(digits)
    if not math.isfinite(number):
        raise BadJsonError("a number is too large")
    return number


#: made once: `json.loads` with hooks makes one a call, a quarter of what a short answer costs
_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys,
    parse_constant=_refuse_constant,
    parse_int=_bounded_int,
    parse_float=_bounded_float,
    strict=False,
)
