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
    with tempfile.TemporaryDirectory() as scratch:
        page = _drill(Path(scratch))
        TARGET.mkdir(exist_ok=True)
        for name, words in PICTURES.items():
            flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
            shot = (chromium, *flags, *words, f"--screenshot={TARGET / name}", page.as_uri())
            subprocess.run(shot, check=True, capture_output=True, timeout=120)
            print(f"written: {TARGET / name}")
    return 0


def _drill(folder: Path) -> Path:
    """Stop everything, start it again but for two campaigns; returns the page of both."""
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
    finally:
        served.terminate()
        served.wait()
    return page


if __name__ == "__main__":
    raise SystemExit(main())
