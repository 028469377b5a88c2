"""Jobs of one name, one after another: see rule 5 of ``pipeline``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consumer.delivery.job import Attempt


class OneAtATime:
    """Lets one job of each name through; those that wait for it take up no slot."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def alone(self, name: str, attempt: Attempt) -> AsyncIterator[None]:
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._users[name] = self._users.get(name, 0) + 1
        try:
            if lock.locked():
                with attempt.waiting():
                    await lock.acquire()
            else:
                await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name], self._locks[name]
