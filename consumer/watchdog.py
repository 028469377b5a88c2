"""The last resort against what no code can undo: the process ends, with a stated exit status, to be started again.

A thread of its own looks, so it works while the event loop stands still. What it looks at:

1. A native call past its deadline. Its thread cannot be ended, and holds a state and a recording for good.
2. The event loop, or the consumer's loop in it (an aiokafka call that hangs), that has not turned for a while.

Time in which this thread did not run either (the process was stopped, the machine slept) is held against nobody: after
such a gap everybody gets ``limit_seconds`` anew. What a thread cannot see is C code that keeps the GIL, since it does
not run then itself: for that there is the liveness probe.
"""

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

EXIT_STUCK_NATIVE: Final = 70
"""Exit status after a native call that did not end."""

EXIT_STUCK_LOOP: Final = 71
"""Exit status after an event loop, or a consumer's loop, that stood still."""

LIMIT_SECONDS: Final = 120.0
_GAP_SECONDS: Final = 5.0
_TELL_SECONDS: Final = 5.0


class Watchdog:
    """Watches from ``start`` until ``stop``. What it is given is called in its thread and must not block.

    ``loop_tick`` is when the event loop last turned (monotonic seconds), ``worker_tick`` when the consumer's loop did,
    None while it need not; ``overdue`` is how many seconds a native call is past its deadline, None when none is.
    """

    def __init__(
        self,
        *,
        loop_tick: Callable[[], float],
        worker_tick: Callable[[], float | None],
        overdue: Callable[[], float | None],
        limit_seconds: float = LIMIT_SECONDS,
        interval_seconds: float = 1.0,
    ) -> None:
        self._loop_tick = loop_tick
        self._worker_tick = worker_tick
        self._overdue = overdue
        self._limit_seconds = limit_seconds
        self._interval_seconds = interval_seconds
        self._resumed: float | None = None  # when this thread last went on after it had not run
        self._looked: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def look(self, now: float) -> tuple[int, str] | None:
        """The exit status and why, where the process must end. ``now`` is monotonic, later than at the last look."""
        if self._looked is not None and now - self._looked > self._interval_seconds + _GAP_SECONDS:
            self._resumed = now
        self._looked = now
        overdue = self._overdue()
        if overdue is not None and (self._resumed is None or now - self._resumed > self._limit_seconds):
            return EXIT_STUCK_NATIVE, f"native code is {overdue:.0f} s past its deadline"
        for name, tick in (("event loop", self._loop_tick()), ("consumer's loop", self._worker_tick())):
            still = 0.0 if tick is None else now - max(tick, self._resumed or tick)
            if still > self._limit_seconds:
                return EXIT_STUCK_LOOP, f"the {name} has stood still for {still:.0f} s"
        return None

    def _watch(self) -> None:
        while not self._stopped.wait(self._interval_seconds):
            if found := self.look(time.monotonic()):
                _end(*found)


def _end(status: int, why: str) -> None:
    """End the process, telling why; what is stuck may hold a lock that telling needs, so that is given 5 s."""
    telling = threading.Thread(target=_tell, args=(status, why), daemon=True)
    telling.start()
    telling.join(_TELL_SECONDS)
    os._exit(status)


def _tell(status: int, why: str) -> None:
    log.critical("%s: exit with status %d", why, status)
    for handler in logging.getLogger().handlers:
        handler.flush()
    faulthandler.dump_traceback(sys.stderr)
