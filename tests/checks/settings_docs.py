"""configs/example.toml and the table of settings in docs/reference.md are made from the schema.

`./do lint` says where they are not in step, `./do docs` writes them.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from orchestrator.settings.schema import SECTIONS, SETTINGS
from orchestrator.settings.setting import NOTHING, Setting
from tests.checks.tree import ROOT

EXAMPLE = ROOT / "configs" / "example.toml"
REFERENCE = ROOT / "docs" / "reference.md"

_HEAD = """\
# Every setting, each with its default or an example. Take the "#" away from what you change.
# Made from orchestrator/settings/schema.py by ./do docs.
#
# Read from the first of: --config FILE, $XDG_CONFIG_HOME/orchestrator/config.toml
# (usually ~/.config/orchestrator/config.toml), /etc/orchestrator/config.toml.
# Flags go before environment variables, those before this file, this file before the defaults.
# A relative path starts at the directory of this file; "~/" is your home directory, "~name/" that
# of another user. No variable is expanded: a path with $NAME in it is refused.
# `orchestrator config show` prints what is in use and where each value came from.
"""
_TABLE_HEAD = "| key | variable | flag | default (pause-all) | meaning |\n|---|---|---|---|---|\n"


def example_toml() -> str:
    """The settings file that has every key."""
    parts = [_HEAD]
    for section in SECTIONS:
        rows = [row for row in SETTINGS if row.section == section and row.in_file]
        parts.append(f"[{section}]\n" + "\n".join(map(_entry, rows)))
    return "\n".join(parts)


def reference_table() -> str:
    """The table of docs/reference.md."""
    return _TABLE_HEAD + "".join(
        f"| `{row.key}` | {_code(row.variable)} | {_code(row.flag)} | {_default(row)} |"
        f" {row.words} |\n"
        for row in SETTINGS
    )


def documents() -> dict[Path, str]:
    """What the two files should hold."""
    reference = REFERENCE.read_text(encoding="utf-8")
    before, head, rest = reference.partition(_TABLE_HEAD)
    if not head:
        sys.exit(f"{REFERENCE}: has no table of settings any more: {_TABLE_HEAD}")
    after = rest[rest.index("\n\n") + 1 :]
    return {EXAMPLE: example_toml(), REFERENCE: before + reference_table() + after}


def problems() -> list[str]:
    """Each file that is not in step with the schema."""
    return [
        f"{path.relative_to(ROOT)}: not in step with settings/schema.py: run ./do docs"
        for path, text in documents().items()
        if path.read_text(encoding="utf-8") != text
    ]


def _entry(row: Setting) -> str:
    words = f"{row.words}."
    if row.emergency_default != row.default:
        words += f" pause-all: {row.shown(row.emergency_default)}."
    comment = f"{words[0].upper()}{words[1:]} {row.note}".strip()
    lines = [
        *textwrap.wrap(comment, 98, break_on_hyphens=False),
        ", ".join(filter(None, (row.flag, row.variable))),
    ]
    value = row.example if row.default in NOTHING else row.default
    return "".join(f"# {one}\n" for one in (*filter(None, lines), f"{row.name} = {_toml(value)}"))


def _default(row: Setting) -> str:
    default, emergency = row.shown(row.default), row.shown(row.emergency_default)
    return default.replace("-", "–") if default == emergency else f"{default} ({emergency})"  # noqa: RUF001


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case float() | int():
            return f"{value:g}"
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case str() if value.startswith("["):  # an example of a list
            return value
        case _:
            return f'"{value}"'


def main() -> int:
    """Write what is not in step; returns the exit code."""
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
