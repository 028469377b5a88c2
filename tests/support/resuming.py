"""A long recording, once with a kill in the middle and once without."""

import asyncio
import signal
from dataclasses import dataclass

from tests.support.kafka_clients import Message
from tests.support.worker import Deployment, WorkerProcess


@dataclass(frozen=True)
class Resumed:
    """What came of it; the messages are those of ``interrupted.wav`` and ``whole.wav``, in this order."""

    messages: list[Message]
    windows_of_first: int
    windows_of_second: int
    windows_of_whole: int
    resumed_at_seconds: float


async def interrupted_and_whole(
    deployment: Deployment, bucket: str, *, kill_after_seconds: float, timeout_seconds: float
) -> Resumed:
    """Transcribe ``interrupted.wav`` with a worker that is killed once a checkpoint lies behind ``kill_after_seconds``
    of decoded audio, and another that goes on, which then transcribes ``whole.wav`` too."""
    await deployment.announce(bucket, "interrupted.wav")
    async with asyncio.timeout(timeout_seconds):
        async with deployment.worker() as first:
            while (
                await first.metric("audio_in_seconds_total") < kill_after_seconds
                or await first.metric("checkpoints_written_total") < 1
            ):
                await asyncio.sleep(0.1)
            windows_of_first = await _windows(first)
            first.process.send_signal(signal.SIGKILL)
            await first.process.wait(timeout_seconds=10)
        async with deployment.worker() as second:
            await deployment.clients.read(deployment.output_topic, 1, timeout_seconds)
            windows_of_second = await _windows(second)
            await deployment.announce(bucket, "whole.wav")
            messages = await deployment.clients.read(deployment.output_topic, 2, timeout_seconds)
            windows_of_whole = await _windows(second) - windows_of_second
            [resumed_at_seconds] = {
                line["from_seconds"]
                for line in second.logs()
                if line["message"] == "native work begins" and line["from_seconds"]
            }
    return Resumed(messages, windows_of_first, windows_of_second, windows_of_whole, resumed_at_seconds)


async def _windows(worker: WorkerProcess) -> int:
    return round(await worker.metric("windows_total"))
