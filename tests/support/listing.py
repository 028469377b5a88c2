"""A bucket of any length, as ``whisper-consumer reconcile`` sees it."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

from consumer.operate.reconcile.decision import Entry, Recording

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class LongListing:
    """So many recordings, two days old; every tenth one has no result. Fits ``operate.reconcile.store.Listing``."""

    def __init__(self, keys: int, page_keys: int = 1000) -> None:
        self._keys = keys
        self._page_keys = page_keys
        self.looking = 0
        self.looked_at_once = 0

    async def recordings(self) -> AsyncGenerator[list[Recording], None]:
        for start in range(0, self._keys, self._page_keys):
            numbers = range(start, min(self._keys, start + self._page_keys))
            yield [Recording(f"calls/{number:09}.wav", f"{number:032x}", 1, NOW - 2 * DAY) for number in numbers]

    async def entries(self, recording: Recording) -> list[Entry]:
        self.looking += 1
        self.looked_at_once = max(self.looked_at_once, self.looking)
        await asyncio.sleep(0)
        self.looking -= 1
        return [] if recording.key.endswith("0.wav") else [Entry(False, NOW - DAY)]
