"""Reading and writing whisper.cpp's model files.

Layout, all little-endian: magic, eleven int32 of header, mel filters (two int32, then float32),
vocabulary (a count, then length and bytes of each token), then tensors to the end of the file: number of
dimensions, length of the name, type, dimensions from the fastest to the slowest, name, data.
As read by whisper_model_load in whisper.cpp 1.8.5.
"""

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from consumer.engine.artifacts.errors import ArtifactError

MAGIC = 0x67676D6C
Bytes = npt.NDArray[np.uint8]


class TensorType(IntEnum):
    """``enum ggml_type``: how the numbers of one tensor are stored."""

    F32 = 0
    F16 = 1
    Q5_1 = 7
    Q8_0 = 8
    BF16 = 30


_BLOCK = {  # numbers a block, bytes a block
    TensorType.F32: (1, 4),
    TensorType.F16: (1, 2),
    TensorType.Q5_1: (32, 24),
    TensorType.Q8_0: (32, 34),
    TensorType.BF16: (1, 2),
}


class FileType(IntEnum):
    """``enum ggml_ftype`` as the header holds it: quantised ones carry quantisation version 2 times 1000.

    A decoder of another type is 100,000 times the plain value of that (binding/native/decoder-type.patch).
    """

    F32 = 0
    F16 = 1
    BF16 = 24
    Q8_0 = 2007
    Q5_1 = 2009
    BF16_Q8_0 = 24 + 7 * 100_000


@dataclass(frozen=True, slots=True)
class Header:
    """The shape of a Whisper model, in the file's order."""

    n_vocab: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int
    n_mels: int
    file_type: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor. ``shape`` is numpy's order, slowest dimension first; ``data`` are its bytes, one dimension."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    data: Bytes

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Model:
    """A whole model file. Tensor data may be views into the file: keep memory use to one tensor."""

    header: Header
    mel_filters: npt.NDArray[np.float32]
    """Shape (mel bins, FFT bins)."""
    vocabulary: tuple[bytes, ...]
    tensors: tuple[Tensor, ...]


def data_bytes(kind: TensorType, elements: int) -> int:
    """Bytes that so many numbers take in one type."""
    block_elements, block_bytes = _BLOCK[kind]
    return elements // block_elements * block_bytes


def read(path: Path) -> Model:
    """Map a model file into memory and find its parts.

    Raises ArtifactError where it is not a whisper.cpp model, is cut short, or holds tensors of a type that
    this package does not write.
    """
    try:
        raw: Bytes = np.memmap(path, dtype=np.uint8, mode="r")
    except ValueError as error:  # mmap refuses an empty file
        raise ArtifactError(f"{path} is not a ggml model file: it is empty") from error
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    try:
        return _Cursor(raw).model()
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is not a whole ggml model file: {error}") from error


class _Cursor:
    """Walks over the bytes of a file. Raises ValueError or struct.error where they make no sense."""

    def __init__(self, raw: Bytes) -> None:
        self.raw = raw
        self.position = 0

    def model(self) -> Model:
        (magic,) = self.ints(1)
        if magic != MAGIC:
            raise ValueError(f"it begins with {magic & 0xFFFFFFFF:#010x}, expected {MAGIC:#010x}")
        header = Header(*self.ints(11))
        FileType(header.file_type)  # raises ValueError for one that is not known here
        mel_bins, fft_bins = self.ints(2)
        filters = self.take(4 * mel_bins * fft_bins).view(np.float32).reshape(mel_bins, fft_bins)
        (tokens,) = self.ints(1)
        vocabulary = tuple(self.take(self.ints(1)[0]).tobytes() for _ in range(tokens))
        tensors = []
        while self.position < len(self.raw):
            tensors.append(self.tensor())
        return Model(header, filters, vocabulary, tuple(tensors))

    def tensor(self) -> Tensor:
        dimensions, name_bytes, kind = self.ints(3)
        shape = tuple(reversed(self.ints(dimensions)))
        name = self.take(name_bytes).tobytes().decode()
        tensor_type = TensorType(kind)
        return Tensor(name, shape, tensor_type, self.take(data_bytes(tensor_type, prod(shape))))

    def ints(self, count: int) -> tuple[int, ...]:
        if not 0 <= count <= 16:
            raise ValueError(f"{count} numbers announced at byte {self.position}")
        return struct.unpack(f"<{count}i", self.take(4 * count).tobytes())

    def take(self, count: int) -> Bytes:
        if not 0 <= count <= len(self.raw) - self.position:
            raise ValueError(f"{count} bytes announced at byte {self.position}, {len(self.raw) - self.position} left")
        taken = self.raw[self.position : self.position + count]
        self.position += count
        return taken


def write(
    path: Path,
    header: Header,
    mel_filters: npt.NDArray[np.float32],
    vocabulary: Iterable[bytes],
    tensors: Iterable[Tensor],
) -> None:
    """Write a model file; tensors are taken one by one, so that a lazy iterable keeps memory small.

    The data is on the disk when this returns.
    """
    tokens = tuple(vocabulary)
    with path.open("wb") as file:
        file.write(struct.pack("<i", MAGIC))
        file.write(struct.pack("<11i", *(getattr(header, name) for name in Header.__slots__)))
        file.write(struct.pack("<2i", *mel_filters.shape))
        file.write(np.ascontiguousarray(mel_filters, dtype="<f4").tobytes())
        file.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            file.write(struct.pack("<i", len(token)) + token)
        for tensor in tensors:
            _write_tensor(file, tensor)
        file.flush()
        os.fsync(file.fileno())


def _write_tensor(file: BinaryIO, tensor: Tensor) -> None:
    name = tensor.name.encode()
    file.write(struct.pack("<3i", len(tensor.shape), len(name), tensor.type))
    file.write(struct.pack(f"<{len(tensor.shape)}i", *reversed(tensor.shape)))
    file.write(name)
    file.write(tensor.data.data)
