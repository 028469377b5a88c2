"""The real engine with tiny.en for tests, made to tell what runs, and recordings and turns to try it with."""

import asyncio
import time
import wave
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from binding import AbortFlag, Context, Library, Samples, State
from consumer.audio.decoder import Decoder
from consumer.audio.silero import SpeechDetector
from consumer.engine.artifacts.locate import Artifacts, locate
from consumer.engine.base import EngineFacts
from consumer.engine.deadline import Deadlines
from consumer.engine.library import WhisperLibraryAdapter
from consumer.engine.pool import StatePool, T
from consumer.engine.traits import PUBLISHED
from consumer.observe.metrics import Metrics
from consumer.transcriber import Transcriber

RATE = 16_000


@dataclass
class NativeCall:
    """One native call on a recording; times are monotonic."""

    kind: str
    owner: Hashable
    began: float
    ended: float = float("inf")


class WatchedPool(StatePool):
    """Notes every native call, in its thread: when it began and ended, and whose it was."""

    def __init__(self, context: Context, n_states: int, metrics: Metrics, deadlines: Deadlines) -> None:
        super().__init__(context, n_states, metrics, deadlines)
        self.calls: list[NativeCall] = []

    async def run(
        self,
        owner: Hashable,
        audio_seconds: float,
        work: Callable[[State, AbortFlag, int], T],
        *,
        repeatable: bool = False,
        rank: int = 0,
    ) -> T:
        def noted(state: State, flag: AbortFlag, n_threads: int) -> T:
            return self.noted("window", owner, lambda: work(state, flag, n_threads))

        return await super().run(owner, audio_seconds, noted, repeatable=repeatable, rank=rank)

    async def detect(self, owner: Hashable, audio_seconds: float, work: Callable[[], T], *, rank: int = 0) -> T:
        return await super().detect(owner, audio_seconds, lambda: self.noted("detection", owner, work), rank=rank)

    def noted(self, kind: str, owner: Hashable, call: Callable[[], T]) -> T:
        noted = NativeCall(kind, owner, time.monotonic())
        self.calls.append(noted)
        try:
            return call()
        finally:
            noted.ended = time.monotonic()

    def windows(self, owner: Hashable) -> list[NativeCall]:
        return [call for call in self.calls if call.kind == "window" and call.owner == owner]

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0.005)

    def is_at_rest(self) -> bool:
        """All places and states are free, and nobody waits."""
        turns = self.places._turns
        return (
            len(self._free) == self.n_states
            and turns._free == {"window": self.n_states, "detection": 1}
            and not any(turns._waiting.values())
            and not turns._suspects
            and turns._alone is None
        )


@dataclass
class RunningEngine:
    engine: WhisperLibraryAdapter
    pool: WatchedPool
    metrics: Metrics

    def metric(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(f"whisper_consumer_{name}")
        assert value is not None, f"no metric {name}"
        return value


@asynccontextmanager
async def running_engine(artifacts_dir: Path, n_states: int = 2, size: Any = "tiny.en") -> AsyncIterator[RunningEngine]:
    """The library engine; the libraries are tiny.en's, as there can be one set in a process."""
    artifacts = locate(artifacts_dir, size, "auto")
    library = Library.load(locate(artifacts_dir, "tiny.en", "auto").directory)
    metrics = Metrics(CollectorRegistry())
    assert artifacts.vad_model is not None
    context = Context(library, artifacts.model)
    pool = WatchedPool(context, n_states, metrics, Deadlines())
    detector = SpeechDetector(artifacts.vad_model)
    engine = WhisperLibraryAdapter(facts_of(artifacts, size), pool, context, detector, PUBLISHED, metrics)
    try:
        yield RunningEngine(engine, pool, metrics)
    finally:
        await engine.close()


@asynccontextmanager
async def running_transcriber(running: RunningEngine, **options: Any) -> AsyncIterator[Transcriber]:
    decoder = Decoder(max_duration_seconds=7200, stall_timeout_seconds=60)
    await decoder.start()
    try:
        yield Transcriber(decoder, running.engine, running.metrics, **options)
    finally:
        await decoder.close()


def facts_of(artifacts: Artifacts, size: str) -> EngineFacts:
    return EngineFacts("library", "0", size, artifacts.model.name, "0", "0", "any", not size.endswith(".en"))


@dataclass
class Attempt:
    """A turn that remembers what it was told; clear ``may_begin`` to hold it back."""

    alone: bool = False
    has_begun: int = 0
    is_cleared: int = 0
    has_ended: int = 0
    may_begin: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_begin.set()

    async def begins(self) -> None:
        await self.may_begin.wait()
        self.has_begun += 1

    def cleared(self) -> None:
        self.is_cleared += 1

    def ends(self) -> None:
        self.has_ended += 1


def read_wav(path: Path) -> NDArray[np.int16]:
    with wave.open(str(path)) as file:
        assert file.getframerate() == RATE
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def joined(speech: NDArray[np.int16], seconds: float, seed: int = 1) -> NDArray[np.int16]:
    """Pieces of speech of 2 to 9 s from anywhere in it, with pauses of 0.3 to 5 s and one of 10 s; at 16 kHz."""
    draw = np.random.default_rng(seed)
    parts: list[NDArray[np.int16]] = []
    while sum(part.size for part in parts) < seconds * RATE:
        length = int(draw.uniform(2, 9) * RATE)
        start = int(draw.integers(0, speech.size - length))
        pause = 10.0 if len(parts) == 6 else draw.uniform(0.3, 5)
        parts += [speech[start : start + length], np.zeros(int(pause * RATE), np.int16)]
    return np.concatenate(parts)


def as_float(pcm: NDArray[np.int16]) -> Samples:
    return pcm.astype(np.float32) / np.float32(32768)


async def blocks(samples: Samples, size: int = 2 * RATE) -> AsyncIterator[Samples]:
    for start in range(0, samples.size, size):
        yield samples[start : start + size]
