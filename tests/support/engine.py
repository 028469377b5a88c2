"""An engine that costs nothing, behind the engine's Protocol: for tests and soaks of everything around it."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from consumer.engine.base import (
    CLEARED_AFTER_SECONDS,
    UNCONTENDED,
    EngineFacts,
    Options,
    Passage,
    Samples,
    Turn,
)
from consumer.transcriber import Transcriber
from schemas import LanguageCandidate, Segment

RATE_HERTZ = 16_000
FACTS = EngineFacts(
    engine="library",
    engine_version="0",
    model_size="tiny",
    model_file="ggml-tiny-q8_0.bin",
    model_sha256="ab" * 32,
    weights_sha256="cd" * 32,
    cpu_class="avx2",
    is_multilingual=True,
)

OnPassage = Callable[[float], Awaitable[None]]


async def _nothing(_: float) -> None: ...


class SilentEngine:
    """Makes one segment of each ``passage_seconds`` of samples, whatever they are; its words tell where it lies.

    The segments follow from the number of samples alone. ``calls`` counts recordings, ``passages`` the stretches that
    were transcribed, ``aborted`` the recordings that were given up before their end. ``on_passage`` is awaited with
    the end of each stretch before it is given: a test may stop there, or raise.
    """

    facts = FACTS
    seconds_ahead = 0.0

    def __init__(self, *, passage_seconds: float = 30.0, on_passage: OnPassage = _nothing) -> None:
        self.calls = 0
        self.passages = 0
        self.aborted = 0
        self.on_passage = on_passage
        self._passage_samples = round(passage_seconds * RATE_HERTZ)

    async def transcribe(
        self,
        samples: AsyncIterator[Samples],
        options: Options,
        *,
        turn: Turn = UNCONTENDED,
        after_seconds: float = 0.0,
        text_before: str = "",  # noqa: ARG002
        repeatable: bool = False,  # noqa: ARG002
    ) -> AsyncGenerator[Passage, None]:
        self.calls += 1
        finished = False
        try:
            await turn.begins()
            cleared = not turn.alone
            async for start, stop in self._stretches(samples):
                end_seconds = stop / RATE_HERTZ
                if end_seconds <= after_seconds:
                    continue
                self.passages += 1
                await self.on_passage(end_seconds)
                yield self._passage(start / RATE_HERTZ, end_seconds, options)
                if not cleared and end_seconds >= after_seconds + CLEARED_AFTER_SECONDS:
                    cleared = True
                    turn.cleared()
            finished = True
        finally:
            turn.ends()
            self.aborted += not finished

    def overdue(self, now: float) -> float | None:  # noqa: ARG002
        """Nothing is ever stuck."""
        return None

    async def close(self) -> None: ...

    async def _stretches(self, samples: AsyncIterator[Samples]) -> AsyncIterator[tuple[int, int]]:
        """First and last sample of each stretch; the last one may be shorter."""
        start = known = 0
        async for block in samples:
            known += block.size
            while known - start >= self._passage_samples:
                yield start, start + self._passage_samples
                start += self._passage_samples
        if known > start:
            yield start, known

    def _passage(self, start_seconds: float, end_seconds: float, options: Options) -> Passage:
        segment = Segment(
            start_seconds=start_seconds,
            end_seconds=end_seconds,
            text=f"from {start_seconds:g} to {end_seconds:g}",
            average_log_probability=-0.5,
        )
        return Passage(
            end_seconds=end_seconds,
            segments=(segment,),
            language=options.language or "en",
            inference_seconds=0.0,
            language_candidates=(LanguageCandidate(language="en", probability=0.75),),
        )


class OneModel:
    """Lends one transcriber, always. Fits ``consumer.pipeline.pipeline.Lends``."""

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Transcriber]:
        yield self._transcriber
