"""Which of the values given for a setting counts, and what is refused.

The first layer that has a value decides: flags, environment, file. A value in use has an origin,
and a refusal names it: a flag, a variable, or file:key. schema.py is the only list of the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.errors import SettingsError
from orchestrator.model import Refusal
from orchestrator.settings.schema import (
    ENVIRONMENT_PREFIX,
    SECRET_KEY,
    SECRET_KEY_FILE,
    SETTINGS,
    SPECS,
    STATE_DIR,
    SettingSpec,
)
from orchestrator.settings.secret import MASK, Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

NOT_SET: Final = "not set"


class SigningRules(NamedTuple):
    """The three switches of docs/spec/interface.md, "Signing"."""

    #: keep an empty line where a request has no query
    blank_query_line: bool = False
    #: write the timestamp with milliseconds
    millis: bool = False
    #: lower-case names; `host` is signed even if it is not named
    signed_headers: tuple[str, ...] = ("host",)


class CredentialSettings(NamedTuple):
    """Who we are to the server."""

    #: "" for a command that needs no credentials and was given none
    access_key: str
    #: None for a command that needs no credentials
    secret_key: Secret | None


class PaceSettings(NamedTuple):
    """How much the server is asked to bear."""

    rate_per_s: float
    concurrency: int


class RetrySettings(NamedTuple):
    """How long to go on asking."""

    #: attempts for one campaign, the first included; None: no maximum
    max_attempts: int | None
    backoff_base_s: float
    backoff_cap_s: float
    #: how long the run waits for a failing server before it stops
    patience_s: float


class Given(NamedTuple):
    """One value as it was given, unchecked."""

    value: object
    #: a flag, a variable or file:key, in the words people see
    origin: str
    #: from a command line or the environment, where every value is text
    is_text: bool = False


class Resolved(NamedTuple):
    """The value in use for every key of SETTINGS, and where it came from."""

    values: Mapping[str, object]
    #: TOML key -> flag, variable, file:key, "default" or "not set"
    origins: Mapping[str, str]


#: how a value reads that is None on purpose
_SHOWN_WHEN_NONE: Final = {"server.ca_file": "system", "retry.max_attempts": "no maximum"}

_SECTIONS: Final = frozenset(key.partition(".")[0] for key in SPECS)


def resolve(  # noqa: PLR0913 (what was given, and what is needed)
    layers: Sequence[Mapping[str, Given]],
    *,
    emergency: bool,
    state_dir: str,
    need_server: bool = True,
    need_credentials: bool = True,
    looked_in: Sequence[str] = (),
) -> Resolved:
    """Choose, check and join the values of all layers.

    Args:
        layers: first to last in precedence.
        emergency: use pause-all's defaults where nothing was given.
        state_dir: used when no layer names one.
        need_server: refuse when no base URL was given.
        need_credentials: refuse when no access key was given. The secret key may lie in a file,
            so files.py finds it: `choose_secret` says where.
        looked_in: the settings files, found or not, that an error about a missing value names.

    Raises:
        SettingsError: a value is refused or missing.
    """
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for spec in SETTINGS:
        given = _first(layers, spec.key)
        if given is None:
            values[spec.key] = spec.emergency_default if emergency else spec.default
            origins[spec.key] = _default_origin(spec, emergency=emergency)
        else:
            values[spec.key] = _checked(spec, given)
            origins[spec.key] = given.origin
    if values[STATE_DIR] is None:
        values[STATE_DIR], origins[STATE_DIR] = state_dir, "default"
    _fit_backoff(values, origins)
    if need_server and values["server.base_url"] is None:
        whole = values["credentials.access_key"] is None
        raise _missing(
            "server.base_url",
            name="server",
            looked_in=looked_in,
            advice=f"add --base-url https://HOST:28080{' --access-key AK' if whole else ''}",
        )
    if need_credentials and values["credentials.access_key"] is None:
        raise _missing(
            "credentials.access_key",
            name="access key",
            looked_in=looked_in,
            advice="add --access-key AK",
        )
    return Resolved(values, origins)


def choose_secret(layers: Sequence[Mapping[str, Given]]) -> Given | None:
    """Say where the secret key comes from: a wrapped secret, a file's path, or nowhere.

    The first layer that speaks decides; within one layer the file goes before the bare secret.
    """
    for layer in layers:
        for key in (SECRET_KEY_FILE, SECRET_KEY):
            if key in layer:
                return layer[key]
    return None


def missing_secret(looked_in: Sequence[str]) -> SettingsError:
    """Make the error for a secret key that nothing names."""
    return _missing(
        SECRET_KEY_FILE,
        name="secret key",
        looked_in=("ORCHESTRATOR_SECRET_KEY", *looked_in),
        advice="put it in a file that only you can read, named in ORCHESTRATOR_SECRET_KEY_FILE",
    )


def refused(key: str, origin: str, reason: str) -> SettingsError:
    """Make the error for a value that cannot be used."""
    return SettingsError(
        f"{origin}: {reason}", key=key, advice=f"correct it, for example: {SPECS[key].example}"
    )


def environment_layer(environ: Mapping[str, str]) -> dict[str, Given]:
    """Read our variables; an empty one counts as not set."""
    return {
        spec.key: Given(
            # Wrapped at once, so that no later repr or traceback can show it.
            Secret(environ[spec.env]) if spec.key == SECRET_KEY else environ[spec.env],
            origin=spec.env,
            is_text=True,
        )
        for spec in SETTINGS
        if spec.env is not None and environ.get(spec.env)
    }


def environment_warnings(environ: Mapping[str, str]) -> Iterator[str]:
    """Say what is odd about our variables, without their values."""
    known = [spec.env for spec in SETTINGS if spec.env is not None]
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        if name == "ORCHESTRATOR_YES":
            yield (
                "ORCHESTRATOR_YES has no effect: an emergency is confirmed by --yes"
                " or by typing the VDN number"
            )
        elif name not in known:
            hint = _did_you_mean(
                # Without the prefix, which makes every name look like every other.
                name.removeprefix(ENVIRONMENT_PREFIX),
                [each.removeprefix(ENVIRONMENT_PREFIX) for each in known],
                prefix=ENVIRONMENT_PREFIX,
            )
            yield f"{_printable(name)} is not a variable we know, and ignored{hint}"
        elif not environ[name]:
            yield f"{name} is empty and counts as not set"
    if environ.get("ORCHESTRATOR_SECRET_KEY") and environ.get("ORCHESTRATOR_SECRET_KEY_FILE"):
        yield "ORCHESTRATOR_SECRET_KEY_FILE is used, ORCHESTRATOR_SECRET_KEY is ignored"


def ignored_proxy(environ: Mapping[str, str], *, host: str) -> str:
    """Say that a proxy of the environment is not used for this host; "" when none would be."""
    ours = {name.lower(): name for name in environ if environ[name]}
    name = ours.get("https_proxy") or ours.get("all_proxy")
    if name is None:
        return ""
    exempt = environ[ours["no_proxy"]].replace(" ", "").lower() if "no_proxy" in ours else ""
    for one in filter(None, exempt.split(",")):
        suffix = one.removeprefix("*").removeprefix(".").partition(":")[0]
        if not suffix or host == suffix or host.endswith(f".{suffix}"):
            return ""
    return f"{_printable(name)} is set and not used: {host} is reached directly, never by a proxy"


def origin_of_call(key: str) -> str:
    """The origin of a setting that the call itself gives: its flag, or a library's argument."""
    return SPECS[key].flag or f"argument {key}"


def flag_layer(flags: Mapping[str, object]) -> dict[str, Given]:
    """Read the flags given: TOML key to value, None for a flag that was not given.

    Raises:
        SettingsError: a key that is no setting, from a library caller. Its value is not shown.
    """
    for key in flags:
        if key not in SPECS:
            raise _unknown_key(key, "overrides")
    return {
        key: Given(value, origin=origin_of_call(key), is_text=isinstance(value, str))
        for key, value in flags.items()
        if value is not None
    }


def file_layer(document: Mapping[str, object], *, file: str) -> dict[str, Given]:
    """Read a parsed TOML document.

    Raises:
        SettingsError: a key that is no setting. Its value is not shown: it may be a secret.
    """
    layer = {}
    for key, value in _flattened(document):
        if key not in SPECS or not SPECS[key].in_file:
            raise _unknown_key(key, file)
        layer[key] = Given(value, origin=f"{file}:{key}")
    return layer


def shown_rows(resolved: Resolved) -> list[tuple[str, str, str]]:
    """Show every setting as (key, value, origin), the secret masked, in the table's order."""
    return [(spec.key, _shown(spec.key, resolved), resolved.origins[spec.key]) for spec in SETTINGS]


def _first(layers: Iterable[Mapping[str, Given]], key: str) -> Given | None:
    return next((layer[key] for layer in layers if key in layer), None)


def _checked(spec: SettingSpec, given: Given) -> object:
    value = given.value
    if spec.parse is not None and given.is_text:
        value = spec.parse(str(value))
    checked = spec.check(value)
    if isinstance(checked, Refusal):
        raise refused(spec.key, given.origin, checked.reason)
    return checked


def _default_origin(spec: SettingSpec, *, emergency: bool) -> str:
    default = spec.emergency_default if emergency else spec.default
    if default != spec.default:
        return "default of pause-all"
    return NOT_SET if default is None else "default"


def _fit_backoff(values: dict[str, object], origins: dict[str, str]) -> None:
    """Hold the cap at or above the base; a cap nobody gave moves instead of refusing."""
    base_s, cap_s = values["retry.backoff_base_s"], values["retry.backoff_cap_s"]
    assert isinstance(base_s, float)
    assert isinstance(cap_s, float)
    if cap_s >= base_s:
        return
    cap_origin = origins["retry.backoff_cap_s"]
    if not cap_origin.startswith("default"):
        reason = f"must be at least retry.backoff_base_s, which is {base_s:g}, not {cap_s:g}"
        raise refused("retry.backoff_cap_s", cap_origin, reason)
    values["retry.backoff_cap_s"] = base_s


def _missing(key: str, *, name: str, looked_in: Sequence[str], advice: str) -> SettingsError:
    spec = SPECS[key]
    places = ", ".join(place for place in (spec.flag, spec.env, *looked_in) if place)
    return SettingsError(f"no {name} configured (looked in {places})", key=key, advice=advice)


def _flattened(document: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in document.items():
        if isinstance(value, dict):
            for inner, inner_value in value.items():
                yield f"{name}.{inner}", inner_value
        else:
            yield name, value


def _unknown_key(key: str, file: str) -> SettingsError:
    if key == SECRET_KEY:
        hint = f" (a secret key is not kept in here: name its file in {SECRET_KEY_FILE})"
    elif key in _SECTIONS:
        hint = f" (it is a section: write [{key}])"
    else:
        hint = _did_you_mean(key, [spec.key for spec in SETTINGS if spec.in_file])
    return SettingsError(
        f"{file}:{_printable(key)}: unknown key{hint}",
        key=key,
        advice="correct or remove it; configs/example.toml has every key",
    )


def _did_you_mean(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    import difflib  # noqa: PLC0415 - a run whose settings are in order does not wait for it

    # A key under the wrong section, or under none, is found by its last part.
    by_last_part = {candidate.rpartition(".")[2]: candidate for candidate in known}
    last_part = name.rpartition(".")[2]
    near = difflib.get_close_matches(name, by_last_part.values(), n=1) or [
        by_last_part[last]
        # `rate` for `rate_per_s` should be near enough.
        for last in difflib.get_close_matches(last_part, by_last_part, n=1, cutoff=0.5)
    ]
    return f" (did you mean {prefix}{near[0]}?)" if near else ""


def _printable(name: str) -> str:
    return ascii(name)[1:-1][:80]


def _shown(key: str, resolved: Resolved) -> str:
    value = resolved.values[key]
    if key == SECRET_KEY:
        return "-" if resolved.origins[key] == NOT_SET else MASK
    match value:
        case None:
            return _SHOWN_WHEN_NONE.get(key, "-")
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.15g}"
        case tuple():
            return ", ".join(value)
        case _:
            return str(value)
