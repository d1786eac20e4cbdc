"""summary.json: what is known of a run, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping

from orchestrator.policy.decide import Outcome
from orchestrator.reports.rows import RunKind, SweepRecord, Tally, iso_time
from orchestrator.reports.summary import (
    CallCount,
    ProcessFacts,
    RunFacts,
    exit_code,
    is_whole_dry_run,
    not_covered,
    rerun_may_help,
    run_verdict,
)

#: the version of summary.json; a new key is compatible, a changed one is not
SCHEMA = 1


def summary_document(facts: RunFacts, tally: Tally) -> dict[str, object]:
    """Make summary.json: plain values, keys in the order of docs/reference.md."""
    document: dict[str, object] = {
        "schema": SCHEMA,
        "run_id": facts.run_id,
        "action": facts.kind.value,
        "verdict": run_verdict(facts, tally).value,
        "exit_code": exit_code(facts, tally),
        "reason": facts.reason,
        "operator": facts.operator,
        "host": facts.host,
        "version": facts.version,
        "server": facts.server,
        "server_name": facts.server_name,
        "settings": _plain(facts.settings),
        "manifest": _manifest(facts),
        "started_at": iso_time(facts.started_at_ms),
        "ended_at": iso_time(facts.ended_at_ms) or None,
        "counts": _counts(tally.counts),
        "by_vdn": _by_vdn(facts, tally),
        "rate": {
            "ceiling_per_s": _plain(facts.rate_ceiling_per_s),
            "worst_1s": facts.worst_1s,
            "mean_per_s": _plain(facts.mean_per_s),
        },
        "lag_s": _plain(facts.lag_s),
        "rerun_may_help": rerun_may_help(facts, tally),
        "notes": [note._asdict() for note in facts.notes],
    }
    if facts.kind is RunKind.RESTORE:
        document["source_run"] = facts.source_run
        document["selection"] = _plain(facts.selection)
    if facts.parent_run:
        document["parent_run"] = facts.parent_run
    if facts.kind is RunKind.PAUSE_ALL:
        document["sweeps"] = [_timed(one) for one in facts.sweeps]
        document["not_covered"] = list(not_covered(facts))
        if facts.calls is not None:
            document["calls"] = [_timed(one) for one in facts.calls.counts]
            document["silent_at"] = iso_time(facts.calls.silent_at_ms) or None
    document["clock_offset_s"] = _plain(facts.clock_offset_s)
    document["processes"] = [_timed(one) for one in facts.processes]
    return document


def _by_vdn(facts: RunFacts, tally: Tally) -> dict[str, dict[str, object]]:
    """Outcomes by VDN; for pause-all with its verdict, also where no campaign was found."""
    verdicts = {str(proof.vdn_id): proof.verdict.value for proof in facts.proofs}
    if facts.kind is not RunKind.PAUSE_ALL or is_whole_dry_run(facts):
        verdicts = {}
    found: dict[str, dict[str, object]] = {}
    for vdn in sorted({*tally.by_vdn, *verdicts}, key=lambda vdn: (len(vdn), vdn)):
        found[vdn] = dict(_counts(tally.by_vdn.get(vdn, {})))
        if vdn in verdicts:
            found[vdn]["verdict"] = verdicts[vdn]
    return found


def _manifest(facts: RunFacts) -> dict[str, object] | None:
    if facts.manifest_path is None:
        return None
    return {
        "path": facts.manifest_path,
        "sha256": facts.manifest_sha256,
        "lines": facts.manifest_lines,
    }


def _counts(counts: Mapping[Outcome, int]) -> dict[str, int]:
    return {outcome.value: counts[outcome] for outcome in Outcome if counts.get(outcome)}


def _timed(record: SweepRecord | ProcessFacts | CallCount) -> dict[str, object]:
    """A record with its times as texts."""
    return {
        name.removesuffix("_ms"): (iso_time(value) or None) if name.endswith("_ms") else value
        for name, value in record._asdict().items()
    }


def _plain(value: object) -> object:
    """Turn a value into what JSON can hold; what it cannot becomes its str(): a Secret is `***`."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return str(value)
