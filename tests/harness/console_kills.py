"""`./do console-kills [n=50] [seed=…]`: the console killed with -9 during stops, again and again.

A trial: a server of its own, a console as a real process, a stop ordered by its form, and kill -9
of the console after a random while: before the post is answered, while the run begins, in mid-run,
near its end. Half of the consoles are started again, and the form is sent once more. Then the stop
must have ended as if nothing had happened: one run, exit 0, the proof holds, one row for each
campaign that ran, and the server says that none of them runs.

A kill before the order was on the disk leaves no run; the form that is sent again starts one.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.console.order_files import OrderFolder
from orchestrator.model import CampaignRef, Status
from orchestrator.simulator.faults import FaultPlan
from orchestrator.simulator.scenarios import Scenario
from orchestrator.simulator.server import Simulator
from orchestrator.simulator.world import Campaign, World
from orchestrator.store.registry import known_runs
from tests.cli.makers import environment, served
from tests.harness.arguments import Arguments
from tests.harness.judge import agree, proofs_hold, read_rows

VDN = 1234
#: in CI
CI_KILLS = 5
#: a stop of so many campaigns at 40 requests a second takes about 8 s, its proof included
_CAMPAIGNS = 60
_RATE = "40"
#: kills fall between the post and a little after the end of a stop, seconds
_LATEST_S = 9.0
_WAIT_S = 90.0
_LINK = re.compile(r"(http://127\.0\.0\.1:\d+)/login\?key=(\S+)")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


@dataclass
class Person:
    """Somebody at a browser: a cookie, and the fields of forms."""

    url: str
    cookie: str = ""
    opener: urllib.request.OpenerDirector = field(
        default_factory=lambda: urllib.request.build_opener(_NoRedirect)
    )

    def post(self, path: str, **fields: str) -> tuple[int, str]:
        """Send a form; the status, and where it leads."""
        data = urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(self.url + path, data, self._headers())  # noqa: S310
        try:
            self.opener.open(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            with error:
                cookie = error.headers.get("Set-Cookie", "").partition(";")[0]
                self.cookie = cookie or self.cookie
                return error.code, error.headers.get("Location", "")
        return 200, ""

    def form(self, path: str) -> dict[str, str]:
        """The hidden fields of the form on a page."""
        request = urllib.request.Request(self.url + path, headers=self._headers())  # noqa: S310
        with self.opener.open(request, timeout=30) as answer:
            text = answer.read().decode()
        found = {}
        for tag in re.findall(r"<input[^>]*>", text):
            name, value = (re.search(rf'{one}="?([^"\s>]*)', tag) for one in ("name", "value"))
            if 'type="hidden"' in tag and name and value:
                found[name[1]] = value[1]
        return found

    def _headers(self) -> dict[str, str]:
        return {"Cookie": self.cookie, "Origin": self.url, "Sec-Fetch-Site": "same-origin"}


@dataclass
class Desk:
    """A console as a process, with its folder."""

    folder: Path
    env: dict[str, str]
    port: int = 0
    process: subprocess.Popen[str] | None = None
    told: list[str] = field(default_factory=list)

    def start(self) -> Person:
        """Start it; returns somebody who has logged in."""
        command = [sys.executable, "-m", "orchestrator", "console", "--config"]
        command += [str(self.folder / "config.toml"), "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(
            command, env=self.env, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.told.append(line)
            if found := _LINK.search(line):
                person = Person(found[1])
                self.port = int(found[1].rpartition(":")[2])
                agree(person.post("/login", key=found[2])[0] == 303, "the link lets nobody in")
                return person
        raise AssertionError(f"the console did not start: {self.told}")

    def kill(self) -> None:
        """As a power cut does to it alone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stderr is not None
            self.process.stderr.close()
            self.process = None


@dataclass
class Record:
    """What all trials came to."""

    kills: int = 0
    runs: int = 0
    #: what the stop was doing when its console was killed
    moments: Counter[str] = field(default_factory=Counter)


def world() -> World:
    """A VDN that dials."""
    found = [
        Campaign(1_000 + number, Status.STARTED, f"offer {number}") for number in range(_CAMPAIGNS)
    ]
    return World({VDN: found})


def trial(number: int, seed: int, record: Record) -> None:
    """One stop, and one console that is killed meanwhile."""
    chance = random.Random(f"{seed}/{number}")
    scenario = Scenario("kills", world(), FaultPlan(seed=number))
    with served(scenario) as simulator, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = environment(folder, simulator.base_url, ORCHESTRATOR_RATE_PER_S=_RATE)
        (folder / "config.toml").write_text(f"[server]\nvdns = [{VDN}]\n", "ascii")
        desk = Desk(folder, env)
        try:
            _one(desk, simulator, chance, record)
        finally:
            desk.kill()
            _end(folder)


def _one(desk: Desk, simulator: Simulator, chance: random.Random, record: Record) -> None:
    person = desk.start()
    fields = {**person.form(f"/stop?vdn={VDN}"), "typed": str(VDN), "reason": "drill"}
    fields.setdefault("vdn", str(VDN))
    after_s = chance.choice((chance.uniform(0.0, 1.0), chance.uniform(0.0, _LATEST_S)))
    process = desk.process
    assert process is not None
    killer = subprocess.Popen(["/bin/sh", "-c", f"sleep {after_s:.3f}; kill -9 {process.pid}"])
    answer = 0
    with contextlib.suppress(
        OSError, http.client.HTTPException
    ):  # it was killed before it answered
        answer, _ = person.post("/stop", **fields)
    killer.wait()
    desk.kill()
    record.kills += 1
    state = desk.folder / "state"
    record.moments[_moment(state, fields["order"], answer)] += 1
    if answer != 303 or chance.random() < 0.5:
        desk.start()  # the browser has its cookie still
        agree(person.post("/stop", **fields)[0] == 303, "the same form is not taken once more")
    _judge(state, fields["order"], simulator)
    record.runs += 1


def _moment(state: Path, order_id: str, answer: int) -> str:
    order = OrderFolder(state / "console/orders").find(order_id)
    if order is None:
        return "before the order was on the disk"
    if not order.directory.has_journal:
        return "before the run had a journal"
    if OrderFolder(state / "console/orders").is_working(order_id):
        return "in mid-run" if answer else "in mid-run, not answered"
    return "after the run"


def _judge(state: Path, order_id: str, simulator: Simulator) -> None:
    """As if nothing had happened: one run, its proof, its rows, its exit code."""
    files = OrderFolder(state / "console/orders")
    order = files.find(order_id)
    agree(order is not None, "the order is gone")
    assert order is not None
    until_s = time.monotonic() + _WAIT_S
    while files.is_working(order_id) or not (order.directory.path / "results.csv").exists():
        agree(time.monotonic() < until_s, f"the stop has not ended: {files.words(order_id)}")
        time.sleep(0.1)
    runs = [run.run_id for run in known_runs(state)]
    agree(runs == [order.run_id], f"the runs are {runs}, ordered was {order.run_id}")
    summary = json.loads((order.directory.path / "summary.json").read_text("utf-8"))
    agree(summary["exit_code"] == 0, f"exit {summary['exit_code']}")
    agree(summary["verdict"] == "quiet", f"verdict {summary['verdict']}")
    agree(summary["reason"] == "drill", f"reason {summary['reason']}")
    broken = proofs_hold(order.directory.path)
    agree(not broken, f"the proof: {broken}")
    rows = read_rows(order.directory.path / "results.csv")
    refs = sorted(int(row["campaign_id"]) for row in rows if row["outcome"] == "paused")
    agree(refs == [1_000 + one for one in range(_CAMPAIGNS)], f"{len(refs)} rows are paused")
    status = simulator.world.status_of
    running = [one for one in refs if status(CampaignRef(VDN, one)) is Status.STARTED]
    agree(not running, f"{len(running)} still run")


def _end(folder: Path) -> None:
    """End what a trial that failed has left."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue


def run(kills: int, seed: int) -> Record:
    """All trials."""
    record = Record()
    for number in range(kills):
        trial(number, seed, record)
        print(f"{number + 1}: {dict(record.moments)}", flush=True)
    return record


def main(argv: Sequence[str]) -> int:
    """Run it; returns the exit code."""
    arguments = Arguments(argv, known=("n", "seed"))
    seed = arguments.seed()
    print(f"seed={seed}", flush=True)
    record = run(arguments.whole("n", 50), seed)
    print(f"{record.kills} kills, {record.runs} stops that ended as if nothing had happened")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
