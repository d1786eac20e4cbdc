"""Promises of settings/notices.py: whoever is to be told is found whatever else is wrong."""

from __future__ import annotations

from pathlib import Path

from orchestrator.settings.notices import read_notices
from orchestrator.settings.schema import NotifySettings


def test_what_else_is_refused_is_in_nobodys_way(tmp_path: Path) -> None:
    """An unknown key, a bad rate, a bad word: the webhook is found, relative paths too."""
    file = tmp_path / "config.toml"
    file.write_text(
        "[pace]\nrate_per_s = 0\nx = 1\n[server]\nca_file = 'ca.pem'\n"
        "[notify]\non = ['x']\nodd = 1\nwebhook_url = 'https://h/t0ken'\n"
        "webhook_secret_file = 'hook'\n"
    )

    found = read_notices({"HOME": str(tmp_path)}, file, None)

    assert found.is_wanted
    assert found.ca_file == tmp_path / "ca.pem"
    assert found.settings.on == ("bad",)
    assert found.settings.webhook_secret_file == tmp_path / "hook"
    assert "t0ken" not in repr(found)


def test_without_a_file_nobody_is_told(tmp_path: Path) -> None:
    """Also where it is no TOML."""
    broken = tmp_path / "broken.toml"
    broken.write_text("[notify")
    environ = {"HOME": str(tmp_path), "ORCHESTRATOR_CA_FILE": "/from/variable.pem"}

    for config in (None, broken, "nowhere"):
        found = read_notices(environ, config, None, system_file=tmp_path / "none.toml")
        assert not found.is_wanted
        assert found.settings == NotifySettings()
        assert str(found.ca_file) == "/from/variable.pem"


def test_the_flag_names_the_authorities_first(tmp_path: Path) -> None:
    """As for the server."""
    environ = {"HOME": str(tmp_path), "ORCHESTRATOR_CA_FILE": "/from/variable.pem"}

    assert str(read_notices(environ, None, "/flag.pem").ca_file) == "/flag.pem"
