"""The sorted set agrees with a plain sorted list, whatever is done to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.simulator.ordered import RUN_LENGTH, SortedNumbers

numbers = st.sets(st.integers(min_value=-(2**70), max_value=2**70), max_size=60)


@given(first=numbers, added=numbers, removed=numbers, skip=st.integers(0, 70))
def test_every_page_is_that_of_a_sorted_list(
    first: set[int], added: set[int], removed: set[int], skip: int
) -> None:
    """Filled, added to and removed from: size, order and any page are those of sorted()."""
    ordered = SortedNumbers(first)
    for number in sorted(added - first):
        ordered.add(number)
    for number in removed & (first | added):
        ordered.remove(number)

    wanted = sorted((first | added) - removed)
    assert (len(ordered), list(ordered)) == (len(wanted), wanted)
    assert ordered.page(skip=skip, count=10) == wanted[skip : skip + 10]


def test_runs_split_and_vanish() -> None:
    """Five runs' worth of numbers, added backwards and removed again, page right throughout."""
    size = 5 * RUN_LENGTH
    ordered = SortedNumbers()
    for number in range(size, 0, -1):
        ordered.add(number)

    assert ordered.page(skip=2 * RUN_LENGTH - 1, count=3) == [2000, 2001, 2002]

    for number in range(1, size):
        ordered.remove(number)
    assert list(ordered) == [size]


@pytest.mark.parametrize("number", [0, 2, 9])
def test_what_is_not_there_cannot_be_removed(number: int) -> None:
    """Below, between and above what is there: KeyError."""
    ordered = SortedNumbers([1, 3])

    with pytest.raises(KeyError):
        ordered.remove(number)
