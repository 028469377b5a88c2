"""Checks on samples before C sees them: C would read wrong memory, or loop, where these raise."""

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HERTZ = 16_000

Samples = NDArray[np.float32]
"""Mono PCM, shape (n,), float32, nominal range [-1, 1], 16 kHz."""


def checked(samples: object) -> Samples:
    """Return ``samples`` if C may read them.

    Raises ValueError naming the fault: not an array, dtype other than float32, more than one
    dimension, not contiguous, empty, or a value that is NaN or infinite.
    """
    if not isinstance(samples, np.ndarray):
        raise ValueError(f"samples must be a numpy array of float32, got {type(samples).__name__}")  # noqa: TRY004
    if samples.dtype != np.float32:
        raise ValueError(f"samples must have dtype float32, got {samples.dtype}; convert with .astype(numpy.float32)")
    if samples.ndim != 1:
        raise ValueError(f"samples must have one dimension (mono), got shape {samples.shape}")
    if samples.size == 0:
        raise ValueError("samples are empty; at least one sample is needed")
    if not samples.flags.c_contiguous:
        raise ValueError("samples must be contiguous in memory; use numpy.ascontiguousarray")
    # min and max carry NaN and infinity through without a temporary array of flags.
    if not (np.isfinite(samples.min()) and np.isfinite(samples.max())):
        raise ValueError(f"samples hold NaN or infinity at index {int(np.flatnonzero(~np.isfinite(samples))[0])}")
    return samples


def padded(samples: Samples, minimum_seconds: float = 1.0) -> Samples:
    """Return ``samples`` with silence appended up to ``minimum_seconds``.

    whisper.cpp gives no segment for less than 0.1 s and reads out of bounds under 200 samples.
    """
    missing = round(minimum_seconds * SAMPLE_RATE_HERTZ) - samples.size
    return samples if missing <= 0 else np.concatenate([samples, np.zeros(missing, np.float32)])
