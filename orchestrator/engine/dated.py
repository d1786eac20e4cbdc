"""`{date}` in --run-dir: a directory for each night, and yesterday's while it is unfinished."""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

from orchestrator.errors import UsageError

_DATE = "{date}"


class Dated(NamedTuple):
    """One directory for today, and the one of the day before; the same where no date is in it."""

    today: str
    yesterday: str


def with_date(given: str, today: str) -> Dated:
    """Put the date into the name of a directory.

    Args:
        given: the name as it was given.
        today: the machine's date, YYYY-MM-DD.

    Raises:
        UsageError: there are other braces in it.
    """
    rest = given.replace(_DATE, "")
    if "{" in rest or "}" in rest:
        raise UsageError(
            f"--run-dir: {given} has braces that are not {_DATE}. Nothing was sent.",
            advice=f"write {_DATE} for today's date, such as --run-dir '/var/lib/runs/{_DATE}'",
        )
    before = (date.fromisoformat(today) - timedelta(days=1)).isoformat()
    return Dated(given.replace(_DATE, today), given.replace(_DATE, before))
