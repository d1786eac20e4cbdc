"""How a campaign ended: the tables of docs/spec/contracts.md, written down a second time."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.isales.verdict import CONSEQUENCES, Kind
from orchestrator.model import Action, Status
from orchestrator.policy.decide import (
    COURSES,
    NOT_COUNTED,
    SUCCESSES,
    Changed,
    Decision,
    Evidence,
    History,
    Outcome,
    decide_seen,
    decide_unseen,
    decide_untouched,
    is_contradicted,
)

SEEN = (None, *Status)
LAST = (None, *Kind)

#: what each action calls its ends: done, already, accepted but undone
NAMES = {
    Action.PAUSE: (Outcome.PAUSED, Outcome.ALREADY_PAUSED, Outcome.STILL_RUNNING),
    Action.RESUME: (Outcome.RESTORED, Outcome.ALREADY_RUNNING, Outcome.FAILED),
}
FROM_TO = {
    Action.PAUSE: (Status.STARTED, Status.SUSPENDED),
    Action.RESUME: (Status.SUSPENDED, Status.STARTED),
}

#: a last answer that names the outcome when nothing else decides; all others: failed
BY_LAST_ANSWER = {
    Kind.NOT_FOUND: Outcome.NOT_FOUND,
    Kind.REJECTED: Outcome.REJECTED,
    Kind.CODE_UNKNOWN: Outcome.REJECTED,
    Kind.UNAUTHORIZED: Outcome.DENIED,
    Kind.FORBIDDEN: Outcome.DENIED,
}


def histories() -> list[History]:
    """Every history that attempts can have: one that left no trace of itself is none."""
    found = []
    for before, doubted, accepted, last in itertools.product(
        SEEN, (False, True), (False, True), LAST
    ):
        if last is None and not doubted:
            continue  # sent and not answered is in doubt
        if last is not None and CONSEQUENCES[last].in_doubt and not doubted:
            continue
        if last is Kind.ACCEPTED and not accepted:
            continue
        found.append(History(before, 1, doubted=doubted, accepted=accepted, last=last))
    return found


def expected_seen(action: Action, history: History, now: Status, evidence: Evidence) -> Decision:
    """What docs/spec/contracts.md says of a campaign whose state is seen after our attempts."""
    done, already, undone = NAMES[action]
    source, target = FROM_TO[action]
    doubted, accepted, before = history.doubted, history.accepted, history.before
    # (accepted, in doubt, state before, state now) → decision; the first that fits
    table: list[tuple[bool, Decision]] = [
        # our PUT was accepted …
        (accepted and now == target, Decision(done, evidence, Changed.YES)),
        # … yet a later listing shows it started
        (accepted and now == source, Decision(undone, Evidence.ACCEPTED, Changed.YES)),
        # … and it has ended by itself since
        (accepted, Decision(done, Evidence.ACCEPTED, Changed.YES)),
        # it was like that before we touched it
        (now == target and not doubted, Decision(already, evidence)),
        (now == target and before == target, Decision(already, evidence)),
        # took effect although its answer was lost
        (now == target and before == source, Decision(done, evidence, Changed.YES)),
        (now == target, Decision(done, Evidence.INFERRED, Changed.YES)),
        # the server will not, and it is completed or not started
        (now in {Status.NOT_STARTED, Status.COMPLETED}, Decision(Outcome.NOT_RUNNING, evidence)),
        # still as it was: the last answer says why
        (True, Decision(BY_LAST_ANSWER.get(history.last or Kind.BROKEN, Outcome.FAILED))),
    ]
    return next(decision for fits, decision in table if fits)


def expected_unseen(action: Action, history: History) -> Decision:
    """What docs/spec/contracts.md says of a campaign whose state nobody saw after our attempts."""
    table: list[tuple[bool, Decision]] = [
        (history.accepted, Decision(NAMES[action][0], Evidence.ACCEPTED, Changed.YES)),
        (history.last is Kind.NOT_FOUND, Decision(Outcome.NOT_FOUND)),
        (history.doubted, Decision(Outcome.UNKNOWN, changed=Changed.MAYBE, needs_state=True)),
        # 0200011 is decided by the state; the table of §6 says maybe for every unknown
        (
            history.last is Kind.WRONG_STATE,
            Decision(Outcome.UNKNOWN, changed=Changed.MAYBE, needs_state=True),
        ),
        (True, Decision(BY_LAST_ANSWER.get(history.last or Kind.BROKEN, Outcome.FAILED))),
    ]
    return next(decision for fits, decision in table if fits)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("now", list(Status))
@pytest.mark.parametrize("evidence", [Evidence.LISTED, Evidence.READ])
def test_a_seen_state_decides_as_the_table_says(
    action: Action, now: Status, evidence: Evidence
) -> None:
    """[S06][S08] Every state before, doubt, acceptance and last answer, for every state now."""
    for history in histories():
        wanted = expected_seen(action, history, now, evidence)

        assert decide_seen(action, history, now, evidence) == wanted, history


@pytest.mark.parametrize("action", list(Action))
def test_an_unseen_state_leaves_what_the_answers_say(action: Action) -> None:
    """[S09][S14] Every state before, doubt, acceptance and last answer, without a look."""
    for history in histories():
        assert decide_unseen(action, history) == expected_unseen(action, history), history


@pytest.mark.parametrize("action", list(Action))
def test_a_status_that_we_do_not_know_is_no_look(action: Action) -> None:
    """A look that showed nothing decides nothing."""
    for history in histories():
        seen = decide_seen(action, history, None, Evidence.READ)

        assert seen == decide_unseen(action, history), history


#: action, seen → outcome of a campaign that got no PUT
UNTOUCHED = {
    (Action.PAUSE, None): Outcome.UNATTEMPTED,
    (Action.PAUSE, Status.NOT_STARTED): Outcome.UNATTEMPTED,
    (Action.PAUSE, Status.STARTED): Outcome.UNATTEMPTED,
    (Action.PAUSE, Status.SUSPENDED): Outcome.ALREADY_PAUSED,
    (Action.PAUSE, Status.COMPLETED): Outcome.UNATTEMPTED,
    (Action.RESUME, None): Outcome.UNATTEMPTED,
    (Action.RESUME, Status.NOT_STARTED): Outcome.NOT_RUNNING,
    (Action.RESUME, Status.STARTED): Outcome.ALREADY_RUNNING,
    (Action.RESUME, Status.SUSPENDED): Outcome.UNATTEMPTED,
    (Action.RESUME, Status.COMPLETED): Outcome.NOT_RUNNING,
}


@pytest.mark.parametrize(("action", "seen"), UNTOUCHED)
def test_only_one_state_spares_a_pause_its_put(action: Action, seen: Status | None) -> None:
    """Without a PUT nothing is ours; the evidence is the look, made in whichever way."""
    outcome = UNTOUCHED[action, seen]
    attempted = outcome is not Outcome.UNATTEMPTED

    assert decide_unseen(action, History(before=seen)) == decide_untouched(action, seen)
    for evidence in (Evidence.LISTED, Evidence.READ):
        wanted = Decision(outcome, evidence if attempted else Evidence.NONE)
        assert decide_untouched(action, seen, evidence) == wanted
        if seen is not None:
            assert decide_seen(action, History(), seen, evidence) == wanted


def test_every_outcome_has_its_place() -> None:
    """Success, not counted, or a failure: no outcome is two of them."""
    assert not SUCCESSES & NOT_COUNTED
    assert set(Outcome) - SUCCESSES - NOT_COUNTED == {
        Outcome.NOT_FOUND,
        Outcome.REJECTED,
        Outcome.DENIED,
        Outcome.FAILED,
        Outcome.UNKNOWN,
        Outcome.STILL_RUNNING,
        Outcome.UNATTEMPTED,
    }
    assert set(COURSES) == set(Action)


# -- contradictions -------------------------------------------------------------------------------

#: history, outcome so far, seen now, whether they contradict each other; of a pause
CONTRADICTIONS = [
    # docs/spec/evidence.md, rule 5: reads lag behind writes: accepted, and listed as started
    (History(Status.STARTED, 1, accepted=True, last=Kind.ACCEPTED), Outcome.PAUSED, True),
    (History(None, 2, doubted=True, accepted=True), Outcome.PAUSED, True),
    # it may have arrived, and the listing may be older
    (History(Status.STARTED, 1, doubted=True, last=Kind.BROKEN), Outcome.UNKNOWN, True),
    # refused for its state, and listed in the state from which it could be paused
    (History(None, 1, last=Kind.WRONG_STATE), Outcome.UNKNOWN, True),
    # already paused by a listing alone
    (History(Status.SUSPENDED), Outcome.ALREADY_PAUSED, True),
    (History(None), Outcome.PAUSED, True),
    # nothing of ours took effect, as far as anybody knows
    (History(Status.STARTED, 3, last=Kind.NOT_FOUND), Outcome.NOT_FOUND, False),
    (History(Status.STARTED, 3, last=Kind.THROTTLED), Outcome.FAILED, False),
    (History(Status.STARTED), Outcome.UNATTEMPTED, False),
]


@pytest.mark.parametrize(("history", "outcome", "contradicted"), CONTRADICTIONS)
def test_a_look_that_shows_it_started_contradicts_what_should_have_stopped_it(
    history: History, outcome: Outcome, *, contradicted: bool
) -> None:
    """The age of an answer is not the age of the state: such a look gets time and another look."""
    assert is_contradicted(Action.PAUSE, history, outcome, Status.STARTED) is contradicted


@pytest.mark.parametrize("action", list(Action))
def test_only_the_state_it_came_from_contradicts(action: Action) -> None:
    """Every history with every other state: nothing waits for another look."""
    for history, now, outcome in itertools.product(histories(), SEEN, Outcome):
        if now is not FROM_TO[action][0]:
            assert not is_contradicted(action, history, outcome, now)
