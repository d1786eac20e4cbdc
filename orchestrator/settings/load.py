"""The settings of a command: which of the values given counts, checked, each with its origin.

Flags go before the environment, that before one TOML file, that before defaults. A refusal names
the origin: a flag, a variable, or file:key. The secret key is read last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from orchestrator.errors import SettingsError
from orchestrator.model import Refusal
from orchestrator.settings import files, secret_file
from orchestrator.settings.files import Identity, refused
from orchestrator.settings.layers import (
    SYSTEM_FILE,
    Given,
    environment_layer,
    environment_warnings,
    file_layer,
    files_named,
    flag_layer,
    ignored_proxy,
    no_such_file,
    read_value,
    usual_files,
)
from orchestrator.settings.schema import (
    SECRET_KEY,
    SECRET_KEY_FILE,
    SECTIONS,
    SETTINGS,
    SPECS,
    WEBHOOK_SECRET_FILE,
    Settings,
)
from orchestrator.settings.secret import MASK, Secret
from orchestrator.settings.server_url import ServerUrl, read_base_url
from orchestrator.settings.setting import NOTHING, Setting
from orchestrator.text import as_sentence

__all__ = [
    "STILL_DIALLING",
    "Remembered",
    "Settings",
    "as_emergency",
    "config_show",
    "load_settings",
]

#: how an error ends where campaigns were to be paused
STILL_DIALLING: Final = "Nothing was sent; campaigns are still dialling."
NOT_SET: Final = "not set"


class Remembered(NamedTuple):
    """What a run was made with, for another process of it: used where nothing else is given."""

    run_id: str
    #: TOML key to text; never the secret
    values: Mapping[str, str]


def load_settings(  # noqa: PLR0913 (every outside thing comes in by name)
    *,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    config: Path | str | None,
    emergency: bool,
    need_credentials: bool,
    need_server: bool = True,
    ask_secret: Callable[[], str] | None,
    warn: Callable[[str], None],
    identity: Identity | None = None,
    system_file: Path = SYSTEM_FILE,
    consequence: str = STILL_DIALLING,
    remembered: Remembered | None = None,
) -> Settings:
    """Find, read and check all settings.

    Args:
        flags: TOML key to the value of its flag; None for a flag that was not given.
        environ: the environment.
        config: a file, or the NAME of one beside the usual file; None: the usual places.
        emergency: use pause-all's defaults where nothing was given.
        need_credentials: ask for and insist on access key and secret key.
        need_server: insist on a base URL, and on a CA file that can be used.
        ask_secret: asks at the terminal, without echo; None when there is none.
        warn: told, in a sentence, what is odd and did not stop us.
        identity: who runs us; None asks the operating system.
        system_file: the settings file that everybody on this machine shares.
        consequence: the sentence that ends every error.
        remembered: the run that is gone on with, or undone.

    Raises:
        SettingsError: a value is missing or refused.
    """
    search = _Search(environ, identity or Identity.current(), warn)
    try:
        search.read(flags, config, system_file)
        if remembered is not None:
            search.remember(remembered)
        search.choose(emergency=emergency)
        if need_server:
            search.check_server()
        if need_credentials:
            search.find_secret(ask_secret)
    except SettingsError as error:
        sentence = f"{as_sentence(error.sentence)} {consequence}"
        raise SettingsError(sentence, key=error.key, advice=error.advice) from error
    return search.settings(with_secret=need_credentials)


def as_emergency(settings: Settings) -> Settings:
    """The same with pause-all's defaults where nothing was given: for a worker, which does both."""
    parts: dict[str, Any] = {}
    for section in SECTIONS:
        urgent = {
            row.name: row.emergency_default
            for row in SETTINGS
            if row.section == section
            and row.emergency_default != row.default
            and settings.origins[row.key] in {NOT_SET, "default"}
        }
        parts[section] = replace(getattr(settings, section), **urgent)
    retry = parts["retry"]
    least_s = max(retry.backoff_cap_s, retry.backoff_base_s)
    parts["retry"] = replace(retry, backoff_cap_s=least_s)
    return replace(settings, **parts)


def config_show(settings: Settings) -> list[tuple[str, str, str]]:
    """List every setting as (key, shown value, origin), the secret masked."""
    rows = []
    for row in SETTINGS:
        value = settings.value(row.key)
        origin = settings.origins[row.key]
        if row.key == SECRET_KEY and origin != NOT_SET:
            value = MASK
        elif row.key in {SECRET_KEY_FILE, WEBHOOK_SECRET_FILE} and value:
            value = secret_file.shown_path(value)
        rows.append((row.key, row.shown(value), origin))
    return rows


class _Search:
    """The search for the value of every setting; the methods are called in their order."""

    def __init__(
        self, environ: Mapping[str, str], identity: Identity, warn: Callable[[str], None]
    ) -> None:
        self.environ = environ
        self.identity = identity
        self.warn = warn
        self.home = files.home_directory(environ, identity)
        #: first to last in precedence
        self.layers: list[dict[str, Given]] = []
        #: the settings file that was read, or all that were looked for
        self.looked_in: list[Path] = []
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def read(
        self, flags: Mapping[str, object], config: Path | str | None, system_file: Path
    ) -> None:
        """Read flags, environment and settings file; warn about what is odd in them."""
        for warning in environment_warnings(self.environ):
            self.warn(warning)
        here = files.working_directory()
        self.layers = [flag_layer(flags, here), environment_layer(self.environ, here)]
        usual = usual_files(self.environ, self.identity, system_file)
        self.looked_in = files_named(config, usual) if config else usual
        for file in self.looked_in:
            # of several places one may be closed to us; a file that was named may not
            is_named = config is not None and file == Path(config)
            why = "" if is_named else files.unreachable(file)
            if why:
                self.warn(f"settings file {file} cannot be reached ({why}): going on without it")
                continue
            try:
                document = files.read_settings_file(file, self.identity)
            except FileNotFoundError:
                continue
            self.layers.append(file_layer(document, file=file, base=(here / file).parent))
            self.looked_in = [file]
            if config:
                for key, winner in self._winners_over(self.layers[-1]):
                    self.warn(f"{winner.origin} wins over {key} in {file}")
            return
        if config:
            raise no_such_file(config, self.looked_in)

    def _winners_over(self, layer: Mapping[str, Given]) -> Iterator[tuple[str, Given]]:
        """The variables that say something else than a lower layer, with the keys they beat."""
        flags, variables = self.layers[:2]
        for key, given in layer.items():
            other = SECRET_KEY if key == SECRET_KEY_FILE and key not in variables else key
            winner = variables.get(other)
            if winner and key not in flags and not _is_same(key, winner, given):
                yield key, winner

    def remember(self, run: Remembered) -> None:
        """Take what a run was made with where nobody says anything else; say what beats it."""
        layer = {
            key: Given(value, f"run {run.run_id}", Path("/"))
            for key, value in run.values.items()
            if value
        }
        beating = [
            winner.origin
            for key, winner in self._winners_over(layer)
            if key != "server.base_url"  # another server is refused, not warned about
        ]
        if beating:
            wins = "wins" if len(beating) == 1 else "win"
            self.warn(f"{' and '.join(beating)} {wins} over what run {run.run_id} was made with")
        self.layers.append(layer)

    def choose(self, *, emergency: bool) -> None:
        """Take each value from the first layer that has one, checked, or the default."""
        for row in SETTINGS:
            given = next((layer[row.key] for layer in self.layers if row.key in layer), None)
            if given:
                value, origin = self._checked(row, given), given.origin
            else:
                value = row.emergency_default if emergency else row.default
                origin = NOT_SET if value in NOTHING else "default"
                origin = origin if value == row.default else "default of pause-all"
            self.values[row.key], self.origins[row.key] = value, origin
        cap, base = "retry.backoff_cap_s", "retry.backoff_base_s"
        self.values[cap] = max(self.values[cap], self.values[base])
        if self.values["state.dir"] is None:
            usual = usual_state_dir(self.environ, self.identity, self.warn)
            self.values["state.dir"], self.origins["state.dir"] = usual, "default"
        self._name_server_and_operator()
        _, secret = self._chosen_secret()
        self.origins[SECRET_KEY] = secret.origin if secret else NOT_SET

    def _name_server_and_operator(self) -> None:
        """The host stands for a server without a name, the login name for who is at work."""
        url = read_base_url(self.values["server.base_url"])
        in_file = self.layers[-1] if len(self.layers) > 2 else {}
        named, placed = in_file.get("server.name"), in_file.get("server.base_url")
        is_beaten = placed and self.origins["server.base_url"] != placed.origin
        if named and is_beaten and self.origins["server.name"] == named.origin:
            # the file names its own server, and another one was given
            self.values["server.name"], self.origins["server.name"] = "", "default"
        if not self.values["server.name"] and isinstance(url, ServerUrl):
            self.values["server.name"], self.origins["server.name"] = url.host, "default"
        if not self.values["operator.name"]:
            found = files.login_name(self.environ, self.identity)
            self.values["operator.name"], self.origins["operator.name"] = found, "default"

    def _checked(self, row: Setting, given: Given) -> Any:
        value = read_value(row, given, self.home)
        if isinstance(value, Refusal):
            raise refused(row.key, given.origin, value.reason)
        return value

    def check_server(self) -> None:
        """Insist on a server, and on a CA file that can be used; say that no proxy is used."""
        if not self.values["server.base_url"]:
            key_too = "" if self.values["credentials.access_key"] else " --access-key AK"
            advice = f"`orchestrator init` (or add --base-url https://HOST:28080{key_too})"
            raise self._missing("server.base_url", "server", advice)
        ca_file = self.values["server.ca_file"]
        if ca_file:
            files.check_ca_file(ca_file, origin=self.origins["server.ca_file"])
        url = read_base_url(self.values["server.base_url"])
        if isinstance(url, ServerUrl) and url.scheme == "https":
            unused = ignored_proxy(self.environ, host=url.host.rstrip("."))
            if unused:
                self.warn(unused)

    def _chosen_secret(self) -> tuple[str, Given | None]:
        """What names the secret key: the first layer that does, and in it the file first."""
        for layer in self.layers:
            for key in (SECRET_KEY_FILE, SECRET_KEY):
                if key in layer:
                    return key, layer[key]
        return "", None

    def find_secret(self, ask: Callable[[], str] | None) -> None:
        """Insist on access key and secret key; read that from its file, or ask for it."""
        if not self.values["credentials.access_key"]:
            raise self._missing("credentials.access_key", "access key", "add --access-key AK")
        secret = None
        key, given = self._chosen_secret()
        if given and key == SECRET_KEY_FILE:
            file = self.values[SECRET_KEY_FILE]
            try:
                secret = secret_file.read(file, origin=given.origin, identity=self.identity)
            except SettingsError as error:
                if ask is None or not given.origin.startswith("run "):
                    raise
                # It was another machine's, or a colleague's: who is here may know the key.
                self.warn(f"{error.sentence}; type the key")
                given = None
        if given is None:
            if ask is None:
                advice = "put it in a file that only you can read, and add --secret-key-file FILE"
                raise self._missing(SECRET_KEY_FILE, "secret key", advice)
            given = Given(Secret(ask()), "typed at the terminal", Path())
        secret = secret or self._checked(SPECS[SECRET_KEY], given)
        self.values[SECRET_KEY], self.origins[SECRET_KEY] = secret, given.origin
        if not secret.is_masked:
            self.warn("the secret key is too short to be masked in messages: is that all of it?")

    def _missing(self, key: str, name: str, advice: str) -> SettingsError:
        row = SPECS[key]
        other = "ORCHESTRATOR_SECRET_KEY" if key == SECRET_KEY_FILE else ""
        places = [str(one) for one in (row.flag, row.variable, other, *self.looked_in) if one]
        sentence = f"no {name} configured (looked in {', '.join(places)})"
        return SettingsError(sentence, key=key, advice=advice)

    def settings(self, *, with_secret: bool) -> Settings:
        """Make the settings of what was found."""
        if not with_secret:
            self.values[SECRET_KEY] = None
        parts: dict[str, Any] = {}
        for section, kind in SECTIONS.items():
            rows = (row for row in SETTINGS if row.section == section)
            parts[section] = kind(**{row.name: self.values[row.key] for row in rows})
        return Settings(**parts, origins=self.origins)


def usual_state_dir(
    environ: Mapping[str, str], identity: Identity, warn: Callable[[str], None]
) -> Path:
    """Where run directories lie when nothing says it; warns where it is no usual place."""
    usual = files.below_home("XDG_STATE_HOME", ".local/state", environ, identity)
    why = files.no_place(usual) if usual else "there is no home directory"
    if usual and not why:
        return usual
    # Refusing would leave campaigns dialling. Whoever opens the directory checks its owner.
    fallback = Path(f"/var/tmp/orchestrator-{identity.uid}")  # noqa: S108
    warn(f"{why}: runs are kept in {fallback}")
    return fallback


def _is_same(key: str, one: Given, other: Given) -> bool:
    """Whether two texts of a setting say the same."""
    if SPECS[key].is_path:
        return one.base / str(one.value) == other.base / str(other.value)
    return str(one.value) == str(other.value)
