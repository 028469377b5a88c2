"""tests/chaos/watch.py: what of the committed offsets is noted."""

from tests.chaos.watch import Offsets

LOW, HIGH = (2, ""), (3, "")


def _noted(*looks: tuple[int, str]) -> list[tuple[int, str]]:
    offsets = Offsets()
    return [now for now in looks if offsets.is_news(0, now)]


def test_changes_are_noted_once() -> None:
    assert _noted(LOW, LOW, HIGH, (3, "more"), (3, "more")) == [LOW, HIGH, (3, "more")]


def test_a_stale_answer_of_a_broker_that_came_back_is_no_fall() -> None:
    assert _noted(HIGH, LOW, HIGH, LOW, HIGH) == [HIGH]


def test_an_offset_that_stays_lower_fell() -> None:
    assert _noted(HIGH, LOW, LOW, HIGH) == [HIGH, LOW, HIGH]
