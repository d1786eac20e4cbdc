"""The settings of a command: found, read, checked, each with its origin.

Flags go before the environment, that before one TOML file, that before defaults. The secret key is
read last. docs/spec/contracts.md, "Settings".
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from orchestrator.errors import SettingsError
from orchestrator.model import Refusal
from orchestrator.settings import checks
from orchestrator.settings.files import (
    Identity,
    check_ca_file,
    default_state_dir,
    home_of,
    read_secret,
    read_settings_file,
    settings_files,
    shown_secret_file,
    terminal_prompt,
    unreachable,
)
from orchestrator.settings.schema import (
    SECRET_KEY,
    SECRET_KEY_FILE,
    SETTINGS,
    SPECS,
    STATE_DIR,
)
from orchestrator.settings.secret import Secret
from orchestrator.settings.server_url import ServerUrl, read_base_url
from orchestrator.settings.values import (
    CredentialSettings,
    Given,
    PaceSettings,
    Resolved,
    RetrySettings,
    SigningRules,
    choose_secret,
    environment_layer,
    environment_warnings,
    file_layer,
    flag_layer,
    ignored_proxy,
    missing_secret,
    refused,
    resolve,
    shown_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "STILL_DIALLING",
    "CredentialSettings",
    "Identity",
    "PaceSettings",
    "RetrySettings",
    "Secret",
    "ServerSettings",
    "Settings",
    "config_show",
    "load_settings",
    "terminal_prompt",
]

SYSTEM_FILE: Final = Path("/etc/orchestrator/config.toml")
#: how an error ends where campaigns were to be paused
STILL_DIALLING: Final = "Nothing was sent; campaigns are still dialling."

T = TypeVar("T")


class ServerSettings(NamedTuple):
    """Where the server is and how long to wait for it."""

    #: normalised; "" for a command that needs no server and was given none
    base_url: str
    #: None: the system's certificate authorities
    ca_file: Path | None
    connect_timeout_s: float
    #: counted from the moment the attempt may be sent
    attempt_timeout_s: float


class Settings(NamedTuple):
    """Everything that can be set, checked, with where each value came from."""

    server: ServerSettings
    credentials: CredentialSettings
    pace: PaceSettings
    retry: RetrySettings
    signing: SigningRules
    state_dir: Path
    #: TOML key -> flag, variable, file:key, "default" or "not set"
    origins: Mapping[str, str]
    #: as given, for `config show`; the secret itself is in `credentials`
    secret_key_file: Path | None = None


def load_settings(  # noqa: PLR0913 (every outside thing comes in by name)
    *,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    config: Path | None,
    emergency: bool,
    need_credentials: bool,
    need_server: bool = True,
    ask_secret: Callable[[], str] | None,
    warn: Callable[[str], None],
    identity: Identity | None = None,
    system_file: Path = SYSTEM_FILE,
    consequence: str = STILL_DIALLING,
) -> Settings:
    """Find, read and check all settings.

    Args:
        flags: TOML key to the value of its flag; None for a flag that was not given.
        environ: the environment.
        config: the file that --config names; None to look in the usual places.
        emergency: use pause-all's defaults where nothing was given.
        need_credentials: ask for and insist on access key and secret key.
        need_server: insist on a base URL, and on a CA file that can be used.
        ask_secret: asks at the terminal, without echo; None when there is none.
        warn: told, in a sentence, what is odd and did not stop us.
        identity: who runs us; None asks the operating system.
        system_file: the settings file that everybody on this machine shares.
        consequence: the sentence that ends every error.

    Raises:
        SettingsError: a value is missing or refused.
    """
    identity = identity or Identity.current()
    for warning in environment_warnings(environ):
        warn(warning)
    home = home_of(identity, environ)
    files = settings_files(config, environ=environ, home=home, system_file=system_file)
    state_dir, warning = default_state_dir(environ, home=home, identity=identity)
    try:
        layers, looked_in = _read_layers(
            flags,
            environ,
            files,
            identity=identity,
            home=home,
            must_exist=config is not None,
            warn=warn,
        )
        resolved = resolve(
            layers,
            emergency=emergency,
            state_dir=str(state_dir),
            need_server=need_server,
            need_credentials=need_credentials,
            looked_in=looked_in,
        )
        settings = _settings(resolved)
        if need_server and settings.server.ca_file is not None:
            check_ca_file(settings.server.ca_file, origin=settings.origins["server.ca_file"])
        chosen = choose_secret(layers)
        if need_credentials:
            settings = _with_secret(settings, chosen, ask_secret, identity, looked_in)
        elif chosen is not None:
            settings = _with_secret_origin(settings, chosen.origin)
    except SettingsError as error:
        sentence = f"{error.sentence}. {consequence}"
        raise SettingsError(sentence, key=error.key, advice=error.advice) from error
    url = read_base_url(settings.server.base_url)
    if need_server and isinstance(url, ServerUrl) and url.scheme == "https":
        unused = ignored_proxy(environ, host=url.host.rstrip("."))
        if unused:
            warn(unused)
    if warning and settings.state_dir == state_dir:
        warn(warning)
    return settings


def config_show(settings: Settings) -> list[tuple[str, str, str]]:
    """List every setting as (key, shown value, origin), the secret masked."""
    values = {spec.key: _value(settings, spec.key) for spec in SETTINGS}
    return shown_rows(Resolved(values, settings.origins))


def _value(settings: Settings, key: str) -> object:
    if key == STATE_DIR:
        return settings.state_dir
    if key == SECRET_KEY_FILE:
        return settings.secret_key_file and shown_secret_file(settings.secret_key_file)
    section, _, name = key.partition(".")
    value: object = getattr(getattr(settings, section), name)
    return None if value == "" else value


def _read_layers(  # noqa: PLR0913 (the sources, in their order)
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    files: Sequence[Path],
    *,
    identity: Identity,
    home: Path | None,
    must_exist: bool,
    warn: Callable[[str], None],
) -> tuple[list[dict[str, Given]], list[str]]:
    """Return the layers, and the settings files that were looked for or found."""
    here = _here()
    plain = {
        key: os.fspath(value) if isinstance(value, Path) else value for key, value in flags.items()
    }
    layers = [
        _with_whole_paths(flag_layer(plain), base=here, home=home),
        _with_whole_paths(environment_layer(environ), base=here, home=home),
    ]
    for file in files:
        why = "" if must_exist else unreachable(file)
        if why:
            warn(f"settings file {file} cannot be reached ({why}): going on without it")
            continue
        try:
            document = read_settings_file(file, identity)
        except FileNotFoundError as error:
            if must_exist:
                raise SettingsError(
                    f"--config: {file}: there is no such file",
                    advice="correct the path; configs/example.toml has every key",
                ) from error
            continue
        base = file.parent if file.is_absolute() else here and (here / file).parent
        layer = file_layer(document, file=str(file))
        return [*layers, _with_whole_paths(layer, base=base, home=home)], [str(file)]
    return layers, [str(file) for file in files]


def _here() -> Path | None:
    """Our working directory; None when it has been removed, or may not be known."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _with_whole_paths(
    layer: dict[str, Given], *, base: Path | None, home: Path | None
) -> dict[str, Given]:
    """Make paths absolute: relative to the settings file's directory, or to ours; `~/` is home."""
    whole = dict(layer)
    for key, given in layer.items():
        text = given.value
        is_text = SPECS[key].is_path and isinstance(text, str) and text.strip()
        if is_text and not checks.what_is_around(str(text)):
            text = str(text)
            if home and text.startswith("~/"):
                found = home / text[2:]
            elif base:
                found = base / text
            elif Path(text).is_absolute():
                found = Path(text)
            else:
                raise _refused_relative(key, given.origin)
            whole[key] = given._replace(value=str(found))
    return whole


def _refused_relative(key: str, origin: str) -> SettingsError:
    return SettingsError(
        f"{origin}: the path is relative, and the working directory has been removed",
        key=key,
        advice="give the whole path, beginning with /, or change to a directory that exists",
    )


def _with_secret(
    settings: Settings,
    chosen: Given | None,
    ask_secret: Callable[[], str] | None,
    identity: Identity,
    looked_in: Sequence[str],
) -> Settings:
    if chosen is None:
        if ask_secret is None:
            raise missing_secret(looked_in)
        chosen = Given(Secret(ask_secret()), origin="typed at the terminal")
    if isinstance(chosen.value, Secret):
        secret = checks.read_secret(chosen.value.reveal())
        if isinstance(secret, Refusal):
            raise refused(SECRET_KEY, chosen.origin, secret.reason)
    else:
        secret = read_secret(Path(str(chosen.value)), origin=chosen.origin, identity=identity)
    credentials = settings.credentials._replace(secret_key=secret)
    return _with_secret_origin(settings._replace(credentials=credentials), chosen.origin)


def _with_secret_origin(settings: Settings, origin: str) -> Settings:
    return settings._replace(origins={**settings.origins, SECRET_KEY: origin})


def _settings(resolved: Resolved) -> Settings:
    values = resolved.values

    def take(key: str, kind: type[T]) -> T:
        value = values[key]
        assert isinstance(value, kind)
        return value

    def take_path(key: str) -> Path | None:
        return None if values[key] is None else Path(take(key, str))

    return Settings(
        server=ServerSettings(
            base_url=take("server.base_url", str) if values["server.base_url"] else "",
            ca_file=take_path("server.ca_file"),
            connect_timeout_s=take("server.connect_timeout_s", float),
            attempt_timeout_s=take("server.attempt_timeout_s", float),
        ),
        credentials=CredentialSettings(
            access_key=take("credentials.access_key", str)
            if values["credentials.access_key"]
            else "",
            secret_key=None,
        ),
        pace=PaceSettings(
            rate_per_s=take("pace.rate_per_s", float),
            concurrency=take("pace.concurrency", int),
        ),
        retry=RetrySettings(
            max_attempts=None
            if values["retry.max_attempts"] is None
            else take("retry.max_attempts", int),
            backoff_base_s=take("retry.backoff_base_s", float),
            backoff_cap_s=take("retry.backoff_cap_s", float),
            patience_s=take("retry.patience_s", float),
        ),
        signing=SigningRules(
            blank_query_line=take("signing.blank_query_line", bool),
            millis=take("signing.millis", bool),
            signed_headers=take("signing.signed_headers", tuple),
        ),
        state_dir=Path(take(STATE_DIR, str)),
        origins=resolved.origins,
        secret_key_file=take_path(SECRET_KEY_FILE),
    )
