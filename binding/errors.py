"""What can go wrong at the C library's edge.

WhisperLibraryError
├── LibraryLoadError      the shared libraries are missing, unsuitable or of an unknown layout
├── ModelInitError        the model file is missing, damaged or not a model
├── StateInitError        no memory for another state
└── InferenceError        a call on samples failed; ``code`` and ``stage`` say where
    └── Aborted           ... because somebody asked for it

Input that must never reach C (wrong dtype, NaN, no samples) is a ``ValueError``.
"""


class WhisperLibraryError(Exception):
    """Base of everything that the binding raises by itself."""


class LibraryLoadError(WhisperLibraryError):
    """The shared libraries cannot be used; the message says what was found and what is needed."""


class ModelInitError(WhisperLibraryError):
    """The model file cannot be used; the message names the file and what is wrong with it."""


class StateInitError(WhisperLibraryError):
    """A state could not be made, which means that there was no memory for it."""


class InferenceError(WhisperLibraryError):
    """A C call on samples failed.

    ``code`` is the library's return code, ``stage`` the step that it stands for.
    """

    def __init__(self, stage: str, code: int) -> None:
        super().__init__(f"whisper.cpp failed in stage {stage!r} (return code {code})")
        self.stage = stage
        self.code = code


class Aborted(InferenceError):
    """The call ended because its abort flag was set."""
