"""Artifacts that tests share, built once into the cache. ``python -m tests.support.built`` builds all of them.

Compiling takes minutes where nothing is cached: ``scripts/test`` does it before the tests, whose time-outs are not for
a compiler.
"""

import shutil
import sys
from pathlib import Path

from consumer.engine.artifacts.build import BuildRequest, build
from consumer.engine.artifacts.machine import native_class
from consumer.engine.artifacts.progress import Plain, Progress, Silent
from consumer.settings import ModelSize
from tests.support.cache import CACHE_DIR


def prebuilt_artifacts(progress: Progress | None = None) -> Path:
    """A directory with the artifacts of tiny.en and base, libraries out of a wheel."""
    directory = CACHE_DIR / "artifacts"
    for size in ("tiny.en", "base"):
        build(BuildRequest(size, prebuilt=True), directory, CACHE_DIR, progress or Silent())
    return directory


def compiled_artifacts(size: ModelSize, progress: Progress | None = None) -> Path:
    """A directory with the artifacts of a size, compiled for this machine's class of CPU, whisper-cli among them."""
    directory = CACHE_DIR / "compiled"
    build(BuildRequest(size, native_class()), directory, CACHE_DIR, progress or Silent())
    return directory


def has_compiler() -> bool:
    """Whether anything can be compiled here."""
    return shutil.which("c++") is not None


if __name__ == "__main__":
    shown = Plain(lambda line: print(line, file=sys.stderr))
    prebuilt_artifacts(shown)
    if has_compiler():
        compiled_artifacts("tiny.en", shown)
