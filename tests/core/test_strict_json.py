"""JSON as a careful reader takes it: everything doubtful is refused, in one way."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.strict_json import BadJsonError, read_json, storable

REFUSED = [
    # realistic
    (b"", "empty"),
    (b" \r\n\t", "empty"),
    (b"<html>502 Bad Gateway</html>", "not JSON"),
    (b'{"resultCode": "0200', "not JSON"),
    (b'{"a": 1} trailing', "not JSON"),
    (b'{"a": 1}{"a": 1}', "not JSON"),
    # what Python's reader would bend
    (b'{"a": 1, "a": 2}', "twice"),
    (b'{"a": 1, "\\u0061": 1}', "twice"),
    (b'[{"b": {"a": 1, "a": 1}}]', "twice"),
    (b"NaN", "NaN"),
    (b'{"a": Infinity}', "Infinity"),
    (b"[-Infinity]", "-Infinity"),
    # sizes
    (b"1" * 41, "too long"),
    (b"-" + b"1" * 5_000, "too long"),
    (b"1." + b"1" * 5_000, "too long"),
    (b"1e999", "too large"),
    (b"[-1e400]", "too large"),
    (b"[" * 100_000, "deeply"),
    (b'{"a":' * 100_000, "deeply"),
    (b"[" * 100_000 + b"]" * 100_000, "deeply"),
    # encodings
    (b'"\xff"', "not UTF-8 at byte 1"),
    (b'"\xed\xa0\x80"', "not UTF-8"),
    (b'"\xc0\xaf"', "not UTF-8"),
    ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    ('{"a": 1}'.encode("utf-16-le"), "not JSON"),
    (b"\xef\xbb\xbf\xef\xbb\xbf{}", "not JSON"),
    (b"\xef\xbb\xbf", "empty"),
    # not in the grammar
    (b"{'a': 1}", "not JSON"),
    (b'{"a": 01}', "not JSON"),
    (b"[1,]", "not JSON"),
    (b'"a\nb"', "not JSON"),
    (b"\x00", "not JSON"),
]


@pytest.mark.parametrize(("body", "reason"), REFUSED)
def test_everything_doubtful_is_refused_with_a_reason(body: bytes, reason: str) -> None:
    """[S30][S33][S34][S35] Python's reader would take a good half of these."""
    with pytest.raises(BadJsonError, match=reason):
        read_json(body)


TAKEN: list[tuple[bytes, object]] = [
    (b'{"resultCode": "0200000", "n": [1, -2.5, null, true]}',
     {"resultCode": "0200000", "n": [1, -2.5, None, True]}),
    (b"\xef\xbb\xbf{}", {}),
    (b" 7 ", 7),
    (b"null", None),
    (b'"\\ud83d\\ude00"', "\U0001f600"),
    (b'"\\ud83d"', "\ud83d"),
    (b"1" * 40, int("1" * 40)),
    (b'[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
    (b"[" * 50 + b"]" * 50, json.loads("[" * 50 + "]" * 50)),
]  # fmt: skip


@pytest.mark.parametrize(("body", "value"), TAKEN)
def test_one_strict_document_is_taken(body: bytes, value: object) -> None:
    """[S35] With or without a byte order mark, and any JSON value at the top."""
    assert read_json(body) == value


@given(st.binary())
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    """[S30] Whatever comes in, what comes out is a value or a BadJsonError."""
    with contextlib.suppress(BadJsonError):
        read_json(body)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_what_was_written_strictly_is_read_back(value: Any) -> None:
    """Nothing that a correct server writes is refused or changed."""
    assert read_json(json.dumps(value).encode()) == value
    assert read_json(json.dumps(value, ensure_ascii=True).encode("utf-8-sig")) == value


@pytest.mark.parametrize("cut", range(len(b'{"resultCode":"0200000"}')))
def test_a_cut_document_is_refused_wherever_it_was_cut(cut: int) -> None:
    """[S30] Half an answer never reads as a whole one."""
    with pytest.raises(BadJsonError):
        read_json(b'{"resultCode":"0200000"}'[:cut])


@given(st.text(st.characters(codec=None, categories=None)))
def test_a_storable_text_can_be_written_anywhere(text: str) -> None:
    """Half characters become question marks, everything else stays as it was."""
    kept = storable(text)

    kept.encode()
    assert len(kept) == len(text)
    assert all(new in {old, "?"} for new, old in zip(kept, text, strict=True))


def test_whole_characters_are_storable_as_they_are() -> None:
    """Only what cannot be stored is replaced."""
    assert storable("spring, 春 \U0001f600") == "spring, 春 \U0001f600"
    assert storable("春\ud83d") == "春?"
