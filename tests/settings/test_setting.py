"""Promises of settings/setting.py, by settings that there are."""

from __future__ import annotations

from orchestrator.model import Refusal
from orchestrator.settings.schema import SECTIONS, SETTINGS, SPECS


def test_a_key_is_a_section_and_a_field_of_it() -> None:
    """`pace.rate_per_s` is [pace] rate_per_s in a file, and settings.pace.rate_per_s."""
    for row in SETTINGS:
        assert row.key == f"{row.section}.{row.name}"
        assert hasattr(SECTIONS[row.section](), row.name)
    assert [row.key for row in SETTINGS if row.is_path] == [
        "server.ca_file",
        "credentials.secret_key_file",
        "state.dir",
        "metrics.textfile",
        "notify.webhook_secret_file",
    ]


def test_a_flag_has_its_help_from_the_table() -> None:
    """What it means, what it may be, and the default; lower case, no full stop."""
    rate, server = SPECS["pace.rate_per_s"], SPECS["server.base_url"]

    assert (rate.flag, rate.metavar) == ("--rate", "R")
    assert rate.help == (
        "requests of every kind in any one second, all runs together,"
        " above 0 and at most 100,000; default: 10"
    )
    assert server.help == server.meaning == "the server; https, or plain http to a loopback address"


def test_a_number_in_text_is_read_where_it_can_only_be_text() -> None:
    """A variable holds "8"; in a file, "8" is a mistake."""
    count, rate, url = SPECS["pace.concurrency"], SPECS["pace.rate_per_s"], SPECS["server.base_url"]

    assert (count.read("8", is_text=True), rate.read("0.5", is_text=True)) == (8, 0.5)
    assert isinstance(count.read("8", is_text=False), Refusal)
    assert url.read("https://H", is_text=True) == "https://h"


def test_a_value_is_shown_as_people_write_it() -> None:
    """No value, a switch, a number without needless digits, a list."""
    values = [None, "", (), True, False, 10.0, 0.1, ("a", "b"), (7, 8), 8]

    shown = [SPECS["retry.max_attempts"].shown(value) for value in values]

    nothing = ["no maximum"] * 3
    assert shown == [*nothing, "true", "false", "10", "0.1", "a, b", "7, 8", "8"]


def test_what_a_call_gives_is_told_from_what_is_configured() -> None:
    """By its flag, or as an argument of a library call."""
    assert SPECS["pace.rate_per_s"].origin_of_call == "--rate"
    assert SPECS["retry.max_attempts"].origin_of_call == "argument retry.max_attempts"
