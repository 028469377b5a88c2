"""Libraries out of a wheel, for machines without a compiler.

The wheel of pywhispercpp has them twice. The copies under ``pywhispercpp.libs/`` are those that load: their names
carry hashes, and they need each other and a libgomp of their own under these names. The four get the names of the
layout here. libgomp keeps its own: one called libgomp.so.1, of another version, could already be in the process.

Built with AVX2 for glibc 2.27, with OpenMP: OMP_NUM_THREADS=1 has to be set before they are loaded.
"""

import zipfile
from pathlib import Path

from consumer.engine.artifacts.files import fresh_directory, locked
from consumer.engine.artifacts.libraries import arrange
from consumer.engine.artifacts.machine import BASELINE
from consumer.engine.artifacts.manifest import EngineFacts
from consumer.engine.artifacts.packages import Packages, PinnedFile
from consumer.engine.artifacts.progress import Progress
from consumer.engine.artifacts.recipe import recipe_digest
from consumer.engine.artifacts.source import ENGINE_VERSION

WHEEL = PinnedFile(
    "pywhispercpp",
    "pywhispercpp-1.5.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",  # only its C libraries are used
    "a70839d9a1f569e1e5424f27ed01a32133d658beae4cd1459eb39de1e0483bba",
)
_GGML_BASE = "libggml-base-319ad4fb.so.0.13.1"
_NAMES = {
    "libwhisper-1ab89ae8.so.1.8.5": "libwhisper.so",
    "libggml-684d824a.so.0.13.1": "libggml.so.0",
    _GGML_BASE: "libggml-base.so.0",
    "libggml-cpu-67036419.so.0.13.1": "libggml-cpu.so.0",
    "libgomp-e985bcbb.so.1.0.0": "libgomp-e985bcbb.so.1.0.0",
}


def prebuilt_engine() -> EngineFacts:
    """What the wheel gives."""
    return EngineFacts(
        version=ENGINE_VERSION,
        origin="prebuilt",
        source=WHEEL.name,
        source_sha256=WHEEL.sha256,
        patches=(),
        compiler="as published",
        flags=(),
        openmp=True,
    )


def prebuilt_recipe() -> str:
    """Digest of all that goes into the libraries."""
    return recipe_digest(engine=prebuilt_engine().model_dump(), names=_NAMES)


def prebuilt_libraries(cache: Path, packages: Packages, progress: Progress) -> Path:
    """Directory with the wheel's libraries in the layout's form, kept in ``cache``. Raises ArtifactError."""
    directory = cache / f"prebuilt-{BASELINE.name}-{prebuilt_recipe()[:16]}"
    wheel = wheel_libraries(cache, packages, progress)
    with locked(cache / f".{directory.name}.lock"):
        if not directory.exists():
            with fresh_directory(directory) as staging:
                arrange({wheel / published: name for published, name in _NAMES.items()}, staging)
    return directory


def quantiser_library(cache: Path, packages: Packages, progress: Progress) -> Path:
    """The libggml-base with which models are quantised, whatever libraries go into the artifacts.

    It runs on every x86-64, so that artifacts for a CPU can be built on another one, and its own names keep it apart
    from a libggml that the process loads later. Raises ArtifactError.
    """
    return wheel_libraries(cache, packages, progress) / _GGML_BASE


def wheel_libraries(cache: Path, packages: Packages, progress: Progress) -> Path:
    """Directory with the wheel's libraries as published. Raises ArtifactError."""
    directory = cache / f"wheel-{WHEEL.sha256[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f".{directory.name}.lock"):
        if not directory.exists():
            with (
                zipfile.ZipFile(packages.fetch(WHEEL, progress)) as wheel,
                fresh_directory(directory) as staging,
            ):
                for name in _NAMES:
                    (staging / name).write_bytes(wheel.read(f"pywhispercpp.libs/{name}"))
    return directory
