"""Promises of settings/load.py and layers.py: layers, origins, places, and what is missing."""

from __future__ import annotations

import pwd
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import SettingsError
from orchestrator.settings.files import Identity
from orchestrator.settings.layers import (
    environment_layer,
    environment_warnings,
    file_layer,
    ignored_proxy,
)
from orchestrator.settings.load import as_emergency, config_show
from orchestrator.settings.schema import SETTINGS
from orchestrator.settings.secret import Secret
from tests.settings.makers import (
    CANARY,
    HERE,
    NOTHING_SENT,
    ROOT,
    STRANGER,
    World,
)

# ------------------------------------------------------------------ layers


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
    assert CANARY not in f"{rows}{settings!r}{asdict(settings)}"


def test_a_secret_that_is_not_needed_is_not_read(world: World) -> None:
    """A dry run goes through with a secret file that is missing; its origin is still known."""
    world.secret_file.unlink()

    settings = world.load(need_credentials=False)

    assert settings.credentials.secret_key is None
    assert ("credentials.secret_key", "***", "ORCHESTRATOR_SECRET_KEY_FILE") in config_show(
        settings
    )


# ------------------------------------------------------------------ which value counts


def test_an_emergency_has_its_own_defaults(world: World) -> None:
    """pause-all: 3 s and 5 s, no maximum of attempts, cap 1 s; each said to be its own."""
    settings = world.load(emergency=True)

    assert (settings.server.connect_timeout_s, settings.server.attempt_timeout_s) == (3.0, 5.0)
    assert (settings.retry.max_attempts, settings.retry.backoff_cap_s) == (None, 1.0)
    assert settings.origins["retry.max_attempts"] == "default of pause-all"
    assert settings.origins["pace.rate_per_s"] == "default"
    assert settings.origins["server.ca_file"] == "not set"


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"retry.max_attempts": 3},
        {"server.attempt_timeout_s": 30.0},
        {"retry.backoff_base_s": 2.0},
        {"retry.backoff_base_s": 15.0},
        {"retry.backoff_cap_s": 4.0},
    ],
)
def test_a_worker_has_the_defaults_of_an_emergency_for_its_emergencies(
    world: World, flags: dict[str, object]
) -> None:
    """Whatever was given, its settings become those that pause-all would have loaded."""
    usual, urgent = world.load(flags), world.load(flags, emergency=True)

    made = as_emergency(usual)

    assert (made.server, made.retry, made.pace) == (urgent.server, urgent.retry, urgent.pace)


@pytest.mark.parametrize(("flag", "variable", "file"), list(product([True, False], repeat=3)))
def test_the_first_layer_that_speaks_decides(
    world: World,
    flag: bool,  # noqa: FBT001
    variable: bool,  # noqa: FBT001
    file: bool,  # noqa: FBT001
) -> None:
    """[C09] Flag, then environment, then file, then default; the origin follows."""
    if file:
        world.user_file.write_text("[pace]\nconcurrency = 3\n")

    settings = world.load(
        {"pace.concurrency": 1 if flag else None},
        {"ORCHESTRATOR_CONCURRENCY": "2" if variable else ""},
    )

    spoken = [
        (flag, 1, "--concurrency"),
        (variable, 2, "ORCHESTRATOR_CONCURRENCY"),
        (file, 3, f"{world.user_file}:pace.concurrency"),
        (True, 8, "default"),
    ]
    first = next((value, origin) for spoke, value, origin in spoken if spoke)
    assert first == (settings.pace.concurrency, settings.origins["pace.concurrency"])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"flags": {"pace.rate_per_s": "ten"}}, "--rate: must be a number, not 'ten'"),
        (
            {"flags": {"retry.max_attempts": 0}},
            "argument retry.max_attempts: must be from 1 to 1,000, not 0",
        ),
        (
            {"environ": {"ORCHESTRATOR_RATE_PER_S": "1\uff10"}},
            r"ORCHESTRATOR_RATE_PER_S: must be a number, not '1\uff10'",
        ),
        (
            {"file": '[pace]\nrate_per_s = "10"\n'},
            "FILE:pace.rate_per_s: must be a number, not '10': write it without quotes",
        ),
        (
            {"file": '[server]\nbase_url = ["x"]\n'},
            "FILE:server.base_url: must be a URL in quotes, not a list",
        ),
    ],
)
def test_a_refusal_names_where_the_value_came_from(
    world: World, given: dict[str, Any], sentence: str
) -> None:
    """[C06] [C07] A flag, a variable or file:key, then the reason, then an example."""
    world.user_file.write_text(given.pop("file", ""))

    error = world.refusal(**{"flags": {"server.base_url": None}, "need_server": False} | given)

    assert str(error) == sentence.replace("FILE", str(world.user_file)) + "." + NOTHING_SENT
    examples = {"pace.rate_per_s": "10", "retry.max_attempts": "5"}
    example = examples.get(error.key, "https://isales.example.com:28080")
    assert error.advice == f"correct it, for example: {example}"


def test_a_cap_below_the_base_is_lifted(world: World) -> None:
    """A base of 2 s lifts pause-all's cap of 1 s."""
    base: dict[str, object] = {"retry.backoff_base_s": 2}

    assert world.load(base, emergency=True).retry.backoff_cap_s == 2.0


def test_the_secret_of_the_first_layer_counts_and_its_file_goes_first(world: World) -> None:
    """[C09] Within the environment the file; the environment before the settings file."""
    in_file = world.write("other", b"SKother\n")
    world.user_file.write_text(f'[credentials]\nsecret_key_file = "{in_file}"\n')
    no_variable = {"ORCHESTRATOR_SECRET_KEY_FILE": ""}
    variable = {"ORCHESTRATOR_SECRET_KEY": "SKvariable"}

    found = [
        world.load(environ=environ).credentials.secret_key
        for environ in (variable, variable | no_variable, no_variable)
    ]

    assert found == [Secret(CANARY), Secret("SKvariable"), Secret("SKother")]


def test_the_environment_layer_wraps_the_secret_at_once() -> None:
    """[Z06] The layer can be shown; it holds no secret in the clear."""
    layer = environment_layer({"ORCHESTRATOR_SECRET_KEY": CANARY, "PATH": "/bin"}, Path())

    assert CANARY not in repr(layer)
    assert list(layer) == ["credentials.secret_key"]


def test_what_is_shown_is_readable(world: World) -> None:
    """[C09] Numbers, lists, switches and what is not set, as people write them."""
    world.user_file.write_text('[signing]\nsigned_headers = ["host", "content-type"]\n')
    settings = world.load(
        {"pace.rate_per_s": 12.5, "signing.millis": True},
        {"ORCHESTRATOR_SECRET_KEY_FILE": ""},
        need_credentials=False,
        emergency=True,
    )

    rows = config_show(settings)

    assert ("credentials.secret_key", "-", "not set") in rows
    assert ("credentials.secret_key_file", "-", "not set") in rows
    assert ("pace.rate_per_s", "12.5", "--rate") in rows
    assert ("pace.concurrency", "8", "default") in rows
    assert ("server.ca_file", "system", "not set") in rows
    assert ("retry.max_attempts", "no maximum", "default of pause-all") in rows
    assert ("signing.millis", "true", "argument signing.millis") in rows
    assert ("signing.blank_query_line", "false", "default") in rows
    headers = ("signing.signed_headers", "content-type, host")
    assert (*headers, f"{world.user_file}:signing.signed_headers") in rows


# ------------------------------------------------------------------ unknown names


def test_an_override_that_is_no_setting_is_refused_in_words(world: World) -> None:
    """A library caller's typo is told like one in a file, not as a KeyError from our inside."""
    assert "overrides:pace.rate: unknown key" in str(world.refusal({"pace.rate": 1}))


@pytest.mark.parametrize(
    ("document", "hint"),
    [
        ({"pace": {"rate_per_sec": 1}}, "did you mean pace.rate_per_s?"),
        ({"pace": {"rate": 1}}, "did you mean pace.rate_per_s?"),
        ({"servr": {"base_url": "x"}}, "did you mean server.base_url?"),
        ({"base_url": "x"}, "did you mean server.base_url?"),
        ({"cms": {"base_ulr": "x"}}, "did you mean cms.base_url?"),
        ({"retry": {"rate_per_s": 1}}, "did you mean pace.rate_per_s?"),
        ({"credentials": {"secret_key": CANARY}}, "name its file in credentials.secret_key_file"),
        ({"server": [{"base_url": "x"}]}, "it is a section: write [server]"),
        ({"zzz": 1}, "c.toml:zzz: unknown key"),
        ({"a": {"\x1b[31m" + "b" * 200: {"c": 1}}}, r"c.toml:a.\x1b[31mbbb"),
    ],
)
def test_an_unknown_key_is_refused_with_a_guess(document: dict[str, object], hint: str) -> None:
    """[C08] Near misses, wrong sections and secrets in the wrong place."""
    with pytest.raises(SettingsError) as caught:
        file_layer(document, file=Path("c.toml"), base=Path())

    assert hint in str(caught.value)
    assert "unknown key" in str(caught.value)
    assert CANARY not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert "\x1b" not in str(caught.value)


def test_odd_variables_are_named_but_their_values_are_not() -> None:
    """[C13] [C08] Unknown, empty and powerless variables; strangers are left alone."""
    environ = {
        "ORCHESTRATOR_YES": "1",
        "ORCHESTRATOR_RATE": CANARY,
        "ORCHESTRATOR_QQ\x1b": CANARY,
        "ORCHESTRATOR_BASE_URL": "",
        "ORCHESTRATOR_CONCURRENCY": "4",
        "ORCHESTRATOR_SECRET_KEY": CANARY,
        "ORCHESTRATOR_SECRET_KEY_FILE": "/run/sk",
        "YES": "1",
    }

    assert list(environment_warnings(environ)) == [
        "ORCHESTRATOR_BASE_URL is empty and counts as not set",
        r"ORCHESTRATOR_QQ\x1b is not a known variable and is ignored",
        (
            "ORCHESTRATOR_RATE is not a known variable and is ignored"
            " (did you mean ORCHESTRATOR_RATE_PER_S?)"
        ),
        (
            "ORCHESTRATOR_YES has no effect: an emergency is confirmed by --yes"
            " or by typing the VDN number"
        ),
        "ORCHESTRATOR_SECRET_KEY_FILE is used, ORCHESTRATOR_SECRET_KEY is ignored",
    ]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, False),
        ({"https_proxy": ""}, False),
        ({"https_proxy": "http://p:3128"}, True),
        ({"ALL_PROXY": "socks5://p"}, True),
        ({"http_proxy": "http://p:3128"}, False),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "other.example"}, True),
        ({"HTTPS_PROXY": "http://p", "no_proxy": "x, isales.example.com"}, False),
        ({"HTTPS_PROXY": "http://p", "no_proxy": ".example.com"}, False),
        ({"HTTPS_PROXY": "http://p", "no_proxy": "*"}, False),
    ],
)
def test_a_proxy_that_is_not_used_is_said_unless_it_would_not_be_used_anyway(
    environ: dict[str, str], *, said: bool
) -> None:
    """https_proxy and all_proxy, in any case; no_proxy by host, suffix or star."""
    words = ignored_proxy(environ, host="isales.example.com")

    assert bool(words) is said
    assert "http://p" not in words
    assert said is ("isales.example.com is reached directly" in words)


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


def test_a_name_means_the_file_beside_the_usual_one(world: World) -> None:
    """`--config test`: the user's test.toml, else the machine's; it is beaten aloud as any file."""
    theirs = world.system_file.parent / "test.toml"
    theirs.write_text('[server]\nbase_url = "https://test.example"\n[pace]\nconcurrency = 3\n')
    leftover = {"ORCHESTRATOR_CONCURRENCY": "9"}
    named = world.load({"server.base_url": None}, leftover, config="test")
    assert (named.server.base_url, named.pace.concurrency) == ("https://test.example", 9)
    assert world.warnings == [f"ORCHESTRATOR_CONCURRENCY wins over pace.concurrency in {theirs}"]

    (world.user_file.parent / "test.toml").write_text("[pace]\nconcurrency = 2\n")
    assert world.load(config="test").pace.concurrency == 2


def test_a_name_that_is_not_there_says_what_was_looked_for(world: World) -> None:
    """Two places, one sentence; the advice makes it."""
    error = world.refusal(config="prod")

    assert str(error) == (
        f"--config: there is no {world.user_file.parent}/prod.toml and no"
        f" {world.system_file.parent}/prod.toml.{NOTHING_SENT}"
    )
    assert error.advice == "correct the name, or make it: `orchestrator init --config prod`"


@pytest.mark.parametrize("text", ["./prod", "prod.toml"])
def test_a_slash_or_a_suffix_makes_it_a_path(world: World, text: str) -> None:
    """As a shell tells a command from a file."""
    assert str(world.refusal(config=text)).startswith(f"--config: {text}: there is no such file")


def test_a_file_that_was_named_and_cannot_be_reached_is_refused_for_that(world: World) -> None:
    """One error with the reason and the whole path, and no warning that goes on without it."""
    blocked = world.write("x" * 100, b"") / "config.toml"
    warned: list[str] = []

    for named in (blocked, str(blocked)):
        error = str(world.refusal(config=named, warn=warned.append))
        assert error.startswith(f"{blocked}: cannot be read (Not a directory)")
    missing = world.root / ("y" * 100 + ".toml")
    assert str(world.refusal(config=str(missing))).startswith(f"--config: {missing}: there is no")
    assert warned == []


# ------------------------------------------------------------------ names


def test_a_server_is_called_by_its_host_until_it_has_a_name(world: World) -> None:
    """A host, or what people call it."""
    assert world.load().server.name == "h.example"
    named = world.load(environ={"ORCHESTRATOR_SERVER_NAME": "production"})
    assert (named.server.name, named.origins["server.name"]) == (
        "production",
        "ORCHESTRATOR_SERVER_NAME",
    )


@pytest.mark.parametrize(
    ("identity", "environ", "expected"),
    [
        (ROOT, {"SUDO_USER": "ana", "LOGNAME": "root"}, "ana"),
        (STRANGER, {"SUDO_USER": "ana", "LOGNAME": "ben"}, "ben"),
        (STRANGER, {"USER": "cem"}, "cem"),
        (STRANGER, {"LOGNAME": "\x1b[2J"}, "uid 54321"),
        (ROOT, {}, "root"),
        (ROOT, {"ORCHESTRATOR_OPERATOR": "Dora", "SUDO_USER": "ana"}, "Dora"),
    ],
)
def test_the_operator_is_who_logged_in(
    world: World, identity: Identity, environ: dict[str, str], expected: str
) -> None:
    """The caller of sudo before root; a name that was configured before all."""
    found = world.load(environ=environ, identity=identity, need_credentials=False)

    assert found.operator.name == expected


def test_without_home_the_user_database_is_asked(world: World) -> None:
    """Cron and systemd may not set HOME."""
    at_home = Identity(HERE.uid, HERE.gids, world.root / "home")

    relative = {"XDG_CONFIG_HOME": "xdg", "XDG_STATE_HOME": "state"}  # invalid, says the XDG rule
    settings = world.load(environ={"HOME": "", **relative}, identity=at_home)

    assert settings.state_dir == world.root / "home" / ".local" / "state" / "orchestrator"


def test_without_any_home_the_pausing_goes_on(world: World) -> None:
    """A container that does not know its user: runs are kept elsewhere, with a warning."""
    homeless = Identity(HERE.uid, HERE.gids, None)

    settings = world.load(environ={"HOME": ""}, identity=homeless)
    quiet = world.load(environ={"HOME": "", "ORCHESTRATOR_STATE_DIR": "/srv"}, identity=homeless)
    nowhere = world.refusal(
        environ={"HOME": "", "ORCHESTRATOR_STATE_DIR": "~/runs"}, identity=homeless
    )

    assert settings.state_dir == Path(f"/var/tmp/orchestrator-{HERE.uid}")  # noqa: S108
    assert quiet.state_dir == Path("/srv")
    assert "there is no home directory for ~" in str(nowhere)
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


def test_a_user_without_an_entry_has_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container started with a number for its user."""

    def nobody(_uid: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)

    assert Identity.current().home is None


# ------------------------------------------------------------------ paths as people write them


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("/srv/cash$", "/srv/cash$"),
        ("~", "HOME"),
        ("~/runs", "HOME/runs"),
        ("~oncall/runs", "/home/oncall/runs"),
        ("./~oncall", "HERE/~oncall"),
        ("~no-such-user/runs", "there is no home directory for ~ or for the user after it"),
        ("$HOME/runs", "has a $ in it, and no variable is expanded here"),
        ("${HOME}/runs", "has a $ in it, and no variable is expanded here"),
    ],
)
def test_a_path_is_read_as_people_write_it(
    world: World, monkeypatch: pytest.MonkeyPatch, written: str, found: str
) -> None:
    """`~` as in a shell; a directory called `$HOME` is nobody's wish."""
    entry = pwd.struct_passwd(("oncall", "x", 7, 7, "", "/home/oncall", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", {"oncall": entry}.__getitem__)
    world.user_file.write_text(f"[state]\ndir = '{written}'\n", encoding="utf-8")

    if found.startswith(("/", "H")):
        found = found.replace("HOME", str(world.root / "home"))
        assert world.load().state_dir == Path(found.replace("HERE", str(world.user_file.parent)))
    else:
        assert f"{world.user_file}:state.dir: {found}" in str(world.refusal())


# ------------------------------------------------------------------ a file that is beaten


def test_a_variable_that_beats_a_named_file_is_said(world: World) -> None:
    """A leftover of another server, against --config: both are named, and the value is not."""
    named = world.write(
        "test.toml", b'[server]\nbase_url = "https://test.example"\n[pace]\nconcurrency = 4\n'
    )
    leftover = {"ORCHESTRATOR_BASE_URL": "https://prod.example", "ORCHESTRATOR_CONCURRENCY": "4"}

    settings = world.load({"server.base_url": None}, leftover, config=named)

    assert settings.server.base_url == "https://prod.example"
    assert world.warnings == [f"ORCHESTRATOR_BASE_URL wins over server.base_url in {named}"]


def test_a_secret_in_a_variable_that_beats_a_named_file_is_said(world: World) -> None:
    """The key of another server would sign."""
    named = world.write("test.toml", b'[credentials]\nsecret_key_file = "/run/sk"\n')

    world.load(
        environ={"ORCHESTRATOR_SECRET_KEY_FILE": "", "ORCHESTRATOR_SECRET_KEY": "SK"}, config=named
    )

    assert (
        f"ORCHESTRATOR_SECRET_KEY wins over credentials.secret_key_file in {named}"
        in world.warnings
    )


def test_nothing_is_said_where_a_flag_decides_or_nobody_named_the_file(world: World) -> None:
    """A flag was typed on purpose; the usual file is meant to be overridden."""
    text = b'[server]\nbase_url = "https://test.example"\n'
    named = world.write("test.toml", text)
    world.user_file.write_bytes(text)
    leftover = {"ORCHESTRATOR_BASE_URL": "https://prod.example"}

    world.load(environ=leftover, config=named)
    world.load({"server.base_url": None}, leftover)

    assert world.warnings == []


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
    assert (
        error.advice == "`orchestrator init` (or add --base-url https://HOST:28080 --access-key AK)"
    )
    assert error.key == "server.base_url"


def test_only_the_file_that_was_read_is_named_as_looked_in(world: World) -> None:
    """Both places when there was none, the one file when there was."""
    neither = str(world.refusal({"server.base_url": None}))
    world.user_file.touch()
    one = str(world.refusal({"server.base_url": None}))

    assert f"{world.user_file}, {world.system_file})" in neither
    assert f"{world.user_file})" in one


def test_a_missing_access_key_is_an_error_unless_none_is_needed(world: World) -> None:
    """The server alone is missing, or the key alone; a dry run needs neither."""
    no_server: dict[str, object] = {"server.base_url": None}
    no_key: dict[str, object] = {"credentials.access_key": None}

    assert (
        world.refusal(no_server).advice
        == "`orchestrator init` (or add --base-url https://HOST:28080)"
    )
    assert "no access key configured (looked in --access-key, ORCHESTRATOR_ACCESS_KEY" in str(
        world.refusal(no_key)
    )
    dry = world.load({**no_server, **no_key}, need_server=False, need_credentials=False)
    assert (dry.server.base_url, dry.credentials.access_key) == ("", "")
    assert ("server.base_url", "-", "not set") in config_show(dry)


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
        "no secret key configured (looked in --secret-key-file, ORCHESTRATOR_SECRET_KEY_FILE,"
    )
    assert error.advice.endswith("add --secret-key-file FILE")


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


def test_a_secret_key_that_is_too_short_to_be_masked_is_warned_about(world: World) -> None:
    """[C01] Two characters stand in ordinary words; a whole key is no news."""
    told: list[str] = []

    short = world.load(
        environ={"ORCHESTRATOR_SECRET_KEY_FILE": "", "ORCHESTRATOR_SECRET_KEY": "er"},
        warn=told.append,
    )

    assert short.credentials.secret_key == Secret("er")
    assert "the secret key is too short to be masked in messages: is that all of it?" in told
