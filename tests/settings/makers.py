"""A machine with settings, for the tests of settings/."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import SettingsError
from orchestrator.settings.files import Identity
from orchestrator.settings.load import Settings, load_settings

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


def rights_of(uid: int, gid: int, mode: int, *, kind: int = stat.S_IFREG) -> os.stat_result:
    """Make the rights of a file that only root could make."""
    return os.stat_result((kind | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))
