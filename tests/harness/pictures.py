"""The pictures of docs/pictures: a drill on the simulator, its page, seen by Debian's chromium."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.checks.tree import ROOT

TARGET = ROOT / "docs" / "pictures"
SECRET = "sk-simulator-not-a-secret"
#: name → what chromium is told
PICTURES = {
    "page.png": ("--window-size=1000,860",),
    "page-phone.png": ("--window-size=360,780",),
    "page-dark.png": ("--window-size=1000,560", "--blink-settings=preferredColorScheme=0"),
}


def main() -> int:
    """Make them anew; returns the exit code."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not here; on Debian, as root: apt-get install chromium")
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        page = _drill(Path(scratch), chromium)
        for name, words in PICTURES.items():
            flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
            shot = (chromium, *flags, *words, f"--screenshot={TARGET / name}", page.as_uri())
            subprocess.run(shot, check=True, capture_output=True, timeout=120)
            print(f"written: {TARGET / name}")
    return 0


def _drill(folder: Path, chromium: str) -> Path:
    """Stop everything, start it again but for two campaigns; returns the page of both.

    Then the same stop once more, from a phone.
    """
    environment = os.environ | {
        "ORCHESTRATOR_SECRET_KEY": SECRET,
        "ORCHESTRATOR_STATE_DIR": str(folder / "state"),
        "ORCHESTRATOR_OPERATOR": "ana",
        "ORCHESTRATOR_SERVER_NAME": "production",
    }
    command = (sys.executable, "-m", "orchestrator")
    served = subprocess.Popen(
        (*command, "simulate", "--scenario", "emergency", "--port", "0"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert served.stdout is not None
        url = next(
            found[0] for line in served.stdout if (found := re.search(r"http://[\d.:]+", line))
        )
        access = ("--base-url", url, "--access-key", "AKSIMULATOR")

        def run(*words: str) -> None:
            subprocess.run((*command, *words), check=True, env=environment, cwd=ROOT, timeout=120)

        run("pause-all", "--vdn", "1234", "--yes", "--reason", "wrong list loaded", *access)
        runs = folder / "state" / "runs"
        stop = max(runs.iterdir())
        rows = csv.DictReader((stop / "results.csv").open(encoding="utf-8"))
        guilty = ",".join(row["campaign_id"] for row, _ in zip(rows, range(2), strict=False))
        run("note", stop.name, "ticket 4711: the list of Thursday was loaded twice")
        run("restore", stop.name, "--yes", "--except", guilty, "--reason", "corrected", *access)
        undo = max(runs.iterdir()).name
        page = folder / "incident.html"
        run("report", stop.name, "--with", undo, "--html", str(page))
        console = (*command, "console", "--listen", "127.0.0.1:0", *access)
        _phone(console, environment | {"ORCHESTRATOR_SERVER_NAME": "test"}, chromium)
    finally:
        served.terminate()
        served.wait()
    return page


def _phone(console: tuple[str, ...], environment: dict[str, str], chromium: str) -> None:
    """The order form and the live page of a console, on a phone."""
    from playwright.sync_api import sync_playwright

    serving = subprocess.Popen(
        console, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )
    try:
        assert serving.stderr is not None
        link = next(
            found[0]
            for line in serving.stderr
            if (found := re.search(r"http://[\d.:]+/login\?key=\S+", line))
        )
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 360, "height": 780})
            page.goto(link)
            page.click("button")
            page.goto(f"{link.partition('/login')[0]}/stop?vdn=1234")
            page.screenshot(path=TARGET / "console-order.png")
            page.fill("#typed", "1234")
            page.fill("#reason", "wrong list loaded")
            page.click("button.danger")
            page.wait_for_selector("[data-live-bar]")
            page.wait_for_timeout(3500)
            page.screenshot(path=TARGET / "console-live.png")
            page.wait_for_selector("h1.sentence", timeout=60_000)
            page.screenshot(path=TARGET / "console-quiet.png")
            browser.close()
    finally:
        serving.terminate()
        serving.wait()
    for name in ("order", "live", "quiet"):
        print(f"written: {TARGET / f'console-{name}.png'}")


if __name__ == "__main__":
    raise SystemExit(main())
