"""What delivery hands to whoever does the work, and what it gets back: the door between the two wings."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from consumer.errors import Reason, Stage
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
    on_named: Callable[[str], None] = field(default=lambda _: None, repr=False, compare=False)
    """To be called with the transcript's id, once it is known."""

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
    audio_seconds: float = 0.0
    """Of the recording."""


class Attempt(Protocol):
    """One attempt at a record, between delivery, which keeps count of attempts, and the work, which knows how it goes.

    A recording that was open when a worker died may have killed it. It is then a suspect, and its native code
    runs alone: while it does, no other recording's may run in this process.
    """

    @property
    def alone(self) -> bool:
        """Whether the record is a suspect."""
        ...

    @property
    def deaths(self) -> int:
        """Deaths of a worker that are counted against the record."""
        ...

    async def begins(self) -> None:
        """Return once the broker has it on record that native code is about to touch the recording.

        A suspect must have the process to itself before this is called.
        """

    def progressed(self) -> None:
        """A checkpoint was written: whatever kills the worker from now on, it is not what this attempt began with."""

    def cleared(self) -> None:
        """A suspect got past everything that was open when the worker died; it goes on beside others."""

    def ends(self) -> None:
        """Native code is done with the recording; called before anybody else gets the process to itself."""

    def waiting(self) -> AbstractContextManager[None]:
        """While the record waits for its own object only: it then takes up no slot of the worker."""
        ...


class Work(Protocol):
    """Does jobs."""

    async def do(self, job: Job, attempt: Attempt) -> Outcome:
        """Do one job, waiting for outages without end. A job that was done before is not done again.

        Raises ``Rejected`` for what can never succeed, ``Unavailable`` where the whole of it is to be tried again
        later. Is cancelled when its partition is lost or the worker stops.
        """
        ...

    async def given_up(self, job: Job, reason: Reason, stage: Stage | None, message: str) -> None:
        """Note beside the results that this job becomes a dead letter. Raises Unavailable."""
