"""The breaker stops a worker that fails on its own account, and no other."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from consumer.delivery.breaker import OWN_FAULTS, Breaker
from consumer.errors import Reason

HEALTHY: list[Reason | None] = [None, *(reason for reason in Reason if reason not in OWN_FAULTS)]

events = st.lists(st.sampled_from([None, None, Reason.MISSING, Reason.INTERNAL, Reason.CRASHED]), max_size=40)
shares = st.sampled_from([0.05, 0.25, 1 / 3, 0.5, 0.9, 1.0])
windows = st.integers(1, 12)


def faults(recent: list[Reason | None]) -> int:
    return sum(reason in OWN_FAULTS for reason in recent)


@given(events, shares, windows, st.data())
def test_it_trips_at_the_first_event_after_which_too_many_of_the_last_were_own_faults(
    noted: list[Reason | None], share: float, window: int, data: st.DataObject
) -> None:
    at_least = data.draw(st.integers(1, window))
    breaker = Breaker(share, window, at_least)
    expected = False
    for count, reason in enumerate(noted, start=1):
        breaker.note(reason)
        recent = noted[max(0, count - window) : count]
        expected = expected or (count >= at_least and faults(recent) / len(recent) > share)
        assert (breaker.tripped is not None) == expected


@given(st.lists(st.sampled_from(HEALTHY)), shares)
def test_answers_that_the_input_deserved_never_trip_it(noted: list[Reason | None], share: float) -> None:
    breaker = Breaker(share, window=5, at_least=1)
    for reason in noted:
        breaker.note(reason)
    assert breaker.tripped is None


@given(events, st.integers(1, 12))
def test_a_share_of_one_never_trips(noted: list[Reason | None], window: int) -> None:
    breaker = Breaker(1, window, at_least=1)
    for reason in noted:
        breaker.note(reason)
    assert breaker.tripped is None


@given(events, shares, events)
def test_tripped_it_stays_tripped_with_the_same_words(
    noted: list[Reason | None], share: float, later: list[Reason | None]
) -> None:
    breaker = Breaker(share, window=5, at_least=2)
    for reason in noted:
        breaker.note(reason)
    sentence = breaker.tripped
    assume(sentence is not None)
    for reason in later:
        breaker.note(reason)
    assert breaker.tripped == sentence


@given(events, st.lists(st.sampled_from(HEALTHY)), shares)
def test_what_earlier_processes_noted_trips_nothing_by_itself(
    recalled: list[Reason | None], noted: list[Reason | None], share: float
) -> None:
    breaker = Breaker(share, window=5, at_least=1)
    for reason in recalled:
        breaker.recall(reason)
    for reason in noted:
        breaker.note(reason)
    assert breaker.tripped is None


def test_crashes_of_earlier_processes_count_with_the_next_one() -> None:
    breaker = Breaker(0.5)
    for _ in range(9):
        breaker.recall(Reason.CRASHED)
    assert breaker.tripped is None
    breaker.note(Reason.CRASHED)
    assert breaker.tripped is not None


def test_it_says_how_many_of_what_and_what_to_do() -> None:
    breaker = Breaker(0.5)
    for reason in [None] * 5 + [Reason.INTERNAL] * 4 + [Reason.CRASHED] + [Reason.CRASHED]:
        assert breaker.tripped is None
        breaker.note(reason)
    assert breaker.tripped == (
        "stopped taking work: 6 of the last 11 records were dead-lettered by the worker's own fault (2 crashed, "
        "4 internal), more than DEAD_LETTER_STOP_SHARE=0.5 allows; look at the dead letters and the log, roll the "
        "release back and restart, then redrive them"
    )


@pytest.mark.parametrize("at_least", [0, 51])
def test_a_breaker_that_could_never_or_always_trip_is_refused(at_least: int) -> None:
    with pytest.raises(ValueError, match="at_least"):
        Breaker(0.5, at_least=at_least)
