"""What a user writes, as a type checker sees it: mypy reads this file, nobody runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import assert_type

import orchestrator


async def nightly(manifest: Path) -> int:
    """Pause a list and decide by the result."""
    settings = orchestrator.load_settings(
        {"pace.rate_per_s": 20, "server.base_url": "https://isales.example.com:28080"},
        config=Path("config.toml"),
        environ={},
    )
    assert_type(settings, orchestrator.Settings)
    options = orchestrator.PauseOptions(
        vdn=1234,
        format=orchestrator.Format.JSONL,
        accept=frozenset({orchestrator.Outcome.NOT_FOUND}),
        max_failures=orchestrator.FailureLimit(5, is_percent=True),
        reason="nightly",
    )
    try:
        result = await orchestrator.pause(manifest, settings, options)
    except orchestrator.ManifestError as error:
        assert_type(error.total, int)
        return error.exit_code
    except orchestrator.OrchestratorError as error:
        assert_type(error.advice, str)
        return error.exit_code
    assert_type(result, orchestrator.RunResult)
    assert_type(result.counts, Mapping[str, int])
    assert_type(result.run_dir, Path | None)
    assert_type(result.exit_code, int)
    return result.exit_code


async def emergency(settings: orchestrator.Settings) -> orchestrator.RunResult:
    """Stop a VDN, finish what was cut off, undo it, tell it again."""
    options = orchestrator.PauseAllOptions(vdns=(1234,), hold_s=60.0, reason="wrong list")
    stopped = await orchestrator.pause_all(settings, options)
    finished = await orchestrator.continue_run(
        stopped.run_id, settings, orchestrator.ContinueOptions(rate_per_s=5.0)
    )
    assert_type(finished.line, str)
    undone = await orchestrator.restore(
        "last", settings, orchestrator.RestoreOptions(except_=frozenset({(1234, 1)}))
    )
    assert_type(undone.verdict, str)
    assert_type(orchestrator.__version__, str)
    return orchestrator.report(stopped.run_id, settings)
