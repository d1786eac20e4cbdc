"""What is known of one setting: meaning, check, defaults, and how it is named where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.settings import checks

#: the values that stand for "not given"
NOTHING: Final = frozenset({None, "", ()})


@dataclass(frozen=True)
class Setting:
    """One row of the table in schema.py: what people and programs are told about a setting."""

    #: in lower case and without a full stop
    meaning: str
    check: checks.Check
    #: one of NOTHING: nothing is assumed
    default: Any = None
    #: the default of pause-all, which has less time
    emergency_default: Any = None
    #: the environment variable, or ""
    variable: str = ""
    #: with two dashes, or ""
    flag: str = ""
    #: what its help calls the flag's value
    metavar: str = ""
    #: a correct value, as people write it; "": the default is one
    example: str | int = ""
    #: how None is shown
    none: str = "-"
    #: a sentence or two that only the documents have
    note: str = ""
    #: False: refused in a file
    in_file: bool = True
    #: section.name, as in the TOML file
    key: str = ""

    @property
    def section(self) -> str:
        """The table of the TOML file, and the field of `Settings`."""
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        """The key within its section."""
        return self.key.partition(".")[2]

    @property
    def origin_of_call(self) -> str:
        """The origin of a value that the call itself gives: its flag, or a library's argument."""
        return self.flag or f"argument {self.key}"

    @property
    def is_path(self) -> bool:
        """Whether its value becomes a whole `Path`."""
        return self.check is checks.path

    @property
    def bounds(self) -> str:
        """The numbers it may be, in words; "" for what is no number."""
        return self.check.bounds if isinstance(self.check, checks.Range) else ""

    @property
    def words(self) -> str:
        """Meaning and bounds."""
        return ", ".join(filter(None, (self.meaning, self.bounds)))

    @property
    def help(self) -> str:
        """The text of its flag."""
        default = "" if self.default in NOTHING else f"default: {self.shown(self.default)}"
        return "; ".join(filter(None, (self.words, default)))

    def read(self, value: object, *, is_text: bool) -> object:
        """Check a value; `is_text`: it comes from where a number can only be text."""
        if is_text and isinstance(self.check, checks.Range):
            return self.check.in_text(str(value))
        return self.check(value)

    def shown(self, value: object) -> str:
        """Show a checked value to people."""
        match value:
            case None | "" | ():
                return self.none
            case bool():
                return "true" if value else "false"
            case float():
                return f"{value:.15g}"
            case tuple() | list():
                return ", ".join(map(str, value))
            case _:
                return str(value)


def setting(meaning: str, check: checks.Check, default: Any, **more: Any) -> Any:
    """A field of a section; `flag="--rate R"` names flag and metavar, `emergency` is a default."""
    flag, _, metavar = more.pop("flag", "").partition(" ")
    emergency = more.pop("emergency", default)
    row = Setting(meaning, check, default, emergency, flag=flag, metavar=metavar, **more)
    return field(default=default, metadata={"row": row})
