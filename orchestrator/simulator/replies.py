"""What answers look like: the JSON documents, the HTML pages, and the bytes on the wire.

An answer is built as bytes, so that a fault can cut it anywhere. world.py says what is true,
faults.py what is changed. docs/spec/interface.md has the shapes and codes.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING

from orchestrator.simulator.world import EmptyRows, Page, WorldSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.simulator.world import Campaign

JSON_TYPE = "application/json;charset=UTF-8"
HTML_TYPE = "text/html;charset=UTF-8"

#: what resultDesc says; unknown codes say nothing
DESCRIPTIONS = {
    "0200000": "",
    "0200001": "a parameter is wrong",
    "0200006": "database operation error",
    "0200007": "the campaign does not exist",
    "0200011": "the present status of the campaign does not allow this",
    "0200022": "called too fast",
    "02000001": "a mandatory parameter is empty",
    "02000002": "a parameter has characters that are not allowed",
    "02000003": "a parameter is too long",
    "02000004": "a parameter is too short",
    "02000005": "the length of a parameter is out of range",
    "02000006": "a parameter has the wrong type",
    "02000007": "a parameter has a value that is not allowed",
    "02000008": "a parameter cannot be converted",
    "02000009": "these parameters do not go together",
    "02000010": "hour and minute do not go together",
    "02000011": "too many parameters",
}

#: the same in Chinese; in Big5 the last byte of the first one is a backslash
CHINESE = {
    "0200000": "\u6210\u529f",
    "0200006": "\u6570\u636e\u5e93\u64cd\u4f5c\u9519\u8bef",
    "0200007": "\u5916\u547c\u6d3b\u52a8\u4e0d\u5b58\u5728",
}
CHINESE_ELSE = "\u5931\u6557"

_WORDS = {status.value: status.phrase for status in HTTPStatus}

LOGIN_PAGE = (
    b"<!DOCTYPE html><html><head><title>Log in</title></head><body><form>User</form></body>"
)


def result(result_code: object, return_code: object | None = None) -> dict[str, object]:
    """The four fields every answer has; both codes the same by default."""
    second = result_code if return_code is None else return_code
    return {
        "resultCode": result_code,
        "resultDesc": DESCRIPTIONS.get(str(result_code), ""),
        "returnCode": second,
        "returnDesc": DESCRIPTIONS.get(str(second), ""),
    }


def listing(page: Page, settings: WorldSettings) -> dict[str, object]:
    """The answer to a listing."""
    document = result("0200000") | {
        "curPage": page.page,
        "totalSize": page.total_size,
        "rowsPerPage": page.rows_per_page,
        "curSkillQueueCount": page.skill_queue_count,
        "curIvrCount": page.ivr_count,
    }
    if page.rows or settings.empty_rows is EmptyRows.LIST:
        document["data"] = [row(campaign, settings) for campaign in page.rows]
    elif settings.empty_rows is EmptyRows.NULL:
        document["data"] = None
    return document


def row(campaign: Campaign, settings: WorldSettings) -> dict[str, object]:
    """One campaign in a listing."""
    shown_id = str(campaign.campaign_id) if settings.ids_as_text else campaign.campaign_id
    return {
        "id": shown_id,
        "name": campaign.shown_name,
        "status": int(campaign.status),
        "strBeginTime": campaign.begin_time,
        "strEndTime": campaign.end_time,
        "deviceType": campaign.device_type,
        "callerNo": campaign.caller_no,
    }


def details(campaign: Campaign, settings: WorldSettings) -> dict[str, object]:
    """The answer to a details call."""
    shown = row(campaign, settings) | {"description": "", "maxAlertingTime": 30, "callBackUrl": ""}
    return result("0200000") | {"returnObject": shown}


def with_numeric_codes(document: dict[str, object]) -> dict[str, object]:
    """The same answer from a server that writes its codes as numbers, leading zero lost."""
    return document | {
        name: int(str(document[name])) for name in ("resultCode", "returnCode") if name in document
    }


def encode(document: object) -> bytes:
    """JSON as the wire carries it; a name may hold stray bytes (surrogateescape)."""
    return _compact(document).encode(errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class Wrapping:
    r"""How a server dresses answers that mean what they should.

    Names with stray bytes need none of this: `"caf\udce9"` has a latin-1 byte, `"caf\udcc3"` half a
    UTF-8 character, in every answer.
    """

    #: utf-8, gb18030 or big5; Content-Type says UTF-8 all the same
    charset: str = "utf-8"
    #: resultDesc and returnDesc are Chinese
    chinese: bool = False
    #: control characters in texts are written as they are, which JSON forbids
    raw_controls: bool = False
    #: Content-Encoding, asked for by nobody: gzip and deflate are, others are only said
    coding: str = ""
    #: of so many answers each, decided by the seed, 0 to 1
    share: float = 1.0
    #: seconds since the server started; the end is no longer inside
    start_s: float = 0.0
    end_s: float = inf

    def body(self, document: dict[str, object]) -> bytes:
        """The answer's bytes."""
        shown = document
        if self.chinese:
            shown = document | {
                name: CHINESE.get(str(document.get(code)), CHINESE_ELSE)
                for name, code in (("resultDesc", "resultCode"), ("returnDesc", "returnCode"))
                if name in document
            }
        text = _compact(shown)
        if self.raw_controls:
            for character in "\t\n\r\b\f":
                text = text.replace(json.dumps(character)[1:-1], character)
        try:
            body = text.encode(self.charset, errors="surrogateescape")
        except UnicodeEncodeError:
            body = text.encode(self.charset, errors="replace")  # no such character in Big5
        match self.coding:
            case "gzip":
                return gzip.compress(body, mtime=0)
            case "deflate":
                return zlib.compress(body)
            case _:
                return body

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What the head says of it."""
        return (("Content-Encoding", self.coding),) if self.coding else ()


def _compact(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def html(status: int) -> bytes:
    """An error page such as a proxy writes."""
    words = _WORDS.get(status, "Refused")
    return f"<html><head><title>{status} {words}</title></head><body>{words}</body></html>".encode()


def wire(
    status: int,
    body: bytes,
    *,
    content_type: str,
    date: str,
    headers: Iterable[tuple[str, str]] = (),
) -> bytes:
    """A whole HTTP/1.1 answer."""
    words = _WORDS.get(status, "Refused")
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
    typed = f"Content-Type: {content_type}\r\n" if content_type else ""
    head = (
        f"HTTP/1.1 {status} {words}\r\nDate: {date}\r\n{typed}"
        f"Content-Length: {len(body)}\r\n{extra}\r\n"
    )
    return head.encode("latin-1") + body


@lru_cache(maxsize=8)
def http_date(wall_s: int) -> str:
    """The Date header for a wall-clock second since the epoch."""
    return formatdate(wall_s, usegmt=True)
