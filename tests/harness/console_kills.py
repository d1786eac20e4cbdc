"""`./do console-kills [n=50] [seed=…]`: the console killed with -9 during stops, again and again.

A trial: a server of its own, a console as a real process, a stop ordered by its form, and kill -9
of the console after a random while: before the post is answered, while the run begins, in mid-run,
near its end. Half of the consoles are started again, and the form is sent once more. Then the stop
must have ended as if nothing had happened: one run, exit 0, the proof holds, one row for each
campaign that ran, and the server says that none of them runs.

A kill before the order was on the disk leaves no run; the form that is sent again starts one.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from aiohttp import ClientError, ClientSession, CookieJar

from orchestrator.console.order_files import OrderFolder
from orchestrator.model import CampaignRef, Status
from orchestrator.store.registry import known_runs
from tests.browser.desk import Desk, campaign_of, desk_for
from tests.console.consoles import until
from tests.harness.arguments import Arguments
from tests.harness.judge import agree, proofs_hold, read_rows

VDN = 1234
#: in CI
CI_KILLS = 5
#: a stop of so many campaigns at 20 requests a second takes about 11 s, its proof included
_CAMPAIGNS = 60
#: kills fall between the post and a little after the end of a stop, seconds
_LATEST_S = 12.0
_WAIT_S = 90.0
_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="(\w*)">')


async def _trial(desk: Desk, chance: random.Random) -> str:
    """One stop, and one console that is killed meanwhile; what the stop was doing then."""
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:

        async def post(path: str, fields: dict[str, str]) -> int:
            sent = {"Origin": desk.url, "Sec-Fetch-Site": "same-origin"}
            url = desk.url + path
            async with session.post(url, data=fields, headers=sent, allow_redirects=False) as got:
                return got.status

        key = (await desk.link()).partition("key=")[2]
        agree(await post("/login", {"key": key}) == 303, "the link lets nobody in")
        async with session.get(f"{desk.url}/stop?vdn={VDN}") as form:
            fields = dict(_HIDDEN.findall(await form.text()))
        fields |= {"typed": str(VDN), "reason": "drill"}
        after_s = chance.choice((chance.uniform(0.0, 1.0), chance.uniform(0.0, _LATEST_S)))
        posting = asyncio.create_task(post("/stop", fields))
        await asyncio.sleep(after_s)
        desk.kill()
        answer = 0
        with suppress(OSError, ClientError):  # it was killed before it answered
            answer = await posting
        moment = _moment(desk, fields["order"], answer)
        if answer != 303 or chance.random() < 0.5:
            desk.start()
            await until(lambda: desk.told.count("the console listens on") == 2)
            # the browser has its cookie still
            agree(await post("/stop", fields) == 303, "the same form is not taken once more")
    await _judge(desk, fields["order"])
    return moment


def _moment(desk: Desk, order_id: str, answer: int) -> str:
    files = OrderFolder(desk.state / "console/orders")
    order = files.find(order_id)
    if order is None:
        return "before the order was on the disk"
    if not order.directory.has_journal:
        return "before the run had a journal"
    if files.is_working(order_id):
        return "in mid-run" if answer else "in mid-run, not answered"
    return "after the run"


async def _judge(desk: Desk, order_id: str) -> None:
    """As if nothing had happened: one run, its proof, its rows, its exit code."""
    files = OrderFolder(desk.state / "console/orders")
    order = files.find(order_id)
    assert order is not None, "the order is gone"
    path = order.directory.path
    await until(
        lambda: not files.is_working(order_id) and (path / "results.csv").exists(),
        within_s=_WAIT_S,
    )
    runs = [run.run_id for run in known_runs(desk.state)]
    agree(runs == [order.run_id], f"the runs are {runs}, ordered was {order.run_id}")
    summary = json.loads((path / "summary.json").read_text("utf-8"))
    told = [summary[one] for one in ("exit_code", "verdict", "reason")]
    agree(told == [0, "quiet", "drill"], f"the summary says {told}: {files.words(order_id)}")
    broken = proofs_hold(path)
    agree(not broken, f"the proof: {broken}")
    rows = read_rows(path / "results.csv")
    paused = {int(row["campaign_id"]) for row in rows if row["outcome"] == "paused"}
    wanted = {campaign_of(VDN, one) for one in range(1, _CAMPAIGNS + 1)}
    agree(len(rows) == _CAMPAIGNS and paused == wanted, f"{len(paused)} rows are paused")
    status = desk.simulator.world.status_of
    running = [one for one in wanted if status(CampaignRef(VDN, one)) is Status.STARTED]
    agree(not running, f"{len(running)} still run")


def run(kills: int, seed: int) -> Counter[str]:
    """All trials; what the stops were doing when their consoles were killed."""
    moments: Counter[str] = Counter()
    for number in range(kills):
        chance = random.Random(f"{seed}/{number}")
        with tempfile.TemporaryDirectory() as name, desk_for(Path(name), {VDN: _CAMPAIGNS}) as desk:
            moments[asyncio.run(_trial(desk, chance))] += 1
        print(f"{number + 1}: {dict(moments)}", flush=True)
    return moments


def main(argv: Sequence[str]) -> int:
    """Run it; returns the exit code."""
    arguments = Arguments(argv, known=("n", "seed"))
    seed = arguments.seed()
    print(f"seed={seed}", flush=True)
    moments = run(arguments.whole("n", 50), seed)
    print(f"{moments.total()} kills, and every stop ended as if nothing had happened")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
