"""Turns for tasks: wait for a place, run, give it back (``turns`` has the rules). For one event loop."""

import asyncio
from collections.abc import Hashable, Mapping

from consumer.engine.turns import Turns


class Places:
    """Whoever is cancelled while waiting leaves nothing behind; whoever got a place gives it back with ``free``."""

    def __init__(self, places: Mapping[str, int]) -> None:
        """``places``: how many calls of each kind may run at once."""
        self._turns: Turns[asyncio.Event] = Turns(places)

    async def take(self, kind: str, owner: Hashable) -> None:
        """Wait for a place of this kind."""
        turn = asyncio.Event()
        self._turns.ask(kind, owner, turn)
        self._wake()
        try:
            await turn.wait()
        except asyncio.CancelledError:
            if turn.is_set():
                self._turns.ended(kind)
            else:
                self._turns.withdraw(kind, owner, turn)
            self._wake()
            raise

    def free(self, kind: str) -> None:
        """The call that had taken this place is over."""
        self._turns.ended(kind)
        self._wake()

    async def be_alone(self, owner: Hashable) -> None:
        """Wait until nothing runs and nothing else will, until ``give_back``."""
        turn = asyncio.Event()
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
        while turn := self._turns.next():
            turn.set()
