"""A real worker on a real broker, around work that the test itself defines."""

import asyncio
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import orjson
from prometheus_client import CollectorRegistry

from consumer.delivery.breaker import Breaker
from consumer.delivery.deadletters import HEADER_BYTES
from consumer.delivery.effectively_once import EffectivelyOnce
from consumer.delivery.exactly_once import ExactlyOnce
from consumer.delivery.handling import RecordHandler, Rules
from consumer.delivery.job import Attempt, Job, Outcome, Work
from consumer.delivery.membership import Membership, MembershipOptions
from consumer.delivery.partitions import Partitions, TopicPartition
from consumer.delivery.publisher import Publisher
from consumer.delivery.worker import Limits, Settlement, Worker
from consumer.errors import Reason, Stage
from consumer.observe.metrics import Metrics
from consumer.outages import Outages
from tests.support.kafka_clients import KafkaClients

BUCKET = "calls"


def event(key: str, bucket: str = BUCKET) -> bytes:
    """An audio.uploaded event."""
    return orjson.dumps({"bucket": bucket, "key": key})


class GatedWork:
    """Work whose every job ends only when the test says so; unless told otherwise, at once."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self.dead: defaultdict[Reason, Counter[str]] = defaultdict(Counter)
        self._held: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Condition()

    def hold(self, *keys: str) -> None:
        self._held |= {key: asyncio.Event() for key in keys}

    def release(self, *keys: str) -> None:
        for key in keys:
            self._held[key].set()

    async def wait_started(self, key: str, times: int = 1) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: self.started[key] >= times)

    async def wait_cancelled(self, key: str) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: self.cancelled[key] > 0)

    async def do(self, job: Job, attempt: Attempt) -> Outcome:
        key = job.upload.key
        await attempt.begins()
        await self._note(self.started, key)
        try:
            if key in self._held:
                await self._held[key].wait()
        except asyncio.CancelledError:
            await self._note(self.cancelled, key)
            raise
        return outcome(job)

    async def given_up(self, job: Job, reason: Reason, stage: Stage | None, message: str) -> None:
        assert message
        assert stage is None or stage in Stage
        await self._note(self.dead[reason], job.upload.key)

    async def _note(self, counter: Counter[str], key: str) -> None:
        async with self._changed:
            counter[key] += 1
            self._changed.notify_all()


class Plain:
    """Work that is a function of the job, with an attempt on record."""

    def __init__(self, function: Callable[[Job], Awaitable[Outcome]]) -> None:
        self._function = function

    async def do(self, job: Job, attempt: Attempt) -> Outcome:
        await attempt.begins()
        return await self._function(job)

    async def given_up(self, job: Job, reason: Reason, stage: Stage | None, message: str) -> None:
        pass


def outcome(job: Job) -> Outcome:
    """An answer that names its job."""
    return Outcome(job.upload.key.encode(), f"{job.partition}:{job.offset}".encode(), (("done", b"yes"),))


@dataclass
class Topics:
    """Fresh topics and a fresh group for one test."""

    input: str
    output: str
    dead_letters: str
    group_id: str = field(default_factory=lambda: f"group-{uuid.uuid4().hex[:8]}")

    @classmethod
    async def create(cls, clients: KafkaClients, partitions: int = 1) -> "Topics":
        return cls(
            await clients.create_topic("in", partitions),
            await clients.create_topic("out"),
            await clients.create_topic("dead"),
        )


@dataclass
class RunningWorker:
    worker: Worker
    metrics: Metrics
    running: asyncio.Task[None]

    def metric(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(f"whisper_consumer_{name}", labels)
        assert value is not None, f"no metric {name} {labels}"
        return value

    async def wait_metric(self, name: str, reached: Callable[[float], bool], **labels: str) -> None:
        await self.wait_until(lambda: reached(self.metric(name, **labels)))

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait for a condition, or for the worker's end by an error."""
        async with asyncio.timeout(30):
            while not holds():
                if self.running.done():
                    self.running.result()
                    raise AssertionError("the worker ended before the condition held")
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self.worker.stop()
        await asyncio.wait_for(self.running, 30)


@asynccontextmanager
async def running_worker(
    clients: KafkaClients,
    topics: Topics,
    work: Work,
    *,
    max_in_flight: int = 4,
    grace_seconds: float = 10,
    publish_timeout_seconds: float = 10,
    exactly_once: bool = False,
    max_attempts: int = 3,
    breaker: Breaker | None = None,
    change: Callable[[MembershipOptions], MembershipOptions] = replace,
) -> AsyncIterator[RunningWorker]:
    """Run a worker and stop it at the end, if the test has not; its errors surface here."""
    client = {"bootstrap_servers": [clients.bootstrap_servers], "request_timeout_ms": 10_000}
    membership = change(
        MembershipOptions(
            client=client,
            group_id=topics.group_id,
            topic=topics.input,
            request_timeout_seconds=10,
            session_timeout_seconds=10,
            rebalance_timeout_seconds=20,
            max_poll_interval_seconds=30,
            max_record_bytes=1_048_588,
        )
    )
    metrics = Metrics(CollectorRegistry())
    outages = Outages(metrics)
    publisher = Publisher(client, 1_048_588 + HEADER_BYTES, publish_timeout_seconds, metrics)
    rules = Rules({BUCKET}, topics.output, topics.dead_letters, topics.group_id, max_attempts)
    handler = RecordHandler(work, rules, outages, metrics)

    def settles(partitions: Partitions, membership: Membership, reopen: Callable[[TopicPartition], None]) -> Settlement:
        if exactly_once:
            return ExactlyOnce(
                partitions, reopen, client, topics.group_id, 1_048_588 + HEADER_BYTES, publish_timeout_seconds, metrics
            )
        return EffectivelyOnce(partitions, membership, publisher, outages, metrics)

    worker = Worker(
        membership,
        handler.handle,
        settles,
        breaker or Breaker(1.0),
        outages,
        metrics,
        Limits(max_in_flight, grace_seconds),
    )
    running = RunningWorker(worker, metrics, asyncio.create_task(worker.run()))
    try:
        yield running
        if not running.running.done():
            await running.stop()
        running.running.result()
    finally:
        running.running.cancel()
        await asyncio.wait({running.running})
        await publisher.stop()
