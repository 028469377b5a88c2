"""Waiting until the broker knows of an attempt; both modes of delivery have work that does."""

import asyncio
from collections.abc import Callable, Iterable

from consumer.delivery.partitions import InFlight


class OnRecord:
    """Work that waits for the commit which tells of its attempt."""

    def __init__(self) -> None:
        self._waiting: dict[InFlight, asyncio.Future[None]] = {}

    async def wait(self, work: InFlight, ask: Callable[[], None]) -> None:
        """Return once the attempt is on record; ``ask`` is called where a commit is needed for that."""
        if work.on_record:
            return
        self._waiting[work] = asyncio.get_running_loop().create_future()
        ask()
        try:
            await self._waiting[work]
        finally:
            del self._waiting[work]

    def came(self, works: Iterable[InFlight]) -> None:
        """These attempts are on record now."""
        for work in works:
            if (waiting := self._waiting.get(work)) and not waiting.done():
                waiting.set_result(None)
