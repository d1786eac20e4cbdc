"""One scenario under way: its folder, its server, its children, and what it found.

- a check has a name, a verdict and evidence in numbers; the first failure ends nothing.
- `sound` holds what every run owes, whatever the scenario: files, columns, sums, pace, attempts
  equal to PUTs, truth of every row against the server, no secret, no traceback.
"""

import base64
import json
import os
import stat
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from tests.acceptance.child import ROOT, Child, Ended
from tests.acceptance.report import (
    COLUMNS,
    EVIDENCE,
    MEANING,
    RATE_KEYS,
    SUMMARY_KEYS,
    SWEEP_KEYS,
    Report,
    key,
    moment,
    read_report,
    worst_second,
)
from tests.acceptance.server import Server
from tests.acceptance.world import OK, STARTED, SUSPENDED, Entry, World

SECRET = "SKcanary+7f/3a=Qz%Wv&tower*Marmalade!42"
ACTION = {"pause": "pause", "pause-all": "pause", "restore": "resume"}


class Case:
    """A scenario's surroundings. Every path is below `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.state = folder / "state"
        self.secret_file = folder / "secret.key"
        self.found: list[tuple[bool, str, str]] = []
        self.children: list[Child] = []
        self.servers: list[Server] = []
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "home").mkdir(exist_ok=True)
        self.state.mkdir(exist_ok=True)
        self.secret_file.write_text(SECRET + "\n")
        self.secret_file.chmod(0o600)

    # -- findings ------------------------------------------------------------

    def check(self, name: str, ok: object, evidence: object = "") -> bool:
        """Record one verdict."""
        self.found.append((bool(ok), name, str(evidence)[:600]))
        return bool(ok)

    def equal(self, name: str, got: object, wanted: object) -> bool:
        """Record whether something is as it should be."""
        return self.check(name, got == wanted, got if got == wanted else f"{got}; wanted {wanted}")

    def note(self, name: str, evidence: object) -> None:
        """Record a number that is reported and not judged."""
        self.found.append((True, f"(figure) {name}", str(evidence)))

    @property
    def passed(self) -> bool:
        """Whether something was checked and nothing failed."""
        return bool(self.found) and all(ok for ok, _, _ in self.found)

    # -- surroundings --------------------------------------------------------

    def serve(self, world: World) -> Server:
        """Start a server for this world; it ends with the case."""
        world.secret = SECRET
        server = Server(world)
        server.__enter__()
        self.servers.append(server)
        return server

    def env(self, server: Server | None) -> dict[str, str]:
        """A clean environment for the command."""
        known: dict[str, str | None] = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": None if os.environ.get("ORCHESTRATOR") else str(ROOT),
            "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE"),
            "ORCHESTRATOR_STATE_DIR": str(self.state),
            "ORCHESTRATOR_SECRET_KEY_FILE": str(self.secret_file),
            "ORCHESTRATOR_ACCESS_KEY": "AKACCEPT0001",
            "ORCHESTRATOR_BASE_URL": server.base_url if server else None,
        }
        return {name: value for name, value in known.items() if value is not None}

    def start(self, server: Server | None, arguments: Iterable[object]) -> Child:
        """Start the command and return while it runs."""
        words = [str(argument) for argument in arguments]
        label = f"{words[0]}-{len(self.children) + 1}"
        child = Child(words, env=self.env(server), folder=self.folder, label=label)
        self.children.append(child)
        return child

    def run(self, server: Server | None, *arguments: object, timeout_s: float = 120.0) -> Ended:
        """Run the command to its end."""
        return self.start(server, arguments).wait(timeout_s)

    def pause(
        self,
        server: Server,
        lines: Iterable[tuple[int, int]],
        *more: object,
        rate: float = 50,
        run: str = "run",
        name: str = "list.csv",
    ) -> Child:
        """Start `pause` of a list."""
        words = ["pause", self.manifest(lines, name), "--rate", rate, "--run-dir"]
        return self.start(server, [*words, self.folder / run, *more])

    def pause_all(
        self,
        server: Server,
        *more: object,
        vdns: Iterable[int] = (7,),
        rate: float = 50,
        run: str = "run",
    ) -> Child:
        """Start an emergency that asks nothing."""
        flags = [word for one in vdns for word in ("--vdn", one)]
        words = ["pause-all", *flags, "--yes", "--rate", rate, "--run-dir"]
        return self.start(server, [*words, self.folder / run, *more])

    def write(self, name: str, lines: Iterable[str]) -> Path:
        """A file of these lines."""
        path = self.folder / name
        with path.open("w", encoding="utf-8", newline="") as out:
            out.writelines(f"{line}\n" for line in lines)
        return path

    def manifest(self, pairs: Iterable[tuple[int, int]], name: str = "list.csv") -> Path:
        """A CSV list with both columns."""
        return self.write(name, ["vdn_id,campaign_id", *(f"{v},{c}" for v, c in pairs)])

    def close(self) -> None:
        """End what is still there: our children by pid, our servers."""
        for child in self.children:
            if child.process.poll() is None:
                child.wait(0)
        for server in self.servers:
            server.__exit__(None, None, None)

    # -- what every run owes -------------------------------------------------

    def exits(self, ended: Ended, wanted: int | set[int], what: str = "") -> bool:
        """The exit code, and that it came by itself."""
        allowed = {wanted} if isinstance(wanted, int) else wanted
        tail = "" if ended.exit_code in allowed else f"; stderr ends: {ended.err[-400:]!r}"
        return self.check(
            f"exit code {sorted(allowed)} {what}".strip(),
            ended.exit_code in allowed and not ended.timed_out,
            f"{ended.exit_code} after {ended.wall_s:.2f} s"
            f"{' (killed at the time limit)' if ended.timed_out else ''}{tail}",
        )

    def sound(
        self,
        ended: Ended,
        world: World,
        folder: Path,
        *,
        command: str = "pause",
        rate: float = 10,
        lines: Sequence[tuple[int, int]] | None = None,
        before: set[tuple[int, int]] | None = None,
        since_s: float = 0.0,
    ) -> Report:
        """Check one finished run from all sides and return its report.

        Args:
            ended: the child.
            world: the server's world, after the run.
            folder: the run directory.
            command: pause, pause-all or restore.
            rate: the ceiling that was asked for.
            lines: the list as (VDN, campaign) in its order, when it had no bad line.
            before: what was started before the run, to judge `changed`.
            since_s: requests before this instant belong to another run.
        """
        report = read_report(folder)
        asked = [entry for entry in world.ledger if entry.at_s >= since_s]
        self._files(report, ended, folder, command)
        self._sums(report, lines, command)
        worst = worst_second(entry.at_s for entry in asked)
        self.check(f"at most {rate:g} requests in any second", worst <= rate, f"worst {worst}")
        self._attempts(report, asked, ACTION[command])
        if command != "restore":
            self._truth(report, world, asked, before)
        self.after_settled(asked, ACTION[command])
        rude = Counter(entry.manners for entry in asked if entry.manners)
        self.check("requests as documented", not rude, dict(rude) or f"{len(asked)} requests")
        self.check("no traceback", "Traceback" not in ended.said)
        self.no_secret([folder])
        return report

    def _files(self, report: Report, ended: Ended, folder: Path, command: str) -> None:
        summary = report.summary
        self.equal("columns of results.csv", report.columns, COLUMNS)
        spared = {"manifest"} if command != "pause" else set()
        absent = [name for name in SUMMARY_KEYS if name not in summary and name not in spared]
        self.check("keys of summary.json", not absent, f"absent: {absent}")
        rate = summary.get("rate") or {}
        self.check("rate in summary.json", all(name in rate for name in RATE_KEYS), rate)
        self.equal("exit code of summary.json", summary.get("exit_code"), ended.exit_code)
        if command == "pause-all":
            sweeps = summary.get("sweeps") or []
            whole = all(all(name in sweep for name in SWEEP_KEYS) for sweep in sweeps)
            self.check("sweeps in summary.json", sweeps and whole, f"{len(sweeps)} sweeps")
            self.check("not_covered in summary.json", summary.get("not_covered"), "")
        there = [path for path in folder.glob("*") if path.is_file()]
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in there}
        open_files = {name: oct(mode) for name, mode in modes.items() if mode & 0o077}
        self.check("files are 0600", modes and not open_files, open_files or f"{len(modes)} files")
        mode = stat.S_IMODE(folder.stat().st_mode) if folder.exists() else 0
        self.check("run directory is 0700", mode == 0o700, oct(mode))
        strays = [name for name in modes if name.endswith((".tmp", ".part"))]
        self.check("no temporary file is left", not strays, strays)

    def _sums(self, report: Report, lines: Sequence[tuple[int, int]] | None, command: str) -> None:
        told = {name: n for name, n in (report.summary.get("counts") or {}).items() if n}
        self.equal("counts equal the rows", told, dict(report.counts()))
        if lines is not None:
            wanted = [(str(vdn_id), str(number)) for vdn_id, number in lines]
            told_of = f"{len(report.rows)} rows for {len(wanted)} lines"
            in_order = [key(row) for row in report.rows] == wanted
            self.check("one row per line, in order", in_order, told_of)
        strange: Counter[tuple[str, ...]] = Counter()
        for row in report.rows:
            if row["outcome"] in MEANING:
                stopped, changed = MEANING[row["outcome"]]
                if row["stopped"] != stopped or row["changed"] not in changed:
                    strange[row["outcome"], row["stopped"], row["changed"]] += 1
            if row["evidence"] not in EVIDENCE:
                strange["evidence", row["evidence"]] += 1
        if command == "restore":
            return  # what `stopped` says of a restored campaign is not fixed by the contract
        self.check("stopped and changed as the table says", not strange, dict(strange))
        unstopped = [key(row) for row in report.rows if row["stopped"] == "no"]
        failed = [key(row) for row in report.failed]
        told_of = f"{len(failed)} and {len(unstopped)}"
        self.check("failed.csv has exactly the rows not stopped", failed == unstopped, told_of)

    def _attempts(self, report: Report, asked: list[Entry], kind: str) -> None:
        sent = Counter(e.key for e in asked if e.kind == kind)
        wrong = {
            campaign: (row["attempts"], sent[campaign])
            for campaign, row in report.by_campaign().items()
            if int(row["attempts"] or 0) != sent[campaign]
        }
        stray = [campaign for campaign in sent if campaign not in report.by_campaign()]
        self.check(
            "attempts equal the PUTs the server saw",
            not wrong and not stray,
            f"{sum(sent.values())} PUTs; differ (reported, seen): {dict(list(wrong.items())[:4])};"
            f" without a row: {stray[:4]}",
        )

    def _truth(
        self, report: Report, world: World, asked: list[Entry], before: set[tuple[int, int]] | None
    ) -> None:
        effects = Counter(e.key for e in asked if e.effect and e.kind == "pause")
        rows, running = report.by_campaign(), world.with_status(STARTED)
        lies = [
            (campaign, row["outcome"])
            for campaign, row in rows.items()
            if row["stopped"] == "yes" and (campaign in running or not world.find(*campaign))
        ]
        self.check("nothing is called stopped that runs", not lies, lies[:5])
        wrong = {
            campaign: (row["outcome"], row["changed"], row["evidence"], effects[campaign])
            for campaign, row in rows.items()
            if row["outcome"] in {"paused", "already_paused"}
            and (row["outcome"] == "paused") != (effects[campaign] > 0)
        }
        self.check(
            "paused where this run changed it, already_paused where found so",
            not wrong,
            f"{len(effects)} changed by us; wrong: {dict(list(wrong.items())[:4])}",
        )
        if before is not None:
            untouched = [campaign for campaign in effects if campaign not in before]
            self.check("only what ran was changed", not untouched, untouched[:5])

    def after_settled(self, asked: list[Entry], kind: str = "pause") -> None:
        """No PUT to a campaign after a delivered success or a delivered 0200007."""
        settled: dict[tuple[int, int], float] = {}
        again = []
        for entry in sorted(asked, key=lambda one: one.at_s):
            campaign = entry.key
            if entry.kind != kind:
                continue
            if campaign in settled and entry.at_s > settled[campaign]:
                again.append(campaign)
            if entry.status == 200 and entry.delivered and entry.code in {OK, "0200007"}:
                settled[campaign] = entry.answered_s
        self.check(
            "no PUT after a campaign was settled",
            not again,
            f"{len(settled)} settled, again: {again[:5]}",
        )

    def all_suspended(self, world: World, campaigns: Iterable[tuple[int, int]]) -> bool:
        """Every one of them is suspended on the server."""
        wanted = set(campaigns)
        missing = sorted(wanted - world.with_status(SUSPENDED))
        return self.check(
            "every campaign is suspended on the server",
            not missing,
            f"{len(wanted) - len(missing)} of {len(wanted)}; not: {missing[:5]}",
        )

    def no_requests(self, world: World, since_s: float = 0.0) -> bool:
        """Not a single request reached the server."""
        seen = [e for e in world.ledger if e.at_s >= since_s]
        return self.check(
            "not a single request",
            not seen,
            f"{len(seen)}: {[(e.method, e.path) for e in seen[:3]]}",
        )

    def no_secret(self, folders: Iterable[Path]) -> bool:
        """The secret, in any of its spellings, is in no file below these, nor on the streams."""
        raw = SECRET.encode()
        spellings = {
            raw,
            base64.b64encode(raw),
            base64.b64encode(raw).rstrip(b"="),
            quote(SECRET, safe="").encode(),
            json.dumps(SECRET)[1:-1].encode(),
            raw.hex().encode(),
        } | {raw[i : i + 8] for i in range(len(raw) - 7)}
        hits = []
        paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        paths += [p for child in self.children for p in (child.out_path, child.err_path)]
        for path in paths:
            if path == self.secret_file or not path.exists():
                continue
            content = path.read_bytes()
            hits += [(path.name, s[:4]) for s in spellings if s in content][:1]
        return self.check(
            "the secret is in no file and on no stream",
            not hits,
            f"{len(paths)} files, found in {hits}",
        )

    def two_clean_sweeps(self, report: Report, world: World) -> None:
        """The proof of quiet in summary.json, VDN by VDN, and the ledger's word for it."""
        by_vdn = defaultdict(list)
        for sweep in report.summary.get("sweeps") or []:
            if sweep.get("complete") and sweep.get("started") == 0 and sweep.get("started_at"):
                by_vdn[int(sweep["vdn_id"])].append(sweep)
        for vdn_id in sorted(world.campaigns):
            clean = by_vdn[vdn_id]
            starts = sorted(moment(sweep["started_at"]) for sweep in clean)
            apart = starts[-1] - starts[0] if len(starts) > 1 else 0.0
            self.check(
                f"VDN {vdn_id}: two complete clean sweeps >= 5 s apart",
                apart >= 4.999,
                f"{len(starts)} clean, {apart:.3f} s apart",
            )
            changes = [e.wall_s for e in world.ledger if e.vdn_id == vdn_id and e.kind == "pause"]
            if changes and len(starts) > 1:
                late = [s for s in starts[-2:] if s < max(changes) - 0.002]
                self.check(
                    f"VDN {vdn_id}: both began after the last PUT",
                    not late,
                    f"last PUT {max(changes) - starts[-2]:+.3f} s from the first",
                )

    # -- waiting for the server to see something -----------------------------

    def until(self, seen: Callable[[], object], timeout_s: float = 60.0) -> bool:
        """Wait until something is true; False at the timeout, or when no child of ours is left."""
        until_s = time.monotonic() + timeout_s
        while not seen():
            if time.monotonic() > until_s or not any(child.alive() for child in self.children):
                return bool(seen())
            time.sleep(0.01)
        return True


def puts(world: World, kind: str = "pause") -> list[Entry]:
    """The PUTs of one kind, as they arrived."""
    return [entry for entry in world.ledger if entry.kind == kind]


def lists(world: World) -> list[Entry]:
    """The listing requests, as they arrived."""
    return [entry for entry in world.ledger if entry.kind == "list"]


def tell(text: str) -> None:
    """One line to the reader."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
