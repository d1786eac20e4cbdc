"""Promises of settings/server_url.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model import Refusal
from orchestrator.settings.server_url import (
    ServerUrl,
    read_base_url,
    server_fingerprint,
    server_origin,
)

ACCEPTED = {
    # realistic
    "https://isales.example.com:28080": "https://isales.example.com:28080",
    "https://isales.example.com": "https://isales.example.com",
    "https://10.22.26.181:28080/": "https://10.22.26.181:28080",
    "http://127.0.0.1:28080": "http://127.0.0.1:28080",
    "http://localhost:8080": "http://localhost:8080",
    # synthetic
    "HTTPS://ISales.Example.COM:443/Gate-Way/v1/": "https://isales.example.com/Gate-Way/v1",
    "http://LOCALHOST:80/": "http://localhost",
    "http://127.9.8.7": "http://127.9.8.7",
    "http://[::1]:28080": "http://[::1]:28080",
    "https://[2001:DB8:0:0::5]/x": "https://[2001:db8::5]/x",
    "https://xn--bcher-kva.example/a/b~c_d.e": "https://xn--bcher-kva.example/a/b~c_d.e",
    "https://1.example": "https://1.example",
    "https://h:65535": "https://h:65535",
    "https://isales_prod.example:28080": "https://isales_prod.example:28080",
    "https://_internal._tcp.a_.example": "https://_internal._tcp.a_.example",
    "https://isales.example.com.:28080/": "https://isales.example.com.:28080",
    "https://ISales.": "https://isales.",
    "http://localhost.:8080": "http://localhost.:8080",
}

REFUSED = {
    # realistic
    "isales.example.com:28080": "no scheme",
    "": "no scheme",
    "//isales.example.com": "no scheme",
    "http://isales.example.com:28080": "loopback",
    "http://10.0.0.1": "loopback",
    "http://[2001:db8::1]": "loopback",
    "https://ak:sk@isales.example.com": "user name",
    "https://ak@isales.example.com": "user name",
    "https://isales.example.com/?a=b": "query",
    "https://isales.example.com#top": "fragment",
    "https://": "no host",
    "https://:443": "no host",
    "https:///path": "no host",
    "https://h:0": "port",
    "https://h:99999": "port",
    "https://h:": "port",
    "https://h:080": "port",
    "https://h:x": "port",
    "https://h:-1": "port",
    # synthetic
    "file:///etc/passwd": "https, not file",
    "ftp://h": "https, not ftp",
    "https://2130706433": "IPv4",
    "https://127.1": "IPv4",
    "https://0177.0.0.1": "IPv4",
    "https://0x7f.0.0.1": "IPv4",
    "https://127.0.0.0x1": "IPv4",
    "https://0x7f000001": "IPv4",
    "https://256.1.1.1": "IPv4",
    "https://1.2.3.4.5": "IPv4",
    "https://169.254.169.254": "link-local",
    "https://169.254.1.1:443": "link-local",
    "https://[fe80::1]": "link-local",
    "https://[fd00:ec2::254]": "metadata",
    "https://100.100.100.200": "metadata",
    "https://[::ffff:169.254.169.254]": "not written as IPv6",
    "http://[::ffff:127.0.0.1]": "not written as IPv6",
    "https://0.0.0.0": "one machine",
    "https://[::]": "one machine",
    "https://224.0.0.1": "one machine",
    "https://255.255.255.255": "one machine",
    # pathological
    "https://[1.2.3.4]": "IPv6",
    "https://[::1": "bracketed",
    "https://::1": "port",
    "https://[::1]x": "bracketed",
    "https://[fe80::1%25eth0]": "bracketed",
    "https://a..": "letters",
    "https://.": "letters",
    "https://127.0.0.1.": "IPv4",
    "https://0x7f.1.": "IPv4",
    "http://example.com.": "loopback",
    "https://-a.example": "letters",
    "https://a..b": "letters",
    f"https://{'a' * 64}.example": "at most 63",
    f"https://{'a.' * 127}a": "at most 63",
    "https://h\\@evil": "user name",
    "https://h\\evil": "letters",
    "https://h/a//b": "neither through //",
    "https://h//": "neither through //",
    "https://h/../x": "neither through //",
    "https://h/./x": "neither through //",
    "https://h/%2e%2e/x": "path may hold",
    "https://h/a;b": "path may hold",
    "https://h/a@b": "path may hold",
    "https://h /": "no white space",
    "https://h\n": "no white space",
    "https://h\t.example": "no white space",
    "https://b\u00fccher.example": "visible ASCII",
    "https://h:\uff18\uff10": "visible ASCII",
    "https://\u2460\u2461\u2466.0.0.1": "visible ASCII",
}


@pytest.mark.parametrize("text", ACCEPTED)
def test_a_good_url_is_written_in_one_form(text: str) -> None:
    """[C05] Case of the host, the default port and the last slash make no difference."""
    url = read_base_url(text)

    assert isinstance(url, ServerUrl)
    assert url.text == ACCEPTED[text]
    assert read_base_url(url.text) == url


@pytest.mark.parametrize("text", REFUSED)
def test_a_bad_url_is_refused_with_the_part_named(text: str) -> None:
    """[C05] [Z15] Whatever is refused, the words say which part is at fault."""
    url = read_base_url(text)

    assert isinstance(url, Refusal)
    assert REFUSED[text] in url.reason


def test_a_password_in_a_url_is_not_echoed() -> None:
    """[C05] The refusal names the part and keeps the password to itself."""
    url = read_base_url("https://operator:hunter2@isales.example.com")

    assert isinstance(url, Refusal)
    assert "hunter2" not in url.reason


@given(text=st.text(alphabet="htps:/[]@?#%.-_~0129axAX\\ \n\u00e9", max_size=40))
def test_what_is_accepted_is_stable_and_plain(text: str) -> None:
    """[C05] Reading an accepted URL again gives the same one, and it has only its own parts."""
    url = read_base_url(f"https://{text}")

    if isinstance(url, ServerUrl):
        assert read_base_url(url.text) == url
        assert server_fingerprint(url.fingerprint) == url.fingerprint
        assert not set("@?#%\\ \n") & set(url.text)


@pytest.mark.parametrize(
    ("text", "fingerprint"),
    [
        ("https://H.example/", "https://h.example:443"),
        ("https://h.example:443/Pre/fix/", "https://h.example:443/Pre/fix"),
        ("http://[::1]", "http://[::1]:80"),
        ("https://h.example:28080", "https://h.example:28080"),
        ("https://h.example.", "https://h.example:443"),
    ],
)
def test_a_fingerprint_always_has_its_port(text: str, fingerprint: str) -> None:
    """Two ways to write one server have one fingerprint."""
    assert server_fingerprint(text) == fingerprint


def test_a_text_that_is_no_url_has_no_fingerprint() -> None:
    """Asking for the fingerprint of an unchecked text is the caller's mistake."""
    with pytest.raises(ValueError, match="no scheme"):
        server_fingerprint("isales.example.com")


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("https://isales.example.com:28080", "isales.example.com:28080"),
        ("https://isales.example.com.:28080", "isales.example.com:28080"),
        ("https://isales.example.com", "isales.example.com"),
        ("https://[2001:db8::1]:28080", "[2001:db8::1]:28080"),
    ],
)
def test_the_host_header_has_the_port_unless_it_is_the_default_and_no_last_dot(
    text: str, header: str
) -> None:
    """What is sent and signed as Host."""
    url = read_base_url(text)

    assert not isinstance(url, Refusal)
    assert url.host_header == header


def test_a_rate_belongs_to_scheme_host_and_port() -> None:
    """Two prefixes of one server share it."""
    assert server_origin("https://cc.example.com/a/b") == "https://cc.example.com:443"
    assert server_origin("http://127.0.0.1:8080") == "http://127.0.0.1:8080"
