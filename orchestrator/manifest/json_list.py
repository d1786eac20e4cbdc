"""JSON lists and JSON Lines, as a stream of entries.

Accepted, with numbers or digit texts as ids:

    [1, 2]                                  with --vdn
    [{"vdnId": 1, "campaignId": 2}]         keys are matched like CSV headers, others are ignored
    {"vdnId": 1, "campaignIds": [2, 3]}     or an array of such objects
    {"campaigns": [...]}                    entries of any of these kinds
    JSON Lines: one number, text or object on each line; blank lines are passed over

A value that is no id is a bad entry. A document with two possible meanings (a key twice,
campaignId beside campaignIds, campaigns beside vdnId) is refused. Keys, depth, and ids that stand
before their VDN are bounded.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator.manifest.entry import (
    ABSENT,
    TEXT_LIMIT,
    LineReader,
    ManifestLine,
    Meaning,
    Written,
    meaning_of,
)
from orchestrator.manifest.json_events import NotJsonError, json_events
from orchestrator.manifest.text import ManifestUnreadableError, physical_lines
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: characters of one line of JSON Lines
MAX_LINE_CHARS = 131_072
#: arrays and objects inside each other, in parts that are ignored
MAX_DEPTH = 64
#: keys of one object, and characters of one key
MAX_KEYS = 1_000
MAX_KEY_CHARS = 1_000
#: ids of one object that may stand before its vdnId when there is no --vdn
MAX_WAITING_IDS = 100_000

_FORMS = "a list is an array, or an object with vdnId and campaignIds, or one with campaigns"

_END_OF_ARRAY = ("end_array", None)
_END_OF_OBJECT = ("end_map", None)

#: meanings that cannot stand in one object
_RIVALS = {
    Meaning.CAMPAIGN: {Meaning.CAMPAIGNS_OF_VDN, Meaning.ENTRIES},
    Meaning.CAMPAIGNS_OF_VDN: {Meaning.CAMPAIGN, Meaning.ENTRIES},
    Meaning.VDN: {Meaning.ENTRIES},
    Meaning.ENTRIES: {Meaning.CAMPAIGN, Meaning.CAMPAIGNS_OF_VDN, Meaning.VDN},
}


def read_json_list(texts: Iterable[str], reader: LineReader) -> Iterator[ManifestLine]:
    """Read a JSON list; entries are numbered 1, 2, 3 … and placed by their JSON path.

    Args:
        texts: the list, decoded.
        reader: judges the entries.

    Raises:
        ManifestUnreadableError: no strict JSON, none of the accepted forms, or over a bound.
    """
    return _Document(texts, reader).entries()


def read_json_lines(texts: Iterable[str], reader: LineReader) -> Iterator[ManifestLine]:
    """Read JSON Lines; a line that is no JSON is a bad entry like any other.

    Args:
        texts: the list, decoded.
        reader: judges the entries.

    Raises:
        ManifestUnreadableError: a line is too long.
    """
    for number, line in enumerate(physical_lines(texts, limit_chars=MAX_LINE_CHARS), start=1):
        text = line.strip(" \t\r\n")
        if not text:
            continue
        try:
            # read to its end before anything is yielded: a line that breaks off is one bad entry
            found = list(_Document((text,), reader, line=number).one_entry())
        except ManifestUnreadableError as error:
            found = [reader.refuse(Written(number, str(number), ABSENT, text), error.reason)]
        yield from found


class _Document:
    """Walks through one document; all methods pull from the same stream of events."""

    def __init__(
        self, texts: Iterable[str], reader: LineReader, *, line: int | None = None
    ) -> None:
        self._reader = reader
        self._events = json_events(texts)
        #: the line of JSON Lines; None in a JSON list
        self._line = line
        self._count = 0
        #: where the walk has come to, for refusals
        self._place = "$"

    def entries(self) -> Iterator[ManifestLine]:
        """Walk through a JSON list."""
        try:
            kind, _ = next(self._events)
            if kind == "start_array":
                yield from self._array("$")
            elif kind == "start_map":
                yield from self._object("$", outermost=True)
            else:
                self._refuse(_FORMS)
            self._end()
        except NotJsonError as error:
            self._refuse(str(error), cause=error)

    def one_entry(self) -> Iterator[ManifestLine]:
        """Walk through one line of JSON Lines."""
        try:
            kind, value = next(self._events)
            if kind == "start_array":
                self._refuse("a line holds one number, text or object, not an array")
            if kind == "start_map":
                yield from self._object("$", outermost=False)
            else:
                yield self._entry("$", ABSENT, self._value(kind, value))
            self._end()
        except NotJsonError as error:
            self._refuse(str(error), cause=error)

    def _array(self, path: str) -> Iterator[ManifestLine]:
        """Walk through an array of entries."""
        for place, kind, value in self._elements(path):
            if kind == "start_map":
                yield from self._object(place, outermost=False)
            else:
                yield self._entry(place, ABSENT, self._value(kind, value))

    def _object(self, place: str, *, outermost: bool) -> Iterator[ManifestLine]:
        """Walk through an object: one campaign, the campaigns of one VDN, or a list of entries."""
        walked = _Object()
        for key in self._keys():
            kind, value = next(self._events)
            path = f"{place}.{key}" if key.isidentifier() else f"{place}[{key!a}]"
            meaning = meaning_of(key)
            if meaning is None:
                self._value(kind, value)
                continue
            self._place = path
            if meaning in walked.meanings or walked.meanings & _RIVALS[meaning]:
                self._refuse("this key and another in the same object can be meant in two ways")
            walked.meanings.add(meaning)
            if meaning is Meaning.VDN:
                walked.vdn = self._value(kind, value)
                if walked.defaulted and self._reader.contradicts(walked.vdn):
                    self._refuse("the VDN is not the one of --vdn, and stands after its campaigns")
            elif meaning is Meaning.ENTRIES:
                if not (outermost and kind == "start_array"):
                    self._refuse("campaigns is an array, and in the outermost object only")
                yield from self._array(path)
            else:
                yield from self._ids(walked, path, kind, value)
        yield from self._give(walked)
        if walked.meanings <= {Meaning.VDN}:
            if outermost:
                self._place = place
                self._refuse(_FORMS)
            yield self._entry(place, walked.vdn, ABSENT)

    def _ids(self, walked: _Object, path: str, kind: str, value: Any) -> Iterator[ManifestLine]:
        """Read campaignId or campaignIds; ids wait until their VDN is known."""
        if Meaning.CAMPAIGN in walked.meanings:
            walked.waiting.append((path, self._value(kind, value)))
            return
        if kind != "start_array":
            self._refuse("campaignIds is an array")
        for place, element_kind, element in self._elements(path):
            walked.waiting.append((place, self._value(element_kind, element)))
            if walked.vdn is not ABSENT:
                yield from self._give(walked)
            elif len(walked.waiting) > MAX_WAITING_IDS:
                if self._reader.default_vdn is None:
                    self._refuse(f"more than {MAX_WAITING_IDS:,} ids stand before their vdnId")
                walked.defaulted = True
                yield from self._give(walked)

    def _give(self, walked: _Object) -> Iterator[ManifestLine]:
        """Judge the ids that waited."""
        for place, campaign in walked.waiting:
            yield self._entry(place, walked.vdn, campaign)
        walked.waiting.clear()

    def _entry(self, path: str, vdn: object, campaign: object) -> ManifestLine:
        if self._line is None:
            self._count += 1
            return self._reader.read(Written(self._count, path, vdn, campaign))
        place = str(self._line) if path == "$" else f"{self._line} {path}"
        return self._reader.read(Written(self._line, place, vdn, campaign))

    def _elements(self, path: str) -> Iterator[tuple[str, str, Any]]:
        """Walk through an array: place, kind and value of each element's first event."""
        for index, (kind, value) in enumerate(iter(self._events.__next__, _END_OF_ARRAY)):
            self._place = place = f"{path}[{index}]"
            yield place, kind, value

    def _keys(self) -> Iterator[str]:
        """Walk through an object: its keys, of which none may be repeated."""
        keys: set[str] = set()
        for _, key in iter(self._events.__next__, _END_OF_OBJECT):
            self._remember(keys, key)
            yield key

    def _remember(self, keys: set[str], key: str) -> None:
        if key in keys:
            self._refuse(f"the key {for_terminal(key, limit=60)} stands twice in one object")
        keys.add(key)
        if len(keys) > MAX_KEYS or len(key) > MAX_KEY_CHARS:
            self._refuse(
                f"an object has more than {MAX_KEYS:,} keys, "
                f"or one of more than {MAX_KEY_CHARS:,} characters"
            )

    def _value(self, kind: str, value: Any) -> object:
        """Take a value; of an array or object only what it is, after passing over it."""
        if kind == "start_array":
            self._pass_over()
            return []
        if kind == "start_map":
            self._pass_over()
            return {}
        return value[:TEXT_LIMIT] if isinstance(value, str) else value

    def _pass_over(self) -> None:
        """Read to the end of the array or object that has begun; its keys must be sound too."""
        inside: list[set[str]] = [set()]
        while inside:
            kind, value = next(self._events)
            if kind in {"start_array", "start_map"}:
                inside.append(set())
                if len(inside) > MAX_DEPTH:
                    self._refuse(f"arrays and objects are nested more than {MAX_DEPTH} deep")
            elif kind in {"end_array", "end_map"}:
                inside.pop()
            elif kind == "map_key":
                self._remember(inside[-1], value)

    def _end(self) -> None:
        """Read on: what follows a document is the parser's to refuse."""
        deque(self._events, maxlen=0)

    def _refuse(self, reason: str, *, cause: Exception | None = None) -> NoReturn:
        raise ManifestUnreadableError(self._place, reason) from cause


class _Object:
    """What is known of an object while it is read."""

    def __init__(self) -> None:
        self.meanings: set[Meaning] = set()
        self.vdn: object = ABSENT
        #: ids whose VDN is not known yet, with their places
        self.waiting: list[tuple[str, object]] = []
        #: whether --vdn was taken for ids that could not wait
        self.defaulted = False
