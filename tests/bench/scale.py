"""What a second of audio costs as work grows: longer recordings, longer queues, more states, more workers; and a start.

Each item is a function that can run alone (``ITEMS``), through the whole worker with Kafka and the store on the same
cores. Each of its points is made by a fresh worker with fresh topics, and is kept as it comes, so that a measurement
that was broken off goes on where it was. Memory is PSS: of the worker and its decoder processes, pages that processes
share counted once, in shares.
"""

import asyncio
import json
import os
import statistics
import sys
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.engine.artifacts.locate import locate
from consumer.settings import ModelSize
from tests.bench.journal import _state
from tests.support.built import compiled_artifacts
from tests.support.cache import CACHE_DIR
from tests.support.speech import Recording, corpus_set, write_long_recording
from tests.support.stack import CORPUS_DIR, Stack, running_stack
from tests.support.worker import Deployment, WorkerProcess, deploy

LENGTHS: Final[tuple[tuple[ModelSize, int], ...]] = (
    ("base", 10),
    ("base", 60),
    ("base", 600),
    ("base", 3600),
    ("tiny.en", 600),
    ("tiny.en", 7200),
    ("tiny.en", 36_000),
)
"""Seconds of one recording, by model."""
LEAST_AUDIO_SECONDS: Final = 120
"""Short recordings are done one after another until so much audio is through."""

NEW_EVENTS: Final = (10, 100, 1000)
STORED_EVENTS: Final = (10, 100, 1000, 10_000, 100_000)
STORED_RECORDINGS: Final = 50
QUEUE_SIZE: Final[ModelSize] = "tiny.en"
QUEUE_PARTITIONS: Final = 4

STATES: Final = (1, 2, 3, 4)
STARTS: Final = 3
START_SIZES: Final[tuple[ModelSize, ...]] = ("tiny.en", "base")
SIZE: Final[ModelSize] = "base"
"""Of the model, where an item does not say another."""

WARM_UP: Final = 16
"""Recordings of which no figure is made, so that everything is loaded."""
PATIENCE_SECONDS: Final = 300.0
"""Beside the audio's own length."""

_BUCKET: Final = "calls"
_AT_ONCE: Final = 32
_SENT_AT_ONCE: Final = 5000
_FRAMES_AT_ONCE: Final = 1_000_000
_LOOK_SECONDS: Final = 0.25
_COUNT_SECONDS: Final = 0.05

Piece = dict[str, Any]
"""One point of one item."""


class Pieces:
    """Finished points by name, in a file."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """``fresh`` forgets what is there."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._found: dict[str, Piece] = {} if fresh or not path.exists() else json.loads(path.read_text())

    async def once(self, name: str, make: Callable[[], Awaitable[Piece]]) -> Piece:
        """The point of that name, made where there is none yet."""
        if name not in self._found:
            self._found[name] = await make()
            self._path.write_text(json.dumps(self._found))
            print(f"{name}: {self._found[name]}", file=sys.stderr)
        return self._found[name]


async def measure(quick: bool, only: str | None = None, *, fresh: bool = False) -> dict[str, Any]:
    """Returns the points of each item, or of one alone, and their curves. ``quick`` leaves the largest points out.

    Raises ValueError for an item that there is not.
    """
    if only is not None and only not in ITEMS:
        raise ValueError(f"there is no item {only!r}: there are {', '.join(ITEMS)}")
    pieces = Pieces(CACHE_DIR / "bench" / f"scale-{_state()[:16]}.json", fresh=fresh)
    items: dict[str, list[Piece]] = {}
    async with running_stack() as stack:
        await stack.s3.create_bucket(Bucket=_BUCKET)
        for name, item in ITEMS.items():
            if only in (None, name):
                items[name] = await item(stack, pieces, quick=quick)
    return {"quick": quick, "items": items, "curves": curves(items)}


async def length(stack: Stack, pieces: Pieces, *, quick: bool) -> list[Piece]:
    """One recording at a time, of 10 s to 10 h."""
    longest = max(seconds for _, seconds in LENGTHS)
    return [
        await pieces.once(f"length {size} {seconds}", partial(_length, stack, size, seconds))
        for size, seconds in LENGTHS
        if not (quick and seconds == longest)
    ]


async def queue(stack: Stack, pieces: Pieces, *, quick: bool) -> list[Piece]:
    """Events that are sent as fast as Kafka takes them: of recordings that are new, and of some that have results."""
    return [
        await pieces.once(f"queue {kind} {count}", partial(_queue, stack, count, stored=kind == "stored"))
        for kind, counts in (("new", NEW_EVENTS), ("stored", STORED_EVENTS))
        for count in (counts[:-1] if quick else counts)
    ]


async def states(stack: Stack, pieces: Pieces, *, quick: bool) -> list[Piece]:
    """Short clips with one to four states on these cores. Has no quick form."""
    return [await pieces.once(f"states {count}", partial(_states, stack, count)) for count in STATES]


async def workers(stack: Stack, pieces: Pieces, *, quick: bool) -> list[Piece]:
    """One worker with two states beside two workers with one each, two partitions, two CPUs. Has no quick form.

    A worker takes all the CPUs that it may use for one window, so two that may use both are in each other's way: that
    is measured too. Gives nothing where there is one CPU.
    """
    both = sorted(os.sched_getaffinity(0))[:2]
    if len(both) < 2:
        return []
    fleets: dict[str, tuple[set[int], ...]] = {
        "both": (set(both),),
        "one each": ({both[0]}, {both[1]}),
        "both, shared": (set(both), set(both)),
    }
    return [
        await pieces.once(f"workers {len(cpus)} {name}", partial(_workers, stack, name, cpus))
        for name, cpus in fleets.items()
    ]


async def start(stack: Stack, pieces: Pieces, *, quick: bool) -> list[Piece]:
    """From the start of the process to the probe's yes, and to the transcript of an event that waited for it."""
    return [
        await pieces.once(f"start {size}", partial(_start, stack, size, STARTS - quick * (STARTS - 1)))
        for size in START_SIZES
    ]


class Item(Protocol):
    """One of the measurements: makes its points, or takes those that are kept."""

    def __call__(self, stack: Stack, pieces: Pieces, *, quick: bool) -> Awaitable[list[Piece]]: ...


ITEMS: Final[dict[str, Item]] = {
    "length": length,
    "queue": queue,
    "states": states,
    "workers": workers,
    "start": start,
}


def curves(items: dict[str, list[Piece]]) -> list[dict[str, Any]]:
    """What plots are made of: name, labels of the axes, points, and whether x is logarithmic."""
    cost = "CPU-seconds an audio second"
    found = [
        *(
            _curve(f"{name}, {size}", "length of the recording, s", label, points, "seconds", value, log_x=True)
            for name, label, value in (
                ("cost by length", cost, "cpu_seconds_per_audio_second"),
                ("memory by length", "peak PSS, MB", "peak_megabytes"),
            )
            for size, points in _groups(items.get("length", []), "size")
        ),
        *(
            _curve(f"{name}, {kind}", "events", label, points, "events", value, log_x=True)
            for name, label, value in (
                ("speed by queue", "events a second", "events_per_second"),
                ("cost by queue", "CPU ms an event", "cpu_milliseconds_per_event"),
                ("memory by queue", "peak PSS, MB", "peak_megabytes"),
            )
            for kind, points in _groups(items.get("queue", []), "kind")
        ),
    ]
    if points := items.get("states"):
        found.append(_curve("speed by states", "states", "x real time", points, "states", "x", log_x=False))
        found.append(
            _curve("memory by states", "states", "peak PSS, MB", points, "states", "peak_megabytes", log_x=False)
        )
    return found


def table(figures: dict[str, Any]) -> str:
    """The points of each item as Markdown."""
    about = figures["machine"]
    lines = [f"{about['cores']} cores of {about['cpu']} ({about['cpu_class']}). Memory is PSS."]
    for name, points in figures["items"].items():
        columns = _COLUMNS[name]
        lines += ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [f"| {' | '.join(_shown(point[value]) for value in columns.values())} |" for point in points]
    return "\n".join(lines)


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"


_COSTS: Final = {
    "x real time": "x",
    "CPU-seconds an audio second": "cpu_seconds_per_audio_second",
    "MB at rest": "rest_megabytes",
    "MB at the peak": "peak_megabytes",
}
_COLUMNS: Final[dict[str, dict[str, str]]] = {
    "length": {"model": "size", "seconds of one recording": "seconds", "recordings": "recordings", **_COSTS},
    "queue": {
        "recordings": "kind",
        "events": "events",
        "events a second": "events_per_second",
        "CPU ms an event": "cpu_milliseconds_per_event",
        "MB at the peak": "peak_megabytes",
    },
    "states": {"states": "states", **_COSTS},
    "workers": {
        "workers": "workers",
        "states of each": "states_each",
        "CPUs": "cpus",
        **_COSTS,
        "MB of the workers alone, PSS": "own_pss_megabytes",
        "the same, RSS": "own_rss_megabytes",
        "MB that one shares with others": "shared_megabytes_each",
        "MB of the model's file": "model_megabytes",
    },
    "start": {
        "model": "size",
        "starts": "starts",
        "s to ready": "ready_seconds",
        "s to the first transcript": "first_transcript_seconds",
    },
}


async def _length(stack: Stack, size: ModelSize, seconds: int) -> Piece:
    recording = await asyncio.to_thread(long_recording, CACHE_DIR / "bench" / f"long-{seconds}.wav", seconds)
    uploads = [
        await _upload(stack, recording, f"{size}-{seconds}-{number}.wav")
        for number in range(max(1, LEAST_AUDIO_SECONDS // seconds))
    ]
    async with _fleet(stack, size) as fleet:
        costs = await fleet.costs(await _shortest(stack, WARM_UP), [[upload] for upload in uploads])
    return {"size": size, "seconds": recording.seconds, "recordings": len(uploads), **costs}


async def _queue(stack: Stack, count: int, *, stored: bool) -> Piece:
    results_bucket = f"transcripts-{uuid4().hex[:8]}"
    uploads = await _shortest(stack, STORED_RECORDINGS if stored else WARM_UP + count)
    if stored:  # a worker before makes the results
        async with _fleet(stack, QUEUE_SIZE, results_bucket=results_bucket) as before:
            await before.finish(uploads)
    warm_up, rest = uploads[:WARM_UP], uploads[WARM_UP:]
    measured = [uploads[number % len(uploads)] for number in range(count)] if stored else rest
    async with _fleet(stack, QUEUE_SIZE, results_bucket=results_bucket, partitions=QUEUE_PARTITIONS) as fleet:
        await fleet.finish(warm_up)
        looked = await fleet.look([measured])
        reused = int(await fleet.workers[0].metric("results_reused_total"))
    if reused != (WARM_UP + count if stored else 0):
        raise RuntimeError(f"{reused} results were reused in a queue of {count} recordings (stored: {stored})")
    return {
        "kind": "stored" if stored else "new",
        "events": count,
        "events_per_second": round(count / looked.seconds, 1),
        "cpu_milliseconds_per_event": round(1000 * looked.cpu_seconds / count, 2),
        "peak_megabytes": round(looked.peak_megabytes),
    }


async def _states(stack: Stack, count: int) -> Piece:
    async with _fleet(stack, SIZE, WHISPER_STATES=str(count)) as fleet:
        return {"states": count, **await fleet.costs(await _shortest(stack, WARM_UP), [await _clips(stack)])}


async def _workers(stack: Stack, name: str, cpus: Sequence[set[int]]) -> Piece:
    n_workers, n_states = len(cpus), 2 // len(cpus)
    async with _fleet(stack, SIZE, cpus, partitions=2, WHISPER_STATES=str(n_states)) as fleet:
        costs = await fleet.costs(await _shortest(stack, WARM_UP), [await _clips(stack)])
        memories = [psutil.Process(worker.process.pid).memory_full_info() for worker in fleet.workers]
    model = locate(compiled_artifacts(SIZE), SIZE).model
    return {
        "workers": n_workers,
        "states_each": n_states,
        "cpus": name,
        **costs,
        # Of the workers' own processes, without decoders. RSS counts what is shared in full in each of them.
        "own_pss_megabytes": round(sum(memory.pss for memory in memories) / 1e6),
        "own_rss_megabytes": round(sum(memory.rss for memory in memories) / 1e6),
        "shared_megabytes_each": round(sum(memory.rss - memory.uss for memory in memories) / n_workers / 1e6),
        "model_megabytes": round(model.stat().st_size / 1e6),
    }


async def _start(stack: Stack, size: ModelSize, times: int) -> Piece:
    """Readiness is asked for every 50 ms."""
    found: list[tuple[float, float]] = []
    for _ in range(times):
        [upload] = await _shortest(stack, 1)
        deployment = await _deploy(stack, size)
        await stack.clients.send(deployment.input_topic, upload.event)
        async with _reading(stack, deployment) as reader:
            began = time.time()
            async with deployment.worker():
                ready_seconds = time.time() - began
                found.append((ready_seconds, await reader.wait(1, PATIENCE_SECONDS) - began))
    ready_seconds, first_seconds = (round(statistics.median(values), 2) for values in zip(*found, strict=True))
    return {"size": size, "starts": times, "ready_seconds": ready_seconds, "first_transcript_seconds": first_seconds}


@dataclass(frozen=True, slots=True)
class Upload:
    """A recording in the bucket."""

    key: str
    etag: str
    size_bytes: int
    seconds: float

    @property
    def event(self) -> bytes:
        """The project's own event of it, with what a store's notification tells."""
        return json.dumps({"bucket": _BUCKET, "key": self.key, "eTag": self.etag, "size": self.size_bytes}).encode()


@dataclass(frozen=True, slots=True)
class _Looked:
    """What some workers took for some recordings."""

    seconds: float
    cpu_seconds: float
    rest_megabytes: float
    peak_megabytes: float


class _Reader:
    """Looks at the ends of the topics that workers write, without reading what lies between."""

    def __init__(self, consumer: Any, output: TopicPartition, dead_letters: TopicPartition) -> None:
        self._consumer = consumer
        self._output = output
        self._dead_letters = dead_letters

    async def wait(self, count: int, patience_seconds: float) -> float:
        """Wait for so many transcripts in all; returns when the last was sent, in seconds since the epoch.

        Raises TimeoutError, and RuntimeError where a recording became a dead letter.
        """
        async with asyncio.timeout(patience_seconds):
            while True:
                ends = await self._consumer.end_offsets([self._output, self._dead_letters])
                if ends[self._dead_letters]:
                    raise RuntimeError("a recording became a dead letter")
                if ends[self._output] >= count:
                    break
                await asyncio.sleep(_COUNT_SECONDS)
            self._consumer.seek(self._output, count - 1)
            return float((await self._consumer.getone()).timestamp) / 1000


@dataclass(frozen=True, slots=True)
class _Fleet:
    """Workers of one deployment, and what came out of them."""

    workers: list[WorkerProcess]
    deployment: Deployment
    reader: _Reader
    partitions: int
    done: list[Upload] = field(default_factory=list)

    async def finish(self, uploads: Sequence[Upload]) -> float:
        """Announce recordings and wait for their transcripts; returns the seconds from the first to the last."""
        began = time.time()
        sending = asyncio.create_task(self._send(uploads))
        self.done.extend(uploads)
        patience_seconds = PATIENCE_SECONDS + sum(upload.seconds for upload in uploads)
        try:
            return await self.reader.wait(len(self.done), patience_seconds) - began
        finally:
            await sending

    async def look(self, groups: Sequence[Sequence[Upload]]) -> _Looked:
        """Finish group after group."""
        rest, cpu_before = self.resident_bytes(), self.cpu_seconds()
        resident = [rest]
        watching = asyncio.create_task(self._watch(resident))
        try:
            seconds = sum([await self.finish(group) for group in groups])
        finally:
            watching.cancel()
            await asyncio.wait({watching})
        return _Looked(seconds, self.cpu_seconds() - cpu_before, rest / 1e6, max(resident) / 1e6)

    async def costs(self, warm_up: Sequence[Upload], groups: Sequence[Sequence[Upload]]) -> Piece:
        """Finish some recordings that do not count, then group after group.

        Raises RuntimeError where the workers did not hear all of their audio.
        """
        await self.finish(warm_up)
        audio_seconds = sum(upload.seconds for group in groups for upload in group)
        heard_before = await self._heard_seconds()
        looked = await self.look(groups)
        heard = await self._heard_seconds() - heard_before
        if abs(heard - audio_seconds) > 0.01 * audio_seconds:
            raise RuntimeError(f"{heard:.1f} s of {audio_seconds:.1f} s of audio were heard")
        return {
            "x": round(audio_seconds / looked.seconds, 2),
            "cpu_seconds_per_audio_second": round(looked.cpu_seconds / audio_seconds, 4),
            "rest_megabytes": round(looked.rest_megabytes),
            "peak_megabytes": round(looked.peak_megabytes),
        }

    def resident_bytes(self) -> int:
        """PSS of all workers and their decoders."""
        return sum(worker.resident_bytes() for worker in self.workers)

    def cpu_seconds(self) -> float:
        """Of all workers and their decoders."""
        return sum(worker.cpu_seconds() for worker in self.workers)

    async def _send(self, uploads: Sequence[Upload]) -> None:
        """Events go to the partitions in turn."""
        clients, topic = self.deployment.clients, self.deployment.input_topic
        for start_at in range(0, len(uploads), _SENT_AT_ONCE):
            some = enumerate(uploads[start_at : start_at + _SENT_AT_ONCE])
            await asyncio.gather(
                *(clients.send(topic, upload.event, partition=number % self.partitions) for number, upload in some)
            )

    async def _heard_seconds(self) -> float:
        return sum([await worker.metric("audio_out_seconds_total") for worker in self.workers])

    async def _watch(self, resident: list[int]) -> None:
        while True:
            resident.append(self.resident_bytes())
            await asyncio.sleep(_LOOK_SECONDS)


@asynccontextmanager
async def _fleet(
    stack: Stack,
    size: ModelSize,
    cpus: Sequence[set[int] | None] = (None,),
    *,
    partitions: int = 1,
    results_bucket: str | None = None,
    **settings: str,
) -> AsyncIterator[_Fleet]:
    """A fresh worker for each of ``cpus``, which it may use (None: all), with the partitions shared out evenly."""
    deployment = await _deploy(stack, size, partitions=partitions, results_bucket=results_bucket, **settings)
    async with AsyncExitStack() as running:
        workers = []
        for allowed in cpus:
            with _children_on(allowed):
                workers.append(await running.enter_async_context(deployment.worker()))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any([await worker.metric("assigned_partitions") != partitions / len(cpus) for worker in workers]):
                await asyncio.sleep(_LOOK_SECONDS)
        yield _Fleet(workers, deployment, await running.enter_async_context(_reading(stack, deployment)), partitions)


@contextmanager
def _children_on(cpus: set[int] | None) -> Iterator[None]:
    """Processes that this thread starts meanwhile may use these CPUs alone."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus or before)
        yield
    finally:
        os.sched_setaffinity(0, before)


async def _deploy(
    stack: Stack, size: ModelSize, *, partitions: int = 1, results_bucket: str | None = None, **settings: str
) -> Deployment:
    return await deploy(
        stack.clients,
        stack.store,
        await asyncio.to_thread(compiled_artifacts, size),
        stack.directory,
        buckets=(_BUCKET,),
        results_bucket=results_bucket,
        partitions=partitions,
        WHISPER_MODEL_SIZE=size,
        WHISPER_LANGUAGE="en",
        **settings,
    )


@asynccontextmanager
async def _reading(stack: Stack, deployment: Deployment) -> AsyncIterator[_Reader]:
    topics = [TopicPartition(name, 0) for name in (deployment.output_topic, deployment.dead_letter_topic)]
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.clients.bootstrap_servers)
    await consumer.start()
    try:
        consumer.assign(topics)
        yield _Reader(consumer, *topics)
    finally:
        await consumer.stop()


async def _clips(stack: Stack) -> list[Upload]:
    return [await _upload(stack, clip, clip.path.name) for clip in corpus_set(CORPUS_DIR, "lsother")]


async def _shortest(stack: Stack, count: int) -> list[Upload]:
    """The shortest clip, under so many keys that were never used before."""
    shortest = min(corpus_set(CORPUS_DIR, "lsother"), key=lambda clip: clip.seconds)
    free, name = asyncio.Semaphore(_AT_ONCE), uuid4().hex[:8]

    async def upload(number: int) -> Upload:
        async with free:
            return await _upload(stack, shortest, f"{name}/{number:05}{shortest.path.suffix}")

    return await asyncio.gather(*(upload(number) for number in range(count)))


async def _upload(stack: Stack, recording: Recording, key: str) -> Upload:
    with recording.path.open("rb") as file:
        answer = await stack.s3.put_object(Bucket=_BUCKET, Key=key, Body=file)
    return Upload(key, answer["ETag"].strip('"'), recording.path.stat().st_size, recording.seconds)


def long_recording(path: Path, seconds: float) -> Recording:
    """Clips of the corpus joined to exactly so many seconds, written once and kept."""
    if not path.exists():
        longer, part = path.with_suffix(".longer"), path.with_suffix(".part")
        write_long_recording(longer, corpus_set(CORPUS_DIR, "lsother"), seconds)
        with wave.open(str(longer)) as source, wave.open(str(part), "wb") as target:
            target.setparams(source.getparams())
            left = round(seconds * source.getframerate())
            while left > 0:
                target.writeframes(source.readframes(min(left, _FRAMES_AT_ONCE)))
                left -= _FRAMES_AT_ONCE
        longer.unlink()
        part.replace(path)
    return Recording(path, "", seconds)


def _curve(
    name: str, x_label: str, y_label: str, points: Sequence[Piece], x: str, y: str, *, log_x: bool
) -> dict[str, Any]:
    return {
        "name": name,
        "x_label": x_label,
        "y_label": y_label,
        "x": [point[x] for point in points],
        "y": [point[y] for point in points],
        "log_x": log_x,
    }


def _groups(points: Iterable[Piece], by: str) -> list[tuple[str, list[Piece]]]:
    """Points that have the same value there, in their order."""
    groups: dict[str, list[Piece]] = {}
    for point in points:
        groups.setdefault(point[by], []).append(point)
    return list(groups.items())
