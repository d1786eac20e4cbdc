"""Report files: whole or not at all, and nobody else's file is touched."""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import StorageError
from orchestrator.policy.decide import Outcome
from orchestrator.reports.files import (
    check_folder,
    earlier_lag_s,
    is_stored,
    sha256_of,
    write_rows,
    write_summary,
    write_to_stream,
)
from orchestrator.reports.rows import COLUMNS, UNSTOPPED, ReportRow, RunKind, cells
from tests.report_makers import HOSTILE, database_failure, make_row

ROWS = [
    make_row(),
    make_row(Outcome.NOT_FOUND, campaign_id="147"),
    make_row(Outcome.DUPLICATE, duplicate_of=2),
    make_row(Outcome.INVALID, campaign_id="1e3"),
    database_failure(campaign_id="9223372036854775807", campaign_name="春季"),
]
FILES = {"results.csv", "failed.csv"}
NAMES = pytest.mark.parametrize("name", ["results.csv", "failed.csv", "summary.json"])


def write(name: str, folder: Path, *, anew: bool = False) -> None:
    """Write the file of this name, whichever function that takes; `anew`: with other content."""
    if name == "summary.json":
        write_summary(folder, {"schema": 2 if anew else 1})
    else:
        write_rows(folder, [*ROWS, make_row(Outcome.FAILED)] if anew else ROWS)


def read(path: Path) -> list[dict[str, str]]:
    """Read a report file back as a stranger would."""
    with path.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text, strict=True))


def as_read(rows: list[ReportRow], kind: RunKind = RunKind.PAUSE) -> list[dict[str, str]]:
    """What reading these rows back must give."""
    return [dict(zip(COLUMNS, cells(row, kind), strict=True)) for row in rows]


@contextmanager
def no_file_longer_than(size_bytes: int) -> Iterator[None]:
    """Let writes beyond this size fail with EFBIG, as on a full disk, for real."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def open_descriptors() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


# -- what is written --------------------------------------------------------------------------


def test_both_files_are_written_in_one_pass(tmp_path: Path) -> None:
    """A stream that can be read once fills results.csv, failed.csv and the tally."""
    tally = write_rows(tmp_path, iter(ROWS))

    tally.check(len(ROWS))
    assert read(tmp_path / "results.csv") == as_read(ROWS)
    assert read(tmp_path / "failed.csv") == as_read(
        [row for row in ROWS if row.outcome in UNSTOPPED]
    )
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_every_cell_is_quoted_and_lines_end_in_newline(tmp_path: Path) -> None:
    """[Z09] `"1201","146",…` and no carriage return anywhere."""
    write_rows(tmp_path, ROWS)

    text = (tmp_path / "results.csv").read_bytes()

    assert b"\r" not in text
    assert text.splitlines()[0] == b'"' + '","'.join(COLUMNS).encode() + b'"'
    assert text.splitlines()[1].startswith(b'"1201","146","spring","paused","yes"')
    assert text.endswith(b'"\n')


def test_where_nothing_failed_there_is_no_list_of_failures(tmp_path: Path) -> None:
    """That of an earlier process is taken away when the rest has been stopped."""
    write_rows(tmp_path, ROWS)
    assert (tmp_path / "failed.csv").exists()

    write_rows(tmp_path, [make_row()])

    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


def test_hostile_text_is_harmless_in_every_file(tmp_path: Path) -> None:
    """[S43] [Z09] [Z10] The corpus in CSV, JSON and on stdout: parsed back, nothing dangerous."""
    rows = [make_row(campaign_name=text, error=text) for text in HOSTILE.values()]
    printed = io.BytesIO()

    write_rows(tmp_path, rows)
    write_summary(tmp_path, {"reason": list(HOSTILE.values())})
    write_to_stream(rows, printed)

    written = (tmp_path / "results.csv").read_bytes()
    assert written == printed.getvalue()
    assert written.decode().replace("\n", "").isprintable()
    assert read(tmp_path / "results.csv") == as_read(rows)
    summary = (tmp_path / "summary.json").read_text(encoding="ascii")
    assert summary.replace("\n", "").isprintable()
    assert json.loads(summary) == {"reason": list(HOSTILE.values())}


def test_rows_are_streamed(tmp_path: Path) -> None:
    """Eight times the rows, not a megabyte more memory: nothing holds on to them."""

    def peak_bytes(number: int) -> int:
        rows = (database_failure(campaign_id=str(n)) for n in range(number))
        tracemalloc.start()
        write_rows(tmp_path, rows)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(4_000) - peak_bytes(500) < 1_000_000


# -- rights -----------------------------------------------------------------------------------


@NAMES
def test_only_the_owner_may_read(tmp_path: Path, name: str) -> None:
    """[Z12] 0600, whatever the umask says."""
    before = os.umask(0)
    try:
        write(name, tmp_path)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@NAMES
def test_in_a_shared_directory_the_group_may_go_on(tmp_path: Path, name: str) -> None:
    """[Z12] A setgid directory means colleagues: 0660, although the umask is 077."""
    tmp_path.chmod(0o2770)
    before = os.umask(0o077)
    try:
        write(name, tmp_path)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o660


# -- what is in the way -----------------------------------------------------------------------

OBSTACLES: dict[str, Callable[[Path], Any]] = {
    "a symbolic link": lambda path: path.symlink_to(path.parent / "victim"),
    "a directory": lambda path: path.mkdir(),
    "a FIFO": os.mkfifo,
}


@NAMES
@pytest.mark.parametrize("kind", OBSTACLES)
def test_what_is_no_file_is_refused_and_left_alone(tmp_path: Path, name: str, kind: str) -> None:
    """[Z12] A link, a FIFO or a directory under our name: said by name, nothing is written."""
    (tmp_path / "victim").write_text("precious")
    OBSTACLES[kind](tmp_path / name)
    before = sorted((path.name, path.lstat().st_mode) for path in tmp_path.iterdir())

    with pytest.raises(StorageError, match=f"{name} is {kind}, not a file; it was not touched"):
        write(name, tmp_path)
    if name != "summary.json":
        with pytest.raises(StorageError, match=f"{name} is {kind}"):
            check_folder(tmp_path)

    assert (tmp_path / "victim").read_text() == "precious"
    assert sorted((path.name, path.lstat().st_mode) for path in tmp_path.iterdir()) == before


def test_a_link_planted_while_we_write_spares_its_target(tmp_path: Path) -> None:
    """[Z12] Somebody swaps the target for a link, over and over: the victim keeps its text."""
    folder = tmp_path / "run"
    folder.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    done = threading.Event()

    def swap() -> None:
        number = 0
        while not done.is_set():
            number += 1
            link = folder / f"link{number}"
            link.symlink_to(victim)
            link.rename(folder / "results.csv")

    rival = threading.Thread(target=swap)
    rival.start()
    refused = 0
    for _ in range(300):
        try:
            write_rows(folder, ROWS)
        except StorageError:
            refused += 1
    done.set()
    rival.join()

    assert refused
    assert victim.read_text() == "precious"
    assert not victim.is_symlink()


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    """[P06] Strays of our names go; another writer's, which is locked, and other files stay."""
    stray = tmp_path / ".results.csv.0123456789ab.part"
    stray.write_text("half a rep")
    foreign = tmp_path / ".results.csv.swp"
    foreign.write_text("an editor's")
    alive = tmp_path / ".results.csv.ba9876543210.part"
    link = tmp_path / ".failed.csv.cafe.part"
    link.symlink_to(foreign)

    with alive.open("w") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        write_rows(tmp_path, ROWS)

    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*FILES, foreign.name, alive.name, link.name}
    assert foreign.read_text() == "an editor's"


@NAMES
def test_the_same_report_once_more_leaves_the_files_as_they_are(tmp_path: Path, name: str) -> None:
    """Evidence keeps its times too: same bytes, same inode, same moment, and no stray."""
    write(name, tmp_path)
    before = {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.iterdir()
    }

    write(name, tmp_path)

    after = {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.iterdir()
    }
    assert after == before
    write(name, tmp_path, anew=True)
    assert (tmp_path / name).stat().st_ino != before[name][0]


# -- what goes wrong --------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_report(tmp_path: Path) -> None:
    """[P06] [P17] The rows do not fit: named file, reason in words, the old report untouched."""
    write_rows(tmp_path, ROWS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    descriptors = open_descriptors()

    with (
        no_file_longer_than(300_000),
        pytest.raises(StorageError, match=r"cannot write .*results\.csv: File too large \(EFBIG\)"),
    ):
        write_rows(tmp_path, (make_row() for _ in range(5_000)))

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert open_descriptors() == descriptors


@pytest.mark.parametrize("call", ["fsync", "rename", "fchmod", "open"])
@NAMES
def test_every_failing_call_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: str
) -> None:
    """[P17] [P21] ENOSPC from any call becomes a StorageError; no unfinished file stays."""
    write(name, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    real_open = os.open

    def fail(path: Any, *arguments: Any, **keywords: Any) -> int:
        if call == "open" and "dir_fd" not in keywords:
            return real_open(path, *arguments, **keywords)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match=r"No space left on device \(ENOSPC\)"):
        write(name, tmp_path, anew=True)
    monkeypatch.undo()

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@NAMES
def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """[P08] All of it is synced before the rename, and the directory after it."""
    synced: dict[int, int] = {}
    named: list[tuple[str, bool]] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        seen = os.fstat(descriptor)
        synced[seen.st_ino] = seen.st_size

    def rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        seen = os.stat(old, dir_fd=src_dir_fd)
        named.append((new, synced.get(seen.st_ino) == seen.st_size > 0))
        synced.pop(tmp_path.stat().st_ino, None)
        real_rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    write(name, tmp_path)

    assert (name, True) in named
    assert all(whole for _, whole in named)
    assert tmp_path.stat().st_ino in synced


def test_a_journal_that_breaks_half_way_leaves_the_old_report(tmp_path: Path) -> None:
    """[P06] The rows end with an error of their own: it passes, and nothing is half written."""

    def breaking() -> Iterator[ReportRow]:
        yield make_row()
        raise StorageError("the journal is damaged at row 2")

    with pytest.raises(StorageError, match="the journal is damaged at row 2"):
        write_rows(tmp_path, breaking())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(errno.EROFS, "Read-only file system"), OSError("odd")])
def test_a_folder_that_cannot_be_written_fails_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """[P21] A read-only disk is found out before anything is sent."""

    def refuse(_descriptor: int, _mode: int) -> None:
        raise error

    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(StorageError, match=r"results\.csv: (Read-only .*\(EROFS\)|odd)"):
        check_folder(tmp_path)
    monkeypatch.undo()

    assert list(tmp_path.iterdir()) == []


# -- the way out ------------------------------------------------------------------------------


def test_results_can_be_printed_instead(tmp_path: Path) -> None:
    """[P17] The same bytes as results.csv, and the stream stays open for its owner."""
    stream = io.BytesIO()
    write_rows(tmp_path, ROWS)

    tally = write_to_stream(iter(ROWS), stream)

    tally.check(len(ROWS))
    assert stream.getvalue() == (tmp_path / "results.csv").read_bytes()


def test_a_broken_pipe_is_said_in_words() -> None:
    """[P17] Nobody reads our stdout either: a StorageError, and still no loss of the stream."""

    class Broken(io.BytesIO):
        def flush(self) -> None:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    stream = Broken()
    with pytest.raises(StorageError, match=r"cannot print the results: Broken pipe \(EPIPE\)"):
        write_to_stream(ROWS, stream)

    assert not stream.closed


# -- killed -----------------------------------------------------------------------------------

#: writes a second report and dies at the n-th of the calls that matter, before or after it
DIES = """
import itertools, os, sys
from pathlib import Path
from orchestrator.reports.files import write_rows, write_summary
from tests.report_makers import database_failure

folder = Path(sys.argv[1])

def dying(call, calls, last, *, after):
    def run(*arguments, **keywords):
        mine = next(calls) == last
        if mine and not after:
            os._exit(137)
        result = call(*arguments, **keywords)
        if mine:
            os._exit(137)
        return result
    return run

for last, after in itertools.product(range(8), (False, True)):
    if os.fork() == 0:
        here = folder / f"{last}{after}"
        calls = itertools.count()
        os.fsync = dying(os.fsync, calls, last, after=after)
        os.rename = dying(os.rename, calls, last, after=after)
        write_rows(here, [database_failure(campaign_id="2")] * 3)
        write_summary(here, {"new": True})
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 137, (last, after)
"""


@pytest.mark.sockets
def test_killed_anywhere_the_report_is_old_or_new(tmp_path: Path) -> None:
    """[P06] Dead before or after each fsync and rename: never half a file, no stray after."""
    places = [tmp_path / f"{last}{after}" for last in range(8) for after in (False, True)]
    for place in places:
        place.mkdir()
        write_rows(place, [make_row(campaign_id="1")] * 2)
        write_summary(place, {"new": False})
    old = {path.name: path.read_bytes() for path in places[0].iterdir()}

    subprocess.run(
        [sys.executable, "-c", DIES, str(tmp_path)],
        check=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )

    for place in places:
        ids = {row["campaign_id"] for row in read(place / "results.csv")}
        assert (ids, len(read(place / "results.csv"))) in [({"1"}, 2), ({"2"}, 3)]
        assert json.loads((place / "summary.json").read_text()) in [{"new": False}, {"new": True}]
        write_rows(place, [make_row(campaign_id="1")] * 2)
        write_summary(place, {"new": False})
        assert {path.name: path.read_bytes() for path in place.iterdir()} == old


# -- what earlier runs left ----------------------------------------------------------------------

SERVER = "https://isales.example.com:28080"


def ran(state_dir: Path, name: str, document: object) -> None:
    """An earlier run with this summary."""
    folder = state_dir / "runs" / name
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(
        document if isinstance(document, str) else json.dumps(document), encoding="utf-8"
    )


def test_the_largest_lag_of_earlier_runs_against_this_server_counts(tmp_path: Path) -> None:
    """Another server's lag is its own; the same server may be written in another way."""
    ran(tmp_path, "1", {"server": SERVER, "lag_s": 3.5})
    ran(tmp_path, "2", {"server": "HTTPS://isales.EXAMPLE.com:28080/", "lag_s": 8})
    ran(tmp_path, "3", {"server": "https://other.example.com:28080", "lag_s": 20.0})

    assert earlier_lag_s(tmp_path, SERVER) == 8


def test_a_pipe_in_the_place_of_a_report_keeps_no_stop_waiting(tmp_path: Path) -> None:
    """A stop reads the summaries of earlier runs before its proof, and a page hashes the rows."""
    ran(tmp_path, "1", {"server": SERVER, "lag_s": 3.5})
    (tmp_path / "runs/2").mkdir()
    os.mkfifo(tmp_path / "runs/2/summary.json")

    assert earlier_lag_s(tmp_path, SERVER) == 3.5
    assert sha256_of(tmp_path / "runs/2/summary.json") == ""


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "[" * 100_000,
        "[]",
        "null",
        {"lag_s": 8.0},
        {"server": SERVER},
        {"server": SERVER, "lag_s": None},
        {"server": SERVER, "lag_s": "8"},
        {"server": None, "lag_s": 8.0},
        {"server": 7, "lag_s": 8.0},
        {"server": "no url", "lag_s": 8.0},
        '{"server": "https://isales.example.com:28080", "lag_s": NaN}',
    ],
)
def test_a_summary_that_says_nothing_of_a_lag_changes_nothing(
    tmp_path: Path, document: object
) -> None:
    """Of an earlier version, half written, or not ours: the others count all the same."""
    ran(tmp_path, "2", document)
    assert earlier_lag_s(tmp_path, SERVER) == 0.0

    ran(tmp_path, "1", {"server": SERVER, "lag_s": 2.0})
    assert earlier_lag_s(tmp_path, SERVER) == 2.0


def test_without_earlier_runs_no_lag_is_known(tmp_path: Path) -> None:
    """A fresh state directory, and a run directory without a report."""
    assert earlier_lag_s(tmp_path, SERVER) == 0.0
    (tmp_path / "runs" / "1").mkdir(parents=True)
    (tmp_path / "runs" / "file").touch()
    assert earlier_lag_s(tmp_path, SERVER) == 0.0


def test_a_report_is_stored_when_rows_and_summary_are_there(tmp_path: Path) -> None:
    """What people are pointed to exists; a directory of that name is no report."""
    found = [is_stored(tmp_path)]
    write("results.csv", tmp_path)
    found.append(is_stored(tmp_path))
    write("summary.json", tmp_path)
    found.append(is_stored(tmp_path))
    (tmp_path / "results.csv").unlink()
    (tmp_path / "results.csv").mkdir()
    found.append(is_stored(tmp_path))

    assert found == [False, False, True, False]
