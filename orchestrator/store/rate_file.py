"""The ceiling that all runs of a state directory share against one server, in a small file.

Every departure is decided and recorded under the file's lock, in one step, without waiting. What
goes wrong with the file never stops a run: it keeps its own pace, says so once, and tries again.
The law is policy/ceiling.py's.

On disk: a head, SLOTS runs, a ring of RING departures; a process that ends leaves nothing to tidy.
Times are of the machine's monotonic clock, which begins anew with each boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import secrets
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.policy.ceiling import Claim, Turn, next_turn
from orchestrator.policy.pacer import GUARD_S
from orchestrator.policy.slices import Ask
from orchestrator.reports.files import without_waiting
from orchestrator.settings.server_url import server_origin
from orchestrator.store.run_dir import file_mode, make_folders

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.clock import Clock
    from orchestrator.settings.load import Settings
    from orchestrator.store.pace import OwnOrSharedPace

#: below the state directory, a file for each server
FOLDER = "rate"
#: runs that can share a ceiling
SLOTS = 64
#: departures that are remembered: the highest rate that can be set, and more
RING = 1 << 17
#: the lock is tried for so long, seconds; whoever holds it for longer is frozen
LOCK_S = 0.05
_LOCK_AGAIN_S = 0.0005
#: seconds that a run keeps its own pace after the file failed it
_OWN_PACE_S = 1.0
#: a run that has not asked for so long has given its place up, seconds
_GONE_S = 30.0
#: a departure so far ahead of the present was written by another clock, seconds
_AHEAD_S = 1.0

_MAGIC = b"CPOrate1"
#: magic, boot, departures so far, slots used, when the last one was due
_HEAD = struct.Struct("<8s16sQQd")
#: token (0: it has ended), emergency, rate, waits since, asks at, left at
_RUN = struct.Struct("<QQdddd")
_Run = tuple[int, int, float, float, float, float]
_TIME = struct.Struct("<d")
_RING_AT = _HEAD.size + SLOTS * _RUN.size


class RateFile:
    """One run's part in the ceiling that runs against one server share."""

    def __init__(
        self,
        state_dir: Path,
        base_url: str,
        *,
        rate_per_s: float,
        emergency: bool,
        warn: Callable[[str], None],
    ) -> None:
        """Nothing is opened before the first request.

        Args:
            state_dir: whose runs share the ceiling.
            base_url: the server; its path does not count.
            rate_per_s: the run's own ceiling R.
            emergency: it goes before the others.
            warn: called once with a reason when the run keeps its own pace.
        """
        name = hashlib.sha256(server_origin(base_url).encode()).hexdigest()[:16]
        self.path = state_dir / FOLDER / name
        #: of the last decision, for people
        self.turn = Turn(0.0, -math.inf)
        self._claim = Claim(rate_per_s, emergency)
        self._warn = warn
        self._token = secrets.randbits(63) + 1
        self._slot = -1
        self._file = -1
        self._boot = b""
        self._locked_since_s = math.inf
        self._alone_until_s = -math.inf

    def acquire(self, *, now_s: float, own_wait_s: float = 0.0) -> float:
        """Let a request leave now, as far as other runs are concerned, and record that it does.

        Its own pacer may hold it back for `own_wait_s`; the others learn of it.

        Returns:
            0.0: it leaves. Else seconds until it is worth asking again.
        """
        if now_s < self._alone_until_s or (own_wait_s and not self.turn.others):
            return own_wait_s
        try:
            if self._file < 0:
                self._open()
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._locked_since_s = min(self._locked_since_s, now_s)
            if now_s - self._locked_since_s < LOCK_S:
                return _LOCK_AGAIN_S
            self._keep_own_pace("another process holds its lock", now_s)
            return own_wait_s
        except (OSError, ValueError) as error:
            self._keep_own_pace(_why(error), now_s)
            return own_wait_s
        self._locked_since_s = math.inf
        try:
            return self._decide(now_s, own_wait_s)
        except (OSError, struct.error) as error:
            self._keep_own_pace(_why(error), now_s)
            return own_wait_s
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def withdraw(self) -> None:
        """No request waits any more: nobody is to wait for this run."""
        if self._slot >= 0 and self._claim.since_s < math.inf:
            self._claim = self._claim._replace(since_s=math.inf)
            with contextlib.suppress(OSError):
                self._write_claim()

    def close(self) -> None:
        """Give the place up; what has just left still counts."""
        if self._file >= 0:
            self._claim, self._token = self._claim._replace(since_s=math.inf), 0
            with contextlib.suppress(OSError):
                if self._slot >= 0:
                    self._write_claim()
            os.close(self._file)
        self._file = self._slot = -1

    # -- under the lock -----------------------------------------------------------------------

    def _decide(self, now_s: float, own_wait_s: float) -> float:
        departed, slot_s, runs = self._read(now_s)
        if self._slot < 0 or self._slot >= len(runs) or runs[self._slot][0] != self._token:
            self._slot = _free_slot(runs, now_s)
        used = max(len(runs), self._slot + 1)
        others = [
            Claim(rate_per_s, bool(emergency), *times_s)
            for slot, (_, emergency, rate_per_s, *times_s) in enumerate(runs)
            if slot != self._slot
        ]
        mine = self._claim
        if mine.since_s > now_s:
            mine = mine._replace(since_s=now_s)
        self.turn = next_turn(
            mine,
            others,
            now_s=now_s,
            slot_s=slot_s,
            left_s=lambda back: self._left_s(departed - back, departed),
        )
        wait_s = max(own_wait_s, self.turn.wait_s)
        if wait_s > 0:
            self._claim = mine._replace(asks_at_s=now_s + wait_s)
        else:
            self._put(_RING_AT + departed % RING * _TIME.size, _TIME.pack(now_s))
            departed, slot_s = departed + 1, self.turn.slot_s
            self._claim = mine._replace(since_s=math.inf, left_s=now_s)
        head = _HEAD.pack(_MAGIC, self._boot, departed, used, slot_s)
        if self._slot == 0:  # side by side: one write for both
            self._put(0, head + self._packed_claim())
        else:
            self._put(0, head)
            self._write_claim()
        return wait_s

    def _read(self, now_s: float) -> tuple[int, float, list[_Run]]:
        """Departures so far, when the last one was due, and the runs; nothing of an older boot."""
        data = os.pread(self._file, _RING_AT, 0)
        if not data:
            return 0, -math.inf, []
        magic, boot, departed, used, slot_s = _HEAD.unpack_from(data)
        if magic != _MAGIC or used > SLOTS:
            raise OSError("it is not ours, or of another version")
        if boot != self._boot or slot_s > now_s + _AHEAD_S:
            return 0, -math.inf, []
        runs = [_RUN.unpack_from(data, _HEAD.size + slot * _RUN.size) for slot in range(used)]
        return departed, slot_s, runs

    def _left_s(self, number: int, departed: int) -> float:
        """When a departure left, by its number from the beginning."""
        if number < 0 or departed - number > RING:
            return -math.inf
        left_s: float
        (left_s,) = _TIME.unpack(
            os.pread(self._file, _TIME.size, _RING_AT + number % RING * _TIME.size)
        )
        return left_s

    def _packed_claim(self) -> bytes:
        rate_per_s, emergency, *times_s = self._claim
        return _RUN.pack(self._token, emergency, rate_per_s, *times_s)

    def _write_claim(self) -> None:
        self._put(_HEAD.size + self._slot * _RUN.size, self._packed_claim())

    def _put(self, at: int, data: bytes) -> None:
        # A full disk may take a part of it, and a part is no claim.
        if os.pwrite(self._file, data, at) != len(data):
            raise OSError("the disk is full")

    # -- around it ----------------------------------------------------------------------------

    def _open(self) -> None:
        folder = self.path.parent
        make_folders(folder)
        self._file = without_waiting(str(self.path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
        # the umask has had its say; a setgid folder is shared with the colleagues on shift
        seen, mode = os.fstat(self._file), file_mode(folder)
        if stat.S_IMODE(seen.st_mode) != mode and seen.st_uid == os.geteuid():
            os.fchmod(self._file, mode)
        with contextlib.suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8")
            self._boot = bytes.fromhex(boot.replace("-", ""))[:16]
        self._boot = self._boot.ljust(16, b"\0")

    def _keep_own_pace(self, reason: str, now_s: float) -> None:
        """Go on without the others for a while; who reads the events learns why."""
        if self._alone_until_s == -math.inf:
            self._warn(f"{self.path}: {reason}")
        self._alone_until_s = now_s + _OWN_PACE_S
        self._locked_since_s = math.inf
        self.turn = Turn(0.0, -math.inf)


def has_shared_rate(settings: Settings) -> bool:
    """Whether a run of the state directory has ever sent, or there is a cluster."""
    folder = settings.state_dir / FOLDER
    return settings.cluster.database_url is not None or os.path.isdir(folder)  # noqa: PTH112 - False too where we may not look


def share_rate(
    settings: Settings, clock: Clock, *, emergency: bool, warn: Callable[[str], None]
) -> RateFile | OwnOrSharedPace:
    """Take part in the ceiling that all runs of the state directory, or cluster, share."""
    base_url, rate_per_s = settings.server.base_url, settings.pace.rate_per_s
    alone = RateFile(
        settings.state_dir, base_url, rate_per_s=rate_per_s, emergency=emergency, warn=warn
    )
    url = settings.cluster.database_url
    if url is None:
        return alone
    try:
        from orchestrator.store import pace  # noqa: PLC0415 - psycopg
    except ImportError as error:
        warn(f"{error.name} is not installed")
        return alone
    own = Ask(rate_per_s, emergency, wanted=1)
    giver = pace.Giver(url, base_url)
    return pace.OwnOrSharedPace(giver, clock, own, alone, warn=warn)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _free_slot(runs: list[_Run], now_s: float) -> int:
    """A place that nobody has, or whose owner has not been seen for long."""
    for slot, (token, _, rate_per_s, _, asks_at_s, left_s) in enumerate(runs):
        quiet_s = _GONE_S if token else max(1.0, 1.0 / rate_per_s) + GUARD_S
        if max(asks_at_s, left_s) < now_s - quiet_s:
            return slot
    if len(runs) == SLOTS:
        raise OSError(f"more than {SLOTS} runs share this server's rate")
    return len(runs)
