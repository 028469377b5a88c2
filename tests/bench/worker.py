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
from typing import Any

from consumer.settings import ModelSize
from tests.support.built import compiled_artifacts
from tests.support.speech import Recording, corpus_set, word_error_rate
from tests.support.stack import CORPUS_DIR, Stack, running_stack
from tests.support.worker import WorkerProcess, deploy


async def measure(size: ModelSize, rounds: int) -> dict[str, Any]:
    """Returns the figures of all rounds."""
    recordings = corpus_set(CORPUS_DIR, "lsother")
    seconds = sum(recording.seconds for recording in recordings)
    artifacts_dir = compiled_artifacts(size)
    found: list[dict[str, Any]] = []
    async with running_stack() as stack:
        for bucket in ("calls", "transcripts"):
            await stack.s3.create_bucket(Bucket=bucket)
        for recording in recordings:
            await stack.s3.put_object(Bucket="calls", Key=recording.path.name, Body=recording.path.read_bytes())
        for number in range(rounds):
            binding_seconds, binding_texts = await _binding(str(artifacts_dir), size, recordings)
            worker = await _worker(stack, artifacts_dir, size, recordings)
            found.append(
                {
                    "binding_x": round(seconds / binding_seconds, 2),
                    "worker_x": round(seconds / worker["seconds"], 2),
                    "cost": round(worker["seconds"] / binding_seconds - 1, 4),
                    "binding_wer": _rate(recordings, binding_texts),
                    "worker_wer": _rate(recordings, worker["texts"]),
                    "rest_megabytes": worker["rest_megabytes"],
                    "peak_megabytes": worker["peak_megabytes"],
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


async def _worker(stack: Stack, artifacts_dir: Any, size: str, recordings: list[Recording]) -> dict[str, Any]:
    deployment = await deploy(
        stack.clients,
        stack.store,
        artifacts_dir,
        stack.directory,
        buckets=("calls",),
        WHISPER_MODEL_SIZE=size,
        WHISPER_LANGUAGE="en",
    )
    async with deployment.worker() as worker:
        for recording in recordings[:4]:  # a warm-up, as for the binding
            await deployment.announce("calls", recording.path.name)
        await deployment.transcripts(4)
        rest = worker.resident_bytes()
        resident = [rest]
        watching = asyncio.create_task(_watch(worker, resident))
        started = time.perf_counter()
        for recording in recordings:
            await deployment.announce("calls", recording.path.name)
        found = await deployment.transcripts(4 + len(recordings), timeout_seconds=1200)
        seconds = time.perf_counter() - started
        watching.cancel()
        await asyncio.wait({watching})
    return {
        "seconds": seconds,
        "texts": [found[recording.path.name].text for recording in recordings],
        "rest_megabytes": round(rest / 1e6),
        "peak_megabytes": round(max(resident) / 1e6),
    }


async def _watch(worker: WorkerProcess, resident: list[int]) -> None:
    while True:
        resident.append(worker.resident_bytes())
        await asyncio.sleep(0.25)


def _rate(recordings: list[Recording], texts: list[str]) -> float:
    return round(word_error_rate(" ".join(r.text for r in recordings), " ".join(texts)), 4)
