"""The whole worker beside the binding alone: the same recordings, artifacts and cores, in turn.

The worker's time runs from the first event's send to the last transcript's arrival; it fetches, decodes, finds speech,
infers, stores and publishes, and Kafka and the store run on the same cores. The binding's recordings are decoded
beforehand. What the worker costs is the ratio of the two, round by round.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer

from consumer.settings import ModelSize
from tests.bench.scoring import score
from tests.support.built import compiled_artifacts
from tests.support.speech import Recording, corpus_set
from tests.support.stack import CORPUS_DIR, Stack, running_stack
from tests.support.worker import Deployment, WorkerProcess, deploy


@dataclass(frozen=True, slots=True)
class Run:
    """One run over some recordings; memory is that of the process and all its children."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    texts: list[str]
    rest_megabytes: float = 0.0


async def measure(size: ModelSize, rounds: int) -> dict[str, Any]:
    """Returns the figures of all rounds."""
    recordings = corpus_set(CORPUS_DIR, "lsother")
    seconds = sum(recording.seconds for recording in recordings)
    artifacts_dir = compiled_artifacts(size)
    found: list[dict[str, Any]] = []
    async with running_stack() as stack:
        await upload(stack, recordings)
        for number in range(rounds):
            binding_seconds, binding_texts = await _binding(str(artifacts_dir), size, recordings)
            worker = await run_worker(stack, artifacts_dir, size, recordings, warm_up=recordings[:4])
            found.append(
                {
                    "binding_x": round(seconds / binding_seconds, 2),
                    "worker_x": round(seconds / worker.seconds, 2),
                    "cost": round(worker.seconds / binding_seconds - 1, 4),
                    "binding_wer": _rate(recordings, binding_texts),
                    "worker_wer": _rate(recordings, worker.texts),
                    "rest_megabytes": round(worker.rest_megabytes),
                    "peak_megabytes": round(worker.peak_megabytes),
                }
            )
            print(f"round {number + 1}: {found[-1]}", file=sys.stderr)
    return {
        "size": size,
        "audio_seconds": round(seconds, 1),
        "recordings": len(recordings),
        "rounds": found,
        "median": {name: round(statistics.median(one[name] for one in found), 4) for name in found[0]},
    }


def table(figures: dict[str, Any]) -> str:
    """The medians as Markdown."""
    median, about = figures["median"], figures["machine"]
    return "\n".join(
        [
            f"{figures['recordings']} recordings, {figures['audio_seconds']} s, model {figures['size']}, "
            f"{about['cores']} cores of {about['cpu']} ({about['cpu_class']}), median of "
            f"{len(figures['rounds'])} rounds",
            "",
            "| | x real time | WER |",
            "|---|---|---|",
            f"| binding alone | {median['binding_x']} | {100 * median['binding_wer']:.1f} % |",
            f"| whole worker | {median['worker_x']} | {100 * median['worker_wer']:.1f} % |",
            "",
            f"The worker costs {100 * median['cost']:.1f} %; it takes {median['rest_megabytes']:.0f} MB at rest and "
            f"{median['peak_megabytes']:.0f} MB at its peak, with its decoder processes.",
        ]
    )


async def _binding(artifacts_dir: str, size: str, recordings: list[Recording]) -> tuple[float, list[str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.binding_alone",
        artifacts_dir,
        size,
        *(str(recording.path) for recording in recordings),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the binding alone ended with status {process.returncode}")
    answer = json.loads(output)
    return answer["seconds"], answer["texts"]


async def upload(stack: Stack, recordings: Iterable[Recording]) -> None:
    """Make the bucket and put the recordings there, by the names of their files."""
    await stack.s3.create_bucket(Bucket="calls")
    for recording in recordings:
        await stack.s3.put_object(Bucket="calls", Key=recording.path.name, Body=recording.path.read_bytes())


async def run_worker(
    stack: Stack, artifacts_dir: Path, size: ModelSize, recordings: Sequence[Recording], warm_up: Sequence[Recording]
) -> Run:
    """A fresh worker does these recordings, which were uploaded, after some that do not count."""
    deployment = await _deploy(stack, artifacts_dir, size)
    async with deployment.worker() as worker:
        for recording in warm_up:
            await deployment.announce("calls", recording.path.name)
        await deployment.transcripts(len(warm_up))
        rest = worker.resident_bytes()
        resident = [rest]
        watching = asyncio.create_task(_watch(worker, resident))
        cpu_before = worker.cpu_seconds()
        started = time.perf_counter()
        for recording in recordings:
            await deployment.announce("calls", recording.path.name)
        found = await deployment.transcripts(len(warm_up) + len(recordings), timeout_seconds=1200)
        seconds = time.perf_counter() - started
        cpu_seconds = worker.cpu_seconds() - cpu_before
        watching.cancel()
        await asyncio.wait({watching})
    texts = [found[recording.path.name].text for recording in recordings]
    return Run(seconds, cpu_seconds, max(resident) / 1e6, texts, rest / 1e6)


async def latencies(
    stack: Stack, artifacts_dir: Path, size: ModelSize, recording: Recording, times: int
) -> list[float]:
    """Seconds from sending an event to reading its transcript, at a fresh worker that has nothing else to do.

    Copies under other keys, one after another; the first, after which everything is loaded, does not count.
    """
    deployment = await _deploy(stack, artifacts_dir, size)
    found: list[float] = []
    reader = AIOKafkaConsumer(
        deployment.output_topic, bootstrap_servers=stack.clients.bootstrap_servers, auto_offset_reset="earliest"
    )
    await reader.start()
    try:
        async with deployment.worker():
            for number in range(times + 1):
                key = f"latency-{number}-{recording.path.name}"
                await stack.s3.put_object(Bucket="calls", Key=key, Body=recording.path.read_bytes())
                started = time.perf_counter()
                await deployment.announce("calls", key)
                await asyncio.wait_for(reader.getone(), 120)
                found.append(time.perf_counter() - started)
    finally:
        await reader.stop()
    return found[1:]


async def _deploy(stack: Stack, artifacts_dir: Path, size: ModelSize) -> Deployment:
    return await deploy(
        stack.clients,
        stack.store,
        artifacts_dir,
        stack.directory,
        buckets=("calls",),
        results_bucket=f"transcripts-{uuid4().hex[:8]}",  # else it would find those of the round before
        WHISPER_MODEL_SIZE=size,
        WHISPER_LANGUAGE="en",
    )


async def _watch(worker: WorkerProcess, resident: list[int]) -> None:
    while True:
        resident.append(worker.resident_bytes())
        await asyncio.sleep(0.25)


def _rate(recordings: list[Recording], texts: list[str]) -> float:
    return score([recording.text for recording in recordings], " ".join(texts)).wer
