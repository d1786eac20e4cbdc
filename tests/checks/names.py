"""Names: the words the glossary bans, and tests that do not say what they promise."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from tests.checks.tree import ROOT, place, python_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: docs/glossary.md: each of these means everything and says nothing
BANNED_WORDS = frozenset(
    {"data", "handle", "info", "item", "job", "manager", "process", "task", "util", "utils"}
    | {"helper", "helpers", "items", "jobs", "tasks"}
)

#: names that are not ours to choose: a level of every log is called that
GIVEN_NAMES = frozenset({"info"})

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def words_of(name: str) -> set[str]:
    """The words in a name: `TaskManager_2` -> task, manager, 2."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)}


def _definitions(tree: ast.AST) -> Iterator[Definition]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def problems(root: Path = ROOT) -> list[str]:
    """Every module, class or function with a banned word, every test without a sentence."""
    found = []
    for path in python_files("orchestrator", root):
        where = place(path, root)
        named = [(path.stem, 1)]
        named += [(node.name, node.lineno) for node in _definitions(ast.parse(path.read_text()))]
        for name, line in named:
            if name not in GIVEN_NAMES and (bad := words_of(name) & BANNED_WORDS):
                found.append(f"{where}:{line}: {name}: {min(bad)} is banned by docs/glossary.md")
    for path in python_files("tests", root):
        if not path.name.startswith("test_"):
            continue
        found += [
            f"{place(path, root)}:{node.lineno}: {node.name} has no docstring"
            for node in _definitions(ast.parse(path.read_text()))
            if node.name.startswith("test_") and not (ast.get_docstring(node) or "").strip()
        ]
    return found
