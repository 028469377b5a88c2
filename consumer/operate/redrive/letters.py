"""A record of the dead-letter topic, read, and the record that goes back. Pure.

1. The worker writes its headers behind the record's own, and ``kafka_dlt-original-topic`` is the first of them. So
   everything from the last header of that name on is the worker's, even where the record itself had been a dead
   letter, and whatever headers other versions of the worker add.
2. A record without the worker's reason there is not the worker's, and nothing is known about its origin.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple, Self

from consumer.delivery.deadletters import (
    ATTEMPTS,
    ORIGINAL_OFFSET,
    ORIGINAL_PARTITION,
    ORIGINAL_TIMESTAMP,
    ORIGINAL_TOPIC,
    REASON,
    STAGE,
)
from consumer.delivery.job import Headers, SourceRecord
from consumer.delivery.reading import UNREADABLE
from consumer.errors import Rejected
from consumer.events import Uploads, parse
from consumer.operate.sender import Message

REDRIVES = "whisper-consumer-redrives"
"""Header that counts how often a record was redriven; the last one of the record."""

_FIRST_OF_OURS = ORIGINAL_TOPIC


class Position(NamedTuple):
    """Where a letter lies in the dead-letter topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The opposite of str(). Raises ValueError."""
        found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,18})", text)
        if found is None:
            raise ValueError(f"{text!r} names no dead letter: give partition and offset, such as 3:41")
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter of the worker."""

    position: Position
    written_ms: int
    """When it became a dead letter, in milliseconds since the epoch."""
    original: SourceRecord
    """The record as the worker read it, as far as it could read it."""
    reason: str
    stage: str
    attempts: str
    message: str
    objects: tuple[str, ...]
    """The objects that the record announces, as bucket/key; the record's key where that cannot be told."""
    keys: tuple[str, ...]
    """Their keys alone."""
    redrives: int
    """How often the record had been redriven before it became this letter."""

    @property
    def is_lost(self) -> bool:
        """Whether the worker could not read the record: what is here is a stand-in, the original is not."""
        bare = self.original.key is None and not self.original.value
        return bare and [name for name, _ in self.original.headers] == [UNREADABLE]


def read_letter(record: SourceRecord) -> DeadLetter | None:
    """Read a record of the dead-letter topic; None where it is not the worker's (rule 2)."""
    split = _split(record.headers)
    if split is None:
        return None
    headers, told = split
    try:
        original = SourceRecord(
            topic=told[_FIRST_OF_OURS],
            partition=int(told[ORIGINAL_PARTITION]),
            offset=int(told[ORIGINAL_OFFSET]),
            timestamp_ms=int(told[ORIGINAL_TIMESTAMP]),
            key=record.key,
            value=record.value,
            headers=headers,
        )
        reason = told[REASON]
    except (KeyError, ValueError):
        return None
    objects, keys = _names(original)
    return DeadLetter(
        position=Position(record.partition, record.offset),
        written_ms=record.timestamp_ms,
        original=original,
        reason=reason,
        stage=told.get(STAGE, "unknown"),
        attempts=told.get(ATTEMPTS, "unknown"),
        message=told.get("kafka_dlt-exception-message", ""),
        objects=objects,
        keys=keys,
        redrives=_redrives(headers),
    )


def redriven(letter: DeadLetter, topic: str) -> Message:
    """The record that goes back: the original, its count of redrives one higher."""
    headers = letter.original.headers
    if letter.redrives:
        headers = headers[:-1]
    count = (REDRIVES, str(letter.redrives + 1).encode())
    return Message(topic, letter.original.key, letter.original.value, (*headers, count))


def _split(headers: Headers) -> tuple[Headers, dict[str, str]] | None:
    """The record's own headers, and the worker's as text (rule 1)."""
    starts = [index for index, (name, _) in enumerate(headers) if name == _FIRST_OF_OURS]
    if not starts:
        return None
    ours = {name: (value or b"").decode(errors="replace") for name, value in headers[starts[-1] :]}
    return headers[: starts[-1]], ours


def _redrives(headers: Headers) -> int:
    """The count in the record's last header; 0 where that is another one."""
    if not headers or headers[-1][0] != REDRIVES:
        return 0
    value = headers[-1][1] or b""
    return int(value) if re.fullmatch(rb"[1-9][0-9]{0,8}", value) else 0


def _names(record: SourceRecord) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        parsed = parse(record.headers, record.key, record.value)
    except Rejected:
        parsed = None
    if isinstance(parsed, Uploads):
        uploads = parsed.uploads
        return tuple(f"{one.bucket}/{one.key}" for one in uploads), tuple(one.key for one in uploads)
    fallback = () if record.key is None else (record.key.decode(errors="replace"),)
    return fallback, fallback
