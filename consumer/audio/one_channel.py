"""One channel of a recording of several, without what it picked up of the others.

On a call each channel holds one speaker, and often, much softer, an echo of the other: a detector of speech that finds
soft speakers finds that too, and the words would come twice, once under the wrong name. Rules:

1. A block of 0.1 s is echo where, over the half second around it, another channel has more than 100 times the energy
   of this one (20 dB). Two people who speak at once differ by less, and a louder echo cannot be told from a soft
   speaker by its loudness. Echo becomes silence.
2. Changes fade over 20 ms, so they make no click.
3. Where the recording has no such channel, for it may change its layout, there is silence.

As many samples come out as went in, and they depend on the samples alone, never on how they were cut into pushes.
"""

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

BLOCK_SAMPLES: Final = 1600
ECHO_BELOW: Final = 0.01
_AROUND: Final = 2
"""Blocks looked at on both sides."""
_FADE_SAMPLES: Final = 320


class OneChannel:
    """Takes float32 of shape (channels, n), 16 kHz, any n; gives float32 of shape (m,). Fits where a Downmixer does."""

    def __init__(self, channel: int, channels: int) -> None:
        self._channel = channel
        self._channels = channels
        self._rest = np.empty((channels, 0), np.float32)  # less than a block
        self._waiting: deque[Samples] = deque()  # blocks of this channel that are not judged yet
        # Of the blocks around the one that is judged next, each of shape (channels,).
        self._energies: deque[NDArray[np.float64]] = deque(maxlen=2 * _AROUND + 1)
        self._gain = 1.0

    def push(self, samples: Samples) -> Samples:
        """Take the next samples; returns those that are ready."""
        if self._channel >= self._channels:
            return np.zeros(samples.shape[1], np.float32)
        if self._channels == 1:
            mono: Samples = samples[0]
            return mono
        pending = np.concatenate((self._rest, samples), axis=1) if self._rest.size else samples
        whole = pending.shape[1] - pending.shape[1] % BLOCK_SAMPLES
        self._rest = pending[:, whole:].copy()
        ready = [
            judged
            for start in range(0, whole, BLOCK_SAMPLES)
            if (judged := self._next(pending[:, start : start + BLOCK_SAMPLES])) is not None
        ]
        return np.concatenate(ready) if ready else np.empty(0, np.float32)

    def flush(self) -> Samples:
        """End the stream: returns the rest."""
        ready = []
        if self._rest.size:
            rest, self._rest = self._rest, self._rest[:, :0]
            if (judged := self._next(rest)) is not None:
                ready.append(judged)
        while self._waiting:
            self._energies.append(np.zeros(self._channels))
            ready.append(self._judge())
        return np.concatenate(ready) if ready else np.empty(0, np.float32)

    def _next(self, block: Samples) -> Samples | None:
        """Take one block; returns the one that has as many behind it as are looked at."""
        self._energies.append(np.einsum("cn,cn->c", block, block, dtype=np.float64))
        self._waiting.append(block[self._channel])
        return self._judge() if len(self._waiting) > _AROUND else None

    def _judge(self) -> Samples:
        block = self._waiting.popleft()
        energies = np.sum(self._energies, axis=0)
        own = energies[self._channel]
        before, self._gain = self._gain, 0.0 if own < ECHO_BELOW * np.delete(energies, self._channel).max() else 1.0
        if before == self._gain == 1.0:
            return block
        gains = np.full(block.size, self._gain, np.float32)
        fade = min(_FADE_SAMPLES, block.size)
        gains[:fade] = np.linspace(before, self._gain, fade, dtype=np.float32)
        return block * gains
