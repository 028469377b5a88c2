"""The library for ``seed``: one process that loads the model once and then gets requests for one recording.

Run as a process of its own: ``python -m tests.bench.seed_alone REQUEST``. REQUEST is JSON with ``directory`` (of the
libraries), ``model``, ``vad_model``, ``multilingual``, ``file`` (WAV, mono, 16 bits, 16 kHz), ``spawned`` (the
monotonic time at which this process was started), ``later`` (how many requests come after the first, one after
another) and ``at_once`` (then come so many at the same time). Prints JSON: ``load_seconds``; ``first_seconds`` from
the start of the process to the first text; ``later_seconds`` of each; ``at_once_seconds`` for all of them; ``texts``,
all that were heard, each once.
"""

import asyncio
import json
import sys
import time
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from binding import Library
from consumer.engine.artifacts.manifest import read_manifest
from consumer.engine.base import EngineFacts, Options, Samples
from consumer.engine.cpus import usable_cpus
from consumer.engine.library import WhisperLibraryAdapter
from consumer.engine.traits import traits_of
from consumer.observe.metrics import Metrics


async def main() -> None:
    """Load, first request, later ones, and some at once."""
    request = json.loads(sys.argv[1])
    file, n_cpus = Path(request["file"]), usable_cpus()
    facts = EngineFacts("library", "", "", Path(request["model"]).name, "", "", "", request["multilingual"])
    load_began = time.monotonic()
    adapter = await WhisperLibraryAdapter.load(
        Library.load(Path(request["directory"])),
        Path(request["model"]),
        Path(request["vad_model"]),
        facts,
        n_states=n_cpus,
        n_cpus=n_cpus,
        traits=traits_of(read_manifest(Path(request["directory"]))),
        metrics=Metrics(CollectorRegistry()),
    )
    load_seconds = time.monotonic() - load_began
    try:
        texts = {await _text(adapter, file)}
        first_seconds = time.monotonic() - request["spawned"]
        later_seconds = []
        for _ in range(request["later"]):
            began = time.monotonic()
            texts.add(await _text(adapter, file))
            later_seconds.append(time.monotonic() - began)
        began = time.monotonic()
        texts |= set(await asyncio.gather(*(_text(adapter, file) for _ in range(request["at_once"]))))
        at_once_seconds = time.monotonic() - began
    finally:
        await adapter.close()
    print(
        json.dumps(
            {
                "load_seconds": load_seconds,
                "first_seconds": first_seconds,
                "later_seconds": later_seconds,
                "at_once_seconds": at_once_seconds,
                "texts": sorted(texts),
            }
        )
    )


async def _text(adapter: WhisperLibraryAdapter, file: Path) -> str:
    passages = adapter.transcribe(_samples(file), Options(language="en"))
    return " ".join([segment.text async for passage in passages for segment in passage.segments])


async def _samples(file: Path) -> AsyncIterator[Samples]:
    with wave.open(str(file)) as recording:
        pcm = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")
    yield pcm.astype(np.float32) / np.float32(32768)


if __name__ == "__main__":
    asyncio.run(main())
