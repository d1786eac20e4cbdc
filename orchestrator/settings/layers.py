"""What was given: flags, environment and a settings file, each as a layer of unchecked values.

A key or a variable that is none of ours is named, with what was probably meant; its value never is.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.errors import SettingsError
from orchestrator.model import Refusal
from orchestrator.settings import files
from orchestrator.settings.schema import (
    DATABASE_URL,
    SECRET_KEY,
    SECRET_KEY_FILE,
    SECTIONS,
    SETTINGS,
    SPECS,
)
from orchestrator.settings.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from orchestrator.settings.files import Identity
    from orchestrator.settings.setting import Setting

ENVIRONMENT_PREFIX: Final = "ORCHESTRATOR_"
SYSTEM_FILE: Final = Path("/etc/orchestrator/config.toml")


class Given(NamedTuple):
    """One value as it was given, unchecked."""

    value: object
    #: a flag, a variable or file:key, in the words people see
    origin: str
    #: where a relative path starts
    base: Path
    #: from a command line or the environment, where every value is text
    is_text: bool = False


def usual_files(
    environ: Mapping[str, str], identity: Identity, system_file: Path = SYSTEM_FILE
) -> list[Path]:
    """The settings files that are looked for, the first that is there counts."""
    ours = files.below_home("XDG_CONFIG_HOME", ".config", environ, identity)
    return [ours / "config.toml", system_file] if ours else [system_file]


def files_named(config: Path | str, usual: Iterable[Path]) -> list[Path]:
    """What --config says: a file, or a NAME, which means NAME.toml beside a usual file."""
    if isinstance(config, Path) or "/" in config or config.endswith(".toml"):
        return [Path(config)]
    return [file.parent / f"{config}.toml" for file in usual]


def no_such_file(config: Path | str, looked_in: Sequence[Path]) -> SettingsError:
    """Make the error for a --config that leads nowhere."""
    name = ascii(str(config))[1:-1]
    if len(looked_in) == 1 and looked_in[0] == Path(config):
        return SettingsError(
            f"--config: {name}: there is no such file",
            advice="correct the path; configs/example.toml has every key",
        )
    return SettingsError(
        f"--config: there is no {' and no '.join(map(str, looked_in))}",
        advice=f"correct the name, or make it: `orchestrator init --config {shlex.quote(name)}`",
    )


def read_value(row: Setting, given: Given, own_home: Path | None) -> object:
    """Check a value, and make a path whole; a Refusal where it cannot be used."""
    value = row.read(given.value, is_text=given.is_text)
    if row.is_path and isinstance(value, str):
        return _whole_path(value, given.base, own_home)
    return value


def _whole_path(text: str, base: Path, own_home: Path | None) -> Path | Refusal:
    """Make a path absolute: from `base`, or from a home directory where `~` stands for it."""
    why = "it is relative, and the working directory has been removed"
    found = base / text
    if text.startswith("~"):
        why = "there is no home directory for ~ or for the user after it"
        found = Path(os.path.expanduser(text))  # noqa: PTH111 - a user who is not there stays
        if text.partition("/")[0] == "~":
            found = own_home / text[2:] if own_home else Path()
    # Not echoed: the secret key itself may stand where the name of its file belongs.
    return found if found.is_absolute() else Refusal(f"{why}: write the whole path")


def flag_layer(flags: Mapping[str, object], base: Path) -> dict[str, Given]:
    """Read the flags given: TOML key to value, None for a flag that was not given.

    Raises:
        SettingsError: a key that is no setting, from a library caller. Its value is not shown.
    """
    layer = {}
    for key, given in flags.items():
        if key not in SPECS:
            raise _unknown_key(key, "overrides")
        value = os.fspath(given) if isinstance(given, Path) else given
        if value is not None:
            layer[key] = Given(value, SPECS[key].origin_of_call, base, isinstance(value, str))
    return layer


def environment_layer(environ: Mapping[str, str], base: Path) -> dict[str, Given]:
    """Read our variables; an empty one counts as not set."""
    layer = {}
    for row in SETTINGS:
        text = environ.get(row.variable)
        if text:
            # Wrapped at once, so that no later repr or traceback can show it.
            value = Secret(text) if row.key in {SECRET_KEY, DATABASE_URL} else text
            layer[row.key] = Given(value, row.variable, base, is_text=True)
    return layer


def file_layer(
    document: Mapping[str, object], *, file: Path, base: Path, is_strict: bool = True
) -> dict[str, Given]:
    """Read a parsed TOML document; unless `is_strict`, a key that is no setting is passed over.

    Raises:
        SettingsError: a key that is no setting. Its value is not shown: it may be a secret.
    """
    layer = {}
    for section, inner in document.items():
        pairs = inner.items() if isinstance(inner, dict) else [("", inner)]
        for name, value in pairs:
            key = f"{section}.{name}" if name else section
            if key in SPECS and SPECS[key].in_file:
                layer[key] = Given(value, f"{file}:{key}", base)
            elif is_strict:
                raise _unknown_key(key, str(file))
    return layer


def _unknown_key(key: str, where: str) -> SettingsError:
    if key == SECRET_KEY:
        hint = f" (a secret key is not kept in here: name its file in {SECRET_KEY_FILE})"
    elif key in SECTIONS:
        hint = f" (it is a section: write [{key}])"
    else:
        hint = _did_you_mean(key, [row.key for row in SETTINGS if row.in_file])
    return SettingsError(
        f"{where}:{_printable(key)}: unknown key{hint}",
        key=key,
        advice="correct or remove it; configs/example.toml has every key",
    )


def _did_you_mean(name: str, known: Collection[str], *, prefix: str = "") -> str:
    import difflib  # noqa: PLC0415 - a run whose settings are in order does not wait for it

    # By the last part: a key may stand under the wrong section, or under none. The right one first.
    section, _, last_part = name.rpartition(".")
    ranked = sorted(known, key=lambda key: not key.startswith(f"{section}."))
    by_last_part = {key.rpartition(".")[2]: key for key in reversed(ranked)}
    # `rate` for `rate_per_s` should be near enough
    near = difflib.get_close_matches(last_part, by_last_part, n=1, cutoff=0.5)
    return f" (did you mean {prefix}{by_last_part[near[0]]}?)" if near else ""


def environment_warnings(environ: Mapping[str, str]) -> Iterator[str]:
    """Say what is odd about our variables, without their values."""
    known = [row.variable.removeprefix(ENVIRONMENT_PREFIX) for row in SETTINGS if row.variable]
    for variable in sorted(one for one in environ if one.startswith(ENVIRONMENT_PREFIX)):
        # Without the prefix, which makes every name look like every other.
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name == "YES":
            yield (
                "ORCHESTRATOR_YES has no effect: an emergency is confirmed by --yes"
                " or by typing the VDN number"
            )
        elif name not in known:
            hint = _did_you_mean(name, known, prefix=ENVIRONMENT_PREFIX)
            yield f"{_printable(variable)} is not a known variable and is ignored{hint}"
        elif not environ[variable]:
            yield f"{variable} is empty and counts as not set"
    if environ.get("ORCHESTRATOR_SECRET_KEY") and environ.get("ORCHESTRATOR_SECRET_KEY_FILE"):
        yield "ORCHESTRATOR_SECRET_KEY_FILE is used, ORCHESTRATOR_SECRET_KEY is ignored"


def ignored_proxy(environ: Mapping[str, str], *, host: str) -> str:
    """Say that a proxy of the environment is not used for this host; "" when none would be."""
    ours = {name.lower(): name for name in environ if environ[name]}
    name = ours.get("https_proxy") or ours.get("all_proxy")
    if name is None:
        return ""
    from urllib.request import proxy_bypass  # noqa: PLC0415 - few have a proxy

    if proxy_bypass(host, {"no": environ.get(ours.get("no_proxy", ""), "")}):
        return ""
    return f"{_printable(name)} is set but not used: {host} is reached directly, never by a proxy"


def _printable(name: str) -> str:
    return ascii(name)[1:-1][:80]
