"""What one setting's value may be: readers from raw value to checked value, or a refusal.

Rule 1: numbers in text are ASCII digits; `float()` alone takes nan, inf and full-width digits.
Rule 2: a bound is written `low <= value <= high`, which NaN never satisfies.
Rule 3: a refusal about a credential or a URL never echoes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from orchestrator.core.campaign import Refusal
from orchestrator.core.secret import Secret
from orchestrator.core.server_url import read_base_url

#: raw value -> checked value, or why not
Check = Callable[[object], object]

ACCESS_KEY_MAX = 128
SECRET_KEY_MAX = 512
#: the headers of our requests that a server could verify (api.md 1.3, switch C)
SIGNABLE_HEADERS: Final = ("content-length", "content-type", "host")

_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_BYTE_ORDER_MARKS: Final = ("\ufeff", "\udcef\udcbb\udcbf", "\udcff\udcfe", "\udcfe\udcff")


def whole_in_text(text: str) -> object:
    """Turn a text into a whole number; a text that is none stays what it is."""
    return int(text) if _WHOLE.fullmatch(text) else text


def decimal_in_text(text: str) -> object:
    """Turn a text into a number; a text that is none stays what it is."""
    return float(text) if _DECIMAL.fullmatch(text) else text


def number(*, most: float, zero: bool = False) -> Check:
    """Make a reader of numbers above 0 (with `zero`: from 0) and at most `most`."""
    bounds = f"from 0 to {most:,}" if zero else f"above 0 and at most {most:,}"

    def read(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return Refusal(f"must be a number, not {shown(value)}")
        if 0 < value <= most or (zero and value == 0):
            return float(value)
        return Refusal(f"must be {bounds}, not {shown(value)}")

    return read


def count(*, most: int) -> Check:
    """Make a reader of whole numbers from 1 to `most`."""

    def read(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int):
            return Refusal(f"must be a whole number, not {shown(value)}")
        if not 1 <= value <= most:
            return Refusal(f"must be from 1 to {most:,}, not {shown(value)}")
        return value

    return read


def switch(value: object) -> object:
    """Read a TOML boolean."""
    return (
        value if isinstance(value, bool) else Refusal(f"must be true or false, not {shown(value)}")
    )


def path(value: object) -> object:
    """Read the path of a file or a directory, as text: core knows no disk."""
    if not isinstance(value, str):
        return Refusal(f"must be a path in quotes, not {shown(value)}")
    if not value.strip() or "\0" in value:
        return Refusal(f"must be a path, not {shown(value)}")
    return value


def base_url(value: object) -> object:
    """Read a base URL into its normalised text."""
    if not isinstance(value, str):
        return Refusal(f"must be a URL in quotes, not {shown(value)}")
    url = read_base_url(value)
    return Refusal(f"not a usable URL: {url.reason}") if isinstance(url, Refusal) else url.text


def access_key(value: object) -> object:
    """Read an access key; `/` separates the fields of the Authorization header."""
    if not isinstance(value, str):
        return Refusal("must be a text in quotes")
    if "/" in value:
        return Refusal("an access key holds no '/'")
    return _credential_problem(value, longest=ACCESS_KEY_MAX) or value


def secret_key(value: object) -> object:
    """Check a secret key that is wrapped already."""
    if not isinstance(value, Secret):
        return Refusal("must be a Secret")
    return read_secret(value.reveal())


def header_names(value: object) -> object:
    """Read the list of signed headers into sorted lower-case names."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        return Refusal(f"must be a list of header names, not {shown(value)}")
    names = tuple(sorted(name.lower() for name in value))
    if not set(names) <= set(SIGNABLE_HEADERS) or len(set(names)) < len(names):
        return Refusal(f"may hold {', '.join(SIGNABLE_HEADERS)}, each once, not {shown(value)}")
    return names if "host" in names else Refusal("must contain host")


def read_secret(text: str) -> Secret | Refusal:
    """Check the text of a secret key: visible ASCII, so that it can never break a header."""
    return _credential_problem(text, longest=SECRET_KEY_MAX) or Secret(text)


def read_secret_file(content: bytes) -> Secret | Refusal:
    """Read a secret file's bytes: the secret and at most one line end after it."""
    # Undecodable bytes become lone surrogates, which the check refuses as not ASCII.
    text = content.decode("ascii", "surrogateescape")
    return read_secret(text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text)


def shown(value: object) -> str:
    """Show a refused value to people: ASCII, no control characters, short."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list, tuple)):
        return "a table" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge number"  # beyond some length Python refuses to write it out
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _credential_problem(text: str, *, longest: int) -> Refusal | None:
    if not text:
        return Refusal("is empty")
    if not text.strip():
        return Refusal("holds only white space")
    if text.startswith(_BYTE_ORDER_MARKS):
        return Refusal("begins with a byte order mark: save it as plain ASCII")
    if "\n" in text or "\r" in text:
        return Refusal("has a line break in it")
    if any(character.isspace() for character in text):
        return Refusal("has white space in it")
    if not all("!" <= character <= "~" for character in text):
        return Refusal("may hold only visible ASCII characters")
    return Refusal(f"is longer than {longest} characters") if len(text) > longest else None
