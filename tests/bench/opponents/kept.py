"""Directories of the cache that are made once, in place: builds and environments know their own paths."""

import shutil
from collections.abc import Callable
from pathlib import Path

from consumer.engine.artifacts.files import locked
from tests.support.cache import CACHE_DIR


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """The directory of this name in the cache, filled by ``make`` where it is not there or was not finished."""
    directory = CACHE_DIR / "bench" / name
    directory.parent.mkdir(parents=True, exist_ok=True)
    complete = directory / "complete"
    with locked(directory.with_name(f".{name}.lock")):
        if not complete.exists():
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            make(directory)
            complete.touch()
    return directory
