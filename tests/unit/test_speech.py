"""The rules by which a recording is cut into windows (numbered in ``consumer.audio.speech``)."""

from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from consumer.audio.speech import (
    BLOCK_FRAMES,
    CLICK_FRAMES,
    FRAME_SAMPLES,
    MARGIN_FRAMES,
    PAUSE_FRAMES,
    WINDOW_FRAMES,
    Samples,
    Window,
    WindowCutter,
    energy_probabilities,
    find_speech,
)

FRAMES_A_SECOND = 16_000 / FRAME_SAMPLES


def _cut(probabilities: NDArray[np.float32], chunk_frames: int = BLOCK_FRAMES) -> list[Window]:
    """Windows of a recording whose samples count up, so that each tells where it came from."""
    samples = np.arange(probabilities.size * FRAME_SAMPLES, dtype=np.float32)
    cutter, windows = WindowCutter(), []
    for start in range(0, probabilities.size, chunk_frames):
        end = start + chunk_frames
        windows += cutter.feed(samples[start * FRAME_SAMPLES : end * FRAME_SAMPLES], probabilities[start:end])
    return windows + cutter.finish()


def _speech(*stretches: tuple[float, float]) -> NDArray[np.float32]:
    """Probabilities from (seconds of silence, seconds of speech) pairs, a second of silence at the end."""
    parts = [
        np.concatenate([np.zeros(round(quiet * FRAMES_A_SECOND)), np.ones(round(loud * FRAMES_A_SECOND))])
        for quiet, loud in stretches
    ]
    return np.concatenate([*parts, np.zeros(round(FRAMES_A_SECOND))]).astype(np.float32)


def _times(windows: list[Window]) -> list[tuple[float, float]]:
    return [(window.start_seconds, window.start_seconds + window.seconds) for window in windows]


def test_silence_gives_no_window() -> None:
    assert _cut(np.zeros(5000, np.float32)) == []


def test_a_click_is_not_speech_and_a_short_word_is() -> None:
    assert _cut(_speech((2, 0.1))) == []
    assert len(_cut(_speech((2, 0.3)))) == 1


def test_a_window_has_its_margins() -> None:
    [(start, end)] = _times(_cut(_speech((2, 5))))
    assert start == pytest.approx(1.5, abs=0.05)
    assert end == pytest.approx(7.5, abs=0.05)


def test_speech_with_pauses_shares_a_window_while_it_fits() -> None:
    one, two = _times(_cut(_speech((1, 8), (1, 8), (1, 8))))
    assert one == pytest.approx((0.5, 18.5), abs=0.1)
    assert two == pytest.approx((18.5, 27.5), abs=0.1)


def test_a_long_pause_parts_windows() -> None:
    assert len(_cut(_speech((0, 3), (2.5, 3)))) == 1
    assert len(_cut(_speech((0, 3), (4, 3)))) == 2


def test_speech_without_a_pause_is_cut_where_it_is_least_likely() -> None:
    probabilities = np.ones(round(50 * FRAMES_A_SECOND), np.float32)
    dip = round(13 * FRAMES_A_SECOND)
    probabilities[dip - 4 : dip + 4] = 0.6
    first, second = _cut(probabilities)[:2]
    assert first.start_seconds + first.seconds == pytest.approx(13, abs=0.2)
    assert second.start_seconds == pytest.approx(first.start_seconds + first.seconds)


def test_a_window_is_out_before_the_recording_ends() -> None:
    """Otherwise the first words of two hours would wait for two hours."""
    cutter = WindowCutter()
    n_frames = round(45 * FRAMES_A_SECOND)
    assert cutter.feed(np.zeros(n_frames * FRAME_SAMPLES, np.float32), np.ones(n_frames, np.float32))


def test_the_rest_of_a_cut_run_is_no_click_however_short() -> None:
    """Found by the property below: speech that ends just after its cut lost its last frames."""
    probabilities = np.array([0.7] * 1378 + [0.0] * 2, np.float32)
    windows = _cut(probabilities)
    assert windows[-1].start_sample + windows[-1].samples.size >= 1378 * FRAME_SAMPLES


@st.composite
def _recordings(draw: st.DrawFn) -> NDArray[np.float32]:
    """Stretches of speech, doubt and silence of many lengths."""
    stretches = draw(st.lists(st.tuples(st.sampled_from([0.0, 0.3, 0.4, 0.7, 1.0]), st.integers(1, 1200)), max_size=12))
    return np.concatenate([np.empty(0), *(np.full(n_frames, value) for value, n_frames in stretches)]).astype(
        np.float32
    )


@settings(deadline=None)
@given(_recordings(), st.integers(1, 2000))
def test_windows_keep_the_rules_whatever_comes(probabilities: NDArray[np.float32], chunk_frames: int) -> None:
    windows = _cut(probabilities, chunk_frames)
    covered = np.zeros(probabilities.size, int)
    previous_end = 0
    for window in windows:
        assert 0 < window.samples.size <= WINDOW_FRAMES * FRAME_SAMPLES
        assert window.start_sample >= previous_end, "windows overlap or are out of order"
        assert window.samples[0] == window.start_sample, "the samples are not those of that time"
        assert (np.diff(window.samples) == 1).all(), "samples are missing inside"
        previous_end = window.start_sample + window.samples.size
        covered[window.start_sample // FRAME_SAMPLES : -(-previous_end // FRAME_SAMPLES)] += 1
    assert (covered <= 1).all()
    for start, end in _certain_speech(probabilities):
        assert covered[start:end].all(), f"speech at frames {start} to {end} was left out"
    silence = probabilities < 0.35
    for frame in np.flatnonzero(covered):
        near = slice(max(0, frame - WINDOW_FRAMES), frame + WINDOW_FRAMES)
        assert not silence[near].all(), "a window holds nothing but silence"


def _certain_speech(probabilities: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Unbroken stretches at 0.5 or more that are no click."""
    loud = np.concatenate([[False], probabilities >= 0.5, [False]])
    edges = np.flatnonzero(np.diff(loud.astype(int)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= CLICK_FRAMES]


@settings(deadline=None, max_examples=30)
@given(_recordings(), st.integers(1, 2000), st.integers(1, 2000))
def test_windows_do_not_depend_on_how_the_stream_was_chunked(
    probabilities: NDArray[np.float32], one: int, other: int
) -> None:
    assert _times(_cut(probabilities, one)) == _times(_cut(probabilities, other))


def test_memory_is_bounded_by_windows_not_by_the_recording() -> None:
    cutter = WindowCutter()
    block = np.zeros(BLOCK_FRAMES * FRAME_SAMPLES, np.float32)
    for index in range(200):  # 50 minutes, speech and silence by turns
        cutter.feed(block, np.full(BLOCK_FRAMES, float(index % 3 > 0), np.float32))
        held_seconds = cutter._samples.size / 16_000
        assert held_seconds <= 30 + 30 + 30 + 5


async def _blocks(samples: Samples, size: int) -> AsyncIterator[Samples]:
    for start in range(0, samples.size, size):
        yield samples[start : start + size]


async def test_a_stream_in_blocks_of_any_size_gives_the_same_windows() -> None:
    rng = np.random.default_rng(5)
    quiet, loud = np.zeros(16_000 * 4, np.float32), rng.uniform(-0.5, 0.5, 16_000 * 6).astype(np.float32)
    recording = np.concatenate([quiet, loud, quiet, loud, loud, loud, quiet, loud[:-100]])

    async def detect(samples: Samples) -> NDArray[np.float32]:
        return energy_probabilities(samples)

    found = [
        [window.start_sample async for window in find_speech(_blocks(recording, size), detect)]
        for size in (160, 16_000, 10**9)
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) >= 3


async def test_quiet_speech_is_raised_for_the_detector_only() -> None:
    heard: list[float] = []

    async def detect(samples: Samples) -> NDArray[np.float32]:
        heard.append(float(np.abs(samples).max()))
        return np.ones(-(-samples.size // FRAME_SAMPLES), np.float32)

    whisper = np.full(16_000, 0.004, np.float32)
    [window] = [window async for window in find_speech(_blocks(whisper, 16_000), detect)]
    assert heard == [pytest.approx(0.5)]
    assert window.samples.max() == pytest.approx(0.004)


def test_energy_tells_sound_from_silence() -> None:
    samples = np.concatenate([np.zeros(FRAME_SAMPLES), np.full(FRAME_SAMPLES + 1, 0.1)]).astype(np.float32)
    assert energy_probabilities(samples).tolist() == [0.0, 1.0, 1.0]


def test_the_constants_fit_together() -> None:
    assert 2 * MARGIN_FRAMES < WINDOW_FRAMES
    assert PAUSE_FRAMES > CLICK_FRAMES
