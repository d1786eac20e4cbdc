"""Issue 12: what an answer to one change may decide, what every ending owes, what is damped.

Tables as in scenarios_evidence.py.
"""

import signal
from typing import Any

from tests.acceptance import lies
from tests.acceptance.case import Case, puts
from tests.acceptance.evidence import (
    OTHER,
    VDN,
    Seen,
    a_list,
    an_emergency,
    rest,
)
from tests.acceptance.world import (
    DATABASE,
    MISSING,
    OK,
    SUSPENDED,
    Entry,
    Fault,
    Reply,
    World,
    coded,
    first_of,
)

BOTH = (VDN, OTHER)
FOURTH = (VDN, 4)
UNKNOWN = (VDN, 9_999_999)

# -- one answer about one thing ends the whole ------------------------------------------------

a_list("one_403_list", "one campaign of 40 gets 403 from a firewall, always: the others stop",
       count=40, fault=lies.only_for(FOURTH, lies.waf), codes=1, off=rest(40, FOURTH), most=None,
       outcomes={FOURTH: "denied"}, short=True)  # fmt: skip
a_list("one_403_now_and_then", "a firewall's 403 for every eighth change", count=60,
       fault=lies.now_and_then(lies.waf, 0.125), most=1.4)  # fmt: skip
a_list("one_401_once", "401 once, in the middle: a failed attempt, all stop", count=40,
       fault=lies.only_for((VDN, 21), lies.http(401), 2))  # fmt: skip
a_list("one_403_vdn", "one of two VDNs answers 403 to everything: the other stops", count=15,
       vdns=BOTH, fault=lies.during(lies.waf, vdn_id=OTHER), codes=1, readable=False,
       off=rest(15), most=None)  # fmt: skip
an_emergency("one_403_first", "a firewall's 403 for the first four seconds",
             fault=lies.during(lies.waf, 0.0, 4.0), short=True)  # fmt: skip
an_emergency("one_403_emergency", "one campaign answers 403 for 12 s: not given up by a count",
             fault=lies.during(lies.only_for(FOURTH, lies.waf), 0.0, 12.0), most=5)  # fmt: skip
an_emergency("one_403_emergency_ever", "one campaign answers 403 for ever: the others stop",
             fault=lies.only_for(FOURTH, lies.waf), codes=6, off=rest(10, FOURTH), most=None,
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
             fault=lies.during(lies.only_for(FOURTH, lies.refused), 0.0, 10.0), most=5)  # fmt: skip


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
       **OPEN | {"fault": first_of(*(lies.only_for((VDN, n), lies.refused) for n in range(9, 14)),
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
    "fault": lies.only_for(FIRST, lies.no_database),
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
    ("two", 2, lies.no_database),
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
