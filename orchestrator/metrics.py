"""`metrics.textfile`: how the newest runs ended, for a collector of text files.

Several commands share the file: what one writes replaces its own lines and leaves the others. Never
a campaign id in a label. docs/reference.md, "Metrics".
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from orchestrator.version import VERSION

#: name → what it says; every one is a gauge, except a `_total`
_HELP = {
    "orchestrator_breaker_open": "1 while the server fails and a live run only probes it",
    "orchestrator_build_info": "the version that wrote here last",
    "orchestrator_campaigns": "lines of the newest run of a command, by outcome",
    "orchestrator_check_last_success_timestamp_seconds": "when check last exited with 0",
    "orchestrator_rate_ceiling": "requests in a second that a live run may send, or the next one",
    "orchestrator_requests_total": "requests of this process and of live runs, by kind and result",
    "orchestrator_run_duration_seconds": "how long the newest run of a command took",
    "orchestrator_run_exit_code": "exit code of the newest run of a command, refusals included",
    "orchestrator_run_last_completion_timestamp_seconds": "when a command last ended",
    "orchestrator_run_last_success_timestamp_seconds": "when a command last exited with 0",
    "orchestrator_vdn_last_quiet_timestamp_seconds": "when a VDN was last proven quiet",
}
_SAMPLE = re.compile(r"^(orchestrator_\w+)((?:\{[^}\n]*\})?) (-?[0-9.]+)$", re.ASCII | re.MULTILINE)


class Ending(NamedTuple):
    """How one command ended."""

    #: pause, pause-all, continue, restore or check
    command: str
    exit_code: int
    #: wall-clock seconds since the epoch
    ended_s: float
    #: None: it was refused before it began, or has no duration
    duration_s: float | None = None
    #: outcome → lines
    counts: Mapping[str, int] = {}
    #: VDN → when it was proven quiet, seconds since the epoch
    quiet_s: Mapping[int, float] = {}


def merged(text: str, ending: Ending) -> str:
    """The file after a command has ended; lines that are not ours are dropped."""
    samples = samples_of(text)
    own = f'command="{ending.command}"'
    for name, labels in tuple(samples):
        is_stale = name == "orchestrator_campaigns" and own in labels and ending.counts
        if is_stale or name == "orchestrator_build_info":
            del samples[name, labels]
    return written(samples | dict(_samples(ending)))


def samples_of(text: str) -> dict[tuple[str, str], str]:
    """Name and labels → value, of what stands in a text of ours."""
    return {(name, labels): value for name, labels, value in _SAMPLE.findall(text)}


def written(samples: Mapping[tuple[str, str], str]) -> str:
    """Samples as a collector reads them; what is not ours is left out."""
    lines: list[str] = []
    for name in sorted({name for name, _ in samples} & _HELP.keys()):
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += (f"# HELP {name} {_HELP[name]}", f"# TYPE {name} {kind}")
        lines += (f"{one}{labels} {samples[one, labels]}" for one, labels in sorted(samples)
                  if one == name)  # fmt: skip
    return "\n".join(lines) + "\n"


def _samples(ending: Ending) -> Iterator[tuple[tuple[str, str], str]]:
    own = f'{{command="{ending.command}"}}'
    ended = f"{ending.ended_s:.3f}"
    yield ("orchestrator_build_info", f'{{version="{VERSION}"}}'), "1"
    if ending.command == "check":
        if ending.exit_code == 0:
            yield ("orchestrator_check_last_success_timestamp_seconds", ""), ended
        return
    yield ("orchestrator_run_exit_code", own), str(ending.exit_code)
    yield ("orchestrator_run_last_completion_timestamp_seconds", own), ended
    if ending.exit_code == 0:
        yield ("orchestrator_run_last_success_timestamp_seconds", own), ended
    if ending.duration_s is not None:
        yield ("orchestrator_run_duration_seconds", own), f"{ending.duration_s:.3f}"
    for outcome, number in ending.counts.items():
        labels = f'{{command="{ending.command}",outcome="{outcome}"}}'
        yield ("orchestrator_campaigns", labels), str(number)
    for vdn, at_s in ending.quiet_s.items():
        labels = f'{{vdn="{vdn}"}}'
        yield ("orchestrator_vdn_last_quiet_timestamp_seconds", labels), f"{at_s:.3f}"


def write(path: Path, ending: Ending) -> None:
    """Merge an ending into the file, under a lock, and replace it as a whole.

    Raises:
        OSError: it could not be written; what was there before is still there.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    # a collector reads *.prom alone
    lock = os.open(path.with_name(f".{path.name}.lock"), flags, 0o644)
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = ""
        with contextlib.suppress(FileNotFoundError):
            before = path.read_text("utf-8", "replace")
        part.write_text(merged(before, ending), "utf-8")
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
        os.close(lock)
