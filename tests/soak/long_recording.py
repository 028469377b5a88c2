"""Two hours of speech with base through the worker, in a group that puts out who does not poll for 30 s.

Holds when the member keeps its partition, the worker with its processes stays under 1.5 GB, memory in the second hour
is that of the first, and the text is that of the recordings the file was made of.
"""

import asyncio
import sys
import time
from typing import Any

from tests.soak.two_hours import BUCKET, SECONDS, referenced, upload
from tests.support.built import compiled_artifacts
from tests.support.speech import word_error_rate
from tests.support.stack import running_stack
from tests.support.worker import deploy

LARGEST_BYTES = 1_500_000_000
LARGEST_WORD_ERROR_RATE = 0.2


async def run() -> dict[str, Any]:
    """Returns the figures."""
    artifacts_dir = compiled_artifacts("base")
    async with running_stack() as stack:
        expected = await upload(stack, "long.wav")
        deployment = await deploy(
            stack.clients,
            stack.store,
            artifacts_dir,
            stack.directory,
            buckets=(BUCKET,),
            WHISPER_MODEL_SIZE="base",
            WHISPER_LANGUAGE="en",
            KAFKA_MAX_POLL_INTERVAL_SECONDS="30",
            KAFKA_SESSION_TIMEOUT_SECONDS="30",
        )
        async with deployment.worker() as worker:
            at_rest = worker.resident_bytes()
            rebalances = await worker.metric("rebalances_total")
            started = time.monotonic()
            await deployment.announce(BUCKET, "long.wav")
            reading = asyncio.create_task(stack.clients.read(deployment.output_topic, 1, timeout_seconds=7200))
            curve: list[tuple[float, int]] = []
            while not reading.done():
                seconds = await worker.metric("audio_in_seconds_total")
                curve.append((seconds, worker.resident_bytes()))
                print(
                    f"\r{seconds / 60:6.1f} of {SECONDS / 60:.0f} min, {curve[-1][1] / 1e6:.0f} MB",
                    end="",
                    file=sys.stderr,
                )
                await asyncio.wait({reading}, timeout=2)
            took = time.monotonic() - started
            [message] = await reading
            kept = await worker.metric("rebalances_total") == rebalances
            await deployment.clients.wait_committed(deployment.group_id, deployment.input_topic, 1)
        transcript = await referenced(stack, message)
    print(file=sys.stderr)
    peak = max(resident for _, resident in curve)
    first = max(resident for seconds, resident in curve if seconds < SECONDS / 2)
    second = max(resident for seconds, resident in curve if seconds >= SECONDS / 2)
    rate = word_error_rate(expected, transcript.text)
    return {
        "audio_seconds": transcript.duration_seconds,
        "took_seconds": round(took, 1),
        "times_real_time": round(transcript.duration_seconds / took, 1),
        "resident_megabytes": {
            "at_rest": round(at_rest / 1e6),
            "peak": round(peak / 1e6),
            "first_hour_peak": round(first / 1e6),
            "second_hour_peak": round(second / 1e6),
        },
        "word_error_rate": round(rate, 4),
        "segments": len(transcript.segments),
        "holds": {
            "keeps its partition": kept,
            "under 1.5 GB": peak < LARGEST_BYTES,
            "memory is flat": second < 1.05 * first,
            "says the words": rate < LARGEST_WORD_ERROR_RATE,
        },
    }
