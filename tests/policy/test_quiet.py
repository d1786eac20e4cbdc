"""When a VDN may be called quiet, how old listings are, and when a campaign is given up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model import CampaignRef, Status
from orchestrator.policy.quiet import (
    GAP_S,
    Effect,
    LagMeter,
    Pass,
    QuietProof,
    Tries,
    gap_between_s,
    is_whole_due,
)

REF = CampaignRef(1, 7)
OTHER = CampaignRef(1, 8)


def seen(
    began_s: float,
    *,
    lasted_s: float = 0.0,
    started: int = 0,
    complete: bool = True,
    whole: bool = True,
    whole_failed: bool = False,
) -> Pass:
    """One pass over both listings, clean unless told otherwise."""
    ended_s = began_s + lasted_s
    return Pass(
        began_s=began_s,
        began_ms=round(began_s * 1000),
        ended_s=ended_s,
        ended_ms=round(ended_s * 1000),
        complete=complete,
        whole=whole,
        started=started,
        whole_failed=whole_failed,
    )


def after(*passes: Pass, is_large: bool = False) -> QuietProof:
    """A proof that has taken these passes."""
    proof = QuietProof(is_large=is_large)
    for one in passes:
        proof.take(one)
    return proof


# -- the proof --------------------------------------------------------------------------------

#: the unfiltered listing is short, the filtered one shows nothing
UNBELIEVED = seen(11, complete=False, whole=False, whole_failed=True)

PROOFS = [
    ((seen(0, lasted_s=2), seen(7)), True),
    # too close; the gap runs from the end of one to the start of the other
    ((seen(0, lasted_s=2), seen(6.9, lasted_s=9)), False),
    # an incomplete one proves nothing
    ((seen(0, complete=False), seen(5)), False),
    ((seen(0), seen(2, complete=False), seen(5)), True),
    # something started in between, whether or not the pass that shows it is complete
    ((seen(0), seen(3, started=1, complete=False), seen(5)), False),
    # docs/spec/evidence.md, rule 1: it was quiet; then every listing is short, or fails
    ((seen(0), seen(5), seen(11, complete=False)), False),
    ((seen(0), seen(5), seen(11, complete=False), seen(12)), True),
    ((seen(0), seen(5), seen(14, started=1), seen(15)), False),
    # docs/spec/evidence.md, rule 2: the filtered listing alone does not prove anything
    ((seen(0), seen(5, whole=False)), False),
    ((seen(0, whole=False), seen(5)), False),
    # … and refreshes what is proven by both
    ((seen(0), seen(5), seen(15, whole=False)), True),
    # … but not while the unfiltered listing, when last read, was not to be believed
    ((seen(0), seen(5), UNBELIEVED, seen(15, whole=False), seen(16, whole=False)), False),
    ((seen(0), seen(5), UNBELIEVED, seen(15), seen(16, whole=False)), True),
]


@pytest.mark.parametrize(("passes", "quiet"), PROOFS)
def test_quiet_is_two_clean_passes_a_gap_apart_and_a_clean_newest_one(
    passes: tuple[Pass, ...], *, quiet: bool
) -> None:
    """The examples of docs/spec/evidence.md, rules 1 and 2: proofs expire, sources disagree."""
    assert after(*passes).is_quiet(GAP_S) is quiet


LARGE = [
    # in a large VDN the first pass may do without the unfiltered listing, the second may not
    ((seen(0, whole=False), seen(5)), True),
    ((seen(0), seen(5, whole=False)), False),
    ((seen(0, whole=False), seen(5, whole=False), seen(6)), True),
    # its unfiltered listing is read now and then, and the report says when it was last complete
    ((seen(0, whole=False), seen(5), UNBELIEVED, seen(15, whole=False)), True),
]


@pytest.mark.parametrize(("passes", "quiet"), LARGE)
def test_a_large_vdn_needs_both_listings_in_the_second_pass(
    passes: tuple[Pass, ...], *, quiet: bool
) -> None:
    """Over 20 pages: filtered, then both."""
    assert after(*passes, is_large=True).is_quiet(GAP_S) is quiet


@dataclass(frozen=True)
class Moment:
    """What happens some time after the last moment: a pass, or a PUT."""

    later_s: float
    lasted_s: float
    started: int
    complete: bool
    whole: bool
    whole_failed: bool
    put: bool


MOMENTS = st.lists(
    st.builds(
        Moment,
        later_s=st.floats(0, 10).map(lambda one: round(one, 1)),
        lasted_s=st.sampled_from([0.0, 0.5, 3.0]),
        started=st.sampled_from([0, 0, 0, 0, 1]),
        complete=st.sampled_from([True, True, True, False]),
        whole=st.booleans(),
        whole_failed=st.sampled_from([False, False, True]),
        put=st.sampled_from([False, False, False, False, True]),
    ),
    max_size=10,
)
GAPS = st.sampled_from([5.0, 8.0, 20.0])


def is_proven(happened: list[Pass | None], *, gap_s: float, is_large: bool) -> bool:
    """Design.md §8 rule 1 again, slowly: every pair of passes is tried; None is a PUT."""
    passes = [one for one in happened if one is not None]
    if not passes or not (passes[-1].complete and passes[-1].started == 0):
        return False
    unfiltered = [one for one in passes if one.whole or one.whole_failed]
    if unfiltered and unfiltered[-1].whole_failed and not is_large:
        return False
    for first, one in enumerate(happened):
        for second, other in enumerate(happened[first + 1 :], start=first + 1):
            if one is None or other is None or not (one.complete and other.complete):
                continue
            undisturbed = all(
                between is not None and between.started == 0 for between in happened[first:]
            )
            both = other.whole and (one.whole or is_large)
            if undisturbed and both and other.began_s >= one.ended_s + gap_s:
                assert second > first
                return True
    return False


@settings(max_examples=150)
@given(moments=MOMENTS, gap_s=GAPS, is_large=st.booleans())
def test_quiet_is_never_said_unless_a_naive_reading_of_the_rule_says_so(
    moments: list[Moment], gap_s: float, *, is_large: bool
) -> None:
    """Any course of passes and PUTs, after each of them: neither a false quiet nor a missed one."""
    proof = QuietProof(is_large=is_large)
    happened: list[Pass | None] = []
    now_s = 0.0
    for one in moments:
        now_s += one.later_s
        if one.put:
            proof.disturb()
            happened.append(None)
        else:
            made = seen(
                now_s,
                lasted_s=one.lasted_s,
                started=one.started,
                complete=one.complete,
                whole=one.whole,
                whole_failed=one.whole_failed and not one.whole,
            )
            proof.take(made)
            happened.append(made)
            now_s = made.ended_s
        assert proof.is_quiet(gap_s) is is_proven(happened, gap_s=gap_s, is_large=is_large)


@settings(max_examples=100)
@given(
    moments=MOMENTS,
    gap_s=GAPS,
    is_large=st.booleans(),
    later_s=st.floats(0, 20, allow_subnormal=False),
    early_s=st.floats(0, 0.005),
)
def test_who_waits_and_reads_as_told_has_a_proof_after_two_clean_passes(
    moments: list[Moment], gap_s: float, *, is_large: bool, later_s: float, early_s: float
) -> None:
    """Whatever came before, and though the timer fires a hair early: two passes, and no third."""
    proof = QuietProof(is_large=is_large)
    now_s = 0.0
    for one in moments:
        now_s += one.later_s
        if one.put:
            proof.disturb()
        else:
            proof.take(seen(now_s, started=one.started, complete=one.complete, whole=one.whole))

    now_s += later_s
    for _ in range(2):
        wait_s = proof.next_pass_s(gap_s=gap_s, now_s=now_s)
        assert 0.0 <= wait_s <= gap_s + 0.02
        now_s += max(0.0, wait_s - early_s)
        proof.take(seen(now_s, whole=proof.needs_whole(gap_s)))

    assert proof.is_quiet(gap_s)
    assert not proof.needs_whole(gap_s)


def test_the_first_pass_over_a_large_vdn_reads_the_filtered_listing_only() -> None:
    """200 pages are read once for a proof, not twice; a small VDN is read whole both times."""
    large, small = QuietProof(is_large=True), QuietProof()

    assert (large.needs_whole(5.0), small.needs_whole(5.0)) == (False, True)
    large.take(seen(0, whole=False))
    small.take(seen(0))
    assert (large.needs_whole(5.0), small.needs_whole(5.0)) == (True, True)
    large.take(seen(5))
    small.take(seen(5))
    assert (large.needs_whole(5.0), small.needs_whole(5.0)) == (False, False)


def test_the_longest_time_between_two_clean_looks_is_kept() -> None:
    """From end to end, over what was not clean in between: what a hold names."""
    proof = after(
        seen(0, lasted_s=1), seen(5, lasted_s=1), seen(9, complete=False), seen(16, lasted_s=2)
    )

    assert proof.longest_gap_s == 12.0
    assert after(seen(3)).longest_gap_s == 0.0


# -- the gap and the listings -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen_s", "earlier_s", "gap_s"),
    [
        (0, 0, 5.0),
        (8, 20, 20.0),
        (21, 20, 21.0),
        (500, 0, 60.0),
    ],
)
def test_the_gap_is_the_largest_lag_between_5_and_60_seconds(
    seen_s: float, earlier_s: float, gap_s: float
) -> None:
    """This run's lag, or an earlier run's against the same server."""
    assert gap_between_s(seen_s=seen_s, earlier_s=earlier_s) == gap_s


@pytest.mark.parametrize(
    ("is_large", "age_s", "pages", "rate_per_s", "due"),
    [
        # a small VDN: as soon as a third of the rate allows
        (False, 0.0, 0, 10.0, True),
        (False, 0.2, 1, 10.0, False),
        (False, 0.31, 1, 10.0, True),
        # a large one: every 60 s, or as often as a third of the rate allows
        (True, 59.9, 21, 10.0, False),
        (True, 60.0, 21, 10.0, True),
        (True, 60.0, 400, 10.0, False),
        (True, math.inf, 10_000, 10.0, True),
    ],
)
def test_the_unfiltered_listing_is_repeated_as_often_as_it_is_affordable(
    *, is_large: bool, age_s: float, pages: int, rate_per_s: float, due: bool
) -> None:
    """Twenty pages and less with every look that can pay for them; more every 60 s at most."""
    assert due is is_whole_due(is_large=is_large, age_s=age_s, pages=pages, rate_per_s=rate_per_s)


# -- the lag ----------------------------------------------------------------------------------


def look(
    meter: LagMeter,
    began_s: float,
    *started: CampaignRef,
    ended_s: float | None = None,
    complete: bool = True,
) -> float:
    """Let the meter take in a look at both campaigns; what it says then."""
    meter.look(
        (REF, OTHER),
        started=started,
        complete=complete,
        began_s=began_s,
        ended_s=began_s if ended_s is None else ended_s,
    )
    return meter.lag_s


def test_a_lag_runs_from_the_acceptance_to_the_first_look_that_does_not_show_it() -> None:
    """Accepted at 10, shown started at 12 and 15, not at 19: 9 s, and no more later."""
    meter = LagMeter()
    meter.accepted(REF, at_s=10.0)

    assert [look(meter, 12.0, REF), look(meter, 15.0, REF), look(meter, 19.0)] == [2.0, 5.0, 9.0]
    assert [look(meter, 30.0), look(meter, 40.0, REF)] == [9.0, 9.0]


def test_where_listings_are_fresh_no_lag_is_seen() -> None:
    """The first look shows it at rest: how long we waited with it says nothing."""
    meter = LagMeter()
    meter.accepted(REF, at_s=10.0)

    assert [look(meter, 40.0), look(meter, 50.0)] == [0.0, 0.0]


def test_a_look_that_began_before_the_acceptance_says_nothing() -> None:
    """A page that was asked for at 9 may show what was stopped at 10."""
    meter = LagMeter()
    meter.accepted(REF, at_s=10.0)

    assert look(meter, 9.0, REF, ended_s=14.0) == 0.0
    assert look(meter, 15.0) == 0.0


def test_what_an_incomplete_look_does_not_show_is_not_at_rest() -> None:
    """The missing page may have had it; what it does show as started is started."""
    meter = LagMeter()
    meter.accepted(REF, at_s=10.0)

    assert look(meter, 12.0, REF, complete=False) == 2.0
    assert look(meter, 13.0, complete=False) == 2.0
    assert look(meter, 18.0) == 8.0


def test_the_last_acceptance_counts_and_each_campaign_for_itself() -> None:
    """A second PUT at 20 starts the time anew; another campaign's goes on."""
    meter = LagMeter()
    meter.accepted(REF, at_s=10.0)
    meter.accepted(OTHER, at_s=11.0)
    look(meter, 12.0, REF)
    meter.accepted(REF, at_s=20.0)

    assert look(meter, 24.0, REF) == 4.0
    assert look(meter, 24.0, REF, OTHER) == 4.0
    meter = LagMeter()
    meter.accepted_once(REF, at_s=10.0)
    meter.accepted_once(REF, at_s=14.0)
    assert look(meter, 15.0, REF) == 5.0


# -- one campaign in an emergency ---------------------------------------------------------------


def waits(*effects: Effect) -> list[float]:
    """Seconds until the next PUT after each of these, a second after one another."""
    tries, found = Tries(), []
    for now_s, effect in enumerate(effects):
        tries.note(effect, now_s=now_s)
        found.append(max(0.0, tries.due_s - now_s))
    return found


@pytest.mark.parametrize(
    ("effects", "waits_s"),
    [
        # what takes no effect is repeated with a growing wait, never at full rate
        ([Effect.ACCEPTED] * 8, [0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]),
        ([Effect.REFUSED] * 6, [0.0, 1.0, 2.0, 5.0, 5.0, 5.0]),
        # a campaign that was never accepted and never answers is asked as the breaker lets us
        ([Effect.UNHEARD] * 3, [0.0, 0.0, 0.0]),
        # 0200011 after our acceptance: the listing is old
        ([Effect.ACCEPTED, Effect.OLD_LISTING], [0.0, 30.0]),
        # an acceptance ends the row of refusals
        ([Effect.REFUSED, Effect.REFUSED, Effect.ACCEPTED, Effect.REFUSED], [0.0, 1.0, 0.0, 0.0]),
    ],
)
def test_what_takes_no_effect_is_damped(effects: list[Effect], waits_s: list[float]) -> None:
    """[docs/spec/evidence.md, rule 10] Accepted without effect, for ever: 1,000 PUTs in 40 s."""
    assert waits(*effects) == waits_s


def test_an_old_listing_is_noted_until_the_next_put() -> None:
    """0200011 after our acceptance means suspended; any other answer means something else."""
    tries = Tries()
    told = []
    for effect in (Effect.ACCEPTED, Effect.OLD_LISTING, Effect.REFUSED):
        tries.note(effect, now_s=0.0)
        told.append((tries.listing_is_old, tries.was_accepted))

    assert told == [(False, True), (True, True), (False, True)]
    assert not Tries().was_accepted


@pytest.mark.parametrize(
    ("effects", "is_old"),
    [
        ([Effect.ACCEPTED, Effect.UNHEARD, Effect.OLD_LISTING], False),
        ([Effect.ACCEPTED, Effect.UNHEARD, Effect.ACCEPTED, Effect.OLD_LISTING], True),
        ([Effect.UNHEARD, Effect.ACCEPTED, Effect.OLD_LISTING], True),
    ],
)
def test_a_doubt_after_the_acceptance_may_explain_0200011_too(
    effects: list[Effect], *, is_old: bool
) -> None:
    """It was started again, and our PUT in doubt paused it: that makes no listing old."""
    tries = Tries()
    for effect in effects:
        tries.note(effect, now_s=0.0)

    assert tries.listing_is_old is is_old


#: passes after the 0200011: listing -> whether it shows the campaign started; whether that is old
AFTER_REST = [
    ([], True),
    ([{None: True}], True),
    ([{None: True}, {None: True}], False),
    ([{None: True}, {None: False}, {None: True}], True),
    ([{None: True, Status.STARTED: True}] * 2, False),
    # it had never shown the campaign at rest, so it may be behind for as long as it likes
    ([{Status.STARTED: True}] * 9, True),
    ([{}] * 9, True),
]


@pytest.mark.parametrize(("passes", "is_old"), AFTER_REST)
def test_a_listing_that_showed_it_at_rest_is_not_old_when_it_shows_it_started_again(
    passes: list[dict[Status | None, bool]], *, is_old: bool
) -> None:
    """Two passes in a row are needed, and only what that listing has shown since we paused it."""
    tries = Tries()
    tries.note(Effect.ACCEPTED, now_s=0.0)
    tries.look({None: False, Status.STARTED: True})
    tries.note(Effect.OLD_LISTING, now_s=2.0)
    for shown in passes:
        tries.look(shown)

    assert tries.listing_is_old
    assert tries.is_started_again is not is_old


def test_what_listings_showed_before_the_newest_acceptance_does_not_count() -> None:
    """Started again and paused again: the listing may be behind again."""
    tries = Tries()
    tries.note(Effect.ACCEPTED, now_s=0.0)
    tries.look({None: False})
    tries.note(Effect.ACCEPTED, now_s=2.0)
    tries.note(Effect.OLD_LISTING, now_s=3.0)
    for _ in range(5):
        tries.look({None: True})

    assert not tries.is_started_again


#: effects a second apart, seconds at which the last of them comes, complete passes, hopeless
HOPELESS = [
    # docs/spec/evidence.md, rule 6: 0200011 for 12 s while it starts: not given up
    ([Effect.REFUSED] * 12, 12.0, 9, False),
    ([Effect.REFUSED] * 12, 29.9, 9, False),
    ([Effect.REFUSED] * 2, 30.0, 3, True),
    # the one refusal is old, and nothing was tried since
    ([Effect.REFUSED], 300.0, 3, False),
    # three complete passes must show it started
    ([Effect.REFUSED] * 12, 300.0, 2, False),
    # one acceptance of ours: not before there are three
    ([Effect.REFUSED, Effect.ACCEPTED], 300.0, 9, False),
    ([Effect.ACCEPTED] * 2, 300.0, 9, False),
    ([Effect.ACCEPTED] * 3, 29.9, 9, False),
    ([Effect.ACCEPTED] * 3, 30.0, 3, True),
    # 0200011 after our acceptance is neither
    ([Effect.ACCEPTED, *[Effect.OLD_LISTING] * 9], 300.0, 9, False),
    # what never arrived is no refusal, and ends a row of them
    ([Effect.REFUSED, *[Effect.UNHEARD] * 9], 300.0, 9, False),
    ([Effect.UNHEARD, Effect.REFUSED, Effect.REFUSED], 30.9, 9, False),
    ([*[Effect.ACCEPTED] * 3, Effect.UNHEARD], 30.0, 3, True),
    ([], 300.0, 9, False),
]


@pytest.mark.parametrize(("effects", "last_s", "passes", "hopeless"), HOPELESS)
def test_giving_up_is_timed_and_not_counted(
    effects: list[Effect], last_s: float, passes: int, *, hopeless: bool
) -> None:
    """30 s and three complete passes of nothing but refusals, or of three acceptances."""
    tries = Tries()
    for at_s, effect in enumerate(effects, start=1):
        tries.note(effect, now_s=last_s if at_s == len(effects) else at_s - 1)
    tries.passes = passes

    assert tries.is_hopeless is hopeless


def test_passes_from_before_an_unheard_put_do_not_count() -> None:
    """The row of refusals begins anew, its passes too."""
    tries = Tries()
    tries.note(Effect.REFUSED, now_s=0.0)
    tries.passes = 9
    tries.note(Effect.UNHEARD, now_s=1.0)
    tries.note(Effect.REFUSED, now_s=2.0)
    tries.note(Effect.REFUSED, now_s=100.0)

    assert not tries.is_hopeless


def test_what_was_not_to_be_believed_is_read_again_with_the_next_pass() -> None:
    """A small VDN whose unfiltered listing was short: the filtered one alone adds nothing."""
    proof = after(seen(0), seen(5))
    assert not proof.needs_whole(GAP_S)

    proof.take(UNBELIEVED)

    assert proof.needs_whole(GAP_S)
