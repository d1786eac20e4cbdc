"""Hostile text, harmless in a spreadsheet and on a terminal."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.text import TEXT_LIMIT, as_sentence, for_spreadsheet, for_terminal
from tests.report_makers import HOSTILE

#: any text at all, lone surrogates included
ANY_TEXT = st.text(st.characters(exclude_categories=()))
FORMULA_SIGNS = r"=+\-@＝＋－＠"  # noqa: RUF001 - as below
FORMULA_STARTS = "=+-@\t\r\n＝＋－＠"  # noqa: RUF001 - the lookalikes are the point
hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


def is_tame(text: str) -> bool:
    """Whether no character of the text can move, hide or reverse anything."""
    text.encode("utf-8")
    return all(unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in text)


@hostile
def test_hostile_text_is_tame_in_both_sinks(text: str) -> None:
    """[S43] [Z09] [Z10] Every text of the corpus: one line, no controls, 500 characters at most."""
    for shown in (for_spreadsheet(text), for_terminal(text)):
        assert is_tame(shown)
        assert len(shown) <= TEXT_LIMIT
    assert for_spreadsheet(text)[:1] not in FORMULA_STARTS


@given(ANY_TEXT)
def test_any_text_is_tame_on_a_terminal(text: str) -> None:
    """[Z10] Whatever Unicode has, lone surrogates too, comes out tame and encodable."""
    shown = for_terminal(text, limit=40)

    assert is_tame(shown)
    assert len(shown) <= 40
    assert for_terminal(shown, limit=40) == shown


@given(ANY_TEXT)
def test_no_cell_is_ever_calculated(text: str) -> None:
    """[Z09] No cell begins as a formula does, and writing it a second time changes nothing."""
    cell = for_spreadsheet(text)

    assert is_tame(cell)
    assert cell.lstrip()[:1] not in set(FORMULA_STARTS)
    assert for_spreadsheet(cell) == cell


@given(ANY_TEXT | st.text(st.sampled_from(" =+-@a1_.~\x7f\t\xa0é＝"), max_size=6))  # noqa: RUF001
@example("x" * 500)
@example("x" * 501)
@example(" x" * 251)
def test_the_short_way_gives_what_the_long_way_gives(text: str) -> None:
    """[Z09] Printable ASCII takes a short way; escaped piece by piece it would be the same."""
    head = text[: TEXT_LIMIT + 1]
    guard = "'" if re.match(rf"\s*[{FORMULA_SIGNS}]|[\t\r\n]", head) else ""
    whole = guard + for_terminal(head, limit=20 * TEXT_LIMIT)

    cut = whole if len(whole) <= TEXT_LIMIT else whole[: TEXT_LIMIT - 1] + "…"

    assert for_spreadsheet(text) == cut


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        # Realistic
        ("", ""),
        ("春季促销", "春季促销"),
        ("春季\u3000促销", "春季\u3000促销"),
        # Synthetic
        ("-5", "'-5"),
        ("\uff1d1", "'\uff1d1"),
        ("\t1", "'\\t1"),
        ("  @x", "'  @x"),
        # Pathological
        ("\x1b[2J", "\\x1b[2J"),
        ("\U000e0041", "\\U000e0041"),
        ("a\u3164b", "a\\u3164b"),
        ("x" * 501, "x" * 499 + "…"),
        ("=" + "x" * 500, "'=" + "x" * 497 + "…"),
    ],
)
def test_a_cell_shows_what_stood_there(text: str, cell: str) -> None:
    """[Z09] Harmless text stays as it is, harmful text is visibly escaped, long text is cut."""
    assert for_spreadsheet(text) == cell


def test_a_terminal_needs_no_apostrophe() -> None:
    """A formula is only text on a terminal: -5 stays -5."""
    assert for_terminal("-5 =1") == "-5 =1"


def test_the_limit_is_the_callers() -> None:
    """A name is cut at the length that the line has room for."""
    assert for_terminal("campaign", limit=5) == "camp…"
    assert for_terminal("campaign", limit=8) == "campaign"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("the disk is full", "the disk is full."),
        ("Nothing was sent..", "Nothing was sent."),
        ("Nothing was sent. ", "Nothing was sent."),
        ("is 7 the right VDN?.", "is 7 the right VDN?"),
        ("a name that was cut…", "a name that was cut…"),
    ],
)
def test_a_sentence_ends_with_one_stop(words: str, expected: str) -> None:
    """Whatever the words end with already."""
    assert as_sentence(words) == expected
