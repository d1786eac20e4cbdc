"""Answers that cannot be read."""

from __future__ import annotations

from orchestrator.model import CampaignRef
from orchestrator.policy.unreadable import ENOUGH, Unreadable

REFS = [CampaignRef(7, number) for number in range(1, ENOUGH + 1)]


def test_five_different_campaigns_in_a_row_are_enough() -> None:
    """The same one five times says nothing of the server."""
    row = Unreadable()
    for _ in range(ENOUGH):
        row.note(REFS[0])
    assert not row.is_enough

    for ref in REFS:
        row.note(ref)

    assert row.is_enough
    assert row.take() == REFS


def test_an_answer_that_can_be_read_ends_the_row() -> None:
    """Four, a good one, one more: not enough."""
    row = Unreadable()
    for ref in REFS[:-1]:
        row.note(ref)
    row.end_row()
    row.note(REFS[-1])

    assert not row.is_enough


def test_only_campaigns_are_looked_at() -> None:
    """A key that is no campaign has no state."""
    row = Unreadable()
    row.note("listing")

    assert row.take() == []


def test_who_reads_the_states_reads_them_alone() -> None:
    """Five workers find the row long enough at once: one of them asks."""
    row = Unreadable()
    for ref in REFS:
        row.note(ref)

    assert row.take() == REFS
    assert row.take() == []
    row.note_states([])
    assert row.take() == REFS


def test_five_that_took_effect_are_enough_however_late_they_are_seen() -> None:
    """[seed of the field: reads that lag] Four are seen at first, the fifth with the next look."""
    row = Unreadable()
    for ref in REFS:
        row.note(ref)
    row.take()
    row.note_states(REFS[:-1])
    assert not row.trusts_states

    assert row.take() == REFS[-1:]
    row.note_states(REFS[-1:])

    assert row.trusts_states
