"""Run a scenario until it is stopped: what `orchestrator simulate` and harnesses call.

It prints nothing; the caller says what to do when the server is ready.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchestrator.simulator.ledger import Ledger
from orchestrator.simulator.server import Simulator, wall_clock_ms

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.simulator.scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Ready:
    """What a client needs to talk to the running simulator."""

    base_url: str
    access_key: str
    #: invented, opens nothing else
    secret_key: str

    def as_document(self) -> dict[str, str]:
        """The same as JSON would hold it."""
        return asdict(self)


async def serve(  # noqa: PLR0913 -- one call for the command line and the harnesses
    scenario: Scenario,
    *,
    on_ready: Callable[[Ready], None],
    host: str = "127.0.0.1",
    port: int = 0,
    ledger_path: Path | None = None,
    flush_each: bool = True,
    ssl_context: ssl.SSLContext | None = None,
) -> None:
    """Serve a scenario until cancelled.

    Args:
        scenario: the world and its faults, from scenarios.py.
        on_ready: called once, when the server listens.
        host: a loopback address.
        port: 0 picks a free one.
        ledger_path: JSON Lines file for the ledger; None writes none. Memory keeps counts only.
        flush_each: each line of it is readable by other processes at once.
        ssl_context: serves https with it.
    """
    ledger = Ledger(path=ledger_path, keep_entries=False, flush_each=flush_each)
    simulator = Simulator(
        scenario.world,
        faults=scenario.faults,
        signature=scenario.signature,
        ledger=ledger,
        host=host,
        port=port,
        ssl_context=ssl_context,
    )
    with ledger:
        async with simulator:
            on_ready(Ready(simulator.base_url, scenario.access_key, scenario.secret_key))
            await asyncio.Event().wait()


def wall_clock_now() -> datetime:
    """The wall clock, for scenarios whose begin times lie ahead."""
    return datetime.fromtimestamp(wall_clock_ms() / 1000, UTC)
