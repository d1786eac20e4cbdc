"""Orders: starts the real command, exactly once for each confirmed form.

1. An order is on the disk before its command is started; all posts of one form are one order.
2. Whoever places an order holds the lock of the folder: in one instant one order is placed.
3. The command is a process of its own session. It is never ended here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import web

from orchestrator.console.order_files import Order, OrderFolder
from orchestrator.engine.begin import free_path
from orchestrator.engine.run_list import is_finished
from orchestrator.engine.saved import id_of
from orchestrator.errors import OrchestratorError, StorageError
from orchestrator.reports.rows import RunKind
from orchestrator.reports.summary import Ended
from orchestrator.store import open_saved
from orchestrator.store.marks import MARKS
from orchestrator.store.registry import known_runs
from orchestrator.store.run_dir import HOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.console.site import Site
    from orchestrator.store.run_dir import RunDirectory

#: an emergency that was ordered so long ago is not taken up without a click
_YOUNG_MS: Final = 3600 * 1000
#: exit codes of a command that has done nothing
_REFUSED: Final = frozenset({2, 7})
#: ends that nobody at the console has wished: a kill, and a machine that was shut down
_UNWISHED: Final = frozenset({None, Ended.KILLED, Ended.SIGNAL_TERM, Ended.SIGNAL_HUP})


class Stop(NamedTuple):
    """A stop that goes on."""

    run_id: str
    operator: str
    since_ms: int
    vdns: tuple[int, ...]
    #: where it is shown
    link: str


class StopGoesOnError(Exception):
    """A stop of this VDN goes on already; nothing was started."""

    def __init__(self, vdn_id: int, stop: Stop) -> None:
        super().__init__(vdn_id, stop)
        self.vdn_id = vdn_id
        self.stop = stop


class Orders:
    """The orders of one state directory. Its methods read and write the disk."""

    def __init__(self, site: Site) -> None:
        """Open them.

        Raises:
            StorageError: their folder cannot be made.
        """
        self._site = site
        self.files = OrderFolder(site.state_dir / "console" / "orders")
        #: started by this process
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        #: an emergency whose disk is full is an order of this process alone
        self._unwritten: dict[str, Order] = {}

    # -- placing ----------------------------------------------------------------------------------

    def new(
        self,
        order_id: str,
        kind: RunKind,
        operator: str,
        vdns: tuple[int, ...],
        work: tuple[str, ...] | RunDirectory,
    ) -> Order:
        """An order that begins a run in a directory of its own, or goes on with one.

        Args:
            order_id: of its form.
            kind: of the run.
            operator: who has ordered it.
            vdns: what it is about.
            work: the command that begins a run, without flags that all have; or the run that is
                gone on with.
        """
        if isinstance(work, tuple):
            path = free_path(self._site.clock, self._site.state_dir)
            # in one word: a name may begin with a dash
            flags = ("--yes", "--json", f"--run-dir={path}", f"--operator={operator}")
            command, run_id = (*work, *flags), path.name
        else:
            command, path, run_id = _going_on(work), work.path, id_of(work)
        return Order(
            order=order_id,
            kind=kind,
            command=command,
            operator=operator,
            vdns=vdns,
            at_ms=self._site.clock.wall_ms(),
            run_id=run_id,
            run_dir=str(path),
            server=self._site.fingerprint,
        )

    def place(self, order: Order) -> Order:
        """Start what was ordered; the second time show what was started the first time.

        Raises:
            StopGoesOnError: somebody stops this VDN already.
            StorageError: it could not be recorded, or not be started.
        """
        with self.files.alone():
            known = self.find(order.order)
            if known is not None:
                return known
            self._refuse_second_stop(order)
            try:
                self.files.write(order)
            except OSError as error:
                if order.kind is not RunKind.PAUSE_ALL:
                    raise StorageError(
                        f"the order cannot be recorded: {error.strerror}. Nothing was sent.",
                        advice="make room on the disk of the state directory",
                    ) from error
                self._unwritten[order.order] = order  # campaigns are dialling
            try:
                self._start(order, order.command)
            except OSError as error:
                self._unwritten.pop(order.order, None)
                self.files.take_back(order.order)
                raise StorageError(
                    f"the command cannot be started: {error.strerror}. Nothing was sent.",
                    advice="order it again, or use a shell: `orchestrator pause-all --vdn N`",
                ) from error
        return order

    def _refuse_second_stop(self, order: Order) -> None:
        if order.kind is RunKind.PAUSE:
            return
        for stop in self.live_stops():
            both = sorted({*stop.vdns} & {*order.vdns})
            if both and stop.run_id != order.run_id:
                raise StopGoesOnError(both[0], stop)

    def live_stops(self) -> Iterator[Stop]:
        """Stops that go on, started anywhere; a question that nobody has answered is none."""
        told, server = set(), self._site.fingerprint
        for order in self.working():
            is_stop = order.kind is RunKind.PAUSE_ALL and order.server == server
            if is_stop and not order.is_through():
                told.add(order.run_id)
                link = f"/orders/{order.order}"
                yield Stop(order.run_id, order.operator, order.at_ms, order.vdns, link)
        for run in known_runs(self._site.state_dir):
            is_held = run.run_id not in told and os.path.lexists(f"{run.place}/{HOLDER}")
            if not is_held or not run.directory.is_live:
                continue
            with suppress(OrchestratorError), open_saved(run.directory.journal) as saved:
                record = saved.record()
                is_stop = record.kind is RunKind.PAUSE_ALL and not record.dry_run
                if is_stop and record.may_change and record.fingerprint == server:
                    since_ms, link = record.started_at_ms, f"/runs/{record.run_id}"
                    yield Stop(record.run_id, record.operator, since_ms, record.vdns, link)

    # -- what has become of them ------------------------------------------------------------------

    def find(self, order_id: str) -> Order | None:
        """An order that was placed; None: there is none.

        Raises:
            StorageError: there is one, and it cannot be read.
        """
        return self._unwritten.get(order_id) or self.files.find(order_id)

    def working(self) -> Iterator[Order]:
        """Orders whose command lives."""
        at_work = filter(self.is_working, [*self.files.ids(), *self._unwritten])
        return self._readable(at_work)

    def _readable(self, order_ids: Iterable[str]) -> Iterator[Order]:
        """These orders, without those that cannot be read: they keep nobody from a stop."""
        for order_id in order_ids:
            with suppress(StorageError):
                order = self.find(order_id)
                if order is not None:
                    yield order

    def is_working(self, order_id: str) -> bool:
        """Whether the command of an order lives, whoever started it."""
        child = self._children.get(order_id)
        is_ours = child is not None and child.returncode is None
        return is_ours or self.files.is_working(order_id)

    def end(self, order_id: str) -> int | None:
        """How its command ended, below 0 by a signal; None: it works, or nobody has seen it."""
        child = self._children.get(order_id)
        return self.files.end(order_id) if child is None else child.returncode

    def place_of(self, order: Order) -> str:
        """Where an order is shown: on its run's page, unless it was refused or is no run yet."""
        is_there = order.has_begun()
        if order.is_continuing and not is_there and not self.is_working(order.order):
            # it was through already, and that is shown again
            is_there = self.end(order.order) not in _REFUSED
        return f"/runs/{order.run_id}" if is_there else f"/orders/{order.order}"

    # -- after a restart --------------------------------------------------------------------------

    def take_up(self) -> list[Order]:
        """Go on with emergencies that were cut off less than an hour ago; returns them.

        What somebody ordered in these VDNs afterwards counts more: it may have started them again.
        """
        taken = []
        newest: dict[int, Order] = {}
        with self.files.alone():
            ours = [
                one
                for one in self._readable(self.files.ids())
                if one.server == self._site.fingerprint
            ]
            for order in sorted(ours, key=lambda one: one.at_ms):
                if order.kind is not RunKind.PAUSE:
                    newest |= dict.fromkeys(order.vdns, order)
            for order in ours:
                age_ms = self._site.clock.wall_ms() - order.at_ms
                if order.kind is not RunKind.PAUSE_ALL or age_ms >= _YOUNG_MS:
                    continue
                if any(newest[vdn] is not order for vdn in order.vdns):
                    continue
                with suppress(OSError, OrchestratorError, StopGoesOnError):
                    command = self._rest(order)
                    if command:
                        self._refuse_second_stop(order)
                        self._start(order, command)
                        taken.append(order)
        return taken

    def _rest(self, order: Order) -> tuple[str, ...]:
        """The command that does what is left of an order; empty: nothing is, or it is at work."""
        if self.is_working(order.order) or order.directory.is_live:
            return ()
        if not order.directory.has_journal:
            end = self.end(order.order)
            # with an exit code of its own it was refused, or had its end elsewhere
            return order.command if end is None or end < 0 else ()
        if os.path.lexists(f"{order.run_dir}/{MARKS}"):
            return ()  # a shell has started some of it again
        with open_saved(order.directory.journal) as saved:
            past = saved.processes()
            if past and past[-1].ended not in _UNWISHED:
                return ()
            if is_finished(saved) or not saved.record().may_change:
                return ()
        return _going_on(order.directory)

    # -- the process ------------------------------------------------------------------------------

    def _start(self, order: Order, command: tuple[str, ...]) -> None:
        """Start a command in a session of its own.

        Raises:
            OSError: it cannot be started.
        """
        out = self._output(order)
        try:
            package = Path(__file__).parents[2]
            environ = dict(os.environ)
            if package.name not in {"site-packages", "dist-packages"}:
                paths = (str(package), environ.get("PYTHONPATH", ""))
                environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
            # -P: the code of this console, not what happens to lie in the working directory
            child = subprocess.Popen(  # noqa: S603 - our own program
                [
                    *(sys.executable, "-P", "-m", "orchestrator", *command),
                    *self._site.connection,
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environ,
                start_new_session=True,
            )
        finally:
            os.close(out)
        self._children[order.order] = child
        threading.Thread(target=self._reap, args=(order.order, child), daemon=True).start()

    def _output(self, order: Order) -> int:
        """The file that takes the command's words."""
        try:
            return self.files.locked_output(order.order)
        except OSError:
            if order.order not in self._unwritten:
                raise
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def _reap(self, order_id: str, child: subprocess.Popen[bytes]) -> None:
        self.files.note_end(order_id, child.wait())


def _going_on(run: RunDirectory) -> tuple[str, ...]:
    return ("continue", str(run.path), "--json")


ORDERS: Final = web.AppKey("orders", Orders)
