"""The weights of the Silero voice detector, out of the file that ships with whisper.cpp.

The format (whisper.cpp, models/convert-silero-vad-to-ggml.py): magic, the model's name, three numbers of its version,
its dimensions, then tensors up to the end of the file. This project computes the network by itself, for one set of
dimensions; a file with others is refused.
"""

import math
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from binding.errors import ModelInitError
from binding.ggml_file import MAGIC, Damaged, read

_NAME: Final = b"silero-16k"
_DIMENSIONS: Final = (
    *(512, 64),  # samples of a frame, and of what lies before it
    *(4, 129, 128, 3, 128, 64, 3, 64, 64, 3, 64, 128, 3),  # convolutions: how many; in, out and width of each
    *(128, 128, 128, 1),  # LSTM and last layer: in and out
)
_DTYPES: Final[dict[int, np.dtype[np.floating]]] = {0: np.dtype(np.float32), 1: np.dtype(np.float16)}
_SHAPES: Final = {
    "_model.stft.forward_basis_buffer": (258, 1, 256),
    "_model.encoder.0.reparam_conv.weight": (128, 129, 3),
    "_model.encoder.0.reparam_conv.bias": (128,),
    "_model.encoder.1.reparam_conv.weight": (64, 128, 3),
    "_model.encoder.1.reparam_conv.bias": (64,),
    "_model.encoder.2.reparam_conv.weight": (64, 64, 3),
    "_model.encoder.2.reparam_conv.bias": (64,),
    "_model.encoder.3.reparam_conv.weight": (128, 64, 3),
    "_model.encoder.3.reparam_conv.bias": (128,),
    "_model.decoder.rnn.weight_ih": (512, 128),
    "_model.decoder.rnn.weight_hh": (512, 128),
    "_model.decoder.rnn.bias_ih": (512,),
    "_model.decoder.rnn.bias_hh": (512,),
    "_model.decoder.decoder.2.weight": (128,),
    "_model.decoder.decoder.2.bias": (),
}
"""Shapes as PyTorch has them: a convolution's (out, in, width), the LSTM's four gates one below the other."""


def read_vad_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors by name, float32, in PyTorch's shapes. Raises ModelInitError saying what is wrong."""
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise ModelInitError(f"cannot read the VAD model {path}: {error.strerror}") from error
    except Damaged as error:
        raise ModelInitError(f"{path} is not a usable Silero model in ggml form: {error}") from None


def _read(file: BinaryIO) -> dict[str, NDArray[np.float32]]:
    (magic,) = read(file, "<I")
    if magic != MAGIC:
        raise Damaged(f"it begins with {magic:#010x}, expected the magic {MAGIC:#010x}")
    if read(file, "<i") != (len(_NAME),) or file.read(len(_NAME)) != _NAME:
        raise Damaged(f"it is not named {_NAME.decode()}")
    read(file, "<3i")  # its version: 5 and 6 are one network with other weights
    if (dimensions := read(file, f"<{len(_DIMENSIONS)}i")) != _DIMENSIONS:
        raise Damaged(f"its dimensions are {dimensions}, expected {_DIMENSIONS}")
    weights = dict(_read_tensor(file) for _ in _SHAPES)
    if missing := _SHAPES.keys() - weights:
        raise Damaged(f"it lacks the tensor {min(missing)!r}")
    return weights


def _read_tensor(file: BinaryIO) -> tuple[str, NDArray[np.float32]]:
    n_dims, name_bytes, kind = read(file, "<3i")
    if not (0 <= n_dims <= 4 and 0 < name_bytes <= 256 and kind in _DTYPES):
        raise Damaged(f"no tensor begins at byte {file.tell() - 12}")
    shape = read(file, f"<{n_dims}i")[::-1]
    name = file.read(name_bytes).decode(errors="replace")
    if shape != (expected := _SHAPES.get(name)):
        raise Damaged(f"tensor {name!r} has the shape {shape}, expected {expected}")
    n_bytes = math.prod(shape) * _DTYPES[kind].itemsize
    if len(data := file.read(n_bytes)) != n_bytes:
        raise Damaged("it is truncated")
    return name, np.frombuffer(data, _DTYPES[kind]).astype(np.float32).reshape(shape)
