"""Thousands of one-second recordings through one worker whose engine costs nothing: what all else costs.

On each store, each time with fresh topics and a fresh group, and all events in the topic before the worker starts:

- *new*: fetch, decode, store, publish; once more without the decoder, which does real work here.
- *stored*: the same events again. Every result is found.
- *backlog*: 100,000 events over the same recordings; their results are found. Memory must not show how many wait.

Events carry ETag and size, as those of a store do. Rates are of wall-clock time, and so of a machine whose cores the
brokers, the store and this program use too; the CPU time for each event is the worker's own.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from consumer.operate.network import LOOPBACK, answers_ok, free_ports
from consumer.operate.process import ChildProcess
from consumer.settings import WorkerSettings
from tests.support.built import prebuilt_artifacts
from tests.support.minio import MinioServer, find_binary
from tests.support.s3 import S3Server, s3_client
from tests.support.speech import write_wav
from tests.support.stack import Stack, running_stack
from tests.support.worker import Deployment, WorkerProcess, deploy

EVENTS = 5000
BACKLOG = 100_000
PARTITIONS = 4
IN_FLIGHT = 32
"""More than the default: recordings that take no time in the model mostly wait for answers of the store."""
WARM_UP = 100
"""Events that are answered before the clock starts."""

LEAST_STORED_PER_SECOND = 500
LEAST_NEW_PER_SECOND = 200
LONGEST_TURN_SECONDS = 0.1
MOST_GROWTH = 1.05

_BUCKETS = ("calls", "transcripts")
_AT_ONCE = 32
_SENT_AT_ONCE = 5000
_LOOK_SECONDS = 0.5
_WARM_UP_LOOK_SECONDS = 0.05
_READY_SECONDS = 60


@dataclass(frozen=True)
class Look:
    """What was seen of the worker at one moment."""

    time: float
    finished: int
    worker_cpu_seconds: float
    decoder_cpu_seconds: float
    resident_bytes: int
    """Of the worker's own process."""


async def run() -> dict[str, Any]:
    """Returns the figures."""
    figures: dict[str, Any] = {}
    async with running_stack() as stack:
        for name, store in (("SeaweedFS", stack.store), ("MinIO", _minio(stack))):
            if store is None:
                continue
            async with AsyncExitStack() as running:
                if isinstance(store, MinioServer):
                    await running.enter_async_context(store)
                figures[name] = await _measure_store(stack, store)
    return {"events": EVENTS, "stores": figures, "holds": _holds(figures)}


def _minio(stack: Stack) -> MinioServer | None:
    binary = find_binary()
    if binary is None:
        print("there is no MinIO here: SeaweedFS alone is measured", file=sys.stderr)
        return None
    servers = stack.clients.bootstrap_servers
    return MinioServer(
        binary, data_dir=stack.directory / "minio", kafka_bootstrap_servers=servers, topic="minio.events"
    )


async def _measure_store(stack: Stack, store: S3Server) -> dict[str, Any]:
    etag = await fill(store, EVENTS, keys=("a", "b"))
    events = {which: upload_events(EVENTS, etag, key=which) for which in ("a", "b")}
    figures: dict[str, Any] = {
        "new": await measure(stack, store, events["a"]),
        "new, without the decoder": await measure(stack, store, events["b"], decoder=False),
        "stored": await measure(stack, store, events["a"]),
    }
    if isinstance(store, MinioServer):
        return figures
    repeated = events["a"] * (BACKLOG // EVENTS)
    return figures | {"backlog": await measure(stack, store, repeated)}


def _holds(stores: dict[str, Any]) -> dict[str, bool]:
    passes = [(name, of_pass) for store in stores.values() for name, of_pass in store.items()]
    # Decoding is native work like the engine's: its pass is for comparison.
    least = {"new": 0, "new, without the decoder": LEAST_NEW_PER_SECOND}
    return {
        "at least 500 events/s where results are stored, 200 with fetch and publish": all(
            of_pass["events_per_second"] >= least.get(name, LEAST_STORED_PER_SECOND) for name, of_pass in passes
        ),
        "the loop is never kept for 100 ms": all(
            of_pass["longest_busy_turn_seconds"] < LONGEST_TURN_SECONDS for _, of_pass in passes
        ),
        "memory is flat": all(of_pass["growth"] < MOST_GROWTH for _, of_pass in passes),
    }


async def fill(store: S3Server, count: int, keys: Sequence[str]) -> str:
    """Make the buckets and upload ``count`` recordings under each of ``keys``; returns the ETag of each of them."""
    recording = one_second()
    async with s3_client(store) as client:
        for bucket in _BUCKETS:
            await client.create_bucket(Bucket=bucket)
        free = asyncio.Semaphore(_AT_ONCE)

        async def put(key: str) -> str:
            async with free:
                return (await client.put_object(Bucket=_BUCKETS[0], Key=key, Body=recording))["ETag"]

        etags = await asyncio.gather(*(put(f"{key}/{number:05}.wav") for key in keys for number in range(count)))
    (etag,) = set(etags)
    return etag.strip('"')


def one_second() -> bytes:
    """Noise as a WAV file."""
    noise = np.random.default_rng(1).integers(-3000, 3000, 16_000).astype(np.int16)
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        return write_wav(Path(file.name), noise).read_bytes()


def upload_events(count: int, etag: str, key: str) -> list[bytes]:
    """The events of ``count`` recordings."""
    size = len(one_second())
    return [
        json.dumps({"bucket": _BUCKETS[0], "key": f"{key}/{number:05}.wav", "eTag": etag, "size": size}).encode()
        for number in range(count)
    ]


async def measure(
    stack: Stack, store: S3Server, events: Sequence[bytes], *, decoder: bool = True, **settings: str
) -> dict[str, Any]:
    """Answer these events; returns the figures of one pass."""
    deployment = await deploy(
        stack.clients,
        store,
        prebuilt_artifacts(),
        stack.directory,
        buckets=_BUCKETS[:1],
        partitions=PARTITIONS,
        **{"MAX_IN_FLIGHT": str(IN_FLIGHT), **settings},
    )
    for start in range(0, len(events), _SENT_AT_ONCE):
        sending = (
            stack.clients.send(deployment.input_topic, event, partition=number % PARTITIONS)
            for number, event in enumerate(events[start : start + _SENT_AT_ONCE])
        )
        await asyncio.gather(*sending)
    pulse_path = stack.directory / f"pulse-{deployment.group_id}.jsonl"
    looks: list[Look] = []
    async with _worker(deployment, stack.directory, pulse_path, decoder=decoder) as worker:
        while not looks or looks[-1].finished < len(events):
            looks.append(await _look(worker))
            if await worker.metric("records_finished_total", outcome="dead_lettered"):
                raise RuntimeError(f"an event became a dead letter:\n{worker.process.log_tail()}")
            await asyncio.sleep(_LOOK_SECONDS if looks[-1].finished else _WARM_UP_LOOK_SECONDS)
    assert await stack.clients.size(deployment.output_topic) == len(events)
    return _figures(looks, [json.loads(line) for line in pulse_path.read_text().splitlines()])


@asynccontextmanager
async def _worker(
    deployment: Deployment, directory: Path, pulse_path: Path, *, decoder: bool
) -> AsyncIterator[WorkerProcess]:
    port = free_ports(1)[0]
    arguments = [str(pulse_path), *(() if decoder else ("--no-decoder",))]
    process = ChildProcess.start(
        "the worker",
        [sys.executable, "-m", "tests.support.free_worker", *arguments],
        log_path=directory / f"worker-{port}.log",
        environment={**deployment.settings, "HTTP_PORT": str(port)},
        without=[name.upper() for name in WorkerSettings.model_fields],
    )
    try:
        await process.wait_until_ready(
            lambda: answers_ok(f"http://{LOOPBACK}:{port}/readyz"), timeout_seconds=_READY_SECONDS
        )
        yield WorkerProcess(process, port)
    finally:
        process.stop(grace_seconds=30)


async def _look(worker: WorkerProcess) -> Look:
    finished = await worker.metric("records_finished_total", outcome="completed")
    process = psutil.Process(worker.process.pid)
    return Look(
        time=time.monotonic(),
        finished=int(finished),
        worker_cpu_seconds=_cpu_seconds(process),
        decoder_cpu_seconds=sum(_cpu_seconds(child, and_ended=True) for child in process.children(recursive=True)),
        resident_bytes=process.memory_info().rss,
    )


def _cpu_seconds(process: psutil.Process, *, and_ended: bool = False) -> float:
    """Of a process; and of its children that ended."""
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        ended = times.children_user + times.children_system if and_ended else 0.0
        return float(times.user + times.system + ended)
    return 0.0


def _figures(looks: Sequence[Look], turns: Sequence[dict[str, float]]) -> dict[str, Any]:
    """From the first look at which the worker was warm to the last."""
    warm = next(look for look in looks if look.finished >= WARM_UP)
    last = looks[-1]
    count = last.finished - warm.finished
    while_warm = [turn for turn in turns if warm.time <= turn["time"] <= last.time]
    middle = (warm.finished + last.finished) / 2
    first_half = max(look.resident_bytes for look in looks if warm.finished <= look.finished <= middle)
    second_half = max(look.resident_bytes for look in looks if look.finished > middle)
    return {
        "events_per_second": round(count / (last.time - warm.time), 1),
        "worker_cpu_milliseconds_per_event": _milliseconds(last.worker_cpu_seconds - warm.worker_cpu_seconds, count),
        "decoder_cpu_milliseconds_per_event": _milliseconds(last.decoder_cpu_seconds - warm.decoder_cpu_seconds, count),
        "longest_turn_seconds": round(max(turn["longest"] for turn in while_warm), 4),
        "longest_busy_turn_seconds": round(max(turn["longest_busy"] for turn in while_warm), 4),
        "resident_megabytes": {
            "first_half_peak": round(first_half / 1e6, 1),
            "second_half_peak": round(second_half / 1e6, 1),
        },
        "growth": round(second_half / first_half, 4),
    }


def _milliseconds(seconds: float, count: int) -> float:
    return round(1000 * seconds / count, 3)
