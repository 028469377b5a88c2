"""What the probes are told: alive while the loop turns, ready once the worker takes work."""

import asyncio
import time
from typing import Final, Protocol

from consumer.observe.metrics import Metrics

# Far beyond any pause of a loop that still turns, below the usual three failed probes of ten seconds.
LOOP_STALL_SECONDS: Final = 20.0
_TICK_SECONDS: Final = 0.5


class Consumes(Protocol):
    """What the probes ask of the delivery: whether the group was joined, and when its loop last turned (monotonic)."""

    joined: bool
    last_tick: float


class WorkerHealth:
    """Collects what the parts of the worker say of themselves."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._phase = "starting"
        self._last_tick = time.monotonic()
        self._consumer: Consumes | None = None

    def enter(self, phase: str) -> None:
        """Name what the worker is doing before it takes work, or after."""
        self._phase = phase

    def consuming(self, consumer: Consumes) -> None:
        """The worker takes work from now on."""
        self._consumer = consumer
        self._phase = "running"

    def live(self) -> tuple[bool, str]:
        """False where only a new process can help: the event loop or the consumer's loop stands still."""
        now = time.monotonic()
        stalled = now - self._last_tick
        if stalled > LOOP_STALL_SECONDS:
            return False, f"the event loop stood still for {stalled:.0f} s"
        if self._consumer and self._phase == "running" and now - self._consumer.last_tick > 3 * LOOP_STALL_SECONDS:
            return False, f"the consumer's loop stood still for {now - self._consumer.last_tick:.0f} s"
        return True, self._phase

    def ready(self) -> tuple[bool, str]:
        """True while records are taken."""
        if self._consumer is None or self._phase != "running":
            return False, self._phase
        if not self._consumer.joined:
            return False, "not a member of the consumer group at present"
        return True, "running"

    async def tick(self) -> None:
        """Turn with the event loop, without end, and measure how late it is."""
        while True:
            due = time.monotonic() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self._last_tick = time.monotonic()
            self._metrics.event_loop_lag_seconds.observe(max(0.0, self._last_tick - due))
