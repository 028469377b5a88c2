"""The rules of partitions.py, one by one and against a model of a log, a group and another member."""

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from consumer.delivery.job import SourceRecord
from consumer.delivery.partitions import InFlight, LogRange, Partitions, TopicPartition

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


def record(offset: int, value: bytes = b"v", partition: int = 0) -> SourceRecord:
    return SourceRecord("t", partition, offset, timestamp_ms=0, key=None, value=value)


def opened(committed: int | None = None, beginning: int = 0, end: int = 100) -> Partitions:
    partitions = Partitions()
    partitions.assign({P0})
    partitions.open(P0, LogRange(committed, beginning, end))
    return partitions


def started(partitions: Partitions, offset: int) -> InFlight:
    work = partitions.take(record(offset), now=0).start
    assert work is not None
    return work


def rebalance(partitions: Partitions, log: LogRange, *names: TopicPartition) -> tuple[InFlight, ...]:
    """Lose everything and get these partitions back; returns all work that was lost."""
    partitions.revoke()
    lost = partitions.assign(names or {P0})
    return lost + tuple(work for name in names or (P0,) for work in partitions.open(name, log).lost)


def test_an_assigned_partition_is_closed_until_its_position_is_known() -> None:
    partitions = Partitions()
    partitions.assign({P0})
    assert partitions.assigned == partitions.closed == {P0}
    assert partitions.next_offset(P0) is None
    with pytest.raises(ValueError, match="closed"):
        partitions.take(record(0), now=0)
    opening = partitions.open(P0, LogRange(committed=7, beginning=2, end=9))
    assert (opening.position, opening.lost, len(opening.missing)) == (7, (), 0)
    assert not partitions.closed
    assert partitions.next_offset(P0) == 7


def test_a_new_group_begins_at_the_beginning_and_commits_nothing_yet() -> None:
    partitions = opened(committed=None, beginning=3)
    assert partitions.next_offset(P0) == 3
    assert partitions.to_commit() == {}


def test_what_is_finished_is_committed_once() -> None:
    partitions = opened()
    work = started(partitions, 0)
    assert partitions.to_commit() == {}
    assert partitions.finish(work)
    assert partitions.to_commit() == {P0: 1}
    partitions.committed({P0: 1}, partitions.epoch)
    assert partitions.to_commit() == {}


def test_nothing_is_committed_during_a_rebalance() -> None:
    partitions = opened()
    partitions.finish(started(partitions, 0))
    partitions.revoke()
    assert partitions.to_commit() == {}
    partitions.assign({P0})
    assert partitions.to_commit() == {}


def test_an_answer_to_a_commit_of_an_earlier_epoch_is_ignored() -> None:
    partitions = opened()
    partitions.finish(started(partitions, 0))
    epoch = partitions.epoch
    rebalance(partitions, LogRange(None, 0, 100))
    partitions.committed({P0: 1}, epoch)
    assert partitions.to_commit() == {P0: 1}


def test_running_work_is_adopted_when_its_record_comes_again() -> None:
    partitions = opened()
    work = started(partitions, 0)
    assert rebalance(partitions, LogRange(None, 0, 100)) == ()
    assert partitions.take(record(0), now=1) == (None, None)
    assert partitions.finish(work)
    assert partitions.to_commit() == {P0: 1}


@pytest.mark.parametrize("finished_when", ["revoked", "assigned", "open"])
def test_work_that_ends_in_the_middle_of_a_rebalance_counts(finished_when: str) -> None:
    partitions = opened()
    work = started(partitions, 0)
    steps: dict[str, Callable[[], object]] = {
        "revoked": partitions.revoke,
        "assigned": lambda: partitions.assign({P0}),
        "open": lambda: partitions.open(P0, LogRange(None, 0, 100)),
    }
    for name, step in steps.items():
        step()
        if name == finished_when:
            assert partitions.finish(work)
    if partitions.next_offset(P0) == 0:
        assert partitions.take(record(0), now=1) == (None, None)
    assert partitions.to_commit() == {P0: 1}


def test_what_finished_out_of_order_is_not_repeated() -> None:
    partitions = opened()
    lowest, higher = started(partitions, 0), started(partitions, 1)
    partitions.finish(higher)
    rebalance(partitions, LogRange(None, 0, 100))
    assert partitions.take(record(0), now=1) == (None, None)
    assert partitions.take(record(1), now=1) == (None, None)
    partitions.finish(lowest)
    assert partitions.to_commit() == {P0: 2}


def test_work_of_a_partition_that_went_away_is_lost_and_changes_nothing() -> None:
    partitions = opened()
    work = started(partitions, 0)
    assert rebalance(partitions, LogRange(None, 0, 100), P1) == (work,)
    assert not partitions.finish(work)
    rebalance(partitions, LogRange(None, 0, 100), P0, P1)
    assert not partitions.finish(work)
    assert partitions.take(record(0), now=1).start is not None
    assert partitions.to_commit() == {}


def test_work_that_another_member_committed_is_lost() -> None:
    partitions = opened()
    done_elsewhere, ours = started(partitions, 0), started(partitions, 5)
    assert rebalance(partitions, LogRange(committed=5, beginning=0, end=100)) == (done_elsewhere,)
    assert partitions.next_offset(P0) == 5
    assert partitions.take(record(5), now=1) == (None, None)
    assert partitions.finish(ours)


def test_a_commit_that_failed_does_not_make_finished_work_run_again() -> None:
    partitions = opened(committed=3)
    partitions.finish(started(partitions, 3))
    rebalance(partitions, LogRange(committed=3, beginning=0, end=100))
    assert partitions.next_offset(P0) == 4
    assert partitions.to_commit() == {P0: 4}


def test_another_record_of_the_same_offset_is_other_work() -> None:
    partitions = opened()
    old = started(partitions, 0)
    rebalance(partitions, LogRange(None, 0, 100))
    taken = partitions.take(record(0, b"other"), now=1)
    assert taken.lost is old
    assert taken.start is not None
    assert not partitions.finish(old)
    assert partitions.to_commit() == {}
    assert partitions.finish(taken.start)


def test_a_position_below_the_log_moves_to_its_beginning_and_is_committed() -> None:
    partitions = Partitions()
    partitions.assign({P0})
    opening = partitions.open(P0, LogRange(committed=2, beginning=9, end=9))
    assert (opening.position, opening.missing) == (9, range(2, 9))
    assert partitions.to_commit() == {P0: 9}


def test_a_position_above_the_log_begins_anew() -> None:
    partitions = opened(committed=40)
    work = started(partitions, 40)
    partitions.revoke()
    partitions.assign({P0})
    opening = partitions.open(P0, LogRange(committed=40, beginning=0, end=3))
    assert (opening.position, opening.missing, opening.lost) == (0, range(3, 40), (work,))
    assert not partitions.finish(work)
    assert partitions.to_commit() == {P0: 0}


def test_a_group_whose_offsets_are_gone_begins_anew() -> None:
    partitions = opened(committed=40)
    work = started(partitions, 40)
    assert rebalance(partitions, LogRange(None, 0, 50)) == (work,)
    assert partitions.next_offset(P0) == 0


def test_a_log_that_begins_anew_while_it_is_read() -> None:
    partitions = opened(committed=40)
    work = started(partitions, 40)
    assert partitions.restart(P0, 2) == (work,)
    assert not partitions.finish(work)
    partitions.finish(started(partitions, 2))
    assert partitions.to_commit() == {P0: 3}


def test_incomplete_offsets_are_counted_over_all_partitions() -> None:
    partitions = opened()
    started(partitions, 0)
    partitions.finish(started(partitions, 1))
    started(partitions, 2)
    assert partitions.incomplete_offsets == 2


class OnePartitionOfAGroup(RuleBasedStateMachine):
    """A log of records, its group's committed offset, this member, and another that takes over in between."""

    def __init__(self) -> None:
        super().__init__()
        self.partitions = Partitions()
        self.end = 0
        self.committed: int | None = None
        self.position: int | None = None  # where this member reads next; None while it does not hold the partition
        self.running: list[InFlight] = []
        self.answered: set[int] = set()
        self.known: set[int] = set()  # answered here, with the partition in hand without a break since

    def _log(self) -> LogRange:
        return LogRange(self.committed, 0, self.end)

    def _lose(self, lost: tuple[InFlight, ...]) -> None:
        for work in lost:
            self.running.remove(work)

    @rule(count=st.integers(1, 4))
    def append(self, count: int) -> None:
        self.end += count

    @rule()
    def lose(self) -> None:
        """The partition goes to another member; this one is left with none, or with another."""
        self.partitions.revoke()
        self._lose(self.partitions.assign({P1}))
        self.partitions.open(P1, LogRange(None, 0, 0))
        self.position = None
        self.known.clear()

    @precondition(lambda self: self.position is None)
    @rule(data=st.data())
    def other_member_works(self, data: st.DataObject) -> None:
        start = self.committed or 0
        stop = data.draw(st.integers(start, self.end))
        self.answered |= set(range(start, stop))
        self.committed = stop

    @rule(finish_between=st.booleans())
    def assign(self, *, finish_between: bool) -> None:
        self.partitions.revoke()
        if finish_between and self.position is not None:
            self.finish_any(0)
        self._lose(self.partitions.assign({P0}))
        opening = self.partitions.open(P0, self._log())
        self._lose(opening.lost)
        assert not opening.missing
        self.position = opening.position

    @precondition(lambda self: self.position is not None and self.position < self.end)
    @rule()
    def deliver(self) -> None:
        assert self.position is not None
        taken = self.partitions.take(record(self.position), now=0)
        assert taken.lost is None
        if taken.start is not None:
            assert self.position not in self.known, "finished work was repeated"
            assert self.position not in {work.record.offset for work in self.running}, "running work was repeated"
            self.running.append(taken.start)
        self.position += 1

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 10))
    def finish_any(self, which: int) -> None:
        if self.running:
            work = self.running.pop(which % len(self.running))
            self.answered.add(work.record.offset)
            self.known.add(work.record.offset)
            assert self.partitions.finish(work)

    @rule(acknowledged=st.booleans())
    def commit(self, *, acknowledged: bool) -> None:
        offsets = self.partitions.to_commit()
        if P0 in offsets:
            assert self.position is not None, "committed without the partition"
            assert offsets[P0] >= (self.committed or 0), "the committed offset fell"
            self.committed = offsets[P0]
            if acknowledged:
                self.partitions.committed(offsets, self.partitions.epoch)

    @invariant()
    def never_committed_past_an_unanswered_record(self) -> None:
        assert set(range(self.committed or 0)) <= self.answered

    def teardown(self) -> None:
        """Whatever happened: whoever works on to the end has answered and committed everything."""
        self.assign(finish_between=False)
        while self.position is not None and self.position < self.end:
            self.deliver()
        while self.running:
            self.finish_any(0)
        self.commit(acknowledged=True)
        assert self.answered == set(range(self.end))
        assert (self.committed or 0) == self.end


TestOnePartitionOfAGroup = OnePartitionOfAGroup.TestCase
TestOnePartitionOfAGroup.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
