"""The journal of a run, on SQLite: the only truth, from which every report is made.

`journal` is what the run floor uses; `writer` owns the one thread that touches the database;
`tables` is the format on disk; `planning` builds it from a list; `fold` reads it back.
"""

from orchestrator.edges.journal.fold import (
    Known,
    Life,
    Restorable,
    VdnShare,
    all_vdn_shares,
    attempts_made,
    counts,
    known_campaigns,
    known_of_vdn,
    lives,
    may_have_changed,
    pending_campaigns,
    pending_refs,
    plan_counts,
    report_rows,
    restorable,
    restored_marks,
    sweep_records,
    undecided_campaigns,
    unlisted_campaigns,
    vdn_shares,
)
from orchestrator.edges.journal.gap import Gap, begin_gap, end_gap, gap_of
from orchestrator.edges.journal.journal import Intent, Journal, Settlement
from orchestrator.edges.journal.planning import PlanWriter, Refused
from orchestrator.edges.journal.tables import (
    SCHEMA_VERSION,
    STEPS_BETWEEN_LOOKS,
    check_whole,
    connect,
    read_meta,
    set_durable,
)
from orchestrator.edges.journal.writer import InlineWriter, ThreadWriter, Writer, memory_connection

__all__ = [
    "SCHEMA_VERSION",
    "STEPS_BETWEEN_LOOKS",
    "Gap",
    "InlineWriter",
    "Intent",
    "Journal",
    "Known",
    "Life",
    "PlanWriter",
    "Refused",
    "Restorable",
    "Settlement",
    "ThreadWriter",
    "VdnShare",
    "Writer",
    "all_vdn_shares",
    "attempts_made",
    "begin_gap",
    "check_whole",
    "connect",
    "counts",
    "end_gap",
    "gap_of",
    "known_campaigns",
    "known_of_vdn",
    "lives",
    "may_have_changed",
    "memory_connection",
    "pending_campaigns",
    "pending_refs",
    "plan_counts",
    "read_meta",
    "report_rows",
    "restorable",
    "restored_marks",
    "set_durable",
    "sweep_records",
    "undecided_campaigns",
    "unlisted_campaigns",
    "vdn_shares",
]
