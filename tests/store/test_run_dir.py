"""Run directories: rights, ids, and one holder at a time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orchestrator.errors import RefusedError, SettingsError, StorageError, UsageError
from orchestrator.store import run_dir as run_directory
from orchestrator.store.kernel import file_system_of, refuse_network_file_system, take_lock
from orchestrator.store.run_dir import (
    JOURNAL,
    Holder,
    RunDirectory,
    file_mode,
    is_run_id,
    make_run_directory,
    new_run_id,
    whole_path,
)

ID = "20261123T230501Z-7f3a"


def mode(path: Path) -> int:
    """The rights of a path, with setgid."""
    return stat.S_IMODE(path.stat().st_mode)


def hold(directory: RunDirectory) -> None:
    """Hold a directory since a fixed time."""
    directory.hold(since="2026-11-23T23:05:01Z", host="jump1")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A new run directory."""
    return make_run_directory(tmp_path / "state" / "runs" / ID)


# -- making -------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize(("shared", "wanted"), [(False, 0o700), (True, 0o2770)])
def test_a_run_directory_is_ours_alone_or_the_groups(
    tmp_path: Path, umask: int, wanted: int, *, shared: bool
) -> None:
    """[Z13] 0700 all the way down, or 2770 below a setgid state directory, whatever the umask."""
    state = tmp_path / "state"
    if shared:
        state.mkdir()
        state.chmod(0o2770)
    before = os.umask(umask)
    try:
        made = make_run_directory(state / "runs" / ID)
    finally:
        os.umask(before)

    assert [mode(one) for one in (made.path, made.path.parent, state)] == [wanted] * 3
    assert file_mode(made.path) == (0o660 if shared else 0o600)


LEFTOVERS = [
    "journal.db.part",
    "journal.db.part-journal",
    "holder.json",
    ".holder.json",
    "live.json",
    ".live.json",
    ".results.csv.0a1b.part",
]


def test_an_empty_directory_is_taken_and_so_is_a_false_start(run: RunDirectory) -> None:
    """What a killed start left behind does not stand in the way of the next."""
    for name in LEFTOVERS:
        (run.path / name).touch()

    assert make_run_directory(run.path) == RunDirectory(run.path)


@pytest.mark.parametrize("name", ["notes.txt", JOURNAL, "results.csv", "journal.db-wal"])
def test_junk_in_a_run_directory_is_refused(run: RunDirectory, name: str) -> None:
    """Anything else in --run-dir: exit 2, named, and left as it was."""
    (run.path / name).write_text("mine")

    with pytest.raises(UsageError, match=rf"{name}.*Nothing was sent"):
        make_run_directory(run.path)

    assert (run.path / name).read_text() == "mine"


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    """A file, a link (also to a directory), a link to nowhere."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    for name, words in (
        ("file", "not a directory"),
        ("link", "a symbolic link"),
        ("dangling", "a symbolic link"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            make_run_directory(tmp_path / name)
        assert caught.value.advice


def test_what_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    """A parent that is a file: the message names the place and what to do."""
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match="Nothing was sent") as told:
        make_run_directory(tmp_path / "file" / "runs" / ID)

    assert "--run-dir" in told.value.advice


def test_a_run_that_never_began_leaves_nothing(run: RunDirectory) -> None:
    """Its own leftovers go, and with them the directory, unless somebody's file is in it."""
    for name in LEFTOVERS:
        (run.path / name).touch()

    (run.path / "notes.txt").touch()
    run.remove_if_empty()
    assert [one.name for one in run.path.iterdir()] == ["notes.txt"]
    (run.path / "notes.txt").unlink()
    run.remove_if_empty()

    assert not run.path.exists()


# -- holding ------------------------------------------------------------------------------------


def test_one_holder_at_a_time(run: RunDirectory) -> None:
    """[X01] The second is refused with pid, host and time of the first; after release it may."""
    other = RunDirectory(run.path)
    assert not other.is_live
    hold(run)

    assert other.is_live
    assert run.holder() == Holder(os.getpid(), "jump1", "2026-11-23T23:05:01Z")
    with pytest.raises(RefusedError) as told:
        hold(other)
    run.release()
    assert (run.holder(), other.is_live) == (None, False)
    hold(other)

    assert told.value.exit_code == 7
    assert f"process {os.getpid()} on jump1 since 2026-11-23T23:05:01Z" in str(told.value)
    other.release()


def test_releasing_what_is_not_held_does_nothing(run: RunDirectory) -> None:
    """Giving up before holding leaves another one's word where it is."""
    (run.path / "holder.json").touch()

    run.release()

    assert (run.path / "holder.json").exists()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_directory_that_went_away_is_not_taken(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, *, replaced: bool
) -> None:
    """[X03] Locked was the old one; where a new one is, somebody else may be at work."""
    lock = take_lock

    def lock_too_late(descriptor: int) -> bool:
        run.path.rename(run.path.with_name("aside"))
        if replaced:
            run.path.mkdir()
        return lock(descriptor)

    monkeypatch.setattr(run_directory, "take_lock", lock_too_late)

    with pytest.raises(StorageError, match="replaced"):
        hold(run)

    assert not RunDirectory(run.path).is_live


def test_a_missing_directory_cannot_be_held(tmp_path: Path) -> None:
    """Nothing to hold is a storage error, exit 5."""
    with pytest.raises(StorageError, match="No such file"):
        hold(RunDirectory(tmp_path / "gone"))


@pytest.mark.parametrize(
    "told",
    [
        "a pipe",
        "",
        "{",
        "[]",
        "7",
        '{"pid": "x", "host": "h", "since": "s"}',
        '{"pid": 1}',
        "\ud800",
    ],
)
def test_a_word_that_cannot_be_read_is_no_holder(run: RunDirectory, told: str) -> None:
    """What stands beside the lock is for people; it never breaks anything."""
    if told == "a pipe":  # whoever reads one waits for its writer
        os.mkfifo(run.path / "holder.json")
    else:
        (run.path / "holder.json").write_text(told, "utf-8", "surrogatepass")

    assert run.holder() is None


def test_a_word_that_cannot_be_written_lets_go_again(run: RunDirectory) -> None:
    """A directory in its place: exit 5, and the lock is free for the next."""
    (run.path / "holder.json").mkdir()

    with pytest.raises(StorageError):
        hold(run)

    assert not RunDirectory(run.path).is_live


# -- names --------------------------------------------------------------------------------------


def test_a_directory_that_cannot_be_looked_into_has_no_journal(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A colleague's private run in a shared place does not break `runs` for everybody."""

    def denied(_self: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", denied)

    assert not run.has_journal


@pytest.mark.parametrize(
    ("ms", "chance", "end"),
    [(0, 0.0, "0000"), (1, 0.5, "0060"), (999, 1 - 2**-53, "f9ff")],
)
def test_a_run_id_is_a_time_and_a_chance(ms: int, chance: float, end: str) -> None:
    """Four hexadecimal digits, never five; and it is found again as a run."""
    run_id = new_run_id(second="20261123T230501Z", ms=ms, chance=chance)

    assert run_id == f"20261123T230501Z-{end}"
    assert is_run_id(run_id)
    # of two in one second the later one is the last, whatever the chance
    assert run_id < new_run_id(second="20261123T230501Z", ms=ms + 1, chance=0.0)


# -- file systems -------------------------------------------------------------------------------

_MOUNTS = r"""
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:20 / /proc rw - proc proc rw
30 21 0:40 / {0}/nfs rw shared:9 master:2 - nfs4 server:/export rw
31 30 8:2 / {0}/nfs/local rw - xfs /dev/sdb rw
32 21 0:41 / {0}/with\040space rw - cifs //server/share rw
33 21 0:42 / {0}/日本 rw - nfs server:/jp rw
34 21 0:43 / {0}/back\134slash rw - 9p share rw
35 21 0:44 / {0}/twice rw - nfs server:/a rw
36 35 0:45 / {0}/twice rw - tmpfs tmpfs rw
garbage
37 21 0:46
"""

PLACES = [
    ("", "ext4"),
    ("nfs", "nfs4"),
    ("nfs/state/runs/x", "nfs4"),
    ("nfsmore", "ext4"),
    ("nfs/local/state", "xfs"),
    ("with space/state", "cifs"),
    ("日本/state", "nfs"),
    ("back\\slash", "9p"),
    ("twice/over", "tmpfs"),
]


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    """A mountinfo as the kernel writes it."""
    path = tmp_path / "mountinfo"
    path.write_text(_MOUNTS.replace("{0}", str(tmp_path)), "utf-8")
    return path


@pytest.mark.parametrize(("place", "kind"), PLACES)
def test_a_network_file_system_is_refused(
    tmp_path: Path, mounts: Path, place: str, kind: str
) -> None:
    """[X04] The longest mount point that holds it, the later of two; on a network exit 2."""
    assert file_system_of(tmp_path / place, mounts=mounts) == kind
    if kind in {"ext4", "xfs", "tmpfs"}:
        refuse_network_file_system(tmp_path / place, mounts=mounts)
        return
    with pytest.raises(SettingsError, match=rf"network file system \({kind}\)") as told:
        refuse_network_file_system(tmp_path / place, mounts=mounts)
    assert (told.value.key, told.value.exit_code) == ("state.dir", 2)


def test_a_link_is_followed_to_its_file_system(tmp_path: Path, mounts: Path) -> None:
    """A state directory that is a link into a share is on the share."""
    (tmp_path / "nfs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nfs")

    assert file_system_of(tmp_path / "link" / "runs", mounts=mounts) == "nfs4"


def test_where_nobody_can_tell_a_place_is_allowed(tmp_path: Path) -> None:
    """A system without mountinfo is not kept from working."""
    assert file_system_of(tmp_path, mounts=tmp_path / "gone") == ""
    refuse_network_file_system(tmp_path, mounts=tmp_path / "gone")


def test_a_run_directory_below_home_may_be_written_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--run-dir=~/nightly`: a shell leaves it alone, and nobody wants a directory called `~`."""
    monkeypatch.setenv("HOME", str(tmp_path))

    assert whole_path(Path("~/nightly")) == tmp_path / "nightly"
