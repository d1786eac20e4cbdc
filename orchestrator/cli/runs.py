"""The commands about runs that there are: `runs`, `report`, `note`, `stop`; which one `last` is."""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.cli import cluster, output, runner
from orchestrator.cli.table import RUNS_SHOWN
from orchestrator.cli.values import refuse
from orchestrator.clock import SystemClock
from orchestrator.engine import pages
from orchestrator.engine.finding import Last, find_belonging, find_run
from orchestrator.engine.pruning import prune
from orchestrator.engine.run_list import list_runs
from orchestrator.engine.saved import add_note_to, id_of, report_again
from orchestrator.engine.stop_run import Reaction, stop_run
from orchestrator.errors import OrchestratorError
from orchestrator.reports.next_steps import next_step
from orchestrator.reports.rows import iso_time
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from orchestrator.engine.pruning import Pruned
    from orchestrator.engine.run_list import ListedRun, RunLine
    from orchestrator.settings.load import Settings
    from orchestrator.store.run_dir import RunDirectory

#: VDNs that a line names
_NAMED_VDNS = 3
#: characters of a reason that fit into a table; --json has all of them
_REASON_CHARS = 60
_HEAD = ("", "RUN", "COMMAND", "VDN", "STARTED", "OPERATOR", "VERDICT", "EXIT", "CAMPAIGNS",
         "REASON", "")  # fmt: skip


def find(given: Namespace, settings: Settings, meaning: Last) -> RunDirectory:
    """Find the run that a command is given, and say which one `last` is.

    Raises:
        UsageError: there is none, or more than one.
    """
    if meaning is not Last.LIVE and "/" not in given.run:
        cluster.bring(settings, "" if given.run == "last" else given.run)
    flags = vars(given)
    is_one_server = given.config is not None or flags["server.base_url"] is not None
    return find_run(
        settings.state_dir,
        given.run,
        meaning,
        server=settings.server.base_url if is_one_server else "",
        taken=lambda line: None if given.quiet else output.say(f"last: {_named(line)}"),
        passed_over=lambda why: None if given.quiet else output.warn(why),
    )


def _named(line: RunLine) -> str:
    """A run in few words: `run 20261123T104100Z-7f3a (pause-all, VDN 1234, 10:41Z)`."""
    if line.problem:
        return f"run {line.run_id} (its journal cannot be read)"
    vdns = f"VDN {_vdns(line)}" if line.vdns else "no VDN"
    when = "" if line.started_at_ms is None else f", {iso_time(line.started_at_ms)[11:16]}Z"
    return f"run {line.run_id} ({line.kind}, {vdns}{when})"


def runs(given: Namespace) -> int:
    """`runs`, and `runs --prune`."""
    return _prune(given) if given.prune else _show(given)


def _show(given: Namespace) -> int:
    if given.older_than is not None or given.yes:
        flag = "--yes" if given.yes else "--older-than"
        raise refuse(flag, "it belongs to --prune", advice="add --prune")
    settings = runner.load(given, sends=False)
    cluster.bring(settings, "")
    found = list_runs(
        settings.state_dir,
        vdn=given.vdn,
        limit=given.limit or RUNS_SHOWN,
        dry_runs=given.all,
    )
    if given.json:
        output.give(json.dumps([_document(one) for one in found]), paged=True)
    elif found:
        for row in output.columns([_HEAD, *map(_row, found)]):
            output.give(for_terminal(row, limit=1000), paged=True)
    else:
        of_vdn = "" if given.vdn is None else f" of VDN {given.vdn}"
        dry = "" if given.all else " (--all shows dry runs too)"
        output.say(f"no runs{of_vdn} in {settings.state_dir}{dry}")
    return 0


def _row(one: ListedRun) -> Sequence[str]:
    line = one.line
    counts = ", ".join(f"{number:,} {outcome}" for outcome, number in line.counts.items() if number)
    return (
        "*" if line.live else "",
        line.run_id,
        line.kind,
        _vdns(line),
        _started(line),
        line.operator,
        line.verdict,
        "" if line.exit_code is None else str(line.exit_code),
        counts,
        _shortened(line.reason),
        "; ".join(filter(None, (line.holder, line.problem, *_relatives(one)))),
    )


def _relatives(one: ListedRun) -> Sequence[str]:
    repeats = f"repeats {one.line.parent_run}" if one.line.parent_run else ""
    repeated = f"repeated by {', '.join(one.repeated_by)}" if one.repeated_by else ""
    return repeats, repeated


def _shortened(text: str) -> str:
    return text if len(text) <= _REASON_CHARS else text[: _REASON_CHARS - 1] + "…"


def _vdns(line: RunLine) -> str:
    named = ", ".join(map(str, line.vdns[:_NAMED_VDNS]))
    more = len(line.vdns) - _NAMED_VDNS
    return f"{named} and {more} more" if more > 0 else named


def _document(one: ListedRun) -> dict[str, object]:
    line = one.line
    return {
        "run_id": line.run_id,
        "action": line.kind,
        "vdns": line.vdns,
        "reason": line.reason,
        "operator": line.operator,
        "server": line.server,
        "started_at": _started(line) or None,
        "verdict": line.verdict,
        "exit_code": line.exit_code,
        "dry_run": line.dry_run,
        "live": line.live,
        "holder": line.holder,
        "counts": line.counts,
        "parent_run": line.parent_run or None,
        "repeated_by": one.repeated_by,
        "run_dir": line.place,
        "problem": line.problem,
    }


def _started(line: RunLine) -> str:
    return "" if line.started_at_ms is None else iso_time(line.started_at_ms)[:19] + "Z"


def _prune(given: Namespace) -> int:
    if given.older_than is None:
        raise refuse("--prune", "needs --older-than DAYS", advice="such as --older-than 90")
    for flag, is_given in (("--vdn", given.vdn), ("--limit", given.limit), ("--all", given.all)):
        if is_given:
            raise refuse(flag, "it does not belong to --prune", advice=f"leave out {flag}")
    settings = runner.load(given, sends=False)
    done = prune(
        settings.state_dir,
        older_than_days=given.older_than,
        now_ms=SystemClock().wall_ms(),
        host=os.uname().nodename,
        delete=given.yes,
    )
    if given.json:
        output.give(json.dumps(_prune_document(done, deleted=given.yes)))
        return 0
    for run in done.deletable:
        text = for_terminal(str(run.directory.path), limit=1000)
        output.give(f"{'deleted' if given.yes else 'to delete'}  {run.run_id}  {text}")
    output.give(_prune_line(done, given))
    return 0


def _prune_document(done: Pruned, *, deleted: bool) -> dict[str, object]:
    return {
        "deleted": deleted,
        "runs": [
            {"run_id": run.run_id, "run_dir": str(run.directory.path)} for run in done.deletable
        ],
        "kept": [
            {"run_id": run.run_id, "run_dir": str(run.directory.path), "why": why}
            for run, why in done.kept
        ],
    }


def _prune_line(done: Pruned, given: Namespace) -> str:
    number = len(done.deletable)
    runs = "1 run" if number == 1 else f"{number:,} runs"
    days = "1 day" if given.older_than == 1 else f"{given.older_than:,} days"
    age = f"last written to over {days} ago"
    if not number:
        first = f"nothing to delete that was {age}"
    elif given.yes:
        first = f"deleted {runs}, {age}"
    else:
        first = f"would delete {runs}, {age}; --yes deletes"
    reasons = Counter(for_terminal(why, limit=300) for _, why in done.kept)
    stay = "".join(
        f"\n  {times:,} {'stays' if times == 1 else 'stay'}: {why}"
        for why, times in reasons.items()
    )
    return f"{first}.{stay}"


def note(given: Namespace) -> int:
    """`note RUN TEXT`."""
    settings = runner.load(given, sends=False)
    directory = find(given, settings, Last.REAL)
    added = add_note_to(
        directory, given.text, operator=settings.operator.name, at_ms=SystemClock().wall_ms()
    )
    try:
        cluster.share_notes(settings, directory)
    except OrchestratorError as error:
        output.warn(
            "other machines see the note after the next command here that reaches the cluster's"
            f" database: {error}"
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
    for target in filter(None, (given.html, given.xlsx)):
        pages.refuse_evidence(target.absolute())
    if given.with_ and given.html is None:
        raise refuse("--with", "it belongs to --html", advice="add --html FILE")
    settings = runner.load(given, sends=False)
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


def stop(given: Namespace) -> int:
    """`stop RUN`: as Ctrl-C in its own terminal would."""
    settings = runner.load(given, sends=False)
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
    failed_path = shlex.quote(str(directory.path / "failed.csv"))
    following = next_step(result.facts, result.tally, failed_path=failed_path)
    output.give(output.with_commands(f"{result.line} {following}".rstrip()))
    return 0
