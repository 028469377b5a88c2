"""pywhispercpp as an engine of ``alone.py``. Runs in an environment of its own and imports nothing of ours.

A request has ``model`` (a file), ``language`` (null: not given), ``defaults`` (a bool: nothing else is set) or else
``threads`` and ``processors`` (parts that a recording is cut into, each with its threads; 1: whole).
"""

import wave
from collections.abc import Callable
from typing import Any

import numpy as np
from pywhispercpp.model import Model  # type: ignore[import-not-found]  # in its own environment alone

SHARED = False  # a Model is one context with one state, and fastest in the thread that loaded it (OpenMP)


def load(request: dict[str, Any]) -> Callable[[Any], str]:
    """The function that gives the text of samples or of a WAV file."""
    options: dict[str, Any] = {}
    if request["language"]:
        options |= {"language": request["language"]}
    if not request["defaults"]:
        options |= {"n_threads": request["threads"], "greedy": {"best_of": 1}, "temperature_inc": 0.0}
    model = Model(request["model"], **options)
    how = {"n_processors": request["processors"]} if request["processors"] > 1 else {}
    return lambda recording: " ".join(segment.text for segment in model.transcribe(recording, **how))


def read(path: str) -> Any:
    """Samples of a 16-bit WAV file, mono at 16 kHz, float32, shape (n,)."""
    with wave.open(path) as file:
        pcm = file.readframes(file.getnframes())
    return np.frombuffer(pcm, np.int16).astype(np.float32) / np.float32(32768)
