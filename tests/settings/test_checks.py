"""Promises of settings/checks.py: what is taken, in which form, and what is refused how."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.model import Refusal
from orchestrator.settings import checks
from orchestrator.settings.secret import Secret

RATE = checks.Range(100_000)
WAIT_S = checks.Range(3600, zero=True)
COUNT = checks.Range(1024, whole=True)


def reason(checked: object) -> str:
    """Return the words of a refusal."""
    assert isinstance(checked, Refusal)
    return checked.reason


@given(value=st.floats() | st.integers())
def test_a_number_is_accepted_exactly_within_its_bounds(value: float) -> None:
    """[C06] [C07] Zero, negative, NaN, infinite and huge ones are refused; a fraction is none."""
    in_bounds = math.isfinite(value)
    is_whole = isinstance(value, int)
    for check, least, most, words in (
        (RATE, math.ulp(0), 100_000, "above 0 and at most 100,000"),
        (WAIT_S, 0, 3600, "from 0 to 3,600"),
        (COUNT, 1, 1024, "from 1 to 1,024" if is_whole else "a whole number"),
    ):
        checked = check(value)
        if in_bounds and least <= value <= most and (is_whole or check is not COUNT):
            assert checked == value
            assert isinstance(checked, int if check is COUNT else float)
        else:
            assert words in reason(checked)


@pytest.mark.parametrize(
    "text",
    ["ten", "\uff11\uff10", "\u0661", "1e3", "nan", "inf", "-inf", "1_000", "+5", " 5", "5\n",
     "", "0x10", "1.", ".5", "1,5", "\u00b2", "9" * 16],
)  # fmt: skip
def test_text_that_is_no_plain_number_is_refused(text: str) -> None:
    """[C06] `float()` would take many of these."""
    assert "must be a number, not" in reason(RATE.in_text(text))
    assert "must be a whole number, not" in reason(COUNT.in_text(text))


def test_plain_numbers_in_text_are_numbers() -> None:
    """Digits, a point, a minus; the bounds are kept."""
    assert (RATE.in_text("0.25"), RATE.in_text("10"), COUNT.in_text("1024")) == (0.25, 10.0, 1024)
    assert "must be from 1 to 1,024, not -1" in reason(COUNT.in_text("-1"))
    assert "must be a whole number, not 1.5" in reason(COUNT.in_text("1.5"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (False, "false"),
        (None, "None"),
        ({"a": 1}, "a table"),
        ([1], "a list"),
        ((1,), "a list"),
        ("10", "'10': write it without quotes"),
        ('"10"', "'\"10\"': it has quotes around it: write it without them"),
        ("\x1b[31m\uff11", r"'\x1b[31m\uff11'"),
        ("x" * 100, f"'{'x' * 56}..."),
    ],
)
def test_what_is_no_number_is_shown_short_and_harmless(value: object, shown: str) -> None:
    """[C06] [C07] [Z10] In a file neither true nor "10" is one; no control character, no flood."""
    assert reason(RATE(value)) == f"must be a number, not {shown}"
    assert reason(COUNT(value)) == f"must be a whole number, not {shown}"


def test_a_number_too_long_for_python_to_write_is_refused_all_the_same() -> None:
    """[Z18] TOML takes hexadecimal numbers of any length; str() of such a number raises."""
    assert "not a huge number" in reason(RATE(16**5000))


#: a check, what it is given, and what comes out
TAKEN: list[tuple[checks.Check, object, object]] = [
    (checks.switch, True, True),
    (checks.switch, False, False),
    (checks.path, "/a b/c", "/a b/c"),
    (checks.path, "/srv/cash$/x", "/srv/cash$/x"),
    (checks.base_url, "https://H.example/", "https://h.example"),
    (checks.access_key, "AK1", "AK1"),
    (checks.secret_key, Secret("SK"), Secret("SK")),
    (checks.name, "Jane Doe (night)", "Jane Doe (night)"),
    (checks.name, "Zürich", "Zürich"),
    (checks.names, ["Jane", "Ada", "Jane"], ("Jane", "Ada")),
    (checks.vdn_ids, [1202, "1201", 1202], (1202, 1201)),
    (checks.vdn_ids, [], ()),
    (checks.notices, ["end", "bad", "end", "start", "quiet"], ("end", "bad", "start", "quiet")),
    (checks.header_names, ["Host", "content-type"], ("content-type", "host")),
    (checks.header_names, ("host",), ("host",)),
    (checks.header_name, "X-Remote-User", "X-Remote-User"),
    (checks.peers, ["10.0.0.5", "10.1.0.0/16", "unix"], ("10.0.0.5", "10.1.0.0/16", "unix")),
    *(
        (checks.listen_address, one, one)
        for one in ("127.0.0.1:8580", "[::1]:8580", "localhost:0", "unix:/run/o.sock")
    ),
    # a secret that was checked may be checked again
    (checks.webhook_url, "https://H:443/T0/x?a=%20", Secret("https://h/T0/x?a=%20")),
    (checks.webhook_url, Secret("https://h"), Secret("https://h/")),
    (checks.webhook_url, "https://h?token=1", Secret("https://h/?token=1")),
    (checks.webhook_url, "http://[::1]:80/x", Secret("http://[::1]/x")),
    (checks.database_url, "postgresql://a:b@h:5432/d", Secret("postgresql://a:b@h:5432/d")),
    (checks.database_url, Secret("postgres://h"), Secret("postgres://h")),
    (checks.apprise_urls, ["jsons://a/?verify=yes"], (Secret("jsons://a/?verify=yes"),)),
]


@pytest.mark.parametrize(("check", "value", "expected"), TAKEN)
def test_a_good_value_is_taken_in_one_form(
    check: checks.Check, value: object, expected: object
) -> None:
    """What a list names twice is kept once."""
    assert check(value) == expected


#: a check, what it is given, and what is said of it
REFUSED: list[tuple[checks.Check, object, str]] = [
    (checks.switch, 1, "must be true or false, without quotes, not 1"),
    (checks.path, "  ", "must be a path"),
    (checks.path, "a\0b", "must be a path"),
    (checks.path, 5, "must be a path in quotes, not 5"),
    (checks.path, "${HOME}/x", "no variable is expanded"),
    (checks.path, "'/etc/key'", "has quotes around it: write it without them"),
    (checks.base_url, "h.example", "not a usable URL: it has no scheme"),
    (checks.base_url, 5, "must be a URL in quotes"),
    (checks.base_url, '"https://h:28080"', "has quotes around it: write it without them"),
    (checks.base_url, "https://h:28080\n", "ends with a line break: take it away"),
    (checks.base_url, "<https://h:28080>", "has angle brackets around it: write it without them"),
    (checks.access_key, "AK/1", "has no '/' in it"),
    (checks.access_key, 1, "must be a text in quotes"),
    (checks.access_key, "x" * 129, "longer than 128"),
    (checks.secret_key, "SKcanary", "must be a Secret"),
    (checks.name, " production", "begins with white space"),
    (checks.name, "", "must be a name of 1 to 64 visible characters"),
    (checks.name, "a\x1b[2Jb", "visible characters"),
    (checks.name, "a" * 65, "visible characters"),
    (checks.names, "Jane", "must be a list of names"),
    (checks.names, ["Ada", "a\nb"], "entry 2 cannot be used: must be a name"),
    (checks.vdn_ids, 1201, "must be a list of VDNs"),
    (checks.vdn_ids, [True], "entry 1 cannot be used: true is not a VDN"),
    (checks.vdn_ids, ["12a"], "'12a' is not a VDN"),
    (checks.notices, "bad", "must be a list of words"),
    (checks.notices, [7], "must be a word in quotes, not 7"),
    (checks.notices, ["bader"], "'bader' is none of bad, end, start, quiet"),
    (checks.header_names, "host", "must be a list of header names"),
    (checks.header_names, ["host", "x-y"], "'x-y' is none of content-length, content-type, host"),
    (checks.header_names, ["content-type"], "must contain host"),
    *((checks.header_name, one, "header") for one in ("X_User", "X-User:", "")),
    *(
        (checks.peers, [one], f"'{one}' would trust everybody") for one in ("0.0.0.0/0", "::/0")
    ),
    *((checks.peers, [one], "is not the address of") for one in ("proxy", "10.0.0.1/8")),
    (checks.peers, "10.0.0.5", "must be a list of addresses"),
    *(
        (checks.listen_address, one, "must be ADDRESS:PORT")
        for one in ("8580", "127.0.0.1", "127.0.0.1:65536", "console.example.com:80", "1.2.3:80",
                    "unix:run", 8580)
    ),
    *(
        (checks.webhook_url, one, "not a usable URL")
        for one in ("http://hooks.example.com/x", "https://user:t0ken@h/x", "ftp://h/t0ken",
                    "https://169.254.169.254/x")
    ),
    *(
        (checks.webhook_url, one, "must be https://HOST/PATH")
        for one in ("https://h/t0ken#y", "https://h/t0ken y", "h/t0ken")
    ),
    *(
        (checks.database_url, one, "must be postgresql://")
        for one in ("mysql://a:t0ken@h/d", "h/d?password=t0ken", "postgres://\x1b")
    ),
    (checks.apprise_urls, "json://t0ken", "must be a list of addresses"),
    (checks.apprise_urls, ["json://a", "json://a t0ken"], "entry 2 cannot be used"),
    (checks.apprise_urls, ["t0ken"], "is not SERVICE://"),
    (checks.apprise_urls, ["jsons://t0ken/?x=1&verify=no"], "may not be turned off"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "value", "words"), REFUSED)
def test_a_bad_value_is_refused_in_words(check: checks.Check, value: object, words: str) -> None:
    """[C05] [C11] The cause is named; what may hold a password or a token is never echoed."""
    said = reason(check(value))

    assert words in said
    assert "t0ken" not in said


BAD_CREDENTIALS = {
    "": "is empty",
    " \t": "only white space",
    "\n": "only white space",
    "SK\r": "line break",
    "S\nK": "line break",
    "S K": "white space",
    "SK\u00a0": "white space",
    "\ufeffSK": "byte order mark",
    "SK\u00e9": "visible ASCII",
    "SK\x00": "visible ASCII",
    "SK\x7f": "visible ASCII",
    "SK\udcff": "visible ASCII",
    "export ORCHESTRATOR_SECRET_KEY=abc": "begins with a name and '=': write the value alone",
    '{"sk":"abc"}': "is JSON: write the value alone",
    "x" * 513: "longer than",
}


@pytest.mark.parametrize("text", BAD_CREDENTIALS)
def test_a_credential_that_would_break_a_header_is_refused(text: str) -> None:
    """[C01] [C02] [Z17] [Z18] Line breaks, marks, anything but visible ASCII, what came along."""
    assert BAD_CREDENTIALS[text] in reason(checks.read_secret(text))
    assert BAD_CREDENTIALS[text] in reason(checks.access_key(text))
    assert BAD_CREDENTIALS[text] in reason(checks.secret_key(Secret(text)))


#: what comes along with a value when it is copied out of something: quotes, JSON, KEY=
COPIED = re.compile(
    r"""(["'`]).+\1|<.+>|\{.*\}|(export |set )?[A-Z_]*(KEY|SECRET|AK|SK)[A-Z_]*=.+"""
)


@given(text=st.text(max_size=20))
@example(text="{}")
@example(text='"a"')
@example(text="<a>")
@example(text="AK=0")
def test_an_accepted_secret_is_visible_ascii_and_a_refused_one_is_not_echoed(text: str) -> None:
    """[C02] [Z17] Property: what passes may stand in a header as it is, and nothing else does."""
    checked = checks.read_secret(text)

    visible = bool(text) and all("!" <= character <= "~" for character in text)
    assert isinstance(checked, Secret) == (visible and not COPIED.fullmatch(text))
    if isinstance(checked, Secret):
        assert checked.reveal() == text
    elif len(text) > 3:
        assert text.strip() == "" or text not in checked.reason


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"SK", "SK"),
        (b"SK\n", "SK"),
        (b"SK\r\n", "SK"),
        (b"SK\n\n", "line break"),
        (b"SK\r", "line break"),
        (b"SK\n\r\n", "line break"),
        (b"\nSK", "line break"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"  \n", "only white space"),
        (b"S K\n", "white space"),
        (b"\xef\xbb\xbfSK\n", "byte order mark"),
        (b"\xff\xfeS\0K\0", "byte order mark"),
        (b"\xfe\xff\0S\0K", "byte order mark"),
        (b"SK\xff", "visible ASCII"),
        (b"SK\x00", "visible ASCII"),
    ],
)
def test_a_secret_file_holds_the_secret_and_at_most_one_line_end(
    content: bytes, expected: str
) -> None:
    """[C01] [C02] One line end is dropped, everything else is refused in words."""
    checked = checks.read_secret_file(content)

    if isinstance(checked, Secret):
        assert checked.reveal() == expected
    else:
        assert expected in checked.reason
