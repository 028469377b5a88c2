"""Loads a directory of artifacts and decodes a few tokens; run as a program of its own (see ``verify``).

Usage: probe.py DIRECTORY MODEL. Standard library only. Exits 0 where all went well, 1 with a last line that says
what did not; a CPU that lacks an instruction ends it with SIGILL.
"""

import ctypes
import os
import sys
from pathlib import Path

LIBRARIES = ("libggml-base.so.0", "libggml-cpu.so.0", "libggml.so.0", "libwhisper.so")  # in loading order
TOKENS = 16  # enough rows for the matrix kernels; one alone would take the vector kernels


def main() -> None:
    """Load, decode, say so."""
    directory, model = map(Path, sys.argv[1:])
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        for name in LIBRARIES:
            whisper = ctypes.CDLL(str(directory / name), mode=ctypes.RTLD_GLOBAL)
        decode(whisper, model)
    except (OSError, AttributeError) as error:
        sys.exit(str(error))


def decode(whisper: ctypes.CDLL, model: Path) -> None:
    """Run one decoder pass: cheap for every size, and it goes through the kernels that matter."""
    whisper.whisper_init_from_file.restype = ctypes.c_void_p
    context = ctypes.c_void_p(whisper.whisper_init_from_file(str(model).encode()))
    if context.value is None:
        sys.exit(f"whisper.cpp cannot read the model {model.name}")
    tokens = (ctypes.c_int * TOKENS)(*range(TOKENS))
    if status := whisper.whisper_decode(context, tokens, TOKENS, 0, 1):
        sys.exit(f"a trial run of the decoder failed with {status}")
    whisper.whisper_free(context)


if __name__ == "__main__":
    main()
