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
"""

from collections.abc import Iterable


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

    def begin(self, offset: int) -> bool:
        """Take note of a record that was read. False if it is finished already and asks for no work.

        Raises ValueError where rule 1 is broken.
        """
        if offset < self._next:
            raise ValueError(f"offset {offset} begun after {self._next - 1}; offsets are begun in ascending order")
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

    def _forget_below_mark(self) -> None:
        mark = self.low_water
        self._finished = {offset for offset in self._finished if offset >= mark}
