"""Two hours of speech, and a worker that is killed in the middle: the next one goes on from the checkpoint.

Holds when the second worker transcribes at most 300 s of audio again, and the joined transcript equals that of a run
without interruption, segment by segment and word by word.
"""

import sys
from typing import Any

from schemas import Transcript
from tests.soak.two_hours import BUCKET, SECONDS, referenced, upload
from tests.support.built import compiled_artifacts
from tests.support.resuming import interrupted_and_whole
from tests.support.speech import word_error_rate
from tests.support.stack import running_stack
from tests.support.worker import deploy

MOST_REPEATED_SECONDS = 300
WINDOW_SECONDS = 30


async def run() -> dict[str, Any]:
    """Returns the figures."""
    artifacts_dir = compiled_artifacts("tiny.en")
    async with running_stack() as stack:
        expected = await upload(stack, "interrupted.wav", "whole.wav")
        deployment = await deploy(
            stack.clients,
            stack.store,
            artifacts_dir,
            stack.directory,
            buckets=(BUCKET,),
            KAFKA_SESSION_TIMEOUT_SECONDS="10",
        )
        print(
            "the first half by a worker that is then killed, the rest by another, then all of it again", file=sys.stderr
        )
        run = await interrupted_and_whole(deployment, BUCKET, kill_after_seconds=SECONDS / 2, timeout_seconds=7200)
        interrupted, whole = [await referenced(stack, message) for message in run.messages]
    repeated_windows = run.windows_of_first + run.windows_of_second - run.windows_of_whole
    return {
        "audio_seconds": whole.duration_seconds,
        "killed_after_windows": run.windows_of_first,
        "resumed_at_seconds": run.resumed_at_seconds,
        "repeated_windows": repeated_windows,
        "word_error_rate": round(word_error_rate(expected, interrupted.text), 4),
        "holds": {
            "repeats at most 300 s": repeated_windows * WINDOW_SECONDS <= MOST_REPEATED_SECONDS,
            "equals an uninterrupted run": _same(interrupted, whole),
        },
    }


def _same(one: Transcript, other: Transcript) -> bool:
    return (one.segments, one.text, one.language) == (other.segments, other.text, other.language)
