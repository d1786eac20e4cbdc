"""Strings that ruff does not find and that must not stand in the tree.

They are switches that weaken it, and traces of a machine. Each has the reason beside it.
This file is the one place where they may be written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.checks.tree import ROOT, files, place

_CODE = ("", ".py", ".sh", ".toml")


@dataclass(frozen=True, slots=True)
class Ban:
    """A pattern, why it is banned, and in which files."""

    pattern: str
    reason: str
    suffixes: tuple[str, ...] = ()


BANS = (
    Ban(r"\bssl\s*=\s*False\b", "TLS is always verified", _CODE),
    Ban(r"\bCERT_NONE\b", "TLS is always verified", _CODE),
    Ban(r"\bcheck_hostname\s*=\s*False\b", "TLS is always verified", _CODE),
    Ban(r"\bverify_ssl\s*=\s*False\b", "TLS is always verified", _CODE),
    # `verify=False` alone is ours: --no-verify, a run without a look
    Ban(
        r"\b(get|put|post|request|[sS]ession|[cC]lient)\([^()]*\bverify\s*=\s*False\b",
        "TLS is always verified",
        _CODE,
    ),
    Ban(r"\btrust_env\s*=\s*True\b", "no proxy or netrc from the environment", _CODE),
    Ban(
        r"\(\?>|[*+?]\+|\{\d*,?\d*\}\+|\}\}\+",
        "possessive quantifiers and atomic groups match wrongly before Python 3.11.5 (gh-106052)",
        (".py",),
    ),
    Ban(r"(?<![\w.])(/work/|/root/|/opt/pypi|/opt/wheels)", "a path of somebody's machine"),
    Ban(r"\b(test\.)?pypi\.org\b|pythonhosted\.org", "an address of a package index"),
    Ban(r"--(extra-)?index-url[ =]h|--find-links|--trusted-host", "an address of a package index"),
)


def problems(root: Path = ROOT) -> list[str]:
    """Every place where a banned string stands."""
    found = []
    for path in files(root):
        where = place(path, root)
        if where == "tests/checks/forbidden.py":  # it has to name what it bans
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for ban in BANS:
            if ban.suffixes and path.suffix not in ban.suffixes:
                continue
            if hit := re.search(ban.pattern, text):
                line = text.count("\n", 0, hit.start()) + 1
                found.append(f"{where}:{line}: {hit.group()!r} is banned: {ban.reason}")
    return found
