"""The entry point: what nobody foresaw, interrupts, core dumps, secrets."""

from __future__ import annotations

import resource

import pytest

from orchestrator.cli import output, runner, runs
from orchestrator.cli.main import main
from orchestrator.settings.secret import Secret


def _break(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def broken(*_args: object, **_kwargs: object) -> object:
        output.never_show(Secret("sk-hidden"))
        raise error

    monkeypatch.setattr(runner, "load", broken)


def test_what_nobody_foresaw_is_a_bug_and_exit_70(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that says so, one that says what to do, no traceback, no secret."""
    _break(monkeypatch, ValueError("sk-hidden was odd"))

    assert main(["runs"]) == 70

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "error: a bug in the orchestrator: ValueError: *** was odd"
    assert err.splitlines()[1].startswith("hint: ")
    assert len(err.splitlines()) == 2


def test_a_thread_that_is_refused_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`ulimit -u`, a container's limit: exit 5, and what to raise."""
    _break(monkeypatch, RuntimeError("can't start new thread"))

    assert main(["runs"]) == 5
    assert "this process gets too little memory" in capsys.readouterr().err


def test_debug_shows_where_it_came_from_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A traceback with places, its message masked."""
    _break(monkeypatch, ValueError("sk-hidden was odd"))

    assert main(["runs", "--debug"]) == 70

    err = capsys.readouterr().err
    assert "Traceback" in err
    assert runs.__file__ in err
    assert "sk-hidden" not in err


def test_an_interrupt_before_the_run_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C while settings are read."""
    _break(monkeypatch, KeyboardInterrupt())

    assert main(["runs"]) == 130
    assert "interrupted before anything was sent" in capsys.readouterr().err


def test_no_core_dump_is_ever_written() -> None:
    """The limit is zero as soon as main has run [Z08]."""
    main(["--version"])

    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
