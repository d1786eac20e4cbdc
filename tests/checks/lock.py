"""The lock files: everything pinned and hashed, nothing that names a package index.

- Each requirement is `name==version` with at least one sha256.
- No option but `--hash` occurs: index addresses are the business of the machine.
- The lock for running is a part of the lock for everything, pin by pin, hash by hash.
- Whatever pyproject.toml asks for is locked, at its floor or above.
- a script that installs a lock installs nothing else.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.checks.tree import ROOT

_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+]+)(?:\s*;.*)?")
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
_INSTALL = re.compile(r"install\b[^\n]* -r ")
_FLOOR = re.compile(r"(?P<name>[A-Za-z0-9._-]+)>=(?P<version>[0-9.]+)")


@dataclass(frozen=True, slots=True)
class Pin:
    """One locked package."""

    version: str
    hashes: frozenset[str]


def read_lock(text: str, name: str) -> tuple[dict[str, Pin], list[str]]:
    """Read a lock file: its pins by package, and a sentence for every line that breaks a rule."""
    pins: dict[str, Pin] = {}
    problems: list[str] = []
    lines = re.sub(r"(?m)^\s*#.*$", "", text).replace("\\\n", " ").splitlines()
    for line in filter(None, map(str.strip, lines)):
        hashes = frozenset(_HASH.findall(line))
        rest = _HASH.sub("", line).strip()
        pin = _PIN.fullmatch(rest)
        if pin is None:
            problems.append(f"{name}: {rest[:60]!r} is not a pin (name==version and hashes only)")
        elif not hashes:
            problems.append(f"{name}: {pin['name']} has no sha256 hash")
        else:
            pins[canonical(pin["name"])] = Pin(pin["version"], hashes)
    return pins, problems


def canonical(name: str) -> str:
    """How package names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def version_key(version: str) -> tuple[int, ...]:
    """The numbers of a version, enough to compare releases."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def floors(project: dict[str, Any]) -> dict[str, str]:
    """Every package that pyproject.toml asks for, and the least version."""
    wanted: list[str] = list(project["project"]["dependencies"])
    for group in project["dependency-groups"].values():
        wanted.extend(entry for entry in group if isinstance(entry, str))
    found = (_FLOOR.fullmatch(entry) for entry in wanted)
    return {canonical(floor["name"]): floor["version"] for floor in found if floor}


def problems(root: Path = ROOT) -> list[str]:
    """Every broken rule, as a sentence."""
    everything, found = read_lock((root / "requirements.txt").read_text(), "requirements.txt")
    running, more = read_lock((root / "requirements-run.txt").read_text(), "requirements-run.txt")
    found += more
    found += [
        f"requirements-run.txt: {name} differs from requirements.txt; ./do lock"
        for name, pin in running.items()
        if everything.get(name) != pin
    ]
    for name, floor in floors(tomllib.loads((root / "pyproject.toml").read_text())).items():
        if name not in everything:
            found.append(f"requirements.txt: {name} of pyproject.toml is not locked; ./do lock")
        elif version_key(everything[name].version) < version_key(floor):
            found.append(
                f"requirements.txt: {name} {everything[name].version} < {floor}; ./do lock"
            )
    for script in ("do", ".ci/run"):
        text = re.sub(r"\\\n\s*", "", (root / script).read_text())
        found += [
            f"{script}: `pip install -r` without --no-deps --require-hashes: later releases matter"
            for install in _INSTALL.findall(text)
            if "--no-deps" not in install or "--require-hashes" not in install
        ]
    return found
