"""From an f16 or f32 model file to the precision that is run.

The integer formats come from ggml's own ``ggml_quantize_chunk``, called in a libggml-base through cffi. Which
tensors are converted is the choice of whisper.cpp's quantize tool: those of two dimensions except positional
embeddings and convolution biases.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cffi
import numpy as np
import numpy.typing as npt

from consumer.engine.artifacts import ggml_file
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.ggml_file import Bytes, FileType, Tensor, TensorType
from consumer.engine.artifacts.models import Precision
from consumer.engine.artifacts.progress import Progress

Floats = npt.NDArray[np.float32]
Encode = Callable[[Floats], Bytes]
"""Turns a matrix of float32, shape (rows, columns), into the bytes of its rows in some format."""

_KEPT = {
    "encoder.conv1.bias",
    "encoder.conv2.bias",
    "encoder.positional_embedding",
    "decoder.positional_embedding",
}

_ONCE_A_WINDOW = (".cross_attn.key.weight", ".cross_attn.value.weight")


def quantise(source: Path, target: Path, precision: Precision, ggml_base: Path, progress: Progress) -> None:
    """Write ``source`` (an f16 or f32 model file) to ``target`` at another precision.

    ``ggml_base`` is the libggml-base whose quantisation is used; it must run on this machine.
    Raises ArtifactError if the source is quantised already.
    """
    model = ggml_file.read(source)
    if model.header.file_type not in (FileType.F32, FileType.F16):
        raise ArtifactError(
            f"{source} is quantised already (file type {model.header.file_type}); give the f16 or f32 file it came from"
        )
    encoding = _encoding(precision, ggml_base)
    decoder_encoding = _encoding("q8_0", ggml_base) if precision == "bf16-q8_0" else encoding
    header = replace(model.header, file_type=FileType[precision.upper().replace("-", "_")])
    total = sum(tensor.elements for tensor in model.tensors)

    def converted() -> Iterator[Tensor]:
        with progress.task(f"quantising {target.name}", total, "steps") as advance:
            for tensor in model.tensors:
                chosen = decoder_encoding if _is_of_decoder(tensor) else encoding
                yield _convert(tensor, *chosen) if _is_converted(tensor, precision) else tensor
                advance(tensor.elements)

    ggml_file.write(target, header, model.mel_filters, model.vocabulary, converted())


def _is_converted(tensor: Tensor, precision: Precision) -> bool:
    if tensor.name in _KEPT:
        return False
    if precision == "f16":  # the convolutions, of three dimensions, are f16 in every published file
        return len(tensor.shape) >= 2
    return len(tensor.shape) == 2


def _is_of_decoder(tensor: Tensor) -> bool:
    """Whether it is used once a token. Keys and values of cross attention are computed once a window."""
    return tensor.name.startswith("decoder.") and not tensor.name.endswith(_ONCE_A_WINDOW)


def _convert(tensor: Tensor, kind: TensorType, encode: Encode) -> Tensor:
    if tensor.type == kind:
        return tensor
    stored = tensor.data.view(np.float16 if tensor.type == TensorType.F16 else np.float32)
    rows = np.ascontiguousarray(stored, dtype=np.float32).reshape(-1, tensor.shape[-1])
    return replace(tensor, type=kind, data=encode(rows))


def _encoding(precision: Precision, ggml_base: Path) -> tuple[TensorType, Encode]:
    match precision:
        case "f16":
            return TensorType.F16, lambda rows: rows.astype(np.float16).reshape(-1).view(np.uint8)
        case "bf16" | "bf16-q8_0":
            return TensorType.BF16, bf16
        case "q5_1":
            return TensorType.Q5_1, _ggml_quantiser(ggml_base, TensorType.Q5_1)
        case "q8_0":
            return TensorType.Q8_0, _ggml_quantiser(ggml_base, TensorType.Q8_0)


def bf16(rows: Floats) -> Bytes:
    """The upper half of each float32, rounded to nearest, ties to even. Finite numbers only."""
    bits = rows.reshape(-1).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16).view(np.uint8)


@cache  # for ever: ggml leaves a terminate handler behind, and aborts when it is loaded again after an unload
def _ggml(library: Path) -> tuple[Any, Any]:
    ffi: Any = cffi.FFI()  # Any: types of C are known at run time only
    ffi.cdef(
        "size_t ggml_quantize_chunk(int type, const float *src, void *dst, int64_t start,"
        " int64_t nrows, int64_t n_per_row, const float *imatrix);"
    )
    try:
        return ffi, ffi.dlopen(str(library), ffi.RTLD_NOW | ffi.RTLD_LOCAL)
    except OSError as error:
        raise ArtifactError(f"cannot load {library} to quantise with: {error}") from error


def _ggml_quantiser(library: Path, kind: TensorType) -> Encode:
    ffi, ggml = _ggml(library)

    def encode(rows: Floats) -> Bytes:
        out = np.empty(ggml_file.data_bytes(kind, rows.size), dtype=np.uint8)
        written = ggml.ggml_quantize_chunk(
            int(kind),
            ffi.from_buffer("float[]", rows),
            ffi.from_buffer("uint8_t[]", out),
            0,
            rows.shape[0],
            rows.shape[1],
            ffi.NULL,
        )
        if written != out.size:
            raise ArtifactError(f"{library} wrote {written} bytes of {kind.name}, expected {out.size}")
        return out

    return encode
