"""Issue 12: what a proof may rest on, each kind as it was found and in variants that were not.

Tables of what a server shows and what must come of it; evidence.py plays and judges a row.
Answers to changes, endings and stubborn campaigns: scenarios_answers.py; what is killed, restored
or cut in place: scenarios_kills.py. `short=True` marks one of each kind that ends in 15 seconds.
"""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable

from tests.acceptance import lies
from tests.acceptance.case import Case, lists, puts
from tests.acceptance.evidence import (
    OTHER,
    VDN,
    Seen,
    a_list,
    an_emergency,
    every,
    keys_of,
    running,
    truth,
)
from tests.acceptance.registry import variant
from tests.acceptance.server import Server
from tests.acceptance.world import (
    OK,
    STARTED,
    SUSPENDED,
    Entry,
    Fault,
    Reply,
    World,
    first_of,
    listing,
)

BOTH = (VDN, OTHER)
THIRD, FOURTH = (VDN, 3), (VDN, 4)
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


def slow(until_s: float) -> Fault:
    """One campaign of VDN 8 answers 0200006 until then."""
    return lies.during(lies.only_for((OTHER, 5), lies.no_database), 0.0, until_s)


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
    ended = case.pause(server, keys, rate=10).wait(200)  # the first look comes after 1 s
    report = truth(case, ended, world)
    left = world.with_status(STARTED)
    case.exits(ended, 1 if left else 0)
    told = {key: report.of(*key).get("outcome") for key in keys[:2]}
    wanted = {key: "still_running" if key in left else "paused" for key in keys[:2]}
    case.equal("still_running says what runs", told, wanted)
    case.check("the others are paused", report.counts()["paused"] >= 8, report.counts())


variant(12, "last_put_restless", "two campaigns start again 0.3 s after each pause, for ever",
        restless_list, 0.3, 1e9)  # fmt: skip
variant(12, "last_put_twice", "two campaigns start again once, and once more after the second PUT",
        restless_list, 0.4, 2)  # fmt: skip


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
