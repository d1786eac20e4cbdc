"""Promises of settings/schema.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.model import Refusal
from orchestrator.settings.schema import (
    SETTINGS,
    SPECS,
    CredentialSettings,
    PaceSettings,
    ServerSettings,
    Settings,
    StateSettings,
)
from orchestrator.settings.secret import Secret
from orchestrator.settings.setting import Setting

#: written down a second time: key, variable, default, default of pause-all
PROMISED: list[tuple[str, str, object, object]] = [
    ("server.base_url", "ORCHESTRATOR_BASE_URL", "", ""),
    ("server.ca_file", "ORCHESTRATOR_CA_FILE", None, None),
    ("server.name", "ORCHESTRATOR_SERVER_NAME", "", ""),
    ("server.vdns", "", (), ()),
    ("server.connect_timeout_s", "", 5.0, 3.0),
    ("server.attempt_timeout_s", "", 15.0, 5.0),
    ("credentials.access_key", "ORCHESTRATOR_ACCESS_KEY", "", ""),
    ("credentials.secret_key_file", "ORCHESTRATOR_SECRET_KEY_FILE", None, None),
    ("credentials.secret_key", "ORCHESTRATOR_SECRET_KEY", None, None),
    ("operator.name", "ORCHESTRATOR_OPERATOR", "", ""),
    ("pace.rate_per_s", "ORCHESTRATOR_RATE_PER_S", 10.0, 10.0),
    ("pace.concurrency", "ORCHESTRATOR_CONCURRENCY", 8, 8),
    ("retry.max_attempts", "", 5, None),
    ("retry.backoff_base_s", "", 0.2, 0.2),
    ("retry.backoff_cap_s", "", 10.0, 1.0),
    ("retry.patience_s", "", 1800.0, 1800.0),
    ("signing.blank_query_line", "", False, False),
    ("signing.millis", "", False, False),
    ("signing.signed_headers", "", ("host",), ("host",)),
    ("state.dir", "ORCHESTRATOR_STATE_DIR", None, None),
    ("cms.base_url", "", "", ""),
    ("cms.cc_id", "", None, None),
    ("metrics.textfile", "ORCHESTRATOR_METRICS_TEXTFILE", None, None),
    ("notify.on", "", ("bad",), ("bad",)),
    ("notify.webhook_url", "", None, None),
    ("notify.webhook_secret_file", "", None, None),
    ("notify.urls", "", (), ()),
    ("console.listen", "", "127.0.0.1:8580", "127.0.0.1:8580"),
    ("console.user_header", "", "", ""),
    ("console.trusted_peers", "", (), ()),
    ("console.viewers", "", (), ()),
    ("console.stoppers", "", (), ()),
    ("console.restorers", "", (), ()),
    ("cluster.database_url", "ORCHESTRATOR_DATABASE_URL", None, None),
]


def test_the_table_is_the_one_people_depend_on() -> None:
    """Keys, variables and defaults are those of the design, all of them and no others."""
    table = [(spec.key, spec.variable, spec.default, spec.emergency_default) for spec in SETTINGS]

    assert table == PROMISED
    assert list(SPECS) == [spec.key for spec in SETTINGS]


@pytest.mark.parametrize("spec", SETTINGS, ids=lambda spec: spec.key)
@pytest.mark.parametrize("value", [[[]], {}, {"a": []}, None])
def test_no_value_of_toml_is_too_odd_to_be_refused(spec: Setting, value: object) -> None:
    """[fuzz, seed 3] A list in a list, a table: refused in words, whatever the setting wants."""
    assert isinstance(spec.check(value), Refusal)


@pytest.mark.parametrize("spec", SETTINGS, ids=lambda spec: spec.key)
def test_a_default_passes_its_own_check(spec: Setting) -> None:
    """A default that a person might not give would be a trap."""
    for default in (spec.default, spec.emergency_default):
        assert default in {None, ""} or spec.check(default) == default


@pytest.mark.parametrize(
    ("key", "most"),
    [
        ("server.connect_timeout_s", 3600),
        ("server.attempt_timeout_s", 3600),
        ("pace.rate_per_s", 100_000),
        ("pace.concurrency", 1024),
        ("retry.max_attempts", 1000),
        ("retry.backoff_base_s", 3600),
        ("retry.backoff_cap_s", 3600),
        ("retry.patience_s", 7 * 86_400),
        ("cms.cc_id", 65_535),
    ],
)
def test_every_number_has_a_limit(key: str, most: int) -> None:
    """[C06] [C07] The limit itself passes, the next number does not, nor does -1."""
    check = SPECS[key].check

    assert check(most) == most
    assert isinstance(check(most + 1), Refusal)
    assert isinstance(check(-1), Refusal)
    assert isinstance(check(float("nan")), Refusal)


@pytest.mark.parametrize(
    "key",
    ["server.connect_timeout_s", "server.attempt_timeout_s", "pace.rate_per_s",
     "pace.concurrency", "retry.max_attempts"],
)  # fmt: skip
def test_zero_is_refused_where_nothing_would_ever_happen(key: str) -> None:
    """[C06] [C07] No request a second, no attempt, no time."""
    assert isinstance(SPECS[key].check(0), Refusal)


@pytest.mark.parametrize(
    ("name", "base_url", "expected"),
    [
        ("production", "https://h.example:1", "production (https://h.example:1)"),
        ("h.example", "https://h.example:1", "https://h.example:1"),
        ("", "https://h.example:1", "https://h.example:1"),
    ],
)
def test_a_server_is_shown_by_its_name_and_its_url(name: str, base_url: str, expected: str) -> None:
    """A host that is the name is not said twice."""
    assert ServerSettings(base_url=base_url, name=name).title == expected


def test_the_sections_can_be_made_by_hand_and_show_no_secret() -> None:
    """[Z06] Every field has its default; a record in a traceback or a log is masked."""
    settings = Settings(
        credentials=CredentialSettings("AK", secret_key=Secret("SKcanary")),
        state=StateSettings(Path("/srv")),
    )

    assert settings.pace == PaceSettings(rate_per_s=10.0, concurrency=8)
    assert settings.state_dir == settings.value("state.dir") == Path("/srv")
    assert "SKcanary" not in repr(settings)


def test_the_secret_has_no_flag_and_no_place_in_a_file() -> None:
    """[C04] A command line is public, and a file of settings is shared."""
    secret = SPECS["credentials.secret_key"]

    assert secret.flag == ""
    assert not secret.in_file
    assert SPECS["credentials.secret_key_file"].flag == "--secret-key-file"


def test_no_setting_confirms_an_emergency_or_weakens_tls() -> None:
    """[C11] [C13] There is nothing to set, so nothing can be set by accident."""
    wishes = re.compile(r"yes|confirm|force|insecure|verify|skip", re.IGNORECASE)

    for spec in SETTINGS:
        assert not wishes.search(f"{spec.key} {spec.variable} {spec.flag}")
