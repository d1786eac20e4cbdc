"""`{date}` in the name of a run directory."""

from __future__ import annotations

import pytest

from orchestrator.engine.same_directory import with_date
from orchestrator.errors import UsageError

NAMES = [
    ("/runs/{date}", "2026-11-24", ("/runs/2026-11-24", "/runs/2026-11-23")),
    ("/{date}/{date}", "2026-03-01", ("/2026-03-01/2026-03-01", "/2026-02-28/2026-02-28")),
    ("/runs/{date}", "2027-01-01", ("/runs/2027-01-01", "/runs/2026-12-31")),
    ("/runs/tonight", "2026-11-24", ("/runs/tonight", "/runs/tonight")),
]  # fmt: skip


@pytest.mark.parametrize(("given", "today", "dated"), NAMES)
def test_the_date_takes_the_place_of_its_word(
    given: str, today: str, dated: tuple[str, str]
) -> None:
    """As often as it stands there; yesterday is the day before, also at the end of a year."""
    assert with_date(given, today) == dated


@pytest.mark.parametrize("given", ["/runs/{Date}", "/runs/{}", "/runs/{date", "/runs/date}", "{x}"])
def test_other_braces_are_refused(given: str) -> None:
    """Exit 2: a mistyped name would be a fixed one."""
    with pytest.raises(UsageError, match="braces that are not") as refused:
        with_date(given, "2026-11-24")

    assert refused.value.exit_code == 2
