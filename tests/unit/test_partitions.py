"""The rules of partitions.py, one by one; test_partitions_model.py has them all together, in any order."""

from collections.abc import Callable

import pytest

from consumer.delivery import partitions as module
from consumer.delivery.commit_metadata import MAX_ENTRIES, WINDOW_OFFSETS, Entry, Remembered, State, decode, encode
from consumer.delivery.job import SourceRecord
from consumer.delivery.partitions import Commit, InFlight, LogRange, Partitions, Taken, TopicPartition

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


def attempted(partitions: Partitions, offset: int, *, alone: bool = False) -> InFlight:
    work = started(partitions, offset)
    partitions.begin_attempt(work, alone=alone)
    return work


def accept(partitions: Partitions, *, clean: bool = False) -> LogRange:
    """The broker takes what there is to commit for P0; returns what it then knows."""
    commits = partitions.to_commit(clean=clean)
    partitions.committed(commits, partitions.epoch)
    return LogRange(commits[P0].offset, 0, 100, commits[P0].metadata)


def entries(log: LogRange) -> dict[int, Entry]:
    assert log.committed is not None
    return dict(decode(log.committed, log.metadata).entries)


def taken_over(log: LogRange) -> Partitions:
    """Another member opens P0."""
    partitions = Partitions()
    partitions.assign({P0})
    partitions.open(P0, log)
    return partitions


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
    assert partitions.to_commit() == {P0: Commit(1)}
    partitions.committed({P0: Commit(1)}, partitions.epoch)
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
    partitions.committed({P0: Commit(1)}, epoch)
    assert partitions.to_commit() == {P0: Commit(1)}


def test_running_work_is_adopted_when_its_record_comes_again() -> None:
    partitions = opened()
    work = started(partitions, 0)
    assert rebalance(partitions, LogRange(None, 0, 100)) == ()
    assert partitions.take(record(0), now=1) == Taken()
    assert partitions.finish(work)
    assert partitions.to_commit() == {P0: Commit(1)}


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
        assert partitions.take(record(0), now=1) == Taken()
    assert partitions.to_commit() == {P0: Commit(1)}


def test_what_finished_out_of_order_is_not_repeated() -> None:
    partitions = opened()
    lowest, higher = started(partitions, 0), started(partitions, 1)
    partitions.finish(higher)
    rebalance(partitions, LogRange(None, 0, 100))
    assert partitions.take(record(0), now=1) == Taken()
    assert partitions.take(record(1), now=1) == Taken()
    partitions.finish(lowest)
    assert partitions.to_commit() == {P0: Commit(2)}


def test_a_record_that_needs_no_work_moves_the_mark() -> None:
    partitions = opened()
    work = started(partitions, 0)
    rebalance(partitions, LogRange(None, 0, 100))
    partitions.finish(work)
    assert partitions.to_commit()[P0].offset == 0
    assert partitions.take(record(0), now=1) == Taken()
    assert partitions.to_commit() == {P0: Commit(1)}


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
    assert partitions.take(record(5), now=1) == Taken()
    assert partitions.finish(ours)


def test_a_commit_that_failed_does_not_make_finished_work_run_again() -> None:
    partitions = opened(committed=3)
    partitions.finish(started(partitions, 3))
    rebalance(partitions, LogRange(committed=3, beginning=0, end=100))
    assert partitions.next_offset(P0) == 4
    assert partitions.to_commit() == {P0: Commit(4)}


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
    assert partitions.to_commit() == {P0: Commit(9)}


def test_a_position_above_the_log_begins_anew() -> None:
    partitions = opened(committed=40)
    work = started(partitions, 40)
    partitions.revoke()
    partitions.assign({P0})
    opening = partitions.open(P0, LogRange(committed=40, beginning=0, end=3))
    assert (opening.position, opening.missing, opening.lost) == (0, range(3, 40), (work,))
    assert not partitions.finish(work)
    assert partitions.to_commit() == {P0: Commit(0)}


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
    assert partitions.to_commit() == {P0: Commit(3)}


def test_incomplete_offsets_are_counted_over_all_partitions() -> None:
    partitions = opened()
    started(partitions, 0)
    partitions.finish(started(partitions, 1))
    started(partitions, 2)
    assert partitions.incomplete_offsets == 2


# ---- metadata (rule 7)


def test_what_finished_above_the_mark_is_not_repeated_by_whoever_continues() -> None:
    partitions = opened()
    started(partitions, 0)
    partitions.finish(started(partitions, 1))
    successor = taken_over(accept(partitions))
    started(successor, 0)
    assert successor.take(record(1), now=0) == Taken()
    started(successor, 2)


def test_what_another_member_finished_is_joined_with_what_was_finished_here() -> None:
    partitions = opened()
    started(partitions, 0)
    elsewhere = started(partitions, 1)
    partitions.finish(started(partitions, 2))
    known_there = encode(0, Remembered(frozenset({1, 3})))
    assert rebalance(partitions, LogRange(0, 0, 100, known_there)) == (elsewhere,)
    assert not partitions.finish(elsewhere)
    assert [partitions.take(record(offset), now=0) for offset in range(4)] == [Taken()] * 4
    started(partitions, 4)
    assert decode(0, partitions.to_commit()[P0].metadata) == Remembered(frozenset({1, 2, 3}))


def test_foreign_metadata_is_ignored_told_and_overwritten() -> None:
    partitions = Partitions()
    partitions.assign({P0})
    opening = partitions.open(P0, LogRange(3, 0, 100, "checked by hand"))
    assert opening.position == 3
    assert opening.foreign_metadata is not None
    assert "another program" in opening.foreign_metadata
    assert partitions.to_commit() == {P0: Commit(3)}


def test_metadata_of_an_offset_that_was_set_by_hand_brings_nothing_back() -> None:
    partitions = opened()
    started(partitions, 0)
    partitions.finish(started(partitions, 5))
    metadata = accept(partitions).metadata
    reset = Partitions()
    reset.assign({P0})
    assert reset.open(P0, LogRange(4, 0, 100, metadata)).foreign_metadata
    started(reset, 5)


def test_a_log_that_begins_anew_has_none_of_the_metadata() -> None:
    metadata = encode(40, Remembered(frozenset({41}), {42: Entry(2, State.SUSPECT)}))
    partitions = Partitions()
    partitions.assign({P0})
    assert partitions.open(P0, LogRange(40, 0, 3, metadata)).position == 0
    assert partitions.to_commit() == {P0: Commit(0)}
    assert started(partitions, 0).suspect is False


def test_a_log_that_begins_anew_while_it_is_read_has_no_suspects() -> None:
    partitions = taken_over(LogRange(0, 0, 100, encode(0, Remembered(entries={3: Entry(1, State.SUSPECT)}))))
    partitions.restart(P0, 0)
    assert started(partitions, 3).suspect is False


# ---- attempts (rule 8)


@pytest.mark.parametrize("alone", [False, True])
def test_an_attempt_is_on_record_once_a_commit_that_says_so_was_accepted(*, alone: bool) -> None:
    partitions = opened()
    work = started(partitions, 0)
    assert partitions.to_commit() == {}
    partitions.begin_attempt(work, alone=alone)
    commits = partitions.to_commit()
    assert commits[P0].attempts == (work,)
    assert not work.on_record
    assert partitions.committed(commits, partitions.epoch) == (work,)
    assert work.on_record
    assert partitions.to_commit() == {}
    state = State.ALONE if alone else State.BESIDE_OTHERS
    assert decode(0, commits[P0].metadata).entries == {0: Entry(0, state)}


def test_an_attempt_that_began_after_the_commit_was_computed_is_not_on_record() -> None:
    partitions = opened()
    early, late = attempted(partitions, 0), started(partitions, 1)
    commits = partitions.to_commit()
    partitions.begin_attempt(late, alone=False)
    assert partitions.committed(commits, partitions.epoch) == (early,)
    assert (early.on_record, late.on_record) == (True, False)
    assert partitions.committed(partitions.to_commit(), partitions.epoch) == (late,)


def test_an_attempt_that_began_anew_otherwise_is_not_on_record_by_the_commit_of_the_former() -> None:
    partitions = opened()
    work = attempted(partitions, 0)
    commits = partitions.to_commit()
    partitions.begin_attempt(work, alone=True)
    assert partitions.committed(commits, partitions.epoch) == ()
    assert not work.on_record
    assert partitions.committed(partitions.to_commit(), partitions.epoch) == (work,)


def test_an_attempt_that_began_anew_the_same_way_comes_on_record_again() -> None:
    """Nothing changed that the broker does not know, yet somebody waits for a commit."""
    partitions = opened()
    work = attempted(partitions, 0)
    accept(partitions)
    partitions.begin_attempt(work, alone=False)
    assert not work.on_record
    assert partitions.committed(partitions.to_commit(), partitions.epoch) == (work,)


def test_a_commit_of_an_earlier_epoch_brings_nothing_on_record() -> None:
    partitions = opened()
    work = attempted(partitions, 0)
    commits, epoch = partitions.to_commit(), partitions.epoch
    log = LogRange(0, 0, 100, commits[P0].metadata)  # it was accepted; only the answer came late
    rebalance(partitions, log)
    assert partitions.committed(commits, epoch) == ()
    assert not work.on_record
    assert partitions.committed(partitions.to_commit(), partitions.epoch) == (work,)


def test_a_commit_accepted_after_its_partition_was_closed_is_not_believed() -> None:
    partitions = opened()
    work = attempted(partitions, 0)
    commits = partitions.to_commit()
    partitions.close(P0)
    assert not partitions.is_open(P0)
    assert partitions.closed == {P0}
    assert partitions.committed(commits, partitions.epoch) == ()
    assert partitions.to_commit_with(P0, [work]) is None
    partitions.open(P0, LogRange(None, 0, 100))
    assert partitions.is_open(P0)
    assert partitions.to_commit() == commits


def test_adopted_work_is_on_record_again_by_the_first_commit_of_the_new_epoch() -> None:
    partitions = opened()
    work = attempted(partitions, 0)
    accept(partitions)
    partitions.revoke()
    partitions.assign({P0})
    handed_back = LogRange(0, 0, 100, "")
    assert partitions.open(P0, handed_back).lost == ()
    assert not work.on_record
    assert partitions.committed(partitions.to_commit(), partitions.epoch) == (work,)


def test_an_attempt_whose_record_is_gone_from_the_log_need_not_be_told() -> None:
    partitions = opened()
    gone = started(partitions, 0)
    rebalance(partitions, LogRange(None, 7, 100))
    partitions.begin_attempt(gone, alone=False)
    commits = partitions.to_commit()
    assert commits == {P0: Commit(7)}
    assert partitions.committed(commits, partitions.epoch) == (gone,)


def test_what_is_told_about_lost_work_changes_nothing() -> None:
    partitions = opened()
    work = attempted(partitions, 0, alone=True)
    rebalance(partitions, LogRange(None, 0, 100), P1)
    rebalance(partitions, LogRange(None, 0, 100), P0)
    partitions.begin_attempt(work, alone=False)
    partitions.progressed(work)
    partitions.cleared(work)
    partitions.abandon(work)
    assert (work.attempt, work.suspect) == (State.ALONE, True)
    assert not partitions.holds(work)
    assert partitions.to_commit() == {}
    assert started(partitions, 0).suspect is False


def test_before_its_attempt_there_is_nothing_to_be_cleared() -> None:
    partitions = opened()
    work = started(partitions, 0)
    partitions.progressed(work)
    partitions.cleared(work)
    assert partitions.to_commit() == {}


# ---- deaths (rules 9 and 10)


@pytest.mark.parametrize(
    ("steps", "deaths"),
    [
        ("alone", 1),
        ("beside", 0),
        ("alone progressed", 0),
        ("alone progressed alone", 1),
        ("alone cleared", 0),
        ("alone progressed cleared", 0),
        ("beside progressed", 0),
    ],
)
def test_a_death_counts_while_alone_and_without_progress(steps: str, deaths: int) -> None:
    partitions = opened()
    work = started(partitions, 0)
    for step in steps.split():
        match step:
            case "alone" | "beside":
                partitions.begin_attempt(work, alone=step == "alone")
            case "progressed":
                partitions.progressed(work)
            case "cleared":
                partitions.cleared(work)
    accepted = accept(partitions)
    for _ in range(2):  # who dies before its first commit was not working: the count stays
        successor = taken_over(accepted)
        again = started(successor, 0)
        assert (again.deaths, again.suspect, again.attempt) == (deaths, True, None)
    told = accept(successor)
    assert entries(told) == {0: Entry(deaths, State.SUSPECT)}
    assert started(taken_over(told), 0).deaths == deaths


def test_new_deaths_are_told_once() -> None:
    partitions = opened()
    attempted(partitions, 0, alone=True)
    attempted(partitions, 1)
    log = accept(partitions)
    successor = Partitions()
    successor.assign({P0})
    assert successor.open(P0, log).deaths == 1
    for _ in range(2):
        successor.assign({P0})
        assert successor.open(P0, log).deaths == 0
    accept(successor)
    successor.assign({P0})
    assert successor.open(P0, log).deaths == 0, "an older commit, as if the broker had lost ours"


def test_an_older_commit_takes_no_deaths_back() -> None:
    def told(deaths: int) -> LogRange:
        return LogRange(0, 0, 100, encode(0, Remembered(entries={0: Entry(deaths, State.SUSPECT)})))

    partitions = taken_over(told(2))
    rebalance(partitions, told(1))
    assert started(partitions, 0).deaths == 2


def test_deaths_stay_with_a_record_until_it_is_finished() -> None:
    log = LogRange(0, 0, 100, encode(0, Remembered(entries={0: Entry(2, State.ALONE)})))
    partitions = taken_over(log)
    work = attempted(partitions, 0, alone=True)
    assert entries(accept(partitions)) == {0: Entry(3, State.ALONE)}
    partitions.cleared(work)
    assert work.suspect is False
    assert entries(accept(partitions)) == {0: Entry(3, State.BESIDE_OTHERS)}
    assert entries(accept(partitions, clean=True)) == {0: Entry(3, State.SUSPECT)}
    partitions.finish(work)
    assert partitions.to_commit() == {P0: Commit(1)}


def test_a_record_that_never_began_is_no_suspect() -> None:
    partitions = opened()
    attempted(partitions, 0)
    started(partitions, 1)
    successor = taken_over(accept(partitions))
    assert started(successor, 0).suspect
    assert not started(successor, 1).suspect


def test_running_work_that_is_adopted_is_no_death() -> None:
    partitions = opened()
    beside, alone = attempted(partitions, 0), attempted(partitions, 1, alone=True)
    log = accept(partitions)
    assert rebalance(partitions, log) == ()
    assert [partitions.take(record(offset), now=1) for offset in (0, 1)] == [Taken(), Taken()]
    assert [(work.deaths, work.suspect) for work in (beside, alone)] == [(0, False), (0, True)]
    assert entries(accept(partitions)) == entries(log)


def test_nothing_is_left_of_adopted_work_once_it_is_finished() -> None:
    partitions = opened()
    started(partitions, 0)
    work = attempted(partitions, 1, alone=True)
    metadata = partitions.to_commit()[P0].metadata  # accepted, though nobody heard of it
    assert rebalance(partitions, LogRange(0, 0, 100, metadata)) == ()
    partitions.finish(work)
    assert decode(0, partitions.to_commit()[P0].metadata) == Remembered(frozenset({1}))


def test_deaths_that_another_member_counted_meanwhile_count_for_adopted_work() -> None:
    partitions = opened()
    work = attempted(partitions, 0)
    rebalance(partitions, LogRange(0, 0, 100, encode(0, Remembered(entries={0: Entry(2, State.SUSPECT)}))))
    assert (work.deaths, work.attempt) == (2, State.BESIDE_OTHERS)


def test_what_is_given_back_is_no_death() -> None:
    partitions = opened()
    attempted(partitions, 0)
    attempted(partitions, 1, alone=True)
    progressed = attempted(partitions, 2, alone=True)
    partitions.progressed(progressed)
    accept(partitions)
    log = accept(partitions, clean=True)
    assert entries(log) == {1: Entry(0, State.SUSPECT), 2: Entry(0, State.SUSPECT)}
    assert not progressed.on_record
    successor = taken_over(log)
    assert [started(successor, offset).suspect for offset in range(3)] == [False, True, True]


def test_what_is_abandoned_is_no_death_and_stays_unfinished() -> None:
    partitions = opened()
    beside, alone, untouched = attempted(partitions, 0), attempted(partitions, 1, alone=True), started(partitions, 2)
    accept(partitions)
    for work in (beside, alone, untouched):
        partitions.abandon(work)
        assert not partitions.finish(work)
    log = accept(partitions)
    assert (log.committed, entries(log)) == (0, {1: Entry(0, State.SUSPECT)})
    rebalance(partitions, log)
    assert [started(partitions, offset).suspect for offset in range(3)] == [False, True, False]


def test_what_was_abandoned_here_is_no_death_though_the_broker_has_it_as_running() -> None:
    partitions = opened()
    work = attempted(partitions, 0, alone=True)
    log = accept(partitions)
    partitions.abandon(work)
    partitions.assign({P0})
    assert partitions.open(P0, log).deaths == 0
    assert started(partitions, 0).deaths == 0


def test_a_suspect_that_waits_is_told_in_each_commit() -> None:
    log = LogRange(0, 0, 100, encode(0, Remembered(entries={5: Entry(1, State.SUSPECT)})))
    partitions = taken_over(log)
    partitions.finish(started(partitions, 0))
    for clean in (False, True):
        commit = partitions.to_commit(clean=clean)[P0]
        assert decode(1, commit.metadata).entries == {5: Entry(1, State.SUSPECT)}


def test_suspects_that_were_passed_over_are_forgotten() -> None:
    metadata = encode(2, Remembered(frozenset({6}), {at: Entry(1, State.SUSPECT) for at in (2, 4, 6, 7)}))
    partitions = Partitions()
    partitions.assign({P0})
    partitions.open(P0, LogRange(2, 3, 100, metadata))
    started(partitions, 3)
    started(partitions, 5)  # compaction took 4
    assert decode(3, partitions.to_commit()[P0].metadata) == Remembered(frozenset({6}), {7: Entry(1, State.SUSPECT)})


# ---- commits that foresee


def test_a_commit_that_foresees_changes_nothing() -> None:
    partitions = opened()
    first, second = attempted(partitions, 0), attempted(partitions, 1)
    third = attempted(partitions, 2)
    accept(partitions)
    commit = partitions.to_commit_with(P0, [first, third])
    assert commit is not None
    assert (commit.offset, commit.attempts) == (1, (second,))
    assert decode(1, commit.metadata) == Remembered(frozenset({2}), {1: Entry(0, State.BESIDE_OTHERS)})
    assert partitions.to_commit() == {}
    partitions.finish(first)
    partitions.finish(third)
    assert partitions.to_commit() == {P0: commit}
    partitions.committed({P0: commit}, partitions.epoch)
    assert partitions.to_commit() == {}


def test_a_commit_that_foresees_leaves_lost_work_out() -> None:
    partitions = opened()
    lost = started(partitions, 0)
    rebalance(partitions, LogRange(None, 0, 100), P1)
    rebalance(partitions, LogRange(None, 0, 100), P0)
    assert not partitions.holds(lost)
    assert partitions.to_commit_with(P0, [lost]) == Commit(0)
    assert partitions.to_commit_with(P0, []) is None
    assert partitions.to_commit_with(P1, []) is None


def test_a_commit_that_foresees_can_be_the_last() -> None:
    partitions = opened()
    first = attempted(partitions, 0)
    attempted(partitions, 1)
    accept(partitions)
    assert partitions.to_commit_with(P0, [first], clean=True) == Commit(1)


# ---- room (rule 11)


def test_a_record_beyond_the_window_waits() -> None:
    partitions = opened(end=10**6)
    lowest = started(partitions, 0)
    assert partitions.full == frozenset()
    too_far = WINDOW_OFFSETS + 5  # offsets between hold no record
    assert partitions.take(record(too_far), now=0) == Taken(beyond=True)
    assert partitions.full == {P0}
    assert not partitions.has_room(P0)
    assert partitions.next_offset(P0) == too_far, "where to read again"
    assert partitions.take(record(too_far + 1), now=0) == Taken(beyond=True)
    assert partitions.next_offset(P0) == too_far
    with pytest.raises(ValueError, match="ascending"):
        partitions.take(record(too_far - 1), now=0)
    partitions.finish(lowest)
    assert partitions.has_room(P0)
    assert partitions.full == frozenset()
    started(partitions, too_far)
    assert partitions.to_commit() == {P0: Commit(too_far)}


def test_no_more_records_are_open_than_entries_fit() -> None:
    partitions = opened(end=10**6)
    works = [attempted(partitions, offset) for offset in range(MAX_ENTRIES)]
    assert partitions.full == {P0}
    assert partitions.take(record(MAX_ENTRIES), now=0).beyond
    assert len(entries(accept(partitions))) == MAX_ENTRIES
    partitions.finish(works[7])
    assert partitions.has_room(P0)
    started(partitions, MAX_ENTRIES)


def test_suspects_that_wait_take_up_room_and_never_wait_for_each_other() -> None:
    waiting = {offset: Entry(1, State.SUSPECT) for offset in range(1, MAX_ENTRIES + 1)}
    partitions = taken_over(LogRange(0, 0, 1000, encode(0, Remembered(entries=waiting))))
    first = started(partitions, 0)  # with no work at all there is always room
    works = [started(partitions, offset) for offset in waiting]
    assert partitions.take(record(MAX_ENTRIES + 1), now=0).beyond
    partitions.finish(first)
    assert partitions.take(record(MAX_ENTRIES + 1), now=0).beyond
    partitions.finish(works[-1])
    started(partitions, MAX_ENTRIES + 1)


def test_where_entries_do_not_all_fit_attempts_and_deaths_are_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    partitions = opened()
    for offset in (0, 5):
        attempted(partitions, offset)
    told = {1: Entry(0, State.SUSPECT), 2: Entry(0, State.SUSPECT), 9: Entry(1, State.SUSPECT)}
    rebalance(partitions, LogRange(0, 0, 100, encode(0, Remembered(entries=told))))
    running = Entry(0, State.BESIDE_OTHERS)
    assert entries(accept(partitions)) == {0: running, 5: running, 9: Entry(1, State.SUSPECT)}


def test_a_partition_that_is_not_ours_has_no_room() -> None:
    partitions = opened()
    partitions.revoke()
    assert not partitions.has_room(P0)
    assert partitions.full == frozenset()
    assert partitions.next_offset(P0) is None
