"""What a harness is told on its command line: `key=value`, and nothing it does not know.

Every harness prints its seed, and the same seed makes the same plan.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence


class Arguments:
    """The arguments of one harness."""

    def __init__(self, argv: Sequence[str], *, known: Sequence[str]) -> None:
        """Read them.

        Raises:
            SystemExit: one is no `key=value`, or its key is unknown.
        """
        self._given: dict[str, str] = {}
        for argument in argv:
            key, equals, value = argument.partition("=")
            if not equals or key not in known:
                listed = " ".join(f"[{one}=…]" for one in known)
                raise SystemExit(f"{argument!r} is not understood; there is: {listed}")
            self._given[key] = value

    def whole(self, key: str, default: int) -> int:
        """A whole number; thousands may be marked with `,` or `_`."""
        return int(self._given.get(key, str(default)).replace(",", "").replace("_", ""))

    def text(self, key: str, default: str = "") -> str:
        """A text."""
        return self._given.get(key, default)

    def number(self, key: str, default: float) -> float:
        """Any number."""
        return float(self._given.get(key, default))

    def seed(self) -> int:
        """The seed that was given, or a fresh one."""
        return self.whole("seed", secrets.randbelow(10**6))
