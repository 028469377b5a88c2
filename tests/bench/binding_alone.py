"""The bare engine: recordings of one window each, decoded beforehand, N states on N threads, as fast as they go.

Run as a process of its own: ``python -m tests.bench.binding_alone DIRECTORY SIZE FILE…`` prints JSON.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from binding import AbortFlag, Context, Library, Parameters, Samples, State
from consumer.engine.artifacts.locate import locate
from consumer.engine.cpus import usable_cpus
from consumer.engine.passes import transcribe_window
from tests.support.speech import samples_of


def main() -> None:
    """Seconds for all files together, after a warm-up on the first; and the texts."""
    artifacts = locate(Path(sys.argv[1]), sys.argv[2])  # type: ignore[arg-type]  # checked by the caller
    library = Library.load(artifacts.directory)
    recordings = [samples_of(Path(name)).astype(np.float32) / np.float32(32768) for name in sys.argv[3:]]
    n_states = usable_cpus()
    with Context(library, artifacts.model) as context, ThreadPoolExecutor(n_states) as threads:
        free: SimpleQueue[State] = SimpleQueue()
        for _ in range(n_states):
            free.put(context.new_state())

        def transcribe(samples: Samples) -> str:
            state = free.get()
            try:
                heard = transcribe_window(state, samples, Parameters(language="en"), AbortFlag())
                return " ".join(one.found.text for one in heard.passes)
            finally:
                free.put(state)

        list(threads.map(transcribe, recordings[: 2 * n_states]))
        started = time.perf_counter()
        texts = list(threads.map(transcribe, recordings))
        seconds = time.perf_counter() - started
        while not free.empty():
            free.get().close()
    print(json.dumps({"seconds": seconds, "texts": texts}))


if __name__ == "__main__":
    main()
