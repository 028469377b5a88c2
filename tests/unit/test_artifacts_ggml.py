"""Model files: reading, writing, conversion, quantisation."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from consumer.engine.artifacts import ggml_file
from consumer.engine.artifacts.ctranslate2 import read as read_ctranslate2
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.ggml_file import FileType, Header, Tensor, TensorType
from consumer.engine.artifacts.models import MODEL_CONFIGS, ModelConfig, Precision, model_file
from consumer.engine.artifacts.progress import Silent
from consumer.engine.artifacts.quantise import bf16, quantise
from consumer.settings import ModelSize

HEADER = Header(51864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, FileType.F16)
FILTERS = np.arange(6, dtype=np.float32).reshape(2, 3)


def tensor(name: str, shape: tuple[int, ...], kind: TensorType = TensorType.F16) -> Tensor:
    numbers = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float16 if kind == TensorType.F16 else np.float32)
    return Tensor(name, shape, kind, numbers.view(np.uint8))


MODEL = (
    tensor("encoder.positional_embedding", (4, 32), TensorType.F32),
    tensor("encoder.conv1.weight", (4, 8, 3)),
    tensor("encoder.conv1.bias", (4, 1), TensorType.F32),
    tensor("decoder.blocks.0.mlp.0.weight", (4, 64)),
    tensor("decoder.ln.bias", (32,), TensorType.F32),
)


def model(path: Path, tensors: tuple[Tensor, ...] = MODEL, header: Header = HEADER) -> Path:
    ggml_file.write(path, header, FILTERS, (b"a", b"\xff\xfe", b""), tensors)
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    tokens=st.lists(st.binary(max_size=8), max_size=5),
    shapes=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), max_size=3),
)
def test_what_was_written_is_read(tmp_path: Path, tokens: list[bytes], shapes: list[list[int]]) -> None:
    tensors = tuple(tensor(f"t{number}", tuple(shape)) for number, shape in enumerate(shapes))
    path = tmp_path / "model.bin"
    ggml_file.write(path, HEADER, FILTERS, tokens, tensors)
    found = ggml_file.read(path)
    assert found.header == HEADER
    assert found.vocabulary == tuple(tokens)
    np.testing.assert_array_equal(found.mel_filters, FILTERS)
    assert [(t.name, t.shape, t.type, t.data.tobytes()) for t in found.tensors] == [
        (t.name, t.shape, t.type, t.data.tobytes()) for t in tensors
    ]


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = model(tmp_path / "whole.bin").read_bytes()
    boundaries = 0
    for length in range(0, len(whole), 7):
        cut = tmp_path / "cut.bin"
        cut.write_bytes(whole[:length])
        try:
            ggml_file.read(cut)
        except ArtifactError:
            continue
        boundaries += 1  # a cut between two tensors leaves a file of fewer tensors
    assert boundaries <= len(MODEL)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"GGUF" + bytes(100), "it begins with 0x46554747, expected 0x67676d6c"),
        (struct.pack("<12i", ggml_file.MAGIC, *[0] * 10, 7), "7 is not a valid FileType"),
        (struct.pack("<14i", ggml_file.MAGIC, *[0] * 11, 2**20, 2**20), "bytes announced at byte 56, 0 left"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=told):
        ggml_file.read(path)


@given(hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_bf16_is_the_nearest_of_its_neighbours(numbers: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    stored = bf16(numbers).view(np.uint16)
    as_float = (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    below = (numbers.view(np.uint32) & 0xFFFF0000).view(np.float32).astype(np.float64)
    above = ((numbers.view(np.uint32) & 0xFFFF0000) + 0x10000).view(np.float32).astype(np.float64)
    finite = np.isfinite(above)  # the largest numbers round up to infinity
    wide = numbers.astype(np.float64)
    best = np.minimum(abs(wide - below), abs(wide - above))
    np.testing.assert_array_equal(abs(wide - as_float)[finite], best[finite])


@pytest.mark.parametrize("precision", ["f16", "bf16"])
def test_the_right_tensors_are_converted(tmp_path: Path, precision: Precision) -> None:
    target = tmp_path / "out.bin"
    quantise(model(tmp_path / "in.bin"), target, precision, tmp_path / "unused", Silent())
    found = ggml_file.read(target)
    wanted = TensorType[precision.upper()]
    assert found.header.file_type == FileType[precision.upper()]
    assert [t.type for t in found.tensors] == [
        TensorType.F32,
        TensorType.F16,
        TensorType.F32,
        wanted,
        TensorType.F32,
    ]


def test_a_quantised_model_is_not_quantised_again(tmp_path: Path) -> None:
    source = tmp_path / "in.bin"
    model(source, header=replace(HEADER, file_type=FileType.Q8_0))
    with pytest.raises(ArtifactError, match=r"quantised already \(file type 2007\)"):
        quantise(source, tmp_path / "out.bin", "q5_1", tmp_path / "unused", Silent())
    assert not (tmp_path / "out.bin").exists()


def test_a_missing_quantiser_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot load .*nowhere\.so to quantise with"):
        quantise(model(tmp_path / "in.bin"), tmp_path / "out.bin", "q5_1", tmp_path / "nowhere.so", Silent())


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "not a whole CTranslate2 model"),
        (struct.pack("<IH", 6, 16) + b"TransformerSpec\0", "of 'TransformerSpec', expected 'WhisperSpec'"),
        (struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + struct.pack("<II", 3, 9), "not a whole CTranslate2 model"),
    ],
)
def test_a_file_that_is_no_whisper_of_ctranslate2_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_ctranslate2(data)


def test_variables_of_ctranslate2_are_read() -> None:
    name = b"decoder/weight\0"
    numbers = np.arange(6, dtype="<f2")
    data = (
        struct.pack("<IH", 6, 12)
        + b"WhisperSpec\0"
        + struct.pack("<II", 3, 1)
        + struct.pack("<H", len(name))
        + name
        + struct.pack("<BIIBI", 2, 2, 3, 4, 12)
        + numbers.tobytes()
    )
    np.testing.assert_array_equal(read_ctranslate2(data)["decoder/weight"], numbers.reshape(2, 3))


class TestModelTable:
    def test_names_of_the_first_design_stand(self) -> None:
        small = MODEL_CONFIGS["small"]
        assert (small.directory, small.file_name) == ("whisper_small_xeon", "ggml-small-q5_1.bin")
        assert (small.disk_megabytes, small.memory_megabytes) == (181, 500)
        medium = MODEL_CONFIGS["medium"]
        assert (medium.directory, medium.file_name) == ("whisper_medium_xeon", "ggml-medium-q5_1.bin")
        assert medium.memory_megabytes == 2000

    def test_every_precision_has_a_file_of_its_own(self) -> None:
        assert model_file("large-v3-turbo", "q8_0") == "ggml-large-v3-turbo-q8_0.bin"

    @pytest.mark.parametrize("size", MODEL_CONFIGS)
    def test_disk_figures_follow_from_the_shape(self, size: ModelSize) -> None:
        config = MODEL_CONFIGS[size]
        assert config.disk_megabytes == round(q5_1_bytes(config) / 2**20)


def q5_1_bytes(config: ModelConfig) -> int:
    """Bytes of a q5_1 file by the shape of the model; names and headers of tensors are left out (under 0.1 %)."""
    d, mels = config.state_size, config.mel_bins
    tokens = 51866 if mels == 128 else 51865 if config.multilingual else 51864
    matrices = tokens * d + config.audio_layers * 12 * d * d + config.text_layers * 16 * d * d
    convolutions = 2 * 3 * d * (mels + d)
    embeddings = 4 * d * (1500 + 448)
    vectors = 4 * (config.audio_layers * 13 * d + config.text_layers * 18 * d + 6 * d)
    vocabulary_and_filters = 570_000 + (mels - 80) * 201 * 4
    return matrices * 24 // 32 + convolutions + embeddings + vectors + vocabulary_and_filters
