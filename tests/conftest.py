"""What every test gets: virtual time unless it opens sockets, and canned HTTP answers."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses
from hypothesis import settings

from tests.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give every async test the jumping loop, unless it is marked `sockets`."""
    if item.get_closest_marker("sockets") is not None:
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualTimeLoop}


class _ClientResponse(aiohttp.ClientResponse):
    """aiohttp 3.14 wants a stream writer that aioresponses 0.7.9 does not pass (its issue 289)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


def pytest_sessionfinish() -> None:
    """Stop the PostgreSQL that the tests of this process have shared, if one did."""
    ours = sys.modules.get("tests.postgres")
    if ours is not None:
        ours.close_shared()


@pytest.fixture
def canned_http(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    """Canned HTTP answers, for verdicts of the client only: no connector, TLS or timeout runs.

    It replaces `ClientSession._request`; whatever depends on the wire is tested against the
    simulator (mark `sockets`).
    """
    monkeypatch.setattr("aioresponses.core.ClientResponse", _ClientResponse)
    with aioresponses() as canned:
        yield canned


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what could not be tried: a skipped test is no success."""
    skipped = terminalreporter.stats.get("skipped", [])
    why = (one.longrepr[2].removeprefix("Skipped: ") for one in skipped)
    reasons = Counter(one.removeprefix("NOT TRIED: ") for one in why)
    for reason, number in reasons.items():
        tests = "1 test" if number == 1 else f"{number} tests"
        terminalreporter.write_line(f"!!! NOT TRIED: {reason}: {tests} !!!", red=True, bold=True)


# No test asserts a duration of real time, and hypothesis would.
settings.register_profile("orchestrator", deadline=None)
settings.load_profile("orchestrator")

# Under nohup, as some CI starts it, SIGHUP is ignored and every child inherits that: the tests of
# what a lost terminal does would test nothing. Each of them sets what it needs.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
