"""A bound on the bytes that are spooled at once.

1. Shares are given in the order in which they were asked for: a large recording is not passed by small ones for ever.
2. One recording always gets its share, however large it is.
"""

import asyncio
from collections import deque
from typing import Self

from prometheus_client import Gauge


class Share:
    """Bytes taken from the budget; leaving the context gives them back."""

    def __init__(self, budget: "ByteBudget", n_bytes: int) -> None:
        self._budget = budget
        self._n_bytes = n_bytes

    def resize(self, n_bytes: int) -> None:
        """What was taken turned out to be more, or less: it is had already, so nobody waits."""
        self._budget.change(n_bytes - self._n_bytes)
        self._n_bytes = n_bytes

    def give_back(self) -> None:
        """To be called once."""
        self._budget.give_back(self._n_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()


class ByteBudget:
    """Hands out shares of ``max_bytes``; ``gauge`` shows the bytes taken."""

    def __init__(self, max_bytes: int, gauge: Gauge) -> None:
        self._max_bytes = max_bytes
        self._gauge = gauge
        self._n_shares = 0
        self._taken_bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[Share]]] = deque()

    async def take(self, n_bytes: int) -> Share:
        """A share of so many bytes, once it is there."""
        turn: asyncio.Future[Share] = asyncio.get_running_loop().create_future()
        self._waiting.append((n_bytes, turn))
        self._serve()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(n_bytes)
            self._serve()  # what this one blocked may fit
            raise

    def give_back(self, n_bytes: int) -> None:
        """End of a share."""
        self._n_shares -= 1
        self.change(-n_bytes)

    def change(self, by_bytes: int) -> None:
        """So many bytes more are taken, or fewer."""
        self._taken_bytes += by_bytes
        self._gauge.set(self._taken_bytes)
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            n_bytes, turn = self._waiting[0]
            if not turn.cancelled():
                if self._n_shares and self._taken_bytes + n_bytes > self._max_bytes:
                    return
                self._n_shares += 1
                self._taken_bytes += n_bytes
                self._gauge.set(self._taken_bytes)
                turn.set_result(Share(self, n_bytes))
            self._waiting.popleft()
