"""Programs that building needs, and running them."""

import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from consumer.engine.artifacts.errors import ArtifactError

_COMPILERS = (("c++", "cc"), ("g++", "gcc"), ("clang++", "clang"))


def tool(name: str) -> str:
    """Path of a program that the ``artifacts`` extra installs. Raises ArtifactError where it is missing."""
    beside_python = shutil.which(name, path=sysconfig.get_path("scripts"))
    found = beside_python or shutil.which(name)
    if not found:
        raise ArtifactError(f"{name} is not installed; install the extra: pip install 'whisper-consumer[artifacts]'")
    return found


def compilers() -> tuple[str, str]:
    """Paths of the C++ and the C compiler. Raises ArtifactError where this machine has none."""
    for names in _COMPILERS:
        cxx, c = map(shutil.which, names)
        if cxx and c:
            return cxx, c
    looked_for = ", ".join(cxx for cxx, _ in _COMPILERS)
    raise ArtifactError(
        f"no C++ compiler found (looked for {looked_for}): install one, or take ready-made libraries with --prebuilt"
    )


def compiler_version() -> str:
    """First line of the C++ compiler's own description of itself. Raises ArtifactError where there is none."""
    cxx, _ = compilers()
    described = subprocess.run([cxx, "--version"], capture_output=True, text=True, timeout=30, check=True)
    return described.stdout.splitlines()[0]


def run(command: Sequence[str], what: str) -> None:
    """Run a program to its end. Raises ArtifactError with the end of its output where it fails."""
    for _ in lines(command, what):
        pass


def lines(command: Sequence[str], what: str) -> Iterator[str]:
    """Run a program and yield its output, line by line, as it comes; ends it when the caller stops listening.

    Raises ArtifactError with the end of its output where it fails.
    """
    tail: list[str] = []
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None  # noqa: S101 - PIPE was asked for
    try:
        with process.stdout:
            for line in process.stdout:
                tail = [*tail, line][-30:]
                yield line.rstrip("\n")
        status = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if status:
        raise ArtifactError(f"{what} failed ({Path(command[0]).name} ended with {status}):\n{''.join(tail)}")
