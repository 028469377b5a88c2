"""The engine proper: libwhisper in this process, one context for its life, N windows at a time."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from binding import AbortFlag, Context, Library, Parameters, State, Transcription, VadContext
from binding import Segment as FoundSegment
from consumer.audio.speech import Window, energy_probabilities, find_speech
from consumer.engine.base import EngineFacts, Options, Passage, Samples
from consumer.engine.options import checked_options
from consumer.engine.pool import StatePool
from consumer.observe.metrics import Metrics
from schemas import Segment, Word


class WhisperLibraryAdapter:
    """Loads the shared libraries and the model once, transcribes by direct C calls, frees all in ``close``.

    Windows of all recordings share the states. A recording has at most ``n_states + 1`` windows waiting, so a
    long one takes its turn among short ones, and no more of it is decoded than that.
    """

    def __init__(
        self, facts: EngineFacts, pool: StatePool, context: Context, vad: VadContext | None, metrics: Metrics
    ) -> None:
        self.facts = facts
        self._pool = pool
        self._context = context
        self._vad = vad
        self._vad_thread = ThreadPoolExecutor(1, thread_name_prefix="vad")
        self._metrics = metrics

    @classmethod
    async def load(
        cls,
        library: Library,
        model: Path,
        vad_model: Path | None,
        facts: EngineFacts,
        *,
        n_states: int,
        metrics: Metrics,
    ) -> Self:
        """Load the model and make the states. Raises ModelInitError or StateInitError."""
        context = await asyncio.to_thread(Context, library, model)
        try:
            vad = await asyncio.to_thread(VadContext, library, vad_model) if vad_model else None
            pool = StatePool(context, n_states, metrics)
        except BaseException:
            context.close()
            raise
        return cls(facts, pool, context, vad, metrics)

    async def transcribe(self, samples: AsyncIterator[Samples], options: Options) -> AsyncGenerator[Passage, None]:
        """See ``Engine.transcribe``."""
        options = checked_options(options, self._context.is_multilingual)
        pending: deque[asyncio.Task[Passage]] = deque()
        try:
            async with aclosing(find_speech(samples, self._detect)) as windows:
                async for window in windows:
                    if options.language is None:  # the first window speaks for the whole recording
                        passage = await self._transcribe(window, options)
                        options = Options(passage.language, options.task, options.prompt)
                        yield passage
                        continue
                    pending.append(asyncio.create_task(self._transcribe(window, options)))
                    while len(pending) > self._pool.n_states or (pending and pending[0].done()):
                        yield await pending.popleft()
            while pending:
                yield await pending.popleft()
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def close(self) -> None:
        """End what runs, free states, VAD and model."""
        await self._pool.close()
        await asyncio.to_thread(self._vad_thread.shutdown)
        if self._vad:
            self._vad.close()
        self._context.close()

    async def _detect(self, samples: Samples) -> NDArray[np.float32]:
        if self._vad is None:
            return energy_probabilities(samples)
        return await asyncio.get_running_loop().run_in_executor(
            self._vad_thread, self._vad.speech_probabilities, samples
        )

    async def _transcribe(self, window: Window, options: Options) -> Passage:
        def work(state: State, abort: AbortFlag) -> tuple[Transcription, float | None, float]:
            started = time.perf_counter()
            language, probability = options.language, None
            if language is None:
                language, probability = next(iter(state.detect_language(window.samples).items()))
            found = state.transcribe(
                window.samples,
                Parameters(language=language, translate=options.task == "translate", initial_prompt=options.prompt),
                abort,
            )
            return found, probability, time.perf_counter() - started

        found, probability, seconds = await self._pool.run(work)
        self._metrics.windows.inc()
        self._metrics.window_seconds.observe(seconds)
        return Passage(
            end_seconds=window.start_seconds + window.seconds,
            segments=tuple(
                on_recording_clock(segment, window.start_seconds, window.seconds)
                for segment in found.segments
                if segment.text.strip()
            ),
            language=found.language,
            language_probability=probability,
            inference_seconds=seconds,
        )


def on_recording_clock(segment: FoundSegment, start_seconds: float, length_seconds: float) -> Segment:
    """Move a segment's times from its window's clock to the recording's, and keep them inside the window."""

    def moved(seconds: float) -> float:
        return round(start_seconds + min(max(seconds, 0.0), length_seconds), 3)

    return Segment(
        start_seconds=moved(segment.start_seconds),
        end_seconds=moved(segment.end_seconds),
        text=segment.text.strip(),
        average_log_probability=min(0.0, round(segment.average_log_probability, 4)),
        words=tuple(
            Word(
                text=word.text,
                start_seconds=moved(word.start_seconds),
                end_seconds=moved(word.end_seconds),
                probability=round(word.probability, 4),
            )
            for word in segment.words
        ),
    )
