"""The engine proper: libwhisper in this process, one context for its life, N windows at a time."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from binding import AbortFlag, Context, Library, Parameters, State
from binding import Segment as FoundSegment
from consumer.audio.silero import SpeechDetector, SpeechStream
from consumer.audio.speech import (
    FRAME_SAMPLES,
    SAMPLE_RATE_HERTZ,
    WINDOW_FRAMES,
    Window,
    energy_probabilities,
    find_speech,
)
from consumer.engine.base import UNCONTENDED, EngineFacts, Options, Passage, Samples, Turn
from consumer.engine.deadline import Deadlines
from consumer.engine.native_work import NativeWork
from consumer.engine.options import checked_options, spoken_after, with_context
from consumer.engine.passes import HeardWindow, transcribe_window
from consumer.engine.pool import StatePool
from consumer.engine.quality import Evidence, compression_ratio, judge
from consumer.engine.traits import PUBLISHED, Traits
from consumer.observe.metrics import Metrics
from schemas import LanguageCandidate, Segment, Word

_LONGEST_WINDOW_SECONDS: Final = WINDOW_FRAMES * FRAME_SAMPLES / SAMPLE_RATE_HERTZ
_LEAST_REST_SAMPLES: Final = SAMPLE_RATE_HERTZ // 5
_LANGUAGE_CANDIDATES: Final = 5


class WhisperLibraryAdapter:
    """Loads the shared libraries and the model once, transcribes by direct C calls, frees all in ``close``.

    Windows of all recordings share the states in rotation. A recording has at most ``n_states + 1`` windows waiting,
    and no more of it is decoded than that.
    """

    def __init__(
        self,
        facts: EngineFacts,
        pool: StatePool,
        context: Context,
        detector: SpeechDetector | None,
        traits: Traits,
        metrics: Metrics,
    ) -> None:
        self.facts = facts
        self._pool = pool
        self._context = context
        self._detector = detector
        self._traits = traits
        self._metrics = metrics
        self._language_heard_last = "en"  # what recordings of unknown language are first tried in

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
        n_cpus: int = 1,
        cpus_left: Callable[[], int] | None = None,
        traits: Traits = PUBLISHED,
        deadlines: Deadlines | None = None,
        beside: Self | None = None,
    ) -> Self:
        """Load the model and make the states. Raises ModelInitError or StateInitError.

        ``beside`` another engine in the same process it takes turns with that, so that both together compute no more
        than one, and a suspect has them both to itself.
        """
        places = beside._pool.places if beside else None  # noqa: SLF001 - of the same class
        context = await asyncio.to_thread(Context, library, model)
        try:
            detector = SpeechDetector(vad_model) if vad_model else None
            pool = StatePool(
                context,
                n_states,
                metrics,
                deadlines or Deadlines(),
                n_cpus=n_cpus,
                cpus_left=cpus_left,
                places=places,
            )
        except BaseException:
            context.close()
            raise
        return cls(facts, pool, context, detector, traits, metrics)

    @property
    def seconds_ahead(self) -> float:
        """See ``Engine.seconds_ahead``: the windows that wait or run."""
        return (self._pool.n_states + 1) * _LONGEST_WINDOW_SECONDS

    async def transcribe(
        self,
        samples: AsyncIterator[Samples],
        options: Options,
        *,
        turn: Turn = UNCONTENDED,
        after_seconds: float = 0.0,
        text_before: str = "",
        repeatable: bool = False,
    ) -> AsyncGenerator[Passage, None]:
        """See ``Engine.transcribe``."""
        options = checked_options(options, self._context.is_multilingual)
        with NativeWork(self._pool.places, turn, after_seconds) as native_work:
            windows = self._windows(native_work, samples, round(after_seconds * SAMPLE_RATE_HERTZ), options.rank)
            if options.carry_context:
                found = self._passages_in_turn(native_work, windows, options, repeatable, text_before)
            else:
                found = self._passages(native_work, windows, options, repeatable)
            async with aclosing(found) as passages:
                async for passage in passages:
                    yield passage
                    native_work.given(passage)

    def overdue(self, now: float) -> float | None:
        """See ``Engine.overdue``."""
        return self._pool.overdue(now)

    async def close(self) -> None:
        """End what runs, free states and model."""
        await self._pool.close()
        self._context.close()

    async def _windows(
        self, native_work: NativeWork, samples: AsyncIterator[Samples], after_sample: int, rank: int
    ) -> AsyncGenerator[Window, None]:
        """The windows of a recording, without what lies before a sample."""
        stream = SpeechStream(self._detector) if self._detector else None
        probabilities = stream.probabilities if stream else energy_probabilities

        async def detect(heard: Samples) -> NDArray[np.float32]:
            await native_work.begin()  # nothing native touches a recording before its detection
            seconds = heard.size / SAMPLE_RATE_HERTZ
            return await self._pool.detect(native_work, seconds, lambda: probabilities(heard), rank=rank)

        async with aclosing(find_speech(samples, detect)) as windows:
            async for window in windows:
                if rest := _after(window, after_sample):
                    yield rest

    async def _passages(
        self, native_work: NativeWork, windows: AsyncGenerator[Window, None], options: Options, repeatable: bool
    ) -> AsyncGenerator[Passage, None]:
        pending: deque[asyncio.Task[Passage]] = deque()
        try:
            async with aclosing(windows):
                async for window in windows:
                    if options.language is None:  # the first window of speech speaks for the whole recording
                        passage = await self._transcribe(native_work, window, options, repeatable)
                        if passage.segments:
                            options = replace(options, language=passage.language)
                        yield passage
                        continue
                    pending.append(asyncio.create_task(self._transcribe(native_work, window, options, repeatable)))
                    while len(pending) > self._pool.n_states or (pending and pending[0].done()):
                        yield await pending.popleft()
            while pending:
                yield await pending.popleft()
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _passages_in_turn(
        self,
        native_work: NativeWork,
        windows: AsyncGenerator[Window, None],
        options: Options,
        repeatable: bool,
        text_before: str,
    ) -> AsyncGenerator[Passage, None]:
        """One window after another, each told what was said before it, as far as nothing speaks against that."""
        async with aclosing(windows):
            async for window in windows:
                told = replace(options, prompt=with_context(options, text_before))
                passage = await self._transcribe(native_work, window, told, repeatable)
                if passage.segments:
                    options = replace(options, language=passage.language)
                text_before = spoken_after(text_before, passage.segments)
                yield passage

    async def _transcribe(self, native_work: NativeWork, window: Window, options: Options, repeatable: bool) -> Passage:
        guess = self._language_heard_last if options.language is None else None

        def work(state: State, abort: AbortFlag, n_threads: int) -> tuple[HeardWindow, float]:
            started = time.perf_counter()
            parameters = Parameters(
                language=options.language or "en",
                translate=options.task == "translate",
                initial_prompt=options.prompt,
                n_threads=n_threads,
            )
            heard = transcribe_window(state, window.samples, parameters, abort, self._traits, guess=guess)
            return heard, time.perf_counter() - started

        heard, seconds = await self._pool.run(
            native_work, window.seconds, work, repeatable=repeatable, rank=options.rank
        )
        self._measure(heard, seconds)
        passage = passage_of(
            (
                on_recording_clock(
                    segment, window.start_seconds + one.start_seconds, one.seconds, self._traits.tells_no_speech
                )
                for one in heard.passes
                for segment in one.found.segments
                if segment.text.strip()
            ),
            end_seconds=(window.start_sample + window.samples.size) / SAMPLE_RATE_HERTZ,
            language=heard.language,
            languages=heard.languages,
            inference_seconds=seconds,
        )
        if guess is not None and passage.segments:
            self._language_heard_last = heard.language
        self._metrics.count_flags(passage.segments, passage.suppressed)
        native_work.transcribed(passage)
        return passage

    def _measure(self, heard: HeardWindow, seconds: float) -> None:
        self._metrics.windows.inc()
        self._metrics.window_seconds.observe(seconds)
        self._metrics.passes.inc(len(heard.passes) + heard.doubts.total())
        for doubt, times in heard.doubts.items():
            self._metrics.passes_repeated.labels(doubt).inc(times)


def _after(window: Window, sample: int) -> Window | None:
    """The part of a window from this sample of the recording on; None where it is too short for a word.

    Whoever goes on with a recording on a machine like the last one's finds the same windows and cuts none of them.
    """
    done = sample - window.start_sample
    if done <= 0:
        return window
    rest = window.samples[done:]
    return Window(sample, rest) if rest.size >= _LEAST_REST_SAMPLES else None


def passage_of(
    found: Iterable[tuple[Segment, bool]],
    *,
    end_seconds: float,
    language: str,
    languages: Mapping[str, float],
    inference_seconds: float,
) -> Passage:
    """A passage of segments and whether each is speech."""
    segments: tuple[list[Segment], list[Segment]] = ([], [])
    for segment, is_speech in found:
        segments[not is_speech].append(segment)
    spoken, suppressed = segments
    return Passage(
        end_seconds=end_seconds,
        segments=tuple(spoken),
        language=language,
        inference_seconds=inference_seconds,
        suppressed=tuple(suppressed),
        language_candidates=tuple(
            LanguageCandidate(language=name, probability=round(probability, 4))
            for name, probability in islice(languages.items(), _LANGUAGE_CANDIDATES)
        ),
    )


def on_recording_clock(
    segment: FoundSegment, start_seconds: float, length_seconds: float, tells_no_speech: bool
) -> tuple[Segment, bool]:
    """A segment with its times moved from the clock of its pass to the recording's, and whether it is speech.

    Times are kept inside what the pass heard. ``tells_no_speech``: whether the library's probability of it is right.
    """
    no_speech = segment.no_speech_probability if tells_no_speech else None
    judgement = judge(
        Evidence(segment.text, [token.id for token in segment.tokens], segment.average_log_probability, no_speech)
    )

    def moved(seconds: float) -> float:
        return round(start_seconds + min(max(seconds, 0.0), length_seconds), 3)

    published = Segment(
        start_seconds=moved(segment.start_seconds),
        end_seconds=moved(segment.end_seconds),
        text=segment.text.strip(),
        average_log_probability=min(0.0, round(segment.average_log_probability, 4)),
        no_speech_probability=None if no_speech is None else round(min(no_speech, 1.0), 4),
        compression_ratio=round(compression_ratio(segment.text.strip()), 3),
        flags=judgement.flags,
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
    return published, judgement.is_speech
