"""The rules of offsets.py, one by one and against a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.delivery.commit_metadata import WINDOW_OFFSETS
from consumer.delivery.offsets import OffsetTracker


def test_nothing_begun_commits_the_position() -> None:
    assert OffsetTracker(7).low_water == 7


def test_the_mark_waits_for_the_lowest_unfinished() -> None:
    tracker = OffsetTracker(0)
    assert all(tracker.begin(offset) for offset in range(4))
    tracker.finish(2)
    tracker.finish(1)
    assert tracker.low_water == 0
    assert tracker.finished_above() == {1, 2}
    tracker.finish(0)
    assert tracker.low_water == 3
    assert tracker.finished_above() == frozenset()
    tracker.finish(3)
    assert tracker.low_water == 4


def test_offsets_without_a_record_hold_nothing_up() -> None:
    tracker = OffsetTracker(0)
    tracker.begin(3)
    assert tracker.low_water == 3
    tracker.begin(9)
    tracker.finish(3)
    assert tracker.low_water == 9


def test_offsets_come_in_ascending_order() -> None:
    tracker = OffsetTracker(5)
    tracker.begin(6)
    for offset in (6, 5, 0):
        with pytest.raises(ValueError, match="ascending"):
            tracker.begin(offset)


def test_what_was_finished_before_asks_for_no_work() -> None:
    tracker = OffsetTracker(10, finished={3, 11})
    assert tracker.begin(10)
    assert not tracker.begin(11)
    tracker.finish(10)
    assert tracker.low_water == 12


def test_work_may_end_before_its_record_is_delivered_again() -> None:
    tracker = OffsetTracker(10)
    tracker.finish(10)
    tracker.finish(12)
    assert tracker.low_water == 10
    assert not tracker.begin(10)
    assert tracker.low_water == 11
    assert tracker.begin(11)
    assert not tracker.begin(12)
    assert tracker.low_water == 11
    tracker.finish(11)
    assert tracker.low_water == 13


def test_to_finish_below_the_mark_or_twice_changes_nothing() -> None:
    tracker = OffsetTracker(5)
    tracker.begin(5)
    tracker.begin(6)
    tracker.finish(4)
    tracker.finish(6)
    tracker.finish(6)
    assert tracker.low_water == 5
    assert tracker.finished_above() == {6}


def test_no_record_is_begun_beyond_the_window() -> None:
    tracker = OffsetTracker(5)
    tracker.begin(5)
    last = 5 + WINDOW_OFFSETS - 1
    assert tracker.has_room(last)
    assert not tracker.has_room(last + 1)
    with pytest.raises(ValueError, match="window"):
        tracker.begin(last + 1)
    assert tracker.next_offset == 6, "it was refused, yet taken note of"
    tracker.begin(last)
    tracker.finish(5)
    assert tracker.has_room(last + 1)


def test_with_nothing_unfinished_there_is_room_however_far_the_next_record_is() -> None:
    tracker = OffsetTracker(5, finished={7})
    assert tracker.has_room(10**9)
    assert tracker.begin(10**9)
    assert tracker.low_water == 10**9
    assert tracker.finished_above() == frozenset(), "7 lies below the mark now"


def test_what_is_passed_over_holds_nothing_up() -> None:
    tracker = OffsetTracker(5, finished={6})
    tracker.skip_to(9)
    assert (tracker.next_offset, tracker.low_water, tracker.finished_above()) == (9, 9, frozenset())
    tracker.begin(9)
    tracker.skip_to(20)
    assert (tracker.next_offset, tracker.low_water) == (20, 9)
    with pytest.raises(ValueError, match="ascending"):
        tracker.skip_to(19)


@given(st.data())
def test_what_would_be_finished_is_what_is_finished_afterwards(data: st.DataObject) -> None:
    begun = sorted(data.draw(st.sets(st.integers(3, 30))))
    before = data.draw(st.sets(st.integers(3, 30)))
    finished = [offset for offset in begun if data.draw(st.booleans())]
    carried_over = data.draw(st.sets(st.integers(31, 35)))
    tracker = OffsetTracker(3, before)
    for offset in begun:
        tracker.begin(offset)
    others = data.draw(st.sets(st.sampled_from(begun))) | carried_over if begun else carried_over
    for offset in finished:
        tracker.finish(offset)
    unchanged = (tracker.low_water, tracker.finished_above())
    foreseen = tracker.finished_with(others)
    assert (tracker.low_water, tracker.finished_above()) == unchanged
    assert tracker.finished_with(()) == unchanged
    for offset in others:
        tracker.finish(offset)
    assert foreseen == (tracker.low_water, tracker.finished_above())


@given(st.data())
def test_never_passes_an_unfinished_record_and_never_forgets_a_finished_one(data: st.DataObject) -> None:
    """Any order of begin, finish and hand-over, against a plain log that knows the truth."""
    log = sorted(data.draw(st.sets(st.integers(0, 40), min_size=1)))
    done: set[int] = set()
    worked = dict.fromkeys(log, 0)
    tracker = OffsetTracker(0)
    to_read, running = list(log), set[int]()
    previous_mark = 0
    while to_read or running:
        step = data.draw(st.sampled_from(["begin"] * bool(to_read) + ["finish"] * bool(running) + ["hand over"]))
        if step == "begin":
            offset = to_read.pop(0)
            if tracker.begin(offset):
                worked[offset] += offset not in running
                running.add(offset)
            else:
                assert offset in done, "work was refused for a record that nobody finished"
        elif step == "finish":
            offset = data.draw(st.sampled_from(sorted(running)))
            running.remove(offset)
            done.add(offset)
            tracker.finish(offset)
        else:  # the same member gets the partition again: read anew from the mark, running work goes on
            tracker = OffsetTracker(tracker.low_water, tracker.finished_above())
            to_read = [offset for offset in log if offset >= tracker.low_water]
        assert tracker.low_water >= previous_mark, "the mark fell"
        previous_mark = tracker.low_water
        assert all(offset in done for offset in log if offset < tracker.low_water), "committed past unfinished work"
        assert tracker.finished_above() <= done
    assert tracker.low_water == log[-1] + 1
    assert set(worked.values()) == {1}, "work was repeated or left out"
