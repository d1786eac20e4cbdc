"""JSON lists and JSON Lines: accepted forms, paths, refusals, bounds."""

import io
import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.manifest import json_list as manifest_json
from orchestrator.manifest.entry import LineReader, ManifestLine, ManifestUnreadableError
from orchestrator.manifest.json_list import MAX_VALUE_CHARS, Window, read_json_lines, read_json_list

MORE_TEXT = (
    "there is more text after the JSON has ended (JSON Lines are named .jsonl, or --format jsonl)"
)

SPREADSHEET = "export the column as text"
FRACTION = (
    "12.0 is not a campaign id: only digits are allowed; "
    "if a spreadsheet has changed it, format the column as text"
)
TWO_WAYS = "this key and another in the same object can be meant in two ways"


def lines_of(text: str, *, vdn: int | None = None) -> list[ManifestLine]:
    return list(read_json_list(io.StringIO(text), LineReader(vdn)))


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
        ('{"campaigns": 5}', "$.campaigns", "campaigns must be an array, in the outermost"),
        ('[{"campaigns": [5]}]', "$[0].campaigns", "campaigns must be an array, in the outermost"),
        ('{"vdnId": 7, "campaignIds": 5}', "$.campaignIds", "campaignIds must be an array"),
        ('{"vdnId": 7, "campaigns": [5]}', "$.campaigns", TWO_WAYS),
        ('{"campaigns": [], "vdnId": 7}', "$.vdnId", TWO_WAYS),
        ('[{"campaignId": 5, "campaignIds": [6]}]', "$[0].campaignIds", TWO_WAYS),
        ('[{"campaignId": 5, "campaign_id": 6}]', "$[0].campaign_id", TWO_WAYS),
        ('[{"vdn": 7, "vdnId": 8}]', "$[0].vdnId", TWO_WAYS),
        ("[5,6", "$[1]", "the JSON breaks off (line 1)"),
        (
            "[5,6]x",
            "$",
            MORE_TEXT,
        ),
        (
            "[5][6]",
            "$",
            MORE_TEXT,
        ),
        ("[5,", "$[1]", "the JSON breaks off (line 1)"),
        ("[5,\n6 7]", "$[1]", "this is not JSON: expecting ',' delimiter at '7]' (line 2)"),
        ('["a\nb"]', "$[0]", r"this is not JSON: invalid control character at '\nb"),
        ('{"vdnId":7,"campaignIds":[\n5', "2", "the JSON breaks off"),
        ('{"a":{"b":[', "1", "the JSON breaks off"),
        ('{"vdnId":7,\n"campaignIds":[5 6]}', "2", "this is not JSON: expecting ',' delimiter at"),
        (
            '{"vdnId":7}\n{}',
            "2",
            MORE_TEXT,
        ),
        ("", "1", "the JSON breaks off"),
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
        ("1E400", "1E400 is not a campaign id: only digits are allowed, no exponent"),
        (f"1e{'9' * 30}", "999 is not a campaign id: only digits are allowed, no exponent"),
        ("1" * 5000, "111 is not a campaign id: it has more than 19 digits"),
        ("-" + "1" * 5000, "is not a campaign id: only the digits 0-9 are allowed"),
        ("-0", "0 is not a campaign id: it must be from 1"),
        ("-5", "-5 is not a campaign id: it must be from 1"),
        ("9223372036854775808", "9223372036854775808 is not a campaign id: it must be from 1"),
        ('"007"', "a leading zero is not allowed"),
        ('"５"', r"'\uff15' is not a campaign id: only the digits 0-9"),  # noqa: RUF001
        ('"5\\u00a0"', r"'5\xa0' is not a campaign id"),
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


@pytest.mark.parametrize(
    ("text", "vdn", "found"),
    [
        ("[5]", None, ("$[0]", "no VDN is given: name it, or add --vdn")),
        ('[{"vdnId": 7, "name": "x"}]', None, ("$[0]", "no campaign id is given")),
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
        ('{"vdnId": 7,\n"vdnId": 8, "campaignIds": [5]}', "$"),
        ('[{"vdnId": 7, "campaignId": 5, "campaignId": 6}]', "$[0]"),
        ('[5, {"x": {"a": 1, "b}": {}, "a": 2}}]', "$[1]"),
        ('{"campaigns": [{"vdn": 7, "campaignId": 5},\n{"x": 1, "\\u0078": 2}]}', "$"),
    ],
)
def test_a_repeated_key_is_refused(text: str, place: str) -> None:
    """Which of the two values is meant nobody can say, in ignored parts neither [I22]."""
    found = refusal(text, vdn=7)

    assert found[0] == place
    assert re.fullmatch(r"the key \w+ appears twice in one object( \(line 1\))?", found[1])


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_what_only_python_writes_is_refused(name: str) -> None:
    """NaN and its like, in ignored parts too; inside a text they are text [I22]."""
    words = f"{name} is not a number in JSON"

    assert refusal(f"[5,\n{name}]", vdn=7) == ("$[1]", f"{words} (line 2)")
    assert refusal(f'{{"x": "a \\" {name}",\n"campaigns": [{{"y": {name}}}]}}') == ("$", words)


@pytest.mark.parametrize(
    "text",
    ["+1", "1+1", "01", "1.", ".5", "\uff11", "1\u00a0", "'1'", "/*c*/1", "1,", "1 2", '"a\nb"',
     '"\\x41"', '"\\uzzzz"', "{1:2}", "{,}", "1}", "tru", "True", "None"],
)  # fmt: skip
def test_what_is_not_json_is_refused(text: str) -> None:
    """Signs, leading zeros, foreign digits, comments, line ends in a text [I14, I16, I18, I24]."""
    for written in (f"[{text}]", f'{{"campaigns": [{text}]}}', f"[{text}" + " " * 99 + "]"):
        assert refusal(written, vdn=7)[1].startswith("this is not JSON: ")


@pytest.mark.parametrize("half", ["\\ud800", "\\uDC00", "\\ud83dx", "\\ude00\\ud83d"])
def test_half_a_surrogate_pair_is_refused(half: str) -> None:
    """It is no character, and cannot be stored; a whole pair is a text as any other [I22]."""
    words = "a text has half a surrogate pair in it"

    assert refusal(f'[5, {{"x": "{half}"}}]', vdn=7) == ("$[1]", f"{words} (line 1)")
    assert refusal(f'{{"campaigns": ["{half}"]}}', vdn=7) == ("$", words)
    assert lines_of(r'["\ud83d\ude00", "\\ud800"]', vdn=7)[0].campaign_text == "😀"


@pytest.mark.parametrize("start", ["[", '{"a":', '{"campaignIds":[[', '{"campaigns":[{"x":['])
def test_bottomless_json_is_refused_in_words(start: str) -> None:
    """100,000 brackets end in a sentence, not in a RecursionError [I23]."""
    _, reason = refusal(start + "[" * 100_000, vdn=7)

    assert reason.startswith("arrays and objects are nested too deeply")


# ------------------------------------------------------------------ streaming


class Endless(io.StringIO):
    """A text that goes on for ever, and counts what was read of it."""

    def __init__(self, start: str, again: str) -> None:
        super().__init__(start)
        self._again = again
        self.given = 0

    def read(self, size: int | None = -1, /) -> str:
        assert size is not None
        self.given += size
        return super().read(size) or (self._again * size)[:size]


def test_entries_are_yielded_as_they_come() -> None:
    """Of an endless array no more is read than a window ahead [I26]."""
    text = Endless("[1", ",234567")

    found = list(itertools.islice(read_json_list(text, LineReader(7)), 50_000))

    assert found[-1].place == "$[49999]"
    assert text.given < 7 * 50_000 + 3 * manifest_json.WINDOW_CHARS


@pytest.mark.parametrize(
    ("start", "again"),
    [('["', "7"), ("[[1", f",{10**17}"), ("[1", " "), ("[1", "7"), ('[{"a":1', " ")],
)
def test_an_element_without_end_is_refused_within_bounds(start: str, again: str) -> None:
    """Of one element 16 MiB are held, and the message knows a way out [I25]."""
    text = Endless(start, again)

    with pytest.raises(ManifestUnreadableError) as caught:
        list(read_json_list(text, LineReader(7)))

    assert caught.value.place == "$[0]"
    assert caught.value.reason == (
        "one element of an array may have at most 16 MiB; write a longer list as JSON Lines"
    )
    assert text.given <= 2 * MAX_VALUE_CHARS


def test_another_document_has_a_bound() -> None:
    """All but an array is read as a whole: 16 MiB and no more [I25]."""
    start, end = '{"vdnId": 7, "campaignIds": [5', "]}"
    blanks = " " * (MAX_VALUE_CHARS - len(start) - len(end))
    assert len(ids(start + blanks + end)) == 1

    place, reason = refusal(start + " " + blanks + end)

    assert place == "$"
    assert reason == (
        "a JSON document that is not an array may have at most 16 MiB;"
        " write a longer list as JSON Lines"
    )
    assert refusal("{" + blanks + blanks) == (place, reason)


#: what Python's json module writes, and the numbers that it would round or refuse
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=12,
)
windows = st.integers(1, 60)


def streamed(text: str, window: int) -> list[object]:
    """The elements of an array that is read so many characters at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_json, "WINDOW_CHARS", window)
        stream = Window(io.StringIO(text))
        assert stream.next_character() == "["
        return list(stream.elements())


@given(
    value=st.lists(values, max_size=8),
    indent=st.sampled_from([None, 1, 50]),
    ascii_only=st.booleans(),
    window=windows,
)
def test_an_array_is_read_in_pieces_as_it_is_in_one(
    value: list[object], indent: int | None, window: int, *, ascii_only: bool
) -> None:
    """Wherever a number, a text or an escape is cut: what json.loads makes of it [I20, I26]."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    found = streamed(text, window)

    # numbers that are no ids come as they were written
    assert json.dumps(found) == json.dumps(json.loads(text, parse_int=as_id, parse_float=str))


def as_id(digits: str) -> int | str:
    return int(digits) if len(digits) <= 19 else digits


@given(
    value=st.lists(values, max_size=5),
    indent=st.sampled_from([None, 1]),
    edits=st.lists(
        st.tuples(
            st.integers(0, 400), st.sampled_from([*'[]{}",:0.e+-\\x \n', "NaN", "\\u12", ""])
        ),
        max_size=2,
    ),
    end=st.integers(1, 400),
    window=windows,
)
def test_what_is_wrong_is_wrong_wherever_it_is_cut(
    value: list[object], indent: int | None, edits: list[tuple[int, str]], end: int, window: int
) -> None:
    """Bent and broken arrays: the same refusal in pieces as in one, and never a shorter list."""
    text = json.dumps(value, indent=indent)[:end]
    for at, put_in in edits:
        place = 1 + at % len(text)
        text = text[:place] + put_in + text[place + 1 :]

    def outcome(window: int) -> str:
        try:
            return json.dumps(streamed(text, window))
        except ManifestUnreadableError as error:
            return str(error)

    assert outcome(window) == outcome(100_000)
    try:
        json.loads(text)
    except ValueError:
        assert outcome(window).startswith("the list, $")


# ------------------------------------------------------------------ JSON Lines


def json_lines(text: str, *, vdn: int | None = 7) -> list[tuple[int, str, int | None, str]]:
    """Line, place, campaign and problem of each entry."""
    lines = enumerate(io.StringIO(text, newline=""), start=1)
    found = read_json_lines(lines, LineReader(vdn))
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
        (
            "5 6",
            MORE_TEXT,
        ),
        (
            '{"campaignId":5}{"campaignId":6}',
            MORE_TEXT,
        ),
        ("NaN", "NaN is not a number in JSON"),
        ('{"campaignId":5,"x":Infinity}', "Infinity is not a number in JSON"),
        ('"\\ud800"', "a text has half a surrogate pair in it"),
        ('{"campaigns":[5]}', "campaigns must be an array, in the outermost object only"),
        ('{"campaignId":5,"campaignId":6}', "the key campaignId appears twice in one object"),
        ("[" * 100_000, "arrays and objects are nested too deeply"),
        ("12.0", FRACTION),
        ("# 5", "this is not JSON: expecting value at '# 5'"),
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
    [line] = read_json_lines([(1, "{" + "x" * 300)], LineReader(7))

    assert line.campaign_text == "{" + "x" * 199


@pytest.mark.parametrize(
    ("text", "run_id"),
    [
        ('[{"campaignId": 5, "run_id": "r1"}, {"campaignId": 6, "runId": "r1"}]', "r1"),
        ('{"run_id": "r1", "campaigns": [5, {"campaignId": 6}]}', "r1"),
        ('{"run_id": "r1", "campaignIds": [5, 6]}', "r1"),
        ('[{"campaignId": 5, "run_id": "r1"}, {"campaignId": 6, "run_id": "r2"}]', ""),
        ('[{"campaignId": 5, "run_id": "r1"}, 6]', ""),
        ('[{"campaignId": 5, "run_id": "r1", "runId": "r1"}]', ""),
        ('[{"campaignId": 5, "run_id": 1}]', ""),
        ("[5, 6]", ""),
    ],
)
def test_the_run_that_every_entry_names_is_known(text: str, run_id: str) -> None:
    """A script may write a repeat as JSON: two runs, or an entry without one, say nothing."""
    reader = LineReader(7)

    lines = list(read_json_list(io.StringIO(text), reader))

    assert all(line.ref for line in lines)
    assert reader.run_id == run_id


@pytest.mark.parametrize(("last", "run_id"), [('"r1"}', "r1"), ('"r2"}', ""), ('"r1', "")])
def test_the_run_that_every_json_line_names_is_known(last: str, run_id: str) -> None:
    """A line that cannot be read names none."""
    reader = LineReader(None)
    lines = [
        '{"vdnId": 7, "campaignId": 5, "run_id": "r1"}',
        f'{{"vdnId": 7, "campaignId": 6, "run_id": {last}',
    ]

    list(read_json_lines(enumerate(lines, start=1), reader))

    assert reader.run_id == run_id
