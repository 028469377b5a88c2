"""The probability that somebody speaks, frame by frame: the Silero network in numpy.

whisper.cpp has this network too, but takes every frame through its graph by itself (three times the time), and leaves
out the 64 samples before a frame that the network was trained to hear with it. Here whatever does not depend on the
frame before is computed for many frames at once, and the rest keeps its memory from one block to the next.

The network (Silero VAD 5 and 6 for 16 kHz, MIT licence; weights by ``binding.read_vad_weights``), for a frame of 512
samples: 64 samples before it, the frame, its last 64 mirrored → magnitudes of four spectra of 256 samples, 128 apart →
four convolutions over these four, each with a rectifier → LSTM → rectifier → one number → sigmoid.
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from binding import read_vad_weights
from consumer.audio.speech import FRAME_SAMPLES

Floats = NDArray[np.float32]

_BEFORE: Final = 64
_SPECTRUM: Final = 256
_FREQUENCIES: Final = 129
_UNITS: Final = 128
_FRAMES_AT_ONCE: Final = 64  # whose values stay in a core's cache; 32 and 128 take 7 and 5 % longer


class SpeechDetector:
    """The weights, laid out for products of many frames. Recordings share it; each has a ``SpeechStream``."""

    def __init__(self, path: Path) -> None:
        """Load a Silero model in ggml form. Raises ModelInitError saying what is wrong with it."""
        weights = read_vad_weights(path)
        self._spectra = np.ascontiguousarray(weights["_model.stft.forward_basis_buffer"][:, 0].T)
        convolutions = [weights[f"_model.encoder.{n}.reparam_conv.weight"] for n in range(4)]
        self._biases = [weights[f"_model.encoder.{n}.reparam_conv.bias"] for n in range(4)]
        # The third has two inputs and one output: its first column would meet nothing but padding. The fourth has one.
        columns = (slice(None), slice(None), slice(1, 3), slice(1, 2))
        self._kernels = [_as_matrix(one[:, :, taken]) for one, taken in zip(convolutions, columns, strict=True)]
        # sigmoid(x) = (1 + tanh(x / 2)) / 2: with the halves in the weights, one tanh does for all gates. They come
        # as input, forget, cell, output; here the three with a sigmoid are side by side.
        gates = np.r_[0 : 2 * _UNITS, 3 * _UNITS : 4 * _UNITS, 2 * _UNITS : 3 * _UNITS]
        halves = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], np.float32), _UNITS)
        bias = weights["_model.decoder.rnn.bias_ih"] + weights["_model.decoder.rnn.bias_hh"]
        self._gates_bias = bias[gates] * halves
        self._gates_of_input = np.ascontiguousarray(weights["_model.decoder.rnn.weight_ih"][gates].T * halves)
        self._gates_of_memory = np.ascontiguousarray(weights["_model.decoder.rnn.weight_hh"][gates].T * halves)
        self._last = weights["_model.decoder.decoder.2.weight"]
        self._last_bias = weights["_model.decoder.decoder.2.bias"]

    def gates(self, frames: Floats) -> Floats:
        """What the frames themselves give the LSTM's gates: shape (n, 576) samples -> (n, 512)."""
        n = len(frames)
        mirrored = np.concatenate([frames, frames[:, -2 : -2 - _BEFORE : -1]], axis=1)
        pieces = sliding_window_view(mirrored, _SPECTRUM, axis=1)[:, :: _SPECTRUM // 2]
        parts = np.square(pieces.reshape(-1, _SPECTRUM) @ self._spectra)
        heard = np.sqrt(parts[:, :_FREQUENCIES] + parts[:, _FREQUENCIES:]).reshape(n, 4, -1)
        heard = self._convolved(0, _three_of(np.pad(heard, ((0, 0), (1, 1), (0, 0))), step=1)).reshape(n, 4, -1)
        heard = self._convolved(1, _three_of(np.pad(heard, ((0, 0), (1, 0), (0, 0))), step=2)).reshape(n, -1)
        heard = self._convolved(3, self._convolved(2, heard))
        return heard @ self._gates_of_input + self._gates_bias

    def remember(self, gates: Floats, hidden: Floats, cell: Floats) -> Floats:
        """The LSTM over the frames, shape (n, 512) -> (n, 128); ``cell`` is carried on in place."""
        states = np.empty((len(gates), _UNITS), np.float32)
        values, change = np.empty(4 * _UNITS, np.float32), np.empty(_UNITS, np.float32)
        sigmoids = values[: 3 * _UNITS]
        enter, keep, show, new = values.reshape(4, _UNITS)
        half = np.float32(0.5)
        for gate, state in zip(gates, states, strict=True):
            np.dot(hidden, self._gates_of_memory, out=values)
            values += gate
            np.tanh(values, out=values)
            sigmoids *= half
            sigmoids += half
            cell *= keep
            np.multiply(enter, new, out=change)
            cell += change
            np.tanh(cell, out=change)
            hidden = np.multiply(show, change, out=state)
        return states

    def probabilities(self, states: Floats) -> Floats:
        """Of speech, for the LSTM's states: shape (n, 128) -> (n,), [0, 1]."""
        score = np.maximum(states, 0) @ self._last + self._last_bias
        return (0.5 * np.tanh(score / 2) + 0.5).astype(np.float32)

    def _convolved(self, layer: int, columns: Floats) -> Floats:
        out = columns @ self._kernels[layer]
        out += self._biases[layer]
        np.maximum(out, 0, out=out)
        return out


class SpeechStream:
    """One recording being listened to, from its start: what is heard depends on what came before."""

    def __init__(self, detector: SpeechDetector) -> None:
        self._detector = detector
        self._before = np.zeros(_BEFORE, np.float32)
        self._hidden = np.zeros(_UNITS, np.float32)
        self._cell = np.zeros(_UNITS, np.float32)

    def probabilities(self, samples: Floats) -> Floats:
        """The probability of speech in each of the next frames, shape (n,) -> (ceil(n / 512),), float32, [0, 1].

        ``samples`` are whole frames, but at the end of the recording: a frame that is begun is filled with silence.
        """
        if not samples.size:
            return np.empty(0, np.float32)
        sound = np.concatenate([self._before, samples, np.zeros(-samples.size % FRAME_SAMPLES, np.float32)])
        frames = sliding_window_view(sound, _BEFORE + FRAME_SAMPLES)[::FRAME_SAMPLES]
        self._before = sound[-_BEFORE:].copy()
        starts = range(0, len(frames), _FRAMES_AT_ONCE)
        return np.concatenate([self._heard(frames[start : start + _FRAMES_AT_ONCE]) for start in starts])

    def _heard(self, frames: Floats) -> Floats:
        states = self._detector.remember(self._detector.gates(frames), self._hidden, self._cell)
        self._hidden = states[-1]
        return self._detector.probabilities(states)


def _as_matrix(kernel: Floats) -> Floats:
    """A convolution's weights (out, in, width) -> (width * in, out), for rows with one position after the other."""
    return np.ascontiguousarray(kernel.transpose(2, 1, 0).reshape(-1, kernel.shape[0]))


def _three_of(positions: Floats, *, step: int) -> Floats:
    """Each three neighbours of the positions of n frames, shape (n, p, c) -> (n * steps, 3 * c)."""
    n, _, channels = positions.shape
    return sliding_window_view(positions.reshape(n, -1), 3 * channels, axis=1)[:, :: step * channels].reshape(
        -1, 3 * channels
    )
