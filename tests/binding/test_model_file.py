"""Damaged model files are a message, never a crash."""

import struct
from pathlib import Path

import numpy as np
import pytest

from binding import Context, Library, ModelInitError, read_vad_weights
from binding.model_file import check_model_file
from consumer.engine.artifacts.locate import Artifacts


@pytest.fixture
def model(artifacts: Artifacts) -> bytes:
    return artifacts.model.read_bytes()


def test_a_whole_model_passes(artifacts: Artifacts) -> None:
    check_model_file(artifacts.model)


def test_a_missing_file(library: Library, tmp_path: Path) -> None:
    with pytest.raises(ModelInitError, match="No such file"):
        Context(library, tmp_path / "absent.bin")


def test_an_empty_file(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "empty.bin"
    path.touch()
    with pytest.raises(ModelInitError, match="empty"):
        Context(library, path)


def test_random_bytes(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "random.bin"
    path.write_bytes(np.random.default_rng(1).bytes(100_000))
    with pytest.raises(ModelInitError, match="expected the magic"):
        Context(library, path)


def test_the_right_magic_before_random_bytes(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "random.bin"
    path.write_bytes(struct.pack("<I", 0x67676D6C) + np.random.default_rng(2).bytes(100_000))
    with pytest.raises(ModelInitError, match="header field"):
        Context(library, path)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.3, 0.7, 0.999, -1])
def test_truncation_anywhere(library: Library, tmp_path: Path, model: bytes, share: float) -> None:
    path = tmp_path / "truncated.bin"
    path.write_bytes(model[:-1] if share < 0 else model[: int(len(model) * share)])
    with pytest.raises(ModelInitError, match=r"truncated|no tensor begins"):
        Context(library, path)


def test_a_file_that_whisper_refuses_is_named(
    library: Library, artifacts: Artifacts, tmp_path: Path, model: bytes
) -> None:
    """Well-formed, but a tensor's name is none of Whisper's: only the library can know that."""
    path = tmp_path / "renamed.bin"
    path.write_bytes(model.replace(b"decoder.ln.weight", b"decoder.no.weight", 1))
    with pytest.raises(ModelInitError, match=r"whisper\.cpp refused"):
        Context(library, path)


def test_a_missing_vad_model(tmp_path: Path) -> None:
    with pytest.raises(ModelInitError, match="No such file"):
        read_vad_weights(tmp_path / "vad.bin")


@pytest.fixture
def vad_model(artifacts: Artifacts) -> bytes:
    assert artifacts.vad_model is not None
    return artifacts.vad_model.read_bytes()


@pytest.mark.parametrize(
    ("instead", "message"),
    [
        ((b"lmgg", b"GGUF"), "expected the magic"),
        ((b"silero-16k", b"silero-8kk"), "not named silero-16k"),
        ((struct.pack("<2i", 512, 64), struct.pack("<2i", 256, 32)), r"dimensions are \(256, 32"),
        ((b"rnn.bias_ih", b"rnn.bias_xx"), r"'_model.decoder.rnn.bias_xx' has the shape \(512,\), expected None"),
        ((b"rnn.bias_ih", b"rnn.bias_hh"), "lacks the tensor '_model.decoder.rnn.bias_ih'"),
        ((struct.pack("<3i", 3, 36, 1), struct.pack("<3i", 3, 36, 7)), "no tensor begins at byte 106"),
    ],
)
def test_a_wrong_vad_model(vad_model: bytes, tmp_path: Path, instead: tuple[bytes, bytes], message: str) -> None:
    path = tmp_path / "vad.bin"
    path.write_bytes(vad_model.replace(*instead, 1))
    with pytest.raises(ModelInitError, match=message):
        read_vad_weights(path)


@pytest.mark.parametrize("share", [0, 0.00001, 0.00005, 0.0001, 0.3, 0.999, -1])
def test_a_vad_model_truncated_anywhere(vad_model: bytes, tmp_path: Path, share: float) -> None:
    path = tmp_path / "vad.bin"
    path.write_bytes(vad_model[:-1] if share < 0 else vad_model[: int(len(vad_model) * share)])
    with pytest.raises(ModelInitError, match=r"truncated|not named"):
        read_vad_weights(path)
