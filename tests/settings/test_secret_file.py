"""Promises of settings/secret_file.py: rights, what errors say, and the terminal."""

from __future__ import annotations

import getpass
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import SettingsError
from orchestrator.settings import secret_file as sources
from orchestrator.settings.files import Identity
from orchestrator.settings.secret import Secret
from tests.settings.makers import (
    CANARY,
    ROOT,
    STRANGER,
    World,
    rights_of,
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (CANARY.encode() * 5_000, "larger than 65,536 bytes"),
    ],
)
def test_a_secret_file_of_the_wrong_form_is_refused(
    world: World, content: bytes, words: str
) -> None:
    """[C01] [C02] Before any list is read; the content is not echoed."""
    world.secret_file.write_bytes(content)

    error = world.refusal()

    assert str(error).startswith(f"ORCHESTRATOR_SECRET_KEY_FILE: {world.secret_file}: ")
    assert words in str(error)
    assert error.advice.endswith(f"chmod 600 {world.secret_file}")


def test_a_secret_file_that_is_no_file_is_refused(world: World) -> None:
    """[C02] Missing, a directory, a FIFO, a name that no file can have."""
    os.mkfifo(world.root / "fifo", 0o600)
    for name, words in [
        ("half \ud800 pair", "is not a file name"),
        ("none", "cannot be read (No such file or directory)"),
        ("home", "cannot be read (Is a directory)"),
        ("fifo", "is not a regular file"),
    ]:
        error = world.refusal(environ={"ORCHESTRATOR_SECRET_KEY_FILE": str(world.root / name)})
        assert words in str(error)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o601, 0o620, 0o660, 0o666, 0o777, 0o650])
def test_a_secret_file_open_to_others_is_refused(world: World, mode: int) -> None:
    """[C03] Ours, but others can read or write it."""
    world.secret_file.chmod(mode)

    assert f"others may read or write it (mode {mode:04o})" in str(world.refusal())


def test_a_secret_file_behind_a_link_is_judged_by_its_target(world: World) -> None:
    """[C03] Kubernetes mounts secrets as links."""
    link = world.root / "link"
    link.symlink_to(world.secret_file)

    settings = world.load(environ={"ORCHESTRATOR_SECRET_KEY_FILE": str(link)})
    assert settings.credentials.secret_key == Secret(CANARY)
    world.secret_file.chmod(0o644)
    assert "others may" in str(world.refusal(environ={"ORCHESTRATOR_SECRET_KEY_FILE": str(link)}))


#: owner, group, mode; who reads; what is said, "" for accepted
RIGHTS: list[tuple[int, int, int, Identity, str]] = [
    # realistic: root's file for the operators' group
    (0, 54_321, 0o640, STRANGER, ""),
    (0, 54_321, 0o440, STRANGER, ""),
    (0, 54_321, 0o640, ROOT, ""),
    (54_321, 54_321, 0o600, STRANGER, ""),
    # wrong owner, group or mode
    (0, 0, 0o640, STRANGER, "readable by a group we are not in"),
    (0, 54_321, 0o660, STRANGER, "others may"),
    (0, 54_321, 0o644, STRANGER, "others may"),
    (0, 54_321, 0o650, STRANGER, "others may"),
    (54_321, 54_321, 0o640, STRANGER, "others may"),
    (54_322, 54_321, 0o640, STRANGER, "belongs to another user (uid 54322)"),
    (54_322, 54_321, 0o600, STRANGER, "belongs to another user (uid 54322)"),
    (54_321, 54_321, 0o600, ROOT, "belongs to another user (uid 54321)"),
]


@pytest.mark.parametrize(("uid", "gid", "mode", "reader", "words"), RIGHTS)
def test_the_rights_of_a_secret_file(
    uid: int, gid: int, mode: int, reader: Identity, words: str
) -> None:
    """[C03] Its owner only, or root's and readable by our group."""
    problem = sources._rights_problem(rights_of(uid, gid, mode), reader)

    assert (words in problem) if words else not problem


def stored_acl(entries: list[tuple[int, int, int]]) -> bytes:
    """The attribute that Linux keeps a list in: version 2, then the entries."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)


#: entries as setfacl makes them; the group's mode bits then show the mask
OWNER, GROUP_OBJ, MASK, OTHER = (1, 6, 0), (4, 0, 0), (0x10, 4, 0), (0x20, 0, 0)


@pytest.mark.parametrize(
    ("owner", "entries", "words"),
    [
        # systemd: LoadCredential= with User=
        (0, [OWNER, (2, 4, 54_321), GROUP_OBJ, MASK, OTHER], ""),
        # root's file for a group of ours by name, and one that the mask takes everything from
        (0, [OWNER, GROUP_OBJ, (8, 4, 54_321), MASK, OTHER], ""),
        (0, [OWNER, (2, 4, 54_321), (2, 7, 33), GROUP_OBJ, (0x10, 0, 0), OTHER], ""),
        # our own file, and a list that names only us
        (54_321, [OWNER, (2, 4, 54_321), GROUP_OBJ, MASK, OTHER], ""),
        # somebody else in it
        (0, [OWNER, (2, 4, 54_321), (2, 4, 33), GROUP_OBJ, MASK, OTHER], "user 33 may"),
        (54_321, [OWNER, (2, 4, 33), GROUP_OBJ, MASK, OTHER], "user 33 may"),
        (0, [OWNER, (2, 4, 54_321), GROUP_OBJ, (8, 4, 33), MASK, OTHER], "a group we are not in"),
        (0, [OWNER, (4, 4, 0), (2, 4, 54_321), MASK, OTHER], "a group we are not in (gid 0)"),
        (54_321, [OWNER, GROUP_OBJ, (8, 4, 54_321), MASK, OTHER], "group 54321 may"),
    ],
)
def test_the_rights_of_a_secret_file_with_an_access_control_list(
    owner: int, entries: list[tuple[int, int, int]], words: str
) -> None:
    """[C03] Who is named in it, as far as its mask lets them; the mode alone would mislead."""
    problem = sources._rights_problem(rights_of(owner, 0, 0o640), STRANGER, stored_acl(entries))

    assert (words in problem) if words else not problem


def test_an_access_control_list_is_read_from_the_file(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that another user may read by name, whatever the file system here keeps."""
    stored = stored_acl([OWNER, (2, 4, 33), GROUP_OBJ, MASK, OTHER])
    monkeypatch.setattr(os, "getxattr", lambda _file, _name: stored)

    assert "user 33 may read or write it" in str(world.refusal())


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("..2026_11_26_03_00_00.1/sk", ("defaultMode: 0440", "fsGroup")),
        ("sk", ("chmod 600", "setfacl -b")),
    ],
)
def test_advice_about_rights_can_be_followed_where_the_file_lies(
    world: World, place: str, words: tuple[str, ...]
) -> None:
    """A secret volume of Kubernetes is read-only, and its rights stand in the pod's manifest."""
    file = world.root / place
    file.parent.mkdir(exist_ok=True)
    file.write_text(CANARY)
    file.chmod(0o644)
    link = world.root / "link"
    link.symlink_to(file)

    advice = world.refusal(environ={"ORCHESTRATOR_SECRET_KEY_FILE": str(link)}).advice

    assert all(word in advice for word in words)
    assert ("chmod" in advice) == (place == "sk")


def test_advice_about_a_docker_secret_speaks_of_docker() -> None:
    """Its mode stands in the stack's file, or on the host."""
    advice = sources._rights_advice(Path("/run/secrets/sk"), STRANGER)

    assert 'uid: "54321" and mode: 0400' in advice
    assert "on the host, chown 54321" in advice


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """cron: stderr is a file. A terminal without /dev/tty: nobody either."""
    monkeypatch.setattr(sys, "stderr", Stderr(terminal=False))
    assert sources.terminal_prompt() is None

    def no_tty(path: str, flags: int) -> int:
        raise OSError

    monkeypatch.setattr(sys, "stderr", Stderr(terminal=True))
    monkeypatch.setattr(os, "open", no_tty)
    assert sources.terminal_prompt() is None


class Stderr:
    """A standard error that is a terminal or not."""

    def __init__(self, *, terminal: bool) -> None:
        self._terminal = terminal

    def isatty(self) -> bool:
        """Say which."""
        return self._terminal


@pytest.mark.parametrize("trouble", [EOFError, getpass.GetPassWarning])
def test_a_prompt_that_fails_is_an_empty_secret(
    monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]
) -> None:
    """[C01] Ctrl-D, or a terminal that would echo: refused as empty by the caller."""

    def fail(_prompt: str) -> str:
        raise trouble

    monkeypatch.setattr(getpass, "getpass", fail)

    assert sources._ask() == ""


PROMPT = """
import os, sys
os.close(os.open(os.ttyname(2), os.O_RDWR))   # a new session takes the terminal it opens
from orchestrator.settings.secret_file import terminal_prompt
ask = terminal_prompt()
print("typed:", ask() == sys.argv[1] if ask else None)
"""


@pytest.mark.sockets
def test_the_secret_is_typed_without_echo_while_stdin_carries_the_list() -> None:
    """[Z06] A child on a terminal of its own: the answer arrives, the terminal shows nothing."""
    ours, theirs = os.openpty()
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", PROMPT, CANARY],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
        )
        screen = b""
        while not screen.endswith(b"(SK): "):
            screen += os.read(ours, 1024)
        os.write(ours, f"{CANARY}\n".encode())
        printed, _ = child.communicate(timeout=30)
        os.set_blocking(ours, False)
        screen += os.read(ours, 1024)
    finally:
        os.close(ours)
        os.close(theirs)

    assert printed == b"typed: True\n"
    assert CANARY.encode() not in screen


@pytest.mark.parametrize(
    "key",
    [
        "sk-simulator-not-a-secret",
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "/aB3defghijklm/nopq7+rs",
    ],
)
def test_a_secret_key_where_its_file_belongs_is_not_read_out(tmp_path: Path, key: str) -> None:
    """The variable holds the key itself: neither the refusal nor `config show` repeats it."""
    file = tmp_path / key

    with pytest.raises(SettingsError) as caught:
        sources.read(file, origin="ORCHESTRATOR_SECRET_KEY_FILE", identity=Identity.current())

    assert key.strip("/")[:12] not in f"{caught.value} {caught.value.advice}"
    assert "it could be the key itself" in str(caught.value)
    assert key.strip("/")[:12] not in sources.shown_path(file)


def test_a_secret_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A path that is only mistyped, or not mounted, is what the reader needs to see."""
    file = tmp_path / "secrets" / "isales.key"

    with pytest.raises(SettingsError, match=r"secrets/isales\.key: cannot be read"):
        sources.read(file, origin="ORCHESTRATOR_SECRET_KEY_FILE", identity=Identity.current())
