"""The objective that alerts are about: 95 % of recordings are answered within 3 times their duration and 60 s. Pure."""

from typing import Final

FACTOR: Final = 3.0
ALLOWANCE_SECONDS: Final = 60.0
SHARE: Final = 0.95


def is_prompt(seconds: float, audio_seconds: float) -> bool:
    """Whether a recording of ``audio_seconds`` was answered in time, ``seconds`` after its event."""
    return seconds <= FACTOR * audio_seconds + ALLOWANCE_SECONDS
