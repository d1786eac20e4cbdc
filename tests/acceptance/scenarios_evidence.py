"""Issue 12: what a proof may rest on, each kind as it was found and in variants that were not.

Tables of what a server shows and what must come of it; evidence.py plays and judges a row.
What is killed, restored or cut in place: scenarios_kills.py. `short=True` marks one of each kind
that ends within some fifteen seconds.
"""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.acceptance import lies
from tests.acceptance.case import Case, lists, puts
from tests.acceptance.evidence import (
    OTHER,
    VDN,
    Key,
    Seen,
    a_list,
    an_emergency,
    every,
    keys_of,
    rest,
    running,
    truth,
)
from tests.acceptance.registry import variant
from tests.acceptance.server import Server
from tests.acceptance.world import (
    DATABASE,
    MISSING,
    OK,
    PARAMETER,
    STARTED,
    SUSPENDED,
    Entry,
    Fault,
    Reply,
    World,
    coded,
    first_of,
    listing,
)

BOTH = (VDN, OTHER)
THIRD, FOURTH = (VDN, 3), (VDN, 4)
UNKNOWN = (VDN, 9_999_999)
NO_PROOF = ("not_proven", "still_running")

# -- a proof never expires: quiet at 5.5 s, listings go wrong from 7 s, one starts at 9 s ----------


def holding(fault: Fault, *, heals_s: float = 20.0) -> Fault:
    """Listings go wrong for a while."""
    return lies.during(fault, 7.0, heals_s, kinds=("list",))


HOLD = ("--hold", 8)
for _name, _promise, _fault, _how in (
    ("short", "listings are short, and heal", lies.short(), {"starts": ((VDN, 1), 9.0)}),
    ("500", "every listing answers 500, and heals", lies.away, {}),
    ("truncated", "listings are cut in the middle of their body", lies.truncated, {}),
    ("twice", "one row stands twice, so that rows seen = totalSize", lies.twice,
     {"starts": ((VDN, 1), 9.0)}),
    ("second_vdn", "listings are short in the second of two VDNs",
     lies.during(lies.short(), vdn_id=OTHER), {"starts": ((OTHER, 1), 9.0), "vdns": BOTH}),
    ("second_page", "the second page of 150 campaigns answers 500",
     lies.during(lies.away, page=2), {"starts": ((VDN, 140), 9.0), "count": 150}),
):  # fmt: skip
    an_emergency(
        f"proof_{_name}_heals",
        f"a hold, then {_promise}; a campaign starts: found and paused",
        short=_name == "short",
        **{"fault": holding(_fault), "more": HOLD, "starts": (THIRD, 9.0), "most": None} | _how,
    )
an_emergency("proof_never_heals", "a hold, listings never heal: said within 90 s, exit 6",
             fault=holding(lies.short(), heals_s=1e9), more=HOLD, starts=((VDN, 1), 9.0), codes=6,
             verdict=NO_PROOF, off=(), most=None, within_s=90)  # fmt: skip
an_emergency("proof_interrupted_blind", "a hold, listings fail, Ctrl-C: the proof stands no longer",
             fault=holding(lies.away, heals_s=1e9), more=("--hold", 60), starts=(THIRD, 9.0),
             send=(signal.SIGINT, 13.5), codes={6, 130}, verdict=NO_PROOF, off=(),
             most=None)  # fmt: skip


# -- parts proven at their own time -----------------------------------------------------------


def only_for(campaign: Key, fault: Fault, times: float = 1e9) -> Fault:
    """A fault for the PUTs of one campaign."""

    def read(world: World, entry: Entry) -> Reply | None:
        mine = entry.key == campaign and entry.kind in lies.CHANGES
        return fault(world, entry) if mine and entry.nth <= times else None

    return read


no_database = lies.reply(lambda: coded(DATABASE, "database", "database"))
refused = lies.reply(lambda: coded(PARAMETER, "parameter", "parameter"))


def slow(until_s: float) -> Fault:
    """One campaign of VDN 8 answers 0200006 until then."""
    return lies.during(only_for((OTHER, 5), no_database), 0.0, until_s)


def seen_once_more(case: Case, seen: Seen) -> None:
    """VDN 7 is listed after the last PUT to VDN 8."""
    late_s = max((e.at_s for e in puts(seen.world) if e.vdn_id == OTHER), default=0.0)
    after = [e for e in lists(seen.world) if e.vdn_id == VDN and e.at_s > late_s]
    case.check("VDN 7 is listed once more after the last PUT to VDN 8", after, len(after))


an_emergency("parts_second_slow", "VDN 7 quiet at 6 s, VDN 8 at 25 s, 7/2 starts at 12 s",
             vdns=BOTH, fault=slow(20.0), starts=((VDN, 2), 12.0), most=None,
             check=seen_once_more)  # fmt: skip
an_emergency("parts_just_before", "VDN 7 quiet at 6 s, VDN 8 at 14 s, 7/2 starts before the end",
             vdns=BOTH, fault=slow(9.5), starts=((VDN, 2), 9.0), most=None,
             check=seen_once_more, short=True)  # fmt: skip
an_emergency("parts_first_goes_blind", "the first VDN's listings fail once it is proven, for good",
             vdns=BOTH, starts=((VDN, 2), 10.0), more=("--deadline", 45), codes=6,
             fault=first_of(slow(18.0), lies.during(lies.away, 8.0, kinds=("list",), vdn_id=VDN)),
             verdict=NO_PROOF, off=(), most=None)  # fmt: skip


# -- two sources disagree ---------------------------------------------------------------------

nothing_started = lies.shows(everything=False)


def stale(world: World, entry: Entry) -> Reply | None:
    """The unfiltered listing shows all as suspended."""
    if entry.kind != "list" or entry.listed_status != "0":
        return None
    body = (world.documented(entry).body or b"").replace(b'"status":2', b'"status":3')
    return Reply(body=body, code=OK, fault="stale copy")


def another_row(world: World, entry: Entry) -> Reply | None:
    """Page 2 shows a row of page 1 in the place of one that starts."""
    if entry.kind != "list" or entry.page != 2:
        return None
    hidden, shown = (
        json.dumps(world.row(world.campaigns[VDN][number]), separators=(",", ":")).encode()
        for number in (111, 5)
    )
    body = (world.documented(entry).body or b"").replace(hidden, shown)
    return Reply(body=body, code=OK, fault="another's row")


an_emergency("sources_filter_empty", "the filter shows nothing, the other listing ten started",
             fault=nothing_started, short=True)  # fmt: skip
an_emergency("sources_filter_ignored", "the filter shows everything, whatever its status",
             fault=lies.shows(everything=True), short=True)  # fmt: skip
an_emergency("sources_filter_empty_second", "the filter shows nothing in the second of two VDNs",
             fault=lies.during(nothing_started, vdn_id=OTHER), vdns=BOTH)  # fmt: skip
an_emergency("sources_filter_empty_paged", "the filter shows nothing, 250 on three pages",
             fault=nothing_started, count=250)  # fmt: skip
an_emergency("sources_filter_fails", "the filter answers 500 for ever: one source is no proof",
             fault=lies.during(lies.away, status="2"), more=("--deadline", 15), codes=6,
             verdict=("not_proven",), most=None)  # fmt: skip
an_emergency("sources_filter_later_empty", "the filter is blind from 4 s, one starts at 4.5 s",
             fault=lies.during(nothing_started, 4.0), starts=((VDN, 2), 4.5))  # fmt: skip
an_emergency("sources_unfiltered_stale", "the unfiltered listing shows all suspended", fault=stale)
an_emergency("sources_unfiltered_empty", "the unfiltered listing is empty: no positive control",
             fault=lies.during(lies.reply(lambda: listing(1, 0, 100, None)), kinds=("list",),
                               status="0"),
             more=("--deadline", 15), codes=6, verdict=("not_proven",), most=None)  # fmt: skip
an_emergency("sources_row_of_another_page", "a row of page 1 hides one that starts; heals at 15 s",
             fault=lies.during(another_row, 3.0, 15.0), count=150,
             starts=((VDN, 111), 5.0))  # fmt: skip


# -- a check that failed counts as passed: PUTs without effect, a troubled verification ------------


def unverified(fault: Fault, *lazy: int) -> Fault:
    """Some PUTs succeed without effect once; reads after the first PUT meet a fault."""
    return first_of(lies.without_effect(keys_of(*lazy)), lies.after_puts(fault))


def only_accepted(case: Case, seen: Seen) -> None:
    """Nothing is called confirmed."""
    evidence = Counter(row["evidence"] for row in seen.report.rows)
    case.check("evidence is `accepted`", evidence == {"accepted": 6}, dict(evidence))


def other_accepted(case: Case, seen: Seen) -> None:
    """VDN 7 is confirmed, VDN 8 is not."""
    told = Counter((row["vdn_id"], row["evidence"]) for row in seen.report.rows)
    case.check("VDN 7 is confirmed, VDN 8 accepted", told["8", "accepted"] == 6, dict(told))


def no_listing(case: Case, seen: Seen) -> None:
    """Neither look nor verification."""
    case.check("no listing", not lists(seen.world), len(lists(seen.world)))


blind = lies.during(lies.away, kinds=lies.READS)
LATER = ("--deadline", 100)
a_list("checked_listing_500", "no effect, the verifying listing answers 500, details work",
       count=20, fault=unverified(lies.during(lies.away, kinds=("list",)), 17, 18, 19, 20),
       more=LATER, most=1.3)  # fmt: skip
a_list("checked_listing_short", "no effect, the verifying listing lacks exactly those rows",
       count=20, fault=unverified(lies.short(4), 17, 18, 19, 20), more=LATER,
       most=1.3)  # fmt: skip
a_list("checked_page_cut", "no effect, the second page of the verifying listing is cut", count=130,
       fault=unverified(lies.during(lies.truncated, kinds=("list",), page=2), 127, 128, 129, 130),
       more=LATER, most=1.3)  # fmt: skip
a_list("checked_not_at_all", "no effect, no read of any kind works: unverified", count=6,
       fault=unverified(blind, 5, 6), more=("--deadline", 12), codes=1, verdict=("unverified",),
       judged=False, off=(), most=None, check=only_accepted, short=True)  # fmt: skip
a_list("checked_one_of_two", "two VDNs, one cannot be verified: the other's rows are confirmed",
       count=6, vdns=BOTH, more=("--deadline", 12), codes=1, verdict=("unverified",), most=None,
       fault=lies.after_puts(lies.during(lies.away, kinds=lies.READS, vdn_id=OTHER)),
       check=other_accepted)  # fmt: skip
a_list("last_put_no_verify", "--no-verify skips the look, and says nothing else", count=6,
       more=("--no-verify",), verdict=("complete",), check=no_listing, short=True)  # fmt: skip


def restless_list(case: Case, after_s: float, times: float) -> None:
    """A list, two of whose campaigns start again so long after each pause."""
    world = running(10)
    keys = every(world)
    server = case.serve(world)
    lies.restless(server, keys[:2], after_s, times)
    ended = case.pause(server, keys).wait(200)
    report = truth(case, ended, world)
    left = world.with_status(STARTED)
    case.exits(ended, 1 if left else 0)
    told = {key: report.of(*key).get("outcome") for key in keys[:2]}
    wanted = {key: "still_running" if key in left else "paused" for key in keys[:2]}
    case.equal("still_running says what runs", told, wanted)
    case.check("the others are paused", report.counts()["paused"] >= 8, report.counts())


variant(12, "last_put_restless", "two campaigns start again at once after each pause, for ever",
        restless_list, 0.0, 1e9)  # fmt: skip
variant(12, "last_put_twice", "two campaigns start again once, and once more after the second PUT",
        restless_list, 0.0, 2)  # fmt: skip


# -- the age of an answer is taken for the age of the state -----------------------------------

for _lag_s in (0, 1, 3, 8, 20):
    a_list(f"lag_{_lag_s}_list", f"reads {_lag_s} s behind", count=30, lag=lies.lagging(_lag_s),
           short=_lag_s in {0, 3})  # fmt: skip
    an_emergency(f"lag_{_lag_s}_all", f"reads {_lag_s} s behind, one starts again at 4 s",
                 count=30, lag=lies.lagging(_lag_s), starts=(FOURTH, 4.0), most=2.2,
                 short=_lag_s == 3)  # fmt: skip
a_list("lag_varies_list", "each read behind by another 0 to 8 s", count=30,
       lag=lies.lagging(8, varies=True))  # fmt: skip
# What a look showed at rest and the next one shows as started may have been started again, and in
# an emergency no PUT waits: each such turn costs one more (60 to 75 PUTs). None starts here: a
# start that the lags hide in both passes, longer than any lag seen, is beyond the rules.
an_emergency("lag_varies_all", "each read behind by another 0 to 8 s", count=30,
             lag=lies.lagging(8, varies=True), most=4)  # fmt: skip
an_emergency("lag_filtered_all", "the filtered listing alone is 8 s behind", count=30,
             lag=lies.lagging(8, only="filtered"), starts=(FOURTH, 4.0), most=2.2)  # fmt: skip
a_list("lag_unfiltered_list", "the unfiltered listing alone is 8 s behind", count=30,
       lag=lies.lagging(8, only="unfiltered"))  # fmt: skip
a_list("lag_details_list", "details alone are 8 s behind", count=30,
       lag=lies.lagging(8, only="details"))  # fmt: skip


def just_started(case: Case, lag_s: float, others: int) -> None:
    """Ten were started 1.5 s ago, beside so many others: the first look shows them suspended."""
    world = running(others)
    ten = [(VDN, n) for n in world.add(VDN, range(101, 111), SUSPENDED)]
    world.lag = lies.lagging(lag_s)
    server = case.serve(world)
    for key in ten:
        world.turn(*key, STARTED)
    time.sleep(1.5)
    keys = every(world)
    ended = case.pause(server, keys).wait(200)
    case.exits(ended, 0)
    truth(case, ended, world)
    case.all_suspended(world, keys)
    sent = len(puts(world))
    case.check("at most 1.2 PUTs per campaign", sent <= 1.2 * len(keys), sent)


variant(12, "lag_just_started", "ten started 2 s ago, reads 3 s behind: not `already_paused`",
        just_started, 3, 0)  # fmt: skip
variant(12, "lag_just_started_mixed", "ten just started beside ten others, reads 8 s behind",
        just_started, 8, 10)  # fmt: skip


def forgetting(server: Server) -> None:
    """At 4 s it is restarted from an old state: everything dials again."""

    def forget() -> None:
        for number in range(1, 11):
            server.world.turn(VDN, number, STARTED)

    lies.later(server, 4.0, forget)


def every_second(behind_s: float) -> Callable[[Entry], float]:
    """Every second read comes from a replica that stands still."""
    turns = iter(range(1_000_000))
    return lambda _entry: behind_s if next(turns) % 2 else 0.0


an_emergency("lag_forgets", "the server forgets all changes at 4 s", set_up=forgetting, most=2.2)
an_emergency("lag_frozen_all", "every second read comes from a replica that stands still",
             lag=every_second(1e6), more=("--deadline", 45), codes=6, most=4)  # fmt: skip


# -- one answer about one thing ends the whole ------------------------------------------------

a_list("one_403_list", "one campaign of 40 gets 403 from a firewall, always: the others stop",
       count=40, fault=only_for(FOURTH, lies.waf), codes=1, off=rest(40, FOURTH), most=None,
       outcomes={FOURTH: "denied"}, short=True)  # fmt: skip
a_list("one_403_now_and_then", "a firewall's 403 for every eighth change", count=60,
       fault=lies.now_and_then(lies.waf, 0.125), most=1.4)  # fmt: skip
a_list("one_401_once", "401 once, in the middle: a failed attempt, all stop", count=40,
       fault=only_for((VDN, 21), lies.http(401), 2))  # fmt: skip
a_list("one_403_vdn", "one of two VDNs answers 403 to everything: the other stops", count=15,
       vdns=BOTH, fault=lies.during(lies.waf, vdn_id=OTHER), codes=1, readable=False,
       off=rest(15), most=None)  # fmt: skip
an_emergency("one_403_first", "a firewall's 403 for the first four seconds",
             fault=lies.during(lies.waf, 0.0, 4.0), short=True)  # fmt: skip
an_emergency("one_403_emergency", "one campaign answers 403 for 12 s: not given up by a count",
             fault=lies.during(only_for(FOURTH, lies.waf), 0.0, 12.0), most=5)  # fmt: skip
an_emergency("one_403_emergency_ever", "one campaign answers 403 for ever: the others stop",
             fault=only_for(FOURTH, lies.waf), codes=6, off=rest(10, FOURTH), most=None,
             least_s=29, within_s=90)  # fmt: skip


# -- strictness of the proof applied to the discovery -----------------------------------------

ODD_NAMES = {1: b"spring\toffer", 2: b"caf\xe9", 3: b"offer \xe6\x98", 4: b"\x01\x1b[2J\x7f"}
odd_names = lies.misspelt({(VDN, number): name for number, name in ODD_NAMES.items()})


def broken_row(row: bytes) -> Fault:
    """The row of campaign 5 is something else in every listing."""

    def read(world: World, entry: Entry) -> Reply | None:
        if entry.kind != "list":
            return None
        body = world.documented(entry).body or b""
        before, found, after = body.partition(b'{"id":5,')
        broken = before + row + after.partition(b"}")[2]
        return Reply(body=broken, code=OK, fault="broken row") if found else None

    return read


an_emergency("lenient_names_all", "TAB, latin-1 byte, half a character, control codes in names",
             count=20, fault=odd_names, short=True)  # fmt: skip
a_list("lenient_names_list", "the same names", count=20, fault=odd_names, short=True)
for _name, _row, _promise, _codes in (
    ("without_id", b'{"id":null,"name":"x","status":2}', "has no id", 6),
    ("is_a_number", b"17", "is a number", 6),
    ("status", b'{"id":5,"name":"x","status":99}', "has an unknown status", {0, 1, 6}),
):
    an_emergency(f"lenient_row_{_name}", f"one row {_promise}: the others stop, no false quiet",
                 count=20, fault=broken_row(_row), more=("--deadline", 15), codes=_codes,
                 readable=_codes == 6, off=rest(20, (VDN, 5)), most=None)  # fmt: skip


# -- words hide a readable code ---------------------------------------------------------------

for _name, _promise, _fault, _short in (
    ("gbk", "descriptions and names in GBK", lies.foreign("gb18030"), "list"),
    ("big5", "the same in Big5, where a trail byte is a backslash", lies.foreign("big5"), ""),
    ("gzip", "gzip that nobody asked for", lies.foreign(coding="gzip"), "list"),
):
    for _kind, _enter in (("list", a_list), ("all", an_emergency)):
        _enter(f"words_{_name}_{_kind}", _promise, count=60, fault=_fault, within_s=20,
               short=_kind == _short)  # fmt: skip
a_list("words_deflate_list", "deflate that nobody asked for", count=60,
       fault=lies.foreign(coding="deflate"), within_s=20)  # fmt: skip
a_list("words_coding_utf8", "Content-Encoding: UTF-8, which is none", count=60,
       fault=lies.foreign(coding="UTF-8"), within_s=20, short=True)  # fmt: skip
an_emergency("words_gbk_gzip_all", "GBK and gzip together", count=60,
             fault=lies.foreign("gb18030", coding="gzip"), within_s=20)  # fmt: skip


def none_accepted(case: Case, seen: Seen) -> None:
    """A strict pattern never tells success; the state does."""
    accepted = [row for row in seen.report.rows if row["evidence"] == "accepted"]
    case.check("none counts as accepted", not accepted, len(accepted))


def in_silence(_world: World, entry: Entry) -> Reply | None:
    """Every pause works and answers an HTML page."""
    if entry.kind == "pause":
        return Reply(200, lies.LOGIN, kind="text/html", effect=True, fault="silent")
    return None


a_list("words_unreadable_puts", "answers to PUTs are in no encoding at all, reads work", count=30,
       fault=lies.during(lies.foreign("gb18030", junk=b"\xff\xff\x80\x81"), kinds=("pause",)),
       most=1.5, check=none_accepted)  # fmt: skip
a_list("words_too_fast", "code 0200022 with HTTP 200 for every third change: throttling, all stop",
       fault=lies.now_and_then(lies.reply(lambda: coded("0200022", "too fast", "throttle")), 0.3),
       count=30, most=1.8)  # fmt: skip
a_list("words_none_lag", "every pause works and answers an HTML page, reads are 3 s behind",
       count=30, fault=in_silence, lag=lies.lagging(3), most=1.5, within_s=40)  # fmt: skip


# -- a failure of the path charged to the object ----------------------------------------------


def verifying(world: World, entry: Entry) -> Reply | None:
    """`default backend` for four seconds after the last PUT."""
    late = sum(world.puts.values()) >= 20
    since_s = max((e.at_s for e in puts(world)), default=0.0)
    return lies.backend(world, entry) if late and entry.at_s < since_s + 4 else None


for _name, _promise, _fault, _enter in (
    ("404_list", "404 `default backend`", lies.backend, a_list),
    ("404_all", "404 `default backend`", lies.backend, an_emergency),
    ("302_list", "a redirect to a login page", lies.elsewhere, a_list),
    ("login_list", "HTTP 200 with a login page", lies.login, a_list),
    ("401_list", "401", lies.http(401), a_list),
):
    _enter(f"path_{_name}", f"4 s of {_promise} from 1 s on", count=200, others=0,
           fault=lies.during(_fault, 1.0, 5.0), short=_name == "404_list",
           more=("--no-verify",) if _enter is a_list else ())  # fmt: skip
a_list("path_404_verify", "404 `default backend` while it is being verified", count=20,
       fault=lies.during(verifying, kinds=("list", "read")), verdict=("complete",))  # fmt: skip


# -- giving up counted, not timed -------------------------------------------------------------

an_emergency("timed_starting_all", "one campaign answers 0200011 for 12 s while it starts",
             fault=lies.starting([FOURTH], 12.0), most=5)  # fmt: skip
a_list("timed_starting_list", "one campaign answers 0200011 for 6 s while it starts",
       fault=lies.starting([FOURTH], 6.0), most=1.4)  # fmt: skip
an_emergency("timed_parameter_all", "one campaign answers 0200001 for 10 s",
             fault=lies.during(only_for(FOURTH, refused), 0.0, 10.0), most=5)  # fmt: skip


# -- looking belongs to every ending: all PUTs are in doubt, the listing knows ------------------


def doubtful(_world: World, entry: Entry) -> Reply | None:
    """Every pause takes effect and answers 0200006."""
    if entry.kind == "pause":
        return coded(DATABASE, "database", "landed", effect=True)
    return None


def hanging(world: World, entry: Entry) -> Reply | None:
    """The first eight pauses take effect and are never answered."""
    if entry.kind == "pause" and sum(world.puts.values()) <= 8:
        return Reply(mode="hang", effect=True, fault="hang")
    return None


def looked(case: Case, seen: Seen) -> None:
    """What is suspended is called stopped."""
    wrong = [
        key
        for key, row in seen.report.by_campaign().items()
        if (there := seen.world.find(*key))
        and there.status == SUSPENDED
        and row["stopped"] != "yes"
    ]
    case.check("what is suspended is called stopped", not wrong, f"{len(wrong)}: {wrong[:4]}")


def looked_at_first(case: Case, seen: Seen) -> None:
    """Unknown is what cannot be read, and nothing else."""
    rows = [row for row in seen.report.rows if row["vdn_id"] == "7"]
    unknown = [row for row in rows if row["outcome"] == "unknown"]
    case.check("VDN 7 was looked at", not unknown, len(unknown))


OPEN: dict[str, Any] = {"count": 20, "fault": doubtful, "off": (), "most": None}
deaf = lies.during(lies.reply(lambda: Reply(mode="hang")), kinds=lies.READS, vdn_id=OTHER)
a_list("ending_deadline", "--deadline with doubts open", more=("--deadline", 3), codes={0, 1},
       within_s=16, check=looked, short=True, **OPEN)  # fmt: skip
a_list("ending_max_failures", "five refusals end it by --max-failures, fifteen are in doubt",
       more=("--max-failures", 3), codes=4, within_s=40, check=looked,
       **OPEN | {"fault": first_of(*(only_for((VDN, n), refused) for n in range(9, 14)),
                                   doubtful)})  # fmt: skip
a_list("ending_patience", "--patience with doubts open", more=("--patience", 3), codes={0, 4},
       within_s=40, check=looked, **OPEN)  # fmt: skip
STOPPED: dict[str, Any] = {
    **OPEN,
    "send": (signal.SIGTERM, 2.5),
    "codes": 143,
    "verdict": ("interrupted",),
}
a_list("ending_sigterm", "SIGTERM with doubts open", short=True, **STOPPED)
a_list("ending_sigterm_breaker", "SIGTERM while the breaker is open",
       **STOPPED | {"send": (signal.SIGTERM, 6.0)})  # fmt: skip
a_list("ending_sigint_hang", "SIGINT with eight requests that are never answered",
       **STOPPED | {"send": (signal.SIGINT, 1.0), "codes": 130, "fault": hanging})  # fmt: skip
a_list("ending_sigterm_one_blind", "SIGTERM with doubts in two VDNs, the listing of one hangs",
       **STOPPED | {"count": 8, "vdns": BOTH, "fault": first_of(doubtful, lies.after_puts(deaf)),
                    "readable": False, "check": looked_at_first})  # fmt: skip


# -- no damping, and stubborn campaigns -------------------------------------------------------

FIRST = (VDN, 1)
no_effect = lies.without_effect([FIRST], 1e9)
an_emergency("damping_no_effect", "accepted without effect for ever: damped, the others stop",
             count=5, fault=no_effect, codes=6, verdict=("still_running",), grace_s=3.0,
             off=rest(5, FIRST), most=None, puts_to={FIRST: 12}, least_s=29,
             within_s=120)  # fmt: skip
an_emergency("damping_restless", "a campaign starts again 1 s after each pause: damped",
             count=5, set_up=lambda server: lies.restless(server, [FIRST], 1.0), codes=6,
             more=("--deadline", 60), grace_s=3.0, off=(), most=None,
             puts_to={FIRST: 15})  # fmt: skip
a_list("damping_list", "accepted without effect for ever: three PUTs at most", count=5,
       fault=lies.without_effect([FIRST], 1e9), codes=1, off=rest(5, FIRST), most=None,
       outcomes={FIRST: "still_running"}, puts_to={FIRST: 3})  # fmt: skip
STUBBORN: dict[str, Any] = {
    "fault": only_for(FIRST, no_database),
    "also": [UNKNOWN],
    "codes": 1,
    "most": None,
}
a_list("stubborn_beside_unknown", "0200006 for ever beside one unknown id: the wait is named",
       count=1, off=(), says="waiting", puts_to={FIRST: 6, UNKNOWN: 1}, within_s=95,
       **STUBBORN)  # fmt: skip
a_list("stubborn_beside_some", "0200006 for ever beside three healthy ones and an unknown id",
       count=4, off=rest(4, FIRST), puts_to={FIRST: 6}, within_s=95, **STUBBORN)  # fmt: skip
for _name, _count, _fault in (
    ("two", 2, no_database),
    ("one", 1, lies.http(503)),
    ("four", 4, lies.reply(lambda: Reply(mode="reset"))),
):
    a_list(f"patience_{_name}", f"--patience 3 binds with {_count}, whose every answer fails",
           count=_count, others=0, fault=_fault, more=("--patience", 3), codes=4, readable=False,
           off=(), most=None, within_s=20, short=_name == "two")  # fmt: skip


def unknown_alone(case: Case, seen: Seen) -> None:
    """0200007 is an answer."""
    codes = [e.code for e in puts(seen.world)]
    case.check("one PUT at most", codes in ([], [MISSING]), codes)


a_list("stubborn_unknown_alone", "an unknown id alone: no wait", count=2, lines=[UNKNOWN], codes=1,
       off=(), most=None, within_s=15, check=unknown_alone, short=True)  # fmt: skip
