"""Voice activity detection: the Silero model that ships with whisper.cpp."""

from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from binding.errors import InferenceError, ModelInitError
from binding.library import Library
from binding.samples import Samples, checked

FRAME_SAMPLES: Final = 512
"""Samples of one probability: 32 ms at 16 kHz, fixed by the model."""


class VadContext:
    """A loaded VAD model and its working memory: not for two threads at once."""

    def __init__(self, library: Library, model: Path) -> None:
        """Load ``model``, a Silero model in ggml form. Raises ModelInitError if it is missing or no such model."""
        if not model.is_file():
            raise ModelInitError(f"the VAD model {model} is missing")
        self._library = library
        params = library.ffi.new("struct whisper_vad_context_params *", {"n_threads": 1, "use_gpu": False})
        self._pointer = library.lib.whisper_vad_init_from_file_with_params(str(model).encode(), params[0])
        if not self._pointer:
            raise ModelInitError(f"whisper.cpp refused the VAD model {model}; its log lines say why")

    def speech_probabilities(self, samples: Samples) -> NDArray[np.float32]:
        """The probability of speech of each frame of 512 samples, shape (ceil(n / 512),), float32, [0, 1].

        The model's memory is cleared first, so equal samples give equal probabilities whatever ran before.
        Raises ValueError for samples that C must not see, InferenceError if the library fails.
        """
        samples = checked(samples)
        ffi, lib = self._library.ffi, self._library.lib
        if not self._pointer:
            raise ValueError("the VAD context is closed")
        if not lib.whisper_vad_detect_speech(self._pointer, ffi.from_buffer("float[]", samples), samples.size):
            raise InferenceError("voice activity detection", -1)
        n_frames = lib.whisper_vad_n_probs(self._pointer)
        found = ffi.buffer(lib.whisper_vad_probs(self._pointer), n_frames * 4)
        return np.frombuffer(bytes(found), np.float32)  # a copy: the library reuses its memory

    def close(self) -> None:
        """Free the model."""
        pointer, self._pointer = self._pointer, None
        if pointer:
            self._library.lib.whisper_vad_free(pointer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
