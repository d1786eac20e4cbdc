"""What the text of a flag may be, where it is no setting; a refusal names the flag."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.model import Refusal, read_vdn_id
from orchestrator.settings import checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.engine.options import FailureLimit
    from orchestrator.policy.decide import Outcome

#: ids that were typed instead of the name of a list
_TYPED_IDS = re.compile(r"[0-9,/ ]*[0-9][0-9,/ ]*", re.ASCII)
#: no flag says how the list of --only or --except is written
_BY_NAME = "correct the list, or let its name say how it is written: .csv, .json or .jsonl"
_SEVERAL = re.compile(r"\s*[0-9]{1,4}(?:\s*[,;/|&+\s]\s*[0-9]{1,4})+\s*")


def refuse(flag: str, reason: str, *, advice: str = "") -> UsageError:
    """Make the error for a flag that cannot be used."""
    return UsageError(
        f"{flag}: {reason}. Nothing was sent.", advice=advice or "correct it; --help has examples"
    )


def text(_flag: str, given: str) -> str:
    """Take it as it is."""
    return given


def word(flag: str, given: str) -> str:
    """Take it as it is, unless it is empty."""
    if not given:
        raise refuse(flag, "is empty")
    return given


def path(flag: str, given: str) -> Path:
    """Read the name of a file or a directory."""
    return Path(word(flag, given))


def list_path(flag: str, given: str) -> Path | None:
    """Read the name of a list; None for `-`, stdin."""
    return None if given == "-" else path(flag, given)


def one_of(flag: str, given: str, known: tuple[str, ...]) -> str:
    """Read one of some words."""
    if given not in known:
        raise refuse(flag, f"must be one of {', '.join(known)}, not {checks.shown(given)}")
    return given


def vdn(flag: str, given: str) -> int:
    """Read one VDN, 1..9999."""
    vdn_id = read_vdn_id(given)
    if not isinstance(vdn_id, Refusal):
        return vdn_id
    if _SEVERAL.fullmatch(given):
        raise refuse(
            flag,
            f"{checks.shown(given)} names several VDNs",
            advice="pause-all takes --vdn once for each; a list has a column vdn_id for them",
        )
    raise refuse(flag, f"{checks.shown(given)} {vdn_id.reason}")


def fingerprint(flag: str, given: str) -> str:
    """Read the SHA-256 of a certificate, with or without colons, into AB:CD:… pairs."""
    digits = re.sub(r"^sha-?256[:=/ ]|[:\s]", "", given.strip(), flags=re.IGNORECASE).upper()
    if not re.fullmatch(r"[0-9A-F]{64}", digits):
        advice = "`openssl x509 -noout -fingerprint -sha256 -in FILE` shows it on the server"
        raise refuse(flag, "is not a SHA-256: 64 hexadecimal digits", advice=advice)
    return ":".join(digits[at : at + 2] for at in range(0, 64, 2))


def _number(bounds: checks.Range, what: str = "") -> Callable[[str, str], Any]:
    """Make what reads a number within bounds."""

    def read(flag: str, given: str) -> object:
        value = bounds.in_text(given)
        if isinstance(value, Refusal):
            raise refuse(flag, f"{what}{value.reason}")
        return value

    return read


#: of seconds, to a week
seconds = _number(checks.Range(7 * 24 * 3600, zero=True))
share = _number(checks.Range(1, zero=True))
count = _number(checks.Range(1_000_000_000_000, whole=True))
#: 0: any free one
port = _number(checks.Range(65_535, zero=True, whole=True))
_percentage = _number(checks.Range(100), "the percentage ")


def failure_limit(flag: str, given: str) -> FailureLimit:
    """Read `N`, a number of campaigns, or `N%`, a share of the plan."""
    from orchestrator.engine.options import FailureLimit  # noqa: PLC0415 - for lists only

    if not given.endswith("%"):
        return FailureLimit(count(flag, given))
    return FailureLimit(_percentage(flag, given[:-1]), is_percent=True)


def outcome(flag: str, given: str) -> Outcome:
    """Read an outcome that counts as success.

    `invalid` and its like are no outcomes of a campaign; a bad line is skipped with --skip-invalid.
    """
    from orchestrator.policy.decide import NOT_COUNTED, Outcome  # noqa: PLC0415 - for lists only

    known = [one.value for one in Outcome if one not in {*NOT_COUNTED, Outcome.UNATTEMPTED}]
    if given not in known:
        meant = given.lower().replace("-", "_")
        hint = f" (did you mean {meant}?)" if meant in known else ""
        raise refuse(
            flag,
            f"{checks.shown(given)} is not an outcome that can be accepted{hint}",
            advice=f"one of: {', '.join(known)}",
        )
    return Outcome(given)


def are_typed(given: str) -> bool:
    """Whether --only or --except names ids, and not a file."""
    return _TYPED_IDS.fullmatch(given) is not None


def campaigns(
    flag: str, given: str, *, vdns: tuple[int, ...], run_vdns: tuple[int, ...]
) -> frozenset[tuple[int, int]]:
    """Read --only or --except: `1005,1017`, `7/1005`, or a list; all of it must be usable.

    `vdns` is what --vdn says. Ids alone are of that one VDN, or of the only one in which the run
    turned something off (`run_vdns`).
    """
    file = path(flag, given)
    is_typed = are_typed(given)
    if is_typed and file.exists():
        raise refuse(
            flag,
            f"{checks.shown(given)} is a file here, and campaign ids as well",
            advice=f"name the file as ./{given}, or the ids in another order or spacing",
        )
    if not (is_typed or os.path.lexists(file)):
        raise refuse(
            flag,
            f"{checks.shown(given)} is neither campaign ids nor a file that is there",
            advice="write ids, such as 1005,1017, or the name of a list; results.csv of the run has"
            " the id of each name",
        )
    default_vdn = vdns[0] if len(vdns) == 1 else None
    run_vdn = run_vdns[0] if len(run_vdns) == 1 and not vdns else None
    if is_typed:
        return frozenset(_typed(flag, given, default_vdn or run_vdn))
    found = _listed(flag, file, default_vdn)
    try:
        first = list(islice(found, 1))
    except UsageError:
        if run_vdn is None:
            raise
        return frozenset(_listed(flag, file, run_vdn))
    return frozenset((*first, *found))


def _typed(flag: str, given: str, default_vdn: int | None) -> Iterator[tuple[int, int]]:
    """Campaigns that were typed, with or without their VDN."""
    from orchestrator.manifest.entry import ABSENT, LineReader  # noqa: PLC0415

    for number, one in enumerate(given.replace(",", " ").split(), start=1):
        vdn_id, slash, campaign_id = one.rpartition("/")
        line = LineReader(None if slash else default_vdn).read(
            number, one, vdn_id if slash else ABSENT, campaign_id
        )
        if line.ref is None:
            raise refuse(flag, f"{one}: {line.problem}", advice="write VDN/ID, such as 7/1005")
        yield line.ref.vdn_id, line.ref.campaign_id


def _listed(flag: str, file: Path, default_vdn: int | None) -> Iterator[tuple[int, int]]:
    """The campaigns of a list."""
    from orchestrator.manifest.entry import ADVICE  # noqa: PLC0415
    from orchestrator.manifest.formats import (  # noqa: PLC0415
        Format,
        ManifestUnreadableError,
        format_of,
        read_manifest,
    )
    from orchestrator.manifest.source import open_manifest  # noqa: PLC0415

    kind = format_of(file.name) or Format.CSV
    with open_manifest(file) as source:
        try:
            for line in read_manifest(source.chunks(), kind, default_vdn=default_vdn):
                if line.ref is None:
                    raise refuse(flag, f"{file}:{line.place}: {line.problem}")
                yield line.ref.vdn_id, line.ref.campaign_id
        except ManifestUnreadableError as error:
            place = f"{file}:{error.place}"
            advice = _BY_NAME if error.advice == ADVICE else error.advice
            raise refuse(flag, f"{place}: {error.reason}", advice=advice) from error
