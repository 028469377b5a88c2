"""By when a native call must be over. Pure: the clock is handed in. Rules:

1. A call may take its audio's length x the expected factor x ``margin``, and ``floor_seconds`` at least. Audio counts
   as 30 s at least: the encoder hears that much whatever it is given.
2. The expected factor (seconds of work for one of audio) is the worst that was seen, less 5 % for each call since, so
   that one bad hour of the machine is forgotten after some sixty calls. It starts at 5: large models on old cores.
3. Only calls that ended well teach: one that was aborted was short, one that failed may have been anything.
"""

import threading
from dataclasses import dataclass
from typing import Final

MARGIN: Final = 20.0
FLOOR_SECONDS: Final = 300.0
FIRST_FACTOR: Final = 5.0
DECAY: Final = 0.95
LEAST_AUDIO_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A native call that runs; times are of the monotonic clock."""

    audio_seconds: float
    began: float
    deadline: float


class Deadlines:
    """Knows the calls that run. Safe for threads: calls end in theirs, and the watchdog asks from its own."""

    def __init__(self, margin: float = MARGIN, floor_seconds: float = FLOOR_SECONDS) -> None:
        self._margin = margin
        self._floor_seconds = floor_seconds
        self._factor = FIRST_FACTOR
        self._running: set[Call] = set()
        self._lock = threading.Lock()

    @property
    def expected_factor(self) -> float:
        """Seconds that one second of audio is expected to take at worst."""
        return self._factor

    def begin(self, audio_seconds: float, now: float) -> Call:
        """A call begins; hand what is returned to ``end``."""
        allowed = max(audio_seconds, LEAST_AUDIO_SECONDS) * self._factor * self._margin
        call = Call(audio_seconds, now, now + max(self._floor_seconds, allowed))
        with self._lock:
            self._running.add(call)
        return call

    def end(self, call: Call, now: float, *, teaches: bool) -> None:
        """The call is over; ``teaches`` where its duration is that of calls to come."""
        with self._lock:
            self._running.discard(call)
            if teaches:
                seen = (now - call.began) / max(call.audio_seconds, LEAST_AUDIO_SECONDS)
                self._factor = max(seen, self._factor * DECAY)

    def overdue(self, now: float) -> float | None:
        """Seconds past its deadline of the call that is furthest past it; None when none is."""
        with self._lock:
            late = max((now - call.deadline for call in self._running), default=0.0)
        return late if late > 0 else None
