"""JSON as a careful reader takes it: everything doubtful is refused, in one way."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.isales.strict_json import (
    BadJsonError,
    read_json,
    storable,
    whole_number,
    without_mark,
)

REFUSED = [
    (" \r\n\t", "empty"),
    ("<html>502 Bad Gateway</html>", "not JSON"),
    ('{"resultCode": "0200', "not JSON"),
    ('{"a": 1}{"a": 1}', "not JSON"),
    # what Python's reader would bend
    ('{"a": 1, "\\u0061": 1}', "twice"),
    ('[{"b": {"a": 1, "a": 1}}]', "twice"),
    ("NaN", "NaN"),
    ("[-Infinity]", "-Infinity"),
    # sizes
    ("1" * 41, "too long"),
    ("1." + "1" * 5_000, "too long"),
    ("[-1e400]", "too large"),
    ("[" * 100_000, "deeply"),
    ('{"a":' * 100_000, "deeply"),
    # not in the grammar
    ("\ufeff{}", "not JSON"),
    ("{'a': 1}", "not JSON"),
    ('{"a":\x001}', "not JSON"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_everything_doubtful_is_refused_with_a_reason(text: str, reason: str) -> None:
    """[S30][S33][S34] Python's reader would take a good half of these."""
    with pytest.raises(BadJsonError, match=reason):
        read_json(text)


TAKEN: list[tuple[str, object]] = [
    ('{"resultCode": "0200000", "n": [1, -2.5, null, true]}',
     {"resultCode": "0200000", "n": [1, -2.5, None, True]}),
    (" 7 ", 7),
    ("null", None),
    ('"\\ud83d\\ude00"', "\U0001f600"),
    ('"\\ud83d"', "\ud83d"),
    ('"\ud83d"', "\ud83d"),
    ("1" * 40, int("1" * 40)),
    ('[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
    ("[" * 50 + "]" * 50, json.loads("[" * 50 + "]" * 50)),
    # docs/spec/evidence.md, rule 7: a TAB in a name is no reason to doubt a page
    ('{"name": "spring\tsale"}', {"name": "spring\tsale"}),
    ('"a\nb\x00\x1f"', "a\nb\x00\x1f"),
    ('{"n": 1, "t": "' + "7" * 40 + '\t"}', {"n": 1, "t": "7" * 40 + "\t"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), TAKEN)
def test_one_strict_document_is_taken(text: str, value: object) -> None:
    """[S35] Any JSON value at the top; a control character in a text bends nothing."""
    assert read_json(text) == value


@given(st.text(st.characters(codec=None, categories=None)))
def test_no_text_raises_anything_else(text: str) -> None:
    """[S30] Whatever comes in, what comes out is a value or a BadJsonError."""
    with contextlib.suppress(BadJsonError):
        read_json(text)


@given(st.binary())
def test_a_byte_order_mark_is_taken_off_once(body: bytes) -> None:
    """[S35] One mark in front goes; bytes without one stay as they are."""
    mark = b"\xef\xbb\xbf"

    assert without_mark(mark + body) == body
    assert without_mark(b"{" + body) == b"{" + body


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
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value, ensure_ascii=False)) == value


@given(st.text(st.characters(codec=None, categories=None)))
def test_a_storable_text_can_be_written_anywhere(text: str) -> None:
    """Half characters become question marks, everything else stays as it was."""
    kept = storable(text)

    kept.encode()
    assert len(kept) == len(text)
    assert all(new in {old, "?"} for new, old in zip(kept, text, strict=True))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0), (999, 999), ("0", 0), ("999", 999), ("007", 7),
        (-1, None), (1000, None), ("1000", None), ("0007", None), ("-1", None), ("", None),
        ("\u0663", None), ("1.0", None), (1.0, None), (True, None), (None, None), ([1], None),
    ],
)  # fmt: skip
def test_a_count_is_a_number_or_its_digits_within_a_bound(
    value: object, number: int | None
) -> None:
    """[S31] Whatever else a server writes for a count is no count, and never 0."""
    assert whole_number(value, most=999) == number
