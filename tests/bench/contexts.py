"""What fitted contexts do to the words: every set of speech in the corpus, fitted and guarded, beside full context.

Recordings are cut into windows as the worker cuts them, and each window is transcribed both ways with the same
weights. Shown for each set: the word error rate of both with its interval, how many words differ between the two, and
how many passes the guard had made again.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from binding import AbortFlag, Context, Library, Parameters, Samples, State
from consumer.audio.silero import SpeechDetector, SpeechStream
from consumer.audio.speech import SAMPLE_RATE_HERTZ, Window, find_speech
from consumer.engine.artifacts.locate import locate
from consumer.engine.cpus import usable_cpus
from consumer.engine.passes import HeardWindow, transcribe_window
from consumer.engine.traits import FULL_STEPS, Traits, traits_of
from consumer.settings import ModelSize
from tests.bench.scoring import score
from tests.support.built import compiled_artifacts
from tests.support.speech import Recording, corpus_languages, corpus_set, samples_of
from tests.support.stack import CORPUS_DIR

SETS: Final = ("lsother", "lsclean", "noisy", "ast-es", "ast-fr", "ast-it", "ast-ru")
FULL: Final = Traits(unit_steps=FULL_STEPS, least_steps=FULL_STEPS, tells_no_speech=False)


def measure(size: ModelSize) -> dict[str, Any]:
    """Returns the figures of each set that this size of model can hear."""
    artifacts = locate(compiled_artifacts(size), size)
    library = Library.load(artifacts.directory)
    fitted = traits_of(artifacts.manifest)
    languages = corpus_languages(CORPUS_DIR)
    found: dict[str, Any] = {}
    if artifacts.vad_model is None:
        raise RuntimeError(f"{artifacts.directory} has no voice detector")
    detector = SpeechDetector(artifacts.vad_model)
    with Context(library, artifacts.model) as context:
        for name in SETS if context.is_multilingual else SETS[:3]:
            recordings = corpus_set(CORPUS_DIR, name)
            cut = [_windows(recording, detector) for recording in recordings]
            with _states(context) as states:
                ways = {
                    way: _transcribe(states, cut, traits, languages[name])
                    for way, traits in (("full", FULL), ("fitted", fitted))
                }
            found[name] = _compared(recordings, ways, languages[name])
            print(f"{name}: {found[name]}", file=sys.stderr)
    return {"size": size, "traits": asdict(fitted), "sets": found}


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    return "\n".join(
        [
            f"Model {figures['size']}; WER in % with the interval of 95 %.",
            "",
            "| set | recordings | full context | fitted and guarded | words that differ | passes made again |",
            "|---|---|---|---|---|---|",
            *(
                f"| {name} | {one['recordings']} | {one['full']} | {one['fitted']} | {100 * one['differ']:.1f} % | "
                f"{one['repeated']} of {one['passes']} |"
                for name, one in figures["sets"].items()
            ),
        ]
    )


def _windows(recording: Recording, detector: SpeechDetector) -> list[Window]:
    samples = samples_of(recording.path).astype(np.float32) / np.float32(32768)
    stream = SpeechStream(detector)

    async def blocks() -> AsyncIterator[Samples]:
        for start in range(0, samples.size, SAMPLE_RATE_HERTZ):
            yield samples[start : start + SAMPLE_RATE_HERTZ]

    async def detect(heard: Samples) -> NDArray[np.float32]:
        return stream.probabilities(heard)

    async def collect() -> list[Window]:
        return [window async for window in find_speech(blocks(), detect)]

    return asyncio.run(collect())


@contextmanager
def _states(context: Context) -> Iterator[list[State]]:
    states = [context.new_state() for _ in range(usable_cpus())]
    try:
        yield states
    finally:
        for state in states:
            state.close()


def _transcribe(
    states: list[State], recordings: list[list[Window]], traits: Traits, language: str
) -> list[list[HeardWindow]]:
    """What was heard in each window of each recording."""
    free: SimpleQueue[State] = SimpleQueue()
    for state in states:
        free.put(state)

    def hear(windows: list[Window]) -> list[HeardWindow]:
        state = free.get()
        try:
            parameters = Parameters(language=language)
            return [transcribe_window(state, one.samples, parameters, AbortFlag(), traits) for one in windows]
        finally:
            free.put(state)

    with ThreadPoolExecutor(len(states)) as threads:
        return list(threads.map(hear, recordings))


def _compared(recordings: list[Recording], ways: dict[str, list[list[HeardWindow]]], language: str) -> dict[str, Any]:
    said = [recording.text for recording in recordings]
    texts = {way: [_text(windows) for windows in heard] for way, heard in ways.items()}
    fitted = list(chain.from_iterable(ways["fitted"]))
    return {
        "recordings": len(recordings),
        **{way: str(score(said, " ".join(found), language)) for way, found in texts.items()},
        "differ": score(texts["full"], " ".join(texts["fitted"]), language).wer,
        "repeated": sum(window.doubts.total() for window in fitted),
        "passes": sum(len(window.passes) for window in fitted),
    }


def _text(windows: list[HeardWindow]) -> str:
    return " ".join(one.found.text for window in windows for one in window.passes)
