"""From the bytes of an answer to its JSON object, whatever the wrapping.

gzip and deflate are unpacked within a bound; text is UTF-8, else gb18030, which can read Big5 too.
What cannot be decoded may still tell a refusal by a strict pattern, never a success. A listing is
read as far as possible; `flaw` says why it proves nothing. docs/spec/evidence.md, rules 7 and 8.
"""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from typing import NamedTuple

from orchestrator.isales.strict_json import BadJsonError, read_json, without_mark

#: an unpacked body may have so many bytes; the same bound as for one that came unpacked
MAX_BODY_BYTES = 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"

_CODE = re.compile(rb'"(?:resultCode|returnCode)"\s*:\s*"([0-9]{7,8})"')
#: an object without objects in it: a row of a listing
_FLAT_OBJECT = re.compile(r"\{[^{}]*\}")
_ID = re.compile(r'"id"\s*:\s*"?([0-9]{1,19})"?\s*[,}]')
_STATUS = re.compile(r'"status"\s*:\s*"?([0-9])"?\s*[,}]')
_TOTAL_SIZE = re.compile(r'"totalSize"\s*:\s*"?([0-9]{1,10})"?\s*[,}]')


class Document(NamedTuple):
    """The JSON object of an answer."""

    members: dict[str, object]
    #: what makes a listing unfit as a proof; empty when nothing does
    flaw: str = ""


def read_document(body: bytes, *, content_encoding: str | None) -> Document:
    """Read the JSON object of an answer.

    Raises:
        BadJsonError: it has none that may be believed; the message says why.
    """
    text, is_utf_8 = _decode(unpack(body, content_encoding))
    return Document(_sound_object(text, is_utf_8=is_utf_8))


def read_listing_document(body: bytes, *, content_encoding: str | None) -> Document:
    """Read a listing as far as it can be read.

    Raises:
        BadJsonError: nothing of it can be used.
    """
    try:
        return read_document(body, content_encoding=content_encoding)
    except BadJsonError as error:
        why = error
    plain = without_mark(unpack(body, content_encoding))
    # half a character in one name; in the second encoding a trail byte can be a backslash
    for encoding in ("utf-8", "gb18030"):
        with contextlib.suppress(BadJsonError):
            return Document(_sound_object(plain.decode(encoding, "replace"), is_utf_8=False))
    text = plain.decode("utf-8", "replace")
    try:
        found = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return _salvage(text, why)
    return Document(_as_object(found), flaw=f"the page is not strict JSON: {why}")


def codes_by_pattern(body: bytes, *, content_encoding: str | None) -> tuple[str, ...]:
    """The result codes that can be made out in a body that cannot be read; different ones once."""
    try:
        unpacked = unpack(body, content_encoding)
    except BadJsonError:
        return ()
    return tuple(dict.fromkeys(code.decode("ascii") for code in _CODE.findall(unpacked)))


def unpack(body: bytes, content_encoding: str | None) -> bytes:
    """Undo the compression that a header names, or that the bytes show; others change nothing.

    Raises:
        BadJsonError: it cannot be undone, or what comes out is too large.
    """
    if body.startswith(_GZIP_MAGIC):
        return _inflate(body, zlib.MAX_WBITS | 16)
    if "deflate" in (content_encoding or "").lower() and body[:1] != b"{":
        try:
            return _inflate(body, zlib.MAX_WBITS)
        except BadJsonError:
            with contextlib.suppress(BadJsonError):
                return _inflate(body, -zlib.MAX_WBITS)
            raise
    return body


def _inflate(body: bytes, window_bits: int) -> bytes:
    inflater = zlib.decompressobj(window_bits)
    try:
        unpacked = inflater.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise BadJsonError(f"compressed, and damaged: {error}") from error
    if len(unpacked) > MAX_BODY_BYTES:
        raise BadJsonError("too large when unpacked")
    if not inflater.eof:
        raise BadJsonError("compressed, and cut off")
    return unpacked


def _decode(body: bytes) -> tuple[str, bool]:
    """Read bytes as UTF-8, else as gb18030; and which it was.

    A trail byte of gb18030 can be a backslash, so that replacing bad bytes would break the JSON.
    It takes the bytes of Big5 in the same pairs (each of its 13,710): a code beside them is
    readable, whatever becomes of the words.
    """
    plain = without_mark(body)
    try:
        return plain.decode("utf-8"), True
    except UnicodeDecodeError as error:
        try:
            return plain.decode("gb18030"), False
        except UnicodeDecodeError:
            raise BadJsonError(f"not UTF-8 at byte {error.start}") from error


def _sound_object(text: str, *, is_utf_8: bool) -> dict[str, object]:
    """Read a strict object; a damaged name may have been the other code's.

    Raises:
        BadJsonError: it is none, or the name of a field is damaged.
    """
    members = _as_object(read_json(text))
    if not is_utf_8 and not all(map(str.isascii, members)):
        raise BadJsonError("not UTF-8, and the name of a field is damaged")
    if not all(map(str.isprintable, members)):
        raise BadJsonError("the name of a field is damaged")
    return members


def _as_object(found: object) -> dict[str, object]:
    if not isinstance(found, dict):
        raise BadJsonError("not a JSON object")
    return found


def _salvage(text: str, why: BadJsonError) -> Document:
    """Take the rows that can be read out of a text that is no JSON as a whole."""
    rows: list[dict[str, object]] = []
    for match in _FLAT_OBJECT.finditer(text):
        row = _row(match[0])
        if row is not None:
            rows.append(row)
    if not rows:
        raise why
    members: dict[str, object] = {"data": rows}
    total_size = _TOTAL_SIZE.search(text)
    if total_size is not None:
        members["totalSize"] = total_size[1]
    return Document(members, flaw=f"the page is incomplete: {why}")


def _row(text: str) -> dict[str, object] | None:
    try:
        found = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and "id" in found:
        return found
    campaign_id = _ID.search(text)
    if campaign_id is None:
        return None
    status = _STATUS.search(text)
    return {"id": campaign_id[1], "status": status[1] if status else ""}
