"""The record of a run: the only truth, from which every report is made.

`base` has the records and enums that go in and out, `sqlite` what can be asked and written. Nobody
above this folder sees a connection, a row or SQL.
"""

from orchestrator.store.base import (
    Intent,
    Known,
    Mark,
    MarkState,
    OutcomeRecord,
    ProcessRecord,
    Restorable,
    Standing,
    VdnCount,
)
from orchestrator.store.gap import Gap, begin_gap, end_gap, gap_of
from orchestrator.store.planning import PlanWriter, Reason, Refused, try_out
from orchestrator.store.run_record import Manifest, RunRecord
from orchestrator.store.sqlite import Journal, Saved, Store, open_saved, open_to_continue

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
