"""How the group answered lately: what a worker's breaker should know of the processes before it.

A crash ends the process and its memory, and whoever comes next gives up one recording, then dies in turn. The topics
remember: the dead letters themselves, and how many transcripts went out between them.

1. Letters are read from the tails of the dead-letter topic's partitions; those of other groups, and old ones, count
   for nothing.
2. Transcripts are counted and not read: the output topic's index of times tells how many are newer than a letter. What
   else takes up offsets there (markers of transactions, another group's answers) counts as transcripts, so a worker is
   judged too mildly, never too harshly.
3. This is a look in passing: bounded in time and in messages, and nothing that the broker does makes it fail.
"""

import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import repeat
from typing import Any, NamedTuple

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from consumer.delivery.connection import bounded, closed
from consumer.delivery.deadletters import ORIGINAL_CONSUMER_GROUP, REASON
from consumer.delivery.job import SourceRecord
from consumer.delivery.reading import Reader
from consumer.delivery.topics import TopicNames
from consumer.errors import Reason

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5


class _Letter(NamedTuple):
    timestamp_ms: int
    reason: Reason | None
    """None for one that this version does not know."""


async def recent_answers(
    client: Mapping[str, Any],
    topics: TopicNames,
    group_id: str,
    *,
    most: int = 50,
    younger_than_seconds: float = 3600,
    timeout_seconds: float,
) -> list[Reason | None]:
    """The latest answers of a group, oldest first: the reason of a dead letter, None for a transcript.

    It begins with the oldest letter found. ``most`` bounds the answers, and the letters read from each partition;
    ``client`` is what ``client_options`` gives. Raises nothing for brokers that are away or slow: it is then empty, and
    that is logged. A topic that is missing (``warn_about_topics`` tells) counts as empty.
    """
    since_ms = round((time.time() - younger_than_seconds) * 1000)
    try:
        return await bounded(_recent_answers(client, topics, group_id, most, since_ms), timeout_seconds)
    except (KafkaError, OSError) as error:  # a time-out is an OSError too
        log.warning("could not look at recent dead letters: %s", str(error) or type(error).__name__)
        return []


async def _recent_answers(
    client: Mapping[str, Any], topics: TopicNames, group_id: str, most: int, since_ms: int
) -> list[Reason | None]:
    async with _consumer(client) as consumer:
        partitions = await _partitions(client, topics)
        outputs, dead_letters = partitions[topics.output], partitions[topics.dead_letters]
        consumer.assign([*outputs, *dead_letters])
        consumer.pause(*outputs)
        letters = await _letters(consumer, dead_letters, group_id, most, since_ms)
        return await _with_transcripts(consumer, outputs, letters, most)


async def _letters(
    consumer: Any, partitions: Collection[Any], group_id: str, most: int, since_ms: int
) -> list[_Letter]:
    """The group's letters in the last ``most`` offsets of each partition; the newest first, at most ``most``."""
    if not partitions:
        return []
    beginnings = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    reader = Reader(consumer)
    for name in partitions:
        reader.seek(name, max(beginnings[name], ends[name] - most))
    found: list[_Letter] = []
    while any([await consumer.position(name) < ends[name] for name in partitions]):
        found += [
            _Letter(record.timestamp_ms, _reason(record))
            for record in await reader.read(most, round(_POLL_SECONDS * 1000))
            if record.timestamp_ms >= since_ms and _last_header(record, ORIGINAL_CONSUMER_GROUP) == group_id
        ]
    consumer.pause(*partitions)  # a fetch of what may come would hold up each question that follows, on its connection
    found.sort(key=lambda letter: letter.timestamp_ms, reverse=True)
    return found[:most]


async def _with_transcripts(
    consumer: Any, partitions: Collection[Any], letters: list[_Letter], most: int
) -> list[Reason | None]:
    """The answers, oldest first, from letters of which the newest comes first."""
    answers: list[Reason | None] = []
    ends = await consumer.end_offsets(partitions) if letters and partitions else {}
    counted = 0
    for letter in letters:
        if len(answers) >= most:
            break
        newer = 0
        if ends:
            first = await consumer.offsets_for_times(dict.fromkeys(ends, letter.timestamp_ms))
            newer = sum(ends[name] - found.offset for name, found in first.items() if found is not None)
        answers += repeat(None, min(newer - counted, most))
        answers.append(letter.reason)
        counted = newer
    return answers[:most][::-1]


def _reason(record: SourceRecord) -> Reason | None:
    with suppress(ValueError):
        return Reason(_last_header(record, REASON))
    return None


def _last_header(record: SourceRecord, name: str) -> str:
    """Text of the last header of this name; empty where there is none."""
    values = [value for other, value in record.headers if other == name]
    return (values[-1] or b"").decode(errors="replace") if values else ""


async def _partitions(client: Mapping[str, Any], topics: TopicNames) -> dict[str, list[Any]]:
    """The partitions of the two topics that answers go to; none of one that is missing.

    All topics are asked for: a broker may create one that is asked for by name.
    """
    admin = AIOKafkaAdminClient(**client)
    try:
        await admin.start()
        found = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
    finally:
        await closed(admin.close())
    return {
        name: [aiokafka.TopicPartition(name, partition["partition"]) for partition in found.get(name, ())]
        for name in (topics.output, topics.dead_letters)
    }


@asynccontextmanager
async def _consumer(client: Mapping[str, Any]) -> AsyncIterator[Any]:
    """A consumer outside any group, which sees no letter of a transaction that was aborted."""
    consumer = aiokafka.AIOKafkaConsumer(
        **client,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await closed(consumer.stop())
