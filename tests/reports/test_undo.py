"""What an operator reads before a restore starts anything."""

from __future__ import annotations

from orchestrator.reports.rows import RunKind
from orchestrator.reports.undo import OtherRun, UndoFacts, other_lines, undo_lines

FACTS = UndoFacts(
    run_id="20261127T070923Z-4ab3",
    kind=RunKind.PAUSE_ALL,
    operator="ops",
    host="jump1",
    reason="wrong list",
    started_at_ms=1_795_763_363_000,
    will_start=62,
    first_names=("autumn 1", "autumn 2"),
    stay_off=(("excluded by --except 1005", 1, ("autumn 5",)), ("over --limit 62", 2, ())),
)
OTHER = OtherRun("20261127T072011Z-7f3a", RunKind.PAUSE, "ada", 1_795_764_011_000, 40)


def test_it_says_when_by_whom_why_how_many_and_what_stays_off() -> None:
    """Everything in a few lines, the reasons each with its number."""
    assert undo_lines(FACTS._replace(others=(OTHER,))) == [
        (
            "run 20261127T070923Z-4ab3: pause-all at 2026-11-27 07:09:23Z by ops on jump1;"
            " reason: wrong list"
        ),
        "62 campaigns will start (autumn 1, autumn 2, …)",
        "1 stays off: excluded by --except 1005 (autumn 5)",
        "2 stay off: over --limit 62",
        (
            "40 more were turned off by run 20261127T072011Z-7f3a (pause at 2026-11-27 07:20:11Z"
            " by ada)"
        ),
    ]


def test_one_campaign_and_no_reason() -> None:
    """Nobody gave a reason, and the name of the only one is all there is."""
    lines = undo_lines(FACTS._replace(reason="", will_start=1, first_names=("x",), stay_off=()))

    assert lines[0].endswith("; no reason was given")
    assert lines[1:] == ["1 campaign will start (x)"]


def test_nothing_to_start_is_said() -> None:
    """All were restored before."""
    assert undo_lines(FACTS._replace(will_start=0))[1] == "nothing will start"
    assert undo_lines(FACTS._replace(first_names=()))[1] == "62 campaigns will start"


def test_many_other_runs_are_added_up() -> None:
    """Five in full, the rest as a number; one campaign is said in the singular."""
    lines = other_lines(FACTS._replace(others=(OTHER._replace(campaigns=1), *[OTHER] * 6)))

    said = other_lines(FACTS._replace(others=(OTHER,)), is_last=True)
    assert said[0].endswith(
        "by ada); `orchestrator restore 20261127T072011Z-7f3a --dry-run` shows them"
    )
    assert len(lines) == 6
    assert lines[0].startswith("1 more was turned off by run ")
    assert lines[-1] == "80 more by 2 other runs"


def test_what_others_wrote_harms_no_terminal() -> None:
    """Names, reasons and operators are shown printable."""
    evil = "\x1b[2J\n"
    facts = FACTS._replace(
        reason=evil,
        operator=evil,
        first_names=(evil,),
        stay_off=((evil, 1, (evil,)),),
        others=(OTHER._replace(operator=evil),),
    )

    assert all(line.isprintable() for line in undo_lines(facts))


def test_what_runs_again_already_does_not_stay_off() -> None:
    """Another restore has started it; one is said in the singular."""
    lines = [undo_lines(FACTS._replace(started_before=number))[2] for number in (1, 61)]

    assert lines == [
        "1 was started again before, by another restore",
        "61 were started again before, by another restore",
    ]


def test_what_was_stopped_again_is_another_runs_to_undo() -> None:
    """The question and the last lines name the command."""
    facts = FACTS._replace(stopped_again_by=("20261127T080000Z-0001",))

    line = (
        "`orchestrator restore 20261127T080000Z-0001` starts again what run"
        " 20261127T080000Z-0001 turned off"
    )
    assert undo_lines(facts)[-1] == other_lines(facts, is_last=True)[-1] == line
