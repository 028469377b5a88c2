"""One attempt at a record, as the work sees it; see ``consumer.delivery.job.Attempt``."""

from collections.abc import Iterator, MutableSet
from contextlib import contextmanager
from typing import Protocol

from consumer.delivery.partitions import InFlight, Partitions
from consumer.delivery.quarantine import Turn


class Records(Protocol):
    """Whoever sees to it that the broker knows of attempts."""

    def touch(self) -> None:
        """Something changed that the broker should be told."""

    async def on_record(self, work: InFlight) -> None:
        """Return once the broker has the attempt that began."""


class RecordAttempt:
    """Tells the books what the work reports."""

    def __init__(
        self, work: InFlight, partitions: Partitions, records: Records, turn: Turn, parked: MutableSet[InFlight]
    ) -> None:
        """``turn`` is the suspect's in the quarantine; ``parked`` holds the work that takes up no slot at present."""
        self._work = work
        self._partitions = partitions
        self._records = records
        self._turn = turn
        self._parked = parked

    @property
    def alone(self) -> bool:
        return self._work.suspect

    @property
    def deaths(self) -> int:
        """Deaths of the worker that are counted against the record."""
        return self._work.deaths

    async def begins(self) -> None:
        self._partitions.begin_attempt(self._work, alone=self.alone)
        await self._records.on_record(self._work)

    def progressed(self) -> None:
        self._partitions.progressed(self._work)
        self._records.touch()

    def cleared(self) -> None:
        self._partitions.cleared(self._work)
        self._records.touch()
        self._turn.give_back()

    def ends(self) -> None:
        self._partitions.end_attempt(self._work)
        self._records.touch()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self._turn.give_back()  # other suspects need not wait for an object
        self._parked.add(self._work)
        try:
            yield
        finally:
            self._parked.discard(self._work)
