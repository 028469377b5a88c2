"""What delivery hands to whoever does the work, and what it gets back: the door between the two wings."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from schemas import AudioUploaded

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record of the input topic, byte for byte."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One recording to be transcribed. A record that announces several objects makes several jobs."""

    upload: AudioUploaded
    topic: str
    partition: int
    offset: int

    @property
    def job_id(self) -> str:
        """Name of the job in logs: topic-partition-offset."""
        return f"{self.topic}-{self.partition}-{self.offset}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The message that answers one job on the output topic."""

    key: bytes
    value: bytes = field(repr=False)
    headers: Headers = ()


Work = Callable[[Job], Awaitable[Outcome]]
"""Does one job. Raises ``Rejected`` for what can never succeed and ``Unavailable`` for an outage;
is cancelled when its partition is lost or the worker stops."""
