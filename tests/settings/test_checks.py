"""Promises of settings/checks.py."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.model import Refusal
from orchestrator.settings import checks
from orchestrator.settings.secret import Secret

RATE = checks.number(most=100_000)
WAIT_S = checks.number(most=3600, zero=True)
COUNT = checks.count(most=1024)


def reason(checked: object) -> str:
    """Return the words of a refusal."""
    assert isinstance(checked, Refusal)
    return checked.reason


@given(value=st.floats())
def test_a_rate_is_accepted_exactly_within_its_bounds(value: float) -> None:
    """[C06] Zero, negative, NaN, infinite and huge rates are refused; the rest is kept."""
    checked = RATE(value)

    if math.isfinite(value) and 0 < value <= 100_000:
        assert checked == value
    else:
        assert "above 0 and at most 100,000" in reason(checked)


@given(value=st.integers())
def test_a_count_is_accepted_exactly_within_its_bounds(value: int) -> None:
    """[C07] 1 to 1,024 and nothing else."""
    checked = COUNT(value)

    if 1 <= value <= 1024:
        assert checked == value
    else:
        assert "from 1 to 1,024" in reason(checked)


@given(value=st.floats() | st.integers())
def test_a_wait_may_be_zero_but_nothing_below(value: float) -> None:
    """[C07] 0 to 3,600 seconds, as a float."""
    checked = WAIT_S(value)

    if 0 <= value <= 3600:
        assert checked == value
        assert isinstance(checked, float)
    else:
        assert "from 0 to 3,600" in reason(checked)


@pytest.mark.parametrize(
    "text",
    ["ten", "\uff11\uff10", "\u0661", "1e3", "nan", "inf", "-inf", "1_000", "+5", " 5", "5\n",
     "", "0x10", "1.", ".5", "1,5", "\u00b2", "9" * 16],
)  # fmt: skip
def test_text_that_is_no_plain_number_stays_text_and_is_refused(text: str) -> None:
    """[C06] `float()` would take many of these."""
    assert checks.decimal_in_text(text) == text
    assert checks.whole_in_text(text) == text
    assert "must be a number, not" in reason(RATE(checks.decimal_in_text(text)))
    assert "must be a whole number, not" in reason(COUNT(checks.whole_in_text(text)))


def test_plain_numbers_in_text_are_numbers() -> None:
    """Digits, a point, a minus; the bounds are somebody else's business."""
    assert checks.decimal_in_text("0.25") == 0.25
    assert checks.decimal_in_text("-1") == -1.0
    assert checks.whole_in_text("1024") == 1024
    assert checks.whole_in_text("1.5") == "1.5"


@pytest.mark.parametrize("value", [True, "10", None, [10], {}])
def test_a_number_of_another_type_is_refused(value: object) -> None:
    """[C06] [C07] In a file, neither true nor "10" is a number."""
    assert "must be a number" in reason(RATE(value))
    assert "must be a whole number" in reason(COUNT(value))


def test_a_fraction_is_no_count() -> None:
    """[C07] 1.0 campaigns in flight is a mistake somewhere."""
    assert "whole number" in reason(COUNT(1.0))


def test_a_switch_is_true_or_false() -> None:
    """Only the booleans of TOML."""
    assert checks.switch(value=True) is True
    assert checks.switch(value=False) is False
    assert "true or false, not 1" in reason(checks.switch(1))


def test_a_path_is_a_text_that_can_name_a_file() -> None:
    """No empty path, no NUL, no number."""
    assert checks.path("/a b/c") == "/a b/c"
    assert "must be a path" in reason(checks.path("  "))
    assert "must be a path" in reason(checks.path("a\0b"))
    assert "in quotes" in reason(checks.path(5))
    assert checks.path("/srv/cash$/x") == "/srv/cash$/x"
    assert "no variable is expanded" in reason(checks.path("${HOME}/x"))


def test_a_base_url_is_normalised_or_refused() -> None:
    """[C05] The words of the URL reader come through."""
    assert checks.base_url("https://H.example/") == "https://h.example"
    assert "no scheme" in reason(checks.base_url("h.example"))
    assert "in quotes" in reason(checks.base_url(5))


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
}


@pytest.mark.parametrize("text", BAD_CREDENTIALS)
def test_a_credential_that_would_break_a_header_is_refused(text: str) -> None:
    """[C01] [C02] [Z17] Empty, white space, line breaks, marks and anything but visible ASCII."""
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


def test_credentials_have_a_greatest_length() -> None:
    """[Z18] Beyond it, the wrong file was named."""
    assert isinstance(checks.read_secret("x" * 512), Secret)
    assert "longer than 512" in reason(checks.read_secret("x" * 513))
    assert "longer than 128" in reason(checks.access_key("x" * 129))


def test_an_access_key_holds_no_separator() -> None:
    """[Z17] `/` stands between the fields of the Authorization header."""
    assert checks.access_key("AK1") == "AK1"
    assert "'/'" in reason(checks.access_key("AK/1"))
    assert "in quotes" in reason(checks.access_key(1))


def test_a_secret_key_that_is_not_wrapped_is_refused() -> None:
    """[Z06] A bare text may have been shown on its way."""
    assert checks.secret_key(Secret("SK")) == Secret("SK")
    assert reason(checks.secret_key("SKcanary")) == "must be a Secret"


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


def test_signed_headers_are_sorted_and_known() -> None:
    """Host is always one; names of headers that are never sent are refused."""
    assert checks.header_names(["host"]) == ("host",)
    assert checks.header_names(["Host", "content-type"]) == ("content-type", "host")
    assert checks.header_names(("host",)) == ("host",)
    assert "must contain host" in reason(checks.header_names([]))
    assert "must contain host" in reason(checks.header_names(["content-type"]))
    assert "each once" in reason(checks.header_names(["host", "Host"]))
    assert "may hold" in reason(checks.header_names(["host", "x-y"]))
    assert "must be a list" in reason(checks.header_names("host"))
    assert "must be a list" in reason(checks.header_names([1]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (False, "false"),
        ({"a": 1}, "a table"),
        ([1], "a list"),
        ((1,), "a list"),
        (10**400, "a huge number"),
        ("\x1b[31m\uff11", r"'\x1b[31m\uff11'"),
        ("x" * 100, f"'{'x' * 56}..."),
    ],
)
def test_a_refused_value_is_shown_short_and_harmless(value: object, expected: str) -> None:
    """[Z10] No control characters, no flood."""
    assert checks.shown(value) == expected


def test_a_number_too_long_for_python_to_write_is_refused_all_the_same() -> None:
    """[Z18] TOML takes hexadecimal numbers of any length; str() of such a number raises."""
    assert "not a huge number" in reason(RATE(16**5000))


def test_what_stands_around_a_url_or_a_path_is_named() -> None:
    """Quotes around a URL, a line break behind it: the cause, not "not a usable URL"."""
    assert reason(checks.base_url('"https://h:28080"')) == (
        "has quotes around it: write it without them"
    )
    assert reason(checks.base_url("https://h:28080\n")) == "ends with a line break: take it away"
    assert reason(checks.path("'/etc/key'")) == "has quotes around it: write it without them"
    assert reason(checks.base_url("<https://h:28080>")) == (
        "has angle brackets around it: write it without them"
    )


def test_a_byte_order_mark_before_a_value_is_named() -> None:
    """A key file that an editor has saved with a mark."""
    assert reason(checks.access_key("\ufeffAK")) == (
        "begins with a byte order mark: save it as plain ASCII"
    )


@pytest.mark.parametrize(
    ("given_text", "hint"),
    [
        ('"10"', ": it has quotes around it: write it without them"),
        ("10", ": write it without quotes"),
        ("1,5", ": write a fraction with a point, and thousands without a separator"),
        ("10s", ": write the number alone, without a unit"),
        ("\u0661\u0660", ": only the digits 0-9 count"),
    ],
)
def test_a_text_that_means_a_number_is_refused_with_what_is_wrong(
    given_text: str, hint: str
) -> None:
    """Quotes, a decimal comma, a unit, other digits: each has its own words."""
    assert reason(RATE(given_text)).endswith(hint)


def test_a_key_with_its_name_before_it_is_refused_with_that_cause() -> None:
    """A line of a shell file, pasted whole."""
    assert reason(checks.read_secret("export ORCHESTRATOR_SECRET_KEY=abc")) == (
        "begins with a name and '=': write the value alone"
    )


def test_a_key_in_json_is_refused_with_that_cause() -> None:
    """What a vault prints, saved whole: it would be signed with, and answered with 401."""
    assert reason(checks.read_secret('{"sk":"abc"}')) == "is JSON: write the value alone"


@pytest.mark.parametrize("text", ["production", "Jane Doe (night)", "Zürich"])
def test_a_name_is_kept_as_it_is(text: str) -> None:
    """People read it in prompts and reports."""
    assert checks.name(text) == text


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (7, "must be a text in quotes"),
        (" production", "begins with white space"),
        ("", "must be a name of 1 to 64 visible characters"),
        ("a\x1b[2Jb", "visible characters"),
        ("a" * 65, "visible characters"),
    ],
)
def test_a_name_that_could_not_be_shown_is_refused(value: object, why: str) -> None:
    """It would move a cursor, fill a screen, or be none."""
    assert why in reason(checks.name(value))


def test_a_list_of_vdns_keeps_each_once_and_in_order() -> None:
    """Numbers as TOML has them, or as text."""
    assert checks.vdn_ids([1202, "1201", 1202]) == (1202, 1201)
    assert checks.vdn_ids([]) == ()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (1201, "must be a list of VDNs"),
        ([0], "0 is not a VDN"),
        ([True], "true is not a VDN"),
        (["12a"], "'12a' is not a VDN"),
    ],
)
def test_what_is_no_list_of_vdns_is_refused(value: object, why: str) -> None:
    """The entry is named."""
    assert why in reason(checks.vdn_ids(value))


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/x",
        "https://user:pa55@example.com/x",
        "https://h/x#y",
        "https://h/x y",
        "ftp://h/x",
        "h/x",
        " https://h/x",
        "https://169.254.169.254/x",
        7,
    ],
)
def test_a_webhook_is_https_or_on_loopback_and_never_echoed(url: object) -> None:
    """What is refused is not quoted."""
    refused = checks.webhook_url(url)

    assert isinstance(refused, Refusal)
    assert "pa55" not in str(refused)


@pytest.mark.parametrize(
    "url",
    ["mysql://a:pa55@h/d", "h/d?password=pa55", " postgresql://a:pa55@h", "postgres://\x1b", 7],
)
def test_a_database_is_postgresql_and_never_echoed(url: object) -> None:
    """What is refused is not quoted: it may hold the password."""
    refused = checks.database_url(url)

    assert isinstance(refused, Refusal)
    assert "pa55" not in str(refused)


def test_a_database_is_kept_as_it_is() -> None:
    """Both ways to write it; what was checked may be checked again."""
    for text in ("postgresql://a:b@h:5432/d", "postgres://h"):
        once = checks.database_url(text)
        assert isinstance(once, Secret)
        assert once.reveal() == text
        assert checks.database_url(once) == once


def test_an_address_of_apprise_may_not_turn_verification_off() -> None:
    """Its place is named, nothing of it."""
    refused = str(checks.apprise_urls(["json://a", "jsons://tok3n@a/?x=1&verify=no"]))

    assert "entry 2" in refused
    assert "tok3n" not in refused
    assert isinstance(checks.apprise_urls(["jsons://a/?verify=yes"]), tuple)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://H:443/T0/x?a=%20", "https://h/T0/x?a=%20"),
        ("https://h", "https://h/"),
        ("https://h?token=1", "https://h/?token=1"),
        ("http://[::1]:80/x", "http://[::1]/x"),
    ],
)
def test_a_webhook_keeps_its_path_and_query(url: str, normal: str) -> None:
    """Server in one form, the rest as it is; what was checked may be checked again."""
    once = checks.webhook_url(url)

    assert isinstance(once, Secret)
    assert once.reveal() == normal
    assert checks.webhook_url(once) == once


@pytest.mark.parametrize("value", ["json://t0ken", ["t0ken"], ["json://a t0ken"], [7], 7])
def test_addresses_of_apprise_are_a_list_and_never_echoed(value: object) -> None:
    """Whatever they are instead."""
    refused = checks.apprise_urls(value)

    assert isinstance(refused, Refusal)
    assert "t0ken" not in refused.reason


def test_what_is_told_is_a_list_of_known_words() -> None:
    """Each once; a word that may come later says when a run is told."""
    assert checks.notices(["end", "bad", "end"]) == ("end", "bad")
    assert checks.notices([]) == ()
    assert isinstance(checks.notices("bad"), Refusal)
    assert isinstance(checks.notices([7]), Refusal)
    assert checks.notices(["start", "quiet"]) == ("start", "quiet")
    assert checks.notices(["bader"]) == Refusal("may hold bad, end, start and quiet, not 'bader'")


@pytest.mark.parametrize(
    "value",
    ["127.0.0.1:8580", "[::1]:8580", "localhost:0", "0.0.0.0:65535", "unix:/run/orchestrator.sock"],
)
def test_a_place_to_listen_is_an_address_with_a_port_or_a_socket(value: str) -> None:
    """What is written in it is what is listened on."""
    assert checks.listen_address(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "8580",
        "127.0.0.1",
        "127.0.0.1:65536",
        "console.example.com:80",
        "1.2.3:80",
        "unix:run",
        8580,
    ],
)
def test_a_place_to_listen_that_is_none_is_refused(value: object) -> None:
    """A name could be looked up to something that others reach."""
    assert isinstance(checks.listen_address(value), Refusal)


def test_a_proxy_is_trusted_by_address_network_or_socket() -> None:
    """Each once; everybody is nobody to trust."""
    assert checks.peers(["10.0.0.5", "10.1.0.0/16", "unix", "unix"]) == (
        "10.0.0.5",
        "10.1.0.0/16",
        "unix",
    )
    for value in (["proxy"], ["10.0.0.1/8"], ["0.0.0.0/0"], ["::/0"], "10.0.0.5", [5]):
        assert isinstance(checks.peers(value), Refusal)


def test_the_header_of_a_proxy_has_a_name_that_headers_can_have() -> None:
    """No colon, no blank, no underscore, which some servers take for a dash."""
    assert checks.header_name("X-Remote-User") == "X-Remote-User"
    for value in ("X_User", "X-User:", "", 5):
        assert isinstance(checks.header_name(value), Refusal)


def test_names_of_people_are_a_list_of_visible_names() -> None:
    """Each once; one that nobody can read is refused."""
    assert checks.names(["Jane", "Ada", "Jane"]) == ("Jane", "Ada")
    for value in ("Jane", ["a\nb"], [""], [1]):
        assert isinstance(checks.names(value), Refusal)
