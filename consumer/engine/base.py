"""What an engine is: samples in, passages of text out. The library and the command line both are one."""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas import Channels, LanguageCandidate, Priority, Segment, Task

Samples = NDArray[np.float32]
"""Mono PCM, shape (n,), float32, 16 kHz."""


RANKS: Final[Mapping[Priority, int]] = {"low": -1, "normal": 0, "high": 1}


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for. ``language`` None means: find out.

    ``channels`` are mixed, or transcribed each on its own. What lies outside ``start_seconds`` and ``end_seconds`` is
    not transcribed. ``words``: whether the times of words are kept. ``carry_context``: whether the model is told what
    it wrote before, window after window. ``priority`` alone changes nothing in the result.
    """

    language: str | None = None
    task: Task = "transcribe"
    prompt: str = ""
    channels: Channels = "mix"
    start_seconds: float = 0.0
    end_seconds: float = math.inf
    words: bool = True
    carry_context: bool = False
    priority: Priority = "normal"

    @property
    def rank(self) -> int:
        """Higher ones go first."""
        return RANKS[self.priority]

    @property
    def is_whole(self) -> bool:
        """Whether all of the recording is transcribed."""
        return (self.start_seconds, self.end_seconds) == (0.0, math.inf)


@dataclass(frozen=True, slots=True)
class Passage:
    """A finished stretch of a recording; passages come in order of time and do not overlap.

    Times of the segments are on the recording's clock. ``inference_seconds`` is time spent in the model,
    ``suppressed`` what it wrote where nobody spoke. ``language_candidates`` are empty where the language was given.
    """

    end_seconds: float
    segments: tuple[Segment, ...]
    language: str
    inference_seconds: float
    suppressed: tuple[Segment, ...] = ()
    language_candidates: tuple[LanguageCandidate, ...] = ()

    def without_words(self) -> "Passage":
        """The same, without times of words."""

        def bare(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
            return tuple(segment.model_copy(update={"words": ()}) for segment in segments)

        return replace(self, segments=bare(self.segments), suppressed=bare(self.suppressed))


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What a transcript says about the engine that made it."""

    engine: Literal["library", "cli"]
    engine_version: str
    model_size: str
    model_file: str
    model_sha256: str
    weights_sha256: str
    cpu_class: str
    is_multilingual: bool
    libraries: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each library by its file name; none where no manifest tells them."""


CLEARED_AFTER_SECONDS: Final = 300.0
"""How much audio a suspect gets through alone until it goes on beside others."""


class Turn(Protocol):
    """What the engine asks and tells about one attempt at a recording.

    A recording that was open when a worker died may have killed it. It is then a suspect: its native code runs alone.
    """

    @property
    def alone(self) -> bool:
        """Whether the recording is a suspect."""
        ...

    async def begins(self) -> None:
        """Return once native code may touch the recording; a suspect has the engine to itself by then."""

    def cleared(self) -> None:
        """A suspect is past ``CLEARED_AFTER_SECONDS`` of audio; it goes on beside others."""

    def ends(self) -> None:
        """No native code touches the recording any more. Told before anybody else gets the engine to himself."""


class _Uncontended:
    """The turn of who keeps no record of attempts."""

    alone = False

    async def begins(self) -> None: ...

    def cleared(self) -> None: ...

    def ends(self) -> None: ...


UNCONTENDED: Final[Turn] = _Uncontended()


class Engine(Protocol):
    """Turns samples into text."""

    @property
    def facts(self) -> EngineFacts:
        """Which engine, which model."""
        ...

    @property
    def seconds_ahead(self) -> float:
        """Audio that may have been transcribed beyond the passages that a recording has given."""
        ...

    def transcribe(
        self,
        samples: AsyncIterator[Samples],
        options: Options,
        *,
        turn: Turn = UNCONTENDED,
        after_seconds: float = 0.0,
        text_before: str = "",
        repeatable: bool = False,
    ) -> AsyncGenerator[Passage, None]:
        """Transcribe a recording as it is decoded, blocks of samples in, passages out.

        A recording without speech gives no passage. Closing the iterator ends the work. What ends at or before
        ``after_seconds`` is not transcribed: an attempt that ended there goes on with the same text, given the same
        samples from their start and the language that it had found, if both were ``repeatable``: computed in the same
        way whoever else is there. Else one that is alone is faster. ``text_before`` is what the passages up to there
        said, where context is carried over.
        Raises Rejected for options that this model cannot honour, and what ``turn.begins`` raises.
        """
        ...

    def overdue(self, now: float) -> float | None:
        """Seconds past its deadline of the native call that is furthest past it; None when none is.

        ``now`` is of the monotonic clock. For any thread.
        """
        ...

    async def close(self) -> None:
        """End what runs and free the model."""
        ...
