"""Events: what is shown, what never is, and what happens when nothing can be."""

from __future__ import annotations

import io
import json
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.log import Events, Level, open_log
from orchestrator.settings.secret import Secret

SECRET = 'S3cr=t/k+y"with\\odd\tones-ü'


def shown(
    say: Callable[[Events], object],
    *,
    as_json: bool,
    level: Level = Level.DEBUG,
    traceback: bool = False,
    secrets: tuple[str, ...] = (SECRET,),
) -> str:
    """What these events look like on their stream."""
    stream = io.StringIO()
    masked = [Secret(text) for text in secrets]
    say(Events(level=level, as_json=as_json, stream=stream, secrets=masked, traceback=traceback))
    return stream.getvalue()


def document(say: Callable[[Events], object], **options: Any) -> dict[str, Any]:
    """The one JSON event that was shown."""
    lines = shown(say, as_json=True, **options).splitlines()
    assert len(lines) == 1
    event: dict[str, Any] = json.loads(lines[0])
    return event


def unlucky(secret: str) -> ValueError:
    """An exception that was raised where the secret was a local variable."""
    try:
        _sign(secret)
    except ValueError as error:
        return error
    raise AssertionError


def _sign(key: str) -> None:
    reversed_key = key[::-1]
    raise ValueError(f"no good: {len(reversed_key)}")


# -- what is shown ------------------------------------------------------------------------------


def test_an_event_is_one_json_object_on_one_line() -> None:
    """The event, its fields, its level and its time."""
    event = document(
        lambda log: log.warning("attempt.will_repeat", attempt=2, code="0200006", wait_s=1.62)
    )

    at = event.pop("at")
    assert at.endswith("Z")
    assert event == {
        "event": "attempt.will_repeat",
        "attempt": 2,
        "code": "0200006",
        "wait_s": 1.62,
        "level": "warning",
    }


def test_an_event_is_one_line_for_people() -> None:
    """The same on a terminal, without colours."""
    line = shown(
        lambda log: log.info("campaign.settled", outcome="paused", attempts=3), as_json=False
    )

    assert line.count("\n") == 1
    assert "campaign.settled" in line
    assert "outcome=paused" in line
    assert "attempts=3" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("level", list(Level))
def test_events_below_the_level_are_not_shown(level: Level) -> None:
    """What is asked for, and all that is graver."""

    def say_all(log: Events) -> None:
        log.debug("a.debug")
        log.info("a.info")
        log.warning("a.warning")
        log.error("a.error")

    lines = shown(say_all, as_json=True, level=level).splitlines()

    assert [json.loads(line)["level"] for line in lines] == [
        one.name.lower() for one in Level if one >= level
    ]


def test_a_cause_is_told_in_one_sentence() -> None:
    """Without --debug an exception is its type and text, with nothing behind it."""
    event = document(lambda log: log.error("run.bug", cause=unlucky(SECRET)))

    assert event["error"] == f"ValueError: no good: {len(SECRET)}"
    assert "exception" not in event


# -- what never is ------------------------------------------------------------------------------


@dataclass
class Plain:
    """A value that shows what it holds."""

    key: str


SAYINGS: dict[str, Callable[[Events], object]] = {
    "a value": lambda log: log.error("a.b", url=f"https://x/?k={SECRET}&y"),
    "an event": lambda log: log.error(SECRET),
    "a list": lambda log: log.error("a.b", found=["x", ("y", SECRET)]),
    "a dictionary": lambda log: log.error("a.b", found={"x": {"y": SECRET}}),
    "a key": lambda log: log.error("a.b", found={SECRET: 1}),
    "repr": lambda log: log.error("a.b", found=repr(SECRET)),
    "ascii": lambda log: log.error("a.b", found=ascii(SECRET)),
    "json": lambda log: log.error("a.b", found=json.dumps({"k": SECRET})),
    "an object": lambda log: log.error("a.b", found=Plain(SECRET)),
    "bytes": lambda log: log.error("a.b", found=b"ASCII-only-secret"),
    "a set": lambda log: log.error("a.b", found={SECRET}),
    "an exception": lambda log: log.error("a.b", found=KeyError(SECRET)),
    "a cause": lambda log: log.error("a.b", cause=KeyError(SECRET)),
    "a local variable": lambda log: log.error("a.b", cause=unlucky(SECRET)),
}


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("traceback", [True, False])
@pytest.mark.parametrize("saying", SAYINGS)
def test_a_secret_is_masked_by_value(saying: str, *, as_json: bool, traceback: bool) -> None:
    """[Z07] In whatever it is wrapped, and however that is spelled."""
    text = shown(
        SAYINGS[saying],
        as_json=as_json,
        traceback=traceback,
        secrets=(SECRET, "ASCII-only-secret"),
    )

    assert text
    for spelling in (SECRET, "S3cr", "odd", SECRET[::-1][:6], "ASCII-only"):
        assert spelling not in text


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    "key", ["secret", "secret_key", "Authorization", "x_signature", "password", "auth_token"]
)
def test_a_secret_is_masked_by_key(key: str, *, as_json: bool) -> None:
    """[Z07] Also when nobody said that this value is one, and inside of other values."""
    text = shown(
        lambda log: log.error("a.b", **{key: "hush"}, headers={key: "hush"}, many={key: ["hush"]}),
        as_json=as_json,
        secrets=(),
    )

    assert "hush" not in text
    assert text.count("***") == 3


def test_a_secret_learnt_later_is_masked_too() -> None:
    """[Z07] A key that is typed at the prompt is masked from then on."""

    def say(log: Events) -> None:
        log.error("a.b", found="early-late")
        log.mask(Secret("y-late"))
        log.error("a.b", found="early-late")

    assert [json.loads(line)["found"] for line in shown(say, as_json=True).splitlines()] == [
        "early-late",
        "earl***",
    ]


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_no_local_variables_even_with_rich(*, as_json: bool) -> None:
    """[Z07] structlog's own choice, with rich installed, is to print them all."""
    import rich  # noqa: F401 - it is installed: that is the point

    text = shown(
        lambda log: log.error("run.bug", cause=unlucky("a-local-variable")),
        as_json=as_json,
        traceback=True,
        secrets=(),
    )

    assert "_sign" in text
    assert "ValueError" in text
    assert "a-local-variable" not in text
    assert "a-local-variable"[::-1] not in text


def test_hostile_text_does_not_reach_the_terminal() -> None:
    """[S43][Z10] Escapes, line breaks, text turned round: shown, not obeyed."""
    text = shown(
        lambda log: log.error(
            "a.b",
            one="\x1b[31mred",
            two="x\ny",
            three="\u202etxt",
            four=["\x1b]0;owned\x07"],
            five={"\x9b": "\x9b31m"},
            cause=ValueError("\x1b[2J"),
        ),
        as_json=False,
        traceback=True,
    )

    for bad in ("\x1b", "\x07", "\x9b", "\u202e"):
        assert bad not in text
    assert "x\ny" not in text


def test_half_a_character_can_be_logged() -> None:
    """A lone surrogate must not end the log."""
    assert document(lambda log: log.error("a.b", name="half \ud83d"))["name"] == "half \\ud83d"


# -- what cannot be written ---------------------------------------------------------------------


class Full(io.StringIO):
    """A disk without space."""

    tried = 0

    def write(self, _text: str) -> int:
        self.tried += 1
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """[P34] One warning, and the run goes on."""
    stream = Full()
    log = Events(stream=stream, level=Level.INFO)

    for _ in range(3):
        log.error("a.b")

    assert stream.tried == 1
    assert capsys.readouterr().err == (
        "warning: the log cannot be written ([Errno 28] No space left on device); the run goes on\n"
    )


def test_with_nobody_left_to_tell_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """[P34] The log is full and so is standard error, or there never was one."""
    for stderr in (Full(), None):
        monkeypatch.setattr(sys, "stderr", stderr)
        Events(stream=Full()).error("a.b")


def test_without_standard_error_events_do_not_go_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results on stdout are read by programs; a closed stderr must not mix events into them."""
    monkeypatch.setattr(sys, "stderr", None)

    Events().error("a.b")

    assert capsys.readouterr().out == ""


def test_a_log_file_is_appended_to_and_private(tmp_path: Path) -> None:
    """0600, one line at a time, what was in it stays."""
    path = tmp_path / "log"

    written = []
    for _ in range(2):
        with open_log(path) as stream:
            Events(stream=stream, as_json=True).error("a.b", name="春")
            written.append(path.read_text("utf-8").count("春"))

    assert written == [1, 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_log_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    """[Z12] A link that somebody left there leads nowhere."""
    (tmp_path / "log").symlink_to(tmp_path / "victim")

    with pytest.raises(OSError, match="symbolic links"):
        open_log(tmp_path / "log")

    assert not (tmp_path / "victim").exists()


# -- what is loaded -----------------------------------------------------------------------------
