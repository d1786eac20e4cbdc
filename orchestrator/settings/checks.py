"""What one setting's value may be: from a raw value to the checked one, or to a refusal.

Numbers in text are ASCII digits, because `float()` takes nan, inf and full-width digits.
A refusal about a credential or a URL never echoes it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

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
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
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

    def in_text(self, text: str) -> object:
        """Check a number from where it can only be text, such as a command line."""
        if not _NUMBER.fullmatch(text):
            return self(text)
        return self(float(text) if "." in text else int(text))


def _number_hint(value: object) -> str:
    """Say what makes a text of a number that was meant."""
    if not isinstance(value, str):
        return ""
    around = what_is_around(value)
    if around:
        return f": it {around}"
    return ": write it without quotes" if _NUMBER.fullmatch(value) else ""


@dataclass(frozen=True)
class Text:
    """The check of a text: nothing that was copied along with it, then a rule of its own."""

    wanted: str
    rule: Callable[[str], object]

    def __call__(self, value: object) -> object:
        """Check a text, or a secret that was wrapped on its way; a text is never echoed here."""
        text = value.reveal() if isinstance(value, Secret) else value
        if not isinstance(text, str):
            return Refusal(f"must be {self.wanted} in quotes, not {shown(text)}")
        around = what_is_around(text)
        return Refusal(around) if around else self.rule(text)


@dataclass(frozen=True)
class Each:
    """The check of a list: each entry by a rule of its own, and each kept once."""

    wanted: str
    rule: Check

    def __call__(self, value: object) -> tuple[Any, ...] | Refusal:
        """Check the entries; one that cannot be used is named by its place."""
        if not isinstance(value, (list, tuple)):
            return Refusal(f"must be a list of {self.wanted}")  # a text may be a secret
        found = []
        for number, one in enumerate(value, 1):
            checked = self.rule(one)
            if isinstance(checked, Refusal):
                return Refusal(f"entry {number} cannot be used: {checked.reason}")
            found.append(checked)
        return tuple(dict.fromkeys(found))


def switch(value: object) -> object:
    """Read a TOML boolean."""
    if isinstance(value, bool):
        return value
    return Refusal(f"must be true or false, without quotes, not {shown(value)}")


def secret_key(value: object) -> object:
    """Check a secret key that is wrapped already."""
    return read_secret(value.reveal()) if isinstance(value, Secret) else Refusal("must be a Secret")


def _path(text: str) -> object:
    if not text.strip() or "\0" in text:
        return Refusal(f"must be a path, not {shown(text)}")
    if _VARIABLE.search(text):
        # Not echoed: the secret key itself may stand where the name of its file belongs.
        return Refusal(
            "has a $ in it, and no variable is expanded here: write the path out, or ~/ for home"
        )
    return text


def _base_url(text: str) -> object:
    url = read_base_url(text)
    return Refusal(f"not a usable URL: {url.reason}") if isinstance(url, Refusal) else url.text


def _access_key(text: str) -> object:
    if "/" in text:  # it separates the fields of the Authorization header
        return Refusal("an access key has no '/' in it")
    return _credential_problem(text, longest=ACCESS_KEY_MAX) or text


def _name(text: str) -> object:
    """One line that a terminal can show."""
    if not text.strip() or not text.isprintable() or len(text) > NAME_MAX:
        return Refusal(f"must be a name of 1 to {NAME_MAX} visible characters, not {shown(text)}")
    return text


def _webhook_url(text: str) -> object:
    found = _WEBHOOK.fullmatch(text)
    if found is None:
        return Refusal("must be https://HOST/PATH in visible ASCII characters, without a fragment")
    url = read_base_url(found["server"])
    if isinstance(url, Refusal):
        return Refusal(f"not a usable URL: {url.reason}")
    rest = found["rest"] if found["rest"].startswith("/") else f"/{found['rest']}"
    return Secret(url.text + rest)


def _database_url(text: str) -> object:
    if not text.startswith(("postgresql://", "postgres://")) or not text.isprintable():
        return Refusal("must be postgresql://USER@HOST:PORT/DATABASE")
    return Secret(text)


def _apprise_url(text: str) -> object:
    """In the form of apprise, which knows more about it."""
    if not _APPRISE.fullmatch(text):
        return Refusal("it is not SERVICE://… in visible characters")
    if _UNVERIFIED.search(text):
        return Refusal("verification may not be turned off (verify=)")
    return Secret(text)


def _listen_address(text: str) -> object:
    """127.0.0.1:8580, [::1]:8580, or unix: and a whole path."""
    if text.startswith(f"{UNIX}:/") and text.isprintable():
        return text
    found = _PLACE.fullmatch(text)
    if found is None or int(found["port"]) > 65_535 or not _is_address(found["host"]):
        return Refusal(
            "must be ADDRESS:PORT, such as 127.0.0.1:8580 or [::1]:8580, or unix:/PATH,"
            f" not {shown(text)}"
        )
    return text


def _is_address(host: str) -> bool:
    try:
        return host == "localhost" or bool(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return False


def _header_name(text: str) -> object:
    if not _HEADER.fullmatch(text):
        return Refusal(f"must be the name of a header, such as X-Remote-User, not {shown(text)}")
    return text


def _peer(text: str) -> object:
    """Who may speak for users: an address, a network, or `unix` for a unix socket."""
    try:
        network = None if text == UNIX else ipaddress.ip_network(text)
    except ValueError:
        return Refusal(f"{shown(text)} is not the address of a machine or a network, nor {UNIX}")
    if network is not None and network.prefixlen == 0:
        return Refusal(f"{shown(text)} would trust everybody")
    return text


def _vdn_id(value: object) -> object:
    vdn_id = read_vdn_id(value)
    return Refusal(f"{shown(value)} {vdn_id.reason}") if isinstance(vdn_id, Refusal) else vdn_id


def _word_of(known: tuple[str, ...]) -> Text:
    """The check of one of some words, in lower case."""

    def rule(text: str) -> object:
        word = text.lower()
        return word if word in known else Refusal(f"{shown(text)} is none of {', '.join(known)}")

    return Text("a word", rule)


path: Final = Text("a path", _path)
base_url: Final = Text("a URL", _base_url)
access_key: Final = Text("a text", _access_key)
name: Final = Text("a text", _name)
webhook_url: Final = Text("a URL", _webhook_url)
database_url: Final = Text("an address", _database_url)
listen_address: Final = Text("ADDRESS:PORT", _listen_address)
header_name: Final = Text("a name", _header_name)
vdn_ids: Final = Each("VDNs, such as [1201, 1202]", _vdn_id)
notices: Final = Each('words, such as ["bad"]', _word_of(NOTICES))
apprise_urls: Final = Each("addresses in quotes", Text("an address", _apprise_url))
names: Final = Each('names, such as ["Jane Doe"]', name)
peers: Final = Each('addresses, such as ["10.0.0.5"]', Text("an address", _peer))
_SIGNED: Final = Each("header names", _word_of(SIGNABLE_HEADERS))


def header_names(value: object) -> object:
    """Read the list of signed headers into sorted lower-case names."""
    headers = _SIGNED(value)
    if isinstance(headers, Refusal):
        return headers
    return tuple(sorted(headers)) if "host" in headers else Refusal("must contain host")


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
