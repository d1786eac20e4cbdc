"""What the text of a flag may be, beyond the settings; a refusal names the flag."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.model import Refusal, read_vdn_id
from orchestrator.policy.decide import NOT_COUNTED, Outcome
from orchestrator.settings import checks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orchestrator.engine.options import FailureLimit
    from orchestrator.manifest.formats import Format

#: the longest time that a flag may name: a week, in seconds
WEEK_S = 7 * 24 * 3600
_COUNT_MAX = 1_000_000_000_000
_SEVERAL = re.compile(r"\s*[0-9]{1,4}(?:\s*[,;/|&+\s]\s*[0-9]{1,4})+\s*")


def refuse(flag: str, reason: str, *, advice: str = "") -> UsageError:
    """Make the error for a flag that cannot be used."""
    return UsageError(
        f"{flag}: {reason}. Nothing was sent.", advice=advice or "correct it; --help has examples"
    )


def read_vdn(text: str | None, *, flag: str = "--vdn") -> int | None:
    """Read one VDN, 1..9999."""
    if text is None:
        return None
    vdn_id = read_vdn_id(text)
    if isinstance(vdn_id, Refusal):
        if _SEVERAL.fullmatch(text):
            raise refuse(
                flag,
                f"{checks.shown(text)} names several VDNs",
                advice="pause-all takes --vdn once for each; a list has a column vdn_id for them",
            )
        raise refuse(flag, f"{checks.shown(text)} {vdn_id.reason}")
    return vdn_id


def read_vdns(texts: Iterable[str]) -> tuple[int, ...]:
    """Read several VDNs; one that is named twice counts once."""
    found = (read_vdn(text) for text in texts)
    return tuple(dict.fromkeys(one for one in found if one is not None))


def read_seconds(flag: str, text: str | None) -> float | None:
    """Read a number of seconds from 0 to a week."""
    if text is None:
        return None
    value = checks.number(most=WEEK_S, zero=True)(checks.decimal_in_text(text))
    if isinstance(value, Refusal):
        raise refuse(flag, value.reason)
    assert isinstance(value, float)
    return value


def read_count(flag: str, text: str | None) -> int | None:
    """Read a whole number from 1 on."""
    if text is None:
        return None
    value = checks.count(most=_COUNT_MAX)(checks.whole_in_text(text))
    if isinstance(value, Refusal):
        raise refuse(flag, value.reason)
    assert isinstance(value, int)
    return value


def read_failure_limit(text: str | None) -> FailureLimit | None:
    """Read `N`, a number of campaigns, or `N%`, a share of the plan."""
    if text is None:
        return None
    from orchestrator.engine.options import FailureLimit  # noqa: PLC0415 - for runs only

    is_percent = text.endswith("%")
    if not is_percent:
        number = read_count("--max-failures", text)
        assert number is not None
        return FailureLimit(number)
    value = checks.number(most=100)(checks.decimal_in_text(text[:-1]))
    if isinstance(value, Refusal):
        raise refuse("--max-failures", f"the percentage {value.reason}")
    assert isinstance(value, float)
    return FailureLimit(value, is_percent=True)


def read_accepted(names: Iterable[str]) -> frozenset[Outcome]:
    """Read the outcomes that count as success.

    `invalid` and its like are no outcomes of a campaign; a bad line is skipped with --skip-invalid.
    """
    allowed = [
        one.value for one in Outcome if one not in NOT_COUNTED and one is not Outcome.UNATTEMPTED
    ]
    for name in names:
        if name not in allowed:
            import difflib  # noqa: PLC0415 - for a refusal only

            near = difflib.get_close_matches(name.lower().replace("-", "_"), allowed, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise refuse(
                "--accept",
                f"{checks.shown(name)} is no outcome that can be accepted{hint}",
                advice=f"one of: {', '.join(allowed)}",
            )
    return frozenset(Outcome(name) for name in names)


def read_format(text: str | None) -> Format | None:
    """Read the name of a list's format."""
    if text is None:
        return None
    from orchestrator.manifest.formats import Format  # noqa: PLC0415 - for lists only

    try:
        return Format(text)
    except ValueError:
        known = ", ".join(one.value for one in Format)
        raise refuse("--format", f"must be one of {known}, not {checks.shown(text)}") from None


def read_campaigns(
    flag: str, path: Path | None, *, default_vdn: int | None
) -> frozenset[tuple[int, int]] | None:
    """Read a list of campaigns for --only or --except; every line of it must be usable."""
    if path is None:
        return None
    from orchestrator.manifest.formats import (  # noqa: PLC0415
        Format,
        ManifestUnreadableError,
        format_of,
        read_manifest,
    )
    from orchestrator.manifest.source import open_manifest  # noqa: PLC0415

    found: set[tuple[int, int]] = set()
    with open_manifest(path) as source:
        try:
            lines = read_manifest(
                source.chunks(), format_of(path.name) or Format.CSV, default_vdn=default_vdn
            )
            for line in lines:
                if line.ref is None:
                    raise refuse(flag, f"{path}:{line.place}: {line.problem}")
                found.add((line.ref.vdn_id, line.ref.campaign_id))
        except ManifestUnreadableError as error:
            place = f"{path}:{error.place}"
            raise refuse(flag, f"{place}: {error.reason}", advice=error.advice) from error
    return frozenset(found)
