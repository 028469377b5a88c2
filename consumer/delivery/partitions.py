"""What this member of the consumer group knows about its partitions. Pure: no clock, no broker, no tasks.

Every rebalance takes all partitions away and gives some back, often the same ones. In between, work goes on.

1. Each assignment is an epoch. Offsets are committed for partitions of the current epoch only.
2. A partition is *closed* until it is known from where to read it; records that arrive before are dropped,
   and read again from that position. Nothing is committed for a closed partition.
3. A partition that comes back at once keeps what was known of it: what is finished is not repeated, and work
   still running is adopted when its record is delivered again, if it is the same record to the byte.
4. Work is *lost* when its partition went to another member, when another member has committed past it, or
   when the log began anew. Lost work is to be cancelled, and whatever it still answers changes no offset.
5. Reading never starts below the committed offset, nor below what was finished here.
6. If the position lies outside the log, reading goes on at the log's beginning, and the missing offsets are
   told.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from consumer.delivery.job import SourceRecord
from consumer.delivery.offsets import OffsetTracker


class TopicPartition(NamedTuple):
    """Name of a partition."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class LogRange:
    """What the broker knows about a partition: the group's committed offset, and which offsets it holds."""

    committed: int | None
    beginning: int
    end: int


@dataclass(slots=True, eq=False)
class InFlight:
    """A record that is being worked on."""

    record: SourceRecord
    since: float  # reading of a monotonic clock, seconds

    @property
    def partition(self) -> TopicPartition:
        return TopicPartition(self.record.topic, self.record.partition)


@dataclass(frozen=True, slots=True)
class Opening:
    """How a partition was opened: where to read, which offsets are gone unread, which work is lost."""

    position: int
    missing: range
    lost: tuple[InFlight, ...]


class Taken(NamedTuple):
    """What follows from a record that was read."""

    start: InFlight | None = None
    """Work to be started; None where the record is finished or its work is running already."""
    lost: InFlight | None = None
    """Work about another record that once had the same offset."""


@dataclass(slots=True)
class _Partition:
    is_open: bool = False
    committed: int = 0  # as far as is known; meaningful once opened
    has_committed: bool = False
    tracker: OffsetTracker | None = None  # None until opened for the first time
    running: dict[int, InFlight] = field(default_factory=dict)


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
    def incomplete_offsets(self) -> int:
        """Offsets that were read and are not finished, in all open partitions."""
        return sum(held.tracker.unfinished_count for held in self._held.values() if held.tracker)

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
        """Decide from where an assigned partition is read (rules 3 to 6)."""
        held = self._held[name]
        if log.committed is None and held.has_committed:
            held.tracker = None  # the group's offsets are gone: the topic was made anew
        position, finished = _continuation(held.tracker, log)
        missing = range(0)
        if position > log.end:
            held.tracker, finished = None, frozenset()
            position, missing = log.beginning, range(log.end, position)
        elif position < log.beginning:
            position, missing = log.beginning, range(position, log.beginning)
        still_valid = log.committed or 0 if held.tracker else None
        lost = self._lose(held, below=still_valid)
        held.tracker = OffsetTracker(position, finished)
        held.committed = log.beginning if log.committed is None else log.committed
        held.has_committed = log.committed is not None
        held.is_open = True
        return Opening(position, missing, lost)

    def next_offset(self, name: TopicPartition) -> int | None:
        """The offset expected next from an open partition; None where the partition is closed or not ours."""
        held = self._held.get(name)
        return held.tracker.next_offset if held and held.is_open and held.tracker else None

    def restart(self, name: TopicPartition, position: int) -> tuple[InFlight, ...]:
        """The log of an open partition began anew, at ``position``. Returns the work that is lost (rule 4)."""
        held = self._held[name]
        lost = self._lose(held, below=None)
        held.tracker = OffsetTracker(position)
        return lost

    def take(self, record: SourceRecord, now: float) -> Taken:
        """Take note of a record that was read from an open partition. Raises ValueError where it is closed."""
        held = self._held[TopicPartition(record.topic, record.partition)]
        if not held.is_open or held.tracker is None:
            raise ValueError(f"partition {record.topic}-{record.partition} is closed: open it before taking records")
        if not held.tracker.begin(record.offset):
            return Taken()
        running = held.running.get(record.offset)
        if running is not None and running.record == record:
            return Taken()
        held.running[record.offset] = work = InFlight(record, now)
        return Taken(start=work, lost=running)

    def finish(self, work: InFlight) -> bool:
        """The answer to a record was acknowledged. False if the work was lost before (rule 4)."""
        held = self._held.get(work.partition)
        if held is None or held.running.get(work.record.offset) is not work:
            return False
        del held.running[work.record.offset]
        if held.tracker:
            held.tracker.finish(work.record.offset)
        return True

    def to_commit(self) -> dict[TopicPartition, int]:
        """What the broker should be told now: for each open partition the low-water mark, if it changed."""
        return {
            name: held.tracker.low_water
            for name in self._assigned
            if (held := self._held[name]).is_open and held.tracker and held.tracker.low_water != held.committed
        }

    def committed(self, offsets: Mapping[TopicPartition, int], epoch: int) -> None:
        """The broker accepted a commit that was made in ``epoch``."""
        if epoch != self.epoch:
            return
        for name, offset in offsets.items():
            self._held[name].committed = offset
            self._held[name].has_committed = True

    @staticmethod
    def _lose(held: _Partition, below: int | None) -> tuple[InFlight, ...]:
        """Forget work at offsets below the given one, or all work. Returns what was forgotten."""
        gone = [offset for offset in held.running if below is None or offset < below]
        return tuple(held.running.pop(offset) for offset in gone)


def _continuation(tracker: OffsetTracker | None, log: LogRange) -> tuple[int, frozenset[int]]:
    """Position and finished offsets above it, from what is known here and what is committed (rule 5)."""
    if tracker is None:
        return (log.beginning if log.committed is None else log.committed), frozenset()
    return max(tracker.low_water, log.committed or 0), tracker.finished_above()
