"""`check` where CC-CMS is configured: one reading, and its failure fails nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.simulator.faults import FaultPlan, Outage, with_http
from orchestrator.simulator.routes import Kind
from orchestrator.simulator.server import Simulator
from tests.cli.makers import served

pytestmark = pytest.mark.sockets


@pytest.fixture
def simulator(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """VDN 1234, and a settings file that names it as CC-CMS too."""
    with served() as running:
        config = workplace / "config.toml"
        config.write_text(f'[cms]\nbase_url = "{running.base_url}"\n', encoding="utf-8")
        monkeypatch.setenv("ORCHESTRATOR_BASE_URL", running.base_url)
        monkeypatch.setenv("ORCHESTRATOR_RATE_PER_S", "50")
        yield running


def test_check_reads_the_calls_of_one_campaign(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A campaign that the listing showed, asked about once."""
    code = main(["check", "--vdn", "1234", "--config", str(workplace / "config.toml")])

    out = capsys.readouterr().out
    assert code == 0
    assert "in progress in campaign 1234001" in out
    assert simulator.ledger.by_kind[Kind.CALLS] == 1


def test_check_warns_of_a_cms_that_fails_and_an_emergency_would_work(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """HTTP 500: a warning that says what is lost, exit 0."""
    fault = Outage(with_http(500), kinds=frozenset({Kind.CALLS}))
    simulator.handler.faults = FaultPlan(outages=(fault,))

    code = main(["check", "--vdn", "1234", "--config", str(workplace / "config.toml")])

    out = capsys.readouterr().out
    assert code == 0
    assert "WARN" in out
    assert "HTTP 500: server error" in out
    assert "calls in progress could not be counted, an emergency works without that" in out
    assert out.endswith("An emergency would work now.\n")


def test_check_says_which_vdns_cms_does_not_take(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """VDN 6000 exists for CC-iSales alone: nothing is asked."""
    main(["check", "--vdn", "6000", "--config", str(workplace / "config.toml")])

    assert "CC-CMS takes VDNs up to 5000" in capsys.readouterr().out
    assert simulator.ledger.by_kind[Kind.CALLS] == 0
