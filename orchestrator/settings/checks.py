"""What one setting's value may be: from a raw value to the checked one, or to a refusal.

Numbers in text are ASCII digits, because `float()` takes nan, inf and full-width digits.
A refusal about a credential or a URL never echoes it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from orchestrator.model import Refusal, read_vdn_id
from orchestrator.settings.secret import Secret
from orchestrator.settings.server_url import read_base_url

#: raw value -> checked value, or why not
Check = Callable[[object], object]

ACCESS_KEY_MAX: Final = 128
SECRET_KEY_MAX: Final = 512
NAME_MAX: Final = 64
#: the headers of our requests that a server could verify (switch C)
SIGNABLE_HEADERS: Final = ("content-length", "content-type", "host")

#: what stands for the peers of a unix socket, and begins the address of one
UNIX: Final = "unix"

#: what may be told of a run
NOTICES: Final = ("bad", "end", "start", "quiet")

_WEBHOOK: Final = re.compile(r"(?P<server>[A-Za-z]+://[^/?#]*)(?P<rest>[!\"$-~]*)")
_APPRISE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\x00-\x1f]+")
_UNVERIFIED: Final = re.compile(r"[?&]verify=(?!yes(?:&|$))", re.IGNORECASE)
_NAMED_KEY: Final = re.compile(r"(?:export |set )?[A-Z_]*(?:KEY|SECRET|AK|SK)[A-Z_]*=.")
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_PLACE: Final = re.compile(r"(?P<host>localhost|[0-9.]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
#: a number in figures with something that people add to it
_WITH_COMMA: Final = re.compile(r"-?[0-9]+(?:[,'\u2019_ ][0-9]+)+(?:\.[0-9]+)?")
_WITH_UNIT: Final = re.compile(
    r"-?[0-9.]+ ?(?:%|s|secs?|seconds?|ms|m|mins?|minutes?|h|hours?|d|days?|hz|(?:/|per) ?[a-z]+)",
    re.IGNORECASE,
)
#: `$HOME`, `${HOME}`, and not `cash$`
_VARIABLE: Final = re.compile(r"\$[A-Za-z_{]")
#: pairs of quotes and brackets that come along with a value that was copied
_PAIRS: Final = frozenset(
    {'""', "''", "``", "<>", "\u201c\u201d", "\u201e\u201c", "\u2018\u2019", "\u00ab\u00bb"}
)
_BLANKS: Final = " \t\r\n\x0b\x0c\xa0\u2028\u2029\u3000\u200b\u200c\u200d\u2060\ufeff"
_BYTE_ORDER_MARKS: Final = ("\ufeff", "\udcef\udcbb\udcbf", "\udcff\udcfe", "\udcfe\udcff")


@dataclass(frozen=True)
class Range:
    """The check of a number: above 0 (with `zero`: from 0), at most `most`."""

    most: float
    zero: bool = False
    whole: bool = False

    @property
    def bounds(self) -> str:
        """In words that follow "must be"."""
        if self.zero or self.whole:
            return f"from {0 if self.zero else 1} to {self.most:,}"
        return f"above 0 and at most {self.most:,}"

    def __call__(self, value: object) -> object:
        """Check a number that is no text any more; a NaN is within no bounds."""
        kinds = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            kind = "a whole number" if self.whole else "a number"
            return Refusal(f"must be {kind}, not {shown(value)}{_number_hint(value)}")
        if 0 < value <= self.most or (self.zero and value == 0):
            return value if self.whole else float(value)
        return Refusal(f"must be {self.bounds}, not {shown(value)}")


def number(*, most: float, zero: bool = False) -> Range:
    """Make the check of numbers above 0 (with `zero`: from 0) and at most `most`."""
    return Range(most, zero=zero)


def count(*, most: int) -> Range:
    """Make the check of whole numbers from 1 to `most`."""
    return Range(most, whole=True)


def whole_in_text(text: str) -> object:
    """Turn a text into a whole number; a text that is none stays what it is."""
    return int(text) if _WHOLE.fullmatch(text) else text


def decimal_in_text(text: str) -> object:
    """Turn a text into a number; a text that is none stays what it is."""
    return float(text) if _DECIMAL.fullmatch(text) else text


def switch(value: object) -> object:
    """Read a TOML boolean."""
    if isinstance(value, bool):
        return value
    hint = ": write it without quotes" if value in ("true", "false") else ""
    return Refusal(f"must be true or false, not {shown(value)}{hint}")


def path(value: object) -> object:
    """Read the path of a file or a directory, as text, without touching the disk."""
    if not isinstance(value, str):
        return Refusal(f"must be a path in quotes, not {shown(value)}")
    if not value.strip() or "\0" in value:
        return Refusal(f"must be a path, not {shown(value)}")
    reason = what_is_around(value)
    if not reason and _VARIABLE.search(value):
        # Not echoed: the secret key itself may stand where the name of its file belongs.
        reason = (
            "has a $ in it, and no variable is expanded here: write the path out, or ~/ for home"
        )
    return Refusal(reason) if reason else value


def base_url(value: object) -> object:
    """Read a base URL into its normalised text."""
    if not isinstance(value, str):
        return Refusal(f"must be a URL in quotes, not {shown(value)}")
    around = what_is_around(value)
    if around:
        return Refusal(around)
    url = read_base_url(value)
    return Refusal(f"not a usable URL: {url.reason}") if isinstance(url, Refusal) else url.text


def access_key(value: object) -> object:
    """Read an access key; `/` separates the fields of the Authorization header."""
    if not isinstance(value, str):
        return Refusal("must be a text in quotes")
    if "/" in value:
        return Refusal("an access key has no '/' in it")
    return _credential_problem(value, longest=ACCESS_KEY_MAX) or value


def secret_key(value: object) -> object:
    """Check a secret key that is wrapped already."""
    return read_secret(value.reveal()) if isinstance(value, Secret) else Refusal("must be a Secret")


def name(value: object) -> object:
    """Read what people call somebody or something: one line that a terminal can show."""
    if not isinstance(value, str):
        return Refusal(f"must be a text in quotes, not {shown(value)}")
    around = what_is_around(value)
    if around:
        return Refusal(around)
    if not value.strip() or not value.isprintable() or len(value) > NAME_MAX:
        return Refusal(f"must be a name of 1 to {NAME_MAX} visible characters, not {shown(value)}")
    return value


def vdn_ids(value: object) -> object:
    """Read a list of VDNs, each kept once."""
    if not isinstance(value, (list, tuple)):
        return Refusal(f"must be a list of VDNs, such as [1201, 1202], not {shown(value)}")
    found = []
    for one in value:
        vdn_id = read_vdn_id(one)
        if isinstance(vdn_id, Refusal):
            return Refusal(f"has an entry that cannot be used: {shown(one)} {vdn_id.reason}")
        found.append(vdn_id)
    return tuple(dict.fromkeys(found))


def notices(value: object) -> object:
    """Read what is told of a run, each word kept once."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        return Refusal(f'must be a list of words, such as ["bad"], not {shown(value)}')
    for one in value:
        if one not in NOTICES:
            known = f"{', '.join(NOTICES[:-1])} and {NOTICES[-1]}"
            return Refusal(f"may hold {known}, not {shown(one)}")
    return tuple(dict.fromkeys(value))


def webhook_url(value: object) -> object:
    """Read the URL of a webhook; never echoed, because it may hold a token."""
    if isinstance(value, Secret):
        value = value.reveal()
    if not isinstance(value, str):
        return Refusal("must be a URL in quotes")
    around = what_is_around(value)
    if around:
        return Refusal(around)
    found = _WEBHOOK.fullmatch(value)
    if found is None:
        return Refusal("must be https://HOST/PATH in visible ASCII characters, without a fragment")
    if "@" in found["server"]:
        return Refusal("a user name or password before the host is not allowed")
    url = read_base_url(found["server"])
    if isinstance(url, Refusal):
        return Refusal(f"not a usable URL: {url.reason}")
    rest = found["rest"] if found["rest"].startswith("/") else f"/{found['rest']}"
    return Secret(url.text + rest)


def database_url(value: object) -> object:
    """Read the address of a PostgreSQL database; never echoed, because it may hold a password."""
    if isinstance(value, Secret):
        value = value.reveal()
    if not isinstance(value, str):
        return Refusal("must be an address in quotes")
    around = what_is_around(value)
    if around:
        return Refusal(around)
    if not value.startswith(("postgresql://", "postgres://")) or not value.isprintable():
        return Refusal("must be postgresql://USER@HOST:PORT/DATABASE")
    return Secret(value)


def apprise_urls(value: object) -> object:
    """Read addresses in the form of apprise, which knows more about them; never echoed."""
    if not isinstance(value, (list, tuple)):
        return Refusal("must be a list of addresses in quotes")
    found = []
    for number_, one in enumerate(value, 1):
        text = one.reveal() if isinstance(one, Secret) else one
        if not isinstance(text, str) or not _APPRISE.fullmatch(text):
            return Refusal(f"entry {number_} is not SERVICE://… in visible characters")
        if _UNVERIFIED.search(text):
            return Refusal(f"entry {number_} may not turn verification off (verify=)")
        found.append(Secret(text))
    return tuple(found)


def names(value: object) -> object:
    """Read a list of names of people, each kept once."""
    if not isinstance(value, (list, tuple)):
        return Refusal(f'must be a list of names, such as ["Jane Doe"], not {shown(value)}')
    for one in value:
        checked = name(one)
        if isinstance(checked, Refusal):
            return Refusal(f"has an entry that cannot be used: it {checked.reason}")
    return tuple(dict.fromkeys(value))


def listen_address(value: object) -> object:
    """Read where a console listens: 127.0.0.1:8580, [::1]:8580, or unix: and a whole path."""
    if not isinstance(value, str):
        return Refusal(f"must be ADDRESS:PORT in quotes, not {shown(value)}")
    if value.startswith(f"{UNIX}:/") and value.isprintable():
        return value
    found = _PLACE.fullmatch(value)
    if found is None or int(found["port"]) > 65_535 or not _is_address(found["host"]):
        return Refusal(
            "must be ADDRESS:PORT, such as 127.0.0.1:8580 or [::1]:8580, or unix:/PATH,"
            f" not {shown(value)}"
        )
    return value


def _is_address(host: str) -> bool:
    try:
        return host == "localhost" or bool(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return False


def header_name(value: object) -> object:
    """Read the name of one header."""
    if not isinstance(value, str) or not _HEADER.fullmatch(value):
        return Refusal(f"must be the name of a header, such as X-Remote-User, not {shown(value)}")
    return value


def peers(value: object) -> object:
    """Read who may speak for users: addresses, networks, and `unix` for a unix socket."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        return Refusal(f'must be a list, such as ["10.0.0.5"], not {shown(value)}')
    for one in value:
        try:
            network = None if one == UNIX else ipaddress.ip_network(one)
        except ValueError as error:
            reason = str(error).replace(repr(one), shown(one))
            return Refusal(f"has an entry that cannot be used: {reason}")
        if network is not None and network.prefixlen == 0:
            return Refusal(f"may not trust everybody: {shown(one)}")
    return tuple(dict.fromkeys(value))


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


def what_is_around(text: str) -> str:
    """Say what came along with a value and does not belong to it; "" when nothing did."""
    if text.startswith(_BYTE_ORDER_MARKS):
        return "begins with a byte order mark: save it as plain ASCII"
    bare = text.strip(_BLANKS)
    if bare and bare != text:
        at_end = text[-1] in _BLANKS
        kind = "a line break" if text[-1 if at_end else 0] in "\r\n" else "white space"
        return f"{'ends' if at_end else 'begins'} with {kind}: take it away"
    if len(bare) > 2 and bare[0] + bare[-1] in _PAIRS:
        kind = "angle brackets" if bare[0] == "<" else "quotes"
        return f"has {kind} around it: write it without them"
    return ""


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


def _number_hint(value: object) -> str:
    """Say what a text is that means a number and is none."""
    if not isinstance(value, str):
        return ""
    around = what_is_around(value)
    if around:
        return f": it {around}"
    if _DECIMAL.fullmatch(value):
        return ": write it without quotes"  # from a settings file; elsewhere it is one by now
    if _WITH_COMMA.fullmatch(value):
        return ": write a fraction with a point, and thousands without a separator"
    if _WITH_UNIT.fullmatch(value):
        return ": write the number alone, without a unit"
    return ": only the digits 0-9 count" if value.isdecimal() else ""


def _credential_problem(text: str, *, longest: int) -> Refusal | None:
    around = what_is_around(text)
    reasons = (
        ("is empty", not text),
        ("holds only white space", not text.strip()),
        (around, around),
        ("is JSON: write the value alone", text[:1] + text[-1:] == "{}"),
        ("begins with a name and '=': write the value alone", _NAMED_KEY.match(text)),
        ("has a line break in it", "\n" in text or "\r" in text),
        ("has white space in it", any(character.isspace() for character in text)),
        ("may hold only visible ASCII characters", not all("!" <= one <= "~" for one in text)),
        (f"is longer than {longest} characters", len(text) > longest),
    )
    return next((Refusal(reason) for reason, found in reasons if found), None)
