"""Promises of settings/files.py: settings files, CA files, and what root trusts."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path

import pytest
import trustme

from orchestrator.settings import files as sources
from tests.settings.makers import (
    CANARY,
    HERE,
    NOTHING_SENT,
    ROOT,
    World,
    needs_root,
    rights_of,
)

BAD_FILES: dict[str, tuple[bytes, str]] = {
    "no TOML": (b"[server\n", "is not TOML: syntax error (at line 1"),
    "a key pasted by mistake": (CANARY.encode(), "is not TOML: syntax error (at "),
    "not UTF-8": (b"x = '\xff'", "is not UTF-8"),
    "UTF-16": ("[pace]".encode("utf-16"), "is not UTF-8"),
    "too deep": (b"x = " + b"[" * 20_000, "is not TOML"),
    "a number without end": (b"x = " + b"1" * 5_000, "is not TOML: it cannot be parsed"),
    "too large": (b"#" * (1024 * 1024 + 1), "is larger than 1,048,576 bytes"),
    "an unknown key": (b"[pace]\nrate = 1\n", "unknown key (did you mean pace.rate_per_s?)"),
    "a secret": (
        f'[credentials]\nsecret_key = "{CANARY}"\n'.encode(),
        "name its file in credentials.secret_key_file",
    ),
    "a wrong type": (b'[pace]\nconcurrency = "8"\n', "pace.concurrency: must be a whole number"),
    "a section as a list": (b"[[pace]]\nrate_per_s = 1\n", "it is a section: write [pace]"),
    "a name of 50,000 parts": (b".".join([b"a"] * 50_000) + b" = 1\n", "more than 16 parts"),
    "a table of such a name": (b"[x]\n[" + b"''.\"\" . " * 9_000 + b"a]\n", "(at line 2)"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_refused_in_words(world: World, kind: str) -> None:
    """[C08] The file is named, its content is not echoed, nothing was sent."""
    content, words = BAD_FILES[kind]
    world.system_file.write_bytes(content)

    error = world.refusal()

    assert words in str(error)
    assert str(error).startswith(str(world.system_file))
    assert str(error).endswith("." + NOTHING_SENT)
    assert error.exit_code == 2


def test_a_byte_order_mark_before_toml_is_nobodys_mistake(world: World) -> None:
    """Some editors write one."""
    world.system_file.write_bytes(b"\xef\xbb\xbf[pace]\nconcurrency = 2\n")

    assert world.load().pace.concurrency == 2


def test_a_named_file_must_exist(world: World) -> None:
    """A typo in --config must not fall back to another server's file."""
    world.system_file.write_text("[pace]\nconcurrency = 2\n")

    error = world.refusal(config=world.root / "none.toml")

    assert str(error) == f"--config: {world.root}/none.toml: there is no such file.{NOTHING_SENT}"


def test_a_file_that_blocks_or_is_none_is_refused(world: World) -> None:
    """A FIFO would wait for a writer at 3 a.m.; a directory has nothing to read."""
    os.mkfifo(world.root / "fifo")

    assert "is not a regular file" in str(world.refusal(config=world.root / "fifo"))
    assert "cannot be read (Is a directory)" in str(world.refusal(config=world.root / "home"))


def test_a_default_that_cannot_be_reached_is_passed_over(world: World) -> None:
    """HOME is a file, as /dev/null often is: a warning, and what else is set counts."""
    home = str(world.secret_file)

    settings = world.load(environ={"HOME": home})

    assert settings.server.base_url == "https://h.example:28080"
    assert settings.state_dir == Path(f"/var/tmp/orchestrator-{HERE.uid}")  # noqa: S108
    assert any(f"{home}/.config" in one and "Not a directory" in one for one in world.warnings)
    assert any(f"{home}/.local" in one and "/var/tmp" in one for one in world.warnings)  # noqa: S108


@needs_root
def test_root_refuses_a_link_to_or_of_somebody_else(world: World) -> None:
    """[C14] Either end of a symbolic link may be in other hands."""
    theirs, ours = world.write("theirs.toml", b""), world.write("ours.toml", b"")
    os.chown(theirs, 54_321, 54_321)
    to_theirs, of_theirs, good = (world.root / name for name in ("a", "b", "c"))
    to_theirs.symlink_to(theirs)
    of_theirs.symlink_to(ours)
    good.symlink_to(ours)
    os.lchown(of_theirs, 54_321, 54_321)

    assert "leads to a file of another user" in str(world.refusal(config=to_theirs, identity=ROOT))
    assert "is a symbolic link of another" in str(world.refusal(config=of_theirs, identity=ROOT))
    assert world.load(config=good, identity=ROOT).credentials.access_key == "AK"


@pytest.mark.parametrize(
    ("link", "target", "words"),
    [
        (rights_of(0, 0, 0o777, kind=stat.S_IFLNK), rights_of(0, 0, 0o644), ""),
        (rights_of(0, 0, 0o600), rights_of(0, 0, 0o600), ""),
        (rights_of(7, 0, 0o600), rights_of(7, 0, 0o600), "is owned by another user"),
        (rights_of(7, 0, 0o777, kind=stat.S_IFLNK), rights_of(0, 0, 0o600), "a symbolic link of"),
        (rights_of(0, 0, 0o777, kind=stat.S_IFLNK), rights_of(7, 0, 0o600), "leads to a file of"),
        (rights_of(0, 0, 0o664), rights_of(0, 0, 0o664), "can be written by others"),
        (rights_of(0, 0, 0o602), rights_of(0, 0, 0o602), "can be written by others"),
    ],
)
def test_what_root_trusts_judged_without_being_root(
    link: os.stat_result, target: os.stat_result, words: str
) -> None:
    """[C14] Owner and rights of both ends."""
    if not words:
        sources._check_root_may_trust(link, target)
        return
    with pytest.raises(sources.UnusableError, match=words):
        sources._check_root_may_trust(link, target)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make a certificate authority."""
    return trustme.CA()


def test_a_ca_file_is_taken(world: World, authority: trustme.CA) -> None:
    """[C10] One certificate is enough, comments around it do no harm."""
    file = world.write("ca.pem", "# nuestra certificación\n".encode() + authority.cert_pem.bytes())

    assert world.load({"server.ca_file": str(file)}).server.ca_file == file


def test_a_ca_file_without_certificates_is_refused(world: World, authority: trustme.CA) -> None:
    """[C10] Missing, empty, garbage, cut short, a directory: each in words."""
    certificate = authority.cert_pem.bytes()
    cases = {
        "none.pem": (None, "cannot be read (No such file or directory)"),
        "empty.pem": (b"\n", "is empty"),
        "garbage.pem": (b"\x00\xffgarbage", "holds no certificate"),
        "mark.pem": (b"\xef\xbb\xbf" + certificate, "begins with a byte order mark"),
        "der.pem": (ssl.PEM_cert_to_DER_cert(certificate.decode()), "is in DER form: openssl"),
        "utf-16.pem": (certificate.decode().encode("utf-16"), "holds no certificate"),
        "quoted.pem": (b'"' + certificate + b'"', "holds no certificate"),
        "cut.pem": (certificate[: len(certificate) // 2], "holds a certificate that cannot"),
        "broken.pem": (certificate.replace(b"M", b"!"), "holds a certificate that cannot"),
        "accents.pem": (
            certificate.replace(b"\n", b"\n\xe9", 2),
            "holds a certificate that cannot",
        ),
        "large.pem": (b"#" * (sources.CA_FILE_MAX_BYTES + 1), "is larger than"),
        "home": (None, "cannot be read (Is a directory)"),
    }
    for name, (content, words) in cases.items():
        file = world.root / name if content is None else world.write(name, content)
        error = world.refusal({"server.ca_file": file})
        assert str(error).startswith(f"--ca-file: {file}: {words}"), name


def test_a_private_key_given_as_ca_file_is_refused_unseen(
    world: World, authority: trustme.CA
) -> None:
    """[C10] Not one line of it is repeated, whichever kind of key it is."""
    key = authority.private_key_pem.bytes()
    for content in (key, authority.cert_pem.bytes() + key):
        error = world.refusal({"server.ca_file": world.write("ca.pem", content)})

        assert "holds a private key" in str(error)
        said = f"{error}{error.advice}"
        assert not any(line.decode() in said for line in key.splitlines() if len(line) > 8)


def test_a_command_that_needs_no_server_does_not_mind_its_ca_file(world: World) -> None:
    """`config show` shows what is set, usable or not."""
    settings = world.load({"server.ca_file": "/none.pem"}, need_server=False)

    assert settings.server.ca_file == Path("/none.pem")
