"""Reading CTranslate2's model files, the form in which packages on the index carry Whisper's weights.

Layout, little-endian: version, name of the specification, revision, number of variables; then of each its name,
rank, dimensions, type, bytes and data. Strings are a uint16 length with the closing zero byte counted, then the bytes.
"""

import struct
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_TYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}


def read(data: bytes) -> dict[str, Array]:
    """The variables of a model by name, as read-only views into ``data``.

    Raises ValueError where the bytes are not a whole Whisper model of CTranslate2.
    """
    try:
        return _Cursor(data).variables()
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"not a whole CTranslate2 model: {error}") from error


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def variables(self) -> dict[str, Array]:
        self.number("I")  # version of the container
        specification = self.string()
        if specification != "WhisperSpec":
            raise ValueError(f"a CTranslate2 model of {specification!r}, expected 'WhisperSpec'")
        self.number("I")  # revision of the specification
        return dict(self.variable() for _ in range(self.number("I")))

    def variable(self) -> tuple[str, Array]:
        name = self.string()
        shape = [self.number("I") for _ in range(self.number("B"))]
        dtype = _TYPES[self.number("B")]
        size = self.number("I")
        array = np.frombuffer(self.data, dtype, count=prod(shape), offset=self.position).reshape(shape)
        self.position += size
        return name, array

    def number(self, code: str) -> int:
        (value,) = struct.unpack_from("<" + code, self.data, self.position)
        self.position += struct.calcsize(code)
        return int(value)

    def string(self) -> str:
        size = self.number("H")
        text = self.data[self.position : self.position + size - 1].decode()
        self.position += size
        return text
