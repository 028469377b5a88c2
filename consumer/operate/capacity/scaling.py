"""How many pods an autoscaler asks for: KEDA's two figures, and what the Horizontal Pod Autoscaler makes of them.

1. The figure is a total. Pods = total / threshold, rounded up, within the least and the most.
2. Within a tenth of what the present pods are for, nothing changes.
3. Down: to the most that was asked for within the window before. Up: at once, or likewise to the least.
4. No more pods come or go within a period than its policy allows.
5. From none to one, and from one to none, KEDA decides by itself, every ``polling_seconds``: up where there is
   anything to do, down where there was nothing for ``cooldown_seconds``.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

TOLERANCE: Final = 0.1
SYNC_SECONDS: Final = 15.0
"""The Horizontal Pod Autoscaler looks so often, and so asks KEDA for the figure."""


@dataclass(frozen=True, slots=True)
class Policy:
    """So many pods in so many seconds, and the window of rule 3."""

    pods: int
    period_seconds: float
    window_seconds: float


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of a ScaledObject; those that are not given are ``ops/kubernetes/components``'s."""

    threshold: float
    min_pods: int = 1
    max_pods: int = 6
    polling_seconds: float = 30.0
    cooldown_seconds: float = 600.0
    up: Policy = Policy(2, 60.0, 0.0)
    down: Policy = Policy(1, 180.0, 1800.0)


@dataclass(slots=True)
class Autoscaler:
    """Asked again and again, with a clock that only goes forward."""

    rules: Rules
    _asked: deque[tuple[float, int]] = field(default_factory=deque)
    _changes: deque[tuple[float, int]] = field(default_factory=deque)
    _synced: float = -math.inf
    _polled: float = -math.inf
    _active: float = 0.0

    def pods(self, now: float, present: int, total: float) -> int:
        """How many there should be from now on, where there are ``present``."""
        if total > 0:
            self._active = now
        wanted = present
        if now - self._polled >= self.rules.polling_seconds:
            self._polled = now
            wanted = self._between_none_and_one(now, present, total)
        if wanted == present > 0 and now - self._synced >= SYNC_SECONDS:
            self._synced = now
            wanted = self._synced_pods(now, present, total)
        if wanted != present:
            self._changes.append((now, wanted - present))
        return wanted

    def _between_none_and_one(self, now: float, present: int, total: float) -> int:
        if present == 0 and (total > 0 or self.rules.min_pods > 0):
            return max(1, self.rules.min_pods)
        if present > 0 and self.rules.min_pods == 0 and now - self._active >= self.rules.cooldown_seconds:
            return 0
        return present

    def _synced_pods(self, now: float, present: int, total: float) -> int:
        rules = self.rules
        wanted = math.ceil(total / rules.threshold)
        if abs(total / rules.threshold / present - 1) <= TOLERANCE:
            wanted = present
        wanted = min(max(wanted, rules.min_pods, 1), rules.max_pods)
        self._asked.append((now, wanted))
        while self._asked[0][0] <= now - max(rules.up.window_seconds, rules.down.window_seconds) - SYNC_SECONDS:
            self._asked.popleft()
        if wanted < present:
            most = max(self._asked_within(now, rules.down.window_seconds))
            return max(min(most, present), present - self._left(now, rules.down, -1))
        least = min(self._asked_within(now, rules.up.window_seconds))
        return min(max(least, present), present + self._left(now, rules.up, 1))

    def _asked_within(self, now: float, seconds: float) -> list[int]:
        return [wanted for at, wanted in self._asked if at >= now - seconds]

    def _left(self, now: float, policy: Policy, sign: int) -> int:
        """What the policy still allows of its period."""
        while self._changes and self._changes[0][0] <= now - max(
            self.rules.up.period_seconds, self.rules.down.period_seconds
        ):
            self._changes.popleft()
        recent = [change for at, change in self._changes if at > now - policy.period_seconds]
        return max(0, policy.pods - sum(abs(change) for change in recent if change * sign > 0))
