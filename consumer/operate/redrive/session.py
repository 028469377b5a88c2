"""The dead-letter topic, open for reading, together with what is known to be redriven."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from consumer.delivery.connection import client_options
from consumer.delivery.deadletters import HEADER_BYTES
from consumer.delivery.job import SourceRecord
from consumer.errors import Unavailable
from consumer.operate.broker import Topic, all_topics, create_compacted_topic, known_topic
from consumer.operate.redrive.choice import Filters
from consumer.operate.redrive.letters import Position
from consumer.operate.redrive.marks import Marks, marks_topic
from consumer.operate.topic_reader import Span, TopicReader
from consumer.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Session:
    """One look at the dead letters."""

    client: Mapping[str, Any]
    """What ``client_options`` gives."""
    topics: Mapping[str, Topic]
    """The cluster's topics."""
    marks: Marks
    dead_letter_topic: str
    max_letter_bytes: int
    spans: Mapping[int, Span]
    """What there is to read."""
    _reader: TopicReader

    @property
    def records_count(self) -> int:
        """How many records there are to read, at most."""
        return sum(max(0, span.end - span.first) for span in self.spans.values())

    async def make_marks_topic(self) -> None:
        """Create the topic of the marks, replicated as the dead letters are, unless it is there. Raises Unavailable."""
        name = marks_topic(self.dead_letter_topic)
        if name not in self.topics:
            replicas = self.topics[self.dead_letter_topic].replication_factor
            await create_compacted_topic(self.client, name, replicas)

    def read(self) -> AsyncGenerator[SourceRecord, None]:
        """Every record of the dead-letter topic within ``spans``. Raises Unavailable."""
        return self._reader.read(self.spans)

    async def read_one(self, position: Position) -> SourceRecord | None:
        """The record at a position; None where there is none. Raises Unavailable."""
        span = self.spans.get(position.partition)
        if span is None or not span.first <= position.offset < span.end:
            return None
        only = {position.partition: Span(position.offset, position.offset + 1)}
        async with aclosing(self._reader.read(only)) as records:
            async for record in records:
                return record
        return None


@asynccontextmanager
async def open_session(settings: KafkaSettings, filters: Filters) -> AsyncIterator[Session]:
    """Look at the topics, read the marks, and get ready to read the letters that the filters may let through.

    Raises Unavailable: no broker, no such topic, no such partition.
    """
    # What goes wrong is told in one message; aiokafka's own lines would only stand around it.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    client = client_options(settings)
    max_letter_bytes = settings.kafka_max_record_bytes + HEADER_BYTES
    name = settings.kafka_dead_letter_topic
    topics = await all_topics(client)
    partitions = known_topic(topics, name, "correct KAFKA_DEAD_LETTER_TOPIC, or create it").partitions
    if filters.partition is not None and filters.partition not in partitions:
        raise Unavailable("broker", f"topic {name!r} has no partition {filters.partition}, only 0 to {partitions[-1]}")
    wanted = partitions if filters.partition is None else (filters.partition,)
    marks = await _read_marks(client, topics, marks_topic(name))
    async with TopicReader(client, name, wanted, max_letter_bytes) as reader:
        spans = await reader.spans(filters.since)
        yield Session(client, topics, marks, name, max_letter_bytes, spans, reader)


async def _read_marks(client: Mapping[str, Any], topics: Mapping[str, Topic], name: str) -> Marks:
    marks = Marks()
    if name not in topics:
        return marks
    async with (
        TopicReader(client, name, topics[name].partitions, HEADER_BYTES) as reader,
        aclosing(reader.read(await reader.spans())) as records,
    ):
        async for record in records:
            marks.read(record)
    return marks
