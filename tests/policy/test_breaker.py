"""The breaker's table, row by row, and the laws that no order of events breaks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.policy.breaker import Breaker, Hold, Pass

BASE_S = 0.2
CAP_S = 10.0
PATIENCE_S = 1800.0
OPENED_S = 100.0


def make_breaker(*, patience_s: float = PATIENCE_S, cap_s: float = CAP_S) -> Breaker:
    return Breaker(probe_base_s=BASE_S, probe_cap_s=cap_s, patience_s=patience_s)


def opened(*, patience_s: float = PATIENCE_S, cap_s: float = CAP_S) -> Breaker:
    """A breaker that five different campaigns have opened at 100 s: first probe at 100.1 s."""
    breaker = make_breaker(patience_s=patience_s, cap_s=cap_s)
    for ref in range(5):
        breaker.record_failure(ref=ref, now_s=OPENED_S, campaign_specific=False)
    return breaker


def probing() -> Breaker:
    """The same, its probe sent at 101 s for campaign 7."""
    breaker = opened()
    assert breaker.may_pass(now_s=101, ref=7) is Pass.PROBE
    return breaker


def held_s(breaker: Breaker, *, now_s: float) -> float:
    """For how long an asker is held; it must be held."""
    hold = breaker.may_pass(now_s=now_s, ref=99)
    assert isinstance(hold, Hold)
    return hold.wait_s


# -------------------------------------------------------------------------------------- closed


def test_five_different_campaigns_in_a_row_open_it() -> None:
    """Four do not; the fifth does, once, at its own time [S24]."""
    breaker = make_breaker()

    for ref in range(4):
        breaker.record_failure(ref=ref, now_s=ref, campaign_specific=False)
    assert not breaker.is_open
    breaker.record_failure(ref="fifth", now_s=4, campaign_specific=False)

    assert breaker.is_open
    assert breaker.opened_since_s == 4


def test_it_knows_whether_the_newest_answers_were_failures() -> None:
    """From the first failure to the next success, open or not."""
    breaker = make_breaker()
    assert not breaker.is_failing
    breaker.record_failure(ref=1, now_s=0.0, campaign_specific=False)
    assert (breaker.is_failing, breaker.is_open) == (True, False)
    breaker.record_success(now_s=1.0)
    assert not breaker.is_failing
    assert opened().is_failing


def test_one_stubborn_campaign_never_opens_it() -> None:
    """A thousand failures of four campaigns are four in the row."""
    breaker = make_breaker()

    for n in range(1000):
        breaker.record_failure(ref=n % 4, now_s=n, campaign_specific=False)

    assert breaker.may_pass(now_s=1000, ref=5) is Pass.GO


def test_a_useful_answer_empties_the_row() -> None:
    """Four failures, one useful answer, four failures: nobody waits."""
    breaker = make_breaker()

    for ref in (1, 2, 3, 4, None, 5, 6, 7, 8):
        if ref is None:
            breaker.record_success(now_s=0)
        else:
            breaker.record_failure(ref=ref, now_s=0, campaign_specific=False)

    assert not breaker.is_open


def test_explained_failures_do_not_count() -> None:
    """Fifty stubborn campaigns among working ones are no outage [S13]."""
    breaker = make_breaker()

    for ref in range(50):
        breaker.record_failure(ref=ref, now_s=ref, campaign_specific=True)

    assert not breaker.is_open


def test_an_outage_opens_it_at_once() -> None:
    """A 401 after accepted requests needs no row of five [S17]."""
    breaker = make_breaker()

    breaker.outage(now_s=3)

    assert held_s(breaker, now_s=3) == pytest.approx(0.1)
    assert breaker.opened_since_s == 3


# ---------------------------------------------------------------------------------------- open


def test_an_open_breaker_holds_until_the_probe_is_due() -> None:
    """The first probe is due the middle of 0.2 s after it opened."""
    breaker = opened()

    assert held_s(breaker, now_s=100) == pytest.approx(0.1)
    assert held_s(breaker, now_s=100.04) == pytest.approx(0.06)
    assert breaker.may_pass(now_s=100.2, ref=1) is Pass.PROBE


def test_failures_from_before_it_opened_count_no_second_time() -> None:
    """Those that were in flight fail too: no second opening, no failed probe, no longer spacing."""
    breaker = opened()

    for ref in range(5, 50):
        breaker.record_failure(ref=ref, now_s=100.05, campaign_specific=False)
    breaker.outage(now_s=100.05)
    breaker.probe_cancelled(now_s=100.05)

    assert breaker.opened_since_s == OPENED_S
    assert held_s(breaker, now_s=100.05) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("cap_s", "spacings_s"),
    [
        (10.0, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]),
        (1.0, [0.1, 0.2, 0.4, 0.5, 0.5]),
        (0.1, [0.05, 0.05]),
    ],
)
def test_probes_are_spaced_from_base_to_cap(cap_s: float, spacings_s: list[float]) -> None:
    """Each failed probe doubles the wait for the next, up to the middle of the cap [S24]."""
    breaker = opened(cap_s=cap_s)
    now_s = OPENED_S
    seen_s = []

    for _ in spacings_s:
        seen_s.append(held_s(breaker, now_s=now_s))
        now_s += seen_s[-1] + 1e-9
        assert breaker.may_pass(now_s=now_s, ref=7) is Pass.PROBE
        now_s += 3
        breaker.record_failure(ref=7, now_s=now_s, campaign_specific=False)

    assert seen_s == pytest.approx(spacings_s)


def test_spacing_stays_finite_for_ever() -> None:
    """Ten thousand failed probes: still half the cap [P36]."""
    breaker = opened(patience_s=1e9)
    now_s = OPENED_S

    for _ in range(10_000):
        now_s += 6
        assert breaker.may_pass(now_s=now_s, ref=1) is Pass.PROBE
        breaker.record_failure(ref=1, now_s=now_s, campaign_specific=False)

    assert held_s(breaker, now_s=now_s) == CAP_S / 2


def test_a_breaker_that_opens_again_begins_with_the_short_spacing() -> None:
    """What an earlier outage taught is forgotten with it; the row begins anew."""
    breaker = probing()
    breaker.record_failure(ref=7, now_s=102, campaign_specific=False)
    breaker.record_success(now_s=103)

    for ref in range(4):
        breaker.record_failure(ref=ref, now_s=104, campaign_specific=False)
    assert not breaker.is_open
    breaker.record_failure(ref=4, now_s=104, campaign_specific=False)

    assert held_s(breaker, now_s=104) == pytest.approx(0.1)


# ------------------------------------------------------------------------------------- probing


def test_an_explained_failure_of_a_probe_is_a_failed_probe() -> None:
    """Nothing explains a failure while the server gives no useful answer."""
    breaker = probing()

    breaker.record_failure(ref=7, now_s=116, campaign_specific=True)

    assert held_s(breaker, now_s=116) == pytest.approx(0.2)


def test_the_failure_of_another_is_not_the_probes() -> None:
    """Those still in flight from before it opened free no second probe, nor does an outage."""
    breaker = probing()

    for ref in (0, 1, 2, 3, 4, 8, 9):
        breaker.record_failure(ref=ref, now_s=101.5, campaign_specific=False)
    breaker.outage(now_s=101.5)

    assert [held_s(breaker, now_s=now_s) for now_s in (102, 200)] == [CAP_S / 2] * 2


def test_a_cancelled_probe_makes_room_for_the_next_after_the_same_spacing() -> None:
    """It says nothing of the server: not counted as failed, the spacing no longer, yet kept."""
    breaker = probing()

    breaker.probe_cancelled(now_s=102)

    assert held_s(breaker, now_s=102) == pytest.approx(0.1)
    assert breaker.may_pass(now_s=102.2, ref=1) is Pass.PROBE


# ------------------------------------------------------------------------------------ patience


def test_patience_ends_with_a_failed_probe() -> None:
    """Open for 1,800 s, and the probe that was due has failed: now, not before."""
    breaker = opened()

    assert not breaker.out_of_patience(1899.9)
    assert breaker.may_pass(now_s=1899.9, ref=1) is Pass.PROBE
    assert not breaker.out_of_patience(1905)
    breaker.record_failure(ref=1, now_s=1905, campaign_specific=False)

    assert breaker.out_of_patience(1905)


def test_a_machine_that_slept_asks_before_it_gives_up() -> None:
    """Stopped for an hour while open: the first asker is the probe, the others still wait [P12]."""
    breaker = opened()
    woken_s = OPENED_S + 3600

    assert not breaker.out_of_patience(woken_s)
    assert breaker.may_pass(now_s=woken_s, ref=1) is Pass.PROBE
    assert not breaker.out_of_patience(woken_s)
    breaker.record_success(now_s=woken_s + 0.1)

    assert breaker.may_pass(now_s=woken_s + 0.1, ref=1) is Pass.GO
    assert not breaker.out_of_patience(woken_s + 0.1)


def test_a_closed_breaker_has_all_the_patience() -> None:
    """Patience is about an outage, not about time."""
    assert not make_breaker().out_of_patience(1e9)


def test_a_hold_ends_no_later_than_patience() -> None:
    """The next probe is 0.2 s away, patience 0.05 s: asked again in 0.05 s; then as usual."""
    breaker = opened(patience_s=2.05)
    assert breaker.may_pass(now_s=102, ref=1) is Pass.PROBE

    assert held_s(breaker, now_s=102) == pytest.approx(0.05)
    breaker.record_failure(ref=1, now_s=102, campaign_specific=False)
    assert held_s(breaker, now_s=102) == pytest.approx(0.05)
    assert held_s(breaker, now_s=102.1) == pytest.approx(0.1)
    assert breaker.out_of_patience(102.1)


# ---------------------------------------------------------------------------------------- laws

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "useful", "useless", "explained", "outage", "cancel"]),
        st.integers(0, 7),
        st.floats(0, 20),
    ),
    max_size=120,
)


@given(events=EVENTS)
def test_no_order_of_events_breaks_the_laws(events: list[tuple[str, int, float]]) -> None:
    """One probe at a time, spaced from the last one's end; GO only when closed; finite holds."""
    breaker = make_breaker()
    now_s = 0.0
    probe: int | None = None
    probe_ended_s = -1e9
    for kind, ref, later_s in events:
        now_s += later_s
        match kind:
            case "ask":
                passed = breaker.may_pass(now_s=now_s, ref=ref)
                assert (passed is Pass.GO) is not breaker.is_open
                if passed is Pass.PROBE:
                    assert probe is None
                    assert now_s - probe_ended_s >= BASE_S / 2 - 1e-9
                    probe = ref
                elif isinstance(passed, Hold):
                    assert 0 < passed.wait_s <= CAP_S / 2
            case "useful":
                breaker.record_success(now_s=now_s)
                assert not breaker.is_open
                probe = None
            case "useless" | "explained":
                was_open = breaker.is_open
                breaker.record_failure(ref=ref, now_s=now_s, campaign_specific=kind == "explained")
                assert breaker.is_open or not was_open
                if ref == probe:
                    probe, probe_ended_s = None, now_s
            case "outage":
                breaker.outage(now_s=now_s)
                assert breaker.is_open
            case _:
                breaker.probe_cancelled(now_s=now_s)
                if probe is not None:
                    probe, probe_ended_s = None, now_s
        assert (breaker.opened_since_s is not None) is breaker.is_open


def test_a_renewed_one_is_closed_and_behaves_alike() -> None:
    """Open, probed and failed before: the new one opens by as many, and asks at the same times."""
    old = opened()
    old.may_pass(now_s=OPENED_S + CAP_S, ref=1)
    old.record_failure(ref=1, now_s=OPENED_S + CAP_S, campaign_specific=False)

    new = old.renewed()

    assert old.is_open
    assert new.may_pass(now_s=OPENED_S, ref=1) is Pass.GO
    for ref in range(5):
        new.record_failure(ref=ref, now_s=OPENED_S, campaign_specific=False)
    assert held_s(new, now_s=OPENED_S) == pytest.approx(0.1)
    assert new.patience_s == PATIENCE_S


@pytest.mark.parametrize(
    ("base_s", "cap_s", "patience_s"),
    [(0.0, 1.0, 1.0), (float("nan"), 1.0, 1.0), (1.0, float("inf"), 1.0), (1.0, 1.0, -1.0)],
)
def test_senseless_settings_are_refused(base_s: float, cap_s: float, patience_s: float) -> None:
    """Zero spacing, no cap, negative patience."""
    with pytest.raises(AssertionError):
        Breaker(probe_base_s=base_s, probe_cap_s=cap_s, patience_s=patience_s)
