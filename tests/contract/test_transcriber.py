"""consumer/transcriber.py with the real decoder: going on from what was kept, and when progress is kept.

Where text matters the engine is the real one; where only time does, one that gives what the test says.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from prometheus_client import CollectorRegistry

from binding import Samples
from consumer.audio.decoder import Decoder
from consumer.engine.base import UNCONTENDED, EngineFacts, Options, Passage, Turn
from consumer.errors import NotWanted, Reason, Rejected, Stage, Unavailable
from consumer.observe.metrics import Metrics
from consumer.transcriber import Heard, Progress, Transcriber
from schemas import LanguageCandidate, Segment
from schemas.checkpoint import Checkpoint
from tests.support.speech import SAMPLE_TEXT, words, write_wav
from tests.support.watched_engine import (
    Attempt,
    joined,
    read_wav,
    running_engine,
    running_transcriber,
)


@pytest.fixture(scope="module")
def long(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two minutes of speech with pauses."""
    return write_wav(tmp_path_factory.mktemp("long") / "long.wav", joined(read_wav(sample), 120))


@pytest.fixture(scope="module")
def lasting(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """33 s of speech: more than what begins anew each time."""
    return write_wav(tmp_path_factory.mktemp("lasting") / "lasting.wav", joined(read_wav(sample), 33)[: 33 * 16_000])


def _heard(heard: Heard) -> tuple[object, ...]:
    """What must not depend on interruptions."""
    return (
        heard.segments,
        heard.suppressed,
        heard.language,
        heard.language_candidates,
        heard.duration_seconds,
        heard.audio,
    )


def _stored(progress: Progress) -> Progress:
    """As it comes back from the bucket."""
    stored = Checkpoint(
        transcript_id="0" * 64,
        done_seconds=progress.done_seconds,
        language=progress.language,
        language_candidates=progress.language_candidates,
        inference_seconds=progress.inference_seconds,
        segments=progress.segments,
        suppressed_segments=progress.suppressed,
    ).model_dump_json(by_alias=True)
    back = Checkpoint.model_validate_json(stored)
    return Progress(
        back.done_seconds,
        back.segments,
        back.language,
        back.inference_seconds,
        back.suppressed_segments,
        back.language_candidates,
    )


async def test_a_recording_that_was_interrupted_anywhere_reads_as_if_it_was_not(
    artifacts_dir: Path, long: Path
) -> None:
    """Killed (what was kept last is there), cancelled (it is kept up to then) and going on until it is through."""
    draw = random.Random(11)
    keep = Kept()
    async with (
        running_engine(artifacts_dir) as running,
        running_transcriber(running, checkpoint_audio_seconds=20) as transcriber,
    ):
        with long.open("rb") as file:
            passages: list[Passage] = []
            whole = await transcriber.transcribe(file, "a.wav", Options(), kept=keep.of, on_passage=passages.append)
            assert len(passages) >= 5
            assert len(keep.kept) >= 3
            audio_seconds = running.metric("audio_in_seconds_total")

            killed = _stored(draw.choice(keep.kept[:-1]))
            windows = running.metric("windows_total")
            heard = await transcriber.transcribe(file, "a.wav", Options(), kept=Kept(killed).of)
            assert _heard(heard) == _heard(whole)
            done = sum(passage.end_seconds <= killed.done_seconds for passage in passages)
            assert running.metric("windows_total") - windows == len(passages) - done, "something was transcribed twice"
            assert heard.inference_seconds > killed.inference_seconds > 0
            assert running.metric("audio_in_seconds_total") == pytest.approx(2 * audio_seconds)

            progress: Progress | None = None
            for interruption in (draw.randint(1, 2), draw.randint(1, 2)):
                keep = Kept(progress)
                await _cancel_after(interruption, transcriber, file, keep)
                assert running.metric("backlog_audio_seconds") == pytest.approx(0, abs=1e-6)
                assert not progress or keep.kept[-1].done_seconds > progress.done_seconds
                progress = _stored(keep.kept[-1])
            heard = await transcriber.transcribe(file, "a.wav", Options(), kept=Kept(progress).of)
            assert _heard(heard) == _heard(whole)
        await running.pool.wait_until(running.pool.is_at_rest)
        assert running.metric("backlog_audio_seconds") == pytest.approx(0, abs=1e-6)


async def _cancel_after(n_passages: int, transcriber: Transcriber, file: BinaryIO, keep: "Kept") -> None:
    given: list[Passage] = []

    def on_passage(passage: Passage) -> None:
        given.append(passage)
        if len(given) == n_passages:
            task.cancel()

    task = asyncio.create_task(transcriber.transcribe(file, "a.wav", Options(), kept=keep.of, on_passage=on_passage))
    await asyncio.wait({task})
    assert task.cancelled()
    assert len(given) >= n_passages  # one that was ready already is taken up before the cancellation comes


async def test_who_goes_on_takes_the_language_that_was_found(artifacts_dir: Path, lasting: Path) -> None:
    """A multilingual model: the rest is not asked for its language again."""
    async with running_engine(artifacts_dir, 1, "base") as running, running_transcriber(running) as transcriber:
        with lasting.open("rb") as file:
            progress = Progress(
                3.0, (), "de", 1.0, language_candidates=(LanguageCandidate(language="de", probability=0.75),)
            )
            heard = await transcriber.transcribe(file, "a.wav", Options(), kept=Kept(progress).of)
    assert (heard.language, heard.language_probability) == ("de", 0.75)
    assert heard.segments[0].start_seconds >= 3.0


class ScriptedEngine:
    """Gives passages of 30 s, of one segment each, when it is let; says nothing of what it costs."""

    facts = EngineFacts("library", "0", "tiny.en", "m", "0", "0", "any", False)

    def __init__(self, n_passages: int, seconds_ahead: float = 90.0) -> None:
        self.seconds_ahead = seconds_ahead
        self.n_passages = n_passages
        self.may_give = asyncio.Semaphore(n_passages)
        self.waits = asyncio.Event()
        self.failure: Exception | None = None

    async def transcribe(
        self,
        samples: AsyncIterator[Samples],
        options: Options,  # noqa: ARG002
        *,
        turn: Turn = UNCONTENDED,  # noqa: ARG002
        after_seconds: float = 0.0,
        text_before: str = "",  # noqa: ARG002
        repeatable: bool = False,  # noqa: ARG002
    ) -> AsyncGenerator[Passage, None]:
        async for _ in samples:
            pass
        for number in range(1, self.n_passages + 1):
            if self.may_give.locked():
                self.waits.set()
                if self.failure:
                    raise self.failure
            await self.may_give.acquire()
            for _ in range(3):
                await asyncio.sleep(0)  # other tasks run while a window is transcribed
            end_seconds = after_seconds + 30.0 * number
            segment = Segment(
                start_seconds=end_seconds - 30, end_seconds=end_seconds, text="word", average_log_probability=0
            )
            yield Passage(end_seconds, (segment,), "en", 1.0)

    def overdue(self, now: float) -> float | None:  # noqa: ARG002
        return None

    async def close(self) -> None: ...


class Kept:
    """Where progress goes, and comes from: remembers it, and is as slow as the test wants."""

    def __init__(self, found: Progress | None = None) -> None:
        self.found = found
        self.asked = 0
        self.begun: list[Progress] = []
        self.kept: list[Progress] = []
        self.at_once = 0
        self.most_at_once = 0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.fails = 0

    def of(self, channel: int | None) -> "Kept":
        assert channel is None
        return self

    async def find(self) -> Progress | None:
        self.asked += 1
        return self.found

    async def keep(self, progress: Progress) -> None:
        self.begun.append(progress)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.may_end.wait()
            if self.fails:
                self.fails -= 1
                raise ConnectionError("these are words of the transcript")
            self.kept.append(progress)
        finally:
            self.at_once -= 1

    def seconds(self) -> list[float]:
        return [progress.done_seconds for progress in self.kept]


@asynccontextmanager
async def _scripted(engine: ScriptedEngine, **options: Any) -> AsyncIterator[Transcriber]:
    decoder = Decoder(max_duration_seconds=60, stall_timeout_seconds=30)
    await decoder.start()
    try:
        yield Transcriber(decoder, engine, Metrics(CollectorRegistry()), **options)
    finally:
        await decoder.close()


async def _run(
    sample: Path,
    engine: ScriptedEngine,
    keep: Kept,
    drive: Callable[["asyncio.Task[Heard]", list[Passage]], Any] | None = None,
    **options: Any,
) -> Heard | None:
    """Transcribe with a scripted engine; ``drive`` is awaited meanwhile. None where it was cancelled."""
    given: list[Passage] = []
    constructed = {name: options.pop(name) for name in list(options) if name == "checkpoint_audio_seconds"}
    async with _scripted(engine, **constructed) as transcriber:
        with sample.open("rb") as file:
            task = asyncio.create_task(
                transcriber.transcribe(file, "a.wav", Options("en"), kept=keep.of, on_passage=given.append, **options)
            )
            if drive:
                await asyncio.wait_for(drive(task, given), 30)
            await asyncio.wait({task}, timeout=30)
            return None if task.cancelled() else task.result()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


async def test_progress_is_kept_after_so_much_audio(lasting: Path) -> None:
    keep = Kept()
    heard = await _run(lasting, ScriptedEngine(10), keep)
    assert keep.seconds() == [120, 240]
    assert keep.kept[1] == Progress(240, heard.segments[:8] if heard else (), "en", 8.0)


@pytest.mark.parametrize(("n_states", "interval_seconds"), [(4, 120), (5, 120), (6, 90), (7, 60), (9, 30), (64, 30)])
async def test_many_states_shorten_the_interval(lasting: Path, n_states: int, interval_seconds: float) -> None:
    """Up to eight states interval and windows in hand together are 300 s of audio at most."""
    keep = Kept()
    await _run(lasting, ScriptedEngine(10, seconds_ahead=(n_states + 1) * 30), keep)
    assert keep.seconds() == [end for end in range(30, 301, 30) if end % interval_seconds == 0]


async def test_a_suspects_progress_is_kept_after_each_passage_until_it_is_cleared(lasting: Path) -> None:
    keep = Kept(Progress(60.0, (), "en", 5.0))

    async def one_by_one(task: "asyncio.Task[Heard]", given: list[Passage]) -> None:
        for number in range(1, 16):
            engine.may_give.release()
            await _until(lambda number=number: len(given) >= number)  # type: ignore[misc]
            await _until(lambda: keep.at_once == 0)

    engine = ScriptedEngine(15)
    engine.may_give = asyncio.Semaphore(0)
    await _run(lasting, engine, keep, one_by_one, turn=Attempt(alone=True))
    assert keep.seconds() == [*range(90, 361, 30), 480]


async def test_what_is_new_is_kept_when_the_work_is_cancelled(lasting: Path) -> None:
    keep, engine = Kept(), ScriptedEngine(10)
    engine.may_give = asyncio.Semaphore(5)

    async def cancel(task: "asyncio.Task[Heard]", given: list[Passage]) -> None:
        await engine.waits.wait()
        assert keep.seconds() == [120]
        task.cancel()

    assert await _run(lasting, engine, keep, cancel) is None
    assert keep.seconds() == [120, 150]


async def test_and_when_it_meets_an_outage_but_not_when_it_is_rejected(lasting: Path) -> None:
    for failure, kept in ((Unavailable("decoder", "gone"), [60]), (Rejected(Reason.NOT_AUDIO, Stage.DECODE, ""), [])):
        keep, engine = Kept(), ScriptedEngine(10)
        engine.may_give = asyncio.Semaphore(2)
        engine.failure = failure
        with pytest.raises(type(failure)):
            await _run(lasting, engine, keep)
        assert keep.seconds() == kept


@pytest.mark.parametrize("found", [None, Progress(60.0, (), "en", 5.0)])
async def test_who_finished_nothing_keeps_nothing(lasting: Path, found: Progress | None) -> None:
    keep, engine = Kept(found), ScriptedEngine(10)
    engine.may_give = asyncio.Semaphore(0)

    async def cancel(task: "asyncio.Task[Heard]", given: list[Passage]) -> None:
        await engine.waits.wait()
        task.cancel()

    assert await _run(lasting, engine, keep, cancel) is None
    assert keep.begun == []


async def test_a_store_that_hangs_holds_up_a_cancelled_recording_for_three_seconds(lasting: Path) -> None:
    keep, engine = Kept(), ScriptedEngine(10)
    keep.may_end.clear()
    engine.may_give = asyncio.Semaphore(5)

    async def cancel(task: "asyncio.Task[Heard]", given: list[Passage]) -> None:
        await engine.waits.wait()
        started = asyncio.get_running_loop().time()
        task.cancel()
        await asyncio.wait({task})
        assert 2.9 < asyncio.get_running_loop().time() - started < 4.5

    assert await _run(lasting, engine, keep, cancel) is None
    await _until(lambda: keep.at_once == 0)
    assert keep.kept == []


async def test_a_slow_store_holds_up_passages_only_where_too_much_could_be_lost(lasting: Path) -> None:
    """Two states: 90 s may be in hand, so 210 s may wait to be kept."""
    keep, engine = Kept(), ScriptedEngine(12)
    keep.may_end.clear()

    async def watch(task: "asyncio.Task[Heard]", given: list[Passage]) -> None:
        await _until(lambda: len(given) >= 7)
        for _ in range(20):
            await asyncio.sleep(0)
        assert [passage.end_seconds for passage in given][-1] == 210
        assert [progress.done_seconds for progress in keep.begun] == [120]
        keep.may_end.set()

    assert await _run(lasting, engine, keep, watch)
    assert keep.most_at_once == 1
    assert keep.seconds()[0] == 120
    assert keep.seconds()[-1] >= 240


async def test_progress_that_could_not_be_kept_is_kept_with_the_next_passage(
    lasting: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep = Kept()
    keep.fails = 1
    engine = ScriptedEngine(6)
    engine.may_give = asyncio.Semaphore(4)

    async def go_on(task: "asyncio.Task[Heard]", given: list[Passage]) -> None:
        await _until(lambda: len(keep.begun) == 1 and keep.at_once == 0)
        engine.may_give.release()
        await _until(lambda: len(keep.kept) == 1)
        engine.may_give.release()

    assert await _run(lasting, engine, keep, go_on)
    assert keep.seconds() == [150]
    assert "ConnectionError" in caplog.text
    assert "words" not in caplog.text


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_short_recording_is_not_asked_for_and_not_kept(sample: Path, cancelled: bool) -> None:
    """Else the passage that it always finishes before it crashes would pass for progress, each time."""
    keep, engine = Kept(Progress(60.0, (), "en", 5.0)), ScriptedEngine(2)

    async def cancel(task: "asyncio.Task[Heard]", given: list[Passage]) -> None:
        if cancelled:
            await engine.waits.wait()
            task.cancel()

    if cancelled:
        engine.may_give = asyncio.Semaphore(1)
    heard = await _run(sample, engine, keep, cancel, turn=Attempt(alone=True))
    assert (heard is None) == cancelled
    assert (keep.asked, keep.begun) == (0, [])


async def test_only_the_wanted_range_is_transcribed_with_the_recordings_times(
    artifacts_dir: Path, sample: Path
) -> None:
    """And not so of what is cut, whatever the blocks are that it comes in."""
    async with running_engine(artifacts_dir) as running, running_transcriber(running) as transcriber:
        with sample.open("rb") as file:
            whole = await transcriber.transcribe(file, "a.wav", Options())
            part = await transcriber.transcribe(file, "a.wav", Options(start_seconds=3.2, end_seconds=7.8))
            late = await transcriber.transcribe(file, "a.wav", Options(start_seconds=500))
    assert words(whole.text) == words(SAMPLE_TEXT)
    assert words(part.text) == words("ask not what your country can do for you")
    assert part.duration_seconds == whole.duration_seconds == 11.0
    assert 2.5 <= part.segments[0].start_seconds <= part.segments[-1].end_seconds <= 8.5
    assert (late.text, late.duration_seconds) == ("", 11.0)


async def test_times_of_words_may_be_left_out(artifacts_dir: Path, sample: Path) -> None:
    async with running_engine(artifacts_dir) as running, running_transcriber(running) as transcriber:
        given: list[Passage] = []
        with sample.open("rb") as file:
            heard = await transcriber.transcribe(file, "a.wav", Options(words=False), on_passage=given.append)
    assert words(heard.text) == words(SAMPLE_TEXT)
    assert [segment.words for segment in heard.segments] == [()] * len(heard.segments)
    assert given[0].segments == heard.segments


async def test_a_recording_that_is_too_short_is_not_wanted(sample: Path) -> None:
    for least_seconds in (11.0, 11.1):
        engine = ScriptedEngine(1)
        decoder = Decoder(max_duration_seconds=60, stall_timeout_seconds=10)
        await decoder.start()
        transcriber = Transcriber(decoder, engine, Metrics(CollectorRegistry()), min_duration_seconds=least_seconds)
        with sample.open("rb") as file:
            task = transcriber.transcribe(file, "a.wav", Options())
            if least_seconds > 11.0:
                with pytest.raises(NotWanted, match="MIN_DURATION_SECONDS"):
                    await task
            else:
                await task
        await decoder.close()


async def test_the_backlog_counts_only_what_is_to_be_transcribed(artifacts_dir: Path, lasting: Path) -> None:
    """Of 33 s, 8 were done, and are decoded again: what is decoded of the rest is waited for."""
    async with running_engine(artifacts_dir) as running, running_transcriber(running) as transcriber:
        attempt = Attempt()
        attempt.may_begin.clear()
        with lasting.open("rb") as file:
            task = asyncio.create_task(
                transcriber.transcribe(
                    file, "a.wav", Options(), turn=attempt, kept=Kept(Progress(8.0, (), "en", 1.0)).of
                )
            )
            await _until(lambda: running.metric("audio_in_seconds_total") > 30)
            await _until(
                lambda: running.metric("backlog_audio_seconds") == running.metric("audio_in_seconds_total") - 8
            )
            attempt.may_begin.set()
            heard = await task
        assert running.metric("backlog_audio_seconds") == pytest.approx(0, abs=1e-6)
    assert heard.segments[0].start_seconds >= 8
