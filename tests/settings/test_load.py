"""Promises of settings: files of every kind, rights, and what errors say."""

from __future__ import annotations

import getpass
import os
import pwd
import ssl
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from orchestrator.errors import SettingsError
from orchestrator.settings import files as sources
from orchestrator.settings.load import Identity, Settings, config_show, load_settings
from orchestrator.settings.schema import SETTINGS
from orchestrator.settings.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

CANARY = "SKcanary0123456789"
HERE = Identity.current()
ROOT = Identity(0, frozenset({0}), None)
#: nobody on any machine
STRANGER = Identity(54_321, frozenset({54_321}), None)
NOTHING_SENT = " Nothing was sent; campaigns are still dialling."

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


class World:
    """A home, an /etc, and everything load_settings is given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.system_file = root / "etc" / "config.toml"
        self.user_file = root / "home" / ".config" / "orchestrator" / "config.toml"
        for file in (self.system_file, self.user_file):
            file.parent.mkdir(parents=True)
        self.secret_file = self.write("sk", f"{CANARY}\n".encode())
        self.warnings: list[str] = []

    def write(self, name: str, content: bytes, mode: int = 0o600) -> Path:
        """Write a file with these rights."""
        file = self.root / name
        file.write_bytes(content)
        file.chmod(mode)
        return file

    def load(
        self,
        flags: dict[str, object] | None = None,
        environ: dict[str, str] | None = None,
        **changed: Any,
    ) -> Settings:
        """Load with a server, an access key and a secret file, unless they are overridden."""
        given: dict[str, Any] = {
            "flags": {
                "server.base_url": "https://h.example:28080",
                "credentials.access_key": "AK",
                **(flags or {}),
            },
            "environ": {
                "HOME": str(self.root / "home"),
                "ORCHESTRATOR_SECRET_KEY_FILE": str(self.secret_file),
                **(environ or {}),
            },
            "config": None,
            "emergency": False,
            "need_credentials": True,
            "ask_secret": None,
            "warn": self.warnings.append,
            "identity": HERE,
            "system_file": self.system_file,
        }
        return load_settings(**(given | changed))

    def refusal(self, *args: Any, **changed: Any) -> SettingsError:
        """Load, and return the error that must come."""
        with pytest.raises(SettingsError) as caught:
            self.load(*args, **changed)
        assert CANARY not in f"{caught.value}{caught.value.advice}"
        return caught.value


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Make a machine with nothing configured."""
    return World(tmp_path)


# ------------------------------------------------------------------ layers


def test_all_parts_come_out_as_plain_frozen_records(world: World) -> None:
    """Flags, a secret file and defaults, joined."""
    settings = world.load({"pace.rate_per_s": 20, "server.ca_file": None})

    assert settings.server.base_url == "https://h.example:28080"
    assert settings.server.ca_file is None
    assert settings.credentials.access_key == "AK"
    assert settings.credentials.secret_key == Secret(CANARY)
    assert settings.pace.rate_per_s == 20.0
    assert settings.retry.max_attempts == 5
    assert settings.signing.signed_headers == ("host",)
    assert settings.state_dir == world.root / "home" / ".local" / "state" / "orchestrator"
    assert settings.origins["credentials.secret_key"] == "ORCHESTRATOR_SECRET_KEY_FILE"
    assert world.warnings == []


def test_flag_environment_and_file_disagree(world: World) -> None:
    """[C09] The documented order, value by value, with the origin of each."""
    world.user_file.write_text(
        "[pace]\nrate_per_s = 3\nconcurrency = 3\n[retry]\npatience_s = 3\n", encoding="utf-8"
    )

    settings = world.load(
        {"pace.rate_per_s": 1.0},
        {"ORCHESTRATOR_RATE_PER_S": "2", "ORCHESTRATOR_CONCURRENCY": "2"},
    )

    assert (settings.pace.rate_per_s, settings.pace.concurrency) == (1.0, 2)
    assert settings.retry.patience_s == 3.0
    shown = {key: (value, origin) for key, value, origin in config_show(settings)}
    assert shown["pace.rate_per_s"] == ("1", "--rate")
    assert shown["pace.concurrency"] == ("2", "ORCHESTRATOR_CONCURRENCY")
    assert shown["retry.patience_s"] == ("3", f"{world.user_file}:retry.patience_s")
    assert shown["retry.max_attempts"] == ("5", "default")


def test_shown_settings_are_all_there_and_hide_the_secret(world: World) -> None:
    """[C09] [Z06] Every key once; the secret masked, its file named."""
    settings = world.load()

    rows = config_show(settings)

    assert [key for key, _, _ in rows] == [spec.key for spec in SETTINGS]
    assert ("credentials.secret_key", "***", "ORCHESTRATOR_SECRET_KEY_FILE") in rows
    assert (
        "credentials.secret_key_file",
        str(world.secret_file),
        "ORCHESTRATOR_SECRET_KEY_FILE",
    ) in rows
    assert CANARY not in f"{rows}{settings!r}{settings._asdict()}"


def test_a_secret_that_is_not_needed_is_not_read(world: World) -> None:
    """A dry run goes through with a secret file that is missing; its origin is still known."""
    world.secret_file.unlink()

    settings = world.load(need_credentials=False)

    assert settings.credentials.secret_key is None
    assert ("credentials.secret_key", "***", "ORCHESTRATOR_SECRET_KEY_FILE") in config_show(
        settings
    )


# ------------------------------------------------------------------ which file


def test_the_users_file_goes_before_the_machines(world: World) -> None:
    """$XDG_CONFIG_HOME, else ~/.config, else /etc; one file is read, never two."""
    world.system_file.write_text("[pace]\nconcurrency = 1\n[retry]\nmax_attempts = 1\n")
    assert world.load().pace.concurrency == 1

    world.user_file.write_text("[pace]\nconcurrency = 2\n")
    assert world.load().pace.concurrency == 2
    assert world.load().retry.max_attempts == 5

    xdg_file = world.root / "xdg" / "orchestrator" / "config.toml"
    xdg_file.parent.mkdir(parents=True)
    xdg_file.write_text("[pace]\nconcurrency = 3\n")
    xdg = {"XDG_CONFIG_HOME": str(world.root / "xdg")}
    assert world.load(environ=xdg).pace.concurrency == 3

    named = world.write("named.toml", b"[pace]\nconcurrency = 4\n")
    assert world.load(environ=xdg, config=named).pace.concurrency == 4


def test_a_relative_xdg_path_is_ignored(world: World) -> None:
    """The XDG rule: a relative path is invalid."""
    world.user_file.write_text("[pace]\nconcurrency = 2\n")

    settings = world.load(environ={"XDG_CONFIG_HOME": "xdg", "XDG_STATE_HOME": "state"})

    assert settings.pace.concurrency == 2
    assert settings.state_dir == world.root / "home" / ".local" / "state" / "orchestrator"


def test_the_state_directory_follows_xdg(world: World) -> None:
    """$XDG_STATE_HOME/orchestrator, unless a setting names another."""
    assert world.load(environ={"XDG_STATE_HOME": "/srv/s"}).state_dir == Path("/srv/s/orchestrator")
    assert world.load(environ={"ORCHESTRATOR_STATE_DIR": "/srv/runs"}).state_dir == Path(
        "/srv/runs"
    )


def test_without_home_the_user_database_is_asked(world: World) -> None:
    """Cron and systemd may not set HOME."""
    at_home = Identity(HERE.uid, HERE.gids, world.root / "home")

    settings = world.load(environ={"HOME": ""}, identity=at_home)

    assert settings.state_dir == world.root / "home" / ".local" / "state" / "orchestrator"


def test_without_any_home_the_pausing_goes_on(world: World) -> None:
    """A container that does not know its user: runs are kept elsewhere, with a warning."""
    homeless = Identity(HERE.uid, HERE.gids, None)

    settings = world.load(environ={"HOME": ""}, identity=homeless)
    quiet = world.load(environ={"HOME": "", "ORCHESTRATOR_STATE_DIR": "/srv"}, identity=homeless)

    assert settings.state_dir == Path(f"/var/tmp/orchestrator-{HERE.uid}")  # noqa: S108
    assert quiet.state_dir == Path("/srv")
    assert world.warnings == [f"there is no home directory: runs are kept in {settings.state_dir}"]


def test_paths_in_a_file_start_at_the_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cron starts somewhere else; `~/` is home; flags start at the working directory."""
    elsewhere = world.root / "cwd"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    world.user_file.write_text(
        '[server]\nca_file = "ca.pem"\n[state]\ndir = "~/runs"\n', encoding="utf-8"
    )

    of_file = world.load(need_server=False)
    of_flag = world.load({"server.ca_file": Path("ca.pem")}, need_server=False)

    assert of_file.server.ca_file == world.user_file.parent / "ca.pem"
    assert of_file.state_dir == world.root / "home" / "runs"
    assert of_flag.server.ca_file == elsewhere / "ca.pem"


def test_the_operating_system_is_asked_who_we_are_when_nobody_says(world: World) -> None:
    """Identity.current() is the default."""
    assert world.load(identity=None).credentials.secret_key == Secret(CANARY)


def test_a_user_without_an_entry_has_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container started with a number for its user."""

    def nobody(_uid: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)

    assert Identity.current().home is None


# ------------------------------------------------------------------ what a file may be

BAD_FILES: dict[str, tuple[bytes, str]] = {
    "no TOML": (b"[server\n", "is not TOML: syntax error (at line 1"),
    "a key pasted by mistake": (CANARY.encode(), "is not TOML: syntax error (at "),
    "not UTF-8": (b"x = '\xff'", "is not UTF-8"),
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


def test_root_trusts_a_file_of_its_own(world: World) -> None:
    """[C14] The checks for root do not stand in root's way."""
    if os.geteuid() != 0:
        pytest.skip("files are ours, not root's")
    world.system_file.write_text("[pace]\nconcurrency = 2\n")
    world.system_file.chmod(0o644)

    assert world.load(identity=ROOT).pace.concurrency == 2


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620])
def test_root_refuses_a_file_that_others_can_write(world: World, mode: int) -> None:
    """[C14] Whoever can write it chooses root's server."""
    world.system_file.touch()
    world.system_file.chmod(mode)

    error = world.refusal(identity=ROOT)

    assert str(world.system_file) in str(error)
    assert "we run as root" in str(error)
    for_others = world.load(identity=STRANGER, need_credentials=False)
    assert for_others.credentials.access_key == "AK"


@needs_root
def test_root_refuses_a_file_of_somebody_else(world: World) -> None:
    """[C14] Owned by another user."""
    world.system_file.touch()
    os.chown(world.system_file, 54_321, 54_321)

    assert "is owned by another user (uid 54321)" in str(world.refusal(identity=ROOT))


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


# ------------------------------------------------------------------ missing things


def test_a_missing_server_reads_like_the_sample(world: World) -> None:
    """The two lines of docs/spec/contracts.md, with the files that were looked for."""
    no_home = Identity(HERE.uid, HERE.gids, None)
    error = world.refusal(
        {"server.base_url": None, "credentials.access_key": None},
        {"HOME": ""},
        identity=no_home,
    )

    assert str(error) == (
        "no server configured (looked in --base-url, ORCHESTRATOR_BASE_URL,"
        f" {world.system_file}).{NOTHING_SENT}"
    )
    assert error.advice == "add --base-url https://HOST:28080 --access-key AK"
    assert error.key == "server.base_url"


def test_only_the_file_that_was_read_is_named_as_looked_in(world: World) -> None:
    """Both places when there was none, the one file when there was."""
    neither = str(world.refusal({"server.base_url": None}))
    world.user_file.touch()
    one = str(world.refusal({"server.base_url": None}))

    assert f"{world.user_file}, {world.system_file})" in neither
    assert f"{world.user_file})" in one


def test_the_caller_words_the_consequence(world: World) -> None:
    """`restore` must not say that campaigns are dialling."""
    error = world.refusal({"server.base_url": None}, consequence="Nothing was sent.")

    assert str(error).endswith("). Nothing was sent.")


def test_a_missing_secret_is_asked_for_on_a_terminal(world: World) -> None:
    """[C01] Typed without echo, checked like any other."""
    settings = world.load(environ={"ORCHESTRATOR_SECRET_KEY_FILE": ""}, ask_secret=lambda: CANARY)

    assert settings.credentials.secret_key == Secret(CANARY)
    assert settings.origins["credentials.secret_key"] == "typed at the terminal"
    empty = world.refusal(environ={"ORCHESTRATOR_SECRET_KEY_FILE": ""}, ask_secret=lambda: "")
    assert str(empty) == f"typed at the terminal: is empty.{NOTHING_SENT}"


def test_a_missing_secret_without_a_terminal_is_refused(world: World) -> None:
    """[C01] cron has nobody to ask."""
    error = world.refusal(environ={"ORCHESTRATOR_SECRET_KEY_FILE": ""})

    assert str(error).startswith(
        "no secret key configured (looked in ORCHESTRATOR_SECRET_KEY_FILE, ORCHESTRATOR_SECRET_KEY"
    )


def test_nobody_is_asked_for_a_secret_when_something_else_is_wrong(world: World) -> None:
    """[C01] Typing a secret only to hear that the server is missing is unkind."""

    def ask() -> str:
        pytest.fail("asked too early")

    world.refusal({"server.base_url": None}, {"ORCHESTRATOR_SECRET_KEY_FILE": ""}, ask_secret=ask)
    assert world.load(ask_secret=ask).credentials.secret_key == Secret(CANARY)


def test_the_secret_may_come_from_its_variable(world: World) -> None:
    """The documented second choice; bad ones are refused without an echo."""
    settings = world.load(
        environ={"ORCHESTRATOR_SECRET_KEY_FILE": "", "ORCHESTRATOR_SECRET_KEY": CANARY}
    )
    error = world.refusal(
        environ={"ORCHESTRATOR_SECRET_KEY_FILE": "", "ORCHESTRATOR_SECRET_KEY": f"{CANARY}\n"}
    )

    assert settings.credentials.secret_key == Secret(CANARY)
    assert (
        str(error)
        == f"ORCHESTRATOR_SECRET_KEY: ends with a line break: take it away.{NOTHING_SENT}"
    )


# ------------------------------------------------------------------ bad values end to end


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e9", "ten", "\uff11\uff10", "100001"])
def test_a_bad_rate_is_refused_from_every_place(world: World, value: str) -> None:
    """[C06] Flag and environment; the file's types are tested with the file."""
    assert "--rate: must be" in str(world.refusal({"pace.rate_per_s": value}))
    error = world.refusal(environ={"ORCHESTRATOR_RATE_PER_S": value})
    assert str(error).startswith("ORCHESTRATOR_RATE_PER_S: must be")


# ------------------------------------------------------------------ secret files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"   \n", "only white space"),
        (f"{CANARY}\n\n".encode(), "line break"),
        (f"\ufeff{CANARY}".encode(), "byte order mark"),
        (f"{CANARY} x".encode(), "white space"),
        (CANARY.encode() * 5_000, "larger than 65,536 bytes"),
    ],
)
def test_a_secret_file_of_the_wrong_form_is_refused(
    world: World, content: bytes, words: str
) -> None:
    """[C01] [C02] Before any list is read; the content is not echoed."""
    world.secret_file.write_bytes(content)

    error = world.refusal()

    assert str(error).startswith(f"ORCHESTRATOR_SECRET_KEY_FILE: {world.secret_file}: ")
    assert words in str(error)
    assert error.advice.endswith(f"chmod 600 {world.secret_file}")


def test_a_secret_file_with_a_windows_line_end_is_read(world: World) -> None:
    """[C02] One line end, of either kind."""
    world.secret_file.write_bytes(f"{CANARY}\r\n".encode())

    assert world.load().credentials.secret_key == Secret(CANARY)


def test_a_secret_file_that_is_no_file_is_refused(world: World) -> None:
    """[C02] Missing, a directory, a FIFO, a name that no file can have."""
    os.mkfifo(world.root / "fifo", 0o600)
    for name, words in [
        ("half \ud800 pair", "is no file name"),
        ("none", "cannot be read (No such file or directory)"),
        ("home", "cannot be read (Is a directory)"),
        ("fifo", "is not a regular file"),
    ]:
        error = world.refusal(environ={"ORCHESTRATOR_SECRET_KEY_FILE": str(world.root / name)})
        assert words in str(error)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o601, 0o620, 0o660, 0o666, 0o777, 0o650])
def test_a_secret_file_open_to_others_is_refused(world: World, mode: int) -> None:
    """[C03] Ours, but others can read or write it."""
    world.secret_file.chmod(mode)

    assert f"others may read or write it (mode {mode:04o})" in str(world.refusal())


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_secret_file_of_our_own_is_read(world: World, mode: int) -> None:
    """[C03] No right for group or others."""
    world.secret_file.chmod(mode)

    assert world.load().credentials.secret_key == Secret(CANARY)


def test_a_secret_file_behind_a_link_is_judged_by_its_target(world: World) -> None:
    """[C03] Kubernetes mounts secrets as links."""
    link = world.root / "link"
    link.symlink_to(world.secret_file)

    settings = world.load(environ={"ORCHESTRATOR_SECRET_KEY_FILE": str(link)})
    assert settings.credentials.secret_key == Secret(CANARY)
    world.secret_file.chmod(0o644)
    assert "others may" in str(world.refusal(environ={"ORCHESTRATOR_SECRET_KEY_FILE": str(link)}))


#: owner, group, mode; who reads; what is said, "" for accepted
RIGHTS: list[tuple[int, int, int, Identity, str]] = [
    # realistic: root's file for the operators' group
    (0, 54_321, 0o640, STRANGER, ""),
    (0, 54_321, 0o440, STRANGER, ""),
    (0, 54_321, 0o640, ROOT, ""),
    (54_321, 54_321, 0o600, STRANGER, ""),
    # wrong owner, group or mode
    (0, 0, 0o640, STRANGER, "readable by a group we are not in"),
    (0, 54_321, 0o660, STRANGER, "others may"),
    (0, 54_321, 0o644, STRANGER, "others may"),
    (0, 54_321, 0o650, STRANGER, "others may"),
    (54_321, 54_321, 0o640, STRANGER, "others may"),
    (54_322, 54_321, 0o640, STRANGER, "belongs to another user (uid 54322)"),
    (54_322, 54_321, 0o600, STRANGER, "belongs to another user (uid 54322)"),
    (54_321, 54_321, 0o600, ROOT, "belongs to another user (uid 54321)"),
]


@needs_root
@pytest.mark.parametrize(("uid", "gid", "mode", "reader", "words"), RIGHTS)
def test_the_rights_of_a_secret_file(
    world: World, uid: int, gid: int, mode: int, reader: Identity, words: str
) -> None:
    """[C03] Its owner only, or root's and readable by our group."""
    os.chown(world.secret_file, uid, gid)
    world.secret_file.chmod(mode)

    if words:
        assert words in str(world.refusal(identity=reader))
    else:
        assert world.load(identity=reader).credentials.secret_key == Secret(CANARY)


def rights_of(uid: int, gid: int, mode: int, *, kind: int = stat.S_IFREG) -> os.stat_result:
    """Make the rights of a file that only root could make."""
    return os.stat_result((kind | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))


#: entries as setfacl makes them; the group's mode bits then show the mask
OWNER, GROUP_OBJ, MASK, OTHER = (1, 6, 0), (4, 0, 0), (0x10, 4, 0), (0x20, 0, 0)


@pytest.mark.parametrize(
    ("owner", "entries", "words"),
    [
        # systemd: LoadCredential= with User=
        (0, [OWNER, (2, 4, 54_321), GROUP_OBJ, MASK, OTHER], ""),
        # root's file for a group of ours by name, and one that the mask takes everything from
        (0, [OWNER, GROUP_OBJ, (8, 4, 54_321), MASK, OTHER], ""),
        (0, [OWNER, (2, 4, 54_321), (2, 7, 33), GROUP_OBJ, (0x10, 0, 0), OTHER], ""),
        # our own file, and a list that names only us
        (54_321, [OWNER, (2, 4, 54_321), GROUP_OBJ, MASK, OTHER], ""),
        # somebody else in it
        (0, [OWNER, (2, 4, 54_321), (2, 4, 33), GROUP_OBJ, MASK, OTHER], "user 33 may"),
        (54_321, [OWNER, (2, 4, 33), GROUP_OBJ, MASK, OTHER], "user 33 may"),
        (0, [OWNER, (2, 4, 54_321), GROUP_OBJ, (8, 4, 33), MASK, OTHER], "a group we are not in"),
        (0, [OWNER, (4, 4, 0), (2, 4, 54_321), MASK, OTHER], "a group we are not in (gid 0)"),
        (54_321, [OWNER, GROUP_OBJ, (8, 4, 54_321), MASK, OTHER], "group 54321 may"),
    ],
)
def test_the_rights_of_a_secret_file_with_an_access_control_list(
    owner: int, entries: list[tuple[int, int, int]], words: str
) -> None:
    """[C03] Who is named in it, as far as its mask lets them; the mode alone would mislead."""
    acl = tuple(sources._AclEntry(*one) for one in entries)

    problem = sources._secret_rights_problem(rights_of(owner, 0, 0o640), STRANGER, acl)

    assert (words in problem) if words else not problem


def test_an_access_control_list_is_read_from_the_file(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that another user may read by name, whatever the file system here keeps."""
    stored = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *one) for one in [OWNER, (2, 4, 33), GROUP_OBJ, MASK, OTHER]
    )
    monkeypatch.setattr(os, "getxattr", lambda _file, _name: stored)

    assert "user 33 may read or write it" in str(world.refusal())


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("..2026_11_26_03_00_00.1/sk", ("defaultMode: 0440", "fsGroup")),
        ("sk", ("chmod 600", "setfacl -b")),
    ],
)
def test_advice_about_rights_can_be_followed_where_the_file_lies(
    world: World, place: str, words: tuple[str, ...]
) -> None:
    """A secret volume of Kubernetes is read-only, and its rights stand in the pod's manifest."""
    file = world.root / place
    file.parent.mkdir(exist_ok=True)
    file.write_text(CANARY)
    file.chmod(0o644)
    link = world.root / "link"
    link.symlink_to(file)

    advice = world.refusal(environ={"ORCHESTRATOR_SECRET_KEY_FILE": str(link)}).advice

    assert all(word in advice for word in words)
    assert ("chmod" in advice) == (place == "sk")


def test_advice_about_a_docker_secret_speaks_of_docker() -> None:
    """Its mode stands in the stack's file, or on the host."""
    advice = sources._rights_advice(Path("/run/secrets/sk"), STRANGER)

    assert 'uid: "54321" and mode: 0400' in advice
    assert "on the host, chown 54321" in advice


@pytest.mark.parametrize(
    ("link", "target", "words"),
    [
        (rights_of(0, 0, 0o777, kind=stat.S_IFLNK), rights_of(0, 0, 0o644), ""),
        (rights_of(0, 0, 0o600), rights_of(0, 0, 0o600), ""),
        (rights_of(7, 0, 0o600), rights_of(7, 0, 0o600), "is owned by another user (uid 7)"),
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
        sources._check_root_may_trust(Path("c.toml"), link=link, target=target)
        return
    with pytest.raises(SettingsError) as caught:
        sources._check_root_may_trust(Path("c.toml"), link=link, target=target)
    assert words in str(caught.value)


# ------------------------------------------------------------------ CA files


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


# ------------------------------------------------------------------ the terminal


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """cron: stderr is a file. A terminal without /dev/tty: nobody either."""
    monkeypatch.setattr(sys, "stderr", Stderr(terminal=False))
    assert sources.terminal_prompt() is None

    def no_tty(path: str, flags: int) -> int:
        raise OSError

    monkeypatch.setattr(sys, "stderr", Stderr(terminal=True))
    monkeypatch.setattr(os, "open", no_tty)
    assert sources.terminal_prompt() is None


class Stderr:
    """A standard error that is a terminal or not."""

    def __init__(self, *, terminal: bool) -> None:
        self._terminal = terminal

    def isatty(self) -> bool:
        """Say which."""
        return self._terminal


@pytest.mark.parametrize("trouble", [EOFError, getpass.GetPassWarning])
def test_a_prompt_that_fails_is_an_empty_secret(
    monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]
) -> None:
    """[C01] Ctrl-D, or a terminal that would echo: refused as empty by the caller."""

    def fail(_prompt: str) -> str:
        raise trouble

    monkeypatch.setattr(getpass, "getpass", fail)

    assert sources._ask() == ""


PROMPT = """
import os, sys
os.close(os.open(os.ttyname(2), os.O_RDWR))   # a new session takes the terminal it opens
from orchestrator.settings.load import terminal_prompt
ask = terminal_prompt()
print("typed:", ask() == sys.argv[1] if ask else None)
"""


@pytest.mark.sockets
def test_the_secret_is_typed_without_echo_while_stdin_carries_the_list() -> None:
    """[Z06] A child on a terminal of its own: the answer arrives, the terminal shows nothing."""
    ours, theirs = os.openpty()
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", PROMPT, CANARY],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
        )
        screen = b""
        while not screen.endswith(b"(SK): "):
            screen += os.read(ours, 1024)
        os.write(ours, f"{CANARY}\n".encode())
        printed, _ = child.communicate(timeout=30)
        os.set_blocking(ours, False)
        screen += os.read(ours, 1024)
    finally:
        os.close(ours)
        os.close(theirs)

    assert printed == b"typed: True\n"
    assert CANARY.encode() not in screen


@pytest.mark.parametrize(("change", "words"), [
    (lambda pem: b"\xef\xbb\xbf" + pem, "byte order mark"),
    (lambda pem: pem.decode().encode("utf-16"), "UTF-16"),
    (lambda pem: ssl.PEM_cert_to_DER_cert(pem.decode()), "DER form"),
    (lambda pem: pem.replace(b"CERTIFICATE", b"PKCS7"), "PKCS 7"),
    (lambda pem: b"  " + pem.replace(b"\n", b"\n  "), "before -----BEGIN"),
    (lambda pem: b'"' + pem + b'"', "before -----BEGIN"),
    (lambda pem: pem.replace(b"\n", b"\\n"), "written out"),
])  # fmt: skip
def test_a_ca_file_of_another_form_is_named(
    world: World, tmp_path: Path, change: Callable[[bytes], bytes], words: str
) -> None:
    """[C10] A byte order mark, another encoding, another container: what it is, not "cannot"."""
    file = tmp_path / "ca.pem"
    file.write_bytes(change(trustme.CA().cert_pem.bytes()))
    assert words in str(world.refusal(environ={"ORCHESTRATOR_CA_FILE": str(file)}))


@pytest.mark.parametrize(
    "key",
    [
        "sk-simulator-not-a-secret",
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "/aB3defghijklm/nopq7+rs",
    ],
)
def test_a_secret_key_where_its_file_belongs_is_not_read_out(tmp_path: Path, key: str) -> None:
    """The variable holds the key itself: neither the refusal nor `config show` repeats it."""
    file = tmp_path / key

    with pytest.raises(SettingsError) as caught:
        sources.read_secret(
            file, origin="ORCHESTRATOR_SECRET_KEY_FILE", identity=Identity.current()
        )

    assert key.strip("/")[:12] not in f"{caught.value} {caught.value.advice}"
    assert "it could be the key itself" in str(caught.value)
    assert key.strip("/")[:12] not in sources.shown_secret_file(file)


def test_a_secret_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A path that is only mistyped, or not mounted, is what the reader needs to see."""
    file = tmp_path / "secrets" / "isales.key"

    with pytest.raises(SettingsError, match=r"secrets/isales\.key: cannot be read"):
        sources.read_secret(
            file, origin="ORCHESTRATOR_SECRET_KEY_FILE", identity=Identity.current()
        )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_settings_file_in_utf_16_is_called_that(tmp_path: Path, encoding: str) -> None:
    """Saved by an editor with or without its byte order mark."""
    file = tmp_path / "config.toml"
    file.write_bytes("[pace]\nrate_per_s = 20\n".encode(encoding))

    with pytest.raises(SettingsError, match="is UTF-16 text: save it as UTF-8"):
        sources.read_settings_file(file, Identity.current())
