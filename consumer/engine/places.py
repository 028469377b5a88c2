"""Turns for tasks: wait for a place, run, give it back (``turns`` has the rules). For one event loop."""

import asyncio
from collections.abc import Hashable, Mapping

from consumer.engine.turns import Turns


class _Turn(asyncio.Event):
    """Set once its waiter may go on, with so many places."""

    places = 0


class Places:
    """Whoever is cancelled while waiting leaves nothing behind; whoever got places gives them back with ``free``."""

    def __init__(self, places: Mapping[str, int]) -> None:
        """``places``: how many calls of each kind may run at once."""
        self._turns: Turns[_Turn] = Turns(places)

    async def take(self, kind: str, owner: Hashable, widest: int = 1, rank: int = 0) -> int:
        """Wait for one place of this kind, or for up to ``widest``; returns how many were given.

        Who has a higher ``rank`` goes first (rule 7 of ``turns``).
        """
        turn = _Turn()
        self._turns.ask(kind, owner, turn, widest, rank)
        self._wake()
        try:
            await turn.wait()
        except asyncio.CancelledError:
            if turn.is_set():
                self._turns.ended(kind, turn.places)
            else:
                self._turns.withdraw(kind, owner, turn)
            self._wake()
            raise
        return turn.places

    def free(self, kind: str, places: int = 1) -> None:
        """The call that had taken so many places is over."""
        self._turns.ended(kind, places)
        self._wake()

    async def be_alone(self, owner: Hashable) -> None:
        """Wait until nothing runs and nothing else will, until ``give_back``."""
        turn = _Turn()
        self._turns.ask_alone(owner, turn)
        self._wake()
        try:
            await turn.wait()
        except asyncio.CancelledError:
            self.give_back(owner)
            raise

    def give_back(self, owner: Hashable) -> None:
        """Let others run again; nothing happens where the owner was not alone."""
        self._turns.give_back(owner)
        self._wake()

    def _wake(self) -> None:
        while begun := self._turns.next():
            begun.waiter.places = begun.places
            begun.waiter.set()
