"""The commands as cyclopts reads them: each flag of flags.py becomes a `cyclopts.Parameter`.

`parameters:pause` is the function `pause` of orchestrator.cli.pause, loaded when it is asked for;
only the annotations of its flags are added.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from cyclopts import Parameter

from orchestrator.cli.flags import Flag, Shared

if TYPE_CHECKING:
    from collections.abc import Callable

#: the files that are not named as their function is
_FILES = {"show": "config_show"}


def __getattr__(name: str) -> Callable[..., int]:
    if name.startswith("__"):
        raise AttributeError(name)
    module = import_module(f"orchestrator.cli.{_FILES.get(name, name)}")
    command: Callable[..., int] = getattr(module, name)
    _translate(command)
    _translate(Shared)
    return command


def _translate(owner: Any) -> None:
    owner.__annotations__ = {
        name: _translated(annotation) for name, annotation in owner.__annotations__.items()
    }


def _translated(annotation: Any) -> Any:
    if get_origin(annotation) is not Annotated:
        return annotation
    kind, *said = get_args(annotation)
    if any(isinstance(one, Parameter) for one in said):
        return annotation
    words = [Parameter(**one.said) for one in said if isinstance(one, Flag)]
    return Annotated[(kind, *said, *words)]
