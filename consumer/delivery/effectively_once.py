"""Delivery that is effectively once, the default: publish, wait for the acknowledgement, then commit.

A worker that dies between the two publishes an answer again after its restart: with the same id and, since it
comes from the stored result, the same bytes. Readers that go by the id see each answer once.

All partitions are committed together and one commit at a time; what changes meanwhile rides in the next. So the
number of commits does not grow with the number of records.
"""

import asyncio
import logging
from collections.abc import Collection
from functools import partial
from typing import Protocol

from consumer.delivery.handling import Answer, Message
from consumer.delivery.job import Headers
from consumer.delivery.membership import CommitRefused, Membership
from consumer.delivery.partitions import InFlight, Partitions, TopicPartition
from consumer.errors import Stage, Unavailable
from consumer.observe.logs import bind
from consumer.observe.metrics import Metrics
from consumer.outages import Outages, delays

log = logging.getLogger(__name__)

COMMIT_TIMEOUT_SECONDS = 10.0  # a commit that took longer is made again


class Publishes(Protocol):
    """Where messages go; returns once they are acknowledged, raises Unavailable where they are not."""

    async def publish(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None: ...


class EffectivelyOnce:
    """See ``consumer.delivery.worker.Settlement``."""

    def __init__(
        self, partitions: Partitions, membership: Membership, publisher: Publishes, outages: Outages, metrics: Metrics
    ) -> None:
        self._partitions = partitions
        self._membership = membership
        self._publisher = publisher
        self._outages = outages
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._waiting: dict[InFlight, asyncio.Future[None]] = {}
        self._failing = False

    async def run(self) -> None:
        """Commit what changes, without end."""
        pauses = delays()
        while True:
            await self._changed.wait()
            self._changed.clear()
            if await self._commit(COMMIT_TIMEOUT_SECONDS):
                pauses = delays()
            else:
                self._changed.set()
                await asyncio.sleep(next(pauses))

    async def prepare(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing is to be done before the offsets of partitions are read."""

    def touch(self) -> None:
        self._changed.set()

    async def on_record(self, work: InFlight) -> None:
        if work.on_record:
            return
        self._waiting[work] = asyncio.get_running_loop().create_future()
        self.touch()
        try:
            await self._waiting[work]
        finally:
            del self._waiting[work]

    async def settle(self, work: InFlight, answer: Answer) -> bool:
        with bind(stage=Stage.PUBLISH):
            for message in answer.messages:
                await self._outages.until_available(partial(self._publish, message))
        finished = self._partitions.finish(work)
        self.touch()
        return finished

    async def hand_back(self, timeout_seconds: float) -> None:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._commit(timeout_seconds, clean=True)
        except TimeoutError:
            log.warning("offsets not committed within %g s before partitions are given back", timeout_seconds)

    async def _publish(self, message: Message) -> None:
        await self._publisher.publish(message.topic, message.key, message.value, message.headers)

    async def _commit(self, timeout_seconds: float, *, clean: bool = False) -> bool:
        """Tell the broker what changed: the one place that commits. False where it is to be tried again."""
        async with self._lock:
            epoch, commits = self._partitions.epoch, self._partitions.to_commit(clean=clean)
            if not commits:
                return True
            try:
                await self._membership.commit(commits, timeout_seconds)
            except CommitRefused as refusal:
                self._metrics.commit_failures.inc()
                log.info("offsets not committed, the group rebalances: %s", refusal)
                return False
            except Unavailable as outage:
                self._metrics.commit_failures.inc()
                if not self._failing:
                    log.warning("offsets not committed, will be tried again: %s", outage.message)
                self._failing = True
                return False
            self._metrics.commits.inc()
            self._failing = False
            for work in self._partitions.committed(commits, epoch):
                if (waiting := self._waiting.get(work)) and not waiting.done():
                    waiting.set_result(None)
            return True
