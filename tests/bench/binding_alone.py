"""The bare engine: recordings of one window each, decoded beforehand, N states on N threads, as fast as they go.

Run as a process of its own: ``python -m tests.bench.binding_alone DIRECTORY SIZE FILE…`` prints JSON.
"""

import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from binding import AbortFlag, Context, Library, Parameters, Samples, State
from consumer.engine.artifacts.locate import locate
from consumer.engine.cpus import usable_cpus
from consumer.engine.passes import HeardWindow, Pass, transcribe_window
from consumer.engine.traits import traits_of
from tests.bench.runs import Run
from tests.support.speech import samples_of


def main() -> None:
    """All files together, after a warm-up on the first; see ``worker.Bare`` for what is printed."""
    artifacts = locate(Path(sys.argv[1]), sys.argv[2])  # type: ignore[arg-type]  # checked by the caller
    library = Library.load(artifacts.directory)
    recordings = [samples_of(Path(name)).astype(np.float32) / np.float32(32768) for name in sys.argv[3:]]
    traits = traits_of(artifacts.manifest)
    n_states = usable_cpus()
    with Context(library, artifacts.model) as context, ThreadPoolExecutor(n_states) as threads:
        free: SimpleQueue[State] = SimpleQueue()
        for _ in range(n_states):
            free.put(context.new_state())

        def transcribe(samples: Samples) -> HeardWindow:
            state = free.get()
            try:
                return transcribe_window(state, samples, Parameters(language="en"), AbortFlag(), traits)
            finally:
                free.put(state)

        list(threads.map(transcribe, recordings[: 2 * n_states]))
        cpu_before, started = time.process_time(), time.perf_counter()
        heard = list(threads.map(transcribe, recordings))
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_before
        while not free.empty():
            free.get().close()
    passes = [one for window in heard for one in window.passes]
    made_again = sum(window.doubts.total() for window in heard)
    run = Run(
        seconds,
        cpu_seconds,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        [" ".join(one.found.text for one in window.passes) for window in heard],
    )
    answer = {
        "run": asdict(run),
        "precision": artifacts.precision,
        "contexts": [traits.fitted(one.seconds) for one in passes] + [0] * made_again,
        "decoder_steps": sum(_decoder_steps(one) for one in passes),
    }
    print(json.dumps(answer))


def _decoder_steps(one: Pass) -> int:
    """Readings of the decoder's weights: one for the prompt, and one for each token but the last.

    The binding gives tokens of text; each segment has two timestamps more.
    """
    return 1 + sum(len(segment.tokens) + 2 for segment in one.found.segments)


if __name__ == "__main__":
    main()
