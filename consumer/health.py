"""What the probes are told: alive while the loops turn, ready while work is taken.

1. Not alive: only a new process can help. A dependency that is away is no reason, and neither is a worker that
   stopped itself because of its own faults: a new process would go on making them.
2. Ready: the model is loaded, the group joined, work is taken. A worker that stopped itself is not: a release that
   does only harm then halts its own roll-out.
3. A dependency that is away leaves readiness alone. No traffic is led to a worker that could be led elsewhere; all
   of a fleet would turn unready at once, which blocks roll-outs and node drains and blames the workers for what the
   store does. It is named in the body all the same, ready or not, and in ``dependency_waiting``.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from consumer.delivery.partitions import Overview
from consumer.observe.metrics import Metrics
from consumer.outages import Outages

# Far beyond any pause of a loop that still turns, below the usual three failed probes of ten seconds.
LOOP_STALL_SECONDS: Final = 20.0
_TICK_SECONDS: Final = 0.5


class Consumes(Protocol):
    """What the probes ask of the delivery."""

    joined: bool
    """Whether the group was joined."""
    last_tick: float
    """When its loop last turned, on the monotonic clock."""

    @property
    def stopped_because(self) -> str | None:
        """Why it takes no more work for good; None while it does."""

    @property
    def partitions(self) -> list[Overview]:
        """Those that it was assigned."""


class WorkerHealth:
    """Collects what the parts of the worker say of themselves."""

    def __init__(self, metrics: Metrics, outages: Outages) -> None:
        self._metrics = metrics
        self._outages = outages
        self._phase = "starting"
        self._loop_tick = time.monotonic()
        self._consumer: Consumes | None = None
        self._overdue: Callable[[float], float | None] = lambda _: None
        metrics.ready.set_function(lambda: float(self.ready()[0]))

    @property
    def loop_tick(self) -> float:
        """When the event loop last turned, on the monotonic clock; at most half a second ago unless it is held up."""
        return self._loop_tick

    def enter(self, phase: str) -> None:
        """Name what the worker is doing before it takes work, or after."""
        self._phase = phase

    def computing(self, overdue: Callable[[float], float | None]) -> None:
        """A model is loaded; ``overdue`` tells how far past its deadline a native call is, see ``Engine.overdue``."""
        self._overdue = overdue

    def consuming(self, consumer: Consumes) -> None:
        """The worker takes work from now on."""
        self._consumer = consumer
        self._phase = "running"

    @property
    def partitions(self) -> list[Overview]:
        """Those of the consumer; none before it consumes."""
        return self._consumer.partitions if self._consumer else []

    def live(self) -> tuple[bool, str]:
        """False where only a new process can help: a loop stands still, or native code that nothing can end."""
        now = time.monotonic()
        stalled = now - self._loop_tick
        if stalled > LOOP_STALL_SECONDS:
            return False, f"the event loop stood still for {stalled:.0f} s"
        if self._consumer and self._phase == "running" and now - self._consumer.last_tick > 3 * LOOP_STALL_SECONDS:
            return False, f"the consumer's loop stood still for {now - self._consumer.last_tick:.0f} s"
        if (late := self._overdue(now)) is not None:
            return False, f"native code is {late:.0f} s past its deadline"
        return True, self._phase

    def ready(self) -> tuple[bool, str]:
        """True while records are taken; the sentence names what is waited for."""
        taken, why = self._taking_work()
        waits = (f"waits for {name} {wait}" for name, wait in sorted(self._outages.waiting.items()))
        return taken, "; ".join([why, *waits])

    def _taking_work(self) -> tuple[bool, str]:
        if self._consumer is None or self._phase != "running":
            return False, self._phase
        if self._consumer.stopped_because is not None:
            return False, self._consumer.stopped_because
        if not self._consumer.joined:
            return False, "not a member of the consumer group at present"
        return True, "running"

    async def tick(self) -> None:
        """Turn with the event loop, without end, and measure how late it is."""
        while True:
            due = time.monotonic() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self._loop_tick = time.monotonic()
            self._metrics.event_loop_lag_seconds.observe(max(0.0, self._loop_tick - due))
