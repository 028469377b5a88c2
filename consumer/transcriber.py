"""From a recording in a file to its text: decode → find speech → transcribe, all three at once.

Samples flow while they are decoded; nobody holds a whole recording.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import BinaryIO

from consumer.audio.decoder import Decoder
from consumer.audio.decoder_messages import AudioFacts
from consumer.audio.speech import SAMPLE_RATE_HERTZ
from consumer.engine.base import Engine, EngineFacts, Options, Passage, Samples
from consumer.observe.metrics import Metrics
from schemas import Segment


@dataclass(frozen=True, slots=True)
class Heard:
    """Everything that a recording gave. ``language`` is None where nobody spoke."""

    segments: tuple[Segment, ...]
    language: str | None
    language_probability: float | None
    duration_seconds: float
    audio: AudioFacts
    decode_seconds: float
    inference_seconds: float

    @property
    def text(self) -> str:
        """The segments' texts, one space between them."""
        return " ".join(segment.text for segment in self.segments)


class Transcriber:
    """Joins a decoder and an engine."""

    def __init__(self, decoder: Decoder, engine: Engine, metrics: Metrics) -> None:
        self._decoder = decoder
        self._engine = engine
        self._metrics = metrics

    @property
    def engine(self) -> EngineFacts:
        """Which engine, which model."""
        return self._engine.facts

    async def transcribe(
        self,
        recording: BinaryIO,
        name: str,
        options: Options,
        on_passage: Callable[[Passage], None] = lambda _: None,
    ) -> Heard:
        """Transcribe a seekable file. ``name`` is a hint for the decoder: its extension.

        ``on_passage`` is called with each finished stretch. Raises Rejected: not audio, damaged beyond
        use, too long, or options that the model cannot honour.
        """
        segments: list[Segment] = []
        language: str | None = None
        language_probability: float | None = None
        inference_seconds = 0.0
        async with self._decoder.decode(recording, name_hint=name) as decoding:
            with _Clock(decoding, self._metrics) as clock:
                async with aclosing(self._engine.transcribe(aiter(clock), options)) as passages:
                    async for passage in passages:
                        segments += passage.segments
                        inference_seconds += passage.inference_seconds
                        if language is None:
                            language, language_probability = passage.language, passage.language_probability
                        clock.transcribed_until(passage.end_seconds)
                        on_passage(passage)
            facts = decoding.facts
        return Heard(
            segments=tuple(segments),
            language=language if segments else None,
            language_probability=language_probability if segments else None,
            duration_seconds=round(clock.n_samples / SAMPLE_RATE_HERTZ, 3),
            audio=facts,
            decode_seconds=clock.waited_seconds,
            inference_seconds=inference_seconds,
        )


class _Clock:
    """Passes samples on, and counts them, the time that they were waited for, and what is left to transcribe."""

    def __init__(self, blocks: AsyncIterator[Samples], metrics: Metrics) -> None:
        self._blocks = blocks
        self._metrics = metrics
        self._transcribed_seconds = 0.0
        self.n_samples = 0
        self.waited_seconds = 0.0

    def __enter__(self) -> "_Clock":
        return self

    def __exit__(self, *_: object) -> None:
        self.transcribed_until(self.n_samples / SAMPLE_RATE_HERTZ)

    def transcribed_until(self, seconds: float) -> None:
        """Everything before this time needs no more work."""
        self._metrics.backlog_audio_seconds.dec(seconds - self._transcribed_seconds)
        self._transcribed_seconds = seconds

    def __aiter__(self) -> "_Clock":
        return self

    async def __anext__(self) -> Samples:
        started = time.perf_counter()
        block = await anext(self._blocks)
        self.waited_seconds += time.perf_counter() - started
        self.n_samples += block.size
        self._metrics.audio_seconds_in.inc(block.size / SAMPLE_RATE_HERTZ)
        self._metrics.backlog_audio_seconds.inc(block.size / SAMPLE_RATE_HERTZ)
        return block
