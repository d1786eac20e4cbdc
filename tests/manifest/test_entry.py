"""One entry: from what was written to a campaign or a problem."""

import pytest

from orchestrator.manifest.entry import (
    ABSENT,
    LineReader,
    ManifestLine,
    ManifestUnreadableError,
    Meaning,
    OtherNumber,
    meaning_of,
    shown,
    text_of,
)
from orchestrator.model import CampaignRef

ONLY_DIGITS = "only the digits 0-9 are allowed"


def read(vdn: object, campaign: object, *, default_vdn: int | None = None) -> ManifestLine:
    return LineReader(default_vdn).read(3, "3", vdn, campaign)


def test_a_good_entry_names_its_campaign() -> None:
    """As numbers; what was written is kept of bad entries alone."""
    assert read("7", "12") == ManifestLine(3, "3", CampaignRef(7, 12), "", "", "")
    assert read("7", "x").vdn_text == "7"


def test_the_default_fills_in_what_is_not_written() -> None:
    """Without a VDN of its own an entry takes the one of --vdn."""
    assert read(ABSENT, 12, default_vdn=9) == ManifestLine(3, "3", CampaignRef(9, 12), "", "", "")


@pytest.mark.parametrize(
    ("vdn", "campaign", "problem"),
    [
        (ABSENT, "5", "no VDN is given: name it, or add --vdn"),
        ("7", ABSENT, "no campaign id is given"),
        ("", "5", "'' is not a VDN: it is empty"),
        ("0", "5", "'0' is not a VDN: it must be from 1 to 9999"),
        (
            "x",
            "y",
            f"'x' is not a VDN: {ONLY_DIGITS}; 'y' is not a campaign id: {ONLY_DIGITS}",
        ),
        (7, None, "null is not a campaign id: digits are wanted, not null"),
    ],
)
def test_a_bad_entry_says_all_that_is_wrong(vdn: object, campaign: object, problem: str) -> None:
    """Both values are judged, missing VDNs included [I35]."""
    line = read(vdn, campaign)

    assert (line.ref, line.problem) == (None, problem)


@pytest.mark.parametrize(("vdn", "agrees"), [("9", True), (9, True), ("8", False), (8, False)])
def test_a_vdn_that_differs_from_the_default_is_a_problem(vdn: object, *, agrees: bool) -> None:
    """--vdn 9 beside a column that says 8 could mean either [I36]."""
    line = read(vdn, "5", default_vdn=9)

    assert line.problem == ("" if agrees else "the VDN is 8 here, but --vdn is 9")


def test_what_was_read_before_decides_nothing() -> None:
    """The reader remembers the last VDN text: a good one, then bad ones, then the good one."""
    reader = LineReader(None)

    lines = [reader.read(1, "1", vdn, "5") for vdn in ("", "7", "7", "", 7, "8", True, "7")]

    found = [line.ref and line.ref.vdn_id for line in lines]
    assert found == [None, 7, 7, None, 7, 8, None, 7]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (ABSENT, ""),
        ("x" * 300, "x" * 200),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        ({}, "{…}"),
        ([], "[…]"),
        (12, "12"),
        (OtherNumber("12.0"), "12.0"),
    ],
)
def test_the_report_shows_what_was_written(value: object, text: str) -> None:
    """Bounded, and in the words of JSON."""
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("5\u00a0", r"'5\xa0'"),
        ("\u200b5", r"'\u200b5'"),
        ("\ufeff5", r"'\ufeff5'"),
        ("\x1b[2J", r"'\x1b[2J'"),
        ("7" * 41, f"'{'7' * 40}'…"),
        (12, "12"),
        (OtherNumber("1" * 41), "1" * 41),
    ],
)
def test_a_message_shows_what_cannot_be_seen(value: object, text: str) -> None:
    """Invisible characters and controls appear as escapes [I06, I21]."""
    assert shown(value) == text


@pytest.mark.parametrize(
    ("names", "meaning"),
    [
        (
            "campaign_id campaignid campaignId CAMPAIGN-ID Campaign|ID |campaign_Id|",
            Meaning.CAMPAIGN,
        ),
        ("vdn VDN vdn_id vdnId VDN|ID vdn-id", Meaning.VDN),
        ("campaignIds campaign_ids", Meaning.CAMPAIGNS_OF_VDN),
        ("campaigns", Meaning.ENTRIES),
        ("run_id runId RUN-ID", Meaning.RUN),
        ("id campaign name vdnid2", None),
    ],
)
def test_names_are_matched_without_case_and_separators(names: str, meaning: Meaning | None) -> None:
    """The documented names, as people write them; `|` stands for a space [I10]."""
    assert {meaning_of(name.replace("|", " ")) for name in names.split()} == {meaning}


@pytest.mark.parametrize(
    ("place", "words"), [("17", "the list, line 17: "), ("$[3]", "the list, $[3]: ")]
)
def test_a_refusal_names_its_place(place: str, words: str) -> None:
    """A line is called one; whoever opened the file adds its name."""
    error = ManifestUnreadableError(place, "a reason")

    assert str(error) == f"{words}a reason. Nothing was sent."
    assert (error.place, error.reason, error.exit_code) == (place, "a reason", 2)


@pytest.mark.parametrize(
    ("named", "run_id"),
    [([], None), (["a", "a"], "a"), (["a", "b"], ""), (["a", "b", "a"], ""), (["", "a"], "")],
)
def test_a_list_names_a_run_when_every_row_does(named: list[str], run_id: str | None) -> None:
    """One row that names none, or another one, is enough to say nothing."""
    reader = LineReader(7)

    for each in named:
        reader.name_run(each)

    assert reader.run_id == run_id
