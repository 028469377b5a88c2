"""Delivery exactly once, for readers with ``isolation.level=read_committed``: answers and offsets in transactions.

One producer and one finaliser for each partition. A transaction takes milliseconds: it begins when answers are
ready, and holds their messages and the partition's new offset with its metadata, or neither.

1. ``transactional.id`` is group.topic.partition, so whoever starts a producer for a partition shuts out everybody
   who had one before. Transactions carry no generation of the group (aiokafka #844): this fence is all there is.
2. What a partition's offset is, is read after the fence went up, never before: whatever a predecessor still
   brought in is then known, and what it did not bring in is aborted.
3. A producer that failed is thrown away, whatever the error; its partition is then opened anew, from rule 1 on.
   Whether its last transaction went through shows in the offset and metadata that are read then.
4. So a worker that was thought dead and wakes up can do no harm: its transaction is refused, and before it starts
   another it learns what was finished meanwhile.

Everything outside Kafka (stored results, markers) stays at-least-once. Two events about one object are two inputs:
they give two outputs with one id and the same bytes.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError

from consumer.delivery.connection import bounded, connect_timeout_seconds
from consumer.delivery.handling import Answer
from consumer.delivery.on_record import OnRecord
from consumer.delivery.partitions import Commit, InFlight, Partitions, TopicPartition
from consumer.delivery.publisher import abandon
from consumer.errors import Unavailable
from consumer.observe.metrics import Metrics, TransactionOutcome
from consumer.outages import delays

log = logging.getLogger(__name__)

TRANSACTION_TIMEOUT_SECONDS = 30.0
"""How long a broker keeps a transaction open whose producer went silent; readers of the output wait that long."""


@dataclass(eq=False, slots=True)
class _Settling:
    """An answer on its way."""

    work: InFlight
    answer: Answer
    done: "asyncio.Future[None]"


@dataclass(eq=False, slots=True)
class _Finaliser:
    """The producer of one partition, and what waits for its next transaction."""

    producer: Any
    is_broken: bool = False  # a transaction failed, or was given up half-way
    transacting: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None


class ExactlyOnce:
    """See ``consumer.delivery.worker.Settlement``."""

    def __init__(
        self,
        partitions: Partitions,
        reopen: Callable[[TopicPartition], None],
        client: Mapping[str, Any],
        group_id: str,
        max_record_bytes: int,
        timeout_seconds: float,
        metrics: Metrics,
    ) -> None:
        """``reopen`` has a partition prepared and its offset read anew; ``timeout_seconds`` bounds a transaction."""
        self._partitions = partitions
        self._reopen = reopen
        self._client = client
        self._group_id = group_id
        self._max_record_bytes = max_record_bytes
        self._timeout_seconds = timeout_seconds
        self._metrics = metrics
        self._finalisers: dict[TopicPartition, _Finaliser] = {}
        self._settling: dict[InFlight, _Settling] = {}
        self._on_record = OnRecord()
        self._pauses: dict[TopicPartition, Any] = {}
        self._defect: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Wait for a defect of a finaliser; end them all when cancelled."""
        try:
            await self._defect
        finally:
            await asyncio.gather(*(self._discard(name) for name in list(self._finalisers)))

    async def prepare(self, partitions: Collection[TopicPartition]) -> None:
        """Put up the fence of each partition (rule 1). Raises Unavailable."""
        gone = [name for name in self._finalisers if name not in self._partitions.assigned]
        await asyncio.gather(*(self._discard(name) for name in (*gone, *partitions)))
        await asyncio.gather(*(self._fence(name) for name in partitions))

    def touch(self) -> None:
        for finaliser in self._finalisers.values():
            finaliser.changed.set()

    async def on_record(self, work: InFlight) -> None:
        await self._on_record.wait(work, partial(self._touch, work.partition))

    async def settle(self, work: InFlight, answer: Answer) -> bool:
        settling = _Settling(work, answer, asyncio.get_running_loop().create_future())
        self._settling[work] = settling
        self._touch(work.partition)
        try:
            await settling.done
        finally:
            del self._settling[work]
        return True

    async def hand_back(self) -> None:
        """One more transaction for each partition that has something to tell, then no more."""
        await asyncio.gather(*(self._hand_back(name) for name in list(self._finalisers)))

    # ---- one partition

    async def _fence(self, name: TopicPartition) -> None:
        producer = aiokafka.AIOKafkaProducer(
            **self._client,
            transactional_id=f"{self._group_id}.{name.topic}.{name.partition}",
            transaction_timeout_ms=round(TRANSACTION_TIMEOUT_SECONDS * 1000),
            max_request_size=self._max_record_bytes,
        )
        try:
            await bounded(producer.start(), connect_timeout_seconds(self._client))
        except (KafkaError, OSError, TimeoutError) as error:
            await abandon(producer)
            raise Unavailable("broker", f"cannot start transactions: {str(error) or type(error).__name__}") from error
        except BaseException:
            await abandon(producer)
            raise
        finaliser = self._finalisers[name] = _Finaliser(producer)
        finaliser.task = asyncio.create_task(self._finalise(name, finaliser))
        finaliser.task.add_done_callback(self._ended)

    async def _finalise(self, name: TopicPartition, finaliser: _Finaliser) -> None:
        while True:
            await finaliser.changed.wait()
            finaliser.changed.clear()
            if self._partitions.is_open(name) and not await self._transact(name, finaliser):
                await asyncio.sleep(next(self._pauses.setdefault(name, delays())))
                self._reopen(name)
                return

    async def _transact(self, name: TopicPartition, finaliser: _Finaliser, *, clean: bool = False) -> bool:
        """One transaction with all that is ready. False where the producer is of no use any more (rule 3)."""
        async with finaliser.transacting:
            if finaliser.is_broken:
                return False
            finaliser.is_broken = True  # unless it comes through
            finaliser.is_broken = not await self._transact_alone(name, finaliser.producer, clean=clean)
            return not finaliser.is_broken

    async def _transact_alone(self, name: TopicPartition, producer: Any, *, clean: bool) -> bool:
        ready = [settling for settling in self._settling.values() if settling.work.partition == name]
        batch = [settling for settling in ready if self._partitions.holds(settling.work)]
        epoch = self._partitions.epoch
        commit = self._partitions.to_commit_with(name, [settling.work for settling in batch], clean=clean)
        if commit is None:
            return True
        try:
            await bounded(self._send(name, producer, batch, commit), self._timeout_seconds)
        except (KafkaError, TimeoutError) as error:
            self._metrics.transactions.labels(TransactionOutcome.ABORTED).inc()
            log.warning(
                "%s-%d: a transaction failed, its partition is opened anew: %s",
                *name,
                str(error) or type(error).__name__,
            )
            return False
        self._metrics.transactions.labels(TransactionOutcome.COMMITTED).inc()
        self._pauses.pop(name, None)
        for settling in batch:
            self._partitions.finish(settling.work)
            if not settling.done.done():
                settling.done.set_result(None)
        self._on_record.came(self._partitions.committed({name: commit}, epoch))
        return True

    async def _send(self, name: TopicPartition, producer: Any, batch: list[_Settling], commit: Commit) -> None:
        await producer.begin_transaction()
        sent = [
            await producer.send(message.topic, value=message.value, key=message.key, headers=list(message.headers))
            for settling in batch
            for message in settling.answer.messages
        ]
        try:
            await asyncio.gather(*sent)
        finally:
            _acknowledge_errors(sent)
        offsets = {aiokafka.TopicPartition(*name): (commit.offset, commit.metadata)}
        await producer.send_offsets_to_transaction(offsets, self._group_id)
        await producer.commit_transaction()

    async def _hand_back(self, name: TopicPartition) -> None:
        if self._partitions.is_open(name):
            await self._transact(name, self._finalisers[name], clean=True)
        await self._discard(name)

    async def _discard(self, name: TopicPartition) -> None:
        finaliser = self._finalisers.pop(name, None)
        if finaliser is None:
            return
        if finaliser.task is not None:
            finaliser.task.cancel()
            await asyncio.wait({finaliser.task})
        await abandon(finaliser.producer)

    def _touch(self, name: TopicPartition) -> None:
        if finaliser := self._finalisers.get(name):
            finaliser.changed.set()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) and not self._defect.done():
            self._defect.set_exception(error)


def _acknowledge_errors(futures: Collection["asyncio.Future[Any]"]) -> None:
    """The first error is raised, and the others say the same: asyncio need not complain that nobody looked."""
    for future in futures:
        if future.done() and not future.cancelled():
            future.exception()
