"""Waiting for what is outside: again and again, ever more slowly, without end.

Whoever waits keeps pauses of his own, with jitter of his own; nobody wakes the others when he gets through. A store
that throttles lets some through all the time, and waking the rest for that would bring all of them back at once.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Wait:
    """What is known of a dependency that is waited for."""

    seconds: float
    """Since the first of those that wait began to."""
    message: str
    """What the latest attempt of any of them met."""
    waiters: int

    def __str__(self) -> str:
        return f"since {self.seconds:.0f} s: {self.message}"


@dataclass(slots=True)
class _Outage:
    since: float
    message: str
    waiters: int = 0


class Outages:
    """Repeats what meets an outage, and tells each change of a dependency once, however many wait for it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._outages: dict[str, _Outage] = {}  # by dependency

    @property
    def waiting(self) -> dict[str, Wait]:
        """The dependencies that are waited for at present; empty while all is well."""
        now = time.monotonic()
        return {name: Wait(now - met.since, met.message, met.waiters) for name, met in self._outages.items()}

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
                    self._outages[outage.dependency].message = outage.message
                    self._metrics.retries.labels(outage.dependency).inc()
                await asyncio.sleep(next(pauses))
        finally:
            self._leave(waits_for)

    def _enter(self, outage: Unavailable) -> str:
        name = outage.dependency
        if name not in self._outages:
            self._outages[name] = _Outage(time.monotonic(), outage.message)
            log.warning("%s unavailable, work waits for it: %s", name, outage.message)
        self._outages[name].waiters += 1
        self._metrics.dependency_waiting.labels(name).inc()
        return name

    def _leave(self, name: str | None) -> None:
        if name is None:
            return
        self._outages[name].waiters -= 1
        self._metrics.dependency_waiting.labels(name).dec()
        if self._outages[name].waiters == 0:
            seconds = time.monotonic() - self._outages.pop(name).since
            log.info("%s: no work waits for it any longer, after %.1f s", name, seconds)
