"""`./do crash [n=…] [seed=…]`: the product killed again and again, then finished, then reckoned up.

A trial is a small world with faults, a command, and a row of deaths: at an enumerated instant
(before or after each commit, row, fsync, rename, PUT, read) or after a random while. Each process
goes on where the last one was cut off, until one comes to its end. After every death and at the end
the server's ledger, the journal and the report are compared (judge.py).

- n counts deaths, not trials. Most processes are forks (mortal.py), some the real command.
- The seed makes the plan of every trial; `trial=N` repeats one of them alone. Where a random while
  ends is the machine's doing.
- Hard states are counted; a long run that never visited one fails.

Covers P01-P07, and P13: a kill after a supervisor's grace is one at such an instant.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator.faults import FaultPlan, mixed
from orchestrator.simulator.routes import Kind
from orchestrator.simulator.scenarios import ACCESS_KEY, SECRET_KEY
from orchestrator.simulator.server import Simulator
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.simulator.world import Campaign, World
from orchestrator.store.marks import read_marks
from tests.e2e.stage import Stage
from tests.fakes import Sent
from tests.harness import judge
from tests.harness.arguments import Arguments
from tests.harness.judge import MismatchError, Story, agree
from tests.harness.mortal import INSTANTS, LIFE_S, Cradle, Death, Life

#: deaths in CI
CI_DEATHS = 100
#: from so many deaths on, every hard state must have been visited
_LONG = 80
#: trials that run side by side; the server and the product need a core each
_LANES = 3
#: requests in flight in every process, so intents that one death can cut off
_CONCURRENCY = 4
#: every so manieth trial is the real command
_REAL_EVERY = 12
#: after so many processes in one trial the deaths end, and the next process must finish
_MOST_DEATHS = 5

#: state: the instants that visit it for certain; empty: it is seen in the ledger or the journal
HARD_STATES: dict[str, tuple[str, ...]] = {
    "before the journal exists": ("before plan commit", "before plan fsync"),
    "in the rename of the journal": ("before journal rename", "after journal rename"),
    "between intent and send": ("before put",),
    "between send and answer": ("after put", "before read"),
    "after the answer, before its record": ("after read",),
    "inside a commit": ("before row", "after row", "before commit"),
    "after a commit": ("after commit",),
    "in an fsync of the report": ("before report fsync", "after report fsync"),
    "in the rename of the report": ("before results.csv rename", "after failed.csv rename"),
    "between report and summary": ("after results.csv rename", "before summary.json rename"),
    "after everything, before the exit": ("after summary.json rename",),
    "during continue": (),
    "five times in a row": (),
    "in an emergency": (),
    "in a restore": (),
    "the real command": (),
    "at a random instant": (),
    "sent, and no answer on record": (),
    "intended, and never sent": (),
    "lost answer, then 0200011": (),
    "lost answer, then seen suspended": (),
}


@dataclass(frozen=True, slots=True)
class Dying:
    """One planned death: at an instant, or after a share of an undisturbed process."""

    instant: str = ""
    nth_share: float = 0.0
    while_share: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about one trial that chance decides."""

    number: int
    #: pause, pause_all, restore
    command: str
    real: bool
    #: VDN: status of each campaign
    worlds: dict[int, tuple[Status, ...]]
    lines: tuple[CampaignRef, ...]
    verify: bool
    fault_rate: float
    fault_seed: int
    deaths: tuple[Dying, ...]
    again_by_pause: bool
    told_again: bool


@dataclass(slots=True)
class Measure:
    """An undisturbed process: how long it lasts, how often it passes each instant."""

    lived_s: float
    passed: dict[str, int]


@dataclass(slots=True)
class Record:
    """What all trials came to."""

    trials: int = 0
    deaths: int = 0
    processes: int = 0
    puts: int = 0
    inferred: int = 0
    states: Counter[str] = field(default_factory=Counter)
    instants: Counter[str] = field(default_factory=Counter)


# -- the plan of a trial ----------------------------------------------------------------------


def plan_of(seed: int, number: int) -> Plan:
    """The same for the same seed and number."""
    chance = random.Random(f"{seed}/{number}")
    real = number % _REAL_EVERY == _REAL_EVERY - 1
    command = chance.choices(("pause", "pause_all", "restore"), (70, 18, 12))[0]
    worlds = {
        1201 + place: tuple(
            chance.choices(
                (Status.STARTED, Status.SUSPENDED, Status.COMPLETED, Status.NOT_STARTED),
                (80, 10, 6, 4),
                k=chance.randint(4, 14),
            )
        )
        for place in range(chance.randint(1, 3))
    }
    refs = [
        CampaignRef(vdn_id, number)
        for vdn_id, statuses in worlds.items()
        for number in range(1, len(statuses) + 1)
    ]
    chance.shuffle(refs)
    lines = [*refs, *chance.sample(refs, k=chance.choice((0, 0, 2)))]
    if chance.random() < 0.15:
        lines.append(CampaignRef(1201, 999_999))
    return Plan(
        number=number,
        command=command,
        real=real,
        worlds=worlds,
        lines=tuple(lines),
        # what was only inferred is not restored, so a restore follows a pause that looked
        verify=chance.random() < 0.8 or real or command == "restore",
        fault_rate=chance.choice((0.0, 0.1, 0.3)),
        fault_seed=chance.randrange(2**31),
        deaths=_deaths(chance, number, real=real),
        again_by_pause=chance.random() < 0.3,
        told_again=chance.random() < 0.25,
    )


def _deaths(chance: random.Random, number: int, *, real: bool) -> tuple[Dying, ...]:
    if real:
        return tuple(
            Dying(while_share=chance.uniform(0.3, 1.1)) for _ in range(chance.choice((1, 2)))
        )
    many = chance.choices((1, 2, _MOST_DEATHS), (55, 25, 20))[0]
    found = []
    for place in range(many):
        if place == 0 or chance.random() < 0.6:
            # the first deaths go through the list, so that a short run visits them all
            instant = INSTANTS[number % len(INSTANTS)] if place == 0 else chance.choice(INSTANTS)
            found.append(Dying(instant=instant, nth_share=chance.random()))
        if place > 0 or chance.random() < 0.1:
            found.append(Dying(while_share=chance.uniform(0.0, 1.05)))
    return tuple(found[:many])


# -- one trial --------------------------------------------------------------------------------


@dataclass
class Trial:
    """One world from its first process to its reckoning."""

    plan: Plan
    cradle: Cradle
    measures: dict[str, Measure]
    record: Record
    folder: Path
    deaths: int = 0
    #: how many requests there had been when each process began
    begins: list[int] = field(default_factory=list)
    #: of the run that a restore undoes
    evidence: dict[str, bytes] = field(default_factory=dict)
    #: process → campaigns whose outcome stood when it began
    settled_before: dict[int, set[CampaignRef]] = field(default_factory=dict)
    simulator: Simulator = field(init=False)

    @property
    def run_dir(self) -> Path:
        """The run that is killed."""
        return self.folder / "run"

    async def run(self) -> None:
        """Kill and continue until it has come to its end, then compare."""
        async with self._server() as self.simulator:
            if self.plan.command == "restore":
                await self._pause_first()
            ended = await self._until_finished()
            self._reckon(ended)
            if self.plan.told_again:
                await self._tell_again(ended)
        self.record.trials += 1

    @asynccontextmanager
    async def _server(self) -> AsyncIterator[Simulator]:
        world = World(
            {
                vdn_id: [
                    Campaign(number, status) for number, status in enumerate(statuses, start=1)
                ]
                for vdn_id, statuses in self.plan.worlds.items()
            }
        )
        # Left out: throttling, which costs time, and codes that disagree. Two of those in a row end
        # as `failed`, truthfully, and here every campaign must end suspended. soak.py has them.
        rates = mixed(self.plan.fault_rate)
        rates |= dict.fromkeys(("throttled", "unavailable", "codes_disagree"), 0.0)
        simulator = Simulator(
            world,
            faults=FaultPlan(seed=self.plan.fault_seed, rates=rates),
            signature=SignatureCheck(ACCESS_KEY, SECRET_KEY),
        )
        async with simulator:
            text = "".join(f"{ref.vdn_id},{ref.campaign_id}\n" for ref in self.plan.lines)
            (self.folder / "list.csv").write_text("vdn_id,campaign_id\n" + text, encoding="ascii")
            yield simulator

    # -- processes

    async def _pause_first(self) -> None:
        process = replace(self._life("pause"), run_dir=str(self.folder / "paused"))
        death = await self.cradle.live(process)
        agree(death.exit_code in {0, 1}, f"the pause before the restore ended with {death}")
        self.evidence = self._evidence()

    def _evidence(self) -> dict[str, bytes]:
        paused = self.folder / "paused"
        beside = [path.name for path in paused.iterdir() if path.name.startswith("journal.db-")]
        agree(not beside, f"reading the undone run left {beside}")
        return {name: (paused / name).read_bytes() for name in ("journal.db", "results.csv")}

    def _check_undone(self) -> None:
        """The run that is undone stays as it is, and no start has left without its mark."""
        agree(self._evidence() == self.evidence, "the restore changed the run that it undoes")
        marked = set(read_marks(self.folder / "paused", {}))
        started = {one.ref for one in self._sent() if one.kind is Kind.RESUME and one.ref}
        agree(started <= marked, f"started without a mark: {sorted(started - marked)}")

    async def _until_finished(self) -> int:
        for dying in (*self.plan.deaths, None):
            self.begins.append(len(self.simulator.ledger.entries))
            death = await self._one_life(self._next_command(), dying)
            await self._drain()
            if death.exit_code is not None:
                return death.exit_code
            agree(not death.hung, f"a life hung for {LIFE_S:g} s")
            self.deaths += 1
            self._after_death(dying)
            if self.evidence:
                self._check_undone()
        raise MismatchError("it never came to its end")

    def _next_command(self) -> str:
        if not (self.run_dir / "journal.db").exists():
            return self.plan.command
        if self.plan.command == "pause" and self.plan.again_by_pause:
            return "pause"
        return "continue"

    def _life(self, command: str) -> Life:
        return Life(
            command=command,
            base_url=self.simulator.base_url,
            run_dir=str(self.run_dir),
            state_dir=str(self.folder),
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            manifest=str(self.folder / "list.csv"),
            source=str(self.folder / "paused"),
            vdns=tuple(self.plan.worlds),
            verify=self.plan.verify,
        )

    async def _one_life(self, command: str, dying: Dying | None) -> Death:
        if self.plan.real and self.plan.command != "restore":
            return await self._real_life(command, dying)
        process = self._life(command)
        measure = self.measures["continue" if command == "continue" else self.plan.command]
        if dying is not None and dying.while_share is not None:
            process = replace(process, dies_after_s=dying.while_share * measure.lived_s)
        elif dying is not None:
            most = max(1, measure.passed.get(dying.instant, 1))
            process = replace(process, instant=dying.instant, nth=1 + int(dying.nth_share * most))
        return await self.cradle.live(process)

    async def _real_life(self, command: str, dying: Dying | None) -> Death:
        """The real command as a child process, killed from outside."""
        stage = Stage(self.folder, self.simulator)
        match command:
            case "pause":
                words = stage.pause_words()
            case "pause_all":
                vdns = [word for vdn_id in self.plan.worlds for word in ("--vdn", str(vdn_id))]
                words = ("pause-all", *vdns, "--yes", "--run-dir", str(self.run_dir))
            case _:
                words = ("continue", str(self.run_dir))
        share = dying.while_share if dying is not None else None
        wait_s = LIFE_S if share is None else share * self.measures["real"].lived_s
        began_s = time.monotonic()
        child = await stage.begin(
            *(*words, "--rate", "5000", "--concurrency", str(_CONCURRENCY)),
            env={"ORCHESTRATOR_STATE_DIR": str(self.folder)},
        )
        ending = asyncio.ensure_future(child.process.communicate())
        ended, _ = await asyncio.wait([ending], timeout=wait_s)
        if not ended:
            child.process.kill()
        _, said = await ending
        with (self.folder / "stderr.txt").open("ab") as told:
            told.write(said)
        code = child.process.returncode
        return Death(
            exit_code=code if code is not None and code >= 0 else None,
            hung=not ended and share is None,
            lived_s=time.monotonic() - began_s,
        )

    async def _drain(self) -> None:
        """Wait until the server has seen the last of the dead client."""
        connections = self.simulator._connections
        for _ in range(2000):
            await asyncio.sleep(0.001)
            if not connections.connections:
                return
        raise MismatchError("a connection outlived its client")

    # -- reckoning

    def _sent(self) -> list[Sent]:
        """What arrived, with the number of the process that sent it."""
        entries = self.simulator.ledger.entries
        ends = [*self.begins[1:], len(entries)]
        return [
            Sent(
                *(one.number, one.at_s, process, "", one.target, one.kind, one.vdn_id, one.ref),
                entry=one,
                delivered=one.answered,
            )
            for process, (first, last) in enumerate(zip(self.begins, ends, strict=True), start=1)
            for one in entries[first:last]
        ]

    def _story(self, journal: Path, exit_code: int | None = None) -> Story:
        sent = self._sent()
        return Story(
            kind=self.plan.command.replace("_", "-"),
            run_dir=self.run_dir,
            lines=self.plan.lines if self.plan.command == "pause" else None,
            sent=sent,
            journal=journal,
            settled_before=self.settled_before,
            exit_code=exit_code,
            # what was in flight at each kill, and what faults of the connection cut off
            unread=self.deaths * _CONCURRENCY + sum(not one.delivered for one in sent),
            calm=True,
            looked=self.plan.verify or self.plan.command != "pause",
            killed=self.deaths > 0,
        )

    def _after_death(self, dying: Dying | None) -> None:
        journal = judge.journal_copy(self.run_dir, self.folder / "scratch")
        self._visit(dying, journal)
        judge.check_whole_or_absent(
            self.run_dir, len(self.plan.lines) if self.plan.command == "pause" else None
        )
        if journal is None:
            begun = self.begins[0] == len(self.simulator.ledger.entries)
            agree(begun, "something was sent before the journal existed")
            return
        story = self._story(journal)
        found = [*judge.attempts(story), *judge.settled(story)]
        agree(not found, found[:1])
        self.settled_before[len(self.begins) + 1] = judge.standing(journal)

    def _visit(self, dying: Dying | None, journal: Path | None) -> None:
        states = self.record.states
        if dying is not None and dying.instant:
            self.record.instants[dying.instant] += 1
            for state, instants in HARD_STATES.items():
                states[state] += dying.instant in instants
        states["at a random instant"] += dying is not None and dying.while_share is not None
        states["during continue"] += journal is not None and bool(self.settled_before)
        states["five times in a row"] += self.deaths == _MOST_DEATHS
        states["in an emergency"] += self.plan.command == "pause_all"
        states["in a restore"] += self.plan.command == "restore"
        states["the real command"] += self.plan.real and self.plan.command != "restore"
        if journal is None:
            states["before the journal exists"] += not (dying and dying.instant)
            return
        changes = self._story(journal).changes
        for ref, (answered, intended) in judge.intents(journal).items():
            never_sent = answered + intended - len(changes.get(ref, ()))
            states["intended, and never sent"] += intended > 0 and never_sent > 0
            states["sent, and no answer on record"] += intended > max(0, never_sent)

    def _reckon(self, exit_code: int) -> None:
        restore = self.plan.command == "restore"
        journal = judge.journal_copy(self.run_dir, self.folder / "scratch")
        finished = journal is not None and judge.last_end(journal) == "finished"
        agree(finished, f"exit {exit_code}, not finished")
        assert journal is not None
        judge.check_no_strays(self.run_dir)
        story = self._story(journal, exit_code)
        found = judge.findings(story)
        agree(not found, found[:1])
        left = judge.left_to_a_person(story.rows) if restore else []
        wanted_exit = {0, 1} if self.plan.command == "pause" else {int(bool(left))}
        agree(exit_code in wanted_exit, f"exit {exit_code}, left to a person: {left}")
        if self.evidence:
            self._check_undone()
        wanted = self._wanted(restore=restore) | dict.fromkeys(left, Status.SUSPENDED)
        wrong = {ref for ref in wanted if self.simulator.world.status_of(ref) is not wanted[ref]}
        agree(not wrong, f"in another state than they should be: {sorted(wrong)}")
        self._look_for_lost_answers(story)
        self.record.inferred += sum(row["evidence"] == "inferred" for row in story.rows)
        self.record.puts += sum(map(len, story.changes.values()))
        self.record.deaths += self.deaths
        self.record.processes += len(self.begins)

    def _wanted(self, *, restore: bool) -> dict[CampaignRef, Status]:
        """What each campaign should be now; a restore gives everything back."""
        return {
            CampaignRef(vdn_id, number): (
                Status.SUSPENDED if status is Status.STARTED and not restore else status
            )
            for vdn_id, statuses in self.plan.worlds.items()
            for number, status in enumerate(statuses, start=1)
        }

    def _look_for_lost_answers(self, story: Story) -> None:
        for own in story.changes.values():
            met = [one.entry for one in own if one.entry is not None]
            lost = [
                place
                for place, one in enumerate(met)
                if one.took_effect
                and not (one.answered and one.result_code == "0200000" and not one.fault)
            ]
            if lost:
                after = [one.result_code for one in met[lost[0] + 1 :]]
                self.record.states["lost answer, then 0200011"] += "0200011" in after
                self.record.states["lost answer, then seen suspended"] += not after

    def _files(self) -> list[bytes]:
        """The rows as they are on the disk; there is no failed.csv of no rows."""
        paths = (self.run_dir / name for name in ("results.csv", "failed.csv"))
        return [path.read_bytes() if path.exists() else b"" for path in paths]

    async def _tell_again(self, ended: int) -> None:
        """A finished run sends nothing more, and its report is made again byte for byte."""
        requests = self.simulator.ledger.total
        before = self._files()
        for command in ("continue", "report"):
            death = await self.cradle.live(self._life(command))
            agree(death.exit_code == ended, f"{command} of a finished run: {death}, not {ended}")
            agree(before == self._files(), f"{command} of a finished run made another report")
        agree(self.simulator.ledger.total == requests, "a finished run sent something")


# -- all trials -------------------------------------------------------------------------------


async def measure_all(cradle: Cradle, root: Path) -> dict[str, Measure]:
    """Undisturbed processes of each kind, to know when to kill."""
    measures: dict[str, Measure] = {}
    for command in ("pause", "pause_all", "restore"):
        folder = root / f"measure-{command}"
        folder.mkdir()
        plan = replace(plan_of(0, 1), command=command, deaths=(), real=False, fault_rate=0.1)
        trial = Trial(plan, cradle, measures, Record(), folder)
        async with trial._server() as trial.simulator:
            if command == "restore":
                await trial._pause_first()
            counts = folder / "counts.json"
            death = await cradle.live(replace(trial._life(command), counts=str(counts)))
            agree(death.exit_code in {0, 1}, f"an undisturbed {command} ended with {death}")
            measures[command] = Measure(death.lived_s, json.loads(counts.read_text()))
    measures["continue"] = measures["pause"]
    folder = root / "measure-real"
    folder.mkdir()
    plan = replace(plan_of(0, 1), command="pause")
    real = Trial(plan, cradle, {"real": Measure(0.0, {})}, Record(), folder)
    async with real._server() as real.simulator:
        measures["real"] = Measure((await real._real_life("pause", None)).lived_s, {})
    return measures


async def run_trials(
    cradles: Sequence[Cradle], *, deaths: int, seed: int, only: int | None, root: Path
) -> Record:
    """Trials side by side until there were so many deaths."""
    record = Record()
    measures = await measure_all(cradles[0], root)
    numbers = iter(range(10**9) if only is None else [only])

    async def lane(cradle: Cradle) -> None:
        for number in numbers:
            if record.deaths >= deaths:
                return
            folder = root / f"trial-{number}"
            folder.mkdir()
            trial = Trial(plan_of(seed, number), cradle, measures, record, folder)
            try:
                await trial.run()
            except Exception as error:
                error.add_note(f"{trial.plan.command} with {trial.plan.deaths}")
                error.add_note(f"again: ./do crash seed={seed} trial={number}; kept: {folder}")
                raise
            shutil.rmtree(folder)
            if number % 500 == 499:
                print(f"… {record.deaths:,} deaths, {record.trials:,} trials", flush=True)

    async with asyncio.TaskGroup() as lanes:
        for cradle in cradles:
            lanes.create_task(lane(cradle))
    return record


def main(argv: Sequence[str]) -> int:
    """Run trials; gives the exit code."""
    arguments = Arguments(argv, known=("n", "seed", "trial"))
    deaths, seed = arguments.whole("n", CI_DEATHS), arguments.seed()
    only = arguments.whole("trial", -1)
    print(f"crash: n={deaths} seed={seed}", flush=True)
    cradles = [Cradle() for _ in range(_LANES if only < 0 else 1)]
    root = Path(tempfile.mkdtemp(prefix="crash-"))
    began_s = time.monotonic()
    try:
        record = asyncio.run(
            run_trials(
                cradles, deaths=deaths, seed=seed, only=None if only < 0 else only, root=root
            )
        )
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        notes = "\n".join(getattr(first, "__notes__", ()))
        print(f"crash: FAILED: {type(first).__name__}: {first}\n{notes}")
        if not isinstance(first, MismatchError):
            raise
        return 1
    finally:
        for cradle in cradles:
            cradle.close()
    shutil.rmtree(root)
    return tell(record, deaths=deaths, took_s=time.monotonic() - began_s, whole=only < 0)


def tell(record: Record, *, deaths: int, took_s: float, whole: bool) -> int:
    """Print the counts; a state that was never visited fails a run long enough to visit it."""
    for state in HARD_STATES:
        print(f"{record.states[state]:8,}  {state}")
    missing = [state for state in HARD_STATES if not record.states[state]]
    print(
        f"crash: {record.deaths:,} deaths in {record.trials:,} trials, {record.processes:,} lives,"
        f" {record.puts:,} PUTs, {len(record.instants)} of {len(INSTANTS)} instants,"
        f" {record.inferred} rows inferred, {took_s:.1f} s"
    )
    if whole and deaths >= _LONG and missing:
        print(f"crash: FAILED: never visited: {', '.join(missing)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
