"""Orders on the disk: a file for what was ordered, one for what its command says, one for its end.

`ID.json` is made whole, and by one of several posts only. `ID.out` is locked through the file that
the command inherits as its stdout: as long as anything of the command lives the lock is held,
whatever became of the console. `ID.end` holds the exit code, if the console saw it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.console.disk import make_file, open_plain, own_folder
from orchestrator.errors import OrchestratorError, StorageError
from orchestrator.reports.rows import RunKind
from orchestrator.store import open_saved
from orchestrator.store.kernel import is_locked, take_lock
from orchestrator.store.run_dir import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.store.base import ProcessRecord

#: what an order id looks like: nothing else is looked for on the disk
_ID: Final = re.compile(r"[0-9a-f]{32}")
#: what is in the file of an order
_TYPES: Final = {
    **dict.fromkeys(("order", "kind", "operator", "run_id", "run_dir", "server"), str),
    **dict.fromkeys(("command", "vdns"), list),
    "at_ms": int,
}
#: whoever looks at a lock takes it for an instant
_LOCK_TRIES: Final = 20
#: an order is placed within a second, and eight of them may be waiting
_ALONE_TRIES: Final = 500
_TAIL_BYTES: Final = 4096
#: an order has some hundred bytes, and a reason of 2,000 characters
_ORDER_BYTES_MAX: Final = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Order:
    """One confirmed order, as it is on the disk."""

    order: str
    #: of the run that it starts or goes on with
    kind: RunKind
    #: the command without flags that say which server and whose key; no secret has one
    command: tuple[str, ...]
    operator: str
    vdns: tuple[int, ...]
    at_ms: int
    run_id: str
    run_dir: str
    #: the server that it was given for: another console here may be another server's
    server: str

    @property
    def is_continuing(self) -> bool:
        """Whether it goes on with a run that was there before."""
        return self.command[0] == "continue"

    @property
    def directory(self) -> RunDirectory:
        """The run directory."""
        return RunDirectory(Path(self.run_dir))

    def has_begun(self) -> bool:
        """Whether a process of its run was this order's."""
        if not self.is_continuing:
            return self.directory.has_journal
        # one that is refused holds the directory for a moment, and is no process of the run
        process = self._last_process()
        return process is not None and process.started_at_ms >= self.at_ms

    def is_through(self) -> bool:
        """Whether its run has ended: what its process does then, or leaves behind, is no stop.

        The lock of the run says it too; a look at it could be in the way of who is about to take
        it.
        """
        process = self._last_process()
        return process is not None and (process.ended_at_ms or 0) >= self.at_ms

    def _last_process(self) -> ProcessRecord | None:
        if self.directory.has_journal:
            with suppress(OrchestratorError, IndexError), open_saved(self.directory.journal) as run:
                return run.processes()[-1]
        return None


def new_order_id() -> str:
    """An id for the hidden field `order`, made with the form: all its posts are one order."""
    return secrets.token_hex(16)


def is_order_id(text: str) -> bool:
    """Whether this could be the id of an order."""
    return _ID.fullmatch(text) is not None


class OrderFolder:
    """The files of the orders of one state directory."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            StorageError: it cannot be made.
        """
        self.path = path
        self._make()

    def _make(self) -> None:
        own_folder(self.path.parent)
        own_folder(self.path)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Work here alone, among threads and among consoles.

        Raises:
            StorageError: somebody does not come to an end.
        """
        if not self.path.exists():
            self._make()  # somebody has tidied up: that keeps nobody from a stop
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(
                f"{self.path} cannot be opened: {error.strerror}. Nothing was sent.",
                advice="a shell helps: `orchestrator pause-all --vdn N`",
            ) from error
        try:
            if not take_lock(descriptor, tries=_ALONE_TRIES):
                raise StorageError(
                    f"another console places an order in {self.path} and does not come to its end."
                    " Nothing was sent.",
                    advice="is it suspended? A shell helps: `orchestrator pause-all --vdn N`",
                )
            yield
        finally:
            os.close(descriptor)

    def ids(self) -> list[str]:
        """The ids of all orders."""
        return [one.stem for one in self.path.glob("*.json") if is_order_id(one.stem)]

    def find(self, order_id: str) -> Order | None:
        """An order; None: there is none.

        Raises:
            StorageError: there is one, and it cannot be read.
        """
        if not is_order_id(order_id):
            return None
        try:
            return _order_of(json.loads(self._read(order_id, "json")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            path = self._file(order_id, "json")
            raise StorageError(f"the order {path} cannot be read: {error}") from error

    def write(self, order: Order) -> None:
        """Record an order: whole, and on the disk when this returns.

        Raises:
            OSError: it is not.
        """
        make_file(self._file(order.order, "json"), json.dumps(asdict(order)).encode("ascii"))

    def take_back(self, order_id: str) -> None:
        """Forget an order whose command could not be started."""
        self._file(order_id, "json").unlink(missing_ok=True)

    def locked_output(self, order_id: str) -> int:
        """A descriptor of the file for a command's words, locked until nobody has it open.

        Raises:
            OSError: it cannot be made, or a command has it.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._file(order_id, "out"), flags | os.O_NONBLOCK, 0o600)
        if not take_lock(descriptor, tries=_LOCK_TRIES):
            os.close(descriptor)
            raise BlockingIOError(f"{self._file(order_id, 'out')} is locked")
        self._file(order_id, "end").unlink(missing_ok=True)  # of an earlier process
        return descriptor

    def is_working(self, order_id: str) -> bool:
        """Whether the command of an order lives, whoever started it."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return is_locked(self._file(order_id, "out"), flags)

    def words(self, order_id: str) -> str:
        """The last that the command of an order has said to people."""
        try:
            with open_plain(self._file(order_id, "out")) as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(line for line in text.splitlines() if not line.startswith("{"))

    def note_end(self, order_id: str, code: int) -> None:
        """Remember how a command ended."""
        with suppress(OSError):
            self._file(order_id, "end").write_text(f"{code}\n", "ascii")

    def end(self, order_id: str) -> int | None:
        """How a command ended, below 0 by a signal; None: nobody has seen it."""
        try:
            return int(self._read(order_id, "end"))
        except (OSError, ValueError):
            return None

    def _file(self, order_id: str, kind: str) -> Path:
        return self.path / f"{order_id}.{kind}"

    def _read(self, order_id: str, kind: str) -> bytes:
        with open_plain(self._file(order_id, kind)) as file:
            return file.read(_ORDER_BYTES_MAX)


def _order_of(told: dict[str, Any]) -> Order:
    """An order as it was written.

    Raises:
        ValueError, AttributeError: nobody here has written this.
    """
    if {name: type(value) for name, value in told.items()} != _TYPES:
        raise ValueError("it is no order")
    lists = {name: tuple(told[name]) for name in ("command", "vdns")}
    return Order(**{**told, **lists, "kind": RunKind(told["kind"])})
