"""Everything that comes from outside, made up: lists, settings, answers, journals.

    ./do fuzz seconds=300             as long as that, a fresh seed (printed)
    ./do fuzz seconds=20 seed=7       the same inputs again, as far as the time reaches
    ./do fuzz seed=7 only=answers from=1234 count=1     one input again

- Nothing but an OrchestratorError comes out, whatever goes in; no traceback, no hang.
- What is accepted as an id is 1-19 ASCII digits without a leading zero, below 2**63.
- An answer that is not to the letter a success never pauses anything in the report.
- a bent journal is refused in words, or reads as the whole one does; never as something else.
- Memory stays within a bound, and no single input takes longer than one.
"""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import io
import json
import random
import re
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.engine.saved import report_again
from orchestrator.errors import OrchestratorError
from orchestrator.isales.answer import Answer, Fault
from orchestrator.isales.listing import Page, read_details, read_page
from orchestrator.isales.verdict import Kind, judge
from orchestrator.manifest.formats import Format, ManifestUnreadableError, read_manifest
from orchestrator.model import CampaignRef, Status
from orchestrator.settings.load import config_show, load_settings
from orchestrator.store import PlanWriter
from orchestrator.store.run_dir import RunDirectory
from tests.fakes import SECRET_KEY, Sent, Stage, started
from tests.harness.arguments import Arguments
from tests.harness.judge import read_rows, ref_of
from tests.virtual_time import HungError, VirtualTimeLoop

#: resident memory may grow by so much over the whole run
MEMORY_GROWTH_MB = 160
#: real seconds that one input may take
ONE_INPUT_S = 20

#: pieces that broke parsers before
NASTY = [
    b"", b"\x00", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\r", b"\n", b"\r\n", b'"', b"'",
    b",",
    b";", b"\t", b"[", b"]", b"{", b"}", b":", b"\\", b"\\u0000", b"\\ud800", b"null", b"true",
    b"NaN",
    b"Infinity", b"-0", b"1e3", b"1E400", b"12.0", b"007", b"1_000", b"+5", b"-5", b" 12 ",
    "\uff11\uff12".encode(), "\u0663".encode(), "²".encode(), "\u00a0".encode(),
    "\u200b".encode(), "\u2028".encode(),
    b"9223372036854775807", b"9223372036854775808", b"9" * 400, b"9" * 5_000, b"../../etc", b"5?x=",
    b"5#", b"=1+1", b"\x1b[31m", b"sep=;", b"#", b"vdn_id", b"campaign_id", b"campaignId", b"vdnId",
    b"VDN", b"Campaign ID", b'"campaigns"', b'"campaignIds"', b"0", b"9999", b"10000", b"1234",
    b"[" * 2_000,
    b'{"a":' * 500, b"A" * 70_000, b"PK\x03\x04", b"\x1f\x8b\x08", b"\xc3\x28", b"\xed\xa0\x80",
]  # fmt: skip

CODES = [
    "0200000", "0200006", "0200007", "0200011", "02000001", "0299999", " 0200000", "200000", "",
]  # fmt: skip


@dataclass
class Bench:
    """One fuzzing session."""

    folder: Path
    findings: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0

    def find(self, what: str) -> None:
        """Note something that must not happen."""
        self.findings.append(what)


# -- made-up bytes ----------------------------------------------------------------------------


def mutate(rng: random.Random, seed: bytes) -> bytes:
    """Bend some bytes of something valid."""
    text = bytearray(seed)
    for _ in range(rng.choice([0, 1, 1, 2, 3, 8, 30])):
        place = rng.randrange(len(text) + 1)
        match rng.randrange(7):
            case 0:
                text[place:place] = rng.choice(NASTY)
            case 1 if text:
                del text[place : place + rng.choice([1, 1, 2, 10])]
            case 2 if place < len(text):
                text[place] ^= 1 << rng.randrange(8)
            case 3 if place < len(text):
                text[place] = rng.randrange(256)
            case 4:
                end = min(len(text), place + rng.randrange(1, 40))
                text[place:place] = text[place:end] * rng.choice([1, 2, 50])
            case 5:
                del text[place:]
            case _:
                text[place:place] = rng.randbytes(rng.choice([1, 2, 4, 16]))
        if len(text) > 400_000:
            del text[400_000:]
    return bytes(text)


# -- lists ------------------------------------------------------------------------------------

LISTS = [
    (Format.CSV, b"vdn_id,campaign_id\n1201,1\n1201,2\n1202,3\n"),
    (Format.CSV, b"campaign_id\n1\n2\n3\n"),
    (Format.CSV, b"1201;1\n1201;2\n"),
    (Format.CSV, b'name\tCampaign ID\tVDN\n"a ""b"""\t17\t9\nc\t18\t9\n'),
    (Format.JSON, b"[1, 2, 3]"),
    (Format.JSON, b'[{"vdnId": 1, "campaignId": 2}, {"vdnId": "1", "campaignId": "3"}]'),
    (Format.JSON, b'{"vdnId": 1, "campaignIds": [2, 3, "4"]}'),
    (Format.JSON, b'{"campaigns": [{"vdnId": 1, "campaignIds": [2]}, {"vdnId": 2}]}'),
    (Format.JSONL, b'{"vdnId": 1, "campaignId": 2}\n{"vdnId": 1, "campaignId": 3}\n'),
]  # fmt: skip


def fuzz_lists(bench: Bench, rng: random.Random) -> None:
    """One list, through the parser and into a real plan."""
    chosen, valid = rng.choice(LISTS)
    if rng.random() < 0.1:
        chosen = rng.choice(list(Format))
    made = mutate(rng, valid)
    default_vdn = rng.choice([None, None, 1201])
    path = bench.folder / "fuzz.db"
    writer = PlanWriter(path)
    try:
        lines = read_manifest(_chunks(rng, made), chosen, default_vdn=default_vdn)
        writer.take(lines)
        connection = writer.finish().connection
    except ManifestUnreadableError:
        bench.counts["lists refused whole"] += 1
        writer.discard()
        return
    except OrchestratorError:
        bench.counts["lists refused"] += 1
        writer.discard()
        return
    try:
        rows = connection.execute(
            "SELECT vdn_id, campaign_id FROM plan WHERE problem = ''"
        ).fetchall()
        duplicates = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM plan p WHERE problem = '' AND NOT EXISTS"
            " (SELECT 1 FROM duplicates d WHERE d.seq = p.seq)"
            " GROUP BY vdn_id, campaign_id HAVING count(*) > 1)"
        ).fetchone()
    finally:
        connection.close()
        for left in bench.folder.glob("fuzz.db*"):
            left.unlink()
    bench.counts["lists read"] += 1
    for vdn_id, campaign_id in rows:
        well = isinstance(campaign_id, int) and 1 <= campaign_id < 2**63
        if not well or not (isinstance(vdn_id, int) and 1 <= vdn_id <= 9999):
            bench.find(f"accepted VDN {vdn_id!r}, campaign {campaign_id!r}")
        # The digits must stand in the input as they are: nothing is rounded, stripped or guessed.
        elif not re.search(rb"(?<![0-9])%d(?![0-9])" % campaign_id, _plain(made)):
            bench.find(f"campaign {campaign_id} does not stand in the list")
    if duplicates != (0,):
        bench.find("a campaign is in the plan twice")


def _plain(made: bytes) -> bytes:
    r"""The text with JSON's escapes undone: "\u0031" is a way to write a digit."""
    return re.sub(rb"\\u00(3[0-9])", lambda found: bytes.fromhex(found[1].decode()), made)


def _chunks(rng: random.Random, text: bytes) -> Iterator[bytes]:
    size = rng.choice([1, 7, 64, 1 << 16]) if len(text) < 5_000 else 1 << 16
    return (text[at : at + size] for at in range(0, len(text), size))


# -- settings ---------------------------------------------------------------------------------

TOML = b"""
[server]
base_url = "https://isales.example:28080"
attempt_timeout_s = 15
[credentials]
access_key = "AK"
[pace]
rate_per_s = 10
concurrency = 8
[retry]
max_attempts = 5
backoff_base_s = 0.2
patience_s = 1800
[signing]
millis = false
signed_headers = ["host"]
"""
VALUES: list[object] = [
    "", " ", "0", "-1", "nan", "inf", "1e9", "ten", "\uff11\uff10", "true",
    "http://127.0.0.1:1/", "https://h:0",
    "https://u:p@h/", "https://h/?q", "https://h#f", "file:///x", "https://[::1]:8", "http://h:80",
    "https://2130706433", "\x00", "\n", "a\rb", "\ud800", "9" * 400, "../../x",
    "https://" + "a" * 300,
    0, -1, 1, 10**30, 1.5, float("nan"), float("inf"), True, None, [], ["host"], ["host",
    "x\r\n"], {}, (),
]  # fmt: skip
KEYS = [
    "server.base_url", "server.ca_file", "server.connect_timeout_s", "server.attempt_timeout_s",
    "credentials.access_key", "credentials.secret_key_file", "pace.rate_per_s", "pace.concurrency",
    "retry.max_attempts", "retry.backoff_base_s", "retry.backoff_cap_s", "retry.patience_s",
    "signing.blank_query_line", "signing.millis", "signing.signed_headers", "state.dir", "no.such",
]  # fmt: skip
NAMES = [
    "ORCHESTRATOR_BASE_URL", "ORCHESTRATOR_CA_FILE", "ORCHESTRATOR_ACCESS_KEY",
    "ORCHESTRATOR_SECRET_KEY",
    "ORCHESTRATOR_SECRET_KEY_FILE", "ORCHESTRATOR_RATE_PER_S", "ORCHESTRATOR_CONCURRENCY",
    "ORCHESTRATOR_STATE_DIR", "ORCHESTRATOR_NO_SUCH", "XDG_STATE_HOME",
]  # fmt: skip


def fuzz_settings(bench: Bench, rng: random.Random) -> None:
    """Flags, environment and file together."""
    config = bench.folder / "config.toml"
    config.write_bytes(mutate(rng, TOML) if rng.random() < 0.7 else TOML)
    flags = {rng.choice(KEYS): rng.choice(VALUES) for _ in range(rng.choice([0, 1, 1, 3]))}
    environ = {
        rng.choice(NAMES): str(rng.choice(VALUES)).replace("\x00", "")
        for _ in range(rng.choice([0, 1, 2]))
    }
    environ.setdefault("ORCHESTRATOR_SECRET_KEY", SECRET_KEY)
    environ |= {"HOME": str(bench.folder), "XDG_CONFIG_HOME": str(bench.folder / "none")}
    try:
        settings = load_settings(
            flags=flags,
            environ=environ,
            config=config,
            emergency=rng.random() < 0.5,
            need_credentials=True,
            need_server=True,
            ask_secret=None,
            warn=lambda _: None,
        )
    except OrchestratorError as error:
        bench.counts["settings refused"] += 1
        if SECRET_KEY in str(error):
            bench.find("a refusal shows the secret")
        return
    bench.counts["settings taken"] += 1
    if not (0 < settings.pace.rate_per_s <= 100_000 and 1 <= settings.pace.concurrency <= 1_024):
        bench.find(f"accepted pace {settings.pace}")
    url = settings.server.base_url
    if not url.startswith(("https://", "http://127.", "http://localhost", "http://[::1]")):
        bench.find(f"accepted {url}")
    secret = settings.credentials.secret_key
    shown = f"{settings} {settings!r} {config_show(settings)}"
    text = secret.reveal() if secret is not None else ""
    # now and then both keys are the same value
    if len(text) > 7 and text in shown and text not in settings.credentials.access_key:
        bench.find("the settings show the secret")


# -- answers ----------------------------------------------------------------------------------


def _bodies(rng: random.Random) -> bytes:
    code, other = rng.choice(CODES), rng.choice(CODES)
    document: dict[str, Any] = {"resultCode": code, "resultDesc": "x", "returnCode": other}
    rows = [
        {"id": n, "name": "n", "status": rng.choice([1, 2, 3, 4, 9, "2", None])} for n in (1, 2)
    ]
    shapes: list[dict[str, Any]] = [
        {},
        {"totalSize": rng.choice([2, 0, -1, "2", 1e300, 10**400, None]), "data": rows},
        {"totalSize": 2, "data": rng.choice([None, {}, "x", [None], [[]], [{"id": "1e3"}]])},
        {"returnObject": rng.choice([None, [], {}, {"status": 3}, {"status": "x", "name": 7}])},
    ]
    return mutate(rng, json.dumps(document | rng.choice(shapes)).encode())


def fuzz_answers(bench: Bench, rng: random.Random) -> None:
    """One answer, judged and read in all three ways."""
    body = _bodies(rng)
    odd = [None, "", "7", "nan", "\x00", "Tue, 25 Nov 2025 10:00:00 GMT", "9" * 300, "gzip"]
    answer = Answer(
        http_status=rng.choice(
            [200, 200, 200, 200, 204, 302, 400, 401, 403, 404, 429, 500, 503, 599]
        ),
        body=body,
        fault=rng.choice([None, None, None, None, None, rng.choice(list(Fault))]),
        retry_after=rng.choice(odd),
        date=rng.choice(odd),
        location=rng.choice(odd),
        content_encoding=rng.choice([None, None, None, "identity", "gzip", "x\x00"]),
    )
    verdict = judge(answer)
    page = read_page(answer, vdn_id=12, asked_status=2)
    read_details(answer, ref=CampaignRef(12, 1))
    bench.counts[f"answers {verdict.kind}"] += 1
    for text in (verdict.reason, verdict.code, verdict.desc):
        text.encode()  # must be storable
    if isinstance(page, Page) and any(not 1 <= row.ref.campaign_id < 2**63 for row in page.rows):
        bench.find(f"a listing gave an id that is none: {page.rows}")
    if verdict.kind is Kind.ACCEPTED and not _is_success(answer):
        bench.find(f"accepted: {answer}")


def _is_success(answer: Answer) -> bool:
    """Success by our own reading of docs/spec/contracts.md."""
    if answer.fault or answer.http_status != 200:
        return False
    try:
        found = json.loads(answer.body)
    except UnicodeDecodeError:
        try:
            found = json.loads(answer.body.decode("gb18030"))
        except (ValueError, RecursionError):
            return False
        if not all(map(str.isascii, found)):
            return False  # a damaged name may be that of a code
    except (ValueError, RecursionError):
        return False
    codes = [found.get(key) for key in ("resultCode", "returnCode") if found.get(key) is not None]
    return bool(codes) and all(code in {"0200000", 200000} for code in codes)


def fuzz_runs(bench: Bench, rng: random.Random) -> None:
    """A whole virtual run or emergency against a server that answers made-up bytes."""
    folder = Path(tempfile.mkdtemp(dir=bench.folder))
    emergency = rng.random() < 0.3
    share = rng.choice([0.1, 0.5, 1.0])
    seed = rng.randrange(2**32)

    def forge(sent: Sent) -> bytes | None:
        own = random.Random(f"{seed}/{sent.number}")
        if own.random() > share:
            return None
        body = _bodies(own)
        head = rb"HTTP/1.1 %d X" % own.choice(
            [200, 200, 200, 204, 302, 401, 403, 404, 429, 500, 503]
        )
        more = own.choice([b"", b"\r\nRetry-After: 9999999999", b"\r\nDate: x", b"\r\nX: \x00"])
        return head + more + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def main() -> None:
        stage = Stage(folder, started(rng.choice([1, 4, 6, 25])), settings={"retry.patience_s": 60})
        stage.server.forge = forge
        refs = stage.world.refs()
        result = await (
            stage.pause_all(deadline_s=120) if emergency else stage.pause(deadline_s=900)
        )
        if result.exit_code == 70:
            bench.find(f"a bug: {stage.events.named('run.bug')[:1]}")
        bench.counts[f"runs with exit {result.exit_code}"] += 1
        for row in stage.rows(result):
            one = ref_of(row)
            if one in refs and row["evidence"] == "accepted" and row["outcome"] == "paused":
                delivered = [s for s in stage.server.puts_to(one) if s.delivered]
                if not delivered:
                    bench.find(f"{one} was paused without an answer")

    try:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())
    except (HungError, AssertionError) as error:
        bench.find(f"a run against garbage: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- journals ---------------------------------------------------------------------------------


@functools.cache
def whole(folder: Path) -> tuple[bytes, list[dict[str, str]]]:
    """One interesting journal, made once, and the rows of its report."""

    async def main() -> Path:
        stage = Stage(folder, started(20))
        stage.world.set_status(stage.world.refs()[3], Status.COMPLETED)
        result = await stage.pause()
        assert result.run_dir is not None
        return result.run_dir

    folder.mkdir()
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        run_dir = runner.run(main())
    connection = sqlite3.connect(run_dir / "journal.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return (run_dir / "journal.db").read_bytes(), read_rows(run_dir / "results.csv")


def fuzz_journals(bench: Bench, rng: random.Random) -> None:
    """One bent journal, opened and reported."""
    journal, rows = whole(bench.folder / "whole")
    bent = bytearray(journal)
    match rng.randrange(5):
        case 0:
            bent[rng.randrange(len(bent))] ^= 1 << rng.randrange(8)
        case 1:
            del bent[rng.randrange(len(bent)) :]
        case 2:
            start = rng.randrange(len(bent))
            end = min(len(bent), start + rng.choice([1, 16, 512, 4_096, 20_000]))
            bent[start:end] = bytes(end - start)
        case 3:
            bent += rng.randbytes(rng.choice([1, 100, 5_000]))
        case _:
            start = rng.randrange(len(bent))
            made = rng.randbytes(rng.choice([1, 8, 600]))
            bent[start : start + len(made)] = made
    run_dir = bench.folder / "20251123T230501Z-0000"
    run_dir.mkdir(mode=0o700, exist_ok=True)
    for left in run_dir.iterdir():
        left.unlink()
    (run_dir / "journal.db").write_bytes(bent)
    try:
        report_again(RunDirectory(run_dir), fallback=io.BytesIO())
    except OrchestratorError as error:
        bench.counts["journals refused"] += 1
        if not str(error):
            bench.find("a journal was refused without a word")
        return
    bench.counts["journals read"] += 1
    if read_rows(run_dir / "results.csv") != rows:
        bench.find("a bent journal reads as something else")


# -- the session ------------------------------------------------------------------------------

FAMILIES: dict[str, tuple[Callable[[Bench, random.Random], None], int]] = {
    # family: (one input, how many in a row)
    "lists": (fuzz_lists, 40),
    "settings": (fuzz_settings, 40),
    "answers": (fuzz_answers, 400),
    "runs": (fuzz_runs, 2),
    "journals": (fuzz_journals, 20),
}


def one_input(bench: Bench, family: str, seed: int, number: int) -> None:
    """Make and try one input; whatever is raised is a finding that can be repeated."""
    make = FAMILIES[family][0]
    before = len(bench.findings)
    began_s = time.perf_counter()
    signal.alarm(ONE_INPUT_S)
    try:
        make(bench, random.Random(f"{seed}/{family}/{number}"))
    except TimeoutError:
        bench.find(f"took longer than {ONE_INPUT_S} s")
    except Exception:  # noqa: BLE001 - exactly what is looked for
        bench.find("raised\n" + traceback.format_exc(limit=-6))
    finally:
        signal.alarm(0)
    bench.slowest_s = max(bench.slowest_s, time.perf_counter() - began_s)
    again = f"./do fuzz seed={seed} only={family} from={number} count=1"
    bench.findings[before:] = [f"{one}\n  again: {again}" for one in bench.findings[before:]]


def _too_long(number: int, frame: object) -> None:
    del number, frame
    raise TimeoutError


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(argv: list[str] | None = None) -> int:
    """Fuzz for so many seconds."""
    known = ("seconds", "seed", "only", "from", "count")
    given = Arguments(sys.argv[1:] if argv is None else argv, known=known)
    only = given.text("only")
    seconds, seed = given.number("seconds", 300), given.seed()
    first, count = given.whole("from", 0), given.whole("count", 0)
    signal.signal(signal.SIGALRM, _too_long)
    faulthandler.enable()
    bench = Bench(Path(tempfile.mkdtemp(prefix="fuzz-")))
    families = [only] if only else list(FAMILIES)
    made: Counter[str] = Counter()
    began_s = time.perf_counter()
    base_mb = 0.0
    try:
        while len(bench.findings) < 20:
            for family in families:
                for _ in range(count or FAMILIES[family][1]):
                    one_input(bench, family, seed, first + made[family])
                    made[family] += 1
            base_mb = base_mb or _memory_mb()
            if count or time.perf_counter() - began_s >= seconds:
                break
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)
    grown_mb = _memory_mb() - base_mb
    if grown_mb > MEMORY_GROWTH_MB:
        bench.find(f"memory grew by {grown_mb:.0f} MB")
    for name, number in sorted(bench.counts.items()):
        print(f"{number:>9,}  {name}")
    for finding in bench.findings:
        print(finding, file=sys.stderr)
    print(
        f"fuzz: seed {seed}, {', '.join(f'{n:,} {name}' for name, n in made.items())} in"
        f" {time.perf_counter() - began_s:.0f} s; slowest {bench.slowest_s:.2f} s, memory"
        f" +{grown_mb:.0f} MB; {len(bench.findings)} findings"
    )
    return int(bool(bench.findings))


if __name__ == "__main__":
    sys.exit(main())
