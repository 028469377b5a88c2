"""The voice detector with its real weights, beside the same network computed frame by frame, as it is defined."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from threadpoolctl import threadpool_info, threadpool_limits

from binding import read_vad_weights
from consumer.audio.silero import SpeechDetector, SpeechStream
from consumer.engine.artifacts.locate import locate
from consumer.observe.metrics import Metrics
from consumer.settings import EngineSettings
from consumer.transcribing import transcribing
from tests.support.watched_engine import read_wav

Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def vad_model(artifacts_dir: Path) -> Path:
    path = locate(artifacts_dir, "tiny.en", "auto").vad_model
    assert path is not None
    return path


@pytest.fixture(scope="module")
def detector(vad_model: Path) -> SpeechDetector:
    return SpeechDetector(vad_model)


@pytest.fixture(scope="module")
def speech(sample: Path) -> Floats:
    return read_wav(sample).astype(np.float32) / np.float32(32768)


def _sigmoid(x: Floats) -> Floats:
    return (1 / (1 + np.exp(-x))).astype(np.float32)


def _convolution(x: Floats, kernel: Floats, bias: Floats, stride: int) -> Floats:
    """(in, n) -> (out, n / stride), padded by one on both sides, with a rectifier."""
    padded = np.pad(x, ((0, 0), (1, 1)))
    columns = [
        np.tensordot(kernel, padded[:, start : start + 3], axes=((1, 2), (0, 1))) + bias
        for start in range(0, x.shape[1], stride)
    ]
    return np.maximum(np.stack(columns, axis=1), 0)


def _by_definition(weights: dict[str, Floats], samples: Floats) -> Floats:
    """The network over a recording of whole frames, one after the other."""
    w = {name.removeprefix("_model."): value for name, value in weights.items()}
    hidden, cell, found = np.zeros(128, np.float32), np.zeros(128, np.float32), []
    sound = np.concatenate([np.zeros(64, np.float32), samples])
    for start in range(0, samples.size, 512):
        frame = np.pad(sound[start : start + 576], (0, 64), mode="reflect")
        pieces = np.stack([frame[at : at + 256] for at in (0, 128, 256, 384)], axis=1)
        spectra = w["stft.forward_basis_buffer"][:, 0] @ pieces
        x = np.hypot(spectra[:129], spectra[129:])
        for layer, stride in enumerate((1, 2, 2, 1)):
            name = f"encoder.{layer}.reparam_conv"
            x = _convolution(x, w[f"{name}.weight"], w[f"{name}.bias"], stride)
        gates = w["decoder.rnn.weight_ih"] @ x[:, 0] + w["decoder.rnn.bias_ih"]
        gates += w["decoder.rnn.weight_hh"] @ hidden + w["decoder.rnn.bias_hh"]
        enter, keep, new, show = np.split(gates, 4)
        cell = _sigmoid(keep) * cell + _sigmoid(enter) * np.tanh(new)
        hidden = _sigmoid(show) * np.tanh(cell)
        found.append(_sigmoid(np.maximum(hidden, 0) @ w["decoder.decoder.2.weight"] + w["decoder.decoder.2.bias"]))
    return np.array(found, np.float32)


def test_it_is_the_network_as_defined(vad_model: Path, detector: SpeechDetector, speech: Floats) -> None:
    whole = speech[: 200 * 512]
    expected = _by_definition(read_vad_weights(vad_model), whole)
    assert expected.min() < 0.1
    assert expected.max() > 0.9
    np.testing.assert_allclose(SpeechStream(detector).probabilities(whole), expected, atol=1e-4)


@pytest.mark.parametrize("frames_a_block", [1, 7, 64, 100])
def test_blocks_are_heard_as_one_recording(detector: SpeechDetector, speech: Floats, frames_a_block: int) -> None:
    step = frames_a_block * 512
    stream = SpeechStream(detector)
    found = [stream.probabilities(speech[start : start + step]) for start in range(0, speech.size, step)]
    np.testing.assert_allclose(np.concatenate(found), SpeechStream(detector).probabilities(speech), atol=1e-5)


def test_it_hears_speech_and_not_silence_or_noise(detector: SpeechDetector, speech: Floats) -> None:
    spoken = SpeechStream(detector).probabilities(speech)
    assert spoken.shape == (-(-speech.size // 512),)
    assert spoken.dtype == np.float32
    assert float((spoken > 0.5).mean()) > 0.5
    assert float(SpeechStream(detector).probabilities(np.zeros(5 * 16_000, np.float32)).max()) < 0.3
    noise = (np.random.default_rng(3).standard_normal(5 * 16_000) * 0.05).astype(np.float32)
    assert float(SpeechStream(detector).probabilities(noise).max()) < 0.5
    assert (SpeechStream(detector).probabilities(speech) == spoken).all()  # recordings know nothing of each other


def test_of_no_samples_nothing_is_said(detector: SpeechDetector) -> None:
    assert SpeechStream(detector).probabilities(np.empty(0, np.float32)).shape == (0,)


async def test_its_products_take_no_thread_but_their_own(artifacts_dir: Path) -> None:
    """The engine's pool hands out threads; numpy would add as many as there are cores, for every recording."""
    settings = EngineSettings(whisper_model_size="tiny.en", whisper_artifacts_dir=artifacts_dir)
    artifacts = locate(artifacts_dir, "tiny.en", "auto")
    metrics = Metrics(CollectorRegistry())
    threadpool_limits(2, "blas")
    async with transcribing(settings, artifacts, metrics, max_duration_seconds=60, stall_timeout_seconds=60):
        assert [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"] == [1]
