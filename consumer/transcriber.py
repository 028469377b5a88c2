"""From a recording in a file to its text: decode → find speech → transcribe, all three at once.

Samples flow while they are decoded; nobody holds a whole recording, unless it is of 30 s at most: such a short one
begins anew each time, and nothing is kept of it. Of others progress is handed out to be kept:

1. When so much audio was finished since the last time (``checkpoint_audio_seconds``); of a suspect that is alone, after
   each passage.
2. Once more when the work is cancelled or meets an outage, within 3 s, if there is something new.
3. One at a time, beside the work. Where a slow store is behind, no further passage is taken up (the windows in hand go
   on) once more could be lost than 300 s of audio, windows in hand included. For this the interval shrinks from six
   states on; above eight, the windows in hand alone are more.
4. Keeping that fails is tried again with the next passage, and the work goes on.

Who goes on from kept progress decodes the recording and looks for speech from its start, which finds the same windows,
and transcribes what comes after: the text is that of a run without interruption.

Where channels are split, each is a recording of its own, one after another, with progress of its own; what they gave is
merged by time.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO, Final, Protocol, Self

from consumer.audio.blocks import Begun, within
from consumer.audio.decoder import Decoder
from consumer.audio.decoder_messages import AudioFacts, Header
from consumer.audio.speech import SAMPLE_RATE_HERTZ
from consumer.engine.base import (
    CLEARED_AFTER_SECONDS,
    UNCONTENDED,
    Engine,
    EngineFacts,
    Options,
    Passage,
    Samples,
    Turn,
)
from consumer.engine.options import spoken_after
from consumer.errors import NotWanted, Unavailable
from consumer.observe import spans
from consumer.observe.metrics import Metrics
from schemas import LanguageCandidate, Segment

log = logging.getLogger(__name__)

CHECKPOINT_AUDIO_SECONDS: Final = 120.0
MOST_AUDIO_LOST_SECONDS: Final = 300.0
SHORT_SECONDS: Final = 30.0
"""A window or two: what is as short is through before anything could be kept, and is spared the question for it."""
LEAST_INTERVAL_SECONDS: Final = 30.0
KEEP_LAST_SECONDS: Final = 3.0
"""How long the end of a recording may wait for its progress to be kept; a worker that stops gives it 5 s."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is finished of a recording: everything before ``done_seconds``; ``segments`` are what that gave.

    ``inference_seconds`` is time in the model so far, of all attempts. ``language`` is None before somebody spoke.
    """

    done_seconds: float
    segments: tuple[Segment, ...]
    language: str | None
    inference_seconds: float
    suppressed: tuple[Segment, ...] = ()
    language_candidates: tuple[LanguageCandidate, ...] = ()


class Kept(Protocol):
    """Where the progress of one recording is kept, of the same bytes with the same model and options."""

    async def find(self) -> Progress | None:
        """What an attempt before this one kept. Raises Unavailable."""
        ...

    async def keep(self, progress: Progress) -> None:
        """Keep it, in place of what was kept before. Raises Unavailable: it is tried again later, with more."""
        ...


@dataclass(frozen=True, slots=True)
class Heard:
    """Everything that a recording gave. ``language`` is None where nobody spoke."""

    segments: tuple[Segment, ...]
    suppressed: tuple[Segment, ...]
    language: str | None
    language_candidates: tuple[LanguageCandidate, ...]
    duration_seconds: float
    audio: AudioFacts
    decode_seconds: float
    inference_seconds: float

    @property
    def language_probability(self) -> float | None:
        """How likely the language is; None where it was given, or nobody spoke."""
        return self.language_candidates[0].probability if self.language_candidates else None

    @property
    def text(self) -> str:
        """The segments' texts, one space between them."""
        return " ".join(segment.text for segment in self.segments)


class Transcriber:
    """Joins a decoder and an engine."""

    def __init__(
        self,
        decoder: Decoder,
        engine: Engine,
        metrics: Metrics,
        *,
        checkpoint_audio_seconds: float = CHECKPOINT_AUDIO_SECONDS,
        speakers: Sequence[str] = (),
        min_duration_seconds: float = 0.0,
    ) -> None:
        """``speakers`` are the names of those on the channels, where they are split.

        Of recordings that are shorter than ``min_duration_seconds``, ``SHORT_SECONDS`` at most, none is transcribed.
        """
        self._decoder = decoder
        self._min_duration_seconds = min_duration_seconds
        self._speakers = speakers
        self._engine = engine
        self._metrics = metrics
        self._most_unkept_seconds = max(LEAST_INTERVAL_SECONDS, MOST_AUDIO_LOST_SECONDS - engine.seconds_ahead)
        self._checkpoint_audio_seconds = min(checkpoint_audio_seconds, self._most_unkept_seconds)

    @property
    def engine(self) -> EngineFacts:
        """Which engine, which model."""
        return self._engine.facts

    def overdue(self, now: float) -> float | None:
        """See ``Engine.overdue``."""
        return self._engine.overdue(now)

    async def transcribe(
        self,
        recording: BinaryIO,
        name: str,
        options: Options,
        *,
        turn: Turn = UNCONTENDED,
        kept: Callable[[int | None], Kept | None] = lambda _: None,
        on_header: Callable[[int | None, Header], None] = lambda *_: None,
        on_passage: Callable[[Passage], None] = lambda _: None,
    ) -> Heard:
        """Transcribe a seekable file. ``name`` is a hint for the decoder: its extension.

        ``kept`` gives the place for the progress of a channel, of all together for None. ``on_header`` is called
        with what the file says of itself, for each channel that is transcribed on its own, and ``on_passage`` with each
        finished stretch. Raises NotWanted: too short; Rejected: not audio, damaged beyond use, too long, or options
        that the model cannot honour; and what ``turn.begins`` and ``Kept.find`` raise.
        """

        async def listen(channel: int | None) -> Heard:
            return await self._listen(
                recording,
                name,
                options,
                channel,
                turn=turn,
                kept=kept(channel),
                on_header=partial(on_header, channel),
                on_passage=on_passage,
            )

        if options.channels == "mix":
            return await listen(None)
        first = await listen(0)
        others = [await listen(channel) for channel in range(1, first.audio.channels)]
        return merged([first, *others], self._speakers)

    async def _listen(
        self,
        recording: BinaryIO,
        name: str,
        options: Options,
        channel: int | None,
        *,
        turn: Turn,
        kept: Kept | None,
        on_header: Callable[[Header], None],
        on_passage: Callable[[Passage], None],
    ) -> Heard:
        """Transcribe one channel, or all of them mixed."""
        decode_began_ns = time.time_ns()
        async with self._decoder.decode(recording, name_hint=name, channel=channel) as decoding:
            with _Clock(decoding, self._metrics) as clock:
                blocks = Begun(clock)
                if not await blocks.last_longer_than(SHORT_SECONDS):
                    kept = None
                    self._check_wanted(clock.n_samples / SAMPLE_RATE_HERTZ)
                if decoding.header is not None:
                    on_header(decoding.header)
                hearing = _Hearing(await kept.find() if kept else None)
                clock.resume_at(hearing.done_seconds)
                if hearing.language is not None:
                    options = replace(options, language=hearing.language)
                infer_began_ns = time.time_ns()
                text_before = spoken_after("", hearing.segments) if options.carry_context else ""
                async with (
                    _Keeper(kept, hearing, self._checkpoint_audio_seconds, self._most_unkept_seconds, turn) as keeper,
                    aclosing(
                        self._engine.transcribe(
                            within(blocks, options.start_seconds, options.end_seconds),
                            options,
                            turn=turn,
                            after_seconds=hearing.done_seconds,
                            text_before=text_before,
                            repeatable=kept is not None,
                        )
                    ) as passages,
                ):
                    async for found in passages:
                        passage = found if options.words else found.without_words()
                        hearing.add(passage)
                        clock.transcribed_until(passage.end_seconds)
                        on_passage(passage)
                        await keeper.advanced()
            facts = decoding.facts
        spans.past("decode", decode_began_ns, clock.ended_ns, waited_seconds=clock.waited_seconds)
        spans.past("infer", infer_began_ns, time.time_ns(), model_seconds=hearing.inference_seconds)
        return Heard(
            segments=tuple(hearing.segments),
            suppressed=tuple(hearing.suppressed),
            language=hearing.language,
            language_candidates=hearing.language_candidates,
            duration_seconds=round(clock.n_samples / SAMPLE_RATE_HERTZ, 3),
            audio=facts,
            decode_seconds=clock.waited_seconds,
            inference_seconds=hearing.inference_seconds,
        )

    def _check_wanted(self, duration_seconds: float) -> None:
        if duration_seconds < self._min_duration_seconds:
            raise NotWanted(f"its {duration_seconds:.2f} s are less than MIN_DURATION_SECONDS")


def merged(channels: Sequence[Heard], speakers: Sequence[str]) -> Heard:
    """What all channels gave, in order of time, each segment with its channel.

    The language is that of the first channel on which somebody speaks.
    """

    def by_time(of_channels: Iterable[tuple[Segment, ...]]) -> tuple[Segment, ...]:
        named = (
            segment.model_copy(
                update={"channel": channel, "speaker": speakers[channel] if channel < len(speakers) else None}
            )
            for channel, segments in enumerate(of_channels)
            for segment in segments
        )
        return tuple(sorted(named, key=lambda segment: segment.start_seconds))

    speaking = next((heard for heard in channels if heard.segments), channels[0])
    return Heard(
        segments=by_time(heard.segments for heard in channels),
        suppressed=by_time(heard.suppressed for heard in channels),
        language=speaking.language,
        language_candidates=speaking.language_candidates,
        duration_seconds=max(heard.duration_seconds for heard in channels),
        audio=channels[0].audio,
        decode_seconds=sum(heard.decode_seconds for heard in channels),
        inference_seconds=sum(heard.inference_seconds for heard in channels),
    )


class _Hearing:
    """What was heard so far, in this attempt and the one that it goes on from."""

    def __init__(self, resume: Progress | None) -> None:
        self.start_seconds = self.done_seconds = resume.done_seconds if resume else 0.0
        self.segments: list[Segment] = list(resume.segments) if resume else []
        self.suppressed: list[Segment] = list(resume.suppressed) if resume else []
        self.language = resume.language if resume else None
        self.language_candidates = resume.language_candidates if resume else ()
        self.inference_seconds = resume.inference_seconds if resume else 0.0

    def add(self, passage: Passage) -> None:
        """The next stretch is finished. The language of the first in which somebody speaks is the recording's."""
        self.done_seconds = passage.end_seconds
        self.segments += passage.segments
        self.suppressed += passage.suppressed
        self.inference_seconds += passage.inference_seconds
        if self.language is None and passage.segments:
            self.language, self.language_candidates = passage.language, passage.language_candidates

    def progress(self) -> Progress:
        """As it is now."""
        return Progress(
            self.done_seconds,
            tuple(self.segments),
            self.language,
            self.inference_seconds,
            tuple(self.suppressed),
            self.language_candidates,
        )


class _Keeper:
    """Has the progress of one recording kept; rules 1 to 4. ``kept.keep`` runs in a task of its own."""

    def __init__(
        self, kept: Kept | None, hearing: _Hearing, interval_seconds: float, most_unkept_seconds: float, turn: Turn
    ) -> None:
        self._kept = kept
        self._hearing = hearing
        self._interval_seconds = interval_seconds
        self._most_unkept_seconds = most_unkept_seconds
        self._turn = turn
        self._begun_seconds = hearing.done_seconds  # up to here it is kept, or being kept, or wanted to be
        self._kept_seconds = hearing.done_seconds
        self._seen_seconds = hearing.done_seconds
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        interrupted = isinstance(error, (asyncio.CancelledError, Unavailable))
        try:
            if interrupted and self._hearing.done_seconds > self._kept_seconds:
                self._want()
            if self._keeping is not None and (interrupted or error is None):
                # What is being kept must not arrive after whatever comes next.
                await asyncio.wait({self._keeping}, timeout=KEEP_LAST_SECONDS)
        finally:
            if self._keeping is not None:
                self._keeping.cancel()

    async def advanced(self) -> None:
        """A passage was added. Waits only where too much would be lost (rule 3)."""
        done_seconds = self._hearing.done_seconds
        # Judged by the passage before: what takes a suspect past the line is still kept at once.
        cleared = self._seen_seconds >= self._hearing.start_seconds + CLEARED_AFTER_SECONDS
        self._seen_seconds = done_seconds
        due = done_seconds - self._begun_seconds >= self._interval_seconds
        if due or (self._turn.alone and not cleared):
            self._want()
        if self._keeping is not None and done_seconds - self._kept_seconds >= self._most_unkept_seconds:
            await asyncio.wait({self._keeping})

    def _want(self) -> None:
        self._begun_seconds = self._hearing.done_seconds
        if self._kept is not None and (self._keeping is None or self._keeping.done()):
            self._keeping = asyncio.create_task(self._keep_newest(self._kept))

    async def _keep_newest(self, kept: Kept) -> None:
        while self._kept_seconds < self._begun_seconds:
            progress = self._hearing.progress()
            try:
                await kept.keep(progress)
            except Exception as error:  # noqa: BLE001 - rule 4
                # No more than its name: a message could quote what was to be kept.
                log.warning("progress was not kept: %s", type(error).__name__)
                self._begun_seconds = self._kept_seconds
            else:
                self._kept_seconds = progress.done_seconds


class _Clock:
    """Passes samples on, and counts them, the time that they were waited for, and what is left to transcribe."""

    def __init__(self, blocks: AsyncIterator[Samples], metrics: Metrics) -> None:
        self._blocks = blocks
        self._metrics = metrics
        self._known_seconds = 0.0
        self._transcribed_seconds = 0.0
        self.n_samples = 0
        self.waited_seconds = 0.0
        self.ended_ns = 0
        """When the last sample was there, by time.time_ns; 0 before."""

    def __enter__(self) -> "_Clock":
        return self

    def __exit__(self, *_: object) -> None:
        self.transcribed_until(self._known_seconds)

    def resume_at(self, done_seconds: float) -> None:
        """What lies before is decoded again, and needs no more work."""
        if done_seconds > self._known_seconds:
            self._metrics.backlog_audio_seconds.inc(done_seconds - self._known_seconds)
            self._known_seconds = done_seconds
        self.transcribed_until(done_seconds)

    def transcribed_until(self, seconds: float) -> None:
        """Everything before this time needs no more work."""
        self._metrics.backlog_audio_seconds.dec(seconds - self._transcribed_seconds)
        self._transcribed_seconds = seconds

    def __aiter__(self) -> "_Clock":
        return self

    async def __anext__(self) -> Samples:
        started = time.perf_counter()
        try:
            block = await anext(self._blocks)
        except StopAsyncIteration:
            self.ended_ns = self.ended_ns or time.time_ns()
            raise
        self.waited_seconds += time.perf_counter() - started
        self.n_samples += block.size
        self._metrics.audio_seconds_in.inc(block.size / SAMPLE_RATE_HERTZ)
        decoded_seconds = self.n_samples / SAMPLE_RATE_HERTZ
        if decoded_seconds > self._known_seconds:
            self._metrics.backlog_audio_seconds.inc(decoded_seconds - self._known_seconds)
            self._known_seconds = decoded_seconds
        return block
