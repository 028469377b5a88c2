"""Reads a topic from some point to the end that it has now: what is written meanwhile is left for the next time."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiokafka

from consumer.delivery.connection import bounded, closed, connect_timeout_seconds
from consumer.delivery.job import SourceRecord
from consumer.delivery.reading import Reader
from consumer.errors import Unavailable
from consumer.operate.broker import broker_errors

_RECORDS_AT_ONCE = 100
_POLL_SECONDS = 1.0


class Span(NamedTuple):
    """Offsets of one partition from the first up to, and without, the end."""

    first: int
    end: int


class TopicReader:
    """Reads partitions of one topic outside any consumer group. Use it as a context manager.

    Only what was committed is read: an aborted transaction's dead letter is none.
    """

    def __init__(self, client: Mapping[str, Any], topic: str, partitions: Collection[int], max_bytes: int) -> None:
        """``client`` is what ``client_options`` gives; ``max_bytes`` is the size of the largest record."""
        self._client = client
        self._names = {number: aiokafka.TopicPartition(topic, number) for number in partitions}
        self._max_bytes = max_bytes
        self._timeout_seconds = float(client["request_timeout_ms"]) / 1000
        self._consumer: Any = None

    async def __aenter__(self) -> Self:
        """Connect. Raises Unavailable."""
        self._consumer = aiokafka.AIOKafkaConsumer(
            **self._client,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=self._max_bytes,
        )
        try:
            with broker_errors(f"connect to Kafka at {', '.join(self._client['bootstrap_servers'])}"):
                await bounded(self._consumer.start(), connect_timeout_seconds(self._client))
        except BaseException:
            await self._stop()
            raise
        self._consumer.assign(list(self._names.values()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    async def spans(self, since: datetime | None = None) -> dict[int, Span]:
        """What there is to read now in each partition: all, or all from the first record of a time on.

        Raises Unavailable.
        """
        names = list(self._names.values())
        with broker_errors("ask how much there is to read"):
            async with asyncio.timeout(self._timeout_seconds):
                first = await self._consumer.beginning_offsets(names)
                end = await self._consumer.end_offsets(names)
                if since is not None:
                    wanted = max(0, int(since.timestamp() * 1000))
                    found = await self._consumer.offsets_for_times(dict.fromkeys(names, wanted))
                    first = {name: found[name].offset if found.get(name) else end[name] for name in names}
        return {number: Span(int(first[name]), int(end[name])) for number, name in self._names.items()}

    async def read(self, spans: Mapping[int, Span]) -> AsyncGenerator[SourceRecord, None]:
        """Every record of these spans, each partition in order. Raises Unavailable."""
        reader = Reader(self._consumer)
        ends = {self._names[number]: span.end for number, span in spans.items() if span.first < span.end}
        self._consumer.pause(*(self._consumer.assignment() - ends.keys()))
        for name in ends:
            reader.seek(name, spans[name.partition].first)
        still_polls = 0
        before: dict[Any, int] = {}
        while ends:
            with broker_errors("read"):
                records = await reader.read(_RECORDS_AT_ONCE, round(_POLL_SECONDS * 1000))
            for record in records:
                if record.offset < spans[record.partition].end:
                    yield record
            # A position moves on over what is no record, too: a transaction's marker may be last.
            positions = {name: await self._position(name) for name in ends}
            for name, position in positions.items():
                if position >= ends[name]:
                    self._consumer.pause(name)
                    del ends[name]
            still_polls = still_polls + 1 if positions == before else 0
            before = positions
            if still_polls * _POLL_SECONDS > self._timeout_seconds:
                raise Unavailable("broker", f"no record within {self._timeout_seconds:g} s; are all brokers up?")

    async def _position(self, name: Any) -> int:
        with broker_errors("read"):
            return int(await bounded(self._consumer.position(name), self._timeout_seconds))

    async def _stop(self) -> None:
        await closed(self._consumer.stop())
