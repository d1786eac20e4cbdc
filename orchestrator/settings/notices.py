"""Who is told how a run ended, read apart: what refuses the other settings is told as well."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.errors import SettingsError
from orchestrator.model import Refusal
from orchestrator.settings import files
from orchestrator.settings.files import Identity
from orchestrator.settings.layers import (
    SYSTEM_FILE,
    environment_layer,
    file_layer,
    files_named,
    flag_layer,
    read_value,
    usual_files,
)
from orchestrator.settings.schema import SPECS, NotifySettings

_CA_FILE = "server.ca_file"


class Notices(NamedTuple):
    """What is needed to tell somebody."""

    settings: NotifySettings
    #: authorities beside the system's
    ca_file: Path | None

    @property
    def is_wanted(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self.settings.webhook_url or self.settings.urls)


def read_notices(
    environ: Mapping[str, str],
    config: Path | str | None,
    ca_file: str | None,
    *,
    identity: Identity | None = None,
    system_file: Path = SYSTEM_FILE,
) -> Notices:
    """Read the settings of notices alone; what cannot be used counts as not given."""
    identity = identity or Identity.current()
    here = files.working_directory()
    layers = [flag_layer({_CA_FILE: ca_file}, here), environment_layer(environ, here)]
    usual = usual_files(environ, identity, system_file)
    for file in files_named(config, usual) if config else usual:
        with suppress(OSError, SettingsError):
            document = files.read_settings_file(file, identity)
            base = (here / file).parent
            layers.append(file_layer(document, file=file, base=base, is_strict=False))
            break
    home = files.home_directory(environ, identity)
    values: dict[str, Any] = {}
    for key in (_CA_FILE, *(key for key, row in SPECS.items() if row.section == "notify")):
        row = SPECS[key]
        given = next((layer[key] for layer in layers if key in layer), None)
        value = row.default if given is None else read_value(row, given, home)
        values[row.name] = row.default if isinstance(value, Refusal) else value
    return Notices(ca_file=values.pop("ca_file"), settings=NotifySettings(**values))
