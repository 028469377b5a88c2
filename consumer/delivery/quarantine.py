"""Suspects take turns: of the recordings that may have killed a worker, one at a time is tried.

The one with the fewest deaths goes first. So where a worker is killed from outside again and again, the deaths
spread over all suspects instead of mounting up on whoever happens to be first.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class Turn:
    """The right to be tried; given back once."""

    def __init__(self, quarantine: "Quarantine | None") -> None:
        self._quarantine = quarantine

    def give_back(self) -> None:
        """Let the next suspect have its turn; nothing happens the second time."""
        quarantine, self._quarantine = self._quarantine, None
        if quarantine is not None:
            quarantine.pass_on()


class Quarantine:
    """Hands out turns."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    @asynccontextmanager
    async def turn(self, *, suspect: bool, deaths: int) -> AsyncIterator[Turn]:
        """Wait for a turn; who is no suspect has nothing to wait for."""
        if suspect:
            await self._take(deaths)
        turn = Turn(self if suspect else None)
        try:
            yield turn
        finally:
            turn.give_back()

    async def _take(self, deaths: int) -> None:
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (deaths, next(self._arrivals), called))
        if not self._taken:
            self._taken = True
            # Not at once: suspects that were read together are all to be here before one is called.
            asyncio.get_running_loop().call_soon(self.pass_on)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self.pass_on()  # it was called in the moment in which it gave up
            raise

    def pass_on(self) -> None:
        """Call the next suspect that still waits."""
        while self._waiting:
            *_, called = heapq.heappop(self._waiting)
            if not called.done():
                called.set_result(None)
                return
        self._taken = False
