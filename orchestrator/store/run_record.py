"""What is on record of a run as a whole: the one place that writes and reads it.

Facts are written once, at the beginning; later processes add notes and never change facts. What an
earlier version did not write has the value that it meant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.policy.decide import Outcome
from orchestrator.reports.rows import RunKind
from orchestrator.reports.summary import CallCount, CallsRecord, VdnProof
from orchestrator.settings.server_url import ServerUrl, read_base_url


class Manifest(NamedTuple):
    """The list that a run was made of."""

    path: str
    sha256: str


class RunRecord(NamedTuple):
    """One run."""

    run_id: str
    kind: RunKind
    reason: str
    operator: str
    host: str
    version: str
    server: str
    fingerprint: str
    #: by section, without the secret
    settings: Mapping[str, Mapping[str, object]]
    rate_per_s: float
    concurrency: int
    #: wall-clock milliseconds
    started_at_ms: int
    dry_run: bool
    #: what people call the server; empty in earlier versions
    server_name: str = ""
    verify: bool = True
    accept: frozenset[Outcome] = frozenset()
    #: None: there was no list
    manifest: Manifest | None = None
    #: pause-all: which VDNs
    vdns: tuple[int, ...] = ()
    #: restore: the run that is undone, where it is, and when it was last written
    source_run: str = ""
    source_dir: str = ""
    source_written_ms: int = 0
    #: how many failures end the run, and whether that is a percentage
    max_failures: tuple[float, bool] | None = None
    hold_s: float = 0.0
    #: restore: what was chosen, as summary.json shows it; and how many had been restored before
    selection: Mapping[str, object] = {}
    restored_before: int = 0
    #: where the secret key was read; empty: not from a file
    secret_key_file: str = ""
    #: pause: the run that every row of the list names, which this one repeats
    parent_run: str = ""
    #: pause-all: nothing may be paused before the operator has typed the VDN number
    asks: bool = False
    #: workers of a cluster send, not only the process that was started for it
    cluster: bool = False
    #: pause-all in a cluster: seconds for whoever works on it; None in other runs
    deadline_s: float | None = None
    # -- noted while it goes on or ends; each replaces its older self
    #: the reason of its end in words for people
    why: str = ""
    #: what was learnt about signing
    recoveries: Mapping[str, object] = {}
    #: how far the server's listings lagged behind, seconds
    lag_s: float = 0.0
    #: the server's clock against ours, seconds; None: no Date was seen
    clock_offset_s: float | None = None
    #: the rate of one process; the highest of all stays, which the busiest second belongs to
    highest_rate_per_s: float = 0.0
    #: pause-all: so much of its hold is over, seconds
    held_s: float = 0.0
    #: pause-all: one per VDN
    proofs: tuple[VdnProof, ...] = ()
    #: pause-all: the calls in progress after quiet
    calls: CallsRecord | None = None
    #: empty while it runs, or when it was killed
    verdict: str = ""
    #: None likewise, and in earlier versions
    exit_code: int | None = None
    #: pause-all: the operator has typed the VDN number
    confirmed: bool = False

    @property
    def called(self) -> str:
        """What people call the server; its host where nobody named it."""
        url = read_base_url(self.server)
        return self.server_name or (url.host if isinstance(url, ServerUrl) else "")

    @property
    def is_verified(self) -> bool:
        """Whether what counts as done is confirmed by a later look."""
        return self.verify or self.kind is RunKind.RESTORE

    @property
    def may_change(self) -> bool:
        """Whether campaigns may be changed in its name."""
        return self.confirmed or not self.asks


#: the fields before the notes
_FACTS = RunRecord._fields[: RunRecord._fields.index("why")]
#: note → its key on record, where that is another
_KEYS = {"recoveries": "cures", "highest_rate_per_s": "rate_per_s"}
_SECONDS = frozenset({"lag_s", "held_s", "clock_offset_s"})


def to_meta(record: RunRecord) -> dict[str, str]:
    """The facts of a new run as they go on record."""
    told = {name: getattr(record, name) for name in _FACTS}
    told["kind"] = record.kind.value
    told["accept"] = sorted(one.value for one in record.accept)
    told["manifest"] = record.manifest and record.manifest._asdict()
    return {"facts": json.dumps(told)}


def noted(notes: Mapping[str, Any], before: Mapping[str, str]) -> dict[str, str]:
    """Notes, by the names that the record has, as they go on record after what is there before."""
    assert notes.keys() <= set(RunRecord._fields), notes
    texts: dict[str, str] = {}
    for name, value in notes.items():
        key = _KEYS.get(name, name)
        if name in _SECONDS:
            texts[key] = f"{value:.3f}"
        elif name == "highest_rate_per_s":
            texts[key] = str(max(notes["highest_rate_per_s"], float(before.get(key, "0"))))
        elif name == "proofs":
            texts[key] = json.dumps([proof._asdict() for proof in notes["proofs"]])
        elif name == "calls":
            texts[key] = json.dumps(notes["calls"]._asdict())
        else:
            texts[key] = value if isinstance(value, str) else json.dumps(value)
    return texts


def from_meta(meta: Mapping[str, str]) -> RunRecord:
    """A run as it is on record.

    Raises:
        KeyError, TypeError, ValueError: it is not the record of a run.
    """
    told: dict[str, Any] = json.loads(meta["facts"])
    kind = RunKind(told["kind"])
    values = {name: told[name] for name in _FACTS if name in told}
    manifest, limit = told.get("manifest"), told.get("max_failures")
    values |= {
        "kind": kind,
        "accept": frozenset(Outcome(one) for one in told["accept"]),
        "manifest": Manifest(**manifest) if manifest else None,
        "vdns": tuple(told.get("vdns") or ()),
        "max_failures": (float(limit[0]), bool(limit[1])) if limit else None,
        "highest_rate_per_s": float(meta.get("rate_per_s", told["rate_per_s"])),
        "why": meta.get("why", ""),
        "recoveries": json.loads(meta.get("cures", "{}")),
        "lag_s": float(meta.get("lag_s", "0")),
        "held_s": float(meta.get("held_s", "0")),
        "clock_offset_s": float(meta["clock_offset_s"]) if "clock_offset_s" in meta else None,
        "calls": _calls(json.loads(meta["calls"])) if "calls" in meta else None,
        "verdict": meta.get("verdict", ""),
        "exit_code": int(meta["exit_code"]) if "exit_code" in meta else None,
        "confirmed": meta.get("confirmed") == "true",
    }
    record = RunRecord(**values)
    if "proofs" in meta:
        proofs = tuple(VdnProof(**one) for one in json.loads(meta["proofs"]))
    else:
        proofs = tuple(VdnProof(vdn_id) for vdn_id in record.vdns)
    return record._replace(proofs=proofs)


def _calls(told: dict[str, Any]) -> CallsRecord:
    counts = tuple(CallCount(*one) for one in told["counts"])
    return CallsRecord(**{**told, "counts": counts, "beyond": tuple(told["beyond"])})
