"""Waiting for what is outside: again and again, ever more slowly, without end."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from consumer.errors import Unavailable
from consumer.observe.metrics import Metrics

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 30.0


def delays(draw: Callable[[], float] = random.random) -> Iterator[float]:
    """Seconds to wait before each new attempt: doubled each time up to a cap, then between half and all of it.

    ``draw`` gives numbers in [0, 1). The jitter keeps workers that failed together from coming back together.
    """
    bound = FIRST_DELAY_SECONDS
    while True:
        yield bound * (0.5 + draw() / 2)
        bound = min(2 * bound, LONGEST_DELAY_SECONDS)


class Outages:
    """Repeats what meets an outage, and tells each change of a dependency once, however many wait for it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: dict[str, int] = {}  # dependency -> how many wait for it
        self._since: dict[str, float] = {}

    async def until_available(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Await ``attempt()`` until it raises no ``Unavailable``; whatever else it raises goes through."""
        waits_for: str | None = None
        pauses = delays()
        try:
            while True:
                try:
                    return await attempt()
                except Unavailable as outage:
                    if waits_for != outage.dependency:
                        self._leave(waits_for)
                        waits_for = self._enter(outage)
                    self._metrics.retries.labels(outage.dependency).inc()
                await asyncio.sleep(next(pauses))
        finally:
            self._leave(waits_for)

    def _enter(self, outage: Unavailable) -> str:
        name = outage.dependency
        if name not in self._waiting:
            self._since[name] = time.monotonic()
            log.warning("%s unavailable, work waits for it: %s", name, outage.message)
        self._waiting[name] = self._waiting.get(name, 0) + 1
        return name

    def _leave(self, name: str | None) -> None:
        if name is None:
            return
        self._waiting[name] -= 1
        if self._waiting[name] == 0:
            del self._waiting[name]
            seconds = time.monotonic() - self._since.pop(name)
            log.info("%s: no work waits for it any longer, after %.1f s", name, seconds)
