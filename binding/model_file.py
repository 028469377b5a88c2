"""A look at a ggml model file before C reads it: a damaged file must be a message, not a crash.

The format (whisper.cpp, models/convert-pt-to-ggml.py): magic, eleven int32 header fields, mel filters,
vocabulary, then tensors up to the end of the file. Only sizes are read here, so the check costs some
hundred seeks whatever the size of the model. It finds truncation, foreign files and impossible
dimensions; that the weights are the right ones is for the manifest's SHA-256 to say.
"""

import math
import os
from pathlib import Path
from typing import BinaryIO, Final

from binding.errors import ModelInitError
from binding.ggml_file import MAGIC, TYPE_BLOCKS, Damaged, read, skip

# (name, least, most) of the header's fields; the bounds hold every published Whisper model with room.
_HEADER: Final = (
    ("n_vocab", 50_000, 60_000),
    ("n_audio_ctx", 1, 1_500),
    ("n_audio_state", 64, 4_096),
    ("n_audio_head", 1, 64),
    ("n_audio_layer", 1, 128),
    ("n_text_ctx", 1, 448),
    ("n_text_state", 64, 4_096),
    ("n_text_head", 1, 64),
    ("n_text_layer", 1, 128),
    ("n_mels", 80, 128),
    ("ftype", 0, 10_000_000),  # thousands: quantisation version; hundred thousands: the decoder's type
)


def check_model_file(path: Path) -> None:
    """Raise ModelInitError unless ``path`` is a whole ggml Whisper model."""
    try:
        with path.open("rb") as file:
            _check(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise ModelInitError(f"cannot read the model file {path}: {error.strerror}") from error
    except Damaged as error:
        raise ModelInitError(f"{path} is not a usable ggml Whisper model: {error}") from None


def _check(file: BinaryIO, size_bytes: int) -> None:
    if size_bytes == 0:
        raise Damaged("the file is empty")
    (magic,) = read(file, "<I")
    if magic != MAGIC:
        raise Damaged(f"it begins with {magic:#010x}, expected the magic {MAGIC:#010x}")
    header = read(file, f"<{len(_HEADER)}i")
    for (name, least, most), value in zip(_HEADER, header, strict=True):
        if not least <= value <= most:
            raise Damaged(f"header field {name} is {value}, expected {least} to {most}")
    n_mels, n_fft = read(file, "<2i")
    if n_mels != header[9] or not 1 <= n_fft <= 4_096:
        raise Damaged(f"mel filters of shape ({n_mels}, {n_fft}) do not fit the header's {header[9]} bands")
    skip(file, 4 * n_mels * n_fft, size_bytes)
    (n_tokens,) = read(file, "<i")
    if not 0 < n_tokens <= header[0]:
        raise Damaged(f"{n_tokens} tokens in the vocabulary, the header says {header[0]}")
    for _ in range(n_tokens):
        (length,) = read(file, "<I")
        skip(file, length, size_bytes)
    n_tensors = 0
    while file.tell() < size_bytes:
        _check_tensor(file, size_bytes)
        n_tensors += 1
    if n_tensors == 0:
        raise Damaged("it holds no weights")


def _check_tensor(file: BinaryIO, size_bytes: int) -> None:
    n_dims, name_bytes, kind = read(file, "<3i")
    if not (1 <= n_dims <= 4 and 0 < name_bytes <= 256 and kind in TYPE_BLOCKS):
        raise Damaged(f"no tensor begins at byte {file.tell() - 12}")
    shape = read(file, f"<{n_dims}i")
    skip(file, name_bytes, size_bytes)
    block_values, block_bytes = TYPE_BLOCKS[kind]
    n_values = math.prod(shape)
    if n_values <= 0 or n_values % block_values:
        raise Damaged(f"a tensor at byte {file.tell()} has the impossible shape {shape}")
    skip(file, n_values // block_values * block_bytes, size_bytes)
