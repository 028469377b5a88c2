"""Blocks of samples on their way from the decoder: looked ahead at, and cut to what is wanted."""

from collections import deque
from collections.abc import AsyncIterator

import numpy as np
from numpy.typing import NDArray

from consumer.audio.speech import SAMPLE_RATE_HERTZ

Samples = NDArray[np.float32]


class Begun:
    """The blocks of a recording, the first of which were read ahead to see how long it is."""

    def __init__(self, blocks: AsyncIterator[Samples]) -> None:
        self._blocks = blocks
        self._ahead: deque[Samples] = deque()

    async def last_longer_than(self, seconds: float) -> bool:
        """Whether there are more samples than last so long; reads on until that is known."""
        left = seconds * SAMPLE_RATE_HERTZ
        async for block in self._blocks:
            self._ahead.append(block)
            left -= block.size
            if left < 0:
                return True
        return False

    def __aiter__(self) -> "Begun":
        return self

    async def __anext__(self) -> Samples:
        return self._ahead.popleft() if self._ahead else await anext(self._blocks)


async def within(blocks: AsyncIterator[Samples], start_seconds: float, end_seconds: float) -> AsyncIterator[Samples]:
    """The samples between two times, and silence around them: so times stay the recording's, and what is not wanted
    costs next to nothing."""
    first_seconds = 0.0
    async for block in blocks:
        yield only_between(block, start_seconds - first_seconds, end_seconds - first_seconds)
        first_seconds += block.size / SAMPLE_RATE_HERTZ


def only_between(samples: Samples, start_seconds: float, end_seconds: float) -> Samples:
    """Samples with silence before and after these times, counted from their first."""
    start, end = (
        round(min(max(seconds, 0.0) * SAMPLE_RATE_HERTZ, samples.size)) for seconds in (start_seconds, end_seconds)
    )
    if start == 0 and end == samples.size:
        return samples
    heard = np.zeros_like(samples)
    heard[start:end] = samples[start:end]
    return heard
