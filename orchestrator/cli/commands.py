"""The commands: what was given becomes options and settings, one call, and the exit code.

What a command needs is imported when it is called, what sends only after its settings are usable.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.cli import output, runner, values
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
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.engine.check import Step
    from orchestrator.engine.run import Follow
    from orchestrator.settings.load import Settings
    from orchestrator.store.run_dir import RunDirectory

_NOTHING_SENT = "Nothing was sent."
#: the step of `check --notify`
_NOTIFY = "notify"


def init(given: Namespace) -> int:
    """`init`: from nothing to ready."""
    from orchestrator.cli.init import init as start  # noqa: PLC0415

    return start(given)


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
    if given.cluster:
        _refuse_beside_cluster(given)
    is_real = not given.dry_run
    settings = runner.load(
        given,
        need_server=is_real,
        need_credentials=is_real,
        consequence=STILL_DIALLING if is_real else _NOTHING_SENT,
        reads=given.list,
    )
    follow = _follower(settings, needed=given.cluster)
    load_aiohttp()
    from orchestrator.engine.pausing import pause as start  # noqa: PLC0415

    return runner.Stage(given).perform(
        lambda environment: start(
            given.list, settings, options, replace(environment, follow=follow)
        )
    )


def _refuse_beside_cluster(given: Namespace) -> None:
    """What counts over a whole run is nothing that a worker with a part of it could keep."""
    for flag, value in (("--max-failures", given.max_failures), ("--deadline", given.deadline)):
        if value is not None:
            raise values.refuse(
                flag, "the workers of a cluster do not keep it yet", advice=f"leave out {flag}"
            )


def _follower(settings: Settings, *, needed: bool = False) -> Follow | None:
    """Who follows a run of the cluster; None: there is no cluster, and none is needed."""
    if not needed and settings.cluster.database_url is None:
        return None
    from orchestrator.cli import cluster  # noqa: PLC0415 - for the cluster only

    if needed:
        cluster.database(settings)
    return cluster.follower(settings)


def pause_all(given: Namespace) -> int:
    """`pause-all --vdn N`: the emergency."""
    from orchestrator.cli.prompt import Question, refuse_without_terminal  # noqa: PLC0415

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
    settings = runner.load(given, emergency=True)
    refuse_without_terminal("pause-all", confirmed=confirmed)
    load_aiohttp()
    from orchestrator.engine.pausing_all import pause_all as start  # noqa: PLC0415

    follow = _leader(settings, options, quiet=given.quiet) if options.cluster else None
    around = runner.Stage(given)
    otherwise = "campaigns are still dialling"
    ask = Question("pause all of it", around.screen, around.stopping, otherwise=otherwise)
    confirm = None if confirmed else ask
    return around.perform(
        lambda environment: start(
            settings, options, replace(environment, follow=follow), confirm=confirm
        ),
        hangup_ends=False,
    )


def _leader(settings: Settings, options: PauseAllOptions, *, quiet: bool) -> Follow:
    """Who works on an emergency of the cluster; its database answers now, or it is not begun."""
    from orchestrator.cli import cluster  # noqa: PLC0415 - for the cluster only

    cluster.reach(settings, options.vdns)
    if not quiet:
        alone = " ".join(f"--vdn {one}" for one in options.vdns)
        output.say(
            output.with_commands(
                "in the cluster: nothing is sent while its database is away; if that lasts,"
                f" Ctrl-C, then `orchestrator pause-all {alone}` goes on without it"
            )
        )
    return cluster.follower(settings)


def continue_(given: Namespace) -> int:
    """`continue RUN`."""
    from orchestrator.cli.run_table import find  # noqa: PLC0415
    from orchestrator.engine.finding import Last  # noqa: PLC0415
    from orchestrator.engine.saved import is_emergency  # noqa: PLC0415

    directory = find(given, runner.settings_so_far(given), Last.UNFINISHED)
    emergency = is_emergency(directory)
    settings = runner.load(given, emergency=emergency, run=directory, consequence=_NOTHING_SENT)
    flags = vars(given)
    options = ContinueOptions(
        # what no flag said stays as the journal has it
        rate_per_s=None if flags["pace.rate_per_s"] is None else settings.pace.rate_per_s,
        concurrency=None if flags["pace.concurrency"] is None else settings.pace.concurrency,
        deadline_s=given.deadline,
        even_if_old=given.even_if_old,
    )
    follow = _follower(settings)
    load_aiohttp()
    from orchestrator.cli import cluster  # noqa: PLC0415
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
    from orchestrator.cli.prompt import Question, refuse_without_terminal  # noqa: PLC0415
    from orchestrator.cli.run_table import find  # noqa: PLC0415
    from orchestrator.engine.finding import Last  # noqa: PLC0415

    confirmed = given.yes or given.dry_run
    so_far = runner.settings_so_far(given)
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
        need_server=not given.dry_run,
        need_credentials=not given.dry_run,
        consequence="Nothing was sent; what was paused stays paused.",
        run=source,
    )
    refuse_without_terminal("restore", confirmed=confirmed)
    load_aiohttp()
    from orchestrator.cli import cluster  # noqa: PLC0415
    from orchestrator.engine.restore import restore as start  # noqa: PLC0415

    around = runner.Stage(given)
    otherwise = "what was paused stays paused"
    ask = Question("start them again", around.screen, around.stopping, otherwise=otherwise)
    confirm = None if confirmed else ask
    return around.perform(
        lambda environment: start(
            source,
            settings,
            options,
            replace(environment, shared_marks=cluster.marks_of(settings)),
            confirm=confirm,
        )
    )


def _chosen(
    flag: str, text: str | None, source: RunDirectory, vdns: frozenset[int], *, state_dir: Path
) -> frozenset[tuple[int, int]] | None:
    """The campaigns of --only or --except; ids alone are those of the run's only VDN."""
    from orchestrator.engine.stopped_since import other_stop_of  # noqa: PLC0415
    from orchestrator.engine.undone import turned_off, vdns_of  # noqa: PLC0415

    if text is None:
        return None
    chosen = values.campaigns(flag, text, vdns=tuple(vdns), run_vdns=vdns_of(source))
    strange = sorted(chosen - turned_off(source)) if values.are_typed(text) else ()
    if strange:
        # a digit too many, and the guilty one would start
        named = ", ".join(f"{vdn_id}/{campaign_id}" for vdn_id, campaign_id in strange[:5])
        see = f"see {source.path / 'results.csv'} for the ids"
        if other := other_stop_of(source, strange, state_dir):
            see = f"run {other} did: only a restore of that run starts it, so leave it out; {see}"
        raise values.refuse(
            flag,
            f"run {source.path.name} did not turn off {named}",
            advice=see,
        )
    return chosen


def note(given: Namespace) -> int:
    """`note RUN TEXT`."""
    from orchestrator.cli.run_table import find  # noqa: PLC0415
    from orchestrator.clock import SystemClock  # noqa: PLC0415
    from orchestrator.engine.finding import Last  # noqa: PLC0415
    from orchestrator.engine.saved import add_note_to, id_of  # noqa: PLC0415

    settings = runner.load_offline(given)
    directory = find(given, settings, Last.REAL)
    added = add_note_to(
        directory, given.text, operator=settings.operator.name, at_ms=SystemClock().wall_ms()
    )
    if not directory.is_live:
        runner.make_page(directory.path)
    run_id = id_of(directory)
    if given.json:
        document = {"run_id": run_id, "run_dir": str(directory.path), **added._asdict()}
        output.give(json.dumps(document))
    else:
        output.give(f"run {run_id}: noted at {added.at} by {for_terminal(added.operator)}")
    return 0


def report(given: Namespace) -> int:
    """`report RUN`."""
    from orchestrator.cli.run_table import find  # noqa: PLC0415
    from orchestrator.clock import SystemClock  # noqa: PLC0415
    from orchestrator.engine import pages  # noqa: PLC0415
    from orchestrator.engine.finding import Last, find_belonging  # noqa: PLC0415
    from orchestrator.engine.saved import report_again  # noqa: PLC0415

    for target in filter(None, (given.html, given.xlsx)):
        pages.refuse_evidence(target.absolute())
    if given.with_ and given.html is None:
        raise values.refuse("--with", "it belongs to --html", advice="add --html FILE")
    settings = runner.load_offline(given)
    run = find(given, settings, Last.REAL)
    others = find_belonging(settings.state_dir, run, given.with_ or ())
    result = report_again(run, fallback=output.raw_stdout())
    clock = SystemClock()
    pages.write_page([run], run.path / pages.PAGE, clock)
    if given.html is not None:
        pages.write_page([run, *others], given.html, clock)
        output.say(f"page: {given.html}")
    if given.xlsx is not None:
        pages.write_workbook_of(run, given.xlsx)
        output.say(f"workbook: {given.xlsx}")
    runner.show_result(result, given)
    return result.exit_code


def runs(given: Namespace) -> int:
    """`runs`, and `runs --prune`."""
    from orchestrator.cli import run_table  # noqa: PLC0415

    return run_table.prune(given) if given.prune else run_table.show(given)


def check(given: Namespace) -> int:
    """`check`: everything that an emergency needs, but the PUT."""
    import asyncio  # noqa: PLC0415

    from orchestrator.clock import SystemClock  # noqa: PLC0415
    from orchestrator.engine.check import check as start  # noqa: PLC0415
    from orchestrator.engine.check import exit_code_of  # noqa: PLC0415

    def tell(step: Step) -> None:
        if not given.json:
            # refused settings: our own words, and what they advise is pasted
            words = output.with_commands(step.text) if step.exit_code == 2 else step.text
            text = for_terminal(words, limit=1000)
            output.give(f"{step.finding:<4}  {step.elapsed_ms:>6,} ms  {step.name:<15}  {text}")

    steps = asyncio.run(
        start(
            lambda: runner.load(given, emergency=True, consequence=_NOTHING_SENT),
            vdn=given.vdn,
            clock=SystemClock(),
            tell=tell,
        )
    )
    code = works = exit_code_of(steps)
    if vars(given).get("notify"):
        notices = _try_notices(given, tell)
        steps += notices
        code = code or max(step.exit_code for step in notices)
    if given.json:
        document = {"exit_code": code, "steps": [step._asdict() for step in steps]}
        output.give(json.dumps(document))
    elif failed := [step.name for step in steps if step.exit_code and step.name != _NOTIFY]:
        output.give(f"An emergency would NOT work now: {', '.join(failed)}.")
    elif works:
        output.give(
            "No step failed, but not everything was tried: give --vdn N, or set server.vdns."
        )
    else:
        told = " `check --notify` did not reach everybody." if code else ""
        output.give(f"An emergency would work now.{told}")
    return code


def _try_notices(given: Namespace, tell: Callable[[Step], None]) -> list[Step]:
    """`check --notify`: a test message to everybody who is told of runs."""
    from orchestrator.cli.endings import try_notices  # noqa: PLC0415
    from orchestrator.engine.check import Finding, Step  # noqa: PLC0415

    nobody = "nobody is told: notify.webhook_url and notify.urls are not set"
    steps = [
        Step(_NOTIFY, Finding.FAIL, f"{one.name}: {one.problem}", exit_code=1)
        if one.problem
        else Step(_NOTIFY, Finding.OK, f"{one.name}: taken")
        for one in try_notices(given)
    ] or [Step(_NOTIFY, Finding.FAIL, nobody, exit_code=1)]
    for step in steps:
        tell(step)
    return steps


def status(given: Namespace) -> int:
    """`status --vdn N`: what runs there, and whether it is quiet."""
    settings = runner.load(given, consequence=_NOTHING_SENT)
    vdns = tuple(dict.fromkeys(given.vdn or settings.server.vdns))
    if not vdns:
        raise UsageError(
            f"status: no VDN is named, by --vdn or by the setting server.vdns. {_NOTHING_SENT}",
            advice="`orchestrator status --vdn N`",
        )
    load_aiohttp()
    from orchestrator.engine.status import status as start  # noqa: PLC0415
    from orchestrator.reports.sentences import (  # noqa: PLC0415
        certificate_advice,
        correct_the_url,
    )
    from orchestrator.reports.status import status_document, status_line  # noqa: PLC0415

    around = runner.Stage(given)
    result = around.run(lambda environment: start(settings, vdns, environment, proves=given.prove))
    if given.json:
        document = {
            "exit_code": result.exit_code,
            "server": result.server,
            "server_name": result.server_name,
            "vdns": [status_document(one) for one in result.vdns],
        }
        output.give(json.dumps(document))
    else:
        for one in result.vdns:
            output.give(status_line(one))
    if result.exit_code in {3, 4, 6} and not given.quiet:
        url, url_from = settings.server.base_url, settings.origins["server.base_url"]
        if first := certificate_advice(result.ended):
            output.hint(f"{first}; if the URL is wrong, {correct_the_url(url, url_from)}")
        elif not around.progress.requests:
            looked = f"`orchestrator check --vdn {vdns[0]}` shows which step fails"
            right = "nobody answers there" if url_from == "--base-url" else looked
            output.hint(f"{correct_the_url(url, url_from)}; if it is right, {right}")
        elif result.exit_code != 6:
            output.hint(f"`orchestrator check --vdn {vdns[0]}` shows which step fails")
    return result.exit_code


def stop(given: Namespace) -> int:
    """`stop RUN`: as Ctrl-C in its own terminal would."""
    from orchestrator.cli import cluster  # noqa: PLC0415
    from orchestrator.cli.run_table import find  # noqa: PLC0415
    from orchestrator.engine.finding import Last  # noqa: PLC0415
    from orchestrator.engine.stop_run import Reaction, stop_run  # noqa: PLC0415
    from orchestrator.reports.sentences import next_step  # noqa: PLC0415

    settings = runner.load_offline(given)
    directory = find(given, settings, Last.LIVE)
    if run_id := cluster.stop(settings, directory):
        ending = (
            "ends within seconds: its workers settle what is in flight, and begin nothing more."
        )
        output.give(
            output.with_commands(
                f"run {run_id} {ending} `orchestrator continue {run_id}` goes on with it"
            )
        )
        return 0
    halt = stop_run(directory)
    if halt.was_ending:
        why = for_terminal(halt.was_ending, limit=200)
        output.say(f"run {halt.run_id} was ending already ({why}), so no signal was sent")
    if halt.reaction is Reaction.FROZEN:
        output.give(
            f"run {halt.run_id} does not react: its process {halt.pid} is suspended."
            f" `kill -CONT {halt.pid}` wakes it; then it ends."
        )
        return 1
    if halt.reaction is Reaction.STILL_ENDING:
        ending = f"run {halt.run_id} is still ending. `orchestrator runs` shows when it is over."
        output.give(output.with_commands(ending))
        return 1
    result = halt.result
    if result is None:
        output.give(f"run {halt.run_id} has ended, and its journal cannot be read.")
        return 0
    output.say(f"run {halt.run_id} has ended")
    failed_path = str(directory.path / "failed.csv")
    following = next_step(result.facts, result.tally, failed_path=failed_path)
    output.give(output.with_commands(f"{result.line} {following}".rstrip()))
    return 0


def console(given: Namespace) -> int:
    """`console`: until it is ended."""
    import asyncio  # noqa: PLC0415

    settings = runner.load(given, consequence=_NOTHING_SENT, asks=False)
    load_aiohttp()
    from orchestrator.clock import SystemClock  # noqa: PLC0415
    from orchestrator.console.app import serve  # noqa: PLC0415
    from orchestrator.console.site import Site  # noqa: PLC0415

    output.mask_logging()
    site = Site(settings=settings, connection=_connection(given), clock=SystemClock())
    asyncio.run(serve(site, output.say))
    return 0


def _connection(given: Namespace) -> tuple[str, ...]:
    """The flags of this call that say which server and whose key, for every command started."""
    from orchestrator.cli.table import SHARED  # noqa: PLC0415

    values_of = vars(given)
    named = ((flag.name, values_of.get(flag.dest)) for flag in SHARED if "." in flag.dest)
    flags = [("--config", given.config), *named]
    return tuple(f"{name}={value}" for name, value in flags if value is not None)


def config_show(given: Namespace) -> int:
    """`config show`: the secret is masked."""
    from orchestrator.settings.load import config_show as rows_of  # noqa: PLC0415

    rows = rows_of(runner.load_offline(given))
    if given.json:
        document = {key: {"value": value, "origin": origin} for key, value, origin in rows}
        output.give(json.dumps(document))
        return 0
    for row in output.columns([("KEY", "VALUE", "ORIGIN"), *rows]):
        output.give(for_terminal(row, limit=1000))
    return 0


def cluster_init(given: Namespace) -> int:
    """`cluster init`."""
    from orchestrator.cli.cluster import init as start  # noqa: PLC0415

    return start(given)


def worker(given: Namespace) -> int:
    """`worker`."""
    from orchestrator.cli.cluster import worker as start  # noqa: PLC0415

    return start(given)


def simulate(given: Namespace) -> int:
    """`simulate`."""
    from orchestrator.cli.rehearsal import simulate as start  # noqa: PLC0415

    return start(given)


def demo(given: Namespace) -> int:
    """`demo`."""
    from orchestrator.cli.rehearsal import demo as start  # noqa: PLC0415

    return start(given)


def completion(given: Namespace) -> int:
    """`completion SHELL`."""
    import shtab  # noqa: PLC0415

    from orchestrator.cli.parser import whole_parser  # noqa: PLC0415

    output.give(shtab.complete(whole_parser(), given.shell).rstrip("\n"))
    return 0


#: by the names of table.py
COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "init": init,
    "pause": pause,
    "pause-all": pause_all,
    "continue": continue_,
    "restore": restore,
    "report": report,
    "note": note,
    "runs": runs,
    "console": console,
    "check": check,
    "status": status,
    "stop": stop,
    "config show": config_show,
    "cluster init": cluster_init,
    "worker": worker,
    "simulate": simulate,
    "demo": demo,
    "completion": completion,
}
