"""What the pages show, and that nothing on them does anything by itself."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.live_file import live_document
from orchestrator.console.run_reader import campaign_ids
from orchestrator.console.shared import SHARED
from orchestrator.errors import UsageError
from orchestrator.simulator.server import Simulator
from orchestrator.store.run_dir import RunDirectory
from tests.cli.test_progress_line import NOW_S, USUAL, progress
from tests.console.consoles import JANE, Answer, Browser, console, site_of
from tests.console.recorded import cut_off, stopped, stopped_named
from tests.fakes import VDN
from tests.report_makers import HOSTILE

pytestmark = pytest.mark.sockets

RESTORER: dict[str, Any] = {"console__restorers": (JANE,)}
VOID = {"meta", "link", "input", "br", "path", "circle", "rect", "polygon", "polyline"}


class Page(HTMLParser):
    """A page as a browser takes it apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.links: list[str] = []
        self.labels: set[str] = set()
        self.fields: list[dict[str, str]] = []
        self.boxes: list[str] = []
        self.bad: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        assert self.bad == [], "a script or a style of the page's own"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        self.bad += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and given.get("src") != "/static/console.js"):
            self.bad.append(tag)
        if tag == "form":
            self.forms.append({"action": given["action"], "method": given.get("method", "get")})
        if tag == "a":
            self.links.append(given["href"])
        if tag == "label":
            self.labels.add(given.get("for", ""))
        if tag in {"input", "textarea"}:
            self._field(given)

    def _field(self, given: dict[str, str]) -> None:
        if given.get("type") == "hidden":
            self.forms[-1][given["name"]] = given["value"]
        elif given.get("type") == "checkbox":
            self.boxes.append(given["value"] + (" ticked" if "checked" in given else ""))
        else:
            self.fields.append(given)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        """What a reader sees, in one line."""
        return " ".join(" ".join(self.words).split())

    def form(self, action: str, method: str = "post") -> dict[str, str]:
        """The only form that leads there."""
        (found,) = [one for one in self.forms if (one["action"], one["method"]) == (action, method)]
        return found


def page_of(answer: Answer, status: int = 200) -> Page:
    """A page, well formed, with a label for each field."""
    assert answer.status == status, answer.text
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Page(answer.text)
    assert {one["id"] for one in page.fields} <= page.labels
    return page


async def page(browser: Browser, path: str, status: int = 200) -> Page:
    """Fetch it."""
    return page_of(await browser.get(path), status)


# -- home and order ---------------------------------------------------------------------------


async def test_home_says_how_many_run_in_each_vdn_and_leads_to_the_form(
    folder: Path, simulator: Simulator
) -> None:
    """One sentence with its time, asked in the background; a big button that only leads on."""
    site = site_of(folder, simulator.base_url, server__vdns=(1234, 77))
    async with console(site) as browser:
        first = await page(browser, "/")
        assert "The server is being asked" in first.text
        known = re.compile(r"At \d\d:\d\d:\d\dZ \(\d+ s ago\): 32 campaigns are running\.")

        def told() -> bool:
            readings = [one for one in browser.app[SHARED].readings.now((1234, 77)) if one]
            return len(readings) == 2

        await until_here(told)
        home = await page(browser, "/")

    assert known.search(home.text)
    assert "it has no campaigns at all: is 77 the right VDN?" in home.text
    assert {"/stop?vdn=1234", "/stop?vdn=77"} <= set(home.links)
    assert home.forms == []


async def until_here(what: Any) -> None:
    """Wait for something that happens in this loop."""
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110 - it is asked on purpose
            await asyncio.sleep(0.02)


async def test_without_configured_vdns_a_number_is_typed(folder: Path) -> None:
    """The field leads to the form by GET."""
    async with console(site_of(folder)) as browser:
        home = await page(browser, "/")

    assert home.form("/stop", "get")
    assert [one["name"] for one in home.fields] == ["vdn"]


async def test_who_may_only_look_sees_no_button(folder: Path) -> None:
    """And the setting that says so."""
    site = site_of(folder, server__vdns=(1201,), console__viewers=(JANE,), console__stoppers=("x",))
    async with console(site) as browser:
        home = await page(browser, "/")
        order = await page(browser, "/stop?vdn=1201")

    for shown in (home, order):
        assert "console.stoppers" in shown.text
        assert shown.forms == []
    assert "/stop?vdn=1201" not in home.links


@pytest.mark.parametrize(
    ("name", "word", "kind"),
    [
        ("production", "production", "production"),
        ("isales.example.com", "not a test server", "production"),
        ("latest", "not a test server", "production"),
        ("Test 2", "test", "test"),
        ("pre-production test", "test", "test"),
    ],
)
async def test_every_page_says_which_server_it_is_about(
    folder: Path, name: str, word: str, kind: str
) -> None:
    """A word and a colour; what is not surely a test looks like the real thing."""
    site = site_of(folder, "https://isales.example.com", server__name=name)
    async with console(site) as browser:
        answer = await browser.get("/")

    assert f'<header class="server {kind}">' in answer.text
    assert f"{word} {name}" in page_of(answer).text


async def test_the_order_form_shows_what_would_be_stopped(
    folder: Path, simulator: Simulator
) -> None:
    """Server, VDN, count, first names, time needed; the number is typed; a new order each time."""
    async with console(site_of(folder, simulator.base_url)) as browser:
        answer = await browser.get("/stop?vdn=1234")
        form = page_of(answer).form("/stop")
        again = (await page(browser, "/stop?vdn=1234")).form("/stop")
        assert form["token"] == browser.token("/stop", form["order"])

    text = page_of(answer).text
    assert "32 campaigns are running" in text
    assert "and 27 more" in text
    assert re.search(r"time needed about \d+ s: 32 at 10 requests a second", text)
    assert [one["name"] for one in page_of(answer).fields] == ["typed", "reason"]
    assert "value" not in page_of(answer).fields[0]
    assert '<span class="unselectable">1234</span>' in answer.text
    assert form["vdn"] == "1234"
    assert form["order"] != again["order"]


@pytest.mark.parametrize("typed", ["", "0", "10000", "1e3", "%3Cscript%3E", "12%0a"])
async def test_what_is_no_vdn_is_said(folder: Path, typed: str) -> None:
    """400, in words."""
    async with console(site_of(folder)) as browser:
        answer = await browser.get(f"/stop?vdn={typed}")

    assert "<script>" not in answer.text
    if typed == "12%0a":
        assert answer.status == 200  # white space around a number is a slip
    else:
        assert "Which VDN?" in page_of(answer, 400).text


# -- one run ----------------------------------------------------------------------------------


async def test_the_page_of_a_run_is_its_sentence_and_leads_to_everything(folder: Path) -> None:
    """Who, why, picture, rows, files, the undo; nothing on it starts anything."""
    result = stopped(folder, 150)
    base = f"/runs/{result.run_id}"
    async with console(site_of(folder, **RESTORER)) as browser:
        answer = await browser.get(base)

    shown = page_of(answer)
    assert result.line in shown.text
    for part in ("✓ quiet", "wrong list", "150 campaigns that this run stopped were not"):
        assert part in shown.text
    assert {f"{base}/restore", f"{base}/rows", f"{base}/files/results.csv"} <= set(shown.links)
    assert "<svg" in answer.text
    assert [one["action"] for one in shown.forms] == [f"{base}/note"]


async def test_the_page_of_a_run_that_has_just_ended_is_waited_for(folder: Path) -> None:
    """It is made after the lock is let go: the link is there before it, and waits a moment."""
    result = stopped(folder, 1)
    assert result.run_dir is not None
    file = f"/runs/{result.run_id}/files/report.html"
    async with console(site_of(folder)) as browser:
        shown = page_of(await browser.get(f"/runs/{result.run_id}"))
        asked = asyncio.create_task(browser.get(file))
        while not asked.done():
            await asyncio.sleep(0.2)
            (result.run_dir / "report.html").write_text("how it ended")
        answer = await asked

    assert file in shown.links
    assert (answer.status, answer.text) == (200, "how it ended")


async def test_rows_are_filtered_and_paged_at_the_server(folder: Path) -> None:
    """A hundred a page; nonsense is the first page; an outcome that nobody has has no rows."""
    result = stopped(folder, 150)
    base = f"/runs/{result.run_id}/rows"
    async with console(site_of(folder)) as browser:
        first, second = await page(browser, base), await page(browser, f"{base}?page=2")
        nonsense = await page(browser, f"{base}?page=9e9&outcome=")
        none = await page(browser, f"{base}?outcome=failed")
        odd = await browser.get(f"{base}?outcome=%3Cscript%3E%E2%80%AE")

    rows = re.compile(rf"{VDN}/(\d+) campaign")
    found = [rows.findall(one.text) for one in (first, second, nonsense)]
    assert [len(one) for one in found] == [100, 50, 100]
    assert {int(one) for one in found[0] + found[1]} == set(range(1, 151))
    assert found[2] == found[0]
    assert "No rows." in none.text
    assert f"{base}?outcome=paused" in first.links
    assert odd.status == 200
    assert not re.search("<script>|\u202e", odd.text)


async def test_an_interrupted_stop_can_be_continued(folder: Path) -> None:
    """The form carries its order; a stop of two days ago is left to a shell."""
    run_id = cut_off(folder).name
    base = f"/runs/{run_id}"
    async with console(site_of(folder)) as browser:
        form = (await page(browser, base)).form(f"{base}/continue")
        assert form["token"] == browser.token(f"{base}/continue", form["order"])
    async with console(site_of(folder, ahead_s=2 * 86_400)) as browser:
        old = await page(browser, base)

    assert f"{base}/continue" not in [one["action"] for one in old.forms]
    assert "--even-if-old" in old.text


async def test_a_live_run_has_its_numbers_and_one_way_to_end_it(folder: Path) -> None:
    """However it was started; 304 when a viewer has the document; without JavaScript it reloads."""
    result = stopped(folder)
    directory = RunDirectory(result.run_dir or folder)
    base = f"/runs/{result.run_id}"
    directory.hold(since="2026-11-23T23:05:01Z", host="jump1")
    try:
        async with console(site_of(folder)) as browser:
            found = progress(campaigns=40)
            told = live_document(found, USUAL, seq=1, now_s=NOW_S, at_ms=time.time_ns() // 10**6)
            (directory.path / "live.json").write_text(json.dumps(told))
            answer = await browser.get(base)
            live = await browser.get(f"{base}/live")
            seq = json.loads(live.text)["seq"]
            same = await browser.get(f"{base}/live?after={seq}")
            other = await browser.get(f"{base}/live?after=1")
            gone = await browser.get("/runs/20200101T000000Z-0000/live")
    finally:
        directory.release()

    shown = page_of(answer)
    assert f"Stopping VDN {VDN}: pausing" in shown.text
    assert "process" in shown.text
    assert [one["action"] for one in shown.forms] == [f"{base}/note", f"{base}/end"]
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in answer.text
    assert answer.text.count('role="status"') == 1
    assert (live.status, same.status, same.text, other.status) == (200, 304, "", 200)
    assert gone.status == 404


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_texts_are_shown_and_do_nothing(folder: Path, name: str) -> None:
    """[Z11] As a name and as a reason, on the pages of run, rows, restore, history and home."""
    text = HOSTILE[name][:1_000]
    written = text.encode("utf-8", "replace").decode()
    result = stopped_named(folder, written, "the other", reason=written)
    base = f"/runs/{result.run_id}"
    async with console(site_of(folder, **RESTORER)) as browser:
        for path in (base, f"{base}/rows", f"{base}/restore", "/runs", "/"):
            answer = await browser.get(path)
            page_of(answer)
            assert not re.search(
                "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e\u2066\ufeff\ud800]", answer.text
            )
            assert "<script>alert" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/runs/20200101T000000Z-0000",
        "/runs/last",
        "/runs/..%2f..%2fetc",
        "/runs/%00",
        "/runs/20200101T000000Z-0000/rows",
        "/runs/20200101T000000Z-0000/restore",
        "/runs/20200101T000000Z-0000/files/results.csv",
        "/static/..%2fviews.py",
    ],
)
async def test_what_is_not_there_is_a_page_that_says_so(folder: Path, path: str) -> None:
    """404, and never a file from elsewhere."""
    async with console(site_of(folder)) as browser:
        await page(browser, path, 404)


async def test_a_journal_that_cannot_be_read_is_said_and_breaks_nothing_else(folder: Path) -> None:
    """Its page says why; the lists show it with a word and a sign; the next run is shown."""
    good = stopped(folder)
    bad = folder / "state/runs/20261123T230501Z-7f3a"
    bad.mkdir()
    (bad / "journal.db").write_bytes(b"no journal" * 1_000)
    async with console(site_of(folder)) as browser:
        home, runs = await page(browser, "/"), await page(browser, "/runs")
        for rest in ("", "/rows"):
            assert "journal" in (await page(browser, f"/runs/{bad.name}{rest}", 500)).text
        await page(browser, f"/runs/{bad.name}/restore", 409)
        live = await browser.get(f"/runs/{bad.name}/live")

    for shown in (home, runs):
        assert "! unreadable" in shown.text
        assert {f"/runs/{bad.name}", f"/runs/{good.run_id}"} <= set(shown.links)
    assert json.loads(live.text)["live"] is False


# -- files ------------------------------------------------------------------------------------


async def test_report_files_can_be_downloaded_and_nothing_else(folder: Path) -> None:
    """Tables as attachments; the page opens, but in a sandbox; the journal stays here."""
    result = stopped(folder)
    run_dir = result.run_dir or folder
    (run_dir / "report.html").write_text("<p>hello</p>")
    (run_dir / "failed.csv").symlink_to(run_dir / "journal.db")
    base = f"/runs/{result.run_id}/files"
    async with console(site_of(folder)) as browser:
        table = await browser.get(f"{base}/results.csv")
        document = await browser.get(f"{base}/summary.json")
        shown = await browser.get(f"{base}/report.html")
        refused = [
            (await browser.get(f"{base}/{name}")).status
            for name in ("journal.db", "failed.csv", "holder.json", "..%2fresults.csv", "%2fetc")
        ]

    assert table.text == (run_dir / "results.csv").read_text()
    assert table.headers["Content-Disposition"] == (
        f'attachment; filename="{result.run_id}-results.csv"'
    )
    assert json.loads(document.text)["run_id"] == result.run_id
    assert shown.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert shown.headers["Content-Disposition"] == "inline"
    assert refused == [404] * 5


# -- restore ----------------------------------------------------------------------------------


async def test_the_preview_of_a_restore_shows_what_will_start_and_writes_nothing(
    folder: Path,
) -> None:
    """Counts and names; the guilty one is ticked, stays off, and is handed on with the order."""
    result = stopped_named(folder, "spring", "guilty", "autumn", reason="wrong list")
    base = f"/runs/{result.run_id}"
    before = files_below(folder / "state/runs")
    async with console(site_of(folder, **RESTORER)) as browser:
        first = await page(browser, f"{base}/restore")
        off = f"except={VDN}/2&except=3"
        changed = await page(browser, f"{base}/restore?{off}")
        chosen = await page(browser, f"{base}/restore?{off}&step=2")
        form = chosen.form(f"{base}/restore")
        assert form["token"] == browser.token(f"{base}/restore", form["order"])

    assert files_below(folder / "state/runs") == before
    assert "3 will start : spring , guilty , autumn" in first.text
    assert "wrong list" in first.text
    assert first.boxes == [f"{VDN}/1", f"{VDN}/2", f"{VDN}/3"]
    assert "1 will start : spring" in chosen.text
    assert "2 stay off: left off in this form" in chosen.text
    assert changed.boxes == [f"{VDN}/1", f"{VDN}/2 ticked", f"{VDN}/3 ticked"]
    assert f"{base}/restore?except={VDN}/2%2C{VDN}/3" in chosen.links
    assert form["except"] == f"{VDN}/2,{VDN}/3"
    assert [one["name"] for one in chosen.fields] == ["typed", "reason"]
    # a box that is ticked on the page of the order would look as if it were part of it
    assert (chosen.boxes, chosen.forms) == ([], [form])
    assert [one["method"] for one in first.forms] == ["get"]


def files_below(place: Path) -> dict[str, bytes]:
    """Every file there."""
    return {str(one): one.read_bytes() for one in sorted(place.rglob("*")) if one.is_file()}


def test_the_longest_id_can_be_left_off() -> None:
    """As the tick of its box and the form hand it on; one digit more is no id."""
    longest = 2**63 - 1
    assert campaign_ids([f"7/{longest}", f"{longest}"]) == {
        f"7/{longest}": (7, longest),
        f"{longest}": (None, longest),
    }
    with pytest.raises(UsageError, match="is no campaign id"):
        campaign_ids([f"{longest}0"])


@pytest.mark.parametrize("typed", ["99", "x", f"7/{VDN}", "%3Cb%3E"])
async def test_an_id_that_the_run_did_not_stop_is_said_and_not_passed_over(
    folder: Path, typed: str
) -> None:
    """A digit too many, and the guilty one would start."""
    result = stopped(folder)
    async with console(site_of(folder, **RESTORER)) as browser:
        answer = await browser.get(f"/runs/{result.run_id}/restore?except={typed}")

    assert "is no campaign" in page_of(answer).text
    assert "<b>" not in answer.text


@pytest.mark.parametrize(
    ("rights", "age_s", "said"),
    [({}, 0, "console.restorers"), (RESTORER, 2 * 86_400, "--even-if-old")],
    ids=["no restorer", "two days ago"],
)
async def test_what_may_not_be_restored_is_only_shown(
    folder: Path, rights: dict[str, Any], age_s: int, said: str
) -> None:
    """With the setting that a name is missing in, or how a shell insists."""
    result = stopped(folder)
    assert result.run_dir is not None
    os.utime(result.run_dir / "journal.db", (1, time.time() - age_s))
    async with console(site_of(folder, **rights)) as browser:
        chooses = await page(browser, f"/runs/{result.run_id}/restore")
        orders = await page(browser, f"/runs/{result.run_id}/restore?step=2")

    assert said in chooses.text
    assert [one["method"] for one in chooses.forms] == ["get"]
    assert orders.forms == []


# -- history, machines ------------------------------------------------------------------------


async def test_history_is_filtered_by_vdn_and_words(folder: Path) -> None:
    """What is no VDN is said; an odd page number is the first page."""
    result = stopped(folder, reason="wrong list")
    async with console(site_of(folder)) as browser:
        hits = [
            await page(browser, f"/runs?{query}")
            for query in ("", f"vdn={VDN}", "q=WRONG+quiet", "page=-3", "vdn=x")
        ]
        misses = [await page(browser, f"/runs?{query}") for query in ("vdn=7", "q=right")]

    assert all(f"/runs/{result.run_id}" in one.links for one in hits)
    assert not any(f"/runs/{result.run_id}" in one.links for one in misses)
    assert "x is no VDN" in hits[-1].text


async def test_machines_are_told_what_the_console_knows(folder: Path, simulator: Simulator) -> None:
    """Alive, ready, and numbers without a campaign's id, those of the textfile included."""
    textfile = folder / "orchestrator.prom"
    textfile.write_text(
        'orchestrator_run_exit_code{command="pause"} 4\nother_metric 1\n'
        'orchestrator_build_info{version="0.0.1"} 1\n'
    )
    site = site_of(folder, simulator.base_url, server__vdns=(1234,), metrics__textfile=textfile)
    async with console(site) as browser:
        await browser.get("/stop?vdn=1234")
        await until_here(lambda: browser.app[SHARED].readings.answers)
        health, ready = await browser.get("/healthz"), await browser.get("/readyz")
        metrics = await browser.get("/metrics")

    assert (health.status, ready.status) == (200, 200)
    assert metrics.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = metrics.text.splitlines()
    assert 'orchestrator_run_exit_code{command="pause"} 4' in lines
    assert sum(one.startswith("orchestrator_build_info") for one in lines) == 1
    assert {"orchestrator_breaker_open 0", "orchestrator_rate_ceiling 10"} <= set(lines)
    assert "# TYPE orchestrator_requests_total counter" in lines
    assert 'orchestrator_requests_total{kind="read",result="accepted"}' in metrics.text
    assert "other_metric" not in metrics.text


async def test_a_console_whose_state_directory_cannot_be_written_is_not_ready(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, with the reason."""
    async with console(site_of(folder)) as browser:
        monkeypatch.setattr("os.access", lambda *_: False)
        answer = await browser.get("/readyz")

    assert (answer.status, "cannot be written" in answer.text) == (503, True)
