"""JSON lists and JSON Lines, as a stream of entries.

Accepted, with numbers or digit strings as ids:

    [1, 2]                                  with --vdn
    [{"vdnId": 1, "campaignId": 2}]         keys are matched like CSV headers, others are ignored
    {"vdnId": 1, "campaignIds": [2, 3]}     or an array of such objects
    {"campaigns": [...]}                    entries of any of these kinds
    JSON Lines: one number, text or object on each line; blank lines are passed over

Rule 1: a value that is no id is a bad entry. A document that could be meant in two ways (a key
        twice, campaignId beside campaignIds, campaigns beside vdnId) is refused whole.
Rule 2: everything that waits has a bound: keys, depth, ids that stand before their VDN.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator.core.escaping import for_terminal
from orchestrator.core.manifest_json_events import NotJsonError, json_events
from orchestrator.core.manifest_line import (
    ABSENT,
    TEXT_LIMIT,
    LineReader,
    ManifestLine,
    Meaning,
    Written,
    meaning_of,
)
from orchestrator.core.manifest_text import ManifestUnreadableError, physical_lines

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
                yield self._entry("$", ABSENT, _bounded(value))
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
        keys: set[str] = set()
        meanings: set[Meaning] = set()
        vdn: object = ABSENT
        waiting: list[tuple[str, object]] = []
        defaulted = False
        for key in self._keys(keys):
            kind, value = next(self._events)
            meaning = meaning_of(key)
            path = f"{place}.{key}" if key.isidentifier() else f"{place}[{ascii(key)}]"
            self._claim(meanings, meaning, path)
            if meaning is Meaning.VDN:
                vdn = self._value(kind, value)
                if defaulted and self._reader.contradicts(vdn):
                    self._refuse("vdnId is not --vdn, and stands after its campaignIds")
            elif meaning is Meaning.ENTRIES:
                self._want(kind, "start_array", "campaigns must be an array")
                if not outermost:
                    self._refuse("campaigns stands in the outermost object only")
                yield from self._array(path)
            elif meaning is None:
                self._value(kind, value)
            else:
                for found in self._ids(meaning, path, kind, value):
                    waiting.append(found)
                    if vdn is not ABSENT or len(waiting) > MAX_WAITING_IDS:
                        defaulted = defaulted or vdn is ABSENT
                        self._allow_default(vdn)
                        yield from self._give(waiting, vdn)
        yield from self._give(waiting, vdn)
        if meanings <= {Meaning.VDN}:
            yield self._entry(place, vdn, ABSENT)
