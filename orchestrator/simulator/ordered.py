"""A sorted set of whole numbers that gives out any page of itself quickly.

Adding, removing and paging cost about the square root of the size. Method: short sorted runs in a
list, with the first number of each run kept apart for bisecting.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RUN_LENGTH = 1000


class SortedNumbers:
    """Distinct numbers in ascending order, in runs of at most twice `RUN_LENGTH`."""

    __slots__ = ("_firsts", "_runs", "_size")

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        ordered = sorted(numbers)
        self._size = len(ordered)
        self._runs = [ordered[i : i + RUN_LENGTH] for i in range(0, len(ordered), RUN_LENGTH)]
        self._firsts = [run[0] for run in self._runs]

    def __len__(self) -> int:
        return self._size

    def add(self, number: int) -> None:
        """Put a number in; the caller knows that it is not there yet."""
        self._size += 1
        if not self._runs:
            self._runs.append([number])
            self._firsts.append(number)
            return
        place = max(0, bisect_right(self._firsts, number) - 1)
        run = self._runs[place]
        insort(run, number)
        self._firsts[place] = run[0]
        if len(run) > 2 * RUN_LENGTH:
            self._runs[place : place + 1] = [run[:RUN_LENGTH], run[RUN_LENGTH:]]
            self._firsts[place : place + 1] = [run[0], run[RUN_LENGTH]]

    def remove(self, number: int) -> None:
        """Take a number out.

        Raises:
            KeyError: it is not there.
        """
        place = bisect_right(self._firsts, number) - 1
        if place < 0:
            raise KeyError(number)
        run = self._runs[place]
        at = bisect_left(run, number)
        if at == len(run) or run[at] != number:
            raise KeyError(number)
        del run[at]
        self._size -= 1
        if run:
            self._firsts[place] = run[0]
        else:
            del self._runs[place]
            del self._firsts[place]

    def page(self, *, skip: int, count: int) -> list[int]:
        """The next `count` numbers after the first `skip` ones; fewer, or none, past the end."""
        found: list[int] = []
        for run in self._runs:
            if skip >= len(run):
                skip -= len(run)
                continue
            found += run[skip : skip + count - len(found)]
            skip = 0
            if len(found) >= count:
                break
        return found

    def __iter__(self) -> Iterator[int]:
        for run in self._runs:
            yield from run
