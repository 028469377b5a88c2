"""Whose native call begins next: recordings in rotation, suspects alone. Pure: no clock, no task, no thread.

A *place* is what a call takes up while it runs (a state, the detector, a process); places are of kinds. An *owner* is
a recording. Rules:

1. Of one owner, calls of one kind begin in the order they were asked for.
2. A free place goes to the owner that was served least recently. Whoever begins to wait counts as just served, else a
   stream of new recordings would starve one that waits already. So each other owner is served at most once while one
   waits: a recording gets its share beside any number of others, however many calls it has waiting.
3. No place stays free while a call waits for it that may begin.
4. An owner may ask to be alone. From then on no call of another begins; once all calls that run are over the owner is
   alone, and only its calls begin until it gives that back. Who asks to be alone comes in turn, before everybody else.
5. After it was given back, others begin only when all calls of who was alone are over.
6. Whoever withdraws leaves nothing behind.
7. Where owners of several ranks wait, one of the highest goes first, but passes over who would be next by rule 2 three
   times in a row at most: so everybody gets on, and who is in a hurry does so sooner.
8. A call takes one place while others wait for one. Else it takes its share of those that are free, up to as many as
   it asked for: one call alone works with as many threads as several would.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

Waiter = TypeVar("Waiter", bound=Hashable)


class Begun(NamedTuple, Generic[Waiter]):
    """Who may go on, and how many places it takes; none where it was to be alone."""

    waiter: Waiter
    places: int


MOST_PASSED_OVER: Final = 3


@dataclass(slots=True)
class _Line(Generic[Waiter]):
    """Calls of one owner that wait for places of one kind, each with how many it would take at most."""

    rank: int
    calls: deque[tuple[Waiter, int]] = field(default_factory=deque)


class Turns(Generic[Waiter]):
    """Keeps who waits and what runs; ``next`` says who may begin. Owners and waiters are told apart by their hash."""

    def __init__(self, places: Mapping[str, int]) -> None:
        """``places``: how many calls of each kind may run at once."""
        self._free = dict(places)
        # In the order of rule 2: who was served, or came, longest ago is first.
        self._waiting: dict[str, OrderedDict[Hashable, _Line[Waiter]]] = {kind: OrderedDict() for kind in places}
        self._passed_over = dict.fromkeys(places, 0)  # how often in a row, of each kind (rule 7)
        self._running = 0
        self._suspects: OrderedDict[Hashable, Waiter] = OrderedDict()  # who waits to be alone
        self._alone: Hashable | None = None
        self._drains = False  # what ran alone is still running

    def ask(self, kind: str, owner: Hashable, waiter: Waiter, widest: int = 1, rank: int = 0) -> None:
        """A call waits for a place, or for up to ``widest`` of them. ``rank`` is its owner's, for good."""
        self._waiting[kind].setdefault(owner, _Line(rank)).calls.append((waiter, widest))

    def withdraw(self, kind: str, owner: Hashable, waiter: Waiter) -> None:
        """A call that waits is wanted no longer."""
        calls = self._waiting[kind][owner].calls
        calls.remove(next(call for call in calls if call[0] == waiter))
        if not calls:
            del self._waiting[kind][owner]

    def ended(self, kind: str, places: int) -> None:
        """A call that had begun is over; ``places`` is what it took."""
        self._free[kind] += places
        self._running -= 1

    def ask_alone(self, owner: Hashable, waiter: Waiter) -> None:
        """An owner waits to be alone. It must have no call that waits or runs."""
        self._suspects[owner] = waiter

    def give_back(self, owner: Hashable) -> None:
        """An owner is alone no longer, or does not want to be."""
        self._suspects.pop(owner, None)
        if self._alone is not None and self._alone == owner:
            self._alone = None
            self._drains = True

    def next(self) -> Begun[Waiter] | None:
        """Who may go on now, which counts as begun; None when nobody may. Ask again until then."""
        if self._alone is None:
            if self._running and (self._suspects or self._drains):
                return None
            self._drains = False
            if self._suspects:
                self._alone, waiter = self._suspects.popitem(last=False)
                return Begun(waiter, 0)
        for kind, waiting in self._waiting.items():
            owner = self._alone if self._alone is not None else self._whose_turn(kind)
            if self._free[kind] and owner in waiting:
                return self._begin(kind, owner)
        return None

    def _whose_turn(self, kind: str) -> Hashable | None:
        """By rules 2 and 7."""
        waiting = self._waiting[kind]
        if not waiting:
            return None
        longest = next(iter(waiting))
        if self._passed_over[kind] >= MOST_PASSED_OVER:
            return longest
        return max(waiting, key=lambda owner: waiting[owner].rank)  # of several the first

    def _begin(self, kind: str, owner: Hashable) -> Begun[Waiter]:
        waiting = self._waiting[kind]
        calls = waiting[owner].calls
        rivals = len(calls) if self._alone is not None else sum(len(line.calls) for line in waiting.values())
        waiter, widest = calls.popleft()
        places = max(1, min(self._free[kind] // rivals, widest))
        self._passed_over[kind] = 0 if owner == next(iter(waiting)) else self._passed_over[kind] + 1
        if calls:
            waiting.move_to_end(owner)
        else:
            del waiting[owner]
        self._free[kind] -= places
        self._running += 1
        return Begun(waiter, places)
