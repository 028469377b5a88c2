"""In time is three times the duration and a minute."""

import pytest

from consumer.observe.objective import is_prompt


@pytest.mark.parametrize(
    ("seconds", "audio_seconds", "prompt"),
    [(60, 0, True), (60.1, 0, False), (90, 10, True), (90.1, 10, False), (10_860, 3600, True), (10_861, 3600, False)],
)
def test_longer_recordings_may_take_longer(seconds: float, audio_seconds: float, prompt: bool) -> None:
    assert is_prompt(seconds, audio_seconds) is prompt
