"""The worst second, by which the tests of the pace judge."""

from __future__ import annotations

import pytest

from orchestrator.simulator.windows import fullest_window


@pytest.mark.parametrize(
    ("times", "worst"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([0.0, 0.5, 0.999], 3, id="within"),
        pytest.param([0.0, 0.5, 1.0], 2, id="half-open"),
        pytest.param([0.0, 0.9, 1.0, 1.1, 3.0], 3, id="across"),
        pytest.param([2.0, 2.0, 2.0], 3, id="at once"),
    ],
)
def test_the_worst_window_is_the_fullest_half_open_one(times: list[float], worst: int) -> None:
    """Requests at 0, 0.5 and 1 s: at most two of them in one second."""
    assert fullest_window(times, 1.0) == worst
