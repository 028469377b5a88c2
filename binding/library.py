"""libwhisper and the ggml libraries, opened at run time and held to the layout that the binding assumes.

There is one set of libraries in a process: they are loaded with RTLD_GLOBAL, as they need each other, so a
second libwhisper would bind to the first one's ggml. ``Library.load`` therefore gives the loaded one again
for the same directory and refuses any other.
"""

import logging
import os
import re
import struct
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from cffi import FFI

from binding.cdef import (
    CANARIES,
    DECLARATIONS,
    LANGUAGE_OFFSET,
    LIBC_DECLARATIONS,
    MINIMUM_VERSION,
    STRATEGY_BEAM_SEARCH,
    STRATEGY_GREEDY,
)
from binding.cpu import machine_features
from binding.errors import LibraryLoadError

logger = logging.getLogger("whisper.cpp")

# Each needs the ones before it.
GGML_LIBRARIES: Final = ("libggml-base.so.0", "libggml-cpu.so.0", "libggml.so.0")
WHISPER_LIBRARY: Final = "libwhisper.so"
LIBRARY_FILES: Final = (*GGML_LIBRARIES, WHISPER_LIBRARY)

# enum ggml_log_level of ggml/include/ggml.h. The library's INFO is a developer's DEBUG here: twenty
# lines for each model load.
_LOG_LEVELS: Final = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR}
_LOG_CONTINUES: Final = 5
# Said, as an error, where this binding ends after the first pass as it was asked to.
_NO_ERROR: Final = "encoder_begin_callback returned false - aborting"


class Library:
    """The opened libraries: ``ffi`` and ``lib`` for this package, ``version`` for everybody.

    Both are typed ``Any``: cffi makes the attributes of ``lib`` at run time, and numpy arrays are no buffers
    to the type checker before Python 3.12. This package is the only one that touches them.
    """

    _loaded: "Library | None" = None
    _lock = threading.Lock()

    def __init__(self, directory: Path, ffi: Any, lib: Any, version: str) -> None:
        self.directory = directory
        self.ffi = ffi
        self.lib = lib
        self.version = version
        self.abort_when_set = _abort_callback(ffi)
        self.first_pass_only = _first_pass_callback(ffi)
        self._log_callback = _route_log(ffi, lib)  # C keeps the pointer: it must live as long as we do

    @classmethod
    def load(cls, directory: Path, required_cpu_features: Collection[str] = ()) -> "Library":
        """Open the libraries in ``directory`` and check that they are the ones this binding knows.

        ``required_cpu_features`` are what the build was compiled for, in the kernel's names.

        Raises LibraryLoadError: a file is missing or cannot be loaded, the CPU lacks a feature, the version
        is too old or not told, a function is missing, or the defaults do not lie where the layout says.
        """
        with cls._lock:
            directory = directory.resolve()
            if cls._loaded is None:
                _check_cpu(directory, required_cpu_features)
                ffi, lib = _open(directory)
                version = _check_version(directory, ffi, lib)
                _check_functions(directory, lib)
                _check_defaults(directory, ffi, lib)
                cls._loaded = cls(directory, ffi, lib, version)
            elif cls._loaded.directory != directory:
                raise LibraryLoadError(
                    f"libraries of {cls._loaded.directory} are loaded in this process already; those of {directory} "
                    "would bind to them. Start a new process to change libraries"
                )
            return cls._loaded

    def text(self, pointer: Any) -> str:
        """A C string as text; bytes that are no UTF-8 are replaced."""
        return self.bytes(pointer).decode("utf-8", errors="replace")

    def bytes(self, pointer: Any) -> bytes:
        """A C string as bytes; NULL is empty."""
        value = self.ffi.string(pointer) if pointer else b""
        assert isinstance(value, bytes)  # noqa: S101 - of char *, cffi makes bytes
        return value

    def system_info(self) -> str:
        """The CPU features that the loaded build uses, as whisper.cpp prints them."""
        return self.text(self.lib.whisper_print_system_info())

    def languages(self) -> frozenset[str]:
        """The language codes that the library knows (``en``, ``de``, ...)."""
        return frozenset(self.text(self.lib.whisper_lang_str(i)) for i in range(self.lib.whisper_lang_max_id() + 1))


def _check_cpu(directory: Path, required: Collection[str]) -> None:
    missing = sorted(set(required) - machine_features())
    if missing:
        raise LibraryLoadError(
            f"the libraries in {directory} were compiled for a CPU with {', '.join(missing)}, which this machine's "
            "CPU lacks; use a build for another class of CPU"
        )


def _open(directory: Path) -> tuple[Any, Any]:
    for name in LIBRARY_FILES:
        if not (directory / name).is_file():
            raise LibraryLoadError(
                f"{directory / name} is missing; an artifacts directory holds {', '.join(LIBRARY_FILES)}"
            )
    # A build with OpenMP halves its speed when a model is loaded in one thread and used in another, unless
    # libgomp is told to start no threads, which it reads once, when it is loaded.
    os.environ["OMP_NUM_THREADS"] = "1"
    ffi: Any = FFI()
    ffi.cdef(DECLARATIONS)
    try:
        opened = [ffi.dlopen(str(directory / name), ffi.RTLD_NOW | ffi.RTLD_GLOBAL) for name in LIBRARY_FILES]
    except OSError as error:
        raise LibraryLoadError(f"cannot load the libraries in {directory}: {error}") from error
    _never_closed.extend(opened)
    return ffi, opened[-1]


_never_closed: list[Any] = []
"""Closing one library would pull code from under the others."""


def _check_version(directory: Path, ffi: Any, lib: Any) -> str:
    needed = ".".join(map(str, MINIMUM_VERSION))
    try:
        found = ffi.string(lib.whisper_version())
    except AttributeError:
        raise LibraryLoadError(
            f"{directory / WHISPER_LIBRARY} does not tell its version, so it is older than 1.8.0; "
            f"version {needed} or newer is needed"
        ) from None
    version = found.decode(errors="replace") if isinstance(found, bytes) else ""
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None:
        raise LibraryLoadError(
            f"{directory / WHISPER_LIBRARY} says that it is version {version!r}; {needed} or newer is needed"
        )
    if tuple(map(int, numbers.groups())) < MINIMUM_VERSION:
        raise LibraryLoadError(f"{directory / WHISPER_LIBRARY} is version {version}; {needed} or newer is needed")
    return version


def _check_functions(directory: Path, lib: Any) -> None:
    declared = re.findall(r"\b(whisper_\w+)\s*\(", DECLARATIONS)
    missing = [name for name in declared if not _has(lib, name)]
    if missing:
        raise LibraryLoadError(f"{directory / WHISPER_LIBRARY} lacks {', '.join(missing)}; it is of another layout")


def _has(lib: Any, name: str) -> bool:
    try:
        getattr(lib, name)
    except AttributeError:
        return False
    return True


def _check_defaults(directory: Path, ffi: Any, lib: Any) -> None:
    """Compare the defaults that the library writes with where this layout expects them."""
    for strategy in (STRATEGY_GREEDY, STRATEGY_BEAM_SEARCH):
        params = lib.whisper_full_default_params_by_ref(strategy)
        try:
            raw = bytes(ffi.buffer(params, ffi.sizeof("struct whisper_full_params")))
            for offset, layout, expected in ((0, "<i", (strategy,)), *CANARIES):
                found = struct.unpack_from(layout, raw, offset)
                if any(abs(a - b) > 1e-6 for a, b in zip(found, expected, strict=True)):
                    raise LibraryLoadError(
                        f"{directory / WHISPER_LIBRARY} lays out whisper_full_params in another way: at byte {offset} "
                        f"its defaults are {found}, expected {expected}. This binding knows the layout of "
                        "1.8.1 to 1.9.3"
                    )
            (language,) = struct.unpack_from("<Q", raw, LANGUAGE_OFFSET)
            if not language or ffi.string(ffi.cast("char *", language), 8) != b"en":
                raise LibraryLoadError(
                    f"{directory / WHISPER_LIBRARY} has no default language at byte {LANGUAGE_OFFSET} of "
                    "whisper_full_params; it is of another layout"
                )
        finally:
            lib.whisper_free_params(params)


def _abort_callback(ffi: Any) -> Any:
    """A ``bool (*)(void *)`` that is true once the byte at its argument is not zero, without Python.

    ggml asks before every node of a graph, in every thread. A Python callback would take the GIL each
    time; libc's ``strlen`` of a two-byte buffer (flag, 0) is 0 or 1, and on x86-64 and AArch64 a caller
    that expects ``bool`` reads the low byte of the very register that holds it.
    """
    ffi.cdef(LIBC_DECLARATIONS)
    libc: Any = ffi.dlopen(None)
    return ffi.cast("ggml_abort_callback", libc.strlen)


def _first_pass_callback(ffi: Any) -> Any:
    """An ``encoder_begin_callback`` that is true once, for a zero ``int`` at its last argument.

    Python: it is asked once for each pass, of which one takes a tenth of a second at least.
    """

    def is_first(_context: Any, _state: Any, passes: Any) -> bool:
        counter = ffi.cast("int *", passes)
        counter[0] += 1
        return bool(counter[0] == 1)

    return ffi.callback("whisper_encoder_begin_callback", is_first)


def _route_log(ffi: Any, lib: Any) -> Any:
    """Send the library's log lines to ``logging``; returns the callback, to be kept alive."""
    level_of_line = logging.DEBUG
    pending = ""

    def log(level: int, text: Any, _user_data: Any) -> None:
        nonlocal level_of_line, pending
        if level != _LOG_CONTINUES:
            level_of_line = _LOG_LEVELS.get(level, logging.DEBUG)
        if not logger.isEnabledFor(level_of_line):
            return
        found = ffi.string(text)
        assert isinstance(found, bytes)  # noqa: S101 - of char *, cffi makes bytes
        *lines, pending = (pending + found.decode("utf-8", errors="replace")).split("\n")
        for line in lines:
            if line.strip() and not line.rstrip().endswith(_NO_ERROR):
                logger.log(level_of_line, "%s", line.rstrip())

    callback = ffi.callback("ggml_log_callback", log)
    lib.whisper_log_set(callback, ffi.NULL)
    return callback
