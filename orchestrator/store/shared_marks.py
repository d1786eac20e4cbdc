"""What restores have done with a run of the cluster, for restores on several machines.

Rule 1: as in marks.py, a mark is on record before its start is sent; here it is a commit.
Rule 2: a mark is taken only while the campaign's mark is what this restore has read, or its own: of
        two restores that go on at once, one gets the campaign, and the other one ends.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg

from orchestrator.errors import StorageError
from orchestrator.model import CampaignRef
from orchestrator.store.base import Mark, MarkState
from orchestrator.store.database import connect, failure_of, opened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.settings.secret import Secret

_PUT = (
    b"INSERT INTO orchestrator.marks AS m (run_id, vdn_id, campaign_id, state, by_run)"
    b" SELECT %s, new.vdn_id, new.campaign_id, new.state, new.by_run FROM json_to_recordset(%s)"
    b" AS new(vdn_id bigint, campaign_id bigint, state text, by_run text)"
    b" ON CONFLICT (run_id, vdn_id, campaign_id) DO UPDATE"
    b" SET state = EXCLUDED.state, by_run = EXCLUDED.by_run"
    b" WHERE m.by_run = EXCLUDED.by_run OR EXISTS (SELECT FROM json_to_recordset(%s)"
    b" AS was(vdn_id bigint, campaign_id bigint, state text, by_run text)"
    b" WHERE was.vdn_id = m.vdn_id AND was.campaign_id = m.campaign_id"
    b" AND was.state = m.state AND was.by_run = m.by_run)"
)


class SharedMarks:
    """The marks of one run in the cluster's database; used by one thread at a time."""

    def __init__(self, url: Secret, run_id: str) -> None:
        """Nothing is connected yet; `run_id` is the run that is undone."""
        self._url = url
        self._run_id = run_id
        self._connection: psycopg.Connection[Any] | None = None
        #: as read
        self._known: dict[CampaignRef, Mark] = {}

    def read(self) -> dict[CampaignRef, Mark]:
        """What restores on all machines have done with each campaign.

        Raises:
            StorageError: the database cannot be reached.
            JournalMismatchError: its tables are missing, or of another version.
        """
        with opened(self._url) as connection:
            found = connection.execute(
                "SELECT vdn_id, campaign_id, state, by_run FROM orchestrator.marks"
                " WHERE run_id = %s",
                (self._run_id,),
            ).fetchall()
        self._known = {
            CampaignRef(vdn_id, campaign_id): Mark(MarkState(state), by_run)
            for vdn_id, campaign_id, state, by_run in found
        }
        return dict(self._known)

    def put(self, marks: Iterable[tuple[CampaignRef, Mark]]) -> None:
        """Put marks on record; the last one of a campaign counts.

        Raises:
            StorageError: the database failed, or another restore is at a campaign.
        """
        newest = dict(marks)
        before = {ref: self._known[ref] for ref in newest if ref in self._known}
        arguments = (self._run_id, _rows(newest), _rows(before))
        try:
            self._put(arguments, len(newest))
        except psycopg.Error:
            self.close()
            try:
                self._put(arguments, len(newest))  # after a cut it changes nothing
            except psycopg.Error as error:
                self.close()
                raise failure_of(error) from error

    def _put(self, arguments: tuple[str, str, str], wanted: int) -> None:
        if self._connection is None:
            self._connection = connect(self._url)
        with self._connection.transaction():
            if self._connection.execute(_PUT, arguments).rowcount < wanted:
                raise StorageError(
                    f"another restore of run {self._run_id} is at work and starts the same"
                    " campaigns",
                    advice="wait for its end; then repeat this one",
                )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _rows(marks: dict[CampaignRef, Mark]) -> str:
    return json.dumps(
        [
            {
                "vdn_id": ref.vdn_id,
                "campaign_id": ref.campaign_id,
                "state": mark.state.value,
                "by_run": mark.run_id,
            }
            for ref, mark in marks.items()
        ]
    )
