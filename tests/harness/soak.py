"""`./do soak [n=…] [faults=…] [seed=…]`: many campaigns, many faults, every one accounted for.

The real command pauses a list of n campaigns on a simulator in another process. Afterwards the
server's counts, the journal and the report are compared campaign by campaign.

- The faults are the mixture without throttling: 429 and 503 cut the pace on purpose, and their
  tests are elsewhere.
- Every campaign is paused, with one exception. Codes that disagree are repeated once; a campaign
  that meets them twice may end as `failed`, if it really runs. These are counted.
- The product's memory does not grow with the list: its peak is asserted at any n.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.model import Status
from orchestrator.simulator.faults import FaultPlan, mixed
from orchestrator.simulator.ledger import Ledger
from orchestrator.simulator.scenarios import ACCESS_KEY, SECRET_KEY, generated
from orchestrator.simulator.server import Simulator
from orchestrator.store.tables import connect
from tests.harness.arguments import Arguments
from tests.harness.judge import agree, check_no_strays

#: campaigns in CI, and the share of answers that go wrong
CI_CAMPAIGNS = 20_000
_FAULTS = 0.3
_VDNS = 3
#: the product's peak, in MB, whatever n is
MOST_MB = 200
_RATE_PER_S = 20_000
_CONCURRENCY = 64
#: 30 % faults open the breaker every few hundred campaigns; its probes follow the backoff's cap
_CONFIG = "[retry]\nbackoff_base_s = 0.02\nbackoff_cap_s = 0.1\n"
#: the slowest that a machine may be before it counts as hanging, in campaigns per second
_SLOWEST_PER_S = 50


class Server:
    """The simulator in a forked child; it tells its counts when it ends."""

    def __init__(self, folder: Path, *, campaigns: int, faults: float, seed: int) -> None:
        """Start it; call this before there is a loop."""
        self._counts = folder / "counts.json"
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            code = 1
            try:
                asyncio.run(_serve(theirs, self._counts, campaigns, faults, seed))
                code = 0
            finally:
                os._exit(code)
        theirs.close()
        with ours, ours.makefile("r") as lines:
            self.base_url = lines.readline().strip()

    def stop(self) -> Seen:
        """End it; what it counted."""
        os.kill(self.pid, signal.SIGTERM)
        _, status = os.waitpid(self.pid, 0)
        agree(status == 0, f"the simulator ended with {status}")
        return Seen(**json.loads(self._counts.read_text()))


@dataclass(slots=True)
class Seen:
    """What the server counted, by campaign id."""

    puts: list[int]
    effects: list[int]
    status: list[int]
    requests: int
    worst_1s: int


async def _serve(
    ready: socket.socket, counts: Path, campaigns: int, faults: float, seed: int
) -> None:
    scenario = generated(campaigns=campaigns, vdns=_VDNS, seed=seed, fault_rate=0.0)
    rates = mixed(faults) | {"throttled": 0.0, "unavailable": 0.0}
    ledger = Ledger(keep_entries=False)
    simulator = Simulator(
        scenario.world,
        faults=FaultPlan(seed=seed, rates=rates),
        signature=scenario.signature,
        ledger=ledger,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with simulator:
        ready.sendall(f"{simulator.base_url}\n".encode())
        await stop.wait()
    refs = sorted(scenario.world.refs(), key=lambda ref: ref.campaign_id)
    seen = Seen(
        puts=[0, *(ledger.puts.get(ref, 0) for ref in refs)],
        effects=[0, *(ledger.effects.get(ref, 0) for ref in refs)],
        status=[0, *(int(scenario.world.status_of(ref) or 0) for ref in refs)],
        requests=ledger.total,
        worst_1s=ledger.worst_1s,
    )
    counts.write_text(json.dumps(asdict(seen)))  # noqa: ASYNC240 - nobody waits


@dataclass(frozen=True, slots=True)
class Ran:
    """How the command went."""

    exit_code: int
    took_s: float
    peak_mb: float
    cpu_s: float


def run_command(folder: Path, base_url: str, campaigns: int) -> Ran:
    """Pause the list; the child's own peak comes from wait4."""
    began_s = time.monotonic()
    with (folder / "output.txt").open("wb") as told:
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "orchestrator", "pause", str(folder / "list.csv")),
                *("--run-dir", str(folder / "run"), "--base-url", base_url),
                *("--access-key", ACCESS_KEY, "--rate", str(_RATE_PER_S)),
                *("--concurrency", str(_CONCURRENCY), "--json"),
                *("--config", str(folder / "config.toml")),
            ],
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "HOME": str(folder),
                "ORCHESTRATOR_SECRET_KEY": SECRET_KEY,
            },
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
        )
        signal.alarm(120 + campaigns // _SLOWEST_PER_S)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            raise
        signal.alarm(0)
        child.returncode = os.waitstatus_to_exitcode(status)
    return Ran(
        exit_code=child.returncode,
        took_s=time.monotonic() - began_s,
        peak_mb=usage.ru_maxrss / 1024,
        cpu_s=usage.ru_utime + usage.ru_stime,
    )


def reckon(folder: Path, campaigns: int, seen: Seen) -> Counter[str]:
    """Compare ledger, journal and report campaign by campaign; gives the outcomes.

    Raises:
        MismatchError: they disagree.
    """
    run_dir = folder / "run"
    check_no_strays(run_dir)
    with closing(connect(run_dir / "journal.db")) as connection:
        intents = dict(
            connection.execute(
                "SELECT seq, count(*) FROM attempts WHERE state <> 'not_sent' GROUP BY seq"
            )
        )
        disagreed = dict(
            connection.execute(
                "SELECT seq, count(*) FROM attempts WHERE kind = 'codes_disagree'"
                " GROUP BY seq HAVING count(*) > 1"
            )
        )
        settled, unanswered = connection.execute(
            "SELECT (SELECT count(*) FROM outcomes WHERE standing = 'stands'),"
            " (SELECT count(*) FROM attempts WHERE state = 'intended')"
        ).fetchone()
    agree(settled == campaigns, f"{settled} of {campaigns} outcomes stand in the journal")
    agree(unanswered == 0, f"{unanswered} attempts have no answer on record")
    outcomes: Counter[str] = Counter()
    with (run_dir / "results.csv").open(encoding="utf-8", newline="") as file:
        # the list is 1, 2, 3 …, so the line, the campaign and the row have the same number
        line = 0
        for line, row in enumerate(csv.DictReader(file), start=1):
            _reckon_one(line, row, seen, intents.get(line, 0), excused=line in disagreed)
            outcomes[row["outcome"]] += 1
    agree(line == campaigns, f"{line} rows for {campaigns} lines")
    summary = json.loads((run_dir / "summary.json").read_text())
    told = {name: number for name, number in summary["counts"].items() if number}
    agree(told == outcomes, f"summary.json counts {told}, the rows are {outcomes}")
    return outcomes


def _reckon_one(line: int, row: dict[str, str], seen: Seen, intents: int, *, excused: bool) -> None:
    campaign = f"campaign {line}"
    agree(row["line"] == str(line + 1), f"{campaign} stands in line {row['line']}")
    agree(row["campaign_id"] == str(line), f"{campaign} has the row of {row['campaign_id']}")
    agree(intents >= seen.puts[line], f"{campaign}: {seen.puts[line]} PUTs, {intents} intents")
    agree(row["attempts"] == str(intents), f"{campaign}: {row['attempts']} attempts told")
    if excused and row["outcome"] == "failed":
        untouched = seen.status[line] == Status.STARTED and seen.effects[line] == 0
        agree(untouched and row["changed"] == "no", f"{campaign} is told as failed, wrongly: {row}")
        return
    agree(seen.status[line] == Status.SUSPENDED, f"{campaign} runs, the row says {row['outcome']}")
    agree(row["outcome"] == "paused", f"{campaign} was started, now {row['outcome']}: {row}")
    agree(row["changed"] == "yes", f"{campaign}: changed={row['changed']}")
    agree(seen.effects[line] == 1, f"{campaign} was changed {seen.effects[line]} times")
    agree(row["evidence"] in {"listed", "read", "accepted"}, f"{campaign}: {row['evidence']}")


def main(argv: Sequence[str]) -> int:
    """Run the soak; gives the exit code."""
    arguments = Arguments(argv, known=("n", "faults", "seed"))
    campaigns, seed = arguments.whole("n", CI_CAMPAIGNS), arguments.seed()
    faults = arguments.number("faults", _FAULTS)
    print(f"soak: n={campaigns} faults={faults:g} seed={seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    with (folder / "list.csv").open("w", encoding="ascii") as file:
        file.write("vdn_id,campaign_id\n")
        file.writelines(
            f"{(number - 1) % _VDNS + 1},{number}\n" for number in range(1, campaigns + 1)
        )
    (folder / "config.toml").write_text(_CONFIG, encoding="ascii")
    server = Server(folder, campaigns=campaigns, faults=faults, seed=seed)
    try:
        ran = run_command(folder, server.base_url, campaigns)
    finally:
        seen = server.stop()
    try:
        agree(ran.exit_code in {0, 1}, f"exit {ran.exit_code}")
        outcomes = reckon(folder, campaigns, seen)
        agree(ran.exit_code == int("failed" in outcomes), f"exit {ran.exit_code} for {outcomes}")
        agree(ran.peak_mb < MOST_MB, f"{ran.peak_mb:.0f} MB at its peak, {MOST_MB} allowed")
    except AssertionError as error:
        print(f"soak: FAILED: {error}\nkept: {folder}")
        print((folder / "output.txt").read_text()[-2000:])
        return 1
    shutil.rmtree(folder)
    puts = sum(seen.puts)
    print(
        f"soak: {campaigns:,} campaigns in {ran.took_s:.1f} s ({campaigns / ran.took_s:,.0f}/s),"
        f" {seen.requests / campaigns:.2f} requests each ({puts / campaigns:.2f} PUTs,"
        f" {puts - campaigns:,} repeats), worst second {seen.worst_1s:,},"
        f" peak {ran.peak_mb:.0f} MB, {ran.cpu_s:.1f} s of CPU, outcomes {dict(outcomes)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
