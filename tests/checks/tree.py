"""Where the project lies and which files belong to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_MADE_BY_TOOLS = {"__pycache__", "dist", "htmlcov"}
_NOT_OURS = (".coverage", ".venv")
_TEXT = {"", ".cfg", ".csv", ".ini", ".json", ".jsonl", ".md", ".py", ".sh", ".toml", ".txt"}


def files(root: Path = ROOT) -> Iterator[Path]:
    """Every text file that people write, never those that tools make."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _MADE_BY_TOOLS
            and not name.endswith(".egg-info")
            and (not name.startswith(".") or name == ".ci")
        )
        for name in sorted(names):
            path = Path(folder, name)
            # `.git` is a file in a further work tree: git's own, with a path of this machine
            if path.suffix in _TEXT and name != ".git" and not name.startswith(_NOT_OURS):
                yield path


def place(path: Path, root: Path = ROOT) -> str:
    """How a file is named in messages: from the root, with forward slashes."""
    return path.relative_to(root).as_posix()
