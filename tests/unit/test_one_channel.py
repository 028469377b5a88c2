"""One channel of several: what is another's echo is silent, everything else stays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.audio.one_channel import BLOCK_SAMPLES, OneChannel, Samples

RATE = 16_000


def taken(samples: Samples, channel: int, cuts: list[int]) -> Samples:
    """The channel, pushed in pieces."""
    one = OneChannel(channel, samples.shape[0])
    pieces = [one.push(piece) for piece in np.split(samples, sorted(cuts), axis=1)]
    return np.concatenate([*pieces, one.flush()])


def noise(seconds: float, level: float, seed: int) -> Samples:
    shaped = np.random.default_rng(seed).standard_normal(round(seconds * RATE)) * level
    return shaped.astype(np.float32)


@given(
    st.integers(1, 4),
    st.integers(0, 5),
    st.integers(0, 20_000),
    st.lists(st.integers(0, 20_000), max_size=5),
    st.data(),
)
def test_what_comes_out_does_not_depend_on_the_cuts(
    channels: int, channel: int, length: int, cuts: list[int], data: st.DataObject
) -> None:
    levels = data.draw(st.lists(st.sampled_from([0.0, 0.001, 0.5]), min_size=channels, max_size=channels))
    samples = np.stack([noise(2, level, seed) for seed, level in enumerate(levels)])[:, :length]
    whole = taken(samples, channel, [])
    assert whole.shape == (length,)
    np.testing.assert_array_equal(taken(samples, channel, cuts), whole)


def test_an_echo_is_silent_and_a_soft_speaker_is_not() -> None:
    """The second channel: first the echo, 26 dB down, of who speaks on the first; then somebody as soft by himself."""
    loud, quiet = noise(3, 0.2, 1), np.zeros(3 * RATE, np.float32)
    soft = noise(3, 0.01, 2)
    samples = np.stack([np.concatenate([loud, quiet]), np.concatenate([loud * np.float32(0.05), soft])])
    heard = taken(samples, 1, [])
    margin = 3 * BLOCK_SAMPLES
    assert not heard[margin : loud.size - margin].any()
    np.testing.assert_array_equal(heard[loud.size + margin :], samples[1, loud.size + margin :])
    np.testing.assert_array_equal(taken(samples, 0, []), samples[0])


@pytest.mark.parametrize("apart_decibels", [0, 6, 15])
def test_who_speaks_at_the_same_time_is_kept(apart_decibels: float) -> None:
    samples = np.stack([noise(2, 0.3, 1), noise(2, 0.3 * 10 ** (-apart_decibels / 20), 2)])
    for channel in (0, 1):
        np.testing.assert_array_equal(taken(samples, channel, []), samples[channel])


def test_a_channel_that_is_not_there_is_silence() -> None:
    samples = noise(1, 0.3, 1)[np.newaxis]
    assert not taken(samples, 1, []).any()
