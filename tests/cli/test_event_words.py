"""Events as sentences: what a default terminal shows of warnings and errors."""

from __future__ import annotations

import io
import re

import pytest

from orchestrator.cli.event_words import sentence
from orchestrator.log import Events, Level
from orchestrator.settings.secret import Secret
from tests.test_documented import REFERENCE

#: every event that is shown without -v: level and fields
LOUD = {
    name: (Level[level.upper()], re.findall(r"`(\w+)`", fields))
    for name, level, fields in re.findall(
        r"^\| `(\w+\.\w+)` \| (warning|error) \| ([^|]*)\|", REFERENCE, re.MULTILINE
    )
}
#: what the last lines or the live line say as well
LEFT_TO_V = {"pace.slowed_down", "run.bug_found"}


@pytest.mark.parametrize("name", LOUD)
def test_every_warning_is_a_sentence_or_left_to_v(name: str) -> None:
    """With all its fields, none of them lost but what the sentence says in words."""
    level, fields = LOUD[name]

    line = sentence(level, name, {field: f"<{field}>" for field in fields})

    if name in LEFT_TO_V:
        assert line == ""
        return
    assert line is not None
    assert name not in line
    assert "{" not in line
    words = len(re.sub(r"<\w+>", "", line).split())
    assert words >= 2 or name == "list.ambiguous"
    if name != "run.continued":
        assert line.startswith("error: " if level is Level.ERROR else "warning: ")


def test_one_is_said_in_the_singular_and_a_missing_field_harms_nothing() -> None:
    """The journal that lacks something may be this run's own."""
    fields = {"vdn_id": 7, "number": 1, "campaign_ids": "12"}
    one = sentence(Level.WARNING, "campaigns.started_meanwhile", fields)
    own = sentence(Level.WARNING, "journal.incomplete", {"reason": "its disk failed"})

    assert one == "warning: VDN 7: 1 campaign started meanwhile, pausing: 12"
    assert own == "warning: the journal of this run lacks something: its disk failed"


def test_an_event_without_a_sentence_is_shown_as_it_is() -> None:
    """Better raw than lost."""
    assert sentence(Level.WARNING, "new.event", {}) is None


def test_a_sentence_holds_no_secret_and_moves_no_cursor() -> None:
    """What the server says of our key is masked, and its line breaks are visible."""
    stream = io.StringIO()
    events = Events(stream=stream, secrets=[Secret("s3cret-key")], sentence=sentence)

    events.warning("look.failed", vdn_id=7, reason="s3cret-key\x1b[2J\nerror: all is well")
    events.warning("pace.slowed_down", wait_s=1.0)
    events.warning("new.event", reason="s3cret-key")

    first, second = stream.getvalue().splitlines()
    assert first.startswith("warning: VDN 7 could not be looked at first: ***")
    assert "\x1b" not in first
    assert "new.event" in second
    assert "s3cret" not in second
