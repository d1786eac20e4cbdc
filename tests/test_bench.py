"""The benchmarks' own arithmetic, and the server that they measure against."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from bench import harm, latency, pacer, pacing, paused, scale, startup, throughput
from bench.__main__ import HERE, MEASURES
from bench.figures import Figure, Limits, document, ratios, table, text_of
from bench.profiling import GROUPS, by_group, group_of, syscalls_of
from bench.scale import ids_in_no_order
from bench.server import DATABASE, OK, World
from bench.stage import Form, stage
from orchestrator.simulator.windows import fullest_window

AT_LEAST = Limits(required=0.6, goal=0.75, at_most=False)
AT_MOST = Limits(required=1.8, goal=1.35)


def decoded(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body)
    return found


# -- figures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "worst"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([0.0, 0.5, 0.999], 3, id="within"),
        pytest.param([0.0, 0.5, 1.0], 2, id="half-open"),
        pytest.param([0.0, 0.9, 1.0, 1.1, 3.0], 3, id="across"),
        pytest.param([2.0, 2.0, 2.0], 3, id="at once"),
    ],
)
def test_the_worst_window_is_the_fullest_half_open_one(times: list[float], worst: int) -> None:
    """Requests at 0, 0.5 and 1 s: at most two of them in one second."""
    assert fullest_window(times, 1.0) == worst


@pytest.mark.parametrize(
    ("values", "limits", "verdict"),
    [
        pytest.param((0.75,), AT_LEAST, "goal met", id="on the goal"),
        pytest.param((0.5, 0.61, 0.9), AT_LEAST, "required met", id="the median decides"),
        pytest.param((0.599,), AT_LEAST, "NOT met", id="rounding does not help"),
        pytest.param((1.35,), AT_MOST, "goal met", id="at most, on the goal"),
        pytest.param((1.5,), AT_MOST, "required met", id="at most, between"),
        pytest.param((1.801,), AT_MOST, "NOT met", id="at most, above"),
        pytest.param((3.0,), None, "", id="nothing is asked"),
        pytest.param((), AT_MOST, "", id="not measured"),
    ],
)
def test_a_median_is_held_to_what_is_asked(
    values: tuple[float, ...], limits: Limits | None, verdict: str
) -> None:
    """0.599 is shown as 0.60 and yet does not meet 0.60."""
    assert Figure("f", values, "x", limits).verdict == verdict


def test_ratios_are_formed_round_by_round() -> None:
    """Two rounds, the second on a machine half as fast: the ratio is the same."""
    assert ratios([2.0, 4.0], [4.0, 8.0]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.456, "x", "0.46 x"),
        (98.255, "%", "98.25 %"),
        (1_234.5, "µs", "1,234 µs"),
        (47.52, "MB", "47.5 MB"),
        (2.0, "s", "2.00 s"),
        (50.0, "", "50"),
    ],
)
def test_values_are_shown_with_few_digits_and_their_unit(
    value: float, unit: str, text: str
) -> None:
    """A ratio of 0.456 is shown as 0.46 x."""
    assert text_of(value, unit) == text


def test_a_table_shows_median_spread_limits_and_verdict() -> None:
    """Three rounds with limits, one round without, and what this machine cannot measure."""
    figures = [
        Figure("start", (1.2, 1.5, 1.4), "x", AT_MOST),
        Figure("worst second", (50.0,), ""),
        Figure("curl", (), ""),
    ]

    assert table(figures).splitlines()[2:] == [
        "| start | 1.40 x | 1.20 x … 1.50 x | 3 | ≤ 1.80 x | ≤ 1.35 x | required met |",
        "| worst second | 50 |  | 1 |  |  |  |",
        "| curl | not on this machine |  | 0 |  |  |  |",
    ]


def test_the_document_begins_with_the_machine() -> None:
    """Each measure has a heading with its title."""
    text = document({"system": "Linux"}, {"harm": ("of failures", [Figure("f", (1.0,), "s")])})

    assert "\n- system: Linux\n" in text
    assert "\n## harm: of failures\n" in text


def test_what_is_asked_for_stands_before_everything_else() -> None:
    """The figures that have limits, of all measures, in one table; the others are not in it."""
    figures = [Figure("start", (1.2,), "x", AT_MOST), Figure("wall", (3.0,), "s")]

    text = document({}, {"startup": ("of a process", figures)})

    first, second = text.split("\n## ")[1:]
    assert "| startup: start | 1.20 x |" in first
    assert "goal met" in first
    assert "wall" not in first
    assert second.startswith("startup: of a process")


def test_a_figure_in_the_json_says_what_the_table_says() -> None:
    """With every round's value."""
    assert Figure("start", (1.2, 1.4), "x", AT_MOST).document() == {
        "name": "start",
        "unit": "x",
        "median": pytest.approx(1.3),
        "values": [1.2, 1.4],
        "required": 1.8,
        "goal": 1.35,
        "at_most": True,
        "verdict": "goal met",
    }


def test_the_limits_are_those_that_were_set() -> None:
    """The table of goals that the benchmarks were built for, number by number."""
    assert Limits(0.60, 0.75, at_most=False) == throughput.CPU_LIMITS
    assert Limits(0.97, 0.99, at_most=False) == latency.LIMITS
    assert Limits(98.0, 99.5, at_most=False) == pacing.SHARE_LIMITS
    assert Limits(1.8, 1.35) == startup.LIMITS
    assert paused.limits(0.0) == Limits(2.0, 1.0)
    assert paused.limits(100.0).required == pytest.approx(112.0)
    assert paused.limits(100.0).goal == pytest.approx(104.0)
    assert Limits(120.0, 80.0) == scale.RUN_MB_LIMITS
    assert Limits(200.0, 100.0) == scale.PLANNED_MB_LIMITS
    assert Limits(12.0, 4.0) == scale.PLAN_LIMITS


def test_every_measure_stands_in_the_readme() -> None:
    """By the name that `./do bench` takes."""
    text = (HERE / "README.md").read_text(encoding="utf-8")

    assert [name for name in MEASURES if f"| `{name}` |" not in text] == []
    assert set(MEASURES.values()) == {
        *(harm, latency, pacer, pacing, paused, scale, startup, throughput)
    }


def test_the_long_list_repeats_one_line_in_a_hundred() -> None:
    """Of 1,000 lines the last ten repeat the first ten; ids come in no order."""
    ids = list(ids_in_no_order(1_000))

    assert len(set(ids)) == 990
    assert ids[990:] == ids[:10]
    assert ids[:990] != sorted(ids[:990])


# -- the profile --------------------------------------------------------------------------------


def test_a_built_in_function_belongs_to_its_caller() -> None:
    """`len`, called by the signing and by the journal's thread, is no group of its own."""
    signing, journal = "/x/orchestrator/core/signing.py", "/x/orchestrator/edges/journal/fold.py"
    functions = [
        {"thread": "main", "file": signing, "own_s": 1.0, "callers": {}},
        {"thread": "main", "file": "~", "own_s": 0.5, "callers": {signing: 0.5}},
        {"thread": "journal", "file": "~", "own_s": 0.25, "callers": {journal: 0.25}},
    ]

    found = {name: both for name, both in by_group(functions).items() if any(both)}

    assert found == {"signing": [1.5, 0.0], "journal": [0.0, 0.25]}


@pytest.mark.parametrize(
    ("file", "group"),
    [
        ("/x/orchestrator/run/settle_one.py", "one campaign"),
        ("/x/orchestrator/core/verdict.py", "judgement"),
        ("/x/orchestrator/cli/main.py", "rest of the product"),
        ("/x/site-packages/aiohttp/client.py", "aiohttp, yarl"),
        ("/usr/lib/python3/asyncio/events.py", "asyncio and TLS"),
        ("<frozen importlib._bootstrap>", "importing"),
        ("/usr/lib/python3/bisect.py", "rest"),
    ],
)
def test_every_file_has_one_group(file: str, group: str) -> None:
    """The first pattern that fits; the last one fits everything."""
    assert group_of(file) == group
    assert group in dict(GROUPS)


def test_system_calls_are_read_from_strace() -> None:
    """With and without the column of errors; the total is left out."""
    report = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.05    0.004096           2      1501        12 sendto
 38.95    0.002613           1      1344           getpid
------ ----------- ----------- --------- --------- ----------------
100.00    0.006709           2      2845        12 total
"""

    assert syscalls_of(report) == {"sendto": 1501, "getpid": 1344}


# -- the server ---------------------------------------------------------------------------------


def test_a_campaign_is_stopped_once_however_often_it_is_paused() -> None:
    """Two PUTs for campaign 7: two requests, one stopped."""
    world = World(campaigns=10)

    answers = [world.pause(7, now_ns) for now_ns in (1_000, 2_000)]

    assert answers == [OK, OK]
    assert (world.puts, world.stopped_count, world.last_stopped[0]) == (2, 1, 1_000)


def test_a_stubborn_campaign_fails_for_ever() -> None:
    """Of 200 campaigns one in a hundred: 100 and 200."""
    world = World(campaigns=200, stubborn=0.01)

    answers = {number: {world.pause(number, 1) for _ in range(9)} for number in range(1, 201)}

    assert [number for number, found in answers.items() if DATABASE in found] == [100, 200]
    assert answers[100] == {DATABASE}


def test_failures_fall_like_chance_and_alike_for_every_client() -> None:
    """Of 20,000 first tries 20 % fail, and of the second tries of those 20 % again."""
    world, again = World(campaigns=20_000, failing=0.2), World(campaigns=20_000, failing=0.2)
    ids = range(1, 20_001)

    failed = [number for number in ids if world.fails(number, 0)]
    twice = [number for number in failed if world.fails(number, 1)]

    assert len(failed) == pytest.approx(4_000, rel=0.05)
    assert len(twice) == pytest.approx(800, rel=0.15)
    assert failed == [number for number in ids if again.fails(number, 0)]


def test_work_waits_until_all_but_those_in_hand_have_been_tried() -> None:
    """Ten campaigns, two in hand: the eighth one's PUT is the last while work waits."""
    world = World(campaigns=10, held=2)

    for number in range(1, 11):
        world.pause(number, now_ns=number)

    assert world.last_waiting[0] == 8


def test_a_listing_shows_what_runs_and_a_listing_of_all_shows_everything() -> None:
    """Of 150 campaigns two are stopped: 148 are started, and page 2 of all has 50 rows."""
    world = World(campaigns=150)
    world.pause(1, 1)
    world.pause(150, 2)

    started = decoded(world.page("curPage=2&deviceType=0&rowsPerPage=100&status=2"))
    everything = decoded(world.page("curPage=2&deviceType=0&rowsPerPage=100&status=0"))

    assert (started["totalSize"], len(started["data"])) == (148, 48)
    assert (everything["totalSize"], len(everything["data"])) == (150, 50)
    assert everything["data"][-1]["status"] == 3
    assert decoded(world.details(2))["returnObject"]["status"] == 2


@pytest.mark.sockets
def test_the_server_counts_what_it_answers_and_forgets_on_request() -> None:
    """Over http: two PUTs on a connection that ends with its second answer, and a listing."""
    path = "/rest/isales/v1/openapi/campaigns/1"
    with stage() as made, made.server(tls=False, campaigns=3, lifetime=2) as server:
        connection = http.client.HTTPConnection(server.base_url.removeprefix("http://"))
        answers = []
        for number in (1, 2):
            connection.request("PUT", f"{path}/{number}/pause")
            answer = connection.getresponse()
            answers.append((decoded(answer.read())["resultCode"], answer.getheader("connection")))
        connection.request("GET", f"{path}?curPage=1&status=2")
        listed = decoded(connection.getresponse().read())
        connection.close()
        seen = server.seen()
        server.reset()
        forgotten = server.seen()

    assert answers == [("0200000", None), ("0200000", "close")]
    assert [row["id"] for row in listed["data"]] == [3]
    assert (seen["requests"], seen["puts"], seen["stopped"]) == (3, 2, 2)
    assert seen["first_put_s"] <= seen["last_put_s"]
    assert (forgotten["requests"], forgotten["stopped"]) == (0, 0)


@pytest.mark.sockets
def test_a_program_that_fails_is_told_and_not_measured() -> None:
    """A reference without arguments ends with its own last words."""
    with stage() as made, pytest.raises(RuntimeError, match="ValueError"):
        made.run("bench.references.lone_put")


def test_the_quick_form_takes_the_small_numbers() -> None:
    """And the usual one the usual ones."""
    assert Form(quick=True).pick(usual=20_000, quick=2_000) == 2_000
    assert Form().pick(usual=20_000, quick=2_000) == 20_000
