"""What may pass to the JSON parser, whichever parser is installed."""

import itertools
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.manifest.json_events import (
    BACKENDS,
    MAX_TOKEN_CHARS,
    NotJsonError,
    json_events,
)

NOT_JSON = "this is not JSON (RFC 8259)"
BREAKS_OFF = "the JSON breaks off"
TOO_LONG = "this is not JSON (RFC 8259), or a number is too long"

backends = pytest.mark.parametrize("backend", BACKENDS)


def values(texts: Iterable[str], backend: str) -> list[Any]:
    return [value for _, value in json_events(texts, backends=(backend,)) if value is not None]


def refusal(texts: Iterable[str], backend: str) -> str:
    with pytest.raises(NotJsonError) as caught:
        list(json_events(texts, backends=(backend,)))
    return str(caught.value)


@backends
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_numbers_are_exact_wherever_they_are_cut(backend: str, step: int) -> None:
    """2^53+1 and a fraction come out as they were written, character by character [I20]."""
    text = "[9007199254740993,123456789012345678901234567890,-1,12.0,1e+3,1E3,0]"
    texts = [text[at : at + step] for at in range(0, len(text), step)]

    found = values(texts, backend)

    assert found == [
        2**53 + 1,
        123456789012345678901234567890,
        -1,
        Decimal("12.0"),
        Decimal(1000),
        Decimal(1000),
        0,
    ]
    assert not any(isinstance(number, float) for number in found)


@backends
@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize("text", ["1" * 5000, "-" + "1" * 99, "1." + "1" * 200, "1" * 101])
def test_a_number_of_any_length_is_refused_before_it_is_parsed(
    backend: str, step: int, text: str
) -> None:
    """The C parser of ijson ends the interpreter on 5,000 digits: they must not reach it [I17]."""
    texts = ["[", *(text[at : at + step] for at in range(0, len(text), step)), "]"]

    if len(text) <= 100:
        assert values(texts, backend) == [int(text)]
    else:
        assert refusal(texts, backend) == TOO_LONG


def test_an_exponent_out_of_all_bounds_is_refused() -> None:
    """Decimal has an end too; the C parser says so in another way than the Python one [I17]."""
    text = f"[1e{'9' * 30}]"

    assert refusal([text], "yajl2_c") == "this is not JSON (RFC 8259), or a number is too large"
    assert refusal([text], "python") == NOT_JSON


@backends
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[NaN]", f"{NOT_JSON}: 'N' has no place outside a text"),
        ("[Infinity]", f"{NOT_JSON}: 'I' has no place outside a text"),
        ("[-Infinity]", f"{NOT_JSON}: 'I' has no place outside a text"),
        ("[+1]", TOO_LONG),
        ("[1+1]", TOO_LONG),
        ("[１]", rf"{NOT_JSON}: '\uff11' has no place outside a text"),  # noqa: RUF001 - the point
        ("[1\u00a0]", rf"{NOT_JSON}: '\xa0' has no place outside a text"),
        ("['1']", f'{NOT_JSON}: "\'" has no place outside a text'),
        ("[/*c*/1]", f"{NOT_JSON}: '/' has no place outside a text"),
    ],
)
def test_what_parsers_take_lightly_is_refused(backend: str, text: str, reason: str) -> None:
    """The Python parser would read `+1` and a full-width 1 as 1 [I16, I18, I22]."""
    assert refusal([text], backend) == reason


@backends
@pytest.mark.parametrize(
    "text", ["[01]", '["\\uzzzz"]', "[1,]", "[1 2]", '["a\nb"]', '["\\x41"]', "{1:2}", "[1}"]
)
def test_what_is_not_json_is_refused(backend: str, text: str) -> None:
    """Leading zeros, trailing commas, line ends in a text [I14, I24]."""
    reason = refusal([text], backend)

    assert reason.startswith((NOT_JSON, "half a surrogate pair, or a wrong"))


@backends
@pytest.mark.parametrize("text", ["", " \n", "[1,2", '{"a"', '{"a":', '["a', '["a\\', '["\\ud8'])
def test_what_breaks_off_is_refused(backend: str, text: str) -> None:
    """A list that was cut is never taken for a shorter list [I24]."""
    reason = refusal([text] if text else [], backend)

    assert reason == (NOT_JSON if "\\" in text and backend == "yajl2_c" else BREAKS_OFF)


@backends
@pytest.mark.parametrize("text", ["[1,2]x", "[1,2][3]", '{"a":1}{"a":1}', "1 2"])
def test_text_after_the_end_is_refused(backend: str, text: str) -> None:
    """One document, nothing behind it [I24]."""
    assert "the JSON has ended" in refusal([text], backend)


SURROGATES = ["\\ud800", "\\uDC00", "\\ud83dx", "\\ude00\\ud83d", "\\ud83d\\ud83d"]


@backends
@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize("text", SURROGATES)
def test_half_a_surrogate_pair_is_refused(backend: str, step: int, text: str) -> None:
    """The C parser of ijson would read it as a question mark [I22]."""
    whole = f'["{text}"]'

    reason = refusal([whole[at : at + step] for at in range(0, len(whole), step)], backend)

    assert reason == r"half a surrogate pair, or a wrong \u escape, stands in a text"


@backends
def test_whole_pairs_and_escaped_backslashes_are_texts(backend: str) -> None:
    """An emoji as Python's json writes it, and a backslash before a u."""
    text = r'["\ud83d\ude00", "\\ud800", "\"", "\u00e9"]'

    found = [values(texts, backend) for texts in ([text], list(text))]

    assert found == [["😀", r"\ud800", '"', "é"]] * 2


def endless(character: str, seen: list[int]) -> Iterator[str]:
    for count in itertools.count(1):
        seen.append(count)
        yield character * 10_000


@backends
@pytest.mark.parametrize(
    ("start", "character", "reason"),
    [
        ('["', "7", f"a text is longer than {MAX_TOKEN_CHARS:,} characters"),
        ("[", " ", f"more than {MAX_TOKEN_CHARS:,} characters without a value"),
    ],
)
def test_what_never_ends_is_refused_within_bounds(
    backend: str, start: str, character: str, reason: str
) -> None:
    """A text of a gigabyte is not held: 14 pieces of 10,000 are enough to refuse it [I25]."""
    seen: list[int] = []

    assert refusal(itertools.chain([start], endless(character, seen)), backend) == reason
    assert seen[-1] <= 14


@backends
def test_a_walk_may_stop_half_way(backend: str) -> None:
    """The Python parser, collected unfinished, complains; pytest makes that an error."""
    stream = json_events(["[1,", "2]"], backends=(backend,))

    assert next(stream) == ("start_array", None)
    stream.close()  # type: ignore[attr-defined] # it is a generator


def test_the_parser_in_python_stands_in_for_c() -> None:
    """Without any of them there is an error that names them."""
    assert list(json_events(["1"], backends=("no such", "python"))) == [("number", 1)]
    with pytest.raises(ImportError, match="none of its parsers: no such"):
        list(json_events(["1"], backends=("no such",)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(value=json_values, ascii_only=st.booleans(), step=st.integers(1, 20), c=st.booleans())
def test_whatever_json_writes_is_sound(
    value: object, *, ascii_only: bool, step: int, c: bool
) -> None:
    """Nothing that Python's json module writes is refused, wherever it is cut."""
    encodable = json.dumps(value, ensure_ascii=ascii_only)
    texts = [encodable[at : at + step] for at in range(0, len(encodable), step)]

    events = list(json_events(texts, backends=(BACKENDS[0 if c else 1],)))

    assert sum(kind == "number" for kind, _ in events) == count_of_numbers(value)


def count_of_numbers(value: object) -> int:
    if isinstance(value, list):
        return sum(map(count_of_numbers, value))
    if isinstance(value, dict):
        return sum(map(count_of_numbers, value.values()))
    return isinstance(value, int) and not isinstance(value, bool)
