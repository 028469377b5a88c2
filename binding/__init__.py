"""libwhisper for Python: cffi in ABI mode, no compiler, no dependency beyond cffi and numpy.

    library = Library.load(directory)
    with Context(library, model) as context, context.new_state() as state:
        print(state.transcribe(samples, Parameters(language="en")).text)

Cffi objects are untyped; they stay inside this package. Times are seconds everywhere outside it.
"""

from binding.context import AbortFlag, Context, Parameters, State
from binding.cpu import machine_features
from binding.errors import (
    Aborted,
    InferenceError,
    LibraryLoadError,
    ModelInitError,
    StateInitError,
    WhisperLibraryError,
)
from binding.library import Library
from binding.results import Segment, Token, Transcription, Word
from binding.samples import SAMPLE_RATE_HERTZ, Samples
from binding.vad_file import read_vad_weights

__all__ = [
    "SAMPLE_RATE_HERTZ",
    "AbortFlag",
    "Aborted",
    "Context",
    "InferenceError",
    "Library",
    "LibraryLoadError",
    "ModelInitError",
    "Parameters",
    "Samples",
    "Segment",
    "State",
    "StateInitError",
    "Token",
    "Transcription",
    "WhisperLibraryError",
    "Word",
    "machine_features",
    "read_vad_weights",
]
