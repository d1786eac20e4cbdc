"""What flags may say, beyond the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.cli import values
from orchestrator.engine.options import FailureLimit
from orchestrator.errors import UsageError
from orchestrator.policy.decide import Outcome

if TYPE_CHECKING:
    from pathlib import Path


def test_a_failure_limit_is_a_number_or_a_share() -> None:
    """`5` or `2.5%`."""
    assert values.failure_limit("--max-failures", "5") == FailureLimit(5)
    assert values.failure_limit("--max-failures", "2.5%") == FailureLimit(2.5, is_percent=True)


@pytest.mark.parametrize("text", ["0", "-1", "%", "0%", "100.1%", "1e3", "１", "nan%", ""])  # noqa: RUF001
def test_other_failure_limits_are_refused(text: str) -> None:
    """Zero, negative, beyond all, exponents, full-width digits, nothing."""
    with pytest.raises(UsageError, match="--max-failures"):
        values.failure_limit("--max-failures", text)


def test_seconds_may_be_zero_and_at_most_a_week() -> None:
    """0, a fraction, a week; one second more is refused."""
    found = [values.seconds("--hold", text) for text in ("0", "1.5", "604800")]

    assert found == [0.0, 1.5, 604_800.0]
    with pytest.raises(UsageError, match="--hold"):
        values.seconds("--hold", "604801")


def test_outcomes_that_may_be_accepted() -> None:
    """Those of campaigns; not those of lines, and not `unattempted`."""
    assert values.outcome("--accept", "not_found") is Outcome.NOT_FOUND
    with pytest.raises(UsageError, match="--accept"):
        values.outcome("--accept", "unattempted")


def test_a_list_for_only_or_except_names_campaigns(tmp_path: Path) -> None:
    """Pairs of VDN and id; a list without VDNs needs the one of --vdn."""
    path = tmp_path / "guilty.csv"
    path.write_text("campaign_id\n11\n12\n", encoding="utf-8")

    expected = frozenset({(7, 11), (7, 12)})
    assert values.campaigns("--except", path, default_vdn=7) == expected
    with pytest.raises(UsageError, match=r"--except: .*guilty\.csv"):
        values.campaigns("--except", path, default_vdn=None)


def test_a_bad_line_in_such_a_list_is_refused_with_its_place(tmp_path: Path) -> None:
    """Leaving out half of the guilty would be worse than stopping."""
    path = tmp_path / "guilty.csv"
    path.write_text("vdn_id,campaign_id\n7,11\n7,1e5\n", encoding="utf-8")

    with pytest.raises(UsageError, match=r"guilty\.csv:3: .*1e5"):
        values.campaigns("--only", path, default_vdn=None)
