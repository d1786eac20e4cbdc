"""report.html: what it says, what it never does, and with how many rows."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from orchestrator.policy.decide import Changed, Outcome
from orchestrator.reports.page import ROWS_SHOWN, UNSTOPPED_SHOWN, Told, render
from orchestrator.reports.rows import RunKind, SweepRecord
from orchestrator.reports.summary import Ended, VdnProof
from tests.report_makers import AT_MS, HOSTILE, database_failure, emergency, make_row, told

#: elements without an end
VOID = {"meta", "br", "path", "circle", "rect", "polygon", "polyline"}


class Structure(HTMLParser):
    """Elements that are open, attributes that lead somewhere, and the words."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: set[str] = set()
        self.places: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count it as open."""
        self.elements.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.places += [str(value) for name, value in attrs if name in {"href", "src", "action"}]
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_endtag(self, tag: str) -> None:
        """It has to be the last one that was opened."""
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the words."""
        self.words.append(data)


def page_of(*runs: Told) -> str:
    """The page as a text, well formed."""
    text = "".join(render(runs, made_at_ms=AT_MS))
    read = Structure()
    read.feed(text)
    read.close()
    assert read.open == []
    assert not read.elements & {"script", "iframe", "img", "link", "form", "object"}
    assert (read.places, read.handlers) == ([], [])
    return text


def words_of(text: str) -> str:
    """What a reader sees, in one line."""
    read = Structure()
    read.feed(text)
    return " ".join(" ".join(read.words).split())


def test_the_heading_is_the_sentence_to_read_out() -> None:
    """Who, why, when and what became of it stand below it."""
    one = told(RunKind.PAUSE, [make_row(), make_row(), database_failure(campaign_id="7")])
    text = page_of(one)

    assert f"<bdi>{one.line}</bdi></h1>" in text.replace("&#39;", "'")
    words = words_of(text)
    for part in (
        "ana on jump1",
        "wrong list",
        "2026-11-23T23:05:01.123Z",
        "Not stopped",
        "database operation error (0200006)",
        "ab" * 32,
        "incomplete",
    ):
        assert part in words


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_shown_and_does_nothing(name: str) -> None:
    """No markup, no control, nothing that turns the words round or hides some of them."""
    text = HOSTILE[name]
    row = make_row(Outcome.FAILED, campaign_name=text, error=text, vdn_id=text, campaign_id=text)
    page = page_of(told(RunKind.PAUSE, [row], reason=text, operator=text))

    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e\u2066\ud800]", page)
    assert "<script>alert" not in page


@pytest.mark.parametrize("number", [0, 3, ROWS_SHOWN, ROWS_SHOWN + 1_500])
def test_rows_are_shown_up_to_a_number_and_then_the_file_is_named(number: int) -> None:
    """A page of a hundred thousand rows helps nobody."""
    page = page_of(told(RunKind.PAUSE, [make_row()] * number))

    assert page.count("<bdi>spring</bdi>") == min(number, ROWS_SHOWN)
    assert ("the other 1,500 are in results.csv" in page) == (number > ROWS_SHOWN)


def test_unstopped_campaigns_beyond_a_number_are_counted() -> None:
    """failed.csv has all of them."""
    page = page_of(told(RunKind.PAUSE, [database_failure()] * (UNSTOPPED_SHOWN + 12)))

    assert "12 more are in failed.csv" in page


def test_an_emergency_shows_its_passes_and_what_is_not_covered() -> None:
    """Both listings of a pass are one mark of the picture."""
    page = page_of(emergency())

    assert page.count('class="unclean"') == 1
    assert page.count('class="clean" fill=') == 1
    assert "calls already in progress" in page
    assert "VDN 1234: nothing was running" in page


def test_the_sentence_of_many_vdns_is_whole_below_a_heading_that_counts() -> None:
    """Twelve VDNs, one of them not quiet: nothing is cut, and the heading can be read."""
    proofs = [VdnProof(vdn, quiet_since_ms=AT_MS, again_at_ms=AT_MS + 5_000) for vdn in range(11)]
    one = told(RunKind.PAUSE_ALL, [make_row()], proofs=(*proofs, VdnProof(77, started=3)))
    words = words_of(page_of(one))

    assert "12 VDNs: 11 quiet, 1 still running. We paused 1." in words
    assert len(one.line) > 1_000
    assert " ".join(one.line.split()) in words


def test_many_passes_are_shortened_in_the_middle() -> None:
    """A hold of a night makes thousands."""
    sweeps = tuple(
        SweepRecord(1, AT_MS + n, AT_MS + n, 1, 1, 1, 0, complete=True, problem="")
        for n in range(100)
    )
    page = page_of(told(RunKind.PAUSE_ALL, [], sweeps=sweeps, proofs=(VdnProof(1),)))

    assert "60 in the middle are left out" in page


def test_a_stop_and_its_restore_are_one_story() -> None:
    """One timeline, in order, each moment with its run."""
    restored = [
        make_row(Outcome.RESTORED, changed=Changed.YES, settled_at_ms=AT_MS + 3_600_100),
        make_row(Outcome.LEFT_ALONE, changed=Changed.NO, error="excluded by --except guilty.csv"),
    ]
    later = told(
        RunKind.RESTORE,
        restored,
        {
            "source_run": "20261123T230501Z-7f3a",
            "selection": {"except": "guilty.csv", "only": None},
            "notes": [
                {"at": "2026-11-24T08:00:00.000Z", "operator": "ben", "text": "<i>list fixed"}
            ],
            "processes": [
                {"started_at": "a", "ended_at": None, "ended": None},
                {
                    "started_at": "2026-11-24T00:05:01.500Z",
                    "ended_at": "2026-11-24T00:05:02.000Z",
                    "ended": "signal_int",
                },
                {
                    "started_at": "2026-11-24T00:05:03.000Z",
                    "ended_at": "2026-11-24T00:05:04.000Z",
                    "ended": "finished",
                },
                {"started_at": "2026-11-24T00:05:05.000Z", "ended": None},
            ],
            "clock_offset_s": -1.25,
        },
        run_id="20261124T000501Z-0001",
        started_at_ms=AT_MS + 3_600_000,
        ended_at_ms=AT_MS + 3_660_000,
    )
    page = page_of(emergency(), later)
    words = words_of(page)

    story = words[words.index("Timeline") :]
    moments = [
        "ana started pause-all",
        "VDN 1234: nothing was running",
        "ended: quiet",
        "ana started restore",
        "its process had been killed; another process took it up",
        "its process ended early (signal int)",
        "03.000Z another process took it up",
        "04.000Z its process ended (",
        "ended: complete",
        "ben noted: <i>list fixed",
    ]
    assert [story.index(one) for one in moments] == sorted(story.index(one) for one in moments)
    for part in ("undoes run", "guilty.csv", "-1 s", "campaigns that run again"):
        assert part in words
    assert "<i>list fixed" not in page


def test_calls_in_progress_are_a_table() -> None:
    """With the moment at which none was left."""
    calls = [{"at": "2026-11-23T23:05:30.000Z", "vdn_id": 1234, "in_progress": 41}]
    one = emergency()
    one = one._replace(summary={**one.summary, "calls": calls, "silent_at": "2026-11-23T23:06:00Z"})
    words = words_of(page_of(one))

    assert "Calls in progress at VDN calls 2026-11-23T23:05:30.000Z 1234 41" in words
    assert "no call was in progress any more" in words


@pytest.mark.parametrize(
    ("ended_ms", "said"),
    [(AT_MS + 99_000, "99.0 s"), (AT_MS + 150_000, "2 min 30 s"), (AT_MS + 7_500_000, "2 h 5 min")],
)
def test_how_long_it_took_is_said_as_people_say_it(ended_ms: int, said: str) -> None:
    """Seconds, minutes, hours."""
    page = page_of(told(RunKind.PAUSE, [make_row()], ended_at_ms=ended_ms))

    assert f", for {said}<" in page.replace("\xa0", " ")  # which do not break


@pytest.mark.parametrize(
    "facts",
    [
        {"dry_run": True},
        {"ended_at_ms": None, "ended": Ended.KILLED},
        {"ended": Ended.SIGNAL_INT},
        {"manifest_path": "/data/<night>.csv", "manifest_lines": 3, "lag_s": 8.0},
    ],
)
def test_every_end_has_its_page(facts: dict[str, Any]) -> None:
    """Also one that was killed, and one that sent nothing."""
    rows = [make_row(), make_row(Outcome.UNATTEMPTED, first_sent_at_ms=None, settled_at_ms=None)]
    page = page_of(told(RunKind.PAUSE, rows, **facts))

    drawn = not facts.get("dry_run") and facts.get("ended_at_ms", 1) is not None
    assert ("<svg" in page) == drawn
