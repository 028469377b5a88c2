"""``python -m tests.chaos.broken MODE``: a worker that is broken on purpose, to see whether the ledger finds out.

The real worker runs; the Kafka client under it does something else than it is told:

early    commits every record as soon as it was read
drop     acknowledges the first message to the output topic without sending it
swap     sends the first message to the output topic in place of the second one, under the second one's source
twice    sends each message to the output topic again, with other bytes
"""

import asyncio
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.structs import OffsetAndMetadata, RecordMetadata, TopicPartition

from consumer.cli import main as real_worker
from tests.chaos.collect import SOURCE_HEADER

_send = AIOKafkaProducer.send
_signature = inspect.signature(_send)
_getmany = AIOKafkaConsumer.getmany
_commit = GroupCoordinator._do_commit_offsets


def _early() -> None:
    read: dict[Any, int] = {}

    async def getmany(self: Any, *partitions: Any, **options: Any) -> Any:
        batches = await _getmany(self, *partitions, **options)
        if batches and self._group_id is not None:  # not the one that looks at recent dead letters
            read.update({partition: records[-1].offset + 1 for partition, records in batches.items()})
            await self.commit({partition: read[partition] for partition in batches})
        return batches

    async def commit_what_was_read(self: Any, assignment: Any, offsets: Any) -> None:
        as_read = {name: OffsetAndMetadata(read.get(name, asked.offset), "") for name, asked in offsets.items()}
        await _commit(self, assignment, as_read)

    AIOKafkaConsumer.getmany = getmany
    GroupCoordinator._do_commit_offsets = commit_what_was_read


def _drop() -> None:
    count = 0

    async def send(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        message = _message(*arguments, **named)
        if message["topic"] == _output_topic():
            count += 1
            if count == 1:
                return _acknowledged(message["topic"])
        return await _send(**message)

    AIOKafkaProducer.send = send


def _swap() -> None:
    first: dict[str, Any] = {}
    swapped = False

    async def send(*arguments: Any, **named: Any) -> Any:
        nonlocal first, swapped
        message = _message(*arguments, **named)
        if message["topic"] == _output_topic():
            if first and not swapped and message["key"] != first["key"]:
                swapped = True
                source = [header for header in message["headers"] if header[0] == SOURCE_HEADER]
                others = [header for header in first["headers"] if header[0] != SOURCE_HEADER]
                message |= {"key": first["key"], "value": first["value"], "headers": others + source}
            first = first or dict(message)
        return await _send(**message)

    AIOKafkaProducer.send = send


def _twice() -> None:
    async def send(*arguments: Any, **named: Any) -> Any:
        message = _message(*arguments, **named)
        if message["topic"] == _output_topic():
            await _send(**{**message, "value": message["value"] + b" "})
        return await _send(**message)

    AIOKafkaProducer.send = send


def _message(*arguments: Any, **named: Any) -> dict[str, Any]:
    """What ``send`` was called with, by name; the producer is ``self``."""
    return dict(_signature.bind(*arguments, **named).arguments)


def _output_topic() -> str:
    return os.environ["KAFKA_OUTPUT_TOPIC"]


def _acknowledged(topic: str) -> "asyncio.Future[RecordMetadata]":
    future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
    future.set_result(RecordMetadata(topic, 0, TopicPartition(topic, 0), 0, -1, 0, 0))
    return future


MODES: dict[str, Callable[[], None]] = {"early": _early, "drop": _drop, "swap": _swap, "twice": _twice}

if __name__ == "__main__":
    MODES[sys.argv.pop()]()
    sys.argv.append("run")
    real_worker()
