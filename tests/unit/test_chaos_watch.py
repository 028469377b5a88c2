"""tests/chaos/watch.py: what of the committed offsets is noted."""

from tests.chaos.watch import Offsets

ONE, TWO, THREE = ((offset, "") for offset in (1, 2, 3))


def _noted(*looks: tuple[int, str]) -> list[tuple[float, tuple[int, str]]]:
    offsets = Offsets()
    return [news for seen, now in enumerate(looks) for news in offsets.news(0, seen, now)]


def test_changes_are_noted_once_from_when_they_were_seen_first() -> None:
    more = (3, "more")
    assert _noted(ONE, ONE, ONE, THREE, more, more, more) == [(0, ONE), (3, THREE), (4, more)]
    assert _noted(ONE, TWO, THREE, THREE) == [(0, ONE), (1, TWO), (2, THREE)]


def test_what_a_dying_coordinator_told_before_it_was_replicated_is_no_commit() -> None:
    """As it was seen: 3 at the coordinator that was killed, 2 at the one after it, 3 once the worker tried again."""
    assert _noted(TWO, TWO, THREE, TWO, TWO, THREE, THREE) == [(0, TWO), (5, THREE)]


def test_an_offset_that_stood_and_is_lower_fell() -> None:
    assert _noted(THREE, THREE, TWO, THREE, THREE) == [(0, THREE), (2, TWO), (3, THREE)]
