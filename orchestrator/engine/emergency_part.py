"""A pause-all in a cluster, for whichever worker has it: the same engine, over another journal.

One worker has all VDNs of it at a time, so there is one mind that knows which PUTs are pending and
were accepted when: what it calls quiet is what a run on one machine calls so. Whoever takes it over
does what `continue` does: it looks at what was left in doubt, and passes anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.engine.options import EMERGENCY_DEADLINE_S
from orchestrator.engine.pausing_all import Course, never_confirmed
from orchestrator.engine.results import read_facts
from orchestrator.engine.run import RunSpec, work_on_record
from orchestrator.reports.rows import RunKind, Tally
from orchestrator.reports.summary import exit_code, run_verdict
from orchestrator.settings.load import STILL_DIALLING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.engine.pausing_all import Confirm
    from orchestrator.engine.run import Environment
    from orchestrator.errors import OrchestratorError
    from orchestrator.reports.summary import Ended
    from orchestrator.settings.load import Settings
    from orchestrator.store import Journal, Store


def still_dialling(error: OrchestratorError, vdns: Iterable[int]) -> OrchestratorError:
    """The same error, of an emergency that has not begun: how it begins without the cluster."""
    sentence = str(error).removesuffix("Nothing was sent.").rstrip(" .")
    alone = " ".join(f"--vdn {one}" for one in vdns)
    return type(error)(
        f"{sentence}. {STILL_DIALLING}",
        advice=f"`orchestrator pause-all {alone}` stops them now, without the cluster",
    )


class EmergencyPart:
    """One process of it."""

    def __init__(
        self,
        settings: Settings,
        environment: Environment,
        journal: Journal,
        *,
        continued: bool,
        confirm: Confirm | None = None,
    ) -> None:
        """Nothing is begun yet.

        Args:
            settings: with the defaults of an emergency, the server and pace of the run.
            environment: the process around it; it says when a request may leave.
            journal: of the run; it stays open.
            continued: another process has had it before.
            confirm: asks the operator; None: confirmed already.

        Raises:
            RefusedError: nobody has confirmed it, and nobody can be asked.
        """
        record = journal.record()
        if confirm is None and not record.may_change:
            raise never_confirmed(record)
        self._environment = environment
        deadline_s = EMERGENCY_DEADLINE_S if record.deadline_s is None else record.deadline_s
        self._spec = RunSpec(
            kind=RunKind.PAUSE_ALL,
            settings=settings,
            journal=journal,
            directory=None,
            deadline_s=deadline_s,
        )
        self.course = Course(settings, environment, record, confirm, continued=continued)

    async def work(self, store: Store) -> Ended:
        """Pause and prove, with verdict and exit code on record; returns why it ended.

        Raises:
            StorageError: they cannot be put on record.
        """
        course = self.course
        ended = await work_on_record(
            self._environment, self._spec, store, course.work, before_report=course.conclude
        )
        facts = await store.read(lambda saved: read_facts(saved, None))
        rows = Tally()  # the exit code of an emergency does not depend on them
        await store.note(verdict=run_verdict(facts, rows).value, exit_code=exit_code(facts, rows))
        return ended
