"""The scenarios by name, each with the sentence of its issue that it checks."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.acceptance.case import Case


@dataclass(frozen=True, slots=True)
class Scenario:
    """One named check of a promise."""

    name: str
    issue: int
    promise: str
    act: Callable[[Case], None]
    #: part of the short form: quick, and a kind of its own
    short: bool = False


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    issue: int, promise: str, *, short: bool = False
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Enter a function under its own name."""

    def enter(act: Callable[[Case], None]) -> Callable[[Case], None]:
        SCENARIOS[act.__name__] = Scenario(act.__name__, issue, promise, act, short)
        return act

    return enter


def variant(
    issue: int,
    name: str,
    promise: str,
    act: Callable[..., None],
    *words: object,
    short: bool = False,
    **how: object,
) -> None:
    """Enter the same act with other words: one row of a table."""
    SCENARIOS[name] = Scenario(name, issue, promise, lambda case: act(case, *words, **how), short)
