"""Orders: starts the real command, exactly once for each confirmed form."""

from __future__ import annotations

import secrets


def new_order_id() -> str:
    """An id for the hidden field `order`, made with the form: all its posts are one order."""
    return secrets.token_hex(16)
