"""Opening the list: what is read, what is refused, and that nothing waits."""

import hashlib
import os
import pty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.manifest.source import CHUNK_BYTES, open_manifest, open_stdin


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught, open_manifest(path) as source:
        list(source.chunks())
    assert caught.value.exit_code == 2
    assert caught.value.sentence.endswith("Nothing was sent.")
    assert caught.value.advice
    assert str(path) in caught.value.sentence
    return caught.value.sentence


def test_a_file_is_read_in_chunks_and_its_hash_kept(tmp_path: Path) -> None:
    """The hash and the size are those of the bytes handed out [I34]."""
    content = b"campaign_id\n" + b"5\n" * CHUNK_BYTES
    path = tmp_path / "list.csv"
    path.write_bytes(content)

    with open_manifest(path) as source:
        chunks = list(source.chunks())

    assert b"".join(chunks) == content
    assert max(map(len, chunks)) == CHUNK_BYTES
    assert source.size == len(content)
    assert source.sha256 == hashlib.sha256(content).hexdigest()
    assert source.real_path == path.resolve()


def test_a_link_is_followed_and_where_it_led_is_kept(tmp_path: Path) -> None:
    """`latest.csv` may point elsewhere tomorrow, so the real path is recorded [I30]."""
    real = tmp_path / "2026-01-01.csv"
    real.write_bytes(b"5\n")
    link = tmp_path / "latest.csv"
    link.symlink_to(real)

    with open_manifest(link) as source:
        assert list(source.chunks()) == [b"5\n"]

    assert source.real_path == real.resolve()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The reason is in words, not a number [I29]."""
    assert "no such file or directory" in refusal(tmp_path / "none.csv")
    dangling = tmp_path / "dangling.csv"
    dangling.symlink_to(tmp_path / "none.csv")
    assert "no such file or directory" in refusal(dangling)


def test_a_file_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the system's answer is made up for it [I29]."""
    path = tmp_path / "list.csv"
    path.write_bytes(b"5\n")
    path.chmod(0)
    if os.geteuid() == 0:

        def deny(path: object, flags: int) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", deny)

    assert "permission denied" in refusal(path)


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_link_to_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "kind"),
    [(a_fifo, "a pipe (FIFO)"), (a_link_to_zero, "a device")],
)
def test_what_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], kind: str
) -> None:
    """A pipe without a writer would wait for ever, /dev/zero would never end [I31]."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "list.csv"
    make(path)

    assert f"it is {kind}, not a file" in refusal(path)


def test_a_file_that_is_no_file_of_its_own_is_refused() -> None:
    """What lies in /proc has no size and is made while it is read [I31, I34]."""
    assert "changed while it was read (0 bytes before" in refusal(Path("/proc/self/status"))


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"6\n")


def cut(path: Path) -> None:
    os.truncate(path, 2)


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(0, 1))


@pytest.mark.parametrize("change", [grow, cut, rewrite])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Grown, cut or rewritten at the same size: half of it may be old [I34]."""
    path = tmp_path / "list.csv"
    path.write_bytes(b"5\n" * CHUNK_BYTES)

    with open_manifest(path) as source:
        chunks = source.chunks()
        next(chunks)
        change(path)

        with pytest.raises(UsageError, match="changed while it was read"):
            list(chunks)


def test_a_file_that_never_stops_growing_is_refused(tmp_path: Path) -> None:
    """More bytes than it had when it was opened are never handed out [I34]."""
    path = tmp_path / "list.csv"
    path.write_bytes(b"5\n")

    with open_manifest(path) as source:
        chunks = source.chunks()
        first = next(chunks)
        grow(path)

        with pytest.raises(UsageError, match="2 bytes before, 4 read, 4 now"):
            next(chunks)

    assert first == b"5\n"


@contextmanager
def a_pipe_with(content: bytes) -> Iterator[int]:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    try:
        yield reading
    finally:
        os.close(reading)


def test_stdin_is_read_to_its_end() -> None:
    """A pipe is welcome where it was asked for [I32, I31]."""
    with a_pipe_with(b"5\n") as fd, open_stdin(fd) as source:
        assert list(source.chunks()) == [b"5\n"]
        assert (source.size, source.real_path) == (2, None)
        assert source.sha256 == hashlib.sha256(b"5\n").hexdigest()


def test_a_terminal_on_stdin_gets_help() -> None:
    """Nobody types a list: what would look like a hang becomes a sentence [I32]."""
    ours, theirs = pty.openpty()
    try:
        with pytest.raises(UsageError, match="stdin is a terminal") as caught, open_stdin(theirs):
            pass
    finally:
        os.close(ours)
        os.close(theirs)

    assert "--format csv" in caught.value.advice


def test_a_closed_stdin_is_refused() -> None:
    """`<&-` leaves nothing to read [I32]."""
    with a_pipe_with(b"") as fd:
        pass

    with pytest.raises(UsageError, match="it is closed"), open_stdin(fd):
        pass


def test_an_error_in_the_middle_says_how_far_it_came(tmp_path: Path) -> None:
    """Stdin that is a directory can be opened and not be read [I32]."""
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with (
            pytest.raises(UsageError, match="is a directory, after 0 bytes"),
            open_stdin(fd) as source,
        ):
            list(source.chunks())
    finally:
        os.close(fd)
