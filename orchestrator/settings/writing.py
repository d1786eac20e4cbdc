"""Writes a settings file, and what it names: whole or not at all, the old one kept as .bak."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orchestrator.errors import StorageError
from orchestrator.settings.schema import SECTIONS, SPECS

_HEAD: Final = (
    "# Written by `{init}`; call it again to change it, or change it by hand.\n"
    "# docs/reference.md has every key; `{show}` prints what is in use.\n"
)


def toml_text(values: Mapping[str, object], *, init: str = "orchestrator init") -> str:
    """A settings file that holds these values, by key; `init` is the command that changes it."""
    # a line break in a name would end the comment
    init = ascii(init)[1:-1] if not init.isprintable() else init
    parts = [_HEAD.format(init=init, show=init.replace(" init", " config show", 1))]
    for section in SECTIONS:
        rows = [row for row in SPECS.values() if row.section == section and row.key in values]
        if rows:
            lines = (f"{row.name} = {_toml(values[row.key])}\n" for row in rows)
            parts.append(f"\n[{section}]\n{''.join(lines)}")
    return "".join(parts)


def changes(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """What is different, one line for each key."""
    return [
        f"{key}: {_shown(before.get(key))} becomes {_shown(after.get(key))}"
        for key in SPECS
        if before.get(key) != after.get(key)
    ]


def write_whole(path: Path, content: bytes, *, mode: int = 0o600, is_secret: bool = False) -> None:
    """Write a file so that it is the old one or the new one at any instant.

    An old one is kept beside it as .bak, unless it is secret; the new one has its rights.

    Args:
        path: a link is followed, not replaced.
        content: all of it.
        mode: of a file that was not there.
        is_secret: nobody but its owner gets rights, and a group of root's choice keeps reading.

    Raises:
        StorageError: it cannot be written; the old one is as it was.
    """
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        rights = None
        with contextlib.suppress(FileNotFoundError):
            old, rights = target.read_bytes(), target.stat()
            if old == content:
                return
            kept = 0o755
            if is_secret:
                kept = 0o640 if os.geteuid() == 0 else 0o600
            else:
                _put(target.with_name(f"{target.name}.bak"), old, 0o600, None)
            mode = stat.S_IMODE(rights.st_mode) & kept
        _put(target, content, mode, rights)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror or type(error).__name__})."
            " Nothing was sent.",
            advice="make it writable, or name another place with --config FILE",
        ) from error


def _put(target: Path, content: bytes, mode: int, like: os.stat_result | None) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 (a descriptor, not a path)
            if like is not None:
                with contextlib.suppress(OSError):  # not ours to give
                    os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, mode)
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        Path(temporary).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    folder = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _shown(value: object) -> str:
    return "nothing" if value is None else _toml(value)


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:.15g}"
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            # JSON escapes what TOML wants escaped, but for DEL
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
