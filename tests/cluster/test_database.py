"""The cluster's database: made once, brought up to date, and never half-understood."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.errors import JournalMismatchError, SettingsError, StorageError
from orchestrator.settings.secret import Secret
from orchestrator.store import database as module
from orchestrator.store.database import SCHEMA_VERSION, connect, migrate, opened, version_of
from orchestrator.store.transfer import _KEYS, columns
from tests.postgres import PostgresServer

pytestmark = pytest.mark.sockets


def test_the_tables_are_made_once(server: PostgresServer) -> None:
    """Made, and found made by the next who asks."""
    with connect(server.make_bare_database()) as connection:
        before = [migrate(connection), migrate(connection)]
        assert (before, version_of(connection)) == ([0, SCHEMA_VERSION], SCHEMA_VERSION)


async def test_two_who_make_the_tables_at_once_make_them_once(server: PostgresServer) -> None:
    """`cluster init` in two terminals: the second waits for the first and finds everything done."""
    url = server.make_bare_database()

    def make() -> int:
        with connect(url) as connection:
            return migrate(connection)

    befores = await asyncio.gather(*(asyncio.to_thread(make) for _ in range(2)))

    assert sorted(befores) == [0, SCHEMA_VERSION]


def test_the_tables_have_the_columns_of_a_journal(database: Secret) -> None:
    """In its order behind the run, so that rows travel as they are."""
    with connect(database) as connection:
        found = {
            table: [
                name
                for (name,) in connection.execute(
                    "SELECT column_name FROM information_schema.columns WHERE table_schema ="
                    " 'orchestrator' AND table_name = %s ORDER BY ordinal_position",
                    (table,),
                )
            ]
            for table in _KEYS
        }

    for table, names in found.items():
        leading = ["run", "lo"] if table in {"meta", "sweeps", "lives"} else ["run"]
        assert names == leading + columns(table)


def test_a_database_without_tables_is_refused(server: PostgresServer) -> None:
    """And it is said how they are made."""
    with pytest.raises(JournalMismatchError) as caught, opened(server.make_bare_database()):
        pass

    assert "cluster init" in caught.value.advice


@pytest.mark.parametrize(
    ("ours", "advice"), [(SCHEMA_VERSION + 1, "brings it up to date"), (0, "use the version")]
)
def test_tables_of_another_version_are_refused(
    database: Secret, monkeypatch: pytest.MonkeyPatch, ours: int, advice: str
) -> None:
    """Older or newer than we are: nothing is read by guesswork; it is said who has to change."""
    monkeypatch.setattr(module, "SCHEMA_VERSION", ours)

    with pytest.raises(JournalMismatchError) as caught, opened(database):
        pass

    assert advice in caught.value.advice
    if ours == 0:
        with connect(database) as connection, pytest.raises(JournalMismatchError):
            migrate(connection)


def test_a_slip_in_the_address_does_not_show_the_password() -> None:
    """What the driver says of a bad address repeats a part of it."""
    with pytest.raises(SettingsError) as caught:
        connect(Secret("postgresql//ada:hunter2@db/x"))

    assert "hunter2" not in f"{caught.value} {caught.value.advice} {caught.value.__cause__}"


def test_a_database_that_is_away_is_told_in_one_line(server: PostgresServer) -> None:
    """No traceback of a driver: what failed, and what to look at."""
    url = Secret(server.url("nowhere"))

    wanted = pytest.raises(StorageError, match='database "nowhere" does not exist')
    with wanted as caught, opened(url):
        pass

    assert "\n" not in str(caught.value)
    assert "tester" not in str(caught.value)
