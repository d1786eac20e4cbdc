"""The cluster's PostgreSQL: how it is reached, and its tables made and brought up to date."""

from __future__ import annotations

import contextlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from orchestrator.errors import JournalMismatchError, SettingsError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.settings.secret import Secret

T = TypeVar("T")

#: by version, from 1; what has been released is never changed
MIGRATIONS = ("postgres.sql", "postgres_2.sql", "postgres_3.sql", "postgres_4.sql")
SCHEMA_VERSION = len(MIGRATIONS)

#: who waits for a database longer than this waits for one that is away
_HOW: dict[str, Any] = {
    "connect_timeout": 3,
    "tcp_user_timeout": 5_000,
    "keepalives_idle": 2,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "application_name": "orchestrator",
    # half of a text in the encoding of somebody's terminal is no text
    "client_encoding": "utf8",
}
#: any number that others do not lock: "CPOJ"
_MIGRATION_LOCK = 0x43504F4A


def connect(url: Secret, **more: Any) -> psycopg.Connection[Any]:
    """Open a connection that commits each statement by itself; `more` is for psycopg.

    Raises:
        SettingsError: it is not the address of a database.
        psycopg.OperationalError: the database cannot be reached.
    """
    return psycopg.connect(**parameters(url), autocommit=True, **more)


async def connect_async(url: Secret) -> psycopg.AsyncConnection[Any]:
    """Open one for the loop; raises what `connect` raises."""
    return await psycopg.AsyncConnection.connect(**parameters(url), autocommit=True)


def parameters(url: Secret) -> dict[str, Any]:
    """How a client of libpq is told of it; without its options, a password is in there.

    Raises:
        SettingsError: it is not the address of a database.
    """
    try:
        return _HOW | conninfo_to_dict(url.reveal())
    except psycopg.ProgrammingError:
        # what it says repeats a part of the address, which may be the password
        raise SettingsError(
            "cluster.database_url is not an address of PostgreSQL",
            key="cluster.database_url",
            advice="write it as postgresql://user@host:5432/database",
        ) from None


class Kept:
    """A connection that is kept, and made anew after trouble; for one thread at a time."""

    def __init__(self, url: Secret) -> None:
        """Nothing is connected yet."""
        self._url = url
        self._connection: psycopg.Connection[Any] | None = None

    def do(self, operation: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Do something with it.

        Raises:
            psycopg.Error: it did not work; the next time it is connected anew.
        """
        try:
            if self._connection is None:
                self._connection = connect(self._url)
            return operation(self._connection)
        except psycopg.Error:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
        self._connection = None


@contextlib.contextmanager
def opened(url: Secret, *, checked: bool = True) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database, for a short while; `checked`: it has our tables, in our version.

    Raises:
        SettingsError: it is not the address of a database.
        StorageError: it cannot be reached, or it failed.
        JournalMismatchError: its tables are missing, or of another version.
    """
    try:
        with connect(url) as connection:
            if checked:
                check_version(connection)
            yield connection
    except psycopg.Error as error:
        raise failure_of(error) from error


def failure_of(error: psycopg.Error) -> StorageError:
    """What went wrong with the database, in one line without its address."""
    lines = str(error).strip().splitlines() or ["it is away"]
    reason = error.diag.message_primary or lines[0]
    return StorageError(
        f"the cluster's database failed: {reason}",
        advice="see that PostgreSQL runs and that cluster.database_url is right, then repeat it",
    )


def check_version(connection: psycopg.Connection[Any]) -> None:
    """See that the tables are there and are ours.

    Raises:
        JournalMismatchError: they are missing, or of another version.
    """
    version = version_of(connection)
    if version == SCHEMA_VERSION:
        return
    ours = f"this version of the orchestrator uses version {SCHEMA_VERSION}"
    told = f"tables of version {version}, {ours}"
    advice = "`orchestrator cluster init` brings it up to date"
    if version == 0:
        told, advice = "no tables of the orchestrator", "`orchestrator cluster init` makes them"
    elif version > SCHEMA_VERSION:
        advice = "use the version of the orchestrator that the other workers have"
    raise JournalMismatchError(f"the cluster's database has {told}", advice=advice)


def version_of(connection: psycopg.Connection[Any]) -> int:
    """The version of the tables; 0: there are none."""
    query = connection.execute
    if query("SELECT to_regclass('orchestrator.version')").fetchone() == (None,):
        return 0
    (version,) = query("SELECT max(version) FROM orchestrator.version").fetchone() or (0,)
    return int(version or 0)


def migrate(connection: psycopg.Connection[Any]) -> int:
    """Make the tables or bring them up to date, all or nothing; returns the version before.

    Raises:
        JournalMismatchError: they are newer than we are.
    """
    with connection.transaction():
        # two at a time: the second finds everything done
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        before = version_of(connection)
        if before > SCHEMA_VERSION:
            check_version(connection)
        if before == 0:
            connection.execute("CREATE SCHEMA IF NOT EXISTS orchestrator")
            connection.execute(
                "CREATE TABLE orchestrator.version (version integer PRIMARY KEY,"
                " at timestamptz NOT NULL DEFAULT clock_timestamp())"
            )
        for version in range(before + 1, SCHEMA_VERSION + 1):
            script = files("orchestrator.store").joinpath(MIGRATIONS[version - 1])
            connection.execute(script.read_text("utf-8").encode())
            connection.execute("INSERT INTO orchestrator.version VALUES (%s)", (version,))
    return before


def has_queue(connection: psycopg.Connection[Any]) -> bool:
    """Whether Procrastinate's tables are there."""
    found = connection.execute("SELECT to_regclass('procrastinate_jobs') IS NOT NULL").fetchone()
    return bool(found and found[0])
