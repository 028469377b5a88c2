"""Several channels become one that holds every voice, whatever the phase between the channels.

The mean of the channels is right for almost every recording, and wrong where channels cancel: stereo
with one side inverted (a miswired cable, some telephone bridges) averages to silence. So the mean is
watched, and replaced by the loudest channel for as long as it loses too much.

Rules
1. One channel passes as it is.
2. Channels named by a surround layout are weighted as FFmpeg's own downmix weighs them (ITU-R BS.775:
   sides and back less than the front, no low-frequency effects); all others weigh the same. Weights sum
   to one, so a mix never clips.
3. ``preserved`` is the energy of the mix over the energy that the weighted channels would have if they
   were independent: 2 for identical stereo, 1 for independent channels or a single live one, 0 for
   antiphase. Below 0.25 the loudest channel takes over; above 0.5 the mix comes back. The gap between the
   two keeps borderline recordings from switching to and fro.
4. Another channel becomes the loudest only when it has twice the energy of the one in use.
5. Decisions are made once a block of half a second on energies that decay by half each block and
   hold for the block they were measured on: the first block of an antiphase recording is heard too.
6. A switch fades over 20 ms, so it makes no click.

The result depends on the samples alone, never on how they were cut into pushes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

BLOCK_SAMPLES = 8000
_FADE_SAMPLES = 320
_DECAY = 0.5  # of the energies by the next block
_LEAVE_MIX_BELOW = 0.25
_RETURN_TO_MIX_ABOVE = 0.5
_LOUDER_BY = 2.0
_SIDE_WEIGHT = 0.5**0.5
_BACK_WEIGHT = 0.5
_WEIGHTS = {
    "FC": 1.0,
    "FL": _SIDE_WEIGHT,
    "FR": _SIDE_WEIGHT,
    "BL": _BACK_WEIGHT,
    "BR": _BACK_WEIGHT,
    "SL": _BACK_WEIGHT,
    "SR": _BACK_WEIGHT,
    "BC": _BACK_WEIGHT,
    "LFE": 0.0,
    "LFE2": 0.0,
}


def weights_of(channel_names: Sequence[str]) -> Samples:
    """Weight of each channel in the mix, float32 of shape (channels,), sum 1 (rule 2).

    ``channel_names`` are FFmpeg's (FL, FR, FC, LFE, ...). A layout with a name that has no surround
    weight, or without a front centre, is a set of equal channels.
    """
    known = "FC" in channel_names and all(name in _WEIGHTS for name in channel_names)
    weights = np.array([_WEIGHTS[name] if known else 1.0 for name in channel_names], np.float32)
    return np.asarray(weights / weights.sum(), np.float32)


class Downmixer:
    """Mixes a stream of 16 kHz samples down to one channel.

    ``push`` takes float32 of shape (channels, n), any n, and returns the mono samples that are ready,
    float32 of shape (m,); ``flush`` returns the rest. As many samples come out as went in.
    """

    def __init__(self, channel_names: Sequence[str]) -> None:
        self._weights = weights_of(channel_names)
        channels = len(self._weights)
        self._pending = np.empty((channels, 0), np.float32)
        self._mix_energy = 0.0
        self._energies = np.zeros(channels)
        self._chosen: int | None = None  # the channel in use; None: the mix

    def push(self, samples: Samples) -> Samples:
        """Take the next samples."""
        if len(self._weights) == 1:
            mono: Samples = samples[0]
            return mono
        pending = np.concatenate((self._pending, samples), axis=1) if self._pending.size else samples
        ready = pending.shape[1] - pending.shape[1] % BLOCK_SAMPLES
        self._pending = pending[:, ready:].copy()
        return self._mix(pending[:, :ready])

    def flush(self) -> Samples:
        """End the stream."""
        rest, self._pending = self._pending, self._pending[:, :0]
        return self._mix(rest)

    def _mix(self, samples: Samples) -> Samples:
        blocks = [
            self._mix_block(samples[:, start : start + BLOCK_SAMPLES])
            for start in range(0, samples.shape[1], BLOCK_SAMPLES)
        ]
        return np.concatenate(blocks) if blocks else np.empty(0, np.float32)

    def _mix_block(self, block: Samples) -> Samples:
        mixed = self._weights @ block
        self._listen(block, mixed)
        before = self._chosen
        self._choose()
        output = self._apply(self._chosen, block, mixed)
        if self._chosen != before:
            fade = np.linspace(0, 1, min(_FADE_SAMPLES, block.shape[1]), dtype=np.float32)
            old, new = self._apply(before, block, mixed)[: len(fade)], output[: len(fade)]
            output = np.concatenate((old + fade * (new - old), output[len(fade) :]))
        return output

    @staticmethod
    def _apply(chosen: int | None, block: Samples, mixed: Samples) -> Samples:
        return mixed if chosen is None else block[chosen]

    def _listen(self, block: Samples, mixed: Samples) -> None:
        self._mix_energy = self._mix_energy * _DECAY + float(mixed @ mixed)
        self._energies = self._energies * _DECAY + np.einsum("cn,cn->c", block, block)

    def _choose(self) -> None:
        """Set the channel in use (rules 3 and 4)."""
        independent = float(np.square(self._weights) @ self._energies)
        preserved = self._mix_energy / independent if independent > 0 else 1.0
        threshold = _LEAVE_MIX_BELOW if self._chosen is None else _RETURN_TO_MIX_ABOVE
        if preserved >= threshold:
            self._chosen = None
            return
        loudest = int(self._energies.argmax())
        if self._chosen is None or self._energies[loudest] > _LOUDER_BY * self._energies[self._chosen]:
            self._chosen = loudest
