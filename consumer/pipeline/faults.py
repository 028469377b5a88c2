"""How long a job is patient with its own object: see rule 4 of ``pipeline``."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from consumer.delivery.job import Attempt
from consumer.errors import ObjectFault, Rejected, Stage, Unavailable
from consumer.observe.metrics import Metrics
from consumer.outages import Outages, delays

log = logging.getLogger(__name__)

T = TypeVar("T")


class Faults:
    """What one job puts up with from its own object, over all its stages."""

    def __init__(self, attempt: Attempt, outages: Outages, metrics: Metrics, max_seconds: float) -> None:
        self._attempt = attempt
        self._outages = outages
        self._metrics = metrics
        self._max_seconds = max_seconds
        self._since: float | None = None  # of the first fault after the last outage, which says nothing of the object
        self._tries = 0

    async def outlast(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Await ``ask()`` until it meets neither an outage nor a fault. Raises Rejected once that took too long."""

        async def noting_outages() -> T:
            try:
                return await ask()
            except Unavailable:
                self._since = None
                raise

        pauses = delays()
        while True:
            try:
                return await self._outages.until_available(noting_outages)
            except ObjectFault as fault:
                pause_seconds = min(next(pauses), self._seconds_left(fault))
            self._metrics.object_retries.inc()
            with self._attempt.waiting():
                await asyncio.sleep(pause_seconds)

    def _seconds_left(self, fault: ObjectFault) -> float:
        now = time.monotonic()
        if self._since is None:
            self._since, self._tries = now, 0
            log.warning("one object cannot be had, it is tried for %g s: %s", self._max_seconds, fault.message)
        self._tries += 1
        spent_seconds = now - self._since
        if spent_seconds >= self._max_seconds:
            raise Rejected(
                fault.reason,
                Stage.FETCH,
                f"{fault.message}; it was tried {self._tries} times in {spent_seconds:.0f} s (OBJECT_RETRY_SECONDS)",
            ) from fault
        return self._max_seconds - spent_seconds
