"""What a run was made with, for another process of it: used where nothing else is given."""

from __future__ import annotations

from pathlib import Path

from orchestrator.settings.load import Remembered
from tests.settings.makers import CANARY, World

#: the world gives a server, an access key and a secret file unless it is told not to
NOTHING: dict[str, object] = {"server.base_url": None, "credentials.access_key": None}
NO_SECRET = {"ORCHESTRATOR_SECRET_KEY_FILE": ""}


def made_with(world: World, **changed: str) -> Remembered:
    """A run against h.example with a key and its file."""
    values = {
        "server.base_url": "https://h.example:28080",
        "credentials.access_key": "AKRUN",
        "credentials.secret_key_file": str(world.secret_file),
    }
    return Remembered(
        "r1", values | {key.replace("__", "."): value for key, value in changed.items()}
    )


def test_a_run_gives_what_nobody_else_gives(world: World) -> None:
    """Neither flag nor variable nor file: server, key and key file are the run's, with origin."""
    settings = world.load(NOTHING, NO_SECRET, remembered=made_with(world))

    assert settings.server.base_url == "https://h.example:28080"
    assert settings.credentials.access_key == "AKRUN"
    assert settings.credentials.secret_key is not None
    assert settings.credentials.secret_key.reveal() == CANARY
    assert settings.origins["credentials.access_key"] == "run r1"
    assert world.warnings == ["ORCHESTRATOR_SECRET_KEY_FILE is empty and counts as not set"]


def test_flags_and_the_settings_file_go_before_the_run(world: World) -> None:
    """A flag was typed now, a file was written on purpose; neither is worth a warning."""
    world.user_file.write_bytes(b'[credentials]\naccess_key = "AKFILE"\n')

    by_file = world.load(NOTHING, remembered=made_with(world))
    by_flag = world.load(
        {**NOTHING, "credentials.access_key": "AKFLAG"}, remembered=made_with(world)
    )

    assert by_file.credentials.access_key == "AKFILE"
    assert by_flag.credentials.access_key == "AKFLAG"
    assert world.warnings == []


def test_variables_that_beat_the_run_are_said_in_one_line(world: World) -> None:
    """Left over from another server: both are named, their values are not."""
    leftover = {"ORCHESTRATOR_ACCESS_KEY": "AKOLD", "ORCHESTRATOR_SECRET_KEY": CANARY, **NO_SECRET}

    world.load(NOTHING, leftover, remembered=made_with(world))

    assert world.warnings[-1] == (
        "ORCHESTRATOR_ACCESS_KEY and ORCHESTRATOR_SECRET_KEY win over what run r1 was made with"
    )


def test_a_variable_that_says_the_same_is_no_news(world: World) -> None:
    """The same key, and the same file; another server is refused later, not warned about."""
    same = {"ORCHESTRATOR_ACCESS_KEY": "AKRUN", "ORCHESTRATOR_BASE_URL": "https://x.example"}

    world.load(NOTHING, same, remembered=made_with(world))

    assert world.warnings == []


def test_a_key_file_that_is_gone_is_named_and_the_key_asked_for(
    world: World, tmp_path: Path
) -> None:
    """Another machine, a colleague's home: whoever is at the terminal may know the key."""
    gone = made_with(world, credentials__secret_key_file=str(tmp_path / "gone"))

    settings = world.load(NOTHING, NO_SECRET, remembered=gone, ask_secret=lambda: CANARY)

    assert settings.credentials.secret_key is not None
    assert settings.origins["credentials.secret_key"] == "typed at the terminal"
    assert str(tmp_path / "gone") in world.warnings[-1]
    assert "run r1" in world.warnings[-1]


def test_without_a_terminal_a_key_file_that_is_gone_is_refused(
    world: World, tmp_path: Path
) -> None:
    """The file and the run are named; nothing was sent."""
    gone = made_with(world, credentials__secret_key_file=str(tmp_path / "gone"))

    refusal = world.refusal(NOTHING, NO_SECRET, remembered=gone)

    assert "run r1" in str(refusal)
    assert str(tmp_path / "gone") in str(refusal)
