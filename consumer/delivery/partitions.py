"""What this member of the consumer group knows about its partitions. Pure: no clock, no broker, no tasks.

Every rebalance takes all partitions away and gives some back, often the same ones. In between, work goes on.

1. Each assignment is an epoch. Offsets are committed for partitions of the current epoch only.
2. A partition is *closed* until it is known from where to read it; records that arrive before are dropped,
   and read again from that position. Nothing is committed for a closed partition.
3. A partition that comes back at once keeps what was known of it: what is finished is not repeated, and work
   still running is adopted when its record is delivered again, if it is the same record to the byte.
4. Work is *lost* when its partition went to another member, when another member has committed past it or
   finished it, or when the log began anew. Lost work is to be cancelled, and whatever it still answers changes
   nothing.
5. Reading never starts below the committed offset, nor below what was finished here.
6. If the position lies outside the log, reading goes on at the log's beginning, and the missing offsets are
   told.
7. The metadata of a commit says what is finished above its offset, and which records a worker may die over. It
   is read when a partition is opened, unless it is what this member put there or read there before. Metadata
   that is not ours is ignored, told, and overwritten by the next commit.
8. An *attempt* at a record is on record once the broker has accepted a commit that says so, in this epoch. Only
   what was said in that commit counts: an attempt that began after it was computed is not on record.
9. An attempt that is on record when a partition is opened, and that does not run here, ended by a death. Its
   record is a *suspect*: it must run alone. The death counts against it only if it ran alone and had made no
   progress; beside others, any of them may have been the cause.
10. Nothing else is a death: what runs here goes on with the entry it has here, and a member that gives its
    partitions back, or stops, first says what will not be running any more. Deaths that were counted, and suspects
    that have not run alone, are told in each commit until their record is finished.
11. A record is *beyond* where what is to be remembered might not fit into a commit: too far above the lowest
    unfinished offset, or with too many records open. It is not begun, and is to be read again later.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from consumer.delivery.commit_metadata import (
    MAX_DEATHS,
    MAX_ENTRIES,
    Entry,
    ForeignMetadata,
    Remembered,
    State,
    decode,
    encode,
)
from consumer.delivery.job import SourceRecord
from consumer.delivery.offsets import OffsetTracker


class TopicPartition(NamedTuple):
    """Name of a partition."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class LogRange:
    """What the broker knows about a partition: the group's commit, and which offsets the log holds."""

    committed: int | None
    beginning: int
    end: int
    metadata: str = ""


@dataclass(slots=True, eq=False)
class InFlight:
    """A record that is being worked on."""

    record: SourceRecord
    since: float  # reading of a monotonic clock, seconds
    deaths: int = 0
    """Deaths that count against the record (rule 9)."""
    suspect: bool = False
    """Whether it must run alone."""
    attempt: State | None = None
    """How it runs; None before its attempt began."""
    on_record: bool = False
    """Whether the broker knows of the attempt (rule 8)."""

    @property
    def partition(self) -> TopicPartition:
        return TopicPartition(self.record.topic, self.record.partition)


@dataclass(frozen=True, slots=True)
class Opening:
    """How a partition was opened."""

    position: int
    """Where to read."""
    missing: range
    """Offsets that are gone unread."""
    lost: tuple[InFlight, ...]
    foreign_metadata: str | None = None
    """Why the metadata of the commit was ignored; None where it was not."""
    deaths: int = 0
    """How many deaths were counted now, of records that were being worked on alone."""


class Taken(NamedTuple):
    """What follows from a record that was read."""

    start: InFlight | None = None
    """Work to be started; None where the record is finished, beyond, or its work is running already."""
    lost: InFlight | None = None
    """Work about another record that once had the same offset."""
    beyond: bool = False
    """Nothing was begun (rule 11). This record is to be read again, once there is room, before any that follows it."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What the broker should be told about one partition."""

    offset: int
    metadata: str = ""
    shown: Mapping[InFlight, State] = field(default_factory=dict, compare=False, repr=False)
    """The attempts that will be on record by it, as they were when it was computed."""

    @property
    def attempts(self) -> tuple[InFlight, ...]:
        return tuple(self.shown)


@dataclass(slots=True)
class _Partition:
    is_open: bool = False
    committed: int = 0  # as far as is known; meaningful once opened
    metadata: str = ""  # of that commit
    has_committed: bool = False
    tracker: OffsetTracker | None = None  # None until opened for the first time
    running: dict[int, InFlight] = field(default_factory=dict)
    suspects: dict[int, int] = field(default_factory=dict)  # those that wait: deaths by offset
    unchanged: Commit | None = None  # what to commit, unless something changed since it was computed

    @property
    def has_room(self) -> bool:
        """Whether the next record may be begun (rule 11). With no work at all one may always be."""
        tracker = self.tracker
        if tracker is None or not tracker.has_room(tracker.next_offset):
            return False
        has_entry = tracker.next_offset in self.running or tracker.next_offset in self.suspects
        return has_entry or not self.running or len(self.running) + len(self.suspects) < MAX_ENTRIES

    def read(self, log: LogRange) -> tuple[Remembered, str | None]:
        """What the metadata tells us (rule 7), and why it was ignored, if it was."""
        is_known = self.tracker is not None and (self.committed, self.metadata) == (log.committed, log.metadata)
        if log.committed is None or is_known:
            return Remembered(), None
        try:
            return decode(log.committed, log.metadata), None
        except ForeignMetadata as foreign:
            return Remembered(), str(foreign)

    def forget(self) -> None:
        """All that was known is about another log."""
        self.tracker = None
        self.suspects.clear()
        self.unchanged = None

    def lose(self, below: int | None, finished: Collection[int] = ()) -> tuple[InFlight, ...]:
        """Forget work at offsets below the given one and at finished ones, or all work. Returns what was forgotten."""
        gone = [offset for offset in self.running if below is None or offset < below or offset in finished]
        return tuple(self.running.pop(offset) for offset in gone)

    def suspect(self, entries: Mapping[int, Entry]) -> int:
        """Take over the entries of a commit (rules 9 and 10), as a partition is opened. Returns the new deaths."""
        self.unchanged = None
        new_deaths = 0
        for offset, entry in entries.items():
            if work := self.running.get(offset):
                work.deaths = max(work.deaths, entry.deaths)  # another member had it meanwhile
                continue
            deaths = min(entry.deaths + (entry.state is State.ALONE), MAX_DEATHS)
            known = self.suspects.get(offset, 0)
            new_deaths += max(deaths, known) > max(entry.deaths, known)
            self.suspects[offset] = max(deaths, known)
        self._forget_settled_suspects()
        return new_deaths

    def skip_to(self, offset: int) -> None:
        """The next record has this offset. Raises ValueError where it is below those that were begun."""
        if self.tracker and offset != self.tracker.next_offset:
            passed_over = range(self.tracker.next_offset, offset)
            self.tracker.skip_to(offset)
            self.suspects = {at: deaths for at, deaths in self.suspects.items() if at not in passed_over}
            self.unchanged = None

    def commit(self, also: frozenset[int], *, clean: bool) -> Commit:
        """What to commit, if the records at the offsets of ``also`` were finished too."""
        if also or clean:
            return self._commit(also, clean=clean)
        if self.unchanged is None:
            self.unchanged = self._commit(also, clean=clean)
        return self.unchanged

    def _commit(self, also: frozenset[int], *, clean: bool) -> Commit:
        if self.tracker is None:
            raise ValueError("nothing can be committed for a partition that was never opened")
        low_water, above = self.tracker.finished_with(also)
        entries = {offset: Entry(deaths, State.SUSPECT) for offset, deaths in self.suspects.items()}
        shown: dict[InFlight, State] = {}
        for offset, work in self.running.items():
            if offset in also:
                continue
            if work.attempt is not None and not clean:
                shown[work] = work.attempt
                entries[offset] = Entry(work.deaths, work.attempt)
            elif work.suspect or work.deaths:
                entries[offset] = Entry(work.deaths, State.SUSPECT)
        # Below the mark is only work whose record is gone from the log: nobody will read it again, so nothing has
        # to be told of it, and its attempt counts as told.
        entries = {offset: entry for offset, entry in entries.items() if offset >= low_water}
        return Commit(low_water, encode(low_water, Remembered(above, _as_many_as_fit(entries))), shown)

    def _forget_settled_suspects(self) -> None:
        if self.tracker:
            low_water, above = self.tracker.finished_with(())
            self.suspects = {
                offset: deaths
                for offset, deaths in self.suspects.items()
                if offset >= low_water and offset not in above
            }


@dataclass(frozen=True, slots=True)
class Overview:
    """How far a partition is: the offset below which all is finished, None until it is opened, and what is not."""

    partition: int
    finished_below: int | None
    unfinished: int


class Partitions:
    """All partitions that this member holds or, during a rebalance, held last."""

    def __init__(self) -> None:
        self.epoch = 0
        self._held: dict[TopicPartition, _Partition] = {}
        self._assigned: frozenset[TopicPartition] = frozenset()

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """Empty while a rebalance goes on."""
        return self._assigned

    @property
    def closed(self) -> frozenset[TopicPartition]:
        """Assigned partitions that still have to be opened."""
        return frozenset(name for name in self._assigned if not self._held[name].is_open)

    @property
    def full(self) -> frozenset[TopicPartition]:
        """Open partitions whose next record would be beyond (rule 11)."""
        return frozenset(name for name in self._assigned if (held := self._held[name]).is_open and not held.has_room)

    @property
    def incomplete_offsets(self) -> int:
        """Offsets that were read and are not finished, in all open partitions."""
        return sum(held.tracker.unfinished_count for held in self._held.values() if held.tracker)

    def overview(self) -> list[Overview]:
        """Each assigned partition, for people."""
        trackers = {name: self._held[name].tracker for name in sorted(self._assigned)}
        return [
            Overview(name.partition, tracker.low_water if tracker else None, tracker.unfinished_count if tracker else 0)
            for name, tracker in trackers.items()
        ]

    def unanswered(self, ends: Mapping[TopicPartition, int]) -> int:
        """Records of open partitions that are not finished, up to ``ends`` (offsets of the next record) or beyond."""
        trackers = ((self._if_open(name), end) for name, end in ends.items())
        return sum(
            max(held.tracker.unfinished_count, end - held.tracker.low_water - len(held.tracker.finished_above()))
            for held, end in trackers
            if held is not None and held.tracker is not None
        )

    # ---- assignments

    def revoke(self) -> None:
        """A rebalance begins: nothing is ours until the next assignment."""
        self._assigned = frozenset()
        for held in self._held.values():
            held.is_open = False

    def assign(self, names: Collection[TopicPartition]) -> tuple[InFlight, ...]:
        """A new epoch begins, with these partitions, all closed. Returns the work that is lost."""
        self.revoke()
        self.epoch += 1
        gone = [self._held.pop(name) for name in self._held.keys() - set(names)]
        for name in names:
            self._held.setdefault(name, _Partition())
        self._assigned = frozenset(names)
        return tuple(work for held in gone for work in held.running.values())

    def open(self, name: TopicPartition, log: LogRange) -> Opening:
        """Decide from where an assigned partition is read (rules 3 to 7 and 9)."""
        held = self._held[name]
        if log.committed is None and held.has_committed:
            held.forget()  # the group's offsets are gone: the topic was made anew
        remembered, foreign = held.read(log)
        position, finished = _continuation(held.tracker, log)
        finished |= remembered.finished
        entries = remembered.entries
        missing = range(0)
        if position > log.end:
            held.forget()
            position, missing, finished, entries = log.beginning, range(log.end, position), frozenset(), {}
        elif position < log.beginning:
            position, missing = log.beginning, range(position, log.beginning)
        lost = held.lose(None if held.tracker is None else (log.committed or 0), finished)
        held.tracker = OffsetTracker(position, finished)
        deaths = held.suspect(entries)
        held.committed = log.beginning if log.committed is None else log.committed
        held.metadata = log.metadata
        held.has_committed = log.committed is not None
        held.is_open = True
        for work in held.running.values():
            work.on_record = False
        return Opening(position, missing, lost, foreign, deaths)

    def is_open(self, name: TopicPartition) -> bool:
        """Whether the partition is ours and open."""
        return self._if_open(name) is not None

    def close(self, name: TopicPartition) -> None:
        """What is known of the commit of a partition is in doubt: it is to be opened again."""
        if held := self._if_open(name):
            held.is_open = False

    def restart(self, name: TopicPartition, position: int) -> tuple[InFlight, ...]:
        """The log of an open partition began anew, at ``position``. Returns the work that is lost (rule 4)."""
        held = self._held[name]
        held.forget()
        held.tracker = OffsetTracker(position)
        return held.lose(below=None)

    # ---- records

    def next_offset(self, name: TopicPartition) -> int | None:
        """The offset expected next from an open partition; None where the partition is closed or not ours."""
        held = self._if_open(name)
        return held.tracker.next_offset if held and held.tracker else None

    def has_room(self, name: TopicPartition) -> bool:
        """Whether the next record of the partition may be begun (rule 11); False where it is closed or not ours."""
        held = self._if_open(name)
        return held is not None and held.has_room

    def take(self, record: SourceRecord, now: float) -> Taken:
        """Take note of a record that was read from an open partition. Raises ValueError where it is closed."""
        held = self._held[TopicPartition(record.topic, record.partition)]
        tracker = held.tracker
        if not held.is_open or tracker is None:
            raise ValueError(f"partition {record.topic}-{record.partition} is closed: open it before taking records")
        if record.offset >= tracker.next_offset and not held.has_room:
            return Taken(beyond=True)  # the record that comes next is another: this one was read along with it
        held.skip_to(record.offset)
        if not held.has_room:
            return Taken(beyond=True)
        held.unchanged = None
        if not tracker.begin(record.offset):
            return Taken()
        running = held.running.get(record.offset)
        if running is not None and running.record == record:
            return Taken()
        deaths = held.suspects.pop(record.offset, None)
        work = InFlight(record, now, deaths or 0, suspect=deaths is not None)
        held.running[record.offset] = work
        return Taken(start=work, lost=running)

    def finish(self, work: InFlight) -> bool:
        """The answer to a record was acknowledged. False if the work was lost before (rule 4)."""
        held = self._holding(work)
        if held is None:
            return False
        del held.running[work.record.offset]
        if held.tracker:
            held.tracker.finish(work.record.offset)
        return True

    # ---- attempts; about lost work, all of them do nothing

    def begin_attempt(self, work: InFlight, *, alone: bool) -> None:
        """A commit has to say from now on that the record is being worked on (rule 8)."""
        if self._holding(work):
            work.attempt = State.ALONE if alone else State.BESIDE_OTHERS
            work.suspect = work.suspect or alone
            work.on_record = False

    def progressed(self, work: InFlight) -> None:
        """A checkpoint was written: whatever kills the worker now, it is not what a suspect began with (rule 9)."""
        if work.attempt is State.ALONE and self._holding(work):
            work.attempt = State.ALONE_PROGRESSED

    def cleared(self, work: InFlight) -> None:
        """A suspect got past all that was open at the death; it goes on beside others. Its deaths stay."""
        if work.attempt is not None and self._holding(work):
            work.attempt = State.BESIDE_OTHERS
            work.suspect = False

    def end_attempt(self, work: InFlight) -> None:
        """Native code is done with the record, which is still to be answered: a death from now on is none of its."""
        if self._holding(work):
            work.attempt = None
            work.on_record = False

    def abandon(self, work: InFlight) -> None:
        """The work was dropped without an answer: no death (rule 10). Its record stays unfinished."""
        if held := self._holding(work):
            del held.running[work.record.offset]
            if work.suspect or work.deaths:
                held.suspects[work.record.offset] = work.deaths

    def holds(self, work: InFlight) -> bool:
        """Whether the work is running for us: neither lost, nor finished, nor abandoned."""
        held = self._held.get(work.partition)
        return held is not None and held.running.get(work.record.offset) is work

    # ---- commits

    def to_commit(self, *, clean: bool = False) -> dict[TopicPartition, Commit]:
        """What the broker should be told now: a commit for each open partition where something is new.

        ``clean`` is for the last commit before partitions are given back, or the worker ends: it tells of running
        work as if it were abandoned (rule 10).
        """
        commits = {name: self.to_commit_with(name, (), clean=clean) for name in self._assigned}
        return {name: commit for name, commit in commits.items() if commit is not None}

    def to_commit_with(
        self, name: TopicPartition, finished: Collection[InFlight], *, clean: bool = False
    ) -> Commit | None:
        """What the broker should be told about one partition if this work were finished too. Changes nothing.

        None where that is nothing new, unless there is such work, and where the partition is closed or not ours.
        Lost work is left out: its answers must not go out with the commit (``holds``).
        """
        held = self._if_open(name)
        if held is None:
            return None
        also = frozenset(work.record.offset for work in finished if self.holds(work))
        commit = held.commit(also, clean=clean)
        is_new = (commit.offset, commit.metadata) != (held.committed, held.metadata)
        waiting = any(not work.on_record for work in commit.attempts)
        return commit if finished or is_new or waiting else None

    def committed(self, commits: Mapping[TopicPartition, Commit], epoch: int) -> tuple[InFlight, ...]:
        """The broker accepted commits that were computed in ``epoch``, one at a time for each partition.

        Returns the work whose attempt came on record by them (rule 8).
        """
        if epoch != self.epoch:
            return ()
        came: list[InFlight] = []
        for name, commit in commits.items():
            if held := self._if_open(name):
                held.committed, held.metadata, held.has_committed = commit.offset, commit.metadata, True
                for work in held.running.values():
                    if work not in commit.shown:
                        work.on_record = False
                    elif commit.shown[work] is work.attempt and not work.on_record:
                        work.on_record = True
                        came.append(work)
        return tuple(came)

    def _if_open(self, name: TopicPartition) -> _Partition | None:
        held = self._held.get(name)
        return held if held and held.is_open else None

    def _holding(self, work: InFlight) -> _Partition | None:
        """The partition of work that is about to change; None where the work is lost."""
        if not self.holds(work):
            return None
        held = self._held[work.partition]
        held.unchanged = None
        return held


def _continuation(tracker: OffsetTracker | None, log: LogRange) -> tuple[int, frozenset[int]]:
    """Position and finished offsets above it, from what is known here and what is committed (rule 5)."""
    if tracker is None:
        return (log.beginning if log.committed is None else log.committed), frozenset()
    return max(tracker.low_water, log.committed or 0), tracker.finished_above()


def _as_many_as_fit(entries: Mapping[int, Entry]) -> Mapping[int, Entry]:
    """At most MAX_ENTRIES. More come about only where two members held the partition at once (one was thought dead)
    and their knowledge is joined; attempts and deaths are then worth more than a suspicion."""
    if len(entries) <= MAX_ENTRIES:
        return entries
    by_weight = sorted(entries, key=lambda offset: (entries[offset].state is State.SUSPECT, -entries[offset].deaths))
    return {offset: entries[offset] for offset in by_weight[:MAX_ENTRIES]}
