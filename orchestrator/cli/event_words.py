"""Events as sentences for whoever looks at a terminal; -v, log files and JSON show them raw.

What the last lines or the live line say as well, or what comes again and again, is left to -v.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from orchestrator.log import Level

#: event → what it means, with its fields; empty: it is left to -v. {campaigns} is `number` in words
_SENTENCES: Final = {
    "accept.ignored": "--accept {outcomes} changes nothing here: run {run_id} was begun without it,"
    " and keeps its own exit code",
    "answers.unreadable": "the server's answers cannot be read; the states of the campaigns decide",
    "breaker.opened": "the server gives no useful answer ({reason}); it is tried now and then until"
    " it does",
    "calls.not_counted": "the calls in progress are not counted any more: {reason}",
    "campaigns.started_again": "VDN {vdn_id}: {campaigns} had not changed, or changed back; trying"
    " once more",
    "campaigns.started_meanwhile": "VDN {vdn_id}: {campaigns} started meanwhile, pausing:"
    " {campaign_ids}",
    "check.failed": "VDN {vdn_id}: its listing could not be checked: {reason}",
    "cluster.away": "the cluster's database is away ({reason}); waiting for it",
    "cluster.chunk_failed": "a chunk could not be worked on, and is tried again: {reason}",
    "cluster.emergency_followed": "a worker of the cluster has {run} now; following it",
    "cluster.emergency_taken": "going on with {run}, which nobody works on any more",
    "cluster.queue_lost": "the cluster's queue is away ({reason}); listening to it anew",
    "journal.damaged": "the journal is damaged: {error}",
    "journal.elsewhere": "{error}; so this run is recorded in {path}",
    "journal.failed": "the journal cannot be written: {error}",
    "journal.in_memory": "this run cannot be recorded on the disk, and goes on: {error}",
    "journal.incomplete": "the journal of {run} lacks something: {reason}",
    "journal.perhaps_incomplete": "the journal of this run may lack something: {reason}",
    "last_look.cut_short": "what is in doubt could not be looked at within {limit_s} s",
    "line.skipped": "{path}:{place}: {reason}; skipped",
    "lines.skipped": "{number} more lines were skipped; results.csv has all of them as `invalid`",
    "list.ambiguous": "{how}",
    "listing.denied": "VDN {vdn_id}: the server refuses its listing: {reason}",
    "look.failed": "VDN {vdn_id} could not be looked at first: {reason}; going on without it",
    "pace.slowed_down": "",  # with every such answer; the live line shows the rate
    "rate.not_given": "the cluster gives no rate, so nothing is sent: {reason}",
    "rate.not_shared": "the rate is not shared with other runs: {reason}",
    "report.failed": "the report cannot be written: {error}",
    "run.bug": "a bug in the orchestrator, at {where}: {error}",
    "run.bug_found": "",  # the same again
    "run.continued": "continuing run {run_id} ({action}, begun {started_at}), {how}",
    "run.not_registered": "this run cannot be registered ({reason}): it is found as {path} only",
    "selection.not_turned_off": "{flag}: run {run_id} did not turn off {campaigns} of it: {ids}",
    "server.unexpected": "{reason}; trying for a moment",
    "signature.corrected": "the server refused the signature, and takes it with another"
    " {correction}; the rest of the run is signed like that",
    "state.world_writable": "everybody may write in {path}",
    "vdn.denied": "VDN {vdn_id}: the server refuses us, so nothing more is sent there: {reason}",
}
#: neither a warning nor an error
_PLAIN: Final = frozenset({"run.continued"})


def sentence(level: Level, event: str, fields: Mapping[str, object]) -> str | None:
    """An event as a line for people; empty: not for them; None: it has no sentence."""
    words = _SENTENCES.get(event)
    if not words:
        return words
    number = fields.get("number")
    known = defaultdict(
        str,
        fields,
        campaigns="1 campaign" if number == 1 else f"{number} campaigns",
        ids=fields.get("campaigns"),
        run=f"run {fields['run_id']}" if fields.get("run_id") else "this run",
    )
    kind = "" if event in _PLAIN else "error: " if level >= Level.ERROR else "warning: "
    return f"{kind}{words.format_map(known)}"
