"""How fast a directory of artifacts transcribes: one trial of ``tune``, run as a program of its own.

Usage: trial.py DIRECTORY MODEL SAMPLE STATES THREADS. SAMPLE is a WAV file, mono, 16 kHz, 16 bit, of one window. It is
transcribed over and over by so many states with so many threads each. Prints seconds of audio a second.
"""

import sys
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from binding import AbortFlag, Context, Library, Parameters, State
from consumer.engine.artifacts.manifest import read_manifest
from consumer.engine.passes import transcribe_window
from consumer.engine.traits import traits_of

LEAST_TIMES = 4


def main() -> None:
    """One trial: all states warmed up, then the clock."""
    directory, model, sample = map(Path, sys.argv[1:4])
    n_states, n_threads = map(int, sys.argv[4:])
    with wave.open(str(sample)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / np.float32(32768)
        rate = file.getframerate()
    parameters = Parameters(n_threads=n_threads)
    traits = traits_of(read_manifest(directory))
    library = Library.load(directory)
    with Context(library, model) as context, ThreadPoolExecutor(n_states) as threads:
        free: SimpleQueue[State] = SimpleQueue()
        for _ in range(n_states):
            free.put(context.new_state())

        def transcribe(_: int) -> None:
            state = free.get()
            try:
                transcribe_window(state, samples, parameters, AbortFlag(), traits)
            finally:
                free.put(state)

        list(threads.map(transcribe, range(n_states)))
        times = max(LEAST_TIMES, 2 * n_states)
        started = time.perf_counter()
        list(threads.map(transcribe, range(times)))
        seconds = time.perf_counter() - started
        while not free.empty():
            free.get().close()
    print(times * samples.size / rate / seconds)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
