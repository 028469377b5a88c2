"""Where somebody speaks, and where to cut: from a stream of samples to windows for the model.

Whisper hears 30 s at once and invents text where nobody speaks. So a recording is cut, while it is being
decoded, into windows that hold speech, begin and end in pauses, and are at most 19.2 s long; nothing else
reaches the model. Rules:

1. Speech begins where a frame's probability reaches 0.5 and goes on until it stays below 0.35 for 0.5 s
   (hysteresis; the thresholds are Silero's own defaults).
2. A run of speech shorter than 0.2 s is a click, not a word.
3. A run gets 0.5 s of sound on both sides, never more than half of the pause to its neighbour.
4. Runs share a window while it stays within 19.2 s and no pause in it is longer than 3 s.
5. A run that is longer than a window on its own is cut where speech is least likely in the second half of
   the window.
6. Windows are in order and do not overlap; every frame of a run is in exactly one window.

Nothing is held but the window under construction and the block being looked at: memory does not grow with
the recording.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SAMPLE_RATE_HERTZ: Final = 16_000
FRAME_SAMPLES: Final = 512
"""Samples of one probability: 32 ms."""
FindSpeech = Callable[[Samples], Awaitable[NDArray[np.float32]]]
"""Probability of speech for each frame of the recording's next block: shape (n,) -> (ceil(n / 512),), [0, 1]."""


def _frames(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HERTZ / FRAME_SAMPLES)


# The model hears 30 s. A window that ends well before shows it the silence after its last word, so that it closes its
# last segment and leaves no rest for another pass: of windows of 30 s half left one, of 19.2 s one in twenty. What
# such a window has of context in ``consumer.engine.passes`` is a multiple of its unit, so nothing is lost by it.
# Shorter ones lose more words than they save time (figures in docs/performance.md).
WINDOW_FRAMES: Final = _frames(19.2)
ENTER_PROBABILITY: Final = 0.5
LEAVE_PROBABILITY: Final = 0.35
PAUSE_FRAMES: Final = _frames(0.5)
CLICK_FRAMES: Final = _frames(0.2)
MARGIN_FRAMES: Final = _frames(0.5)
LONGEST_INNER_PAUSE_FRAMES: Final = _frames(3)
BLOCK_FRAMES: Final = _frames(30)
# Gain for detection only: the detector misses speech recorded far below full scale (46 dB below: all of it),
# the model does not. What is quieter than this gain can lift is left alone: it is a noise floor.
LARGEST_GAIN: Final = 200.0
DETECTION_PEAK: Final = 0.5


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the recording for the model: ``samples`` has shape (n,), float32, 16 kHz, n <= 307,200."""

    start_sample: int
    samples: Samples

    @property
    def start_seconds(self) -> float:
        """Where the window begins on the recording's clock."""
        return self.start_sample / SAMPLE_RATE_HERTZ

    @property
    def seconds(self) -> float:
        """How long the window is."""
        return self.samples.size / SAMPLE_RATE_HERTZ


async def find_speech(blocks: AsyncIterator[Samples], detect: FindSpeech) -> AsyncGenerator[Window, None]:
    """Cut a stream of samples (blocks of any size) into windows of speech."""
    cutter = WindowCutter()
    async for block in _regrouped(blocks, BLOCK_FRAMES * FRAME_SAMPLES):
        for window in cutter.feed(block, await detect(_audible(block))):
            yield window
    for window in cutter.finish():
        yield window


async def _regrouped(blocks: AsyncIterator[Samples], size: int) -> AsyncIterator[Samples]:
    """The same samples in blocks of ``size``, the last one shorter."""
    parts: list[Samples] = []
    held = 0
    async for part in blocks:
        rest = part
        while held + rest.size >= size:
            parts.append(rest[: size - held])
            rest = rest[size - held :]
            yield np.concatenate(parts)
            parts, held = [], 0
        if rest.size:
            parts.append(rest)
            held += rest.size
    if parts:
        yield np.concatenate(parts)


def _audible(samples: Samples) -> Samples:
    """``samples`` raised to a peak of 0.5 where they are quiet."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0 or peak >= DETECTION_PEAK:
        return samples
    return samples * np.float32(min(LARGEST_GAIN, DETECTION_PEAK / peak))


def energy_probabilities(samples: Samples) -> NDArray[np.float32]:
    """A stand-in for the detector where no VAD model is at hand: 1.0 for frames above -50 dB of full scale.

    It tells sound from silence, not speech from noise.
    """
    padded = np.pad(samples, (0, -samples.size % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
    loud: NDArray[np.bool_] = np.mean(np.square(padded), axis=1) > 10 ** (-50 / 10)
    return loud.astype(np.float32)


class WindowCutter:
    """Applies the rules to samples and probabilities as they come. All positions are frames of the recording."""

    def __init__(self) -> None:
        self._samples = np.empty(0, np.float32)
        self._probabilities = np.empty(0, np.float32)
        self._base = 0  # first frame of what is held
        self._seen = 0  # frames looked at so far
        self._run_start: int | None = None  # of the run that is going on
        self._run_end = 0  # after its last frame of speech
        self._run_goes_on = False  # it is the rest of a longer one, so no click however short
        self._window: tuple[int, int] | None = None  # runs collected: from the first's start to the last's end
        self._cut = 0  # end of the last window, margin included: nothing before it is used again
        self._ready: list[Window] = []

    def feed(self, samples: Samples, probabilities: NDArray[np.float32]) -> list[Window]:
        """Take the next samples with their probabilities; return the windows that are finished.

        ``samples`` must be whole frames, except in the last call before ``finish``.
        """
        self._samples = np.concatenate([self._samples, samples])
        self._probabilities = np.concatenate([self._probabilities, probabilities])
        for probability in probabilities.tolist():
            self._look(probability)
        self._forget()
        return self._take_ready()

    def finish(self) -> list[Window]:
        """The recording is over: return the windows that are left."""
        self._end_run()
        self._end_window(next_run_start=None)
        return self._take_ready()

    def _look(self, probability: float) -> None:
        frame = self._seen
        self._seen += 1
        if self._run_start is None:
            if probability >= ENTER_PROBABILITY:
                self._run_start, self._run_end, self._run_goes_on = frame, frame + 1, False
            elif self._window and frame - self._window[1] > LONGEST_INNER_PAUSE_FRAMES + MARGIN_FRAMES:
                self._end_window(next_run_start=None)
            return
        if probability >= LEAVE_PROBABILITY:
            self._run_end = frame + 1
        elif frame + 1 - self._run_end >= PAUSE_FRAMES:
            self._end_run()
            return
        if self._seen - self._run_start >= WINDOW_FRAMES - 2 * MARGIN_FRAMES:
            self._split_run()

    def _end_run(self) -> None:
        start, end = self._run_start, self._run_end
        self._run_start = None
        if start is not None and (self._run_goes_on or end - start >= CLICK_FRAMES):
            self._collect(start, end)

    def _collect(self, start: int, end: int) -> None:
        """Put a run into the window under construction, or begin a new one with it (rule 4)."""
        if self._window:
            first, last = self._window
            fits = end - first <= WINDOW_FRAMES - 2 * MARGIN_FRAMES
            if fits and start - last <= LONGEST_INNER_PAUSE_FRAMES:
                self._window = (first, end)
                return
            self._end_window(next_run_start=start)
        self._window = (start, end)

    def _split_run(self) -> None:
        """The run that is going on fills a window: cut it at its least likely frame (rule 5)."""
        start = self._run_start
        if start is None:  # only called while a run goes on
            return
        middle = (start + self._seen) // 2
        likely = self._probabilities[middle - self._base : self._seen - self._base]
        # A single low frame may be a stop consonant: take the lowest mean of five frames (0.16 s).
        smooth = np.convolve(likely, np.full(5, 0.2, np.float32), mode="same")
        cut = middle + 2 + int(np.argmin(smooth[2:-2]))
        self._collect(start, cut)
        self._end_window(next_run_start=cut)
        self._run_start = cut
        self._run_end = max(self._run_end, cut + 1)
        self._run_goes_on = True

    def _end_window(self, next_run_start: int | None) -> None:
        """Cut the window under construction out of the samples, with its margins (rule 3)."""
        if self._window is None:
            return
        first, last = self._window
        self._window = None
        start = max(first - MARGIN_FRAMES, self._cut, 0)
        end = last + MARGIN_FRAMES
        if next_run_start is not None:
            end = min(end, (last + next_run_start) // 2)
        low, high = ((position - self._base) * FRAME_SAMPLES for position in (start, end))
        samples = self._samples[low:high].copy()
        self._cut = end
        self._ready.append(Window(start * FRAME_SAMPLES, samples))

    def _forget(self) -> None:
        """Drop what no window can need any more."""
        needed = self._window[0] if self._window else self._run_start if self._run_start is not None else self._seen
        keep_from = max(self._base, min(needed, self._seen) - MARGIN_FRAMES)
        self._samples = self._samples[(keep_from - self._base) * FRAME_SAMPLES :]
        self._probabilities = self._probabilities[keep_from - self._base :]
        self._base = keep_from

    def _take_ready(self) -> list[Window]:
        ready, self._ready = self._ready, []
        return ready
