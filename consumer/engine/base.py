"""What an engine is: samples in, passages of text out. The library and the command line both are one."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas import Segment

Samples = NDArray[np.float32]
"""Mono PCM, shape (n,), float32, 16 kHz."""


@dataclass(frozen=True, slots=True)
class Options:
    """What affects the text. ``language`` None means: find out."""

    language: str | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A finished stretch of a recording; passages come in order of time and do not overlap.

    Times of the segments are on the recording's clock. ``inference_seconds`` is time spent in the model.
    """

    end_seconds: float
    segments: tuple[Segment, ...]
    language: str
    language_probability: float | None
    inference_seconds: float


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


class Engine(Protocol):
    """Turns samples into text."""

    @property
    def facts(self) -> EngineFacts:
        """Which engine, which model."""
        ...

    def transcribe(self, samples: AsyncIterator[Samples], options: Options) -> AsyncGenerator[Passage, None]:
        """Transcribe a recording as it is decoded, blocks of samples in, passages out.

        A recording without speech gives no passage. Closing the iterator ends the work.
        Raises Rejected for options that this model cannot honour.
        """
        ...

    async def close(self) -> None:
        """End what runs and free the model."""
        ...
