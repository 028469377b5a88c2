"""Stops a worker that fails on its own account, before it has drained the topic into dead letters. Pure.

1. An event is a record that was answered: by a transcript, or by a dead letter. Skips are none.
2. Only dead letters that are the worker's own fault (``OWN_FAULTS``) count against it. A rejection that the input
   deserves is a healthy answer.
3. It trips once more than a set share of the last events, and there were enough of them, were own faults; a share
   of 1 never trips.
4. Crashes end the process, and with it this memory. What earlier processes noted counts too where it is recalled,
   but trips nothing before this process has an own fault to show: a release that was rolled back gets its chance.
5. Tripped, it stays tripped until a new process: what it saw will not mend by itself.
"""

from collections import Counter, deque
from typing import Final

from consumer.errors import Reason

OWN_FAULTS: Final = frozenset({Reason.INTERNAL, Reason.CRASHED})


class Breaker:
    """Looks at the last events of one worker."""

    def __init__(self, stop_share: float, window: int = 50, at_least: int = 10) -> None:
        """``stop_share`` in (0, 1]; ``window``: how many events are recent; ``at_least``: fewer trip nothing.

        Raises ValueError where ``at_least`` is not in 1 to ``window``.
        """
        if not 1 <= at_least <= window:
            raise ValueError(f"at_least={at_least} must be 1 to window={window}")
        self._stop_share = stop_share
        self._at_least = at_least
        self._recent: deque[Reason | None] = deque(maxlen=window)
        self._may_trip = False
        self._tripped: str | None = None

    @property
    def tripped(self) -> str | None:
        """None while work may be taken; else a sentence with the figures of that moment and what to do."""
        return self._tripped

    def recall(self, reason: Reason | None) -> None:
        """Take in an event that an earlier process noted, before this one's own (rule 4)."""
        self._recent.append(reason)

    def note(self, reason: Reason | None) -> None:
        """Take in an event: the reason of its dead letter, None for a transcript."""
        self._recent.append(reason)
        self._may_trip = self._may_trip or reason in OWN_FAULTS
        faults = Counter(reason for reason in self._recent if reason is not None and reason in OWN_FAULTS)
        if self._tripped is None and self._may_trip and self._is_too_much(faults.total()):
            self._tripped = self._sentence(faults)

    def _is_too_much(self, faults: int) -> bool:
        events = len(self._recent)
        return events >= self._at_least and faults > self._stop_share * events

    def _sentence(self, faults: Counter[Reason]) -> str:
        each = ", ".join(f"{count} {reason}" for reason, count in sorted(faults.items()))
        return (
            f"stopped taking work: {faults.total()} of the last {len(self._recent)} records were dead-lettered by the "
            f"worker's own fault ({each}), more than DEAD_LETTER_STOP_SHARE={self._stop_share:g} allows; look at the "
            "dead letters and the log, roll the release back and restart, then redrive them"
        )
