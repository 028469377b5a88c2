"""The rules of consumer/audio/downmix.py."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.audio.downmix import BLOCK_SAMPLES, Downmixer, Samples, weights_of

STEREO = ("FL", "FR")
SURROUND = ("FL", "FR", "FC", "LFE", "BL", "BR")


def speech_like(seconds: float, seed: int = 0, level: float = 0.1) -> Samples:
    """Noise whose loudness comes and goes like syllables; float32 of shape (n,), 16 kHz."""
    count = int(seconds * 16_000)
    noise = np.random.default_rng(seed).normal(0, level, count)
    return np.asarray(noise * (0.2 + np.abs(np.sin(np.arange(count) / 2500))), np.float32)


def mix(channels: Samples, names: tuple[str, ...]) -> Samples:
    downmixer = Downmixer(names)
    return np.concatenate((downmixer.push(channels), downmixer.flush()))


def level(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


def test_one_channel_passes_untouched() -> None:
    mono = speech_like(1.3)
    np.testing.assert_array_equal(mix(mono[None], ("FC",)), mono)


def test_identical_channels_keep_their_level() -> None:
    voice = speech_like(3)
    np.testing.assert_allclose(mix(np.stack((voice, voice)), STEREO), voice, atol=1e-6)


def test_antiphase_does_not_cancel() -> None:
    voice = speech_like(3)
    mixed = mix(np.stack((voice, -voice)), STEREO)
    np.testing.assert_array_equal(np.abs(mixed[320:]), np.abs(voice[320:]))


def test_antiphase_that_begins_later_is_heard_within_two_seconds() -> None:
    voice = speech_like(8)
    other = voice.copy()
    other[4 * 16_000 :] *= -1
    mixed = mix(np.stack((voice, other)), STEREO)
    assert level(mixed[6 * 16_000 :]) == pytest.approx(level(voice[6 * 16_000 :]), rel=0.05)


def test_the_mix_comes_back_when_the_phase_is_right_again() -> None:
    voice, answer = speech_like(12, 1), speech_like(12, 2)
    left, right = voice.copy(), answer.copy()
    right[: 2 * 16_000] = -left[: 2 * 16_000]
    mixed = mix(np.stack((left, right)), STEREO)
    np.testing.assert_allclose(mixed[-16_000:], (left + right)[-16_000:] / 2, atol=1e-6)


@pytest.mark.parametrize("live", range(2))
def test_one_live_channel_is_heard(live: int) -> None:
    voice = speech_like(3)
    channels = np.zeros((2, len(voice)), np.float32)
    channels[live] = voice
    np.testing.assert_allclose(mix(channels, STEREO), voice / 2, atol=1e-6)


def test_both_sides_of_a_call_are_heard() -> None:
    agent, customer = speech_like(6, 1), speech_like(6, 2, level=0.02)
    mixed = mix(np.stack((agent, customer)), STEREO)
    np.testing.assert_allclose(mixed, (agent + customer) / 2, atol=1e-6)


def test_opposed_pairs_among_four_microphones_do_not_cancel() -> None:
    voice = speech_like(3)
    mixed = mix(np.stack((voice, -voice, voice, -voice)), ("FL", "FR", "BL", "BR"))
    assert level(mixed) == pytest.approx(level(voice), rel=0.02)


def test_surround_weights() -> None:
    weights = dict(zip(SURROUND, weights_of(SURROUND), strict=True))
    assert weights["FC"] > weights["FL"] == weights["FR"] > weights["BL"] > weights["LFE"] == 0
    assert sum(weights.values()) == pytest.approx(1)


@pytest.mark.parametrize("names", [("FL", "FR"), ("NONE", "NONE", "NONE"), ("FL", "FR", "BL", "BR"), ("FC", "TFL")])
def test_other_layouts_weigh_all_channels_alike(names: tuple[str, ...]) -> None:
    np.testing.assert_allclose(weights_of(names), 1 / len(names))


def test_a_switch_makes_no_click() -> None:
    tone = np.asarray(0.1 * np.sin(np.arange(4 * BLOCK_SAMPLES) / 20), np.float32)  # at most 0.005 a sample
    other = tone.copy()
    other[2 * BLOCK_SAMPLES :] *= -1
    mixed = mix(np.stack((tone, other)), STEREO)
    start = 2 * BLOCK_SAMPLES
    assert np.abs(np.diff(mixed[start:])).max() < 0.006


def test_silence_and_empty_input() -> None:
    assert not mix(np.zeros((2, 20_000), np.float32), STEREO).any()
    assert len(mix(np.zeros((2, 0), np.float32), STEREO)) == 0


@given(
    cuts=st.lists(st.integers(0, 30_000), max_size=8),
    inverted=st.floats(-1, 1),
    names=st.sampled_from([STEREO, SURROUND, ("FL", "FR", "BL", "BR")]),
)
def test_how_the_stream_is_cut_changes_nothing(cuts: list[int], inverted: float, names: tuple[str, ...]) -> None:
    voice = speech_like(30_000 / 16_000)
    channels = np.stack([voice * (inverted if number % 2 else 1) for number in range(len(names))])
    downmixer = Downmixer(names)
    edges = [0, *sorted(cuts), channels.shape[1]]
    parts = [downmixer.push(channels[:, a:b]) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate((*parts, downmixer.flush())), mix(channels, names))


@given(gain=st.floats(-1, 1), other=st.floats(-1, 1), samples=st.integers(1, 40_000))
def test_length_is_kept_and_nothing_clips_or_vanishes(gain: float, other: float, samples: int) -> None:
    voice = np.clip(speech_like(samples / 16_000), -1, 1)
    channels = np.stack((voice * np.float32(gain), voice * np.float32(other)))
    mixed = mix(channels, STEREO)
    assert mixed.shape == (channels.shape[1],)
    assert np.abs(mixed).max(initial=0) <= np.abs(channels).max(initial=0) * 1.0001
    if len(mixed) > 1000:
        assert level(mixed[320:]) >= 0.24 * max(level(channels[0, 320:]), level(channels[1, 320:]))
