"""The commands: what was given becomes options and settings, one call, and the exit code.

What a command needs is imported when it is called, what sends only after its settings are usable.
"""

from __future__ import annotations

import json
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
    from collections.abc import Callable, Sequence

    from orchestrator.engine.check import Step
    from orchestrator.engine.saved import RunLine

_NOTHING_SENT = "Nothing was sent."


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
    )
    is_real = not given.dry_run
    settings = runner.load(
        given,
        need_server=is_real,
        need_credentials=is_real,
        consequence=STILL_DIALLING if is_real else _NOTHING_SENT,
        reads=given.list,
    )
    load_aiohttp()
    from orchestrator.engine.pausing import pause as start  # noqa: PLC0415

    return runner.Stage(given).perform(
        lambda environment: start(given.list, settings, options, environment)
    )


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
    )
    confirmed = given.yes or given.dry_run
    settings = runner.load(given, emergency=True)
    refuse_without_terminal("pause-all", confirmed=confirmed)
    load_aiohttp()
    from orchestrator.engine.pausing_all import pause_all as start  # noqa: PLC0415

    around = runner.Stage(given)
    otherwise = "campaigns are still dialling"
    ask = Question("pause all of it", around.screen, around.stopping, otherwise=otherwise)
    confirm = None if confirmed else ask
    return around.perform(
        lambda environment: start(settings, options, environment, confirm=confirm),
        hangup_ends=False,
    )


def continue_(given: Namespace) -> int:
    """`continue RUN`."""
    from orchestrator.store.run_dir import find_run  # noqa: PLC0415

    settings = runner.load(given, need_server=False, consequence=_NOTHING_SENT)
    directory = find_run(settings.state_dir, given.run)
    flags = vars(given)
    options = ContinueOptions(
        # what no flag said stays as the journal has it
        rate_per_s=None if flags["pace.rate_per_s"] is None else settings.pace.rate_per_s,
        concurrency=None if flags["pace.concurrency"] is None else settings.pace.concurrency,
        deadline_s=given.deadline,
        even_if_old=given.even_if_old,
    )
    load_aiohttp()
    from orchestrator.engine.continuing import continue_run  # noqa: PLC0415

    return runner.Stage(given).perform(
        lambda environment: continue_run(directory, settings, options, environment)
    )


def restore(given: Namespace) -> int:
    """`restore RUN`: the exact undo."""
    from orchestrator.cli.prompt import Question, refuse_without_terminal  # noqa: PLC0415
    from orchestrator.engine.saved import find_undoable  # noqa: PLC0415

    vdns = frozenset(given.vdn or ())
    default_vdn = next(iter(vdns)) if len(vdns) == 1 else None
    options = RestoreOptions(
        run_dir=given.run_dir,
        only=values.campaigns("--only", given.only, default_vdn=default_vdn),
        except_=values.campaigns("--except", given.except_, default_vdn=default_vdn) or frozenset(),
        vdns=vdns,
        dry_run=given.dry_run,
        limit=given.limit,
        include_inferred=given.include_inferred,
        even_if_old=given.even_if_old,
        reason=given.reason or "",
    )
    confirmed = given.yes or given.dry_run
    settings = runner.load(
        given,
        need_server=False,
        need_credentials=not given.dry_run,
        consequence="Nothing was sent; what was paused stays paused.",
    )
    refuse_without_terminal("restore", confirmed=confirmed)
    source = find_undoable(settings.state_dir, given.run)
    load_aiohttp()
    from orchestrator.engine.restore import restore as start  # noqa: PLC0415

    around = runner.Stage(given)
    otherwise = "what was paused stays paused"
    ask = Question("start them again", around.screen, around.stopping, otherwise=otherwise)
    confirm = None if confirmed else ask
    return around.perform(
        lambda environment: start(source, settings, options, environment, confirm=confirm)
    )


def report(given: Namespace) -> int:
    """`report RUN`."""
    from orchestrator.engine.saved import report_again  # noqa: PLC0415
    from orchestrator.store.run_dir import find_run  # noqa: PLC0415

    settings = runner.load_offline(given)
    result = report_again(find_run(settings.state_dir, given.run), fallback=output.raw_stdout())
    runner.show_result(result, given)
    return result.exit_code


def runs(given: Namespace) -> int:
    """`runs`."""
    from orchestrator.engine.saved import list_runs  # noqa: PLC0415

    settings = runner.load_offline(given)
    lines = list_runs(settings.state_dir)
    if given.json:
        output.give(json.dumps([_run_document(line) for line in lines]), paged=True)
    elif lines:
        head = ("", "RUN", "COMMAND", "STARTED", "VERDICT", "CAMPAIGNS", "")
        for row in output.columns([head, *map(_run_row, lines)]):
            output.give(for_terminal(row, limit=1000), paged=True)
    else:
        output.say(f"no runs in {settings.state_dir / 'runs'}")
    return 0


def _run_row(line: RunLine) -> Sequence[str]:
    counts = ", ".join(f"{number:,} {outcome}" for outcome, number in line.counts.items() if number)
    return (
        "*" if line.live else "",
        line.run_id,
        line.kind,
        _started(line),
        line.verdict,
        counts,
        line.holder or line.problem,
    )


def _run_document(line: RunLine) -> dict[str, object]:
    return {
        "run_id": line.run_id,
        "action": line.kind,
        "started_at": _started(line) or None,
        "verdict": line.verdict,
        "live": line.live,
        "holder": line.holder,
        "counts": line.counts,
        "run_dir": str(line.path),
        "problem": line.problem,
    }


def _started(line: RunLine) -> str:
    from orchestrator.reports.rows import iso_time  # noqa: PLC0415

    return "" if line.started_at_ms is None else iso_time(line.started_at_ms)[:19] + "Z"


def check(given: Namespace) -> int:
    """`check`: everything that an emergency needs, but the PUT."""
    import asyncio  # noqa: PLC0415

    from orchestrator.clock import SystemClock  # noqa: PLC0415
    from orchestrator.engine.check import check as start  # noqa: PLC0415
    from orchestrator.engine.check import exit_code_of  # noqa: PLC0415

    def tell(step: Step) -> None:
        if not given.json:
            text = for_terminal(step.text, limit=1000)
            output.give(f"{step.finding:<4}  {step.elapsed_ms:>6,} ms  {step.name:<15}  {text}")

    steps = asyncio.run(
        start(
            lambda: runner.load(given, emergency=True, consequence=_NOTHING_SENT),
            vdn=given.vdn,
            clock=SystemClock(),
            tell=tell,
        )
    )
    code = exit_code_of(steps)
    if given.json:
        document = {"exit_code": code, "steps": [step._asdict() for step in steps]}
        output.give(json.dumps(document))
    elif failed := [step.name for step in steps if step.exit_code]:
        output.give(f"An emergency would NOT work now: {', '.join(failed)}.")
    elif code:
        output.give("No step failed, but not everything was tried: give --vdn N.")
    else:
        output.give("An emergency would work now.")
    return code


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
    "pause": pause,
    "pause-all": pause_all,
    "continue": continue_,
    "restore": restore,
    "report": report,
    "runs": runs,
    "check": check,
    "config show": config_show,
    "simulate": simulate,
    "demo": demo,
    "completion": completion,
}
