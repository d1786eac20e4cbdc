"""The picture of a stop: what is drawn is what happened."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.reports.picture import BOX, Picture, draw

BEGAN_MS = 1_795_475_101_123


def drawn(
    changes: list[tuple[int, int]],
    *,
    first: int = 0,
    seconds: float = 60.0,
    sent: dict[int, int] | None = None,
    looks: tuple[tuple[int, bool], ...] = (),
    ceiling_per_s: float = 10.0,
) -> Picture:
    """A run of so many seconds."""
    return draw(
        began_ms=BEGAN_MS,
        ended_ms=BEGAN_MS + round(seconds * 1000),
        first=first,
        changes=[(BEGAN_MS + at_ms, step) for at_ms, step in changes],
        sent={BEGAN_MS // 1000 + second: number for second, number in (sent or {}).items()},
        ceiling_per_s=ceiling_per_s,
        looks=looks,
    )


def points_of(text: str) -> list[tuple[float, float]]:
    """The corners of a polyline."""
    found = []
    for pair in text.split():
        x, _, y = pair.partition(",")
        found.append((float(x), float(y)))
    return found


@given(
    changes=st.lists(
        st.tuples(st.integers(-5_000, 200_000), st.sampled_from([-1, 1])), max_size=50
    ),
    first=st.integers(0, 60),
    seconds=st.floats(0, 100_000),
)
def test_the_line_goes_from_left_to_right_inside_its_field(
    changes: list[tuple[int, int]], first: int, seconds: float
) -> None:
    """Whatever the clocks said: nothing is drawn outside, nothing goes back in time."""
    points = points_of(drawn(changes, first=first, seconds=seconds).line)

    across = [x for x, _ in points]
    assert across == sorted(across)
    assert all(
        BOX.left <= x <= BOX.right and BOX.field_top <= y <= BOX.field_bottom for x, y in points
    )


def test_what_stops_takes_the_line_to_the_ground() -> None:
    """Three run, all three are stopped: from the top to the bottom."""
    picture = drawn([(1_000, -1), (2_000, -1), (30_000, -1)], first=3)
    points = points_of(picture.line)

    assert picture.most == 3
    assert points[0][1] == BOX.field_top
    assert points[-1][1] == BOX.field_bottom
    assert picture.area.startswith(f"{BOX.left},{BOX.field_bottom} ")
    assert picture.area.endswith(f" {BOX.right},{BOX.field_bottom}")


def test_what_starts_again_takes_it_up() -> None:
    """A restore begins on the ground."""
    points = points_of(drawn([(1_000, 1), (2_000, 1)]).line)

    assert (points[0][1], points[-1][1]) == (BOX.field_bottom, BOX.field_top)


def test_a_hundred_thousand_steps_are_thinned_and_end_where_they_end() -> None:
    """More steps than can be told apart are not drawn; the last one always is."""
    picture = drawn([(number, -1) for number in range(100_000)], first=100_001, seconds=100)
    points = points_of(picture.line)

    assert len(points) < 1_300
    assert points[-1][1] == round(
        BOX.field_bottom - (BOX.field_bottom - BOX.field_top) / 100_001, 1
    )


def test_bars_stand_below_the_ceiling_in_their_second() -> None:
    """The rate limit is the top as long as it was kept."""
    picture = drawn([], sent={0: 10, 1: 5, 59: 1})

    assert picture.most_per_s == 10.0
    assert picture.ceiling_y == BOX.rate_top
    assert [bar.y for bar in picture.bars[:2]] == [
        BOX.rate_top,
        (BOX.rate_top + BOX.rate_bottom) / 2,
    ]
    assert [bar.x < BOX.width for bar in picture.bars] == [True] * 3


def test_a_rate_above_the_ceiling_is_seen() -> None:
    """The ceiling is drawn lower then."""
    picture = drawn([], sent={0: 20})

    assert picture.most_per_s == 20
    assert picture.ceiling_y == (BOX.rate_top + BOX.rate_bottom) / 2


def test_bars_of_hours_show_the_busiest_second_of_each() -> None:
    """Averages would hide what the server had to bear."""
    sent = dict.fromkeys(range(7_200), 3) | {100: 9}
    picture = drawn([], sent=sent, seconds=7_200)

    assert len(picture.bars) == 240
    assert picture.bars[3].y == min(bar.y for bar in picture.bars)


def test_a_rate_of_nothing_divides_by_nothing() -> None:
    """A run that sent nothing and has no ceiling on record is drawn all the same."""
    assert drawn([], ceiling_per_s=0.0).most_per_s == 1.0


def test_each_look_has_its_mark() -> None:
    """A clean one and one that was not."""
    looks = ((BEGAN_MS, False), (BEGAN_MS + 60_000, True))
    marks = drawn([], looks=looks).marks

    assert [(mark.x, mark.clean) for mark in marks] == [(BOX.left, False), (BOX.right, True)]
