"""What to do after a run: the command that comes next, and what has to be done before it."""

from __future__ import annotations

from orchestrator.isales.verdict import Kind
from orchestrator.policy.decide import Outcome
from orchestrator.reports.rows import STOPPED_AGAIN, RunKind, Tally
from orchestrator.reports.summary import (
    EARLY,
    MAY_PASS,
    OUT_OF_REACH,
    SIGNAL_EXIT_CODES,
    Ended,
    RunFacts,
    RunVerdict,
)
from orchestrator.text import for_terminal

#: characters of a reason in one line
_REASON_LIMIT = 200
#: where a URL is typed
_URL_FLAG = "--base-url"

#: a 403 says nothing of a wrong key, which is answered with 401
_ASK_ABOUT_403 = (
    "ask whoever runs the server, or the firewall in front of it, whether this machine and this"
    " access key may do this"
)

#: what has to be done before the same command can do better
_FIRST = {
    Ended.CREDENTIALS: "correct the credentials",
    Ended.DENIED: _ASK_ABOUT_403,
    Ended.UNTRUSTED: (
        "ask whoever runs the server for the certificate of its authority (a PEM file)"
    ),
    Ended.WRONG_NAME: "ask whoever runs the server for a certificate of this name",
    Ended.EXPIRED: (
        "set this machine's clock right if it is wrong, else ask whoever runs the server for a new"
        " certificate"
    ),
    Ended.STORAGE: "make room for the journal and the report",
    Ended.BUG: "report this with the run directory",
}
#: at 3 a.m.
_WITH_NOBODY_TO_ASK = (
    "; with nobody to ask, `orchestrator init` shows the server's certificate and asks whether it"
    " is the right one"
)


def _is_unreached(facts: RunFacts) -> bool:
    """Whether nothing has ever left for the server: its URL may be wrong, or it is down."""
    unproven = [one for one in facts.proofs if one.verdict is not RunVerdict.QUIET]
    is_known = facts.ended is Ended.SERVER or (
        facts.ended in {Ended.DEADLINE, *SIGNAL_EXIT_CODES}
        and bool(unproven)
        and all(one.problem for one in unproven)
    )
    return is_known and not facts.worst_1s and not facts.dry_run


def certificate_advice(ended: Ended) -> str:
    """What to do about a certificate that ended something; empty where another thing did."""
    return _FIRST[ended] if ended in OUT_OF_REACH - {Ended.SERVER} else ""


def correct_the_url(server: str, origin: str) -> str:
    """What to do about a URL at which nothing answers; its origin is such as --base-url."""
    return f"correct the URL {for_terminal(server)} (from {origin}) and give the same command again"


def next_step(  # noqa: PLR0913 - where everything came from that may be wrong
    facts: RunFacts,
    tally: Tally,
    *,
    failed_path: str = "failed.csv",
    is_limited: bool = False,
    keys: str = "",
    url_from: str = "",
) -> str:
    """Say which command comes next, as a sentence; empty when there is nothing to do.

    `is_limited`: a restore that was to start a number of campaigns at most. `keys` says where
    access key and secret key were found, `url_from` where the URL was; empty: in the journal.
    """
    if facts.dry_run and facts.ended not in EARLY:
        return "Next: the same command without --dry-run"
    if _is_unreached(facts):
        return f"Next: {_reach(facts, tally, url_from)}"
    unproven = [proof for proof in facts.proofs if proof.verdict is not RunVerdict.QUIET]
    if facts.kind is RunKind.PAUSE_ALL:
        if not unproven:
            return ""
        if all(proof.no_campaigns for proof in unproven):
            return "Next: check the VDN number"
    first = _first(facts, tally, keys, failed_path)
    is_cut_short = facts.ended is not Ended.FINISHED or tally.counts[Outcome.UNATTEMPTED]
    if first or is_cut_short or facts.kind is RunKind.PAUSE_ALL:
        return _next(first, facts) + _or_the_url(facts, url_from)
    return _again(facts, tally, failed_path, is_limited=is_limited)


def _first(facts: RunFacts, tally: Tally, keys: str, failed_path: str) -> str:
    """What has to be done before the next command; empty for nothing."""
    if facts.storage_failed and facts.kind is not RunKind.PAUSE_ALL:
        return _FIRST[Ended.STORAGE]
    if facts.ended is Ended.CREDENTIALS and keys:
        return f"{keys}: correct the wrong one"
    if facts.ended is Ended.SERVER:
        return f"run `orchestrator check{_vdn_to_check(facts, tally)}` to see what the server says"
    if facts.ended is Ended.MAX_FAILURES:
        return f"look at {failed_path}"
    return _FIRST.get(facts.ended, "")


def _again(facts: RunFacts, tally: Tally, failed_path: str, *, is_limited: bool) -> str:
    """What a finished run of a list, or a restore, has not reached."""
    # What is not there, or refused, is no better the next time.
    again = sum(tally.counts[outcome] for outcome in MAY_PASS - facts.accept)
    failures = tally.reasons.get(Outcome.FAILED)
    if failures and failures[STOPPED_AGAIN]:
        return _ask_first(tally, failures[STOPPED_AGAIN])
    if not again:
        return _next("", facts) if facts.unverified else ""
    command = f"pause {failed_path}"
    if facts.kind is RunKind.RESTORE:
        # others than those that have failed must not take the places that are left
        limit = f" --limit {tally.unstopped(facts.accept)}" if is_limited else ""
        command = f"restore {facts.source_run}{limit}"
        if unknown := tally.counts[Outcome.UNKNOWN]:
            # what may have been started is not started again unless somebody has looked
            first = f"look at the {unknown:,} unknown on the server"
            return f"Next: {first}, then `orchestrator {command} --include-inferred`"
    return f"Try the {again:,} again: orchestrator {command}"


def _ask_first(tally: Tally, number: int) -> str:
    """Somebody has stopped again what a restore started: to repeat it would be to fight."""
    rows = (row for _, row in tally.first[Outcome.FAILED] if row.cause is Kind.ACCEPTED)
    why = next((row.error for row in rows if row.error), "")
    were = "was" if number == 1 else "were"
    by = for_terminal(why, limit=_REASON_LIMIT) if why else "suspended again by somebody"
    return f"Next: ask before anything is started: {number:,} {were} {by}"


def _or_the_url(facts: RunFacts, url_from: str) -> str:
    """A certificate that is not the expected one: perhaps it is another server's."""
    is_certificate = facts.ended in {Ended.UNTRUSTED, Ended.WRONG_NAME}
    if facts.worst_1s or not (is_certificate and url_from):
        return ""
    # `continue` keeps the run's server
    return f"; if the URL is wrong, {correct_the_url(facts.server, url_from)}"


def _reach(facts: RunFacts, tally: Tally, url_from: str) -> str:
    """Nothing has left: a slip in the URL, or a server that is down."""
    correct = correct_the_url(facts.server, url_from)
    if url_from == _URL_FLAG:  # a command would repeat what is probably wrong
        again = f"continue run {facts.run_id} with it when the server can be reached"
        return f"{correct}; if it is right, {again}"
    find_out = f"`orchestrator check{_vdn_to_check(facts, tally)}` shows what fails, then"
    going_on = f"{find_out} `{_going_on(facts)}`"
    return f"{correct}; if it is right, {going_on}" if url_from else going_on


def _next(first: str, facts: RunFacts) -> str:
    if not first:
        return f"Next: {_going_on(facts)}"
    then = "the same command again" if facts.dry_run else f"`{_going_on(facts)}`"
    if facts.ended is Ended.UNTRUSTED:
        if given := _ca_file(facts):  # the command names it already
            then = f"put it into {for_terminal(given)}, and {then}"
        else:
            then += f" with --ca-file and that file{_WITH_NOBODY_TO_ASK}"
    return f"Next: {first}, then {then}"


def _ca_file(facts: RunFacts) -> str:
    server = facts.settings.get("server")
    return str(server.get("ca_file") or "") if isinstance(server, dict) else ""


def _going_on(facts: RunFacts) -> str:
    """The command that does what this run has left undone."""
    is_cut_short = facts.ended is not Ended.FINISHED
    is_kept = facts.confirmed and not facts.storage_failed
    if facts.kind is not RunKind.PAUSE_ALL or (is_cut_short and is_kept):
        # a second pause-all would be a run of its own, and `restore last` would undo half
        return f"orchestrator continue {facts.run_id}"
    again = [proof for proof in facts.proofs if proof.verdict is not RunVerdict.QUIET]
    vdns = [f"--vdn {proof.vdn_id}" for proof in again if not proof.no_campaigns]
    return " ".join(("orchestrator pause-all", *vdns))


def _vdn_to_check(facts: RunFacts, tally: Tally) -> str:
    named = (*(str(proof.vdn_id) for proof in facts.proofs), *tally.by_vdn)
    return next((f" --vdn {one}" for one in named if one.isdigit()), "")
