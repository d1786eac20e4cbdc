"""A secret that no formatting route gives away; `reveal()` is the only way out.

Showing gives `***`, storing (pickle) refuses, comparing takes the same time for any guess.
"""

from __future__ import annotations

import hmac
from typing import Final, NoReturn, final

MASK: Final = "***"
#: a shorter one would be found in ordinary words, and no real key is so short
LEAST_MASKED_CHARS: Final = 6


@final
class Secret:
    """A text that is shown as `***` wherever it is shown."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text: Final = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    @property
    def is_masked(self) -> bool:
        """Whether it is long enough to be taken out of other texts."""
        return len(self._text) >= LEAST_MASKED_CHARS

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, _spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes_of(self._text), _bytes_of(other._text))

    def __hash__(self) -> int:
        # One value for all: a hash of the text would be a guess to check against.
        return hash(Secret)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _memo: object) -> Secret:
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret is not stored")

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a secret is not stored")


def _bytes_of(text: str) -> bytes:
    # Environment variables may hold undecodable bytes as lone surrogates.
    return text.encode("utf-8", "surrogatepass")
