"""Reads what the client fetched, and gets past a record that the client cannot decode.

A header's name is bytes on the wire. aiokafka decodes it as UTF-8, and raises where it is not, from within a
batch, with records of other partitions already in hand: those are lost to the caller. Left alone, one such
record would hold up its partition for good. So after such an error all partitions are read again from where
they were handed out, one record at a time, until the culprit stands alone; a stand-in for it is handed out,
which becomes a dead letter that names its offset. The same befalls the records behind it in its batch: the
client cannot reach them but through it.
"""

import logging
from collections import deque
from typing import Any

from consumer.delivery.job import SourceRecord

log = logging.getLogger(__name__)

UNREADABLE = "whisper-consumer-unreadable"
"""Header of the stand-in for a record that could not be decoded; its value is empty, so it cannot be parsed."""


class Reader:
    """Reads from an aiokafka consumer (untyped) and knows how far each partition was handed out."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._next: dict[Any, int] = {}
        self._suspects: deque[Any] = deque()

    def forget(self) -> None:
        """The assignment changed: positions are sought anew."""
        self._next.clear()
        self._suspects.clear()

    def seek(self, partition: Any, offset: int) -> None:
        """Read a partition from this offset on."""
        self._consumer.seek(partition, offset)
        self._next[partition] = offset

    async def read(self, max_records: int, timeout_ms: int) -> list[SourceRecord]:
        """Up to ``max_records`` records; none after the time-out. Raises KafkaError."""
        if self._suspects:
            return await self._read_one_of_a_suspect(timeout_ms)
        try:
            batches = await self._consumer.getmany(max_records=max_records, timeout_ms=timeout_ms)
        except UnicodeDecodeError as error:
            log.warning("a record cannot be decoded, looking for it: %s", error)
            for partition, offset in self._next.items():
                self._consumer.seek(partition, offset)
            self._suspects.extend(self._next)
            return []
        return self._hand_out(batches)

    async def _read_one_of_a_suspect(self, timeout_ms: int) -> list[SourceRecord]:
        suspect = self._suspects.popleft()
        try:
            batches = await self._consumer.getmany(suspect, max_records=1, timeout_ms=timeout_ms)
        except UnicodeDecodeError as error:
            self._suspects.clear()
            return [self._stand_in(suspect, error)]
        if batches:
            self._suspects.append(suspect)
        return self._hand_out(batches)

    def _hand_out(self, batches: dict[Any, list[Any]]) -> list[SourceRecord]:
        for partition, records in batches.items():
            self._next[partition] = records[-1].offset + 1
        return [_source_record(record) for records in batches.values() for record in records]

    def _stand_in(self, partition: Any, error: UnicodeDecodeError) -> SourceRecord:
        offset = self._next[partition]
        self.seek(partition, offset + 1)
        why = f"this record, or one before it in its batch, has a header whose name is not UTF-8: {error}"
        log.error("%s-%d: offset %d cannot be decoded: %s", partition.topic, partition.partition, offset, why)
        headers = ((UNREADABLE, why.encode()),)
        return SourceRecord(partition.topic, partition.partition, offset, -1, None, b"", headers)


def _source_record(record: Any) -> SourceRecord:
    return SourceRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
    )
