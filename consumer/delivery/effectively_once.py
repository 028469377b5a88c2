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
from consumer.delivery.on_record import OnRecord
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
        self._on_record = OnRecord()
        self._failing = False

    async def run(self) -> None:
        """Commit what changes, without end."""
        pauses = delays()
        while True:
            await self._changed.wait()
            self._changed.clear()
            if await self._commit():
                pauses = delays()
            else:
                self._changed.set()
                await asyncio.sleep(next(pauses))

    async def prepare(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing is to be done before the offsets of partitions are read."""

    def touch(self) -> None:
        self._changed.set()

    async def on_record(self, work: InFlight) -> None:
        await self._on_record.wait(work, self.touch)

    async def settle(self, work: InFlight, answer: Answer) -> bool:
        with bind(stage=Stage.PUBLISH):
            for message in answer.messages:
                await self._outages.until_available(partial(self._publish, message))
        finished = self._partitions.finish(work)
        self.touch()
        return finished

    async def hand_back(self) -> None:
        await self._commit(clean=True)

    async def _publish(self, message: Message) -> None:
        await self._publisher.publish(message.topic, message.key, message.value, message.headers)

    async def _commit(self, *, clean: bool = False) -> bool:
        """Tell the broker what changed: the one place that commits. False where it is to be tried again."""
        async with self._lock:
            epoch, commits = self._partitions.epoch, self._partitions.to_commit(clean=clean)
            if not commits:
                return True
            try:
                await self._membership.commit(commits, COMMIT_TIMEOUT_SECONDS)
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
            self._on_record.came(self._partitions.committed(commits, epoch))
            return True
