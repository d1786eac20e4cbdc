"""`continue`: one more process for an interrupted run of any kind.

Server, pace and verification come from the journal. What an earlier process finished gets no PUT;
what it left in doubt is looked at first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.engine.begin import held_run, refuse_if_old, with_server_of
from orchestrator.engine.bulk import pause_list
from orchestrator.engine.results import make_report
from orchestrator.engine.run import follow_cluster
from orchestrator.engine.run_list import is_finished
from orchestrator.engine.stops import refuse_if_overtaken
from orchestrator.reports.rows import RunKind, iso_time
from orchestrator.reports.summary import Ended

if TYPE_CHECKING:
    from orchestrator.engine.begin import Opened
    from orchestrator.engine.options import ContinueOptions
    from orchestrator.engine.pausing_all import Confirm
    from orchestrator.engine.results import RunResult
    from orchestrator.engine.run import Environment
    from orchestrator.settings.load import Settings
    from orchestrator.store.run_dir import RunDirectory


async def continue_run(
    directory: RunDirectory,
    settings: Settings,
    options: ContinueOptions,
    environment: Environment,
) -> RunResult:
    """Finish an interrupted run; show a finished one's result.

    Raises:
        OrchestratorError: it cannot be continued; nothing was sent.
    """
    async with held_run(environment, directory) as opened:
        if is_finished(opened.journal):
            return make_report(opened.journal, directory.path, repeated=True)
        refuse_if_old(
            environment,
            opened.record,
            opened.written_ms,
            even_if_old=options.even_if_old,
            why=", and campaigns may have been started on purpose since",
        )
        refuse_if_overtaken(opened.record, settings.state_dir)
        return await continue_held(opened, settings, options, environment)


async def continue_held(
    opened: Opened,
    settings: Settings,
    options: ContinueOptions,
    environment: Environment,
    *,
    confirm: Confirm | None = None,
) -> RunResult:
    """Continue an opened run of any kind; `confirm` asks the operator of a pause-all."""
    record = opened.record
    settings = with_server_of(settings, record)
    if record.cluster:
        return await follow_cluster(
            environment, opened.journal, opened.directory, deadline_s=options.deadline_s
        )
    if record.may_change:
        _announce(opened, environment)
    pace = replace(
        settings.pace,
        rate_per_s=options.rate_per_s or record.rate_per_s,
        concurrency=options.concurrency or record.concurrency,
    )
    settings = replace(settings, pace=pace)
    if record.kind is RunKind.PAUSE_ALL:
        from orchestrator.engine.pausing_all import continue_pause_all  # noqa: PLC0415

        return await continue_pause_all(opened, settings, options, environment, confirm=confirm)
    if record.kind is RunKind.RESTORE:
        from orchestrator.engine.restore import continue_restore  # noqa: PLC0415

        return await continue_restore(opened, settings, options, environment)

    return await pause_list(
        environment, opened, settings, deadline_s=options.deadline_s, continued=True
    )


def _announce(opened: Opened, environment: Environment) -> None:
    """Say which run is taken up again, since when it stands still, and why."""
    past = opened.journal.processes()
    how = "which was killed before it had sent anything"
    if past:
        last, why = past[-1], opened.record.why
        how = f"whose process {last.pid} on {last.host}, at work since"
        how += f" {_time(last.started_at_ms)}, was killed"
        if last.ended is Ended.FINISHED:
            how = f"which ended at {_time(last.ended_at_ms)} and could not be checked"
        elif last.ended is not None:
            how = f"which ended early at {_time(last.ended_at_ms)} ({why or last.ended.value})"
    environment.events.warning(
        "run.continued",
        run_id=opened.record.run_id,
        action=opened.record.kind.value,
        started_at=_time(opened.record.started_at_ms),
        how=how,
    )


def _time(at_ms: int | None) -> str:
    return f"{iso_time(at_ms)[:19]}Z"
