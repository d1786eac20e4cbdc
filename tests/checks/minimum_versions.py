"""Versions below which a published weakness would touch us: checked without a network.

A feed of advisories can be unreachable and then says "none found"; this table cannot.
The lock must not be below it, nor may pyproject.toml allow less at run time.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.checks.lock import floors, read_lock, version_key
from tests.checks.tree import ROOT

#: package -> (least version, why it matters here)
MINIMUM_VERSIONS = {
    "aiohttp": (
        "3.14.3",
        "CVE-2026-69244: the C parser of answers reads out of bounds on malformed chunks",
    ),
    "cryptography": ("44.0.1", "CVE-2024-12797: bundled OpenSSL (tests only, through trustme)"),
    "idna": ("3.7", "CVE-2024-3651: quadratic time on crafted host names"),
    "markdown-it-py": ("2.2.0", "CVE-2023-26302 and -26303: endless parsing (through rich)"),
    "pygments": ("2.15.0", "CVE-2022-40896: catastrophic regular expressions (through rich)"),
}


def problems(root: Path = ROOT) -> list[str]:
    """Every package that is locked, or allowed, below its least version."""
    pins, _ = read_lock((root / "requirements.txt").read_text(), "requirements.txt")
    allowed = floors(tomllib.loads((root / "pyproject.toml").read_text()))
    found = []
    for name, (least, why) in MINIMUM_VERSIONS.items():
        if name not in pins:
            found.append(f"minimum_versions: {name} is no longer locked; drop its row")
        elif version_key(pins[name].version) < version_key(least):
            found.append(f"requirements.txt: {name} {pins[name].version} < {least}: {why}")
        if name in allowed and version_key(allowed[name]) < version_key(least):
            found.append(f"pyproject.toml: {name}>={allowed[name]} allows less than {least}: {why}")
    return found
