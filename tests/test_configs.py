"""Promises of the files in configs/: people copy them, so they must be right."""

from __future__ import annotations

import csv
import re
import tomllib
from pathlib import Path

import pytest

from orchestrator.cli.rehearsal import DEFAULT_PORT
from orchestrator.model import (
    CampaignRef,
    Refusal,
    Status,
    read_campaign_id,
    read_vdn_id,
)
from orchestrator.settings.load import Settings, config_show, load_settings
from orchestrator.settings.schema import SETTINGS
from orchestrator.simulator import scenarios

CONFIGS = Path(__file__).parents[1] / "configs"
EXAMPLE = (CONFIGS / "example.toml").read_text(encoding="utf-8")
#: a line of the example that is a setting and not a sentence
SETTING_LINE = re.compile(r"^# (?=[a-z_]+ = )", re.MULTILINE)


def settings_of(config: Path, *, emergency: bool = False) -> Settings:
    """What a settings file comes to where nothing else is set; the secret is not read."""
    return load_settings(
        flags={},
        environ={},
        config=config,
        emergency=emergency,
        need_credentials=False,
        ask_secret=None,
        warn=pytest.fail,
    )


def uncommented(tmp_path: Path) -> Path:
    """The example with every setting in force."""
    file = tmp_path / "all.toml"
    file.write_text(SETTING_LINE.sub("", EXAMPLE), encoding="utf-8")
    return file


def test_the_example_as_it_stands_changes_nothing() -> None:
    """Copied unread, it is harmless."""
    assert not any(tomllib.loads(EXAMPLE).values())


def test_the_uncommented_example_has_every_key_and_shows_the_defaults(tmp_path: Path) -> None:
    """Every value passes its check; those that have a default show it."""
    file = uncommented(tmp_path)
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    keys = [f"{section}.{name}" for section, inner in document.items() for name in inner]
    ca_file = 'ca_file = "/etc/orchestrator/ca.pem"\n'
    file.write_text(file.read_text(encoding="utf-8").replace(ca_file, ""), encoding="utf-8")

    shown = {key: value for key, value, _ in config_show(settings_of(file))}

    assert keys == [row.key for row in SETTINGS if row.in_file]
    for row in SETTINGS:
        if row.default:
            assert shown[row.key] == row.shown(row.default)


@pytest.mark.parametrize("name", ["batch", "emergency", "simulator"])
@pytest.mark.parametrize("emergency", [False, True])
def test_a_situation_is_complete_but_for_the_secret(name: str, emergency: bool) -> None:  # noqa: FBT001
    """Server and access key are there, every value is accepted, and no secret stands in it."""
    settings = settings_of(CONFIGS / f"{name}.toml", emergency=emergency)

    assert settings.server.base_url
    assert settings.credentials.access_key


def test_the_emergency_keeps_the_timeouts_of_pause_all() -> None:
    """What a file gives would replace the shorter timeouts, so this one gives none."""
    settings = settings_of(CONFIGS / "emergency.toml", emergency=True)

    assert settings.server.attempt_timeout_s == 5.0
    assert settings.retry.max_attempts is None


def demo_lines() -> list[tuple[str, str]]:
    """Read configs/demo.csv."""
    with (CONFIGS / "demo.csv").open(encoding="utf-8", newline="") as stream:
        return [(line["vdn_id"], line["campaign_id"]) for line in csv.DictReader(stream)]


def test_the_demo_list_is_a_good_list_with_two_repeats() -> None:
    """40 lines over the VDNs 1201 to 1203, every id readable, two lines said twice."""
    lines = demo_lines()

    assert len(lines) == 40
    assert len(set(lines)) == 38
    assert {vdn_id for vdn_id, _ in lines} == {"1201", "1202", "1203"}
    for vdn_id, campaign_id in lines:
        assert not isinstance(read_vdn_id(vdn_id), Refusal)
        assert not isinstance(read_campaign_id(campaign_id), Refusal)


def test_the_demo_list_fits_the_batch_scenario() -> None:
    """One id is missing there on purpose; the others run, are suspended, or are completed."""
    world = scenarios.batch(seed=1).world
    refs = {CampaignRef(int(vdn_id), int(number)) for vdn_id, number in demo_lines()}

    missing = refs - set(world.refs())
    statuses = {world.status_of(ref) for ref in refs - missing}

    assert missing == {CampaignRef(1201, 9_999_998)}
    assert statuses == {Status.STARTED, Status.SUSPENDED, Status.COMPLETED}


def test_the_rehearsal_settings_open_the_simulator() -> None:
    """Address and access key of configs/simulator.toml are those of `orchestrator simulate`."""
    text = (CONFIGS / "simulator.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)

    assert document["server"]["base_url"] == f"http://127.0.0.1:{DEFAULT_PORT}"
    assert document["credentials"]["access_key"] == scenarios.ACCESS_KEY
    assert f"ORCHESTRATOR_SECRET_KEY={scenarios.SECRET_KEY}" in text
