"""What counts as a confirmation."""

from __future__ import annotations

import pytest

from orchestrator.cli.prompt import is_confirmed


@pytest.mark.parametrize(
    ("answer", "vdns", "expected"),
    [
        ("1234\n", (1234,), True),
        (" 1234 ", (1234,), True),
        ("1235 1234", (1234, 1235), True),
        ("1234, 1235", (1234, 1235), True),
        ("1234", (1234, 1235), False),
        ("1234 1235", (1234,), False),
        ("1234 1234", (1234,), False),
        ("01234", (1234,), False),
        ("１２３４", (1234,), False),  # noqa: RUF001 - full-width digits are the point
        ("y", (1234,), False),
        ("", (1234,), False),
        ("", (), False),
    ],
)
def test_only_exactly_the_vdns_confirm(
    answer: str,
    vdns: tuple[int, ...],
    expected: bool,  # noqa: FBT001 - a column of a table
) -> None:
    """Each number once, in any order, nothing else."""
    assert is_confirmed(answer, vdns) is expected
