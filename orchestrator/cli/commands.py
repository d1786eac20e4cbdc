"""The commands that only look, or serve: `check`, `status`, `console`, `config show`, `completion`.

What a command needs is imported when it is called.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from orchestrator.cli import output, runner
from orchestrator.clock import SystemClock
from orchestrator.errors import UsageError
from orchestrator.loading import load_aiohttp
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from orchestrator.engine.check import Step

#: the step of `check --notify`
_NOTIFY = "notify"


def check(given: Namespace) -> int:
    """`check`: everything that an emergency needs, but the PUT."""
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
            lambda: runner.load(given, emergency=True),
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
    settings = runner.load(given)
    vdns = tuple(dict.fromkeys(given.vdn or settings.server.vdns))
    if not vdns:
        raise UsageError(
            f"status: no VDN is named, by --vdn or by the setting server.vdns."
            f" {runner.NOTHING_SENT}",
            advice="`orchestrator status --vdn N`",
        )
    load_aiohttp()
    from orchestrator.engine.status import status as start  # noqa: PLC0415
    from orchestrator.reports.next_steps import (  # noqa: PLC0415
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


def console(given: Namespace) -> int:
    """`console`: until it is ended."""
    settings = runner.load(given, asks=False)
    load_aiohttp()
    from orchestrator.console.app import serve  # noqa: PLC0415
    from orchestrator.console.site import Site  # noqa: PLC0415

    output.mask_logging()
    site = Site(settings=settings, connection=_connection(given), clock=SystemClock())
    asyncio.run(serve(site, output.say))
    return 0


def _connection(given: Namespace) -> tuple[str, ...]:
    """The flags of this call that say which server and whose key, for every command started."""
    from orchestrator.cli.flags import SHARED  # noqa: PLC0415

    values_of = vars(given)
    named = ((flag.name, values_of.get(flag.dest)) for flag in SHARED if "." in flag.dest)
    flags = [("--config", given.config), *named]
    return tuple(f"{name}={value}" for name, value in flags if value is not None)


def config_show(given: Namespace) -> int:
    """`config show`: the secret is masked."""
    from orchestrator.settings.load import config_show as rows_of  # noqa: PLC0415

    rows = rows_of(runner.load(given, sends=False))
    if given.json:
        document = {key: {"value": value, "origin": origin} for key, value, origin in rows}
        output.give(json.dumps(document))
        return 0
    for row in output.columns([("KEY", "VALUE", "ORIGIN"), *rows]):
        output.give(for_terminal(row, limit=1000))
    return 0


def completion(given: Namespace) -> int:
    """`completion SHELL`."""
    import shtab  # noqa: PLC0415

    from orchestrator.cli.parser import whole_parser  # noqa: PLC0415

    output.give(shtab.complete(whole_parser(), given.shell).rstrip("\n"))
    return 0
