"""JSON lists and JSON Lines: accepted forms, paths, refusals, bounds."""

import itertools
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.manifest import json_list as manifest_json
from orchestrator.manifest.entry import LineReader, ManifestLine
from orchestrator.manifest.json_list import (
    MAX_KEY_CHARS,
    MAX_KEYS,
    MAX_LINE_CHARS,
    MAX_WAITING_IDS,
    read_json_lines,
    read_json_list,
)
from orchestrator.manifest.text import ManifestUnreadableError

SPREADSHEET = "export the column as text"
FRACTION = (
    "12.0 is not a campaign id: only digits are allowed, no fraction; "
    "if a spreadsheet added it, format the column as whole numbers or text"
)
TWO_WAYS = "this key and another in the same object can be meant in two ways"


def lines_of(text: str, *, vdn: int | None = None) -> list[ManifestLine]:
    return list(read_json_list([text] if text else [], LineReader(vdn)))


def ids(text: str, *, vdn: int | None = None) -> list[tuple[str, int, int]]:
    """Place, VDN and campaign of each entry, all of which must be good; numbered from 1."""
    lines = lines_of(text, vdn=vdn)
    assert [line.line for line in lines] == list(range(1, len(lines) + 1))
    found = []
    for line in lines:
        assert line.ref is not None, line.problem
        found.append((line.place, line.ref.vdn_id, line.ref.campaign_id))
    return found


def problem(text: str, *, vdn: int | None = None) -> tuple[str, str]:
    [line] = lines_of(text, vdn=vdn)
    assert line.ref is None
    return line.place, line.problem


def refusal(text: str, *, vdn: int | None = None) -> tuple[str, str]:
    with pytest.raises(ManifestUnreadableError) as caught:
        lines_of(text, vdn=vdn)
    return caught.value.place, caught.value.reason


# ------------------------------------------------------------------ accepted forms


@pytest.mark.parametrize(
    ("text", "vdn", "found"),
    [
        ("[5, 6]", 7, [("$[0]", 7, 5), ("$[1]", 7, 6)]),
        ('["5"]', 7, [("$[0]", 7, 5)]),
        ('[{"vdnId": 7, "campaignId": 5}]', None, [("$[0].campaignId", 7, 5)]),
        ('[{"campaignId": "5", "VDN": "7"}]', None, [("$[0].campaignId", 7, 5)]),
        ('{"vdnId": 7, "campaignId": 5}', None, [("$.campaignId", 7, 5)]),
        (
            '{"vdnId": 7, "campaignIds": [5, "6"]}',
            None,
            [("$.campaignIds[0]", 7, 5), ("$.campaignIds[1]", 7, 6)],
        ),
        ('{"campaign_ids": [5], "vdn_id": 7}', None, [("$.campaign_ids[0]", 7, 5)]),
        ('{"campaignIds": [5]}', 7, [("$.campaignIds[0]", 7, 5)]),
        (
            '[{"vdn":7,"campaignIds":[5]},{"vdn":8,"campaignIds":[]},{"vdn":9,"campaignIds":[6]}]',
            None,
            [("$[0].campaignIds[0]", 7, 5), ("$[2].campaignIds[0]", 9, 6)],
        ),
        (
            '{"total": 2, "campaigns": [5, {"vdnId": 7, "campaignId": 6}], "x": [[{}]]}',
            7,
            [("$.campaigns[0]", 7, 5), ("$.campaigns[1].campaignId", 7, 6)],
        ),
        (
            '[{"Campaign ID": 5, "vdn": 7, "name": {"a": [1, {}]}}]',
            None,
            [("$[0]['Campaign ID']", 7, 5)],
        ),
        ("[]", 7, []),
        ('{"campaigns": []}', 7, []),
        (
            "[9007199254740993, 9223372036854775807]",
            7,
            [("$[0]", 7, 2**53 + 1), ("$[1]", 7, 2**63 - 1)],
        ),
    ],
)
def test_the_documented_forms_are_accepted(
    text: str, vdn: int | None, found: list[tuple[str, int, int]]
) -> None:
    """Arrays, objects, lists of them, `campaigns`; ids are exact to 2^63-1 [I24, I20, I36, I27]."""
    assert ids(text, vdn=vdn) == found


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("5", "$", "a list is an array, or an object with vdnId and campaignIds, or one"),
        ('{"data": [5]}', "$", "a list is an array, or an object with vdnId and campaignIds"),
        ('{"vdnId": 7}', "$", "a list is an array, or an object"),
        ('{"campaigns": 5}', "$.campaigns", "campaigns is an array, and in the outermost"),
        ('[{"campaigns": [5]}]', "$[0].campaigns", "campaigns is an array, and in the outermost"),
        ('{"vdnId": 7, "campaignIds": 5}', "$.campaignIds", "campaignIds is an array"),
        ('{"vdnId": 7, "campaigns": [5]}', "$.campaigns", TWO_WAYS),
        ('{"campaigns": [], "vdnId": 7}', "$.vdnId", TWO_WAYS),
        ('[{"campaignId": 5, "campaignIds": [6]}]', "$[0].campaignIds", TWO_WAYS),
        ('[{"campaignId": 5, "campaign_id": 6}]', "$[0].campaign_id", TWO_WAYS),
        ('[{"vdn": 7, "vdnId": 8}]', "$[0].vdnId", TWO_WAYS),
        ("[5,6", "$[1]", "the JSON breaks off"),
        ("[5,6]x", "$[1]", "there is more text after the JSON has ended"),
        ("[5][6]", "$[0]", "there is more text after the JSON has ended"),
        ("[5,", "$[0]", "the JSON breaks off"),
        ('{"vdnId":7,"campaignIds":[5', "$.campaignIds[0]", "the JSON breaks off"),
        ('{"a":{"b":[', "$", "the JSON breaks off"),
        ("[NaN]", "$", "this is not JSON (RFC 8259): 'N' has no place outside a text"),
        ("", "$", "the JSON breaks off"),
    ],
)
def test_all_other_forms_are_refused(text: str, place: str, reason: str) -> None:
    """Each is named, none is half-read [I24, I11, I22, I27]."""
    found = refusal(text, vdn=7)

    assert found[0] == place
    assert found[1].startswith(reason)


# ------------------------------------------------------------------ values that are no ids


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("true", "true is not a campaign id: digits are wanted, not true or false"),
        ("null", "null is not a campaign id: digits are wanted, not null"),
        ('{"a": {"b": 1}}', "{…} is not a campaign id: digits are wanted, not an object"),
        ("[[5], 6]", "[…] is not a campaign id: digits are wanted, not an array"),
        ("12.0", FRACTION),
        ("1e3", SPREADSHEET),
        ('"1.23457E+11"', SPREADSHEET),
        ("-5", "-5 is not a campaign id: it must be from 1"),
        ("0", "0 is not a campaign id: it must be from 1"),
        ("9223372036854775808", "9223372036854775808 is not a campaign id: it must be from 1"),
        ('"007"', "a leading zero is not allowed"),
        ('"５"', r"'\uff15' is not a campaign id: only the ASCII digits"),  # noqa: RUF001
        ('"5\\u00a0"', r"'5\xa0' is not a campaign id"),
        ('"../x"', "'../x' is not a campaign id"),
        ('"\\u0000"', r"'\x00' is not a campaign id"),
        (f'"{"7" * 5000}"', "it has more than 19 digits"),
    ],
)
def test_what_is_no_id_is_a_problem_with_its_path(value: str, reason: str) -> None:
    """The path names it, and the entries around it are read [I06, I14, I15, I16, I19, I21, I37]."""
    first, bad, last = lines_of(f'{{"vdnId":7,"campaignIds":[1,{value},2]}}')

    assert (first.ref is None, bad.ref, last.ref is None) == (False, None, False)
    assert bad.place == "$.campaignIds[1]"
    assert reason in bad.problem
    assert len(bad.campaign_text) <= 200


def test_an_object_as_entry_of_an_array_needs_an_id() -> None:
    """An object without campaignId is a bad entry; its VDN is kept for the report [I19]."""
    [line] = lines_of('[{"vdnId": 7, "name": "x"}]')

    assert (line.place, line.vdn_text, line.problem) == ("$[0]", "7", "no campaign id is given")


@pytest.mark.parametrize(
    ("text", "vdn", "found"),
    [
        ("[5]", None, ("$[0]", "no VDN is given: name it, or add --vdn")),
        (
            '[{"campaignId": 5}]',
            None,
            ("$[0].campaignId", "no VDN is given: name it, or add --vdn"),
        ),
        (
            '{"vdnId": 8, "campaignIds": [5]}',
            7,
            ("$.campaignIds[0]", "the VDN is 8 here, but --vdn is 7"),
        ),
        (
            '{"campaignIds": [5], "vdnId": 10000}',
            None,
            ("$.campaignIds[0]", "10000 is not a VDN: it must be from 1 to 9999"),
        ),
        (
            '[{"campaignId": 5, "vdnId": null}]',
            7,
            ("$[0].campaignId", "null is not a VDN: digits are wanted, not null"),
        ),
    ],
)
def test_a_vdn_must_be_given_once_and_be_one(
    text: str, vdn: int | None, found: tuple[str, str]
) -> None:
    """Missing, outside 1..9999, or another than --vdn: the entry says it [I35, I36]."""
    assert problem(text, vdn=vdn) == found


# ------------------------------------------------------------------ hostile documents


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"vdnId": 7, "vdnId": 8, "campaignIds": [5]}', "$.vdnId"),
        ('[{"vdnId": 7, "campaignId": 5, "campaignId": 6}]', "$[0].campaignId"),
        ('[5, {"x": {"a": 1, "a": 2}}]', "$[1]"),
    ],
)
def test_a_repeated_key_is_refused(text: str, place: str) -> None:
    """Which of the two values is meant nobody can say, in ignored parts neither [I22]."""
    found = refusal(text, vdn=7)

    assert found[0] == place
    assert found[1].endswith("stands twice in one object")


@pytest.mark.parametrize("start", ["[", '{"a":', '{"campaignIds":[[', '{"campaigns":[{"x":['])
def test_bottomless_json_is_refused_in_words(start: str) -> None:
    """100,000 brackets end in a sentence, not in a RecursionError [I23]."""
    _, reason = refusal(start + "[" * 100_000, vdn=7)

    assert reason == "arrays and objects are nested more than 64 deep"


def test_ignored_parts_may_be_deep_to_a_limit() -> None:
    """64 levels are passed over."""
    assert len(lines_of("[5," + "[" * 64 + "]" * 64 + "]", vdn=7)) == 2


@pytest.mark.parametrize(
    "keys", [[f"k{at}" for at in range(MAX_KEYS + 1)], ["k" * (MAX_KEY_CHARS + 1)]]
)
def test_an_object_without_end_is_refused(keys: list[str]) -> None:
    """Keys are remembered to find repeated ones, so their number and length are bounded [I25]."""
    text = json.dumps([dict.fromkeys(keys)])

    _, reason = refusal(text, vdn=7)

    assert reason.startswith("an object has more than 1,000 keys")


# ------------------------------------------------------------------ streaming


def test_entries_are_yielded_as_they_come() -> None:
    """An endless array is read as far as it is asked for [I26]."""
    asked = 0

    def endless() -> Iterator[str]:
        nonlocal asked
        yield '{"vdnId": 7, "campaignIds": [1'
        while True:
            asked += 1
            yield f",{asked}"

    stream = read_json_list(endless(), LineReader(None))

    assert len(list(itertools.islice(stream, 1000))) == 1000
    assert asked <= 1001


@pytest.fixture
def _small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_WAITING_IDS == 100_000
    monkeypatch.setattr(manifest_json, "MAX_WAITING_IDS", 2)


@pytest.mark.usefixtures("_small_bound")
def test_ids_before_their_vdn_wait_within_a_bound() -> None:
    """As many as the bound wait; one more is refused, since --vdn does not say whose they are."""
    assert len(ids('{"campaignIds": [5, 6], "vdnId": 7}')) == 2

    place, reason = refusal('{"campaignIds": [5, 6, 8], "vdnId": 7}')

    assert place == "$.campaignIds[2]"
    assert reason.endswith("ids stand before their vdnId")


@pytest.mark.usefixtures("_small_bound")
def test_with_the_flag_ids_need_not_wait() -> None:
    """Beyond the bound --vdn is taken; a vdnId that then says otherwise refuses the list [I36]."""
    assert len(ids('{"campaignIds": [1, 2, 3, 4, 5]}', vdn=7)) == 5
    assert len(ids('{"campaignIds": [1, 2, 3, 4, 5], "vdnId": "7"}', vdn=7)) == 5

    place, reason = refusal('{"campaignIds": [1, 2, 3, 4, 5], "vdnId": 8}', vdn=7)

    assert place == "$.vdnId"
    assert reason == "the VDN is not the one of --vdn, and stands after its campaigns"


pairs = st.lists(st.tuples(st.integers(1, 9999), st.integers(1, 2**63 - 1)), max_size=9)


@given(pairs=pairs, indent=st.sampled_from([None, 2]), texts=st.booleans())
def test_what_the_json_module_writes_is_read(
    pairs: list[tuple[int, int]], indent: int | None, *, texts: bool
) -> None:
    """The same campaigns come back, as numbers or digit strings."""
    kind = str if texts else int
    entries = [{"vdnId": kind(vdn), "campaignId": kind(campaign)} for vdn, campaign in pairs]

    found = ids(json.dumps(entries, indent=indent))

    assert [each[1:] for each in found] == pairs


# ------------------------------------------------------------------ JSON Lines


def json_lines(text: str, *, vdn: int | None = 7) -> list[tuple[int, str, int | None, str]]:
    """Line, place, campaign and problem of each entry."""
    found = read_json_lines([text], LineReader(vdn))
    return [(x.line, x.place, x.ref.campaign_id if x.ref else None, x.problem) for x in found]


def test_json_lines_hold_one_entry_each() -> None:
    """A number, a text or an object; blank lines are passed over and counted [I24, I05, I04]."""
    text = '5\r\n"6"\n\n \t\n{"vdn":7,"campaignId":8}\r{"campaignIds":[9,10]}'

    assert json_lines(text) == [
        (1, "1", 5, ""),
        (2, "2", 6, ""),
        (5, "5 $.campaignId", 8, ""),
        (6, "6 $.campaignIds[0]", 9, ""),
        (6, "6 $.campaignIds[1]", 10, ""),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[5]", "a line holds one number, text or object, not an array"),
        ('{"vdnId":7,"campaignIds":[5,6', "the JSON breaks off"),
        ("5 6", "there is more text after the JSON has ended"),
        ('{"campaignId":5}{"campaignId":6}', "there is more text after the JSON has ended"),
        ("NaN", "this is not JSON (RFC 8259): 'N' has no place outside a text"),
        ('{"campaigns":[5]}', "campaigns is an array, and in the outermost object only"),
        ('{"campaignId":5,"campaignId":6}', "the key campaignId stands twice in one object"),
        ("[" * 100_000, "a line holds one number, text or object, not an array"),
        ("12.0", FRACTION),
        ("# 5", "this is not JSON (RFC 8259): '#' has no place outside a text"),
    ],
)
def test_a_bad_line_is_one_problem(line: str, reason: str) -> None:
    """The lines around it are read: one entry for it, whatever it held [I22, I23, I24, I38]."""
    assert json_lines(f"4\n{line}\n6\n") == [
        (1, "1", 4, ""),
        (2, "2", None, reason),
        (3, "3", 6, ""),
    ]


def test_a_bad_line_is_kept_for_the_report() -> None:
    """The first 200 characters of it."""
    [line] = read_json_lines(["{" + "x" * 300], LineReader(7))

    assert line.campaign_text == "{" + "x" * 199


def test_a_line_over_the_limit_ends_the_reading() -> None:
    """131,073 characters on one line are too many [I25]."""
    with pytest.raises(ManifestUnreadableError, match="longer than 131,072 characters") as caught:
        json_lines("5\n" + " " * (MAX_LINE_CHARS + 1))

    assert caught.value.place == "2"
