"""JSON lists and JSON Lines.

Accepted, with numbers or digit texts as ids:

    [1, 2]                                  with --vdn
    [{"vdnId": 1, "campaignId": 2}]         keys are matched like CSV headers, others are ignored
    {"vdnId": 1, "campaignIds": [2, 3]}     or an array of such objects
    {"campaigns": [...]}                    entries of any of these kinds
    JSON Lines: one number, text or object on each line; blank lines are passed over

A value that is no id is a bad entry. A document with two possible meanings (a key twice,
campaignId beside campaignIds, campaigns beside vdnId) is refused. An array is read element by
element and may have any length; any other document, or one element, has a bound.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NoReturn, TextIO

from orchestrator.manifest.entry import (
    ABSENT,
    LineReader,
    ManifestLine,
    ManifestUnreadableError,
    Meaning,
    OtherNumber,
    meaning_of,
    refused,
)
from orchestrator.text import for_terminal

#: characters that are read at a time; more only while one element is longer
WINDOW_CHARS = 65_536
#: characters of a document that is no array, and of one element of an array
MAX_VALUE_CHARS = 16 * 2**20
#: characters of a message that show where the JSON is wrong
_SHOWN_CHARS = 20
#: as long as anything whose end may be cut off and still look complete or wrong: `1.5e+3`,
#: `-Infinity`, a surrogate pair
_EDGE_CHARS = 40
#: digits of a whole number that is worth converting; no id has more
_ID_DIGITS = 19

_FORMS = "a list is an array, or an object with vdnId and campaignIds, or one with campaigns"
_MORE_TEXT = (
    "there is more text after the JSON has ended (JSON Lines are named .jsonl, or --format jsonl)"
)
_BOUND = f"may have at most {MAX_VALUE_CHARS // 2**20} MiB; write a longer list as JSON Lines"
_TWO_WAYS = "this key and another in the same object can be meant in two ways"

_BLANKS = re.compile(r"[ \t\r\n]*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

#: the meanings that may stand together in one object
_PAIRS = (
    {Meaning.VDN, Meaning.CAMPAIGN},
    {Meaning.VDN, Meaning.CAMPAIGNS_OF_VDN},
)
_NO_ARRAY = {
    Meaning.CAMPAIGNS_OF_VDN: "campaignIds must be an array",
    Meaning.ENTRIES: "campaigns must be an array, in the outermost object only",
}


class _NotStrictError(json.JSONDecodeError):
    """The text is fine for Python's parser, and not for us; `msg` says why."""


def read_json_list(text: TextIO, reader: LineReader) -> Iterator[ManifestLine]:
    """Read a JSON list; entries are numbered 1, 2, 3 … and placed by their JSON path.

    Raises:
        ManifestUnreadableError: no strict JSON, none of the accepted forms, or over a bound.
    """
    window = Window(text)
    if window.next_character() == "[":
        values = _entries_of_array(window.elements(), "$")
    else:
        values = _entries(window.rest(), "$", is_outermost=True)
    for number, (path, vdn, campaign, run_id) in enumerate(values, start=1):
        reader.name_run(run_id)
        yield reader.read(number, path, vdn, campaign)


def read_json_lines(lines: Iterable[tuple[int, str]], reader: LineReader) -> Iterator[ManifestLine]:
    """Read JSON Lines; a line that is no JSON is a bad entry like any other."""
    for number, line in lines:
        text = line.strip(" \t\r\n")
        if not text:
            continue
        try:
            value = _document(text)
            if isinstance(value, list):
                _refuse("$", "a line holds one number, text or object, not an array")
            entries = list(_entries(value, "$", is_outermost=False))
        except ManifestUnreadableError as error:
            reader.name_run("")
            yield refused(number, str(number), ABSENT, text, error.reason)
        else:
            for path, vdn, campaign, run_id in entries:
                reader.name_run(run_id)
                place = str(number) if path == "$" else f"{number} {path}"
                yield reader.read(number, place, vdn, campaign)


# ---------------------------------------------------------------- what a value says

#: path, VDN and campaign of one entry, not judged yet, and the run that it names; empty: none
_Entry = tuple[str, object, object, str]


def _entries_of_array(values: Iterable[object], path: str, run_id: str = "") -> Iterator[_Entry]:
    for index, value in enumerate(values):
        yield from _entries(value, f"{path}[{index}]", is_outermost=False, run_id=run_id)


def _entries(value: object, path: str, *, is_outermost: bool, run_id: str = "") -> Iterator[_Entry]:
    """Tell what a value names: one campaign, the campaigns of one VDN, or a list of entries.

    Args:
        value: of the document.
        path: where it stands.
        is_outermost: it is the whole document.
        run_id: the run that the object around it names.
    """
    if not isinstance(value, dict):
        if is_outermost:
            _refuse(path, _FORMS)
        yield path, ABSENT, value, run_id
        return
    run_id = _run_of(value, run_id)
    found = _known_members(value, path)
    _, vdn = found.pop(Meaning.VDN, (path, ABSENT))
    if not found:
        if is_outermost:
            _refuse(path, _FORMS)
        yield path, vdn, ABSENT, run_id
        return
    [(meaning, (place, member))] = found.items()
    if meaning is Meaning.CAMPAIGN:
        yield place, vdn, member, run_id
        return
    if not isinstance(member, list) or (meaning is Meaning.ENTRIES and not is_outermost):
        _refuse(place, _NO_ARRAY[meaning])
    if meaning is Meaning.ENTRIES:
        yield from _entries_of_array(member, place, run_id)
        return
    for index, campaign in enumerate(member):
        yield f"{place}[{index}]", vdn, campaign, run_id


def _run_of(value: dict[str, object], around: str) -> str:
    """The run that an object names; two keys, or what is no text, say nothing."""
    named = [member for key, member in value.items() if meaning_of(key) is Meaning.RUN]
    if not named:
        return around
    return named[0] if len(named) == 1 and isinstance(named[0], str) else ""


def _known_members(value: dict[str, object], path: str) -> dict[Meaning, tuple[str, object]]:
    """Pick the members of an object that mean something, each with its JSON path."""
    found: dict[Meaning, tuple[str, object]] = {}
    for key, member in value.items():
        meaning = meaning_of(key)
        if meaning is None or meaning is Meaning.RUN:
            continue
        place = f"{path}.{key}" if key.isidentifier() else f"{path}[{key!a}]"
        if found and {meaning, *found} not in _PAIRS:
            _refuse(place, _TWO_WAYS)
        found[meaning] = place, member
    return found


def _refuse(place: str, reason: str, *, cause: Exception | None = None) -> NoReturn:
    raise ManifestUnreadableError(place, reason) from cause


# ---------------------------------------------------------------- from text to values


class Window:
    """The part of a document that is held, and how far it is read."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._held = ""
        #: where in it reading goes on
        self._at = 0
        #: line ends before it
        self._lines = 0

    def next_character(self) -> str:
        """Pass over blanks; the character that follows, which is not read yet; empty at the end."""
        while True:
            self._at = _end_of_blanks(self._held, self._at)
            if self._at < len(self._held):
                return self._held[self._at]
            if not self._grow():
                return ""

    def rest(self) -> object:
        """Read a document that is no array."""
        self._held += self._text.read(MAX_VALUE_CHARS + 1 - len(self._held))
        if len(self._held) > MAX_VALUE_CHARS:
            _refuse("$", f"a JSON document that is not an array {_BOUND}")
        return _document(self._held)

    def elements(self) -> Iterator[object]:
        """Read an array, one element after the other; its bracket is the next character."""
        self._at += 1
        is_open = self.next_character() != "]"
        if not is_open:
            self._at += 1
        index = 0
        while is_open:
            value, delimiter = self._element(index)
            yield value
            is_open = delimiter == ","
            index += 1
        if self.next_character():
            _refuse("$", _MORE_TEXT)

    def _element(self, index: int) -> tuple[object, str]:
        """Read one element and the delimiter after it."""
        while True:
            self.next_character()
            try:
                value, end = _decoded(self._held, self._at)
                end = _end_of_blanks(self._held, end)
                delimiter = self._held[end : end + 1]
                if delimiter and delimiter in ",]":
                    self._at = end + 1
                    return value, delimiter
                fault = json.JSONDecodeError("Expecting ',' delimiter", self._held, end)
            except json.JSONDecodeError as error:
                fault = error
            may_be_cut = _may_be_cut(fault)
            if may_be_cut and len(self._held) - self._at >= MAX_VALUE_CHARS:
                _refuse(f"$[{index}]", f"one element of an array {_BOUND}")
            line = self._lines + fault.lineno
            if not (may_be_cut and self._grow()):
                _refuse(f"$[{index}]", f"{_words(fault)} (line {line})", cause=fault)

    def _grow(self) -> bool:
        """Let go of what is read, and take in as much again as is left; false at the end."""
        self._lines += self._held.count("\n", 0, self._at)
        left = self._held[self._at :]
        more = self._text.read(max(WINDOW_CHARS, len(left)))
        self._held, self._at = left + more, 0
        return bool(more)


def _end_of_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _may_be_cut(fault: json.JSONDecodeError) -> bool:
    """Whether more text could make this right."""
    if isinstance(fault, _NotStrictError):
        return False
    return fault.msg.startswith("Unterminated") or len(fault.doc) - fault.pos < _EDGE_CHARS


def _words(fault: json.JSONDecodeError) -> str:
    """Say what is wrong, in words that follow the place."""
    if isinstance(fault, _NotStrictError):
        return fault.msg
    if fault.msg.startswith("Unterminated") or fault.pos >= len(fault.doc):
        return "the JSON breaks off"
    what = fault.msg.rstrip(": ").removesuffix(" at")
    here = fault.doc[fault.pos : fault.pos + _SHOWN_CHARS]
    return f"this is not JSON: {what[:1].lower()}{what[1:]} at {here!a}"


def _document(text: str) -> object:
    """Read a text that is one value and nothing else; a fault is placed by its line."""
    at = _end_of_blanks(text, 0)
    try:
        value, end = _decoded(text, at)
        end = _end_of_blanks(text, end)
        if end < len(text):
            raise _NotStrictError(_MORE_TEXT, text, end)
    except json.JSONDecodeError as fault:
        # what a hook has refused stands anywhere in the value
        is_anywhere = isinstance(fault, _NotStrictError) and fault.pos == at
        place = "$" if is_anywhere else str(fault.lineno)
        _refuse(place, _words(fault), cause=fault)
    return value


def _decoded(text: str, at: int) -> tuple[object, int]:
    """Read the value that begins here; returns it and where it ends. Raises JSONDecodeError."""
    try:
        value, end = _DECODER.raw_decode(text, at)
        if _SURROGATE.search(text, at, end):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise _NotStrictError("arrays and objects are nested too deeply", text, at) from error
    except UnicodeEncodeError as error:
        raise _NotStrictError("a text has half a surrogate pair in it", text, at) from error
    except ValueError as error:  # of the hooks below
        raise _NotStrictError(str(error), text, at) from error
    return value, end


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {for_terminal(twice, limit=60)} appears twice in one object")
    return members


def _whole(digits: str) -> int | OtherNumber:
    # to convert many digits takes long, or is refused
    return int(digits) if len(digits) <= _ID_DIGITS else OtherNumber(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_int=_whole,
    parse_float=OtherNumber,
    parse_constant=_refuse_constant,
)
