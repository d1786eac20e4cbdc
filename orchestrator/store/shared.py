"""What restores and people leave beside a run of the cluster: marks and notes, for every machine.

Rule 1: as in marks.py, a mark is on record before its start is sent; here it is a commit.
Rule 2: a mark is taken only while the campaign's mark is what this restore has read, or its own: of
        two restores that go on at once, one gets the campaign, and the other one ends.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import psycopg

from orchestrator.errors import StorageError
from orchestrator.model import CampaignRef
from orchestrator.reports.summary import Note
from orchestrator.store.base import Mark, MarkState
from orchestrator.store.database import Kept, failure_of, opened
from orchestrator.store.notes import add_note, read_notes
from orchestrator.store.run_dir import refuse_foreign

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from orchestrator.settings.secret import Secret

_PUT_MARKS = (
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

_PUT_NOTES = (
    b"INSERT INTO orchestrator.notes SELECT * FROM json_to_recordset(%s)"
    b" AS new(run_id text, at text, operator text, text text) ON CONFLICT DO NOTHING"
)
_READ_NOTES = (
    b"SELECT run_id, at, operator, text FROM orchestrator.notes WHERE run_id = ANY(%s) ORDER BY at"
)


class SharedMarks:
    """The marks of one run in the cluster's database; used by one thread at a time."""

    def __init__(self, url: Secret, run_id: str) -> None:
        """Nothing is connected yet; `run_id` is the run that is undone."""
        self._url = url
        self._run_id = run_id
        self._kept = Kept(url)
        #: as read
        self._known: dict[CampaignRef, Mark] = {}

    def read(self) -> dict[CampaignRef, Mark]:
        """What restores on all machines have done with each campaign.

        Raises:
            StorageError, JournalMismatchError: as `opened`.
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

        def put_all(connection: psycopg.Connection[Any]) -> None:
            with connection.transaction():
                if connection.execute(_PUT_MARKS, arguments).rowcount < len(newest):
                    raise StorageError(
                        f"another restore of run {self._run_id} is at work and starts the same"
                        " campaigns",
                        advice="wait for its end; then repeat this one",
                    )

        try:
            with contextlib.suppress(psycopg.Error):
                return self._kept.do(put_all)
            self._kept.do(put_all)  # after a cut it changes nothing
        except psycopg.Error as error:
            raise failure_of(error) from error

    def close(self) -> None:
        self._kept.close()


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


def share_notes(url: Secret, folders: Mapping[str, Path]) -> None:
    """Let the remarks on these runs be the same here and in the cluster's database.

    Args:
        url: the database.
        folders: the id of each run, and its directory here.

    Raises:
        StorageError, JournalMismatchError: as `opened`; or remarks cannot be read or written.
        SettingsError: we are root, and a directory is another user's.
    """
    here = {
        run_id: [Note(*map(_without_nul, one)) for one in read_notes(folder)]
        for run_id, folder in folders.items()
    }
    rows = [{"run_id": run_id, **one._asdict()} for run_id, notes in here.items() for one in notes]
    with opened(url) as connection:
        if rows:
            connection.execute(_PUT_NOTES, (json.dumps(rows),))
        found = connection.execute(_READ_NOTES, (list(folders),)).fetchall()
    for run_id, *told in found:
        if Note(*told) not in here[run_id]:
            refuse_foreign(folders[run_id])
            add_note(folders[run_id], Note(*told))


def _without_nul(text: str) -> str:
    # PostgreSQL keeps none
    return text.replace("\0", "\ufffd")
