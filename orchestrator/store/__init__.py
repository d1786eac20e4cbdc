"""The record of a run: the only truth, from which every report is made.

`base` says what the engine needs of it, in records and enums; `sqlite` keeps it in a file. Nobody
above this folder sees a connection, a row or SQL.
"""

from orchestrator.store.base import (
    Intent,
    Journal,
    Known,
    Mark,
    MarkState,
    OutcomeRecord,
    ProcessRecord,
    Restorable,
    Saved,
    Standing,
    Store,
    VdnCount,
)
from orchestrator.store.gap import Gap, begin_gap, end_gap, gap_of
from orchestrator.store.planning import PlanWriter, Reason, Refused, try_out
from orchestrator.store.run_record import Manifest, RunRecord
from orchestrator.store.sqlite import open_saved, open_to_continue

__all__ = [
    "Gap",
    "Intent",
    "Journal",
    "Known",
    "Manifest",
    "Mark",
    "MarkState",
    "OutcomeRecord",
    "PlanWriter",
    "ProcessRecord",
    "Reason",
    "Refused",
    "Restorable",
    "RunRecord",
    "Saved",
    "Standing",
    "Store",
    "VdnCount",
    "begin_gap",
    "end_gap",
    "gap_of",
    "open_saved",
    "open_to_continue",
    "try_out",
]
