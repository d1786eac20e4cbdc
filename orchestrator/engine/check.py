"""`check`: would an emergency work right now? Every step but the PUT; nothing that changes is sent.

A step that cannot be tried is skipped with its reason, and the first failing step decides the exit
code. A listing (with a query) and a details call (without one) are tried apart, because signing
switch A (`signing.blank_query_line`) shows itself there. After a 401 to the very first request the
report shows what was signed, because a proxy may have changed the request.
"""

from __future__ import annotations

import contextlib
import os
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.engine.asker import Asker, client_of
from orchestrator.engine.begin import check_descriptors, give_up
from orchestrator.errors import SettingsError, StorageError
from orchestrator.isales.client import tls_context
from orchestrator.isales.listing import Page, read_details, read_page
from orchestrator.isales.probe import ProbeError, ends_s, find_addresses, try_connection
from orchestrator.isales.requests import details, listing
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.model import CampaignRef, Status
from orchestrator.policy.plan import feasibility
from orchestrator.reports.files import check_folder
from orchestrator.settings.schema import SECRET_KEY, SECRET_KEY_FILE
from orchestrator.settings.server_url import ServerUrl, read_base_url
from orchestrator.store import try_out
from orchestrator.store.rate_file import has_shared_rate, share_rate
from orchestrator.store.run_dir import make_run_directory, secure_state_dir

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.clock import Clock
    from orchestrator.engine.departures import SharedRate
    from orchestrator.settings.load import Settings

#: a certificate that ends sooner is worth a warning, days
CERTIFICATE_DAYS = 30
#: a clock that is further off is worth a warning, seconds
SKEW_S = 30
_DAY_S = 86_400
#: the server looked at the campaign id, so it had accepted the signature
_SIGNATURE_TAKEN = frozenset(
    {Kind.ACCEPTED, Kind.NOT_FOUND, Kind.REJECTED, Kind.WRONG_STATE, Kind.CODE_UNKNOWN}
)
_NO_VDN = "skipped: give --vdn N, or set server.vdns"


class Finding(StrEnum):
    """What one step came to."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    SKIP = "SKIP"


class Step(NamedTuple):
    """One step of the drill."""

    name: str
    finding: Finding
    #: one line for people
    text: str
    elapsed_ms: int = 0
    #: what the whole exits with when this step fails
    exit_code: int = 0


def exit_code_of(steps: list[Step]) -> int:
    """The code of the first failing step; 1 when something decisive was not tried; else 0."""
    for step in steps:
        if step.finding is Finding.FAIL:
            return step.exit_code
    return 1 if any(step.finding is Finding.SKIP for step in steps) else 0


async def check(
    load: Callable[[], Settings], *, vdn: int | None, clock: Clock, tell: Callable[[Step], None]
) -> list[Step]:
    """Try everything that an emergency needs; `tell` is called with each step at once.

    `load` loads the settings, or raises SettingsError. Without a VDN those of server.vdns are
    listed; where there is none, what needs one is left out.
    """
    drill = _Drill(clock, tell)
    try:
        settings = load()
    except SettingsError as error:
        name = "secret key" if error.key in {SECRET_KEY, SECRET_KEY_FILE} else "settings"
        advice = f" Do: {error.advice}" if error.advice else ""
        drill.note(name, Finding.FAIL, f"{error.sentence}{advice}", code=2)
        return drill.steps
    drill.note("settings", Finding.OK, _settings_text(settings))
    drill.note("secret key", *_secret(settings.origins.get(SECRET_KEY, "")))
    drill.check_state_dir(settings.state_dir)
    if await drill.knock(settings):
        await drill.ask(settings, settings.server.vdns if vdn is None else (vdn,))
    return drill.steps


def _settings_text(settings: Settings) -> str:
    origins = settings.origins
    return (
        f"server {settings.server.title} ({origins['server.base_url']}),"
        f" access key ({origins['credentials.access_key']}),"
        f" {settings.pace.rate_per_s:g}/s ({origins['pace.rate_per_s']}),"
        f" {settings.pace.concurrency} at once ({origins['pace.concurrency']})"
    )


def _rehearse_journal(state_dir: Path) -> tuple[Path, ...]:
    """Make a run's directory and journal where an emergency would, commit once, remove them.

    Returns:
        Directories that everybody may write in.

    Raises:
        SettingsError: the state directory is another user's, or on a network file system.
        StorageError: nothing can be recorded there.
    """
    open_to_all = secure_state_dir(state_dir)
    path = state_dir / "runs" / f".check-{os.getpid()}"
    missing = [one for one in path.parents if not one.exists()]
    directory = make_run_directory(path)
    try:
        directory.hold(since="", host="")
        check_descriptors()
        check_folder(path)
        try_out(directory.journal)
    finally:
        with contextlib.suppress(OSError):
            directory.journal.unlink(missing_ok=True)
        give_up(directory)
        for one in missing:
            with contextlib.suppress(OSError):
                one.rmdir()
    return open_to_all


class _Drill:
    """The steps so far."""

    def __init__(self, clock: Clock, tell: Callable[[Step], None]) -> None:
        self.steps: list[Step] = []
        self._clock = clock
        self._tell = tell
        self._began_s = clock.now_s()

    def note(self, name: str, finding: Finding, text: str, *, code: int = 1) -> None:
        """Put one step on record; it began when the one before it had ended."""
        began_s, self._began_s = self._began_s, self._clock.now_s()
        elapsed_ms = round((self._began_s - began_s) * 1000)
        failed = code if finding is Finding.FAIL else 0
        step = Step(name, finding, text, elapsed_ms, failed)
        self.steps.append(step)
        self._tell(step)

    def skip(self, text: str, *names: str) -> None:
        """Say what was not tried."""
        for name in names:
            self.note(name, Finding.SKIP, text)

    def check_state_dir(self, state_dir: Path) -> None:
        """Record a run as an emergency does; else that keeps its journal in memory (exit 5)."""
        name = "state directory"
        try:
            open_to_all = _rehearse_journal(state_dir)
        except SettingsError as error:
            self.note(name, Finding.FAIL, error.sentence, code=2)
        except StorageError as error:
            text = error.sentence.removesuffix(" Nothing was sent.")
            self.note(name, Finding.FAIL, f"{text}: a run could not be recorded there")
        else:
            finding, text = Finding.OK, f"a journal can be written in {state_dir}"
            if open_to_all:
                finding = Finding.WARN
                text = (
                    f"everybody may write in {open_to_all[0]}, and replace what is recorded there"
                )
            self.note(name, finding, text)

    # -- the way to the server ----------------------------------------------------------------

    async def knock(self, settings: Settings) -> bool:
        """Name, TCP, TLS; False when one of them fails."""
        url = read_base_url(settings.server.base_url)
        assert isinstance(url, ServerUrl)
        wait_s = settings.server.connect_timeout_s

        async def dns() -> tuple[Finding, str]:
            found = await find_addresses(url.host, url.port, timeout_s=wait_s)
            return Finding.OK, f"{url.host} is {', '.join(found[:4])}"

        async def tcp() -> tuple[Finding, str]:
            await try_connection(url.host, url.port, context=None, timeout_s=wait_s)
            return Finding.OK, f"{url.host}:{url.port} answers"

        async def tls() -> tuple[Finding, str]:
            if url.scheme != "https":
                return Finding.OK, "not used: plain http to this machine"
            context = tls_context(settings.server.ca_file)
            shown = await try_connection(url.host, url.port, context=context, timeout_s=wait_s)
            days = int((ends_s(shown) - self._clock.wall_ms() / 1000) // _DAY_S)
            finding = Finding.WARN if days < CERTIFICATE_DAYS else Finding.OK
            return finding, f"the certificate is trusted and ends in {days} days"

        for name, door in (("DNS", dns), ("TCP", tcp), ("TLS", tls)):
            try:
                finding, text = await door()
            except ProbeError as error:
                self.note(name, Finding.FAIL, str(error), code=4)
                return False
            self.note(name, finding, text)
        return True

    # -- the server ---------------------------------------------------------------------------

    async def ask(self, settings: Settings, vdns: tuple[int, ...]) -> None:
        """A signed listing, a signed details call, the clock, what a stop would take.

        What is the same for every VDN is tried with the first one.
        """
        if not vdns:
            names = ("calls",) if settings.cms.base_url else ()
            self.skip(_NO_VDN, "listing", "details", "clock", "campaigns", *names)
            return
        client = client_of(settings, settings.server.base_url, self._clock)
        shared = self._share(settings)
        async with contextlib.AsyncExitStack() as held:
            if shared is not None:
                held.callback(shared.close)
            await held.enter_async_context(client)
            asker = Asker(client, settings, self._clock, shared)
            first, *others = vdns
            running = await self._try_listing(asker, first)
            read = await self._try_details(asker, first)
            self._compare(asker, listed=running is not None, read=read)
            self._note_clock(asker)
            if running is None:
                self.skip("not tried: the listing failed", "campaigns")
            else:
                await self._note_campaigns(asker, first, running)
            if settings.cms.base_url:
                await self._try_calls(asker, asker.campaign or CampaignRef(first, 1))
            for vdn in others:
                running = await self._try_listing(asker, vdn)
                if running is not None:
                    await self._note_campaigns(asker, vdn, running)

    def _share(self, settings: Settings) -> SharedRate | None:
        """Part in the runs' rate; where none has ever sent, nothing is made and left behind."""
        if not has_shared_rate(settings):
            return None

        def warn(reason: str) -> None:
            self.note("rate", Finding.WARN, f"not shared with other runs: {reason}")

        return share_rate(settings, self._clock, emergency=False, warn=warn)

    async def _try_listing(self, asker: Asker, vdn: int) -> int | None:
        answer, verdict = await asker.send(listing(vdn, status=Status.STARTED, page=1))
        page = read_page(answer, vdn_id=vdn, asked_status=Status.STARTED)
        if not isinstance(page, Page):
            text = f"of VDN {vdn}: {verdict.reason}"
            if verdict.kind is Kind.UNAUTHORIZED:
                text += f". {_causes_of_401(asker.settings.server.base_url)}"
            self.note("listing", Finding.FAIL, text, code=_code(verdict))
            return None
        if page.problem or page.total_size is None:
            text = f"of VDN {vdn}: unusable: {page.problem}"
            self.note("listing", Finding.FAIL, text, code=4)
            return None
        asker.campaign = page.rows[0].ref if page.rows else None
        finding, text = Finding.OK, f"of VDN {vdn}: signed with a query, accepted"
        if asker.auth_state.rules.millis != asker.configured.millis:
            finding = Finding.WARN
            text = f"accepted only after correction: {asker.corrected('millis')}"
        self.note("listing", finding, text)
        return page.total_size

    async def _try_details(self, asker: Asker, vdn: int) -> bool:
        """Campaign 1 need not exist: `not found` proves the signature as well."""
        ref = CampaignRef(vdn, 1)
        answer, verdict = await asker.send(details(ref))
        accepted = not isinstance(read_details(answer, ref=ref), Verdict)
        if accepted or verdict.kind in _SIGNATURE_TAKEN:
            finding, text = Finding.OK, "signed without a query, accepted"
            if asker.auth_state.rules.blank_query_line != asker.configured.blank_query_line:
                finding = Finding.WARN
                text = f"accepted only after correction: {asker.corrected('blank_query_line')}"
            self.note("details", finding, text)
            return True
        self.note("details", Finding.FAIL, verdict.reason, code=_code(verdict))
        return False

    def _compare(self, asker: Asker, *, listed: bool, read: bool) -> None:
        """One was refused with 401 and the other accepted: that is what switch A looks like."""
        if listed == read or Kind.UNAUTHORIZED not in asker.kinds:
            return
        refused = "details call" if listed else "listing"
        text = f"only the {refused} was refused: {asker.corrected('blank_query_line')}"
        self.note("signing", Finding.WARN, text)

    def _note_clock(self, asker: Asker) -> None:
        skew_s = asker.skew_s
        if skew_s is None:
            self.note("clock", Finding.WARN, "the server sends no usable Date header")
            return
        text = f"ours is {abs(skew_s)} s {'behind' if skew_s > 0 else 'ahead of'} the server's"
        if abs(skew_s) <= SKEW_S:
            self.note("clock", Finding.OK, text if skew_s else "the same as the server's")
            return
        if asker.auth_state.offset_ms:
            text += "; requests are signed with the corrected time"
        self.note("clock", Finding.WARN, f"{text}: set this machine's clock")

    async def _note_campaigns(self, asker: Asker, vdn: int, running: int) -> None:
        """How much there would be to stop; a VDN without campaigns is probably another one."""
        if running:
            rate_per_s = asker.settings.pace.rate_per_s
            text = feasibility(running=running, rate_per_s=rate_per_s, more=False)
            self.note("campaigns", Finding.OK, f"running now in VDN {vdn}: {text}")
            return
        answer, verdict = await asker.send(listing(vdn, status=0, page=1, rows_per_page=1))
        page = read_page(answer, vdn_id=vdn, asked_status=0)
        asker.campaign = page.rows[0].ref if isinstance(page, Page) and page.rows else None
        if not isinstance(page, Page):
            text = f"of VDN {vdn}: {verdict.reason}"
            self.note("campaigns", Finding.FAIL, text, code=_code(verdict))
        elif page.total_size:
            text = f"none of the {page.total_size:,} campaigns of VDN {vdn} runs now"
            self.note("campaigns", Finding.OK, text)
        else:
            text = f"VDN {vdn} has no campaigns at all: is it the right one? Quiet cannot be proven"
            self.note("campaigns", Finding.FAIL, text)

    async def _try_calls(self, asker: Asker, ref: CampaignRef) -> None:
        """Ask CC-CMS once; without it an emergency works as well, so its failure is a warning."""
        from orchestrator.isales.calls import (  # noqa: PLC0415 - few have CC-CMS
            MAX_CMS_VDN_ID,
            calls_request,
            read_calls,
        )

        without = "calls in progress could not be counted, an emergency works without that"
        if ref.vdn_id > MAX_CMS_VDN_ID:
            text = f"CC-CMS takes VDNs up to {MAX_CMS_VDN_ID}: {without}"
            self.note("calls", Finding.WARN, text)
            return
        cms = asker.settings.cms
        async with client_of(asker.settings, cms.base_url, self._clock) as client:
            answer = await asker.send_to(client, calls_request(ref, cc_id=cms.cc_id))
        calls = read_calls(answer)
        if calls.in_progress is None:
            self.note("calls", Finding.WARN, f"{calls.problem}: {without}")
            return
        were = "1 call is" if calls.in_progress == 1 else f"{calls.in_progress:,} calls are"
        text = f"CC-CMS answers: {were} in progress in campaign {ref.campaign_id}"
        self.note("calls", Finding.OK, text)


def _secret(origin: str) -> tuple[Finding, str]:
    if origin.startswith("typed"):
        return Finding.OK, origin
    if origin == "ORCHESTRATOR_SECRET_KEY":
        return Finding.WARN, f"from {origin}; a file is safer"
    return Finding.OK, f"from {origin}, with safe permissions"


def _causes_of_401(base_url: str) -> str:
    """What may be wrong when nothing was ever accepted."""
    url = read_base_url(base_url)
    assert isinstance(url, ServerUrl)
    path = f"a path that begins with {url.prefix}" if url.prefix else "a path without a prefix"
    return (
        "Either the access key or the secret key is wrong, or a proxy in front of the server"
        f" changes what we signed (Host {url.host_header}, {path}): it must not drop"
        " or map the port in Host, nor strip a prefix from the path"
    )


def _code(verdict: Verdict) -> int:
    """Credentials are 3, everything else about the server is 4."""
    return 3 if verdict.kind in {Kind.UNAUTHORIZED, Kind.FORBIDDEN} else 4
