"""Who holds a lock, as the kernel's own files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.store.kernel import holds_lock, is_frozen


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("1: FLOCK  ADVISORY  WRITE 432 fe:00:{inode} 0 EOF", True),
        ("1: FLOCK  ADVISORY  WRITE 433 fe:00:{inode} 0 EOF", False),
        ("1: FLOCK  ADVISORY  WRITE 432 fe:00:1{inode} 0 EOF", False),
        ("1: FLOCK  ADVISORY  READ 432 fe:00:{inode} 0 EOF", False),
        ("1: POSIX  ADVISORY  WRITE 432 fe:00:{inode} 0 EOF", False),
        ("1: -> FLOCK  ADVISORY  WRITE 432 fe:00:{inode} 0 EOF", False),
        ("", False),
    ],
)
def test_only_an_exclusive_lock_on_this_directory_counts(
    tmp_path: Path, line: str, *, holds: bool
) -> None:
    """Another process, another directory, a shared lock, one that waits: no."""
    (tmp_path / "locks").write_text(line.format(inode=tmp_path.stat().st_ino) + "\n")

    assert holds_lock(432, tmp_path, proc=tmp_path) is holds


def test_on_a_layered_file_system_the_open_descriptor_decides(tmp_path: Path) -> None:
    """The numbers in the list of locks are another layer's."""
    (tmp_path / "locks").write_text("")
    for name in ("fd", "fdinfo"):
        (tmp_path / "432" / name).mkdir(parents=True)
    (tmp_path / "432" / "fd" / "7").symlink_to(tmp_path)
    info = tmp_path / "432" / "fdinfo" / "7"

    info.write_text("pos:\t0\n")
    assert not holds_lock(432, tmp_path, proc=tmp_path)
    info.write_text("lock:\t1: FLOCK  ADVISORY  WRITE 432 fe:00:1 0 EOF\n")
    assert holds_lock(432, tmp_path, proc=tmp_path)


def test_where_the_kernel_shows_nothing_nothing_is_held(tmp_path: Path) -> None:
    """No /proc: it cannot be verified, so nobody is signalled."""
    assert not holds_lock(432, tmp_path, proc=tmp_path / "none")
    assert not is_frozen(432, proc=tmp_path / "none")


@pytest.mark.parametrize(("state", "frozen"), [("T", True), ("t", True), ("S", False), ("", False)])
def test_a_suspended_process_is_known_by_its_state(
    tmp_path: Path, state: str, *, frozen: bool
) -> None:
    """Its name may hold blanks and brackets."""
    (tmp_path / "432").mkdir()
    (tmp_path / "432" / "stat").write_text(f"432 (a) T b) {state} 1 1")

    assert is_frozen(432, proc=tmp_path) is frozen
