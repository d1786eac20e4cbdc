"""Ids and statuses: what is read, what is refused, and in which words."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.model import (
    Refusal,
    Status,
    read_campaign_id,
    read_status,
    read_vdn_id,
)


def words(value: object) -> str:
    found = read_campaign_id(value)
    assert isinstance(found, Refusal), f"{value!r} was accepted as {found}"
    assert found.reason.startswith("is not a campaign id: ")
    return found.reason


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("1", 1),
        ("7", 7),
        (7, 7),
        ("9007199254740993", 2**53 + 1),
        ("9223372036854775807", 2**63 - 1),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_digits_are_read_exactly(value: object, number: int) -> None:
    """Numbers and digit strings up to 2^63-1 come out as they went in [I20]."""
    assert read_campaign_id(value) == number


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("1e3", "export the column as text"),
        ("1.23457E+11", "its last digits are lost"),
        ("1,23457E+15", "its last digits are lost"),
        (1e20, "its last digits are lost"),
        ("12.0", "if a spreadsheet has changed it"),
        (1e3, "if a spreadsheet has changed it"),
        ("1,234", "if a spreadsheet has changed it"),
        ("1\u202f234", "if a spreadsheet has changed it"),
        ('="123"', "if a spreadsheet has changed it"),
        ("'5", "if a spreadsheet has changed it"),
        ("\u201e101\u201c", "if a spreadsheet has changed it"),
        ("#N/A", "if a spreadsheet has changed it"),
        ("12;13", "several numbers"),
        ("12,13", "several numbers"),
        ("12-15", "a range"),
    ],
)
def test_what_a_spreadsheet_or_a_person_made_of_an_id_is_named(value: object, hint: str) -> None:
    """Refused, never guessed, and the cause fits: 101.0 was not rounded, 1,23E+15 was [I15]."""
    assert hint in words(value)


RANGE = "it must be from 1 to 9223372036854775807"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "it is empty"),
        # [I16] no id is signed, and none is zero
        ("-5", "only the digits 0-9 are allowed"),
        ("0", RANGE),
        (-5, RANGE),
        # [I14] an id has one spelling, so that 007 can never be sent beside 7
        ("007", "a leading zero is not allowed"),
        ("00", "a leading zero is not allowed"),
        # [I17] 5,000 digits never reach int(), which would raise
        ("9223372036854775808", RANGE),
        (2**63, RANGE),
        ("1" * 5000, "it has more than 19 digits"),
        # [I18] what int() would take
        ("\uff11\uff12\uff13", "only the digits 0-9 are allowed"),
        ("\u00b2", "only the digits 0-9 are allowed"),
        ("0x10", "only the digits 0-9 are allowed"),
        # [I19] JSON of another kind: True is not 1, and null is not nothing
        (True, "digits are wanted, not true or false"),
        (None, "digits are wanted, not null"),
        ({}, "digits are wanted, not an object"),
        ([1], "digits are wanted, not an array"),
        # no guess at what a long text was
        ("=" + "1" * 60, "only the digits 0-9 are allowed"),
    ],
)
def test_what_is_no_id_is_refused_with_its_reason(value: object, reason: str) -> None:
    """Nothing is guessed, and the sentence ends with what is wrong."""
    assert words(value).endswith(reason)


@pytest.mark.parametrize("value", ["5\u00a0", "\u200b5", "\ufeff5", " 5", "5\n"])
def test_invisible_characters_around_digits_are_named(value: str) -> None:
    """A non-breaking or zero-width space cannot be seen, so the reason says it [I06]."""
    assert words(value).endswith("it has blanks or invisible characters around them")


@pytest.mark.parametrize(
    "value", ["../x", "5?x=", "5/../../resume", "5\x00", "5\x1b[2J", "5#", "%35"]
)
def test_what_could_change_a_url_is_refused(value: str) -> None:
    """A text that would lead a request elsewhere is no id [I37, I21]."""
    assert isinstance(read_campaign_id(value), Refusal)
    assert isinstance(read_vdn_id(value), Refusal)


@pytest.mark.parametrize("value", ["1", 1, "9999", 9999])
def test_a_vdn_is_1_to_9999(value: object) -> None:
    """Both ends of the range are VDNs."""
    assert read_vdn_id(value) == int(str(value))


@pytest.mark.parametrize("value", [0, "0", 10_000, "10000", -1, "-1", "1.0", 1.0, "", None])
def test_a_vdn_outside_is_refused(value: object) -> None:
    """0, 10000, -1 and 1.0 are no VDNs, and the reason speaks of a VDN [I35]."""
    found = read_vdn_id(value)

    assert isinstance(found, Refusal)
    assert found.reason.startswith("is not a VDN: ")


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.none())
@example("٣")
def test_whatever_is_accepted_is_plain_digits(value: object) -> None:
    """An accepted id, written out, is the text that was given."""
    found = read_campaign_id(value)

    if isinstance(found, int):
        assert str(found) == str(value)
        assert 1 <= found < 2**63


@pytest.mark.parametrize(("value", "status"), [(1, 1), ("2", 2), (3, 3), ("4", 4)])
def test_a_status_is_a_number_or_a_digit(value: object, status: int) -> None:
    """The server writes both."""
    assert read_status(value) is Status(status)


@pytest.mark.parametrize("value", [0, 5, "0", "5", "33", "", None, True, 3.0, "３"])  # noqa: RUF001
def test_an_unknown_status_is_none(value: object) -> None:
    """A status that we do not know is not taken for one that we know."""
    assert read_status(value) is None
