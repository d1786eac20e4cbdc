"""/metrics and /readyz: what the console knows of itself and of the runs that are live now."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from orchestrator import metrics
from orchestrator.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.settings.load import Settings

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
#: what the console says itself
_OWN: Final = frozenset(
    {
        "orchestrator_breaker_open",
        "orchestrator_build_info",
        "orchestrator_rate_ceiling",
        "orchestrator_requests_total",
    }
)
#: a textfile that is longer was not made by us
_BYTES_MAX: Final = 1 << 20


@dataclass
class Totals:
    """Requests since the console began, as far as it saw them; the sum never goes down."""

    _ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    _live: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)

    def with_live(self, live: Mapping[str, Mapping[str, Any]]) -> Counter[tuple[str, str]]:
        """Kind and result → requests, with what live runs say now: run id → its live.json."""
        now = {run_id: _counted(told) for run_id, told in live.items()}
        for run_id, before in self._live.items():
            # of a run that is over, or whose next process counts anew
            if run_id not in now or now[run_id].total() < before.total():
                self._ended += before
        self._live = now
        return sum(now.values(), self._ended)


def _counted(told: Mapping[str, Any]) -> Counter[tuple[str, str]]:
    """The requests of a live.json; its words are ours, and become labels only if they are plain."""
    found: Counter[tuple[str, str]] = Counter()
    with suppress(TypeError, ValueError, ArithmeticError):
        for kind, result, number in told.get("requests", ()):
            if f"{kind}{result}".replace("_", "").isalnum():
                found[str(kind)[:20], str(result)[:40]] = int(number)
    return found


def exposed(
    settings: Settings,
    requests: Mapping[tuple[str, str], int],
    live: Mapping[str, Mapping[str, Any]],
) -> str:
    """The metrics of this moment, those of the textfile included."""
    samples: dict[tuple[str, str], str] = {}
    path = settings.metrics.textfile
    if path is not None:
        with suppress(OSError), path.open("rb") as file:
            samples = metrics.samples_of(file.read(_BYTES_MAX).decode("utf-8", "replace"))
    ceilings = [float(told["ceiling_per_s"]) for told in live.values() if "ceiling_per_s" in told]
    is_open = any(told.get("breaker") for told in live.values())
    ceiling = max(ceilings, default=settings.pace.rate_per_s)
    # the same name with the labels of another version would be two
    samples = {key: value for key, value in samples.items() if key[0] not in _OWN}
    samples |= {
        ("orchestrator_build_info", f'{{version="{VERSION}"}}'): "1",
        ("orchestrator_rate_ceiling", ""): f"{ceiling:g}",
        ("orchestrator_breaker_open", ""): f"{is_open:d}",
    }
    for (kind, result), number in requests.items():
        labels = f'{{kind="{kind}",result="{result}"}}'
        samples["orchestrator_requests_total", labels] = str(number)
    return metrics.written(samples)


def why_not_ready(settings: Settings) -> str:
    """Why no stop could be started from here; empty: one could."""
    if not settings.server.base_url:
        return "no server is configured"
    if settings.credentials.secret_key is None or not settings.credentials.access_key:
        return "the credentials are missing"
    place = settings.state_dir
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        return f"the state directory {settings.state_dir} cannot be written"
    return ""
