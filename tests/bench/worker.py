"""The whole worker beside the binding alone: the same recordings, artifacts and cores, in turn.

The worker's time runs from the first event's send to the last transcript's arrival; it fetches, decodes, finds speech,
infers, stores and publishes, and Kafka and the store run on the same cores. The binding's recordings are decoded
beforehand. What the worker costs is the ratio of the two, round by round: of their time, and of the CPU time of worker
and binding themselves.
"""

import asyncio
import contextlib
import json
import math
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from consumer.engine.artifacts.models import Precision
from consumer.engine.cpus import usable_cpus
from consumer.settings import ModelSize
from schemas import Transcript, TranscriptCompleted
from tests.bench.opponents.handing_in import hand_in
from tests.bench.opponents.warm_up import WARM_UP
from tests.bench.runs import Run
from tests.bench.scoring import score
from tests.support.built import compiled_artifacts
from tests.support.speech import Recording, corpus_set
from tests.support.stack import CORPUS_DIR, Stack, running_stack
from tests.support.worker import Deployment, WorkerProcess, deploy

_LONGEST_WAIT_SECONDS: Final = 900
# The kernel walks over all pages for each look, and holds up whoever faults one in meanwhile: four looks a second took
# 2 % of all time, and a tenth of a second from a recording that is waited for. So latencies are measured without.
_LOOKING_SECONDS: Final = 1.0


async def measure(size: ModelSize, rounds: int) -> dict[str, Any]:
    """Returns the figures of all rounds."""
    recordings = corpus_set(CORPUS_DIR, "lsother")
    seconds = sum(recording.seconds for recording in recordings)
    artifacts_dir = compiled_artifacts(size)
    found: list[dict[str, Any]] = []
    async with running_stack() as stack:
        await upload(stack, recordings)
        for number in range(rounds):
            bare = await run_bare(artifacts_dir, size, recordings)
            worker = await run_worker(stack, artifacts_dir, size, recordings)
            found.append(
                {
                    "binding_x": round(seconds / bare.run.seconds, 2),
                    "worker_x": round(seconds / worker.seconds, 2),
                    "cost": round(worker.seconds / bare.run.seconds - 1, 4),
                    "binding_cpu_seconds": round(bare.run.cpu_seconds, 2),
                    "worker_cpu_seconds": round(worker.cpu_seconds, 2),
                    "cpu_cost": round(worker.cpu_seconds / bare.run.cpu_seconds - 1, 4),
                    "binding_wer": _rate(recordings, bare.run.texts),
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
            "| | x real time | CPU-seconds | WER |",
            "|---|---|---|---|",
            *(
                f"| {name} | {median[f'{who}_x']} | {median[f'{who}_cpu_seconds']} | {median[f'{who}_wer']:.1%} |"
                for name, who in (("binding alone", "binding"), ("whole worker", "worker"))
            ),
            "",
            f"The worker by itself costs {median['cpu_cost']:.1%} of CPU, and {median['cost']:.1%} of time with Kafka "
            "and the store on the same cores. "
            f"It takes {median['rest_megabytes']:.0f} MB at rest and "
            f"{median['peak_megabytes']:.0f} MB at its peak, with its decoder processes.",
        ]
    )


@dataclass(frozen=True, slots=True)
class Bare:
    """A run of the bare engine, with what it did: steps of each pass's context, and steps of the decoder."""

    run: Run
    precision: Precision
    contexts: list[int]
    decoder_steps: int


async def run_bare(artifacts_dir: Path, size: ModelSize, recordings: Sequence[Recording]) -> Bare:
    """The engine without the worker around it, on recordings of one window each, decoded beforehand."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.binding_alone",
        str(artifacts_dir),
        size,
        *(str(recording.path) for recording in recordings),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the binding alone ended with status {process.returncode}")
    answer = json.loads(output)
    return Bare(Run(**answer.pop("run")), **answer)


async def upload(stack: Stack, recordings: Iterable[Recording]) -> None:
    """Put the recordings into the bucket, which is made where it is missing, by the names of their files."""
    with contextlib.suppress(stack.s3.exceptions.BucketAlreadyOwnedByYou):
        await stack.s3.create_bucket(Bucket="calls")
    for recording in recordings:
        await stack.s3.put_object(Bucket="calls", Key=recording.path.name, Body=recording.path.read_bytes())


async def run_worker(
    stack: Stack,
    artifacts_dir: Path,
    size: ModelSize,
    recordings: Sequence[Recording],
    *,
    language: str | None = "en",
    in_hand: int = 0,
) -> Run:
    """A fresh worker does these recordings, which were uploaded, after some that do not count.

    So many events are on their way at any time, the next one sent when a transcript arrives; 0: all from the start.
    """
    deployment = await deploy(
        stack.clients,
        stack.store,
        artifacts_dir,
        stack.directory,
        buckets=("calls",),
        WHISPER_MODEL_SIZE=size,
        WHISPER_LANGUAGE=language or "auto",
    )
    started = time.perf_counter()
    async with deployment.worker() as worker, _arrivals(stack, deployment) as arrivals:
        load_seconds = time.perf_counter() - started
        for number in range(2 * usable_cpus()):
            key = f"warm-up-{number}.wav"  # of its own: what has a result already costs nothing
            await stack.s3.put_object(Bucket="calls", Key=key, Body=WARM_UP.read_bytes())
            await arrivals.transcribe(key)
        rest = worker.resident_bytes()
        resident = [rest]
        watching = asyncio.create_task(_watch(worker, resident, _LOOKING_SECONDS if in_hand != 1 else math.inf))
        cpu_before = worker.cpu_seconds()
        handed_in = await hand_in([recording.path.name for recording in recordings], arrivals.transcribe, in_hand)
        cpu_seconds = worker.cpu_seconds() - cpu_before
        watching.cancel()
        await asyncio.wait({watching})
    return Run(
        seconds=handed_in.seconds,
        cpu_seconds=cpu_seconds,
        peak_megabytes=max(resident) / 1e6,
        texts=handed_in.texts,
        load_seconds=load_seconds,
        rest_megabytes=rest / 1e6,
        waits=handed_in.waits,
    )


class _Arrivals:
    """Texts by key, as the events of the output topic tell them."""

    def __init__(self, stack: Stack, deployment: Deployment) -> None:
        self._stack = stack
        self._deployment = deployment
        self._wanted: dict[str, asyncio.Future[TranscriptCompleted]] = {}

    async def transcribe(self, key: str) -> str:
        """Announce an object; its text, once its transcript is there."""
        wanted: asyncio.Future[TranscriptCompleted] = asyncio.get_running_loop().create_future()
        self._wanted[key] = wanted
        await self._deployment.announce("calls", key)
        event = await asyncio.wait_for(wanted, _LONGEST_WAIT_SECONDS)
        if event.data.transcript is not None:
            return event.data.transcript.text
        assert event.data.reference is not None  # one of both is there
        answer = await self._stack.s3.get_object(Bucket=event.data.reference.bucket, Key=event.data.reference.key)
        async with answer["Body"] as body:
            return Transcript.model_validate_json(await body.read()).text

    async def read(self, reader: AIOKafkaConsumer) -> None:
        """Give each event to whoever waits for it, for ever."""
        try:
            async for message in reader:
                event = TranscriptCompleted.model_validate_json(message.value)
                self._wanted.pop(event.subject).set_result(event)
        except (KafkaError, ValidationError, KeyError) as error:
            for wanted in self._wanted.values():
                wanted.set_exception(error)


@asynccontextmanager
async def _arrivals(stack: Stack, deployment: Deployment) -> AsyncIterator[_Arrivals]:
    reader = AIOKafkaConsumer(
        deployment.output_topic, bootstrap_servers=stack.clients.bootstrap_servers, auto_offset_reset="earliest"
    )
    await reader.start()
    arrivals = _Arrivals(stack, deployment)
    reading = asyncio.create_task(arrivals.read(reader))
    try:
        yield arrivals
    finally:
        reading.cancel()
        await asyncio.wait({reading})
        await reader.stop()


async def _watch(worker: WorkerProcess, resident: list[int], pause_seconds: float) -> None:
    while math.isfinite(pause_seconds):
        resident.append(worker.resident_bytes())
        await asyncio.sleep(pause_seconds)


def _rate(recordings: list[Recording], texts: list[str]) -> float:
    return score([recording.text for recording in recordings], " ".join(texts)).wer
