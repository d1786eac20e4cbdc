"""A 401 and a 403: three corrections, each tried once, and when a VDN is closed to us."""

from __future__ import annotations

import pytest

from orchestrator.model import CampaignRef
from orchestrator.policy.auth import AuthState, Recovery, VdnAccess
from orchestrator.settings.schema import SigningRules

NOON_MS = 1_795_435_200_000
NOON = "Mon, 23 Nov 2026 12:00:00 GMT"
TWENTY_PAST = "Mon, 23 Nov 2026 12:20:00 GMT"


def refused(
    auth_state: AuthState,
    *,
    date: str | None = NOON,
    has_query: bool = False,
    generation: int | None = None,
) -> Recovery | None:
    """A 401 at noon to a request of the present generation."""
    return auth_state.recover(
        date=date,
        now_ms=NOON_MS,
        has_query=has_query,
        generation=auth_state.generation if generation is None else generation,
    )


def listed(*, blank: bool = False) -> AuthState:
    """A signer of which the server has taken a listing, and nothing without a query."""
    auth_state = AuthState(SigningRules(blank_query_line=blank))
    auth_state.note_accepted(has_query=True)
    return auth_state


def test_a_wrong_clock_is_corrected_once() -> None:
    """[S18] Twenty minutes behind: sign with the server's time; refused again: not once more."""
    auth_state = listed()
    auth_state.note_accepted(has_query=False)

    assert refused(auth_state, date=TWENTY_PAST) is Recovery.CLOCK
    assert (auth_state.offset_ms, auth_state.generation) == (1_200_000, 1)
    assert refused(auth_state, date="Mon, 23 Nov 2026 13:00:00 GMT") is None
    assert (auth_state.offset_ms, auth_state.generation) == (1_200_000, 1)


@pytest.mark.parametrize("date", [None, NOON, "Mon, 23 Nov 2099 12:00:00 GMT"])
def test_without_a_clock_to_follow_a_401_of_an_accepted_key_is_final(date: str | None) -> None:
    """[S15, Z05] The right time, none or no sense, and both forms taken before: it is the key."""
    auth_state = listed()
    auth_state.note_accepted(has_query=False)

    assert refused(auth_state, date=date) is None
    assert (auth_state.rules, auth_state.offset_ms, auth_state.generation) == (SigningRules(), 0, 0)


@pytest.mark.parametrize("millis", [False, True])
@pytest.mark.parametrize("has_query", [False, True])
def test_the_other_timestamp_is_tried_while_nothing_was_accepted(
    *, millis: bool, has_query: bool
) -> None:
    """The first request is refused and the clock is right: seconds become milliseconds, once."""
    auth_state = AuthState(SigningRules(millis=millis))

    assert refused(auth_state, has_query=has_query) is Recovery.MILLIS
    assert auth_state.rules == SigningRules(millis=not millis)
    auth_state.note_accepted(has_query=has_query)
    assert auth_state.confirm(has_query=has_query, generation=1) is Recovery.MILLIS
    assert auth_state.confirm(has_query=has_query, generation=1) is None
    assert refused(auth_state, has_query=True) is None
    assert auth_state.rules == SigningRules(millis=not millis)


def test_the_other_timestamp_is_taken_back_when_it_is_refused_too() -> None:
    """[S15] A wrong key: the run records the form that was configured, not the one it tried."""
    auth_state = AuthState(SigningRules())
    refused(auth_state)

    assert refused(auth_state) is None
    assert auth_state.rules == SigningRules()
    assert refused(auth_state) is None


@pytest.mark.parametrize("dates", [(TWENTY_PAST,) * 3, (NOON, TWENTY_PAST, TWENTY_PAST)])
def test_a_wrong_key_costs_three_requests_at_most(dates: tuple[str, ...]) -> None:
    """[S15] A clock that is off, or known late, and a wrong key: two corrections, then the end."""
    auth_state = AuthState(SigningRules())

    recoveries = [refused(auth_state, date=date) for date in dates]

    assert set(recoveries[:2]) == {Recovery.CLOCK, Recovery.MILLIS}
    assert recoveries[2] is None
    assert auth_state.rules == SigningRules()


def test_both_switches_are_found() -> None:
    """Milliseconds for the listing, then the blank line for the first PUT: both are kept."""
    auth_state = AuthState(SigningRules())
    refused(auth_state, has_query=True)
    auth_state.note_accepted(has_query=True)
    auth_state.confirm(has_query=True, generation=1)

    assert refused(auth_state) is Recovery.BLANK_QUERY_LINE
    assert auth_state.confirm(has_query=True, generation=2) is None
    assert auth_state.confirm(has_query=False, generation=1) is None
    assert auth_state.confirm(has_query=False, generation=2) is Recovery.BLANK_QUERY_LINE
    assert auth_state.rules == SigningRules(millis=True, blank_query_line=True)


def test_a_clock_that_was_right_at_first_may_still_be_corrected() -> None:
    """[P29] A look at a correct clock does not use the correction up."""
    auth_state = listed()
    auth_state.note_accepted(has_query=False)

    assert refused(auth_state, date=NOON) is None
    assert refused(auth_state, date=TWENTY_PAST) is Recovery.CLOCK


@pytest.mark.parametrize("blank", [False, True])
def test_the_other_form_is_tried_when_only_the_queryless_is_refused(*, blank: bool) -> None:
    """A listing was taken and a PUT is not: switch A stands wrong, whichever way it stands."""
    auth_state = listed(blank=blank)

    assert refused(auth_state) is Recovery.BLANK_QUERY_LINE
    assert auth_state.rules == SigningRules(blank_query_line=not blank)
    assert auth_state.generation == 1


def test_the_other_form_is_kept_when_it_is_accepted() -> None:
    """Once a query-less request was taken, a later 401 does not change the form again."""
    auth_state = listed()
    refused(auth_state)
    auth_state.note_accepted(has_query=False)

    assert refused(auth_state) is None
    assert auth_state.rules.blank_query_line
    assert auth_state.generation == 1


def test_the_other_form_is_taken_back_when_it_is_refused_too() -> None:
    """[S17] It was not the form but an outage of the key: the form that stood is kept."""
    auth_state = listed()
    refused(auth_state)

    assert refused(auth_state) is None
    assert auth_state.rules == SigningRules()
    assert auth_state.generation == 2
    assert refused(auth_state) is None
    assert auth_state.generation == 2


def test_an_answer_from_before_the_cure_says_nothing() -> None:
    """A request of an older generation is signed again, and no correction is used up for it."""
    auth_state = listed()
    refused(auth_state, date=TWENTY_PAST)

    assert refused(auth_state, generation=0) is Recovery.STALE
    assert auth_state.generation == 1
    assert refused(auth_state) is Recovery.BLANK_QUERY_LINE


# -- 403 ------------------------------------------------------------------------------------------


def refusals(access: VdnAccess, *campaign_ids: int, vdn_id: int = 1) -> list[bool]:
    """A 403 to each of these, a second after one another: which of them closes the VDN."""
    return [
        access.note_refused(CampaignRef(vdn_id, one), now_s=now_s)
        for now_s, one in enumerate(campaign_ids)
    ]


def test_one_403_is_about_one_request() -> None:
    """[docs/spec/evidence.md, rule 6] One PUT of 40 gets 403 for ever: the VDN stays open."""
    access = VdnAccess(emergency=False, sizes={1: 40})

    assert not any(refusals(access, *[7] * 100))
    assert access.closed == set()
    assert access.row_of(1) == 1


def test_ten_different_campaigns_in_a_row_close_their_vdn_once() -> None:
    """The tenth closes it, and only it; another VDN is not concerned."""
    access = VdnAccess(emergency=False, sizes={1: 40, 2: 40})

    assert refusals(access, *range(1, 12)) == [*[False] * 9, True, False]
    assert not any(refusals(access, *range(1, 10), vdn_id=2))
    assert access.closed == {1}
    assert (access.row_of(1), access.row_of(2), access.row_of(3)) == (10, 9, 0)


@pytest.mark.parametrize(("size", "needed"), [(1, 1), (3, 3), (9, 9), (10, 10), (500, 10)])
def test_in_a_small_vdn_all_of_its_campaigns_are_enough(size: int, needed: int) -> None:
    """Three campaigns and no more: the third 403 closes it."""
    access = VdnAccess(emergency=False, sizes={1: size})

    assert refusals(access, *range(1, needed + 1)) == [*[False] * (needed - 1), True]


def test_an_answer_of_the_api_in_between_ends_the_row_for_good() -> None:
    """Where a PUT was answered by the API itself, a 403 stays the campaign's own affair."""
    access = VdnAccess(emergency=False, sizes={1: 40})
    refusals(access, *range(1, 10))
    access.note_answered(1)

    assert access.row_of(1) == 0
    assert not any(refusals(access, *range(10, 40)))
    assert access.opened == {1}
    urgent = VdnAccess(emergency=True)
    urgent.note_answered(1)
    assert not any(urgent.note_refused(CampaignRef(1, 1), now_s=now_s) for now_s in (0.0, 400.0))


@pytest.mark.parametrize(("after_s", "closes"), [(0.0, False), (29.9, False), (30.0, True)])
def test_in_an_emergency_a_time_closes_a_vdn_and_no_number(after_s: float, *, closes: bool) -> None:
    """Fifty campaigns refused within a second are no reason to give up; 30 s of it are."""
    access = VdnAccess(emergency=True, sizes={1: 3})
    for campaign_id in range(1, 51):
        assert not access.note_refused(CampaignRef(1, campaign_id), now_s=100.0)

    assert access.note_refused(CampaignRef(1, 1), now_s=100.0 + after_s) is closes


@pytest.mark.parametrize(
    ("recovery", "said"),
    [
        (Recovery.CLOCK, "the server's clock"),
        (Recovery.MILLIS, "signing.millis = true"),
        (Recovery.BLANK_QUERY_LINE, "signing.blank_query_line = false"),
    ],
)
def test_a_cure_is_said_as_the_setting_that_keeps_it(recovery: Recovery, said: str) -> None:
    """Whoever reads it can write it into the settings file."""
    auth_state = AuthState(SigningRules(millis=True, blank_query_line=False))

    assert auth_state.text_of(recovery) == said
