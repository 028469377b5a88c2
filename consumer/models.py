"""The model in use, lent to each recording for as long as the work on it takes, and exchanged for another meanwhile.

1. A recording has one model from its beginning to its end: its transcript's id names the weights.
2. Who comes after an exchange gets the new model. The old one is freed when the last recording gives it back.
3. Where there is no room for two, nobody gets a model until all are given back: ``emptied``.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consumer.observe.metrics import Metrics
from consumer.transcriber import Transcriber
from consumer.transcribing import Loaded


class Models:
    """Lends the model in use. All calls come from one event loop, but ``overdue``."""

    def __init__(self, first: Loaded, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lent: Counter[Loaded] = Counter()
        self._given_back = asyncio.Event()
        self._open = asyncio.Event()
        self._freeing: set[asyncio.Task[None]] = set()
        self._live: tuple[Loaded, ...] = (first,)
        self._use(first)

    @property
    def current(self) -> Loaded:
        """The one in use."""
        return self._current

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Transcriber]:
        """The model for one recording, once there is one to be had."""
        await self._open.wait()
        loaded = self._current
        self._lent[loaded] += 1
        try:
            yield loaded.transcriber
        finally:
            self._lent[loaded] -= 1
            self._given_back.set()

    async def exchange(self, new: Loaded) -> None:
        """Use another model from now on; the old one is freed by and by."""
        old = self._current
        self._live = (*self._live, new)
        self._use(new)
        task = asyncio.create_task(self._free(old))
        self._freeing.add(task)
        task.add_done_callback(self._freeing.discard)

    @asynccontextmanager
    async def emptied(self) -> AsyncIterator[None]:
        """Inside, the old model is freed and nobody has one: load another and ``put`` it before the end."""
        self._open.clear()
        await self._free(self._current)
        yield

    def put(self, new: Loaded) -> None:
        """Use a model where there is none."""
        self._live = (new,)
        self._use(new)

    def overdue(self, now: float) -> float | None:
        """Of all models that are there, see ``Engine.overdue``. For any thread."""
        return max((late for loaded in self._live if (late := loaded.engine.overdue(now)) is not None), default=None)

    async def close(self) -> None:
        """End what runs on any of them and free them all."""
        for task in self._freeing:
            task.cancel()
        await asyncio.gather(*self._freeing, return_exceptions=True)
        for loaded in self._live:
            await loaded.engine.close()
        self._live = ()

    def _use(self, loaded: Loaded) -> None:
        self._current = loaded
        facts = loaded.engine.facts
        self._metrics.model_info.info(
            {
                "size": facts.model_size,
                "precision": loaded.artifacts.precision,
                "cpu_class": facts.cpu_class,
                "engine_version": facts.engine_version,
            }
        )
        self._open.set()

    async def _free(self, loaded: Loaded) -> None:
        """Once nobody has it."""
        while self._lent[loaded]:
            self._given_back.clear()
            await self._given_back.wait()
        del self._lent[loaded]
        self._live = tuple(each for each in self._live if each is not loaded)
        await loaded.engine.close()
