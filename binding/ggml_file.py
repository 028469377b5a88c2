"""What files in whisper.cpp's own ggml form have in common: a magic, integers, and tensors up to the end."""

import os
import struct
from typing import BinaryIO, Final

MAGIC: Final = 0x67676D6C

# ggml tensor types: (values in a block, bytes of a block), from ggml/src/ggml.c of 1.8.5.
TYPE_BLOCKS: Final = {
    0: (1, 4),  # f32
    1: (1, 2),  # f16
    2: (32, 18),  # q4_0
    3: (32, 20),  # q4_1
    6: (32, 22),  # q5_0
    7: (32, 24),  # q5_1
    8: (32, 34),  # q8_0
    10: (256, 84),  # q2_k
    11: (256, 110),  # q3_k
    12: (256, 144),  # q4_k
    13: (256, 176),  # q5_k
    14: (256, 210),  # q6_k
    30: (1, 2),  # bf16
}


class Damaged(Exception):
    """The file is not what it should be; the message says where."""


def read(file: BinaryIO, layout: str) -> tuple[int, ...]:
    """The next values, by ``struct``'s layout. Raises Damaged at the end of the file."""
    wanted = struct.calcsize(layout)
    data = file.read(wanted)
    if len(data) != wanted:
        raise Damaged("it is truncated")
    return struct.unpack(layout, data)


def skip(file: BinaryIO, n_bytes: int, size_bytes: int) -> None:
    """Pass over the next bytes of a file of this size. Raises Damaged where it ends before."""
    if file.seek(n_bytes, os.SEEK_CUR) > size_bytes:
        raise Damaged("it is truncated")
