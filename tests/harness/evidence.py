"""Random histories against a server that lies, judged by what was true: what a proof may rest on.

A history draws a world, lies of the server (reads that lag, filters, short and failing listings,
success without effect, gateways, old encodings), campaigns that start by themselves, and how the
run ends: by itself, by a signal, a deadline, or a kill and a continuation. Afterwards every claim
is held against the world's own history.

- Everything is drawn from the seed.
- The judge knows the world, its history, the requests that arrived and the report; nothing of the
  product decides anything here. Of its ways in, only `Stage` is used.
- a claim is false when a look that the run itself made, later than the truth by more than the lag,
  could have shown it. What no look could show is excused.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

from orchestrator.engine.results import RunResult
from orchestrator.model import CampaignRef, Status
from orchestrator.reports.summary import Ended
from orchestrator.simulator import faults
from orchestrator.simulator.faults import Fault, FaultPlan, Outage, mixed, with_http
from orchestrator.simulator.lies import Wrapping
from orchestrator.simulator.reads import Lag, ListingFaults, Read, StatusFilter
from orchestrator.simulator.routes import Kind
from orchestrator.simulator.world import Campaign, Drift, Forgetting, Order, World, WorldSettings
from tests.fakes import Sent, Stage
from tests.harness import judge
from tests.harness.judge import ref_of
from tests.harness.player import Player

#: begins a lie at this time, in seconds since the start of the server
Begin = Callable[[float], None]


READS = frozenset({Kind.LIST, Kind.DETAILS})
#: rounding of sums of virtual time
EPSILON_S = 1e-6
#: a proof is at most so old when it is said, beside one round of all VDNs
FRESH_S = 15.0
#: how long the looks before an ending may take
LAST_LOOK_S = 12.0
#: no history needs so many requests
STORM = 3_000
#: a run that nobody stops and nothing troubles any more has so long to find out
SETTLED_S = 90.0

_QUERY = re.compile(r"curPage=(\d+).*status=(\d)")


@dataclass
class Draft:
    """One history, as drawn."""

    seed: int
    kind: str
    world: World
    vdns: list[int]
    rate_per_s: float
    names: list[str] = field(default_factory=list)
    plan: FaultPlan = field(default_factory=FaultPlan)
    #: builds the lies when their time begins; seconds since the start of the server
    lies: list[Begin] = field(default_factory=list)
    lag_s: float = 0.0
    #: each read is behind by another time
    lag_varies: bool = False
    lag_reads: frozenset[Read] = frozenset()
    #: when the last disturbance is over; `inf`: never. Lies that a run must bear do not count.
    troubled_until_s: float = 0.0
    hold_s: float = 0.0
    deadline_s: float | None = None
    verify: bool = True
    #: seconds after the beginning of a process at which it is killed, one per process
    kills: list[float] = field(default_factory=list)
    stop_at_s: float | None = None

    def trouble(self, until_s: float) -> None:
        """Something goes on until then that may spoil a run without anybody's fault."""
        self.troubled_until_s = max(self.troubled_until_s, until_s)


def draw(seed: int) -> Draft:
    """Draw the history of a seed."""
    rng = random.Random(f"lies {seed}")
    kind = rng.choice(["pause", "pause", "pause-all", "pause-all", "restore"])
    vdns = rng.sample(range(1, 10_000), rng.choice([1, 1, 2, 3]))
    statuses = [Status.STARTED] * 8 + [Status.SUSPENDED, Status.SUSPENDED, Status.COMPLETED]
    members = {}
    for vdn_id in vdns:
        size = rng.choice([1, 3, 6, 12, 12, 30]) if rng.random() < 0.95 else 130
        numbers = sorted(rng.sample(range(1, 100_000), size))
        members[vdn_id] = [Campaign(number, rng.choice(statuses)) for number in numbers]
    world = World(members, settings=WorldSettings(order=rng.choice(list(Order))))
    draft = Draft(seed, kind, world, vdns, rate_per_s=rng.choice([5.0, 10.0, 50.0, 100.0]))
    draft.plan = FaultPlan(seed=rng.randrange(10**6))
    chosen = rng.sample(sorted(LIES), rng.choice([0, 1, 1, 1, 2, 2, 3]))
    for name in chosen:
        if kind != "restore" or name not in {"starts", "restless", "forgets", "starting"}:
            draft.names.append(name)
            if (begin := LIES[name](rng, draft)) is not None:
                draft.lies.append(begin)
    if kind == "pause-all":
        draft.hold_s = rng.choice([0.0, 0.0, 10.0, 40.0])
        draft.deadline_s = 240.0
    elif rng.random() < 0.15:
        draft.deadline_s = rng.choice([2.0, 10.0, 40.0])
    draft.verify = rng.random() < 0.95
    end = rng.random()
    if end < 0.2:
        moments = [0.3, 2.0, 6.0, 15.0]
        draft.kills = [rng.choice(moments) * rng.random() for _ in range(rng.choice([1, 1, 2]))]
    elif end < 0.3:
        draft.stop_at_s = rng.choice([0.5, 3.0, 10.0, 30.0]) * rng.random()
    return draft


# -- the lies ---------------------------------------------------------------------------------


def _window(rng: random.Random) -> tuple[float, float]:
    start_s = rng.choice([0.0, 0.0, rng.uniform(0, 10), rng.uniform(0, 40)])
    length_s = rng.choice([2.0, 6.0, 15.0, 60.0, inf])
    return start_s, start_s + length_s


def _some(rng: random.Random, draft: Draft, most: int = 3) -> list[CampaignRef]:
    refs = draft.world.refs()
    return rng.sample(refs, min(len(refs), rng.randint(1, most)))


def _bend(draft: Draft, rng: random.Random, *, troubles: bool, **bent: object) -> Begin:
    """Listings of one VDN or all are bent for a while."""
    start_s, end_s = _window(rng)
    vdns = rng.choice([draft.vdns, draft.vdns[:1], draft.vdns[-1:]])

    def begin(now_s: float) -> None:
        found = dict(draft.plan.listing_faults)
        for vdn_id in vdns:
            whole = ListingFaults(start_s=now_s + start_s, end_s=now_s + end_s, **bent)  # type: ignore[arg-type]
            found.setdefault(vdn_id, whole)
        draft.plan = replace(draft.plan, listing_faults=found)
        if troubles:
            draft.trouble(now_s + end_s)

    return begin


def _out(draft: Draft, rng: random.Random, fault: Fault, kinds: Iterable[Kind]) -> Begin:
    """Requests of some kinds meet a fault for a while."""
    start_s, end_s = _window(rng)
    vdn_id = rng.choice([None, draft.vdns[-1]])
    filtered = rng.choice([None, None, True, False])

    def begin(now_s: float) -> None:
        outage = Outage(
            fault,
            start_s=now_s + start_s,
            end_s=now_s + end_s,
            kinds=frozenset(kinds),
            vdn_id=vdn_id,
            filtered=filtered if frozenset(kinds) == {Kind.LIST} else None,
        )
        draft.plan = replace(draft.plan, outages=(*draft.plan.outages, outage))
        draft.trouble(now_s + end_s)

    return begin


def _rates(draft: Draft, **rates: float) -> None:
    draft.plan = replace(draft.plan, rates={**draft.plan.rates, **rates})


def _lag(rng: random.Random, draft: Draft) -> None:
    draft.lag_s = rng.choice([0.5, 1.0, 3.0, 8.0, 20.0])
    every = frozenset(Read)
    draft.lag_reads = rng.choice([every, every, every, *(frozenset({one}) for one in Read)])
    draft.lag_varies = rng.random() < 0.3
    lag = Lag(draft.lag_s, varies=draft.lag_varies, reads=draft.lag_reads)
    draft.plan = replace(draft.plan, lags=(lag,))


def _no_effect(rng: random.Random, draft: Draft) -> Begin:
    refs, times = _some(rng, draft, 5), rng.choice([1, 1, 2, 3, 0])

    def begin(now_s: float) -> None:
        if times:
            script = dict.fromkeys(refs, (faults.LIE,) * times)
            draft.plan = replace(draft.plan, scripted=script)
        else:
            draft.plan = replace(draft.plan, always=dict.fromkeys(refs, faults.LIE))
        draft.trouble(inf if times != 1 else now_s)

    return begin


def _starts(rng: random.Random, draft: Draft) -> Begin:
    found = [(ref, rng.uniform(0, rng.choice([5, 30, 60]))) for ref in _some(rng, draft)]

    def begin(now_s: float) -> None:
        for ref, after_s in found:
            draft.world.will_happen(Drift(ref, at_s=now_s + after_s))
            draft.trouble(now_s + after_s)

    return begin


def _restless(rng: random.Random, draft: Draft) -> Begin:
    refs, after_s = _some(rng, draft), rng.choice([0.2, 1.0, 5.0, 20.0])
    times = rng.choice([1, 1, 2, 3, inf])

    def begin(now_s: float) -> None:
        for ref in refs:
            draft.world.will_happen(Drift(ref, after_pause_s=after_s, times=times))
        draft.trouble(now_s if times == 1 else inf)
        draft.trouble(now_s + 60.0)

    return begin


def _forgets(rng: random.Random, draft: Draft) -> Begin:
    at_s = rng.uniform(0, 30)

    def begin(now_s: float) -> None:
        draft.world.will_happen(Forgetting(now_s + at_s, back_to_s=now_s))
        draft.trouble(now_s + at_s)

    return begin


def _starting(rng: random.Random, draft: Draft) -> Begin:
    refs, until_s = frozenset(_some(rng, draft)), rng.choice([1.0, 4.0, 12.0, 25.0])

    def begin(now_s: float) -> None:
        outage = Outage(
            faults.NOT_NOW, end_s=now_s + until_s, refs=refs, kinds=frozenset({Kind.PAUSE})
        )
        draft.plan = replace(draft.plan, outages=(*draft.plan.outages, outage))
        draft.trouble(now_s + until_s)

    return begin


def _foreign(rng: random.Random, draft: Draft) -> None:
    dress = rng.choice(
        [
            Wrapping(charset="gb18030", chinese=True),
            Wrapping(charset="big5", chinese=True),
            Wrapping(coding="UTF-8"),
        ]
    )
    wrapping = replace(dress, share=rng.choice([1.0, 1.0, 0.3]))
    draft.plan = replace(draft.plan, wrappings=(*draft.plan.wrappings, wrapping))


def _names(rng: random.Random, draft: Draft) -> Begin:
    refs = _some(rng, draft)

    def begin(now_s: float) -> None:
        del now_s
        for ref in refs:
            campaign = draft.world.campaign(ref)
            assert campaign is not None
            campaign.name = rng.choice(["caf\udce9", "half \udce6\udc98", "a\tb"])
        wrappings = (*draft.plan.wrappings, Wrapping(raw_controls=True))
        draft.plan = replace(draft.plan, wrappings=wrappings)

    return begin


def _flapping(rng: random.Random, draft: Draft) -> None:
    draft.plan = replace(draft.plan, read_rates=mixed(rng.choice([0.05, 0.2])))
    draft.trouble(inf)


#: name: draws one lie and gives what begins it, where it has its time
LIES: dict[str, Callable[[random.Random, Draft], Begin | None]] = {
    "lag": _lag,
    "filter": lambda rng, draft: _bend(
        draft,
        rng,
        troubles=False,
        status_filter=rng.choice([StatusFilter.EMPTY, StatusFilter.IGNORED]),
    ),
    "short": lambda rng, draft: _bend(draft, rng, troubles=True, rows_missing=rng.choice([1, 2])),
    "twice": lambda rng, draft: _bend(draft, rng, troubles=True, rows_repeated=1),
    "total": lambda rng, draft: _bend(draft, rng, troubles=True, total_size_off=1),
    "listings": lambda rng, draft: _out(
        draft,
        rng,
        rng.choice([with_http(500), faults.NO_BACKEND, faults.HANG, faults.TRUNCATED]),
        [Kind.LIST],
    ),
    "reads": lambda rng, draft: _out(draft, rng, with_http(500), READS),
    "gateway": lambda rng, draft: _out(draft, rng, faults.NO_BACKEND, Kind),
    "login": lambda rng, draft: _out(draft, rng, faults.LOGIN, Kind),
    "waf": lambda rng, draft: _rates(draft, waf=rng.choice([0.03, 0.1])),
    "toofast": lambda rng, draft: _rates(draft, too_fast=rng.choice([0.05, 0.2])),
    "doubts": lambda rng, draft: _rates(
        draft, database_error_landed=rng.choice([0.1, 0.4]), answer_lost=rng.choice([0.0, 0.1])
    ),
    "noeffect": _no_effect,
    "starts": _starts,
    "restless": _restless,
    "forgets": _forgets,
    "starting": _starting,
    "foreign": _foreign,
    "names": _names,
    "flapping": _flapping,
}

#: every one of these must be visited in a long run
SOMETIMES = (
    *(f"lie: {name}" for name in LIES),
    "killed",
    "stopped by a signal",
    "an operator acted",
    "pause: complete, exit 0",
    "pause-all: quiet, exit 0",
    "restore: done",
)

#: lies that a run nobody disturbs must bear: it ends well, and nothing is called what it is not
BORNE = frozenset({"lag", "filter", "foreign", "names", "toofast", "doubts"})


# -- one history ------------------------------------------------------------------------------


@dataclass
class Look:
    """One read that arrived."""

    at_s: float
    filtered: bool
    page: int
    #: a whole answer with code 0200000 reached the product
    good: bool


class History(Player):
    """One history, played and judged."""

    def __init__(self, draft: Draft, folder: Path) -> None:
        self.draft = draft
        self.rng = random.Random(f"play {draft.seed}")
        stage = Stage(
            folder,
            draft.world,
            rate_per_s=draft.rate_per_s,
            concurrency=self.rng.choice([2, 8, 16]),
            seed=draft.seed,
            settings={"retry.patience_s": 120.0},
            there_s=0.01,
            back_s=0.02,
        )
        told = "+".join(draft.names) or "honest"
        super().__init__(f"seed {draft.seed} ({draft.kind}, {told})", stage)
        self.began_s = 0.0
        self.stopped = False
        stage.server.on_sent = self._count

    async def _happen(self) -> None:
        """Let it happen, then judge."""
        if self.draft.kind == "restore":
            await self._restore()
            return
        self._begin_lies()
        result = await self._run()
        if result is not None:
            self._judge(result)

    def _count(self, sent: Sent) -> None:
        """A run that sends more than all that is asked of it never ends in real time."""
        if sent.number == STORM:
            self.find(f"[storm] {STORM} requests within {self.stage.clock.now_s():.0f} s")
            self.draft.kills.clear()
            asyncio.get_running_loop().call_soon(self.stage.kill)

    def _begin_lies(self) -> None:
        self.began_s = self.stage.clock.now_s()
        for begin in self.draft.lies:
            begin(self.began_s)
        self.stage.server.handler.faults = self.draft.plan
        for name in self.draft.names:
            self.visit(f"lie: {name}")

    async def _run(self) -> RunResult | None:
        """One run of as many processes as it takes."""
        draft, stage = self.draft, self.stage
        run_dir: Path | None = None
        for kill_s in [*draft.kills, inf]:
            self._end_later(kill_s)
            if run_dir is not None:
                run = stage.continue_run(run_dir, even_if_old=True, deadline_s=draft.deadline_s)
            elif draft.kind == "pause":
                lines = draft.world.refs()
                run = stage.pause(lines, verify=draft.verify, deadline_s=draft.deadline_s)
            else:
                run = stage.pause_all(hold_s=draft.hold_s, deadline_s=draft.deadline_s)
            result = await stage.until_killed(run)
            if result is not None:
                return result
            self.visit("killed")
            found = [one for one in stage.run_dirs() if (one / "journal.db").exists()]
            run_dir = found[-1] if found else None
        return None

    def _end_later(self, kill_s: float) -> None:
        loop = asyncio.get_running_loop()
        if kill_s < inf:
            number = len(self.stage.processes) + 1
            loop.call_later(kill_s, self._kill, number)
        elif self.draft.stop_at_s is not None and not self.draft.kills:
            loop.call_later(self.draft.stop_at_s, self._stop)

    def _kill(self, number: int) -> None:
        if self.stage.processes[-1].number == number and self.is_at_work:
            self.stage.kill()

    def _stop(self) -> None:
        stopping = self.stage.stopping
        if stopping is not None and not stopping.is_stopping and self.is_at_work:
            self.stopped = True
            self.visit("stopped by a signal")
            stopping.stop(Ended.SIGNAL_TERM, "SIGTERM received")

    # -- a restore, perhaps killed, perhaps with an operator in between ---------------------------

    async def _restore(self) -> None:
        draft, stage, rng = self.draft, self.stage, self.rng
        stop = await stage.pause(draft.world.refs())
        assert stop.run_dir is not None
        await asyncio.sleep(rng.choice([0.5, 5.0, 60.0]))
        ours = judge.changed_by(stage.rows(stop))
        self._begin_lies()
        first = len(stage.server.sent)
        result: RunResult | None = None
        run_dir: Path | None = None
        acts = 0
        for kill_s in [*draft.kills, inf]:
            self._end_later(kill_s)
            again = run_dir is None or rng.random() < 0.5
            if again or run_dir is None:
                run = stage.restore(stop.run_dir, even_if_old=True)
            else:
                run = stage.continue_run(run_dir, even_if_old=True)
            known = set(stage.run_dirs())
            result = await stage.until_killed(run)
            if result is not None:
                break
            self.visit("killed")
            fresh = [one for one in stage.run_dirs() if one not in known]
            if fresh and (fresh[-1] / "journal.db").exists():
                run_dir = fresh[-1]
            if rng.random() < 0.5:
                acts += self._operator_stops(first)
        sent = stage.server.sent[first:]
        for finding in judge.starts(sent, ours):
            self.find(finding)
        if result is not None:
            self._judge_restored(result, sent, acts)

    def _operator_stops(self, first: int) -> int:
        """Somebody stops some of what a killed restore has started."""
        world, rng = self.draft.world, self.rng
        started = {
            one.ref
            for one in self.stage.server.sent[first:]
            if one.kind is Kind.RESUME and one.ref and world.status_of(one.ref) is Status.STARTED
        }
        chosen = [ref for ref in sorted(started) if rng.random() < 0.6]
        for ref in chosen:
            world.set_status(ref, Status.SUSPENDED, at_s=self.stage.clock.now_s())
        self.visit("an operator acted", bool(chosen))
        return len(chosen)

    def _judge_restored(self, result: RunResult, sent: list[Sent], acts: int) -> None:
        world, now_s = self.draft.world, self.stage.clock.now_s()
        world.advance(now_s=now_s)
        looks, reads, _ = self._looks()
        self.visit("restore: done")
        self._sums(result, None)
        for row in self.stage.rows(result):
            ref = ref_of(row)
            status, since_s = self._since(ref, now_s)
            said = row["outcome"]
            tried = [one.at_s for one in sent if one.ref == ref and one.kind is Kind.RESUME]
            if said in {"restored", "already_running"} and status is Status.SUSPENDED and not acts:
                seen_s = self._seen(ref, since_s, looks[ref.vdn_id], reads[ref])
                if seen_s is not None and seen_s > max(tried, default=-inf):
                    self.find(
                        f"[false {said}] {ref} is suspended since {since_s:.1f} s, a look of"
                        f" {seen_s:.1f} s shows it, exit {result.exit_code}"
                    )
                elif result.exit_code == 0 and tried:
                    self._judge_looked(ref, said, max(tried), (*looks[ref.vdn_id], *reads[ref]))
            known = status is Status.STARTED and now_s - since_s > self.draft.lag_s + LAST_LOOK_S
            if said == "unknown" and known and self._readable(ref.vdn_id, now_s) and tried:
                self.find(f"[unknown] {ref} is started since {since_s:.1f} s, end {now_s:.1f} s")
        bad = {"restored", "already_running", "not_running", "left_alone"}
        quiet = not (acts or self.stopped or self.draft.kills) and self._undisturbed()
        if quiet and any(row["outcome"] not in bad for row in self.stage.rows(result)):
            self.find(f"[given up] {dict(result.counts)}, {result.verdict}")

    # -- what is claimed, and what was true -------------------------------------------------------

    def _judge(self, result: RunResult) -> None:
        draft, world = self.draft, self.draft.world
        now_s = self.stage.clock.now_s()
        world.advance(now_s=now_s)
        self.visit(f"{draft.kind}: {result.verdict}, exit {result.exit_code}")
        if result.exit_code in {5, 70}:
            self.find(f"exit {result.exit_code}: {result.trouble}")
            return
        looks, reads, puts = self._looks()
        self._sums(result, world.refs() if draft.kind == "pause" else None)
        if draft.kind == "pause-all" and (result.exit_code == 0 or result.verdict == "quiet"):
            self._judge_quiet(now_s, looks, reads)
        for row in self.stage.rows(result):
            ref = ref_of(row)
            if row["outcome"] == "unknown" and self._readable(ref.vdn_id, now_s):
                self.find(f"[unknown] {ref} is readable; the run ended at {now_s:.1f} s")
            if row["stopped"] == "yes":
                self._judge_stopped(
                    ref, row, result, now_s, looks[ref.vdn_id], reads[ref], puts[ref]
                )
            if row["outcome"] == "still_running" and draft.kind == "pause":
                self._judge_still_running(ref, now_s)
        self._judge_effort(result, now_s, puts)

    def _judge_quiet(
        self, now_s: float, looks: dict[int, list[Look]], reads: dict[CampaignRef, list[Look]]
    ) -> None:
        draft, world = self.draft, self.draft.world
        pages = sum(2 * (1 + sum(world.counts(one).values()) // 100) for one in draft.vdns)
        oldest_s = FRESH_S + 2 * pages / draft.rate_per_s + 8.0
        for vdn_id in draft.vdns:
            for ref in world.refs():
                status, since_s = self._since(ref, now_s)
                if ref.vdn_id != vdn_id or status is not Status.STARTED:
                    continue
                seen_s = self._seen(ref, since_s, looks[vdn_id], reads[ref])
                if seen_s is not None:
                    self.find(
                        f"[false quiet] {ref} is started since {since_s:.1f} s, a look of"
                        f" {seen_s:.1f} s shows it, end {now_s:.1f} s"
                    )
            fresh_s = max((one.at_s for one in looks[vdn_id] if one.good), default=-inf)
            if now_s - fresh_s > oldest_s:
                self.find(
                    f"[old proof] VDN {vdn_id} was last seen at {fresh_s:.1f} of {now_s:.1f} s"
                )
            for filtered in (True, False):
                own = [one for one in looks[vdn_id] if one.filtered is filtered]
                if not own:
                    self.find(f"[one source] VDN {vdn_id}: no listing with filtered={filtered}")
                elif not own[-1].good or (not filtered and self._bent(vdn_id, own[-1].at_s)):
                    self.find(
                        f"[newest] VDN {vdn_id}: its newest listing (filtered={filtered},"
                        f" {own[-1].at_s:.1f} s) failed or was incomplete"
                    )

    def _judge_stopped(
        self,
        ref: CampaignRef,
        row: dict[str, str],
        result: RunResult,
        now_s: float,
        looks: list[Look],
        reads: list[Look],
        puts: list[Sent],
    ) -> None:
        if not self.draft.verify and row["evidence"] == "accepted":
            return  # --no-verify takes the server's word
        status, since_s = self._since(ref, now_s)
        if status is not Status.STARTED:
            return
        said = f"{ref} {row['outcome']}/{row['evidence']}"
        seen_s = self._seen(ref, since_s, looks, reads)
        accepted = [
            one.at_s
            for one in puts
            if one.delivered and one.entry is not None and one.entry.result_code == "0200000"
        ]
        last_s = max(accepted, default=-inf)
        good = result.exit_code == 0
        if seen_s is not None and (good or last_s < seen_s):
            self.find(
                f"[false {row['outcome']}] {said}: started since {since_s:.1f} s, a look of"
                f" {seen_s:.1f} s shows it, end {now_s:.1f} s, exit {result.exit_code}"
            )
        elif good and self.draft.verify and accepted:
            newest_s = max((one.at_s for one in (*looks, *reads) if one.good), default=-inf)
            if since_s < last_s and newest_s - self.draft.lag_s > since_s:
                self.find(f"[false {row['outcome']}] {said}: the PUT of {last_s:.1f} s did nothing")
            else:
                self._judge_looked(ref, said, last_s, (*looks, *reads))

    def _judge_looked(
        self, ref: CampaignRef, said: str, last_s: float, looks: Iterable[Look]
    ) -> None:
        """After the last PUT comes a look."""
        if not any(one.good and one.at_s > last_s for one in looks):
            self.find(f"[no look] {ref} {said}: none after the PUT of {last_s:.1f} s")

    def _judge_still_running(self, ref: CampaignRef, now_s: float) -> None:
        """Called running although it is suspended for longer than any wait, and can be read."""
        status, since_s = self._since(ref, now_s)
        calm = self.draft.deadline_s is None and not self.stopped
        calm = calm and self._readable(ref.vdn_id, now_s)
        if status is Status.SUSPENDED and calm and now_s - since_s > self.draft.lag_s + 2.0:
            self.find(f"[needless] {ref} still_running, suspended since {since_s:.1f} s")

    def _judge_effort(
        self, result: RunResult, now_s: float, puts: dict[CampaignRef, list[Sent]]
    ) -> None:
        """Nothing is given up without need, and a lag alone costs hardly a PUT."""
        draft = self.draft
        if not self.stopped and self._undisturbed() and result.exit_code != 0 and draft.verify:
            late = draft.deadline_s is not None and now_s > draft.deadline_s - 1
            if not late or draft.deadline_s is None:
                self.find(f"[given up] {result.verdict}, exit {result.exit_code}, {now_s:.1f} s")
        if set(draft.names) <= {"lag"} and not draft.kills:
            sent = sum(len(own) for own in puts.values())
            # an emergency does not wait for what a stale listing shows as started; where each read
            # is behind by another time, what was seen at rest is seen started again
            most = 1.2 if draft.kind == "pause" else 5.0 if draft.lag_varies else 2.2
            if sent > most * max(1, len(puts)) + 1:
                self.find(f"[too many PUTs] {sent} for {len(puts)} campaigns")

    def _undisturbed(self) -> bool:
        """Whether only such lies were told as a run must bear, or the others are long over."""
        if self.draft.kind == "pause" and self.draft.deadline_s is not None:
            return False
        over_s = self.stage.clock.now_s() - self.draft.troubled_until_s
        calm = over_s > SETTLED_S and self.draft.kind == "pause-all"
        return set(self.draft.names) <= BORNE or calm

    def _sums(self, result: RunResult, lines: list[CampaignRef] | None) -> None:
        assert result.run_dir is not None
        for finding in judge.sums(judge.Story(self.draft.kind, result.run_dir, lines, sent=())):
            self.find(finding)

    # -- what the requests tell -------------------------------------------------------------------

    def _looks(
        self,
    ) -> tuple[dict[int, list[Look]], dict[CampaignRef, list[Look]], dict[CampaignRef, list[Sent]]]:
        """Listings by VDN, details and pauses by campaign, as they arrived."""
        looks: dict[int, list[Look]] = defaultdict(list)
        reads: dict[CampaignRef, list[Look]] = defaultdict(list)
        puts: dict[CampaignRef, list[Sent]] = defaultdict(list)
        for one in self.stage.server.sent:
            entry = one.entry
            if entry is None:
                continue
            good = one.delivered and entry.http_status == 200 and entry.result_code == "0200000"
            if one.kind is Kind.LIST and one.vdn_id is not None:
                query = _QUERY.search(one.target)
                page, status = (int(query[1]), query[2]) if query else (0, "0")
                looks[one.vdn_id].append(Look(entry.at_s, status != "0", page, good))
            elif one.kind is Kind.DETAILS and one.ref is not None:
                reads[one.ref].append(Look(entry.at_s, filtered=False, page=1, good=good))
            elif one.kind is Kind.PAUSE and one.ref is not None:
                puts[one.ref].append(one)
        return looks, reads, puts

    def _since(self, ref: CampaignRef, now_s: float) -> tuple[Status | None, float]:
        """The true status at the end, and since when."""
        return self.draft.world.since(ref, at_s=now_s)

    def _seen(
        self, ref: CampaignRef, since_s: float, looks: list[Look], reads: list[Look]
    ) -> float | None:
        """When the newest honest look arrived that must have shown a state so old."""
        found = []
        for one in looks:
            blind = one.filtered and self._filter_lies(ref.vdn_id, one.at_s)
            bent = self._bent(ref.vdn_id, one.at_s)
            read = Read.FILTERED if one.filtered else Read.UNFILTERED
            lag_s = self.draft.lag_s if read in self.draft.lag_reads else 0.0
            honest = one.good and one.page == 1 and not blind and not bent
            if honest and one.at_s - lag_s > since_s + EPSILON_S:
                found.append(one.at_s)
        lag_s = self.draft.lag_s if Read.DETAILS in self.draft.lag_reads else 0.0
        found += [one.at_s for one in reads if one.good and one.at_s - lag_s > since_s + EPSILON_S]
        return max(found, default=None)

    def _listing_faults(self, vdn_id: int, at_s: float) -> ListingFaults | None:
        bent = self.draft.plan.listing_faults.get(vdn_id)
        return bent if bent is not None and bent.start_s <= at_s < bent.end_s else None

    def _filter_lies(self, vdn_id: int, at_s: float) -> bool:
        bent = self._listing_faults(vdn_id, at_s)
        return bent is not None and bent.status_filter is StatusFilter.EMPTY

    def _bent(self, vdn_id: int, at_s: float) -> bool:
        """Whether rows were missing; a single row that stands twice is itself."""
        bent = self._listing_faults(vdn_id, at_s)
        if bent is None:
            return False
        several = sum(self.draft.world.counts(vdn_id).values()) > 1
        return bool(bent.rows_missing or (bent.rows_repeated and several))

    def _readable(self, vdn_id: int, now_s: float) -> bool:
        """Whether listings and details of this VDN worked for as long as a last look may take."""
        plan = self.draft.plan
        away = any(
            one.kinds & READS
            and one.vdn_id in {None, vdn_id}
            and one.start_s < now_s
            and one.end_s > now_s - LAST_LOOK_S
            for one in plan.outages
        )
        return not away and not any(plan.read_rates.values())
