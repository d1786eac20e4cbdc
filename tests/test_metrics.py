"""The file of metrics: what one command writes leaves the others' lines alone."""

from __future__ import annotations

import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.metrics import Ending, merged, write

COMMANDS = ("pause", "pause-all", "continue", "restore", "check")
#: a line of the text format
LINE = re.compile(
    r"# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+=\"[^\"]*\"(,[a-z]+=\"[^\"]*\")*\})? -?[0-9.]+"
)


def samples_of(text: str) -> dict[str, str]:
    """Series → value."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: value for name, _, value in lines}


def test_a_run_says_how_and_when_it_ended() -> None:
    """Exit code, times, duration, outcomes, and when each VDN was quiet."""
    ending = Ending("pause-all", 0, 1_795_475_101.5, 17.25, {"paused": 62}, {1234: 1_795_475_095.0})

    assert samples_of(merged("", ending)) == {
        'orchestrator_build_info{version="0.1.0"}': "1",
        'orchestrator_run_exit_code{command="pause-all"}': "0",
        'orchestrator_run_last_completion_timestamp_seconds{command="pause-all"}': (
            "1795475101.500"
        ),
        'orchestrator_run_last_success_timestamp_seconds{command="pause-all"}': "1795475101.500",
        'orchestrator_run_duration_seconds{command="pause-all"}': "17.250",
        'orchestrator_campaigns{command="pause-all",outcome="paused"}': "62",
        'orchestrator_vdn_last_quiet_timestamp_seconds{vdn="1234"}': "1795475095.000",
    }


def test_a_bad_end_keeps_the_last_success() -> None:
    """An alert needs the age of the last good run."""
    good = merged("", Ending("pause", 0, 100.0, 1.0, {"paused": 3, "failed": 1}))
    bad = samples_of(merged(good, Ending("pause", 1, 200.0, 2.0, {"paused": 4})))

    assert bad['orchestrator_run_exit_code{command="pause"}'] == "1"
    assert bad['orchestrator_run_last_success_timestamp_seconds{command="pause"}'] == "100.000"
    assert 'orchestrator_campaigns{command="pause",outcome="failed"}' not in bad


def test_a_refusal_changes_no_outcomes() -> None:
    """Nothing was sent: what the last run came to stays."""
    good = merged("", Ending("pause", 0, 100.0, 1.0, {"paused": 3}))
    refused = samples_of(merged(good, Ending("pause", 2, 200.0)))

    assert refused['orchestrator_campaigns{command="pause",outcome="paused"}'] == "3"
    assert refused['orchestrator_run_exit_code{command="pause"}'] == "2"


@pytest.mark.parametrize(("code", "is_told"), [(0, True), (1, False)])
def test_check_tells_its_last_success(code: int, *, is_told: bool) -> None:
    """And nothing else."""
    told = samples_of(merged("", Ending("check", code, 100.0)))

    assert ("orchestrator_check_last_success_timestamp_seconds" in told) == is_told
    assert len(told) == 1 + is_told


@given(
    endings=st.lists(
        st.builds(
            Ending,
            st.sampled_from(COMMANDS),
            st.sampled_from([0, 1, 2, 6, 130]),
            st.floats(0, 2e9),
            st.none() | st.floats(0, 1e6),
            st.dictionaries(st.sampled_from(["paused", "failed", "unknown"]), st.integers(0, 99)),
            st.dictionaries(st.integers(1, 9999), st.floats(0, 2e9), max_size=3),
        ),
        max_size=6,
    ),
    before=st.sampled_from(["", "garbage {\n", "node_cpu 1\n", 'orchestrator_x{a="b"} 1\n']),
)
def test_whatever_comes_together_is_the_text_format(endings: list[Ending], before: str) -> None:
    """One value for each series, series of one name side by side below their TYPE."""
    text = before
    for ending in endings:
        text = merged(text, ending)
    if not endings:
        return

    lines = text.splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))
    names = [re.split(r"[{ ]", line.removeprefix("# HELP ").removeprefix("# TYPE "))[0]
             for line in lines]  # fmt: skip
    assert names == sorted(names)
    again = merged(text, endings[-1])
    assert again == text


def test_commands_that_end_together_lose_nothing(tmp_path: Path) -> None:
    """Under a lock; readable for a collector; no other file ends in .prom."""
    file = tmp_path / "orchestrator.prom"
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda name: write(file, Ending(name, 0, 1.0)), COMMANDS * 5))

    told = samples_of(file.read_text("utf-8"))
    assert len(told) == 1 + 1 + 3 * 4
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.glob("*.prom")] == [file.name]
    assert list(tmp_path.glob("*.part")) == []


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    """A folder that is not there."""
    with pytest.raises(OSError, match="No such file"):
        write(tmp_path / "nowhere" / "x.prom", Ending("pause", 0, 1.0))
