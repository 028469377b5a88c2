"""Blocks of samples cut to a range, and looked ahead at, are the same however they come."""

from collections.abc import AsyncIterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from consumer.audio.blocks import Begun, only_between
from consumer.audio.speech import SAMPLE_RATE_HERTZ

SIZES = st.lists(st.integers(0, 5000), max_size=8)


async def _in_blocks(samples: NDArray[np.float32], sizes: list[int]) -> AsyncIterator[NDArray[np.float32]]:
    first = 0
    for size in sizes:
        yield samples[first : first + size]
        first += size


@given(SIZES, st.floats(0, 1), st.floats(0, 1))
def test_what_lies_outside_a_range_is_silence_however_it_is_cut(sizes: list[int], start: float, end: float) -> None:
    samples = np.ones(sum(sizes), np.float32)
    expected = np.zeros_like(samples)
    expected[round(start * SAMPLE_RATE_HERTZ) : round(end * SAMPLE_RATE_HERTZ)] = 1
    found, first = [], 0
    for size in sizes:
        block = samples[first : first + size]
        found.append(only_between(block, start - first / SAMPLE_RATE_HERTZ, end - first / SAMPLE_RATE_HERTZ))
        first += size
    assert np.array_equal(np.concatenate([*found, samples[:0]]), expected)
    assert samples.all()


@given(SIZES, st.floats(0, 1))
async def test_whoever_looks_ahead_loses_nothing(sizes: list[int], seconds: float) -> None:
    samples = np.arange(sum(sizes), dtype=np.float32)
    begun = Begun(_in_blocks(samples, sizes))
    assert await begun.last_longer_than(seconds) == (samples.size > seconds * SAMPLE_RATE_HERTZ)
    assert np.array_equal(np.concatenate([samples[:0], *[block async for block in begun]]), samples)
