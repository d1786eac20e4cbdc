"""Promises of settings/writing.py: whole or not at all, and the old one kept."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import StorageError
from orchestrator.settings.schema import SETTINGS
from orchestrator.settings.writing import changes, toml_text, write_whole

TEXTS = st.text(st.characters(codec="utf-8"))
VALUES = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.lists(st.integers(1, 9999)),
    st.lists(TEXTS),
)


@given(st.dictionaries(st.sampled_from([row.key for row in SETTINGS]), VALUES))
def test_what_is_written_is_read_back(values: dict[str, object]) -> None:
    """Any text, DEL and quotes included, any number, any list."""
    document = tomllib.loads(toml_text(values))

    found = {
        f"{section}.{name}": one for section in document for name, one in document[section].items()
    }
    assert found == values


def test_a_change_names_the_key_and_both_values() -> None:
    """What stays is not named."""
    before: dict[str, object] = {"server.name": "a", "pace.rate_per_s": 5}

    assert changes(before, {"pace.rate_per_s": 5, "server.vdns": [7]}) == [
        'server.name: "a" becomes nothing',
        "server.vdns: nothing becomes [7]",
    ]


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    """Folders are made; nothing else is left beside it."""
    path = tmp_path / "new" / "sk"

    write_whole(path, b"one")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["sk"]


def test_the_old_one_is_kept_beside_it_with_its_rights(tmp_path: Path) -> None:
    """What a group could read it reads again, and nobody else may write; a link stays one."""
    path, link = tmp_path / "config.toml", tmp_path / "link.toml"
    path.write_bytes(b"one")
    path.chmod(0o664)
    link.symlink_to(path)

    write_whole(link, b"two")
    write_whole(link, b"two")

    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"two", 0o644)
    assert link.is_symlink()
    assert (tmp_path / "config.toml.bak").read_bytes() == b"one"


def test_an_old_secret_is_not_kept(tmp_path: Path) -> None:
    """A secret key is in one file only, which others may never read."""
    path = tmp_path / "sk"
    path.write_bytes(b"one")
    path.chmod(0o644)

    write_whole(path, b"two", is_secret=True)

    assert [one.name for one in tmp_path.iterdir()] == ["sk"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o037 == 0


def test_what_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: the old file, no half of a new one, and a sentence."""
    path = tmp_path / "config.toml"
    path.write_bytes(b"one")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=r"config\.toml cannot be written \(No space left"):
        write_whole(path, b"two")

    assert path.read_bytes() == b"one"
    assert [one.name for one in tmp_path.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("name", ["two", "two\nx = 1", "{0}"])
def test_the_head_names_the_commands_of_this_file(name: str) -> None:
    """A second server's file is changed by the command that wrote it; a name ends no comment."""
    text = toml_text({}, init=f"orchestrator init --config {name}")

    shown = ascii(name)[1:-1]
    first, second = text.splitlines()
    assert f"`orchestrator init --config {shown}`" in first
    assert f"`orchestrator config show --config {shown}`" in second
    assert tomllib.loads(text) == {}
