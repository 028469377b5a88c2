"""By when a native call must be over (rules numbered in ``consumer.engine.deadline``)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.deadline import DECAY, FIRST_FACTOR, LEAST_AUDIO_SECONDS, Deadlines

LENGTHS = st.floats(0.1, 30)
FACTORS = st.floats(0.001, 4)


def _after(deadlines: Deadlines, *factors: float) -> Deadlines:
    """``deadlines`` once calls of 30 s ended that took so much for each second of audio."""
    for factor in factors:
        deadlines.end(deadlines.begin(30, 0), 30 * factor, teaches=True)
    return deadlines


def test_nothing_that_runs_is_never_overdue() -> None:
    deadlines = Deadlines(1, 1)
    assert deadlines.overdue(1e9) is None
    deadlines.end(deadlines.begin(30, 0), 1e6, teaches=False)
    assert deadlines.overdue(1e9) is None


def test_overdue_is_what_is_past_the_deadline_of_the_worst() -> None:
    deadlines = Deadlines(margin=2, floor_seconds=1)
    limit = 2 * 30 * FIRST_FACTOR
    first = deadlines.begin(30, 0)
    deadlines.begin(30, 7)
    assert deadlines.overdue(limit) is None
    assert deadlines.overdue(limit + 10) == pytest.approx(10)
    deadlines.end(first, limit + 10, teaches=False)
    assert deadlines.overdue(limit + 10) == pytest.approx(3)


def test_quick_calls_bring_the_limit_down_to_the_floor_in_time() -> None:
    deadlines = _after(Deadlines(margin=20, floor_seconds=50), *[0.02] * 120)
    deadlines.begin(30, 0)
    assert deadlines.overdue(50) is None
    assert deadlines.overdue(51) == pytest.approx(1)


def test_a_slow_hour_is_forgotten() -> None:
    deadlines = _after(Deadlines(), 8.0)
    assert deadlines.expected_factor == 8
    assert _after(deadlines, *[0.1] * 60).expected_factor < 0.5


def test_what_did_not_end_well_teaches_nothing() -> None:
    deadlines = Deadlines()
    deadlines.end(deadlines.begin(30, 0), 1000, teaches=False)
    assert deadlines.expected_factor == FIRST_FACTOR


def test_a_short_window_is_no_slow_one() -> None:
    """One second of audio takes as long as thirty: it says nothing of a long one's factor."""
    deadlines = Deadlines()
    for _ in range(200):
        deadlines.end(deadlines.begin(1, 0), 3, teaches=True)
    assert deadlines.expected_factor == pytest.approx(3 / LEAST_AUDIO_SECONDS)


@given(st.lists(st.tuples(LENGTHS, FACTORS), max_size=50), LENGTHS, st.floats(1, 50), st.floats(0.1, 100))
def test_no_call_like_those_before_is_ever_overdue(
    calls: list[tuple[float, float]], length: float, margin: float, floor_seconds: float
) -> None:
    """Whatever was seen last may happen again, and again more slowly by the margin, less the decay."""
    deadlines = Deadlines(margin, floor_seconds)
    for seconds, factor in calls:
        deadlines.end(deadlines.begin(seconds, 0), factor * max(seconds, LEAST_AUDIO_SECONDS), teaches=True)
    worst = max((factor * DECAY**age for age, (_, factor) in enumerate(reversed(calls))), default=0)
    deadlines.begin(length, 0)
    allowed = max(floor_seconds, worst * margin * LEAST_AUDIO_SECONDS)
    assert deadlines.overdue(allowed * (1 - 1e-9)) is None
    least = max(floor_seconds, deadlines.expected_factor * margin * LEAST_AUDIO_SECONDS)
    assert deadlines.overdue(least + 1) == pytest.approx(1)
