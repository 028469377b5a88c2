"""Which offset of a partition may be committed. Pure: no clock, no broker.

Records of a partition are begun in order and finish in any order. The committed offset is the next one that
whoever takes over would read, so it must never pass a record that is unfinished.

1. Offsets are begun in ascending order. Numbers left out between two of them hold no record (compaction,
   transaction markers): nothing waits for them.
2. The low-water mark is the lowest unfinished offset; where none is unfinished, it is the one after the
   highest that was begun. It alone may be committed, and it never falls.
3. Offsets that finished above the mark are remembered, so that whoever continues need not repeat them.
4. A finish may come before its begin: work that was carried over a rebalance ends before its record is
   delivered again. Such a record is then finished from the start.
5. To finish below the mark, or twice, changes nothing.
6. What is remembered has to fit into the metadata of a commit, so no record is begun beyond a window above the
   mark. Where nothing is unfinished the mark goes along with what is begun: then there is always room.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from consumer.delivery.commit_metadata import WINDOW_OFFSETS


class Finished(NamedTuple):
    """All that is finished: everything below the mark, and these offsets above it."""

    low_water: int
    above: frozenset[int]


class OffsetTracker:
    """The offsets of one partition during one assignment."""

    def __init__(self, position: int, finished: Iterable[int] = ()) -> None:
        """``position`` is the offset to read first; ``finished`` were finished above it before (rule 3)."""
        self._next = position
        self._unfinished: set[int] = set()
        self._finished = {offset for offset in finished if offset >= position}

    @property
    def next_offset(self) -> int:
        """The lowest offset that was not begun yet."""
        return self._next

    @property
    def low_water(self) -> int:
        """The offset to commit (rule 2)."""
        return min(self._unfinished, default=self._next)

    @property
    def unfinished_count(self) -> int:
        return len(self._unfinished)

    def has_room(self, offset: int) -> bool:
        """Whether a record of this offset may be begun now (rule 6)."""
        return not self._unfinished or offset < self.low_water + WINDOW_OFFSETS

    def skip_to(self, offset: int) -> None:
        """Take note that the next record has this offset: those left out hold none (rule 1).

        Raises ValueError where rule 1 is broken.
        """
        if offset < self._next:
            raise ValueError(f"offset {offset} begun after {self._next - 1}; offsets are begun in ascending order")
        self._next = offset
        if not self._unfinished:
            self._forget_below_mark()

    def begin(self, offset: int) -> bool:
        """Take note of a record that was read. False if it is finished already and asks for no work.

        Raises ValueError where rule 1 or 6 is broken.
        """
        if not self.has_room(offset):
            raise ValueError(f"offset {offset} is beyond the window of {WINDOW_OFFSETS} above {self.low_water}")
        self.skip_to(offset)
        self._next = offset + 1
        if offset in self._finished:
            self._forget_below_mark()
            return False
        self._unfinished.add(offset)
        return True

    def finish(self, offset: int) -> None:
        """Take note that the record's answer was acknowledged (rules 4 and 5)."""
        if offset < self.low_water:
            return
        was_lowest = offset == self.low_water
        self._unfinished.discard(offset)
        self._finished.add(offset)
        if was_lowest:
            self._forget_below_mark()

    def finished_above(self) -> frozenset[int]:
        """Finished offsets that the low-water mark does not cover."""
        return frozenset(self._finished)

    def finished_with(self, others: Collection[int]) -> Finished:
        """What would be finished if these were too. Changes nothing."""
        if not others:
            return Finished(self.low_water, self.finished_above())
        mark = min(self._unfinished.difference(others), default=self._next)
        return Finished(mark, frozenset(offset for offset in self._finished.union(others) if offset >= mark))

    def _forget_below_mark(self) -> None:
        mark = self.low_water
        self._finished = {offset for offset in self._finished if offset >= mark}
