"""The commands that send: what was given becomes options and settings, then one call.

aiohttp, and what needs it, is imported when the settings turn out to be usable.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.cli import cluster, output, runner, values
from orchestrator.cli.prompt import Question, refuse_without_terminal
from orchestrator.engine.options import (
    EMERGENCY_DEADLINE_S,
    ContinueOptions,
    PauseAllOptions,
    PauseOptions,
    RestoreOptions,
)
from orchestrator.errors import UsageError
from orchestrator.loading import load_aiohttp
from orchestrator.settings.load import STILL_DIALLING

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from orchestrator.store.run_dir import RunDirectory


def pause(given: Namespace) -> int:
    """`pause LIST`."""
    from orchestrator.manifest.formats import Format  # noqa: PLC0415

    options = PauseOptions(
        vdn=given.vdn,
        format=Format(given.format) if given.format else None,
        run_dir=given.run_dir,
        verify=not given.no_verify,
        dry_run=given.dry_run,
        skip_invalid=given.skip_invalid,
        max_campaigns=given.max_campaigns,
        max_failures=given.max_failures,
        deadline_s=given.deadline,
        accept=frozenset(given.accept or ()),
        reason=given.reason or "",
        cluster=given.cluster,
    )
    is_real = not given.dry_run
    settings = runner.load(
        given,
        sends=is_real,
        consequence=STILL_DIALLING if is_real else runner.NOTHING_SENT,
        reads=given.list,
    )
    follow = cluster.follower(settings, needed=given.cluster)
    load_aiohttp()
    from orchestrator.engine.pausing import pause as start  # noqa: PLC0415

    return runner.Stage(given).perform(
        lambda environment: start(
            given.list, settings, options, replace(environment, follow=follow)
        )
    )


def pause_all(given: Namespace) -> int:
    """`pause-all --vdn N`: the emergency."""
    if not given.vdn:
        raise UsageError(
            "pause-all: --vdn is missing, and it never means all of them. Nothing was sent;"
            " campaigns are still dialling.",
            advice="add --vdn and the number of the VDN, once for each",
        )
    options = PauseAllOptions(
        vdns=tuple(dict.fromkeys(given.vdn)),
        run_dir=given.run_dir,
        dry_run=given.dry_run,
        hold_s=given.hold or 0.0,
        deadline_s=EMERGENCY_DEADLINE_S if given.deadline is None else given.deadline,
        reason=given.reason or "",
        cluster=given.cluster and not given.dry_run,
    )
    confirmed = given.yes or given.dry_run
    settings = runner.load(given, emergency=True, consequence=STILL_DIALLING)
    refuse_without_terminal("pause-all", confirmed=confirmed)
    load_aiohttp()
    from orchestrator.engine.pausing_all import pause_all as start  # noqa: PLC0415

    follow = None
    if options.cluster:
        cluster.reach(settings, options.vdns)
        follow = cluster.follower(settings)
        if not given.quiet:
            alone = " ".join(f"--vdn {one}" for one in options.vdns)
            output.say(
                output.with_commands(
                    "in the cluster: nothing is sent while its database is away; if that lasts,"
                    f" Ctrl-C, then `orchestrator pause-all {alone}` goes on without it"
                )
            )
    around = runner.Stage(given)
    otherwise = "campaigns are still dialling"
    ask = Question("pause all of it", around.screen, around.stopping, otherwise=otherwise)
    return around.perform(
        lambda environment: start(
            settings,
            options,
            replace(environment, follow=follow),
            confirm=None if confirmed else ask,
        ),
        hangup_ends=False,
    )


def continue_(given: Namespace) -> int:
    """`continue RUN`."""
    from orchestrator.cli.runs import find  # noqa: PLC0415
    from orchestrator.engine.finding import Last  # noqa: PLC0415
    from orchestrator.engine.saved import read_record  # noqa: PLC0415
    from orchestrator.reports.rows import RunKind  # noqa: PLC0415

    directory = find(given, runner.load(given, sends=False, warns=False), Last.UNFINISHED)
    emergency = read_record(directory).kind is RunKind.PAUSE_ALL
    settings = runner.load(given, emergency=emergency, run=directory)
    flags = vars(given)
    options = ContinueOptions(
        # what no flag said stays as the journal has it
        rate_per_s=None if flags["pace.rate_per_s"] is None else settings.pace.rate_per_s,
        concurrency=None if flags["pace.concurrency"] is None else settings.pace.concurrency,
        deadline_s=given.deadline,
        even_if_old=given.even_if_old,
    )
    follow = cluster.follower(settings)
    load_aiohttp()
    from orchestrator.engine.continuing import continue_run  # noqa: PLC0415

    return runner.Stage(given).perform(
        lambda environment: continue_run(
            directory,
            settings,
            options,
            replace(environment, follow=follow, shared_marks=cluster.marks_of(settings)),
        ),
        hangup_ends=not emergency,
    )


def restore(given: Namespace) -> int:
    """`restore RUN`: the exact undo."""
    from orchestrator.cli.runs import find  # noqa: PLC0415
    from orchestrator.engine.finding import Last  # noqa: PLC0415

    confirmed = given.yes or given.dry_run
    so_far = runner.load(given, sends=False, warns=False)
    source = find(given, so_far, Last.UNDOABLE)
    vdns = frozenset(given.vdn or ())

    def chosen(flag: str, text: str | None) -> frozenset[tuple[int, int]] | None:
        return _chosen(flag, text, source, vdns, state_dir=so_far.state_dir)

    options = RestoreOptions(
        run_dir=given.run_dir,
        only=chosen("--only", given.only),
        only_from=given.only or "",
        except_=chosen("--except", given.except_) or frozenset(),
        except_from=given.except_ or "",
        vdns=vdns,
        dry_run=given.dry_run,
        limit=given.limit,
        include_inferred=given.include_inferred,
        even_if_old=given.even_if_old,
        reason=given.reason or "",
    )
    settings = runner.load(
        given,
        sends=not given.dry_run,
        consequence="Nothing was sent; what was paused stays paused.",
        run=source,
    )
    refuse_without_terminal("restore", confirmed=confirmed)
    load_aiohttp()
    from orchestrator.engine.restore import restore as start  # noqa: PLC0415

    around = runner.Stage(given)
    otherwise = "what was paused stays paused"
    ask = Question("start them again", around.screen, around.stopping, otherwise=otherwise)
    return around.perform(
        lambda environment: start(
            source,
            settings,
            options,
            replace(environment, shared_marks=cluster.marks_of(settings)),
            confirm=None if confirmed else ask,
        )
    )


def _chosen(
    flag: str, text: str | None, source: RunDirectory, vdns: frozenset[int], *, state_dir: Path
) -> frozenset[tuple[int, int]] | None:
    """The campaigns of --only or --except; ids alone are those of the run's only VDN."""
    from orchestrator.engine.stops import other_stop_of, read_stop  # noqa: PLC0415

    if text is None:
        return None
    stop = read_stop(source)
    chosen = values.campaigns(flag, text, vdns=tuple(vdns), run_vdns=stop.vdns)
    strange = sorted(chosen - stop.refs) if values.are_typed(text) else ()
    if strange:
        # a digit too many, and the guilty one would start
        named = ", ".join(f"{vdn_id}/{campaign_id}" for vdn_id, campaign_id in strange[:5])
        see = f"see {source.path / 'results.csv'} for the ids"
        if other := other_stop_of(stop, strange, state_dir):
            see = f"run {other} did: only a restore of that run starts it, so leave it out; {see}"
        raise values.refuse(
            flag,
            f"run {source.path.name} did not turn off {named}",
            advice=see,
        )
    return chosen
