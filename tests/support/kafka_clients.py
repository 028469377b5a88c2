"""Plain Kafka clients for tests: they look at topics and groups from outside, without the worker's code."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.record.util import calc_crc32c

from consumer.delivery.commit_metadata import Remembered, decode

Header = tuple[str, bytes]


@dataclass(frozen=True)
class Message:
    """A record as a client sees it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]

    def header(self, name: str) -> str:
        """Text of the last header of this name."""
        return [value for other, value in self.headers if other == name][-1].decode()


class KafkaClients:
    """Clients of one broker; made by ``kafka_clients``."""

    def __init__(self, bootstrap_servers: str, admin: Any, producer: Any) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._admin = admin
        self._producer = producer

    async def create_topic(self, prefix: str, partitions: int = 1, **configs: str) -> str:
        """Create a topic of a name never used before, and return the name; ``_`` in configs stands for a dot."""
        name = f"{prefix}-{uuid.uuid4().hex[:8]}"
        options = {key.replace("_", "."): value for key, value in configs.items()}
        await self._admin.create_topics([NewTopic(name, partitions, 1, topic_configs=options)])
        await self._producer.partitions_for(name)
        return name

    async def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = 0,
        headers: Sequence[Header] = (),
        timestamp_ms: int | None = None,
    ) -> int:
        """Write one record and return its offset."""
        written = await self._producer.send_and_wait(
            topic, value=value, key=key, partition=partition, headers=list(headers), timestamp_ms=timestamp_ms
        )
        return int(written.offset)

    async def send_undecodable(self, topic: str, before: Sequence[bytes], after: Sequence[bytes]) -> None:
        """Write one batch to partition 0, in its middle a record whose header's name is not UTF-8."""
        name, broken = "not-utf8", b"\xff\xfet-utf8"
        batch = self._producer.create_batch()
        for value in before:
            batch.append(key=None, value=value, timestamp=None)
        batch.append(key=b"poison", value=b"poison", timestamp=None, headers=[(name, b"1")])
        for value in after:
            batch.append(key=None, value=value, timestamp=None)
        written = bytearray(bytes(batch._build()).replace(name.encode(), broken))
        written[17:21] = calc_crc32c(bytes(written[21:])).to_bytes(4)  # of the record batch format, version 2
        batch._buffer = bytes(written)
        await (await self._producer.send_batch(batch, topic, partition=0))

    async def send_in_transactions(self, topic: str, values: Sequence[bytes]) -> None:
        """Write records to partition 0, each in a transaction of its own."""
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self.bootstrap_servers, transactional_id=f"tests-{uuid.uuid4().hex}"
        )
        async with producer:
            for value in values:
                async with producer.transaction():
                    await producer.send_and_wait(topic, value, partition=0)

    async def read(self, topic: str, count: int, timeout_seconds: float = 30) -> list[Message]:
        """The first ``count`` records of a topic. Raises TimeoutError with what there was instead."""
        messages: list[Message] = []
        consumer = aiokafka.AIOKafkaConsumer(
            topic, bootstrap_servers=self.bootstrap_servers, group_id=None, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            async with asyncio.timeout(timeout_seconds):
                while len(messages) < count:
                    record = await consumer.getone()
                    messages.append(
                        Message(record.partition, record.offset, record.key, record.value, tuple(record.headers))
                    )
        except TimeoutError as error:
            raise TimeoutError(f"{topic}: {len(messages)} of {count} records came: {messages}") from error
        finally:
            await consumer.stop()
        return messages

    async def read_all(self, topic: str) -> list[Message]:
        """All records that a reader with ``read_committed`` sees up to the end of the topic as it is now."""
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        await consumer.start()
        messages = []
        try:
            await consumer._client._wait_on_metadata(topic)
            names = [aiokafka.TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            consumer.assign(names)
            ends = await consumer.end_offsets(names)
            async with asyncio.timeout(30):
                while any([await consumer.position(name) < ends[name] for name in names]):
                    for records in (await consumer.getmany(timeout_ms=50)).values():
                        messages += [
                            Message(record.partition, record.offset, record.key, record.value, tuple(record.headers))
                            for record in records
                        ]
        finally:
            await consumer.stop()
        return messages

    async def size(self, topic: str) -> int:
        """How many records were ever written to a topic."""
        consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=self.bootstrap_servers)
        await consumer.start()
        try:
            await consumer._client._wait_on_metadata(topic)
            names = [aiokafka.TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            return sum((await consumer.end_offsets(names)).values())
        finally:
            await consumer.stop()

    async def wait_size(self, topic: str, size: int) -> None:
        """Wait until so many records were written to a topic."""
        async with asyncio.timeout(30):
            while await self.size(topic) < size:
                await asyncio.sleep(0.05)

    async def committed(self, group_id: str, topic: str, partition: int = 0) -> int | None:
        """The group's committed offset of a partition; None before the first commit."""
        found = await self._commit(group_id, topic, partition)
        return None if found is None else int(found.offset)

    async def _commit(self, group_id: str, topic: str, partition: int) -> Any:
        """Offset and metadata of the group's last commit; None before the first."""
        try:
            offsets = await self._admin.list_consumer_group_offsets(group_id)
        except GroupCoordinatorNotAvailableError:  # the broker is still making its topic for offsets
            return None
        found = offsets.get(aiokafka.TopicPartition(topic, partition))
        return None if found is None or found.offset < 0 else found

    async def wait_committed(self, group_id: str, topic: str, offset: int, partition: int = 0) -> None:
        """Wait until the group has committed exactly this offset: the broker is asked again and again."""
        found: int | None = None
        try:
            async with asyncio.timeout(30):
                while (found := await self.committed(group_id, topic, partition)) != offset:
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            raise TimeoutError(f"{group_id} committed {found} of {topic}-{partition}, not {offset}") from error

    async def remembered(self, group_id: str, topic: str, partition: int = 0) -> Remembered:
        """What the metadata of the group's commit says beyond its offset."""
        found = await self._commit(group_id, topic, partition)
        return Remembered() if found is None else decode(found.offset, found.metadata)

    async def wait_remembered(
        self, group_id: str, topic: str, holds: Callable[[Remembered], bool], partition: int = 0
    ) -> None:
        """Wait until the metadata of the group's commit says something."""
        async with asyncio.timeout(30):
            while not holds(await self.remembered(group_id, topic, partition)):
                await asyncio.sleep(0.02)

    async def wait_empty(self, group_id: str) -> None:
        """Wait until the group has no members any more."""
        async with asyncio.timeout(30):
            while True:
                [described] = await self._admin.describe_consumer_groups([group_id])
                [group] = described.groups
                if group[2] == "Empty":
                    return
                await asyncio.sleep(0.05)

    async def delete_records(self, topic: str, before_offset: int, partition: int = 0) -> None:
        """Delete all records of a partition below an offset."""
        name = aiokafka.TopicPartition(topic, partition)
        await self._admin.delete_records({name: RecordsToDelete(before_offset)})


@asynccontextmanager
async def kafka_clients(bootstrap_servers: str) -> AsyncIterator[KafkaClients]:
    """Connect, and close at the end."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
    await admin.start()
    await producer.start()
    try:
        yield KafkaClients(bootstrap_servers, admin, producer)
    finally:
        await producer.stop()
        await admin.close()
