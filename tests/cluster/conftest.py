"""What tests of the cluster get: a real PostgreSQL, and a database of their own in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.settings.secret import Secret
from tests import postgres
from tests.cluster.makers import env_of


@pytest.fixture(scope="session")
def server() -> postgres.PostgresServer:
    """The PostgreSQL that all tests share; who stops it starts it again."""
    return postgres.shared()


@pytest.fixture(scope="session")
def _mortal() -> Iterator[postgres.PostgresServer]:
    postgres.need()
    made = postgres.PostgresServer()
    yield made
    made.close()


@pytest.fixture
def own_server(_mortal: postgres.PostgresServer) -> postgres.PostgresServer:
    """A PostgreSQL to be killed; it is ready when a test begins, whatever was done before."""
    _mortal.stop()
    _mortal.start()
    return _mortal


@pytest.fixture
def database(server: postgres.PostgresServer) -> Secret:
    """An empty database with our tables."""
    return server.make_database()


@pytest.fixture
def env(server: postgres.PostgresServer) -> dict[str, str]:
    """Where the cluster is, as `cluster init` leaves it."""
    return env_of(server)


@pytest.fixture
def own_env(own_server: postgres.PostgresServer) -> dict[str, str]:
    """Where a cluster is whose PostgreSQL may be killed."""
    return env_of(own_server)
