"""Result codes: exact texts, and the one lossless way in which a number is one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.isales.codes import RESULT_CODES, name_of, read_code


def test_names_are_distinct_words() -> None:
    """A report's result_name tells every code from every other."""
    names = list(RESULT_CODES.values())

    assert len(set(names)) == len(names)
    assert all(name.replace("_", "").isalpha() and name.islower() for name in names)


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(RESULT_CODES, 2)))
def test_all_codes_stay_apart_as_texts_and_as_numbers(one: str, other: str) -> None:
    """[S05] A server that sends numbers has lost one zero from each, and nothing else."""
    assert (read_code(one), read_code(other)) == (one, other)
    assert (read_code(int(one)), read_code(int(other))) == (one, other)


NUMBERS = [
    # realistic
    (200000, "0200000"),
    (2000001, "02000001"),
    (2000011, "02000011"),
    # the ends of the ranges, and one beyond
    (200999, "0200999"),
    (199999, "?199999"),
    (201000, "?201000"),
    (2000000, "?2000000"),
    (2000012, "?2000012"),
    (200022, "0200022"),
    (3000000, "?3000000"),
    (3000001, "03000001"),
    (3000006, "03000006"),
    (3000007, "?3000007"),
    (4000003, "?4000003"),
    (4000004, "04000004"),
    (4000005, "04000005"),
    (4000006, "?4000006"),
    # pathological
    (0, "?0"),
    (200000.0, "?200000.0"),
    (True, "?True"),
    (None, "?None"),
    (["0200000"], "?['0200000']"),
    (10**39, "?" + "1" + "0" * 39),
]


@pytest.mark.parametrize(("written", "code"), NUMBERS)
def test_a_number_is_a_code_only_where_one_zero_was_lost(written: object, code: str) -> None:
    """[S04] Four ranges, 200000-200999 the first, get their zero back; all else is in no table."""
    assert read_code(written) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 0200000",
        "0200000 ",
        "0200000\n",
        "200000",
        "\uff10\uff12\uff10\uff10\uff10\uff10\uff10",
        "0200-01",
        "O200000",
    ],
)
def test_a_text_is_taken_as_it_stands(text: str) -> None:
    """[S07] Nothing is stripped, padded or folded, so a lookalike is in no table."""
    assert read_code(text) == text
    assert read_code(text) not in RESULT_CODES


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.integers())))
def test_what_is_no_text_is_success_in_one_case_only(value: object) -> None:
    """[S04] 200000 is the only value that is not a text and means success."""
    assert (read_code(value) == "0200000") is (value == 200000 and type(value) is int)


def test_names_for_reports() -> None:
    """A code of the table has its name, any other has none, no code has nothing."""
    assert name_of("0200006") == "database_error"
    assert name_of("0299999") == "unknown_code"
    assert name_of("") == ""
