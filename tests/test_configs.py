"""Promises of the files in configs/: people copy them, so they must be right."""

from __future__ import annotations

import csv
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.rehearsal import DEFAULT_PORT
from orchestrator.model import (
    CampaignRef,
    Refusal,
    Status,
    read_campaign_id,
    read_vdn_id,
)
from orchestrator.settings.schema import SETTINGS
from orchestrator.settings.values import file_layer, resolve
from orchestrator.simulator import scenarios

CONFIGS = Path(__file__).parents[1] / "configs"
EXAMPLE = (CONFIGS / "example.toml").read_text(encoding="utf-8")
#: a line of the example that is a setting and not a sentence
SETTING_LINE = re.compile(r"^# (?=[a-z_]+ = )", re.MULTILINE)


def keys_of(document: dict[str, Any]) -> set[str]:
    """List section.key of a TOML document."""
    return {f"{section}.{name}" for section, inner in document.items() for name in inner}


def test_the_example_has_every_key_and_no_other() -> None:
    """Uncommented it holds each key that a file may hold."""
    document = tomllib.loads(SETTING_LINE.sub("", EXAMPLE))

    assert keys_of(document) == {spec.key for spec in SETTINGS if spec.in_file}


def test_the_example_as_it_stands_changes_nothing() -> None:
    """Copied unread, it is harmless."""
    assert keys_of(tomllib.loads(EXAMPLE)) == set()


def test_the_uncommented_example_is_accepted_and_shows_the_defaults() -> None:
    """Every value passes its check; those that have a default show it."""
    layer = file_layer(tomllib.loads(SETTING_LINE.sub("", EXAMPLE)), file="example.toml")

    resolved = resolve([layer], emergency=False, state_dir="/s")

    for spec in SETTINGS:
        if spec.default is not None:
            assert resolved.values[spec.key] == spec.default, spec.key


def test_the_example_names_every_variable_and_flag() -> None:
    """A reader finds the other two ways to set a value beside it."""
    for spec in SETTINGS:
        assert spec.env is None or spec.env in EXAMPLE
        assert spec.flag is None or spec.flag in EXAMPLE


@pytest.mark.parametrize("name", ["batch", "emergency", "simulator"])
@pytest.mark.parametrize("emergency", [False, True])
def test_a_situation_is_complete_but_for_the_secret(name: str, emergency: bool) -> None:  # noqa: FBT001
    """Server and access key are there, every value is accepted, and no secret stands in it."""
    document = tomllib.loads((CONFIGS / f"{name}.toml").read_text(encoding="utf-8"))

    resolved = resolve([file_layer(document, file=name)], emergency=emergency, state_dir="/s")

    assert resolved.values["server.base_url"]
    assert "secret_key" not in document["credentials"]


def test_the_emergency_keeps_the_timeouts_of_pause_all() -> None:
    """What a file gives would replace the shorter timeouts, so this one gives none."""
    document = tomllib.loads((CONFIGS / "emergency.toml").read_text(encoding="utf-8"))
    resolved = resolve([file_layer(document, file="x")], emergency=True, state_dir="/s")

    assert resolved.values["server.attempt_timeout_s"] == 5.0
    assert resolved.values["retry.max_attempts"] is None


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
