"""The real ``whisper-consumer run`` with an engine that costs nothing: ``python -m tests.support.free_worker PULSE``.

All else is the product's: delivery, fetch, decoder processes, store, publishing. With ``--no-decoder`` a recording is
not decoded either, and counts as one second of silence. The file PULSE tells how the event loop does: four times a
second it gets a JSON line with the time (monotonic, of this machine), and for the loop's turns since the line before,
the longest one's duration and the longest one's own time on the CPU, both in seconds. The second is what the worker is
to answer for: where processes share cores, the first is mostly the wait for one.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import BinaryIO, TextIO
from unittest.mock import patch

import numpy as np

from consumer import transcribing
from consumer.app import run_worker
from consumer.audio.decoder_messages import AudioFacts
from consumer.engine.base import Samples
from consumer.settings import WorkerSettings, load
from tests.support.engine import RATE_HERTZ, SilentEngine

_TURN_SECONDS = 0.002
_LINE_SECONDS = 0.25


class FreeDecoder:
    """One second of silence, whatever the recording. Fits ``consumer.audio.decoder.Decoder``."""

    def __init__(self, **_: object) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    @asynccontextmanager
    async def decode(self, spool: BinaryIO, *, name_hint: str) -> AsyncIterator["_Silence"]:  # noqa: ARG002
        yield _Silence()


class _Silence:
    facts = AudioFacts("wav", "pcm_s16le", RATE_HERTZ, 1)

    def __init__(self) -> None:
        self._blocks = [np.zeros(RATE_HERTZ, np.float32)]

    def __aiter__(self) -> "_Silence":
        return self

    async def __anext__(self) -> Samples:
        if not self._blocks:
            raise StopAsyncIteration
        return self._blocks.pop()


async def _load_engine(*_: object) -> SilentEngine:
    return SilentEngine()


async def _measure_turns(pulse: TextIO) -> None:
    """Wake up again and again: what lies between is how long others kept the loop."""
    longest = longest_busy = 0.0
    line_due = time.monotonic()
    while True:
        began, busy_before = time.monotonic(), time.thread_time()
        await asyncio.sleep(_TURN_SECONDS)
        now = time.monotonic()
        longest = max(longest, now - began - _TURN_SECONDS)
        longest_busy = max(longest_busy, time.thread_time() - busy_before)
        if now >= line_due:
            print(json.dumps({"time": now, "longest": longest, "longest_busy": longest_busy}), file=pulse, flush=True)
            longest = longest_busy = 0.0
            line_due = now + _LINE_SECONDS


async def _run(pulse_path: Path) -> None:
    with pulse_path.open("a") as pulse:
        measuring = asyncio.create_task(_measure_turns(pulse))
        await run_worker(load(WorkerSettings))
        measuring.cancel()


def main(arguments: list[str]) -> None:
    with ExitStack() as stack:
        stack.enter_context(patch.object(transcribing.Loader, "_load_library", _load_engine))
        if "--no-decoder" in arguments:
            stack.enter_context(patch.object(transcribing, "Decoder", FreeDecoder))
        asyncio.run(_run(Path(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
