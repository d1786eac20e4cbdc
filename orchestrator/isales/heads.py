"""Heads of answers that RFC 9112 allows and aiohttp's parser refuses: the length given twice.

The same Content-Length several times is one (§6.3, 5); beside chunked it does not count (§6.3, 3).
Nothing else is changed, and after such a head the connection is closed. aiohttp offers no place
between socket and parser but the protocol itself.
"""

from __future__ import annotations

import re

from aiohttp.client_proto import ResponseHandler

#: a head that is longer goes to the parser as it is, which has its own limits
_MAX_HEAD_BYTES = 64 * 1024

_END = re.compile(rb"\r?\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1[0-9][0-9](?![0-9])")
_LENGTH = b"content-length"
_CODING = b"transfer-encoding"


class LenientHandler(ResponseHandler):
    """Reads one answer's head before the parser does."""

    _awaits_head = False
    _held = b""

    def expect_head(self) -> None:
        """The next bytes begin an answer."""
        self._awaits_head = True

    def data_received(self, data: bytes) -> None:
        """Take what the socket has read; a head waits until it is whole."""
        if not self._awaits_head or not data:
            super().data_received(data)
            return
        held, ready = self._held + data, b""
        while self._awaits_head and (end := _END.search(held)):
            head, held = held[: end.end()], held[end.end() :]
            self._awaits_head = _INTERIM.match(head) is not None
            ready += one_length(head)
        is_head = held[:5] == b"HTTP/"[: len(held)] and len(held) <= _MAX_HEAD_BYTES
        if not (self._awaits_head and is_head):
            self._awaits_head = False
            ready, held = ready + held, b""
        self._held = held
        if ready:
            super().data_received(ready)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let the parser see that a head has begun."""
        held, self._held = self._held, b""
        if held:
            super().data_received(held)
        super().connection_lost(exc)


def one_length(head: bytes) -> bytes:
    """The same head with one statement of how long the body is, where it has several that agree.

    Args:
        head: from the status line to the empty line.
    """
    low = head.lower()
    if low.count(_LENGTH) + low.count(_CODING) < 2 and b"," not in low:
        return head
    lines = head.split(b"\n")
    fields = [line.partition(b":") for line in lines[1:]]
    if any(name[:1] in {b" ", b"\t"} for name, _, _ in fields):
        return head
    texts = [value for name, _, value in fields if name.lower() == _LENGTH]
    lengths = {one.strip() for text in texts for one in text.split(b",")}
    codings = [value.strip().lower() for name, _, value in fields if name.lower() == _CODING]
    if len(lengths) != 1 or not lengths.copy().pop().isdigit():
        return head
    is_chunked = codings == [b"chunked"] and low.startswith(b"http/1.1 ")
    if codings and not is_chunked:
        return head
    if not codings and len(texts) == 1 and b"," not in texts[0]:
        return head
    kept = [line for line in lines if line.partition(b":")[0].lower() != _LENGTH]
    kept.insert(1, b"Connection: close\r")
    if not is_chunked:
        kept.insert(1, b"Content-Length: " + lengths.pop() + b"\r")
    return b"\n".join(kept)
