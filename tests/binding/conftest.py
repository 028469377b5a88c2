"""One library a process, so one for all tests of this directory; contexts are made as tests need them."""

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from binding import Context, Library, Samples
from consumer.engine.artifacts.locate import Artifacts, locate


@pytest.fixture(scope="session")
def artifacts(artifacts_dir: Path) -> Artifacts:
    """Artifacts of tiny.en for this machine."""
    return locate(artifacts_dir, "tiny.en", "auto")


@pytest.fixture(scope="session")
def library(artifacts: Artifacts) -> Library:
    return Library.load(artifacts.directory)


@pytest.fixture(scope="session")
def context(library: Library, artifacts: Artifacts) -> Iterator[Context]:
    with Context(library, artifacts.model) as context:
        yield context


@pytest.fixture(scope="session")
def multilingual(library: Library, artifacts_dir: Path) -> Iterator[Context]:
    with Context(library, locate(artifacts_dir, "base", "auto").model) as context:
        yield context


@pytest.fixture(scope="session")
def speech(sample: Path) -> Samples:
    """The sample recording: 11 s of speech at 16 kHz."""
    with wave.open(str(sample)) as file:
        assert file.getframerate() == 16_000
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return pcm.astype(np.float32) / np.float32(32768)
