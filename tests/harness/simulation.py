"""Whole runs in virtual time, one random scenario per seed, judged by an independent checker.

    ./do simulation seeds=2000          scenarios of the seeds 0 … 1999
    ./do simulation seed=1234           one of them again, twice, with its story
    ./do simulation only=lies …         the histories of evidence.py alone; only=faults: the rest

A scenario draws a world, a mixture of faults, outages of up to hours, jumps of the wall clock,
throttling, full disks, stops and kills, and lets several processes work on one journal; the last
one meets a healthy server. Afterwards wire, journal and report are compared (judge.py), and the
last process must have brought every campaign to an outcome.

- Everything is drawn from the seed; the same seed gives the same trace, to the byte.
- a state worth testing is counted when it was visited; one that never was fails a long run.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.engine.results import RunResult
from orchestrator.engine.run import Environment
from orchestrator.model import CampaignRef, Status
from orchestrator.reports.summary import Ended
from orchestrator.simulator import faults
from orchestrator.simulator.faults import Fault, FaultPlan, Outage, mixed, with_codes, with_http
from orchestrator.simulator.ledger import Entry
from orchestrator.simulator.reads import ListingFaults
from orchestrator.simulator.routes import CHANGES, Kind
from orchestrator.simulator.signature import Form, SignatureCheck
from orchestrator.simulator.world import Campaign, Drift, Order, World, WorldSettings
from tests.fakes import ACCESS_KEY, SECRET_KEY, Sent, Stage
from tests.harness import evidence, judge
from tests.harness.arguments import Arguments
from tests.harness.judge import ref_of
from tests.harness.player import Player, Verdict
from tests.virtual_time import HungError, VirtualTimeLoop

T = TypeVar("T")

#: every one of these must be visited in a run of so many seeds
LONG = 1_000
#: real seconds that one seed may take; most take a tenth of one
ONE_SEED_S = 60
SOMETIMES = (
    "kill: PUT in flight",
    "kill: before a commit",
    "kill: after a commit, before anybody knew",
    "kill: in a later life",
    "kill: a listing in flight",
    "stop: PUT in flight",
    "stop: commit pending",
    "stop: in backoff",
    "stop: breaker open",
    "stop: a listing in flight",
    "stop: waiting for the pacer",
    "stop: waiting for a connection",
    "answer: lost, then 0200011",
    "answer: lost in a killed life, then known to be ours",
    "answer: codes disagree",
    "answer: none within the timeout",
    "answer: 401 waited out",
    "breaker: opened",
    "breaker: probe failed",
    "breaker: out of patience",
    "clock: jumped while backing off",
    "clock: healed",
    "switch A: healed",
    "disk: full in a batch",
    "disk: full in an emergency",
    "retry-after: honoured",
    "retry-after: beyond the deadline",
    "deadline: over",
    "outcome: failed",
    "outcome: unknown",
    "outcome: still_running",
    "evidence: inferred",
    "emergency: quiet",
    "emergency: not proven",
    "emergency: still_running",
    "restore: done",
    "restore: killed and continued",
    "restore: repeated, nothing sent",
)


@dataclass
class Scenario:
    """What one seed draws."""

    seed: int
    kind: str
    world: World
    lines: list[CampaignRef]
    plan: FaultPlan
    signature: SignatureCheck
    rate_per_s: float
    concurrency: int
    wire: dict[str, Any]
    commit_s: float
    settings: dict[str, object]
    verify: bool
    deadline_s: float | None
    processes: int
    disturbed: set[CampaignRef]
    stubborn: set[CampaignRef]
    unreachable: list[tuple[float, float]]
    jumps: list[tuple[float, int]]
    lies: bool
    healed_by: str = ""


def draw(seed: int) -> Scenario:
    """Draw the scenario of a seed."""
    rng = random.Random(seed)
    kind = rng.choice(["pause", "pause", "pause", "pause-all", "pause-all", "restore"])
    vdns = rng.sample(range(1, 10_000), rng.choice([1, 1, 2, 3, 7]))
    statuses = [Status.STARTED] * 8 + [Status.SUSPENDED, Status.COMPLETED, Status.NOT_STARTED]
    sizes = {vdn: rng.choice([1, 3, 4, 5, 12, 40]) for vdn in vdns}
    if rng.random() < 0.1:
        sizes[vdns[0]] = rng.choice([101, 230])
    members = {
        vdn: [Campaign(number, rng.choice(statuses)) for number in _ids(rng, size)]
        for vdn, size in sizes.items()
    }
    refs = [CampaignRef(vdn, one.campaign_id) for vdn in vdns for one in members[vdn]]
    drifts = _drifts(rng, refs) if rng.random() < 0.3 else []
    world = World(members, settings=WorldSettings(order=rng.choice(list(Order))), drifts=drifts)
    lines = [*refs, *(CampaignRef(vdns[0], 9_000_000 + n) for n in range(rng.choice([0, 0, 2])))]
    rng.shuffle(lines)
    if rng.random() < 0.3:
        lines += rng.sample(lines, min(3, len(lines)))
    stubborn = set(rng.sample(refs, min(len(refs), rng.choice([0, 0, 0, 1, 2]))))
    lies = rng.random() < 0.05
    plan = _plan(rng, vdns, stubborn, kind, lies=lies)
    signature, healed_by = _signature(rng)
    return Scenario(
        seed=seed,
        kind=kind,
        world=world,
        lines=lines,
        plan=plan,
        signature=signature,
        rate_per_s=rng.choice([2.0, 7.0, 20.0, 100.0, 400.0]),
        concurrency=rng.choice([1, 2, 8, 16]),
        wire={
            "there_s": rng.choice([0.001, 0.02, 0.3]),
            "back_s": rng.choice([0.001, 0.02, 0.6]),
            "connect_s": rng.choice([0.001, 0.05]),
        },
        commit_s=rng.choice([0.0, 0.002, 0.05, 0.5]),
        settings={
            "retry.patience_s": rng.choice([20.0, 300.0, 1800.0]),
            "retry.backoff_cap_s": rng.choice([1.0, 10.0]),
        },
        verify=rng.random() < 0.85,
        deadline_s=rng.choice([None, None, None, 5.0, 60.0, 900.0]),
        processes=rng.choice([1, 1, 2, 3, 4]),
        disturbed={one.ref for one in drifts},
        stubborn=stubborn,
        unreachable=_windows(rng) if rng.random() < 0.15 else [],
        jumps=_jumps(rng) if rng.random() < 0.25 else [],
        lies=lies,
        healed_by=healed_by,
    )


def _ids(rng: random.Random, size: int) -> list[int]:
    return sorted(rng.sample(range(1, 1_000_000), size))


def _drifts(rng: random.Random, refs: list[CampaignRef]) -> list[Drift]:
    chosen = rng.sample(refs, min(len(refs), rng.choice([1, 2, 5])))
    return [
        Drift(one, at_s=rng.uniform(0, 20))
        if rng.random() < 0.5
        else Drift(one, after_pauses=rng.randint(1, len(refs)))
        for one in chosen
    ]


def _windows(rng: random.Random) -> list[tuple[float, float]]:
    start_s = rng.uniform(0, 3)
    return [(start_s, start_s + rng.choice([1.0, 20.0, 600.0]))]


def _jumps(rng: random.Random) -> list[tuple[float, int]]:
    sizes = [-7_200_000, 1_200_000, 3_000, -1_000, 315_360_000_000]
    return [(rng.uniform(0, 30), rng.choice(sizes)) for _ in range(rng.choice([1, 2]))]


def _signature(rng: random.Random) -> tuple[SignatureCheck, str]:
    check = SignatureCheck(ACCESS_KEY, SECRET_KEY)
    chance = rng.random()
    if chance < 0.1:
        return replace(check, clock_offset_s=rng.choice([-1_200.0, 3_000.0])), "clock"
    if chance < 0.2:
        return replace(check, blank_query_line=Form.KEEP), "blank_query_line"
    return check, ""


def _plan(
    rng: random.Random, vdns: list[int], stubborn: set[CampaignRef], kind: str, *, lies: bool
) -> FaultPlan:
    share = rng.choice([0.0, 0.0, 0.1, 0.3])
    rates = mixed(share)
    if rng.random() < 0.15:
        rates["hang"] = 0.03
    if rng.random() < 0.15:
        rates["unknown_code"] = 0.03
    if lies:
        rates["lie"] = 0.1
    read_rates = mixed(rng.choice([0.0, 0.0, 0.1, 0.3]))
    choices = [faults.DATABASE_ERROR, with_codes("02000007"), with_codes("0200011")]
    return FaultPlan(
        seed=rng.randrange(10**6),
        rates=rates,
        read_rates=read_rates,
        always={one: rng.choice(choices) for one in sorted(stubborn)},
        outages=tuple(_outage(rng, kind) for _ in range(rng.choice([0, 0, 1, 1, 2]))),
        listing_faults={
            rng.choice(vdns): ListingFaults(
                rows_missing=rng.choice([0, 1]),
                total_size_off=rng.choice([0, 1]),
                answered=rng.choice([None, 1, 3]),
                last_request=rng.choice([10, 40]),
            )
        }
        if rng.random() < 0.2
        else {},
    )


def _outage(rng: random.Random, kind: str) -> Outage:
    options: list[Fault] = [
        faults.DATABASE_ERROR,
        faults.REFUSED,
        faults.RESET_LANDED,
        faults.HANG,
        faults.ANSWER_LOST,
        with_http(500),
        with_http(502, effect=True),
        asking_for(rng.choice([2, 7, 60])),
    ]
    if kind == "pause-all":
        options += [faults.UNAUTHORIZED] * 3
    start_s = rng.choice([0.0, 0.3, 1.0, 5.0])
    return Outage(
        rng.choice(options),
        start_s=start_s,
        end_s=start_s + rng.choice([0.5, 5.0, 30.0, 400.0, 7_200.0]),
        kinds=rng.choice([frozenset(Kind), frozenset(Kind), frozenset(CHANGES)]),
    )


def asking_for(wait_s: int) -> Fault:
    """A 503 with a Retry-After that the ledger shows."""
    return replace(with_http(503, retry_after=str(wait_s)), name=f"http 503, retry after {wait_s}")


# -- one scenario -----------------------------------------------------------------------------


class Play(Player):
    """One scenario, played."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.rng = random.Random(f"play {scenario.seed}")
        stage = Stage(
            folder,
            scenario.world,
            faults=scenario.plan,
            signature=scenario.signature,
            rate_per_s=scenario.rate_per_s,
            concurrency=scenario.concurrency,
            seed=scenario.seed,
            settings=scenario.settings,
            **scenario.wire,
        )
        stage.disk.commit_s = scenario.commit_s
        stage.server.unreachable = scenario.unreachable
        super().__init__(f"seed {scenario.seed}", stage)
        self.settled_before: dict[int, set[CampaignRef]] = {}
        self.stops: dict[int, tuple[float, float]] = {}
        self.stop_at: dict[int, float] = {}
        self.storage_failed = False
        self.seen_dirs: set[Path] = set()
        self.timers: list[asyncio.TimerHandle] = []
        self.jumps: list[asyncio.TimerHandle] = []

    async def _happen(self) -> None:
        """Let the processes go by, then compare."""
        scenario = self.scenario
        loop = asyncio.get_running_loop()
        for at_s, jump_ms in scenario.jumps:
            self.jumps.append(loop.call_later(at_s, self._jump, jump_ms))
        try:
            result = await self._run("pause-all" if scenario.kind == "pause-all" else "pause")
            if scenario.kind == "restore" and result is not None:
                await self._restore(result)
        finally:
            self._look_at_the_wire()

    async def _run(self, kind: str) -> RunResult | None:
        """All processes of one run; the last one meets a healthy server."""
        stage, scenario = self.stage, self.scenario
        first_sent = len(stage.server.sent)
        processes = scenario.processes
        before = len(stage.processes)
        result: RunResult | None = None
        run_dir: Path | None = None
        last = False
        for number in range(1, processes + 4):
            last = number >= processes and (number > processes or processes > 1)
            if last:
                self._heal()
            else:
                self._threaten()
            if run_dir is not None:
                self.settled_before[len(stage.processes) + 1] = judge.standing(run_dir)
            result = await self._life(kind, run_dir, healthy=last)
            run_dir = run_dir or self._newest()
            if run_dir is None or not (run_dir / "journal.db").exists():
                self.find("there is no run directory")
                return None
            if result is not None:
                self._check(kind, run_dir, result, first_sent)
                if judge.last_end(run_dir) == "finished":
                    break
        if result is None or run_dir is None:
            self.find("no life came to its end")
            return None
        if judge.last_end(run_dir) != "finished":
            self.find(
                f"not finished after {len(stage.processes) - before} lives, the last one healthy"
            )
        elif last and len(stage.processes) - before > 1:
            self._liveness(kind, run_dir)
        return result

    def _newest(self) -> Path | None:
        """The run directory that was not there before."""
        found = sorted(self.stage.run_dirs(), key=lambda path: path.stat().st_mtime_ns)
        fresh = [path for path in found if path not in self.seen_dirs]
        self.seen_dirs.update(fresh)
        return fresh[-1] if fresh else None

    async def _life(self, kind: str, run_dir: Path | None, *, healthy: bool) -> RunResult | None:
        stage, scenario = self.stage, self.scenario
        deadline_s = None if healthy else scenario.deadline_s
        if run_dir is not None:
            run = stage.continue_run(run_dir, even_if_old=True, deadline_s=deadline_s)
        elif kind == "pause":
            run = stage.pause(scenario.lines, verify=scenario.verify, deadline_s=deadline_s)
        else:
            run = stage.pause_all(deadline_s=deadline_s or 3_600.0)
        result = await stage.until_killed(run)
        process = stage.processes[-1].number
        if process in self.stop_at:
            self.stops[process] = (self.stop_at[process], stage.clock.now_s())
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
        if result is not None:
            self._note_result(kind, result)
        return result

    def _note_result(self, kind: str, result: RunResult) -> None:
        for name in ("failed", "unknown", "still_running"):
            if result.counts.get(name):
                self.visit(f"outcome: {name}")
        if kind == "pause-all":
            names = {"quiet": "quiet", "not_proven": "not proven", "still_running": "still_running"}
            self.visit(f"emergency: {names[result.verdict]}")
        if self.stage.stopping is not None:
            ended = self.stage.stopping.ended
            if ended is Ended.DEADLINE:
                self.visit("deadline: over")
            if ended is Ended.SERVER and "no useful answer" in self.stage.stopping.why:
                self.visit("breaker: out of patience")
        if result.exit_code == 70:
            self.find(f"a bug: {self.stage.events.named('run.bug')[:1]}")

    # -- what goes wrong ----------------------------------------------------------------------

    def _heal(self) -> None:
        """From here on the server, the disk and the clock are well, but for stubborn campaigns."""
        stage = self.stage
        # A pause-all asks a broken row until its deadline: that is no end.
        stubborn = {
            ref: fault
            for ref, fault in self.scenario.plan.always.items()
            if self.scenario.kind != "pause-all" or fault is not faults.DATABASE_ERROR
        }
        for timer in self.jumps:
            timer.cancel()
        stage.clock.jump_ms = 0
        stage.server.handler.faults = FaultPlan(always=stubborn)
        stage.server.unreachable = []
        self._unharmed()

    def _unharmed(self) -> None:
        """Nothing that was drawn for an earlier process happens to the next one."""
        disk = self.stage.disk
        disk.fails_from = disk.before_commit = disk.after_commit = None
        self.stage.server.on_sent = None
        self.stage.on_birth = None

    def _threaten(self) -> None:
        """Draw how this process may end."""
        stage, rng = self.stage, self.rng
        disk = stage.disk
        self._unharmed()
        way = rng.choice(["", "stop", "stop", "kill", "kill", "disk"])
        if self.scenario.processes == 1 and way in {"kill", "disk"}:
            way = ""
        if not way:
            return
        act = self._stop if way == "stop" else self._kill
        if way == "disk":
            disk.fails_from = disk.commits + rng.randint(3, 120)
            self.storage_failed = True
            return
        when = rng.choice(["commit", "committed", "sent", "arrived", "time"])
        count = rng.choice([1, 2, 3, 10, rng.randint(1, 150)])
        if when == "commit":
            disk.before_commit = self._at(disk.commits + count + 1, lambda: act("before a commit"))
        elif when == "committed":
            disk.after_commit = self._at(
                disk.commits + count + 1, lambda: act("after a commit, before anybody knew")
            )
        elif when == "time":
            self._on_birth_later(rng.choice([0.05, 0.5, 3.0, 20.0, 500.0]) * rng.random(), act)
        else:
            wait_s = 0.0 if when == "sent" else stage.server.there_s + 1e-6
            number = len(stage.server.sent) + count

            def sent(one: Sent) -> None:
                if one.number == number:
                    self._later(wait_s, act)

            stage.server.on_sent = sent

    def _at(self, number: int, act: Callable[[], object]) -> Callable[[int], None]:
        def check(commit: int) -> None:
            if commit == number:
                act()

        return check

    def _on_birth_later(self, wait_s: float, act: Callable[[str], object]) -> None:
        def born(environment: Environment) -> None:
            self._later(wait_s, act)

        self.stage.on_birth = born

    def _later(self, wait_s: float, act: Callable[[str], object]) -> None:
        loop = asyncio.get_running_loop()
        self.timers.append(loop.call_later(wait_s, act, ""))

    def _kill(self, how: str) -> None:
        process = self.stage.processes[-1]
        if not self.is_at_work:
            return
        if how:
            self.visit(f"kill: {how}")
        if process.number > 1:
            self.visit("kill: in a later life")
        for one in self._flying():
            self.visit("kill: PUT in flight" if one.is_change else "kill: a listing in flight")
        self.stage.kill()

    def _stop(self, how: str) -> None:
        stopping, environment = self.stage.stopping, self.stage.environment
        process = self.stage.processes[-1]
        if stopping is None or environment is None or stopping.is_stopping:
            return
        if not self.is_at_work:
            return
        progress = environment.progress
        flying = self._flying()
        for one in flying:
            self.visit("stop: PUT in flight" if one.is_change else "stop: a listing in flight")
        if how or any(writer._due_s > self.stage.clock.now_s() for writer in process.writers):
            self.visit("stop: commit pending")
        if progress.backing_off:
            self.visit("stop: in backoff")
        if progress.breaker:
            self.visit("stop: breaker open")
        if progress.in_flight > len(flying):
            connecting = self.stage.server.is_unreachable()
            self.visit("stop: waiting for " + ("a connection" if connecting else "the pacer"))
        stopping.stop(self.rng.choice([Ended.SIGNAL_INT, Ended.SIGNAL_TERM]), "told to")
        self.stop_at[process.number] = self.stage.clock.now_s()

    def _flying(self) -> list[Sent]:
        process = self.stage.processes[-1].number
        return [o for o in self.stage.server.sent if o.ended_s is None and o.process == process]

    def _jump(self, jump_ms: int) -> None:
        environment = self.stage.environment
        if environment is not None and environment.progress.backing_off:
            self.visit("clock: jumped while backing off")
        self.stage.clock.jump_ms += jump_ms

    # -- what is compared ---------------------------------------------------------------------

    def _check(self, kind: str, run_dir: Path, result: RunResult, first_sent: int) -> None:
        storage = result.exit_code == 5 or self.storage_failed
        if storage and not (run_dir / "summary.json").exists():
            return
        if self.storage_failed and result.exit_code == 5:
            self.visit("disk: full in " + ("an emergency" if kind == "pause-all" else "a batch"))
            # What the disk refused is on no disk: the rows went elsewhere.
            return
        story = judge.Story(
            kind=kind,
            run_dir=run_dir,
            lines=self.scenario.lines if kind == "pause" else None,
            sent=self.stage.server.sent[first_sent:],
            settled_before=self.settled_before,
            stops=self.stops,
            grace_s=22.0 + 4 * self.scenario.commit_s,
            disturbed=self.scenario.disturbed,
            lies=self.scenario.lies,
            exit_code=result.exit_code,
            storage_failed=self.storage_failed and kind == "pause-all",
        )
        found = judge.findings(story)
        if kind == "pause-all" and not self.scenario.jumps:
            found += judge.proofs_hold(run_dir)
        for finding in found:
            self.find(finding)
        inferred = sum(row["evidence"] == "inferred" for row in story.rows)
        self.visit("evidence: inferred", inferred)

    def _liveness(self, kind: str, run_dir: Path) -> None:
        """21: with a healthy server every campaign came to an outcome, and runs no more."""
        excused = self.scenario.stubborn | self.scenario.disturbed
        for row in judge.read_rows(run_dir / "results.csv"):
            if row["outcome"] in {"duplicate", "not_found", "rejected"}:
                continue
            ref = ref_of(row)
            if row["outcome"] == "unattempted":
                self.find(f"[21] {ref} is unattempted after a healthy life")
            status = self.scenario.world.status_of(ref)
            settled_early = any(ref in settled for settled in self.settled_before.values())
            runs = status is Status.STARTED
            believed = self.scenario.lies and not self.scenario.verify
            if row["stopped"] == "yes" and runs and not believed and ref not in excused:
                self.find(f"[21] {ref} is {row['outcome']} and runs")
            well = kind == "pause-all" or self.scenario.verify
            # accepted earlier and without effect: `continue` sends no PUT, and says so
            is_said = row["outcome"] == "still_running" and self.scenario.lies
            if runs and well and ref not in excused and not settled_early and not is_said:
                self.find(f"[21] {ref} runs after a healthy life: {row['outcome']}")

    async def _restore(self, paused: RunResult) -> None:
        """Undo it, perhaps with a kill in between, and once more."""
        stage, rng = self.stage, self.rng
        assert paused.run_dir is not None
        self._heal()
        ours = judge.changed_by(stage.rows(paused))
        for ref in sorted(ours):
            if rng.random() < 0.1:
                stage.world.set_status(ref, rng.choice(list(Status)))
        stage.server.handler.faults = replace(
            self.scenario.plan, outages=(), listing_faults={}, always={}
        )
        first_sent = len(stage.server.sent)
        if rng.random() < 0.5:
            number = stage.disk.commits + rng.randint(2, 60)
            stage.disk.after_commit = self._at(
                number, lambda: self._kill("after a commit, before anybody knew")
            )
        result = await stage.until_killed(stage.restore(paused.run_dir, even_if_old=True))
        run_dir = self._newest()
        if result is None and run_dir is not None and (run_dir / "journal.db").exists():
            self._heal()
            self.visit("restore: killed and continued")
            result = await stage.continue_run(run_dir, even_if_old=True)
        if result is None or result.run_dir is None:
            return
        self.visit("restore: done")
        self._heal()
        sent = stage.server.sent[first_sent:]
        story = judge.Story(
            kind="restore", run_dir=result.run_dir, lines=None, sent=sent,
            disturbed=set(ours), lies=self.scenario.lies, exit_code=result.exit_code,
        )  # fmt: skip
        for finding in (*judge.starts(sent, ours), *judge.findings(story)):
            self.find(finding)
        started = {
            ref_of(row)
            for row in story.rows
            if row["outcome"] in {"restored", "already_running", "not_running", "left_alone"}
        }
        before = len(stage.server.sent)
        await stage.restore(paused.run_dir, even_if_old=True)
        again = {
            one.ref for one in stage.server.sent[before:] if one.kind is Kind.RESUME and one.ref
        }
        mine = {one.ref for one in sent if one.ref and one.entry and one.entry.took_effect}
        if again & mine:
            self.find(f"[restore] {sorted(again & mine)[:3]} were started a second time")
        elif not again & started:
            self.visit("restore: repeated, nothing sent")

    def _look_at_the_wire(self) -> None:
        """Count what the ledger shows."""
        doubted: dict[CampaignRef, Sent] = {}
        server = self.stage.server
        if server.most_in_flight > self.scenario.concurrency:
            self.find(f"[12] {server.most_in_flight} in flight at C = {self.scenario.concurrency}")
        for one in server.sent:
            if one.entry is not None:
                self._look_at(one, one.entry, doubted)
        self._look_at_reports(doubted)
        self._look_at_events()
        refused = [
            o for o in server.sent if o.entry and o.entry.fault == "http 401" and o.delivered
        ]
        if refused and any(o.at_s > refused[-1].at_s and o.delivered for o in server.sent):
            self.visit("answer: 401 waited out")

    def _look_at(self, one: Sent, entry: Entry, doubted: dict[CampaignRef, Sent]) -> None:
        if "disagree" in entry.fault and one.delivered:
            self.visit("answer: codes disagree")
        if entry.fault.startswith("hang"):
            self.visit("answer: none within the timeout")
        if "retry after" in entry.fault and one.delivered:
            self.visit("retry-after: honoured")
            left_s = self.scenario.deadline_s or 1e9
            if one.at_s + float(entry.fault.rpartition(" ")[2]) > left_s:
                self.visit("retry-after: beyond the deadline")
        if one.ref is None or one.kind is not Kind.PAUSE:
            return
        if entry.took_effect and not one.delivered:
            doubted[one.ref] = one
        elif one.ref in doubted and entry.result_code == "0200011" and one.delivered:
            self.visit("answer: lost, then 0200011")

    def _look_at_reports(self, doubted: dict[CampaignRef, Sent]) -> None:
        for run_dir in self.stage.run_dirs():
            if not (run_dir / "results.csv").exists():
                continue
            for row in judge.read_rows(run_dir / "results.csv"):
                if not row["vdn_id"].isdigit() or row["outcome"] != "paused":
                    continue
                lost = doubted.get(ref_of(row))
                if lost is not None and self.stage.processes[lost.process - 1].dead:
                    self.visit("answer: lost in a killed life, then known to be ours")

    def _look_at_events(self) -> None:
        events = self.stage.events
        self.visit("breaker: opened", events.counts["breaker.opened"])
        if events.counts["breaker.probe_sent"] > events.counts["breaker.closed"] + 1:
            self.visit("breaker: probe failed")
        for recovery in events.named("signature.corrected"):
            if recovery["correction"] in {"clock", "blank_query_line"}:
                self.visit(
                    "clock: healed" if recovery["correction"] == "clock" else "switch A: healed"
                )


def _end(seed: int) -> None:
    """Something goes round and round without waiting; nothing that we raise would get through."""
    print(f"seed {seed}: no end after {ONE_SEED_S} real seconds", file=sys.stderr, flush=True)
    faulthandler.dump_traceback()
    os._exit(1)


def play_faults(seed: int) -> Verdict:
    """Play one seed from its beginning."""
    return _play(seed, lambda folder: Play(draw(seed), folder))


def play_lies(seed: int) -> Verdict:
    """Play the history with lies of one seed from its beginning."""
    return _play(seed, lambda folder: evidence.History(evidence.draw(seed), folder))


def _play(seed: int, make: Callable[[Path], Player]) -> Verdict:
    memory = Path("/dev/shm")  # noqa: S108 - what is not durable anyway need not wait for a disk
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    signal.signal(signal.SIGALRM, lambda *_: _end(seed))
    signal.alarm(ONE_SEED_S)

    async def begin(folder: Path) -> Verdict:
        return await make(folder).play()

    try:
        with (
            tempfile.TemporaryDirectory(prefix="simulation-", dir=place) as name,
            asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
        ):
            return runner.run(begin(Path(name)))
    except HungError as error:
        return Verdict(findings=[f"seed {seed}: {error}"])
    finally:
        signal.alarm(0)


#: what `only` may be: how a seed is played, and the states that a long run must visit
FAMILIES: dict[str, tuple[Callable[[int], Verdict], tuple[str, ...]]] = {
    "faults": (play_faults, SOMETIMES),
    "lies": (play_lies, evidence.SOMETIMES),
}


def main(argv: list[str] | None = None) -> int:
    """Play many seeds, or one of them twice."""
    known = ("seeds", "seed", "first", "only", "stop")
    given = Arguments(sys.argv[1:] if argv is None else argv, known=known)
    only = given.text("only")
    if only not in {"", *FAMILIES}:
        raise SystemExit(f"only={only} is not understood; there is: {' '.join(FAMILIES)}")
    families = [only] if only else list(FAMILIES)
    one = given.whole("seed", -1)
    seeds = given.whole("seeds", LONG) if one < 0 else 1
    first = given.whole("first", 0) if one < 0 else one
    return max(_play_many(family, first, seeds, given.whole("stop", 40)) for family in families)


def _play_many(family: str, first: int, seeds: int, most: int) -> int:
    """Play a range of seeds; after more than `most` findings it is enough."""
    play_seed, sometimes = FAMILIES[family]
    began_s = time.perf_counter()
    visited: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for seed in range(first, first + seeds):
        outcome = play_seed(seed)
        visited.update(outcome.visited)
        totals.update(
            seeds=1, lives=outcome.processes, requests=outcome.requests, s=round(outcome.virtual_s)
        )
        if (seed % 20 == 0 or seeds == 1) and play_seed(seed).trace != outcome.trace:
            outcome.findings.append(f"seed {seed}: [27] played again, it left another trace")
        for finding in outcome.findings:
            print(finding, file=sys.stderr, flush=True)
            kinds.update(re.findall(r"\[[^\]]+\]", finding)[:1] or ["another kind"])
        if kinds.total() > most:
            break
    never = [state for state in sometimes if not visited[state]] if seeds > 1 else []
    shown = sometimes if family == "faults" and seeds > 1 else sorted({*sometimes, *visited})
    for state in shown:
        print(f"{visited[state]:>8}  {state}")
    if never:
        print(f"never visited: {', '.join(never)}", file=sys.stderr)
    for kind, number in kinds.most_common():
        print(f"{number:>8}  findings of {kind}")
    print(
        f"simulation of {family}: {totals['seeds']} seeds from {first}, {totals['lives']} lives,"
        f" {totals['requests']:,} requests, {totals['s'] / 3600:.1f} virtual hours in"
        f" {time.perf_counter() - began_s:.0f} s; {len(sometimes) - len(never)} of"
        f" {len(sometimes)} hard states visited; {kinds.total()} findings"
    )
    return int(bool(kinds) or (bool(never) and seeds >= LONG))


if __name__ == "__main__":
    sys.exit(main())
