"""Building whisper.cpp from source, for one class of CPU."""

import re
import tempfile
from pathlib import Path

from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.files import fresh_directory, locked
from consumer.engine.artifacts.libraries import arrange
from consumer.engine.artifacts.machine import CpuClass
from consumer.engine.artifacts.manifest import EngineFacts
from consumer.engine.artifacts.models import WHISPER_CLI
from consumer.engine.artifacts.packages import Packages
from consumer.engine.artifacts.progress import Progress
from consumer.engine.artifacts.recipe import recipe_digest
from consumer.engine.artifacts.source import ENGINE_VERSION, SOURCE, patch_digests, source_tree
from consumer.engine.artifacts.toolchain import compiler_version, compilers, lines, run, tool

CMAKE_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_NATIVE=OFF",  # the machine that builds need not be the one that runs
    "-DGGML_LLAMAFILE=ON",  # off by default upstream; 1.5 times the encoder's speed
    "-DGGML_OPENMP=OFF",  # with it, a model loaded in one thread and run in another is half as fast
    "-DGGML_CCACHE=OFF",
    "-DWHISPER_BUILD_TESTS=OFF",
    "-DWHISPER_BUILD_SERVER=OFF",
)
_TARGETS = ("whisper", WHISPER_CLI)  # whisper brings the three of ggml
_OUTPUTS = {
    "src/libwhisper.so": "libwhisper.so",
    "ggml/src/libggml.so": "libggml.so.0",
    "ggml/src/libggml-base.so": "libggml-base.so.0",
    "ggml/src/libggml-cpu.so": "libggml-cpu.so.0",
    f"bin/{WHISPER_CLI}": WHISPER_CLI,
}
_NINJA_STEP = re.compile(r"^\[(\d+)/(\d+)\]")


def compiled_engine(cpu_class: CpuClass) -> EngineFacts:
    """What compiling for a class of CPU gives on this machine. Raises ArtifactError where there is no compiler."""
    return EngineFacts(
        version=ENGINE_VERSION,
        origin="compiled",
        source=SOURCE.name,
        source_sha256=SOURCE.sha256,
        patches=patch_digests(),
        compiler=compiler_version(),
        flags=(*CMAKE_FLAGS, *cpu_class.compiler_flags),
        openmp=False,
    )


def compiled_recipe(cpu_class: CpuClass) -> str:
    """Digest of all that goes into the libraries. Raises ArtifactError where there is no compiler."""
    return recipe_digest(engine=compiled_engine(cpu_class).model_dump(), outputs=_OUTPUTS)


def compiled_libraries(cpu_class: CpuClass, cache: Path, packages: Packages, progress: Progress) -> Path:
    """Directory with the libraries and whisper-cli for a class of CPU, compiled once and kept in ``cache``.

    They are the same for every size of model. Raises ArtifactError where there is no compiler or it fails.
    """
    directory = cache / f"compiled-{cpu_class.name}-{compiled_recipe(cpu_class)[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f".{directory.name}.lock"):
        if not directory.exists():
            tree = source_tree(cache, packages, progress)
            with (
                tempfile.TemporaryDirectory(prefix=".cmake-", dir=cache) as build,
                fresh_directory(directory) as staging,
            ):
                _cmake(tree, Path(build), cpu_class, progress)
                arrange({Path(build, output): name for output, name in _OUTPUTS.items()}, staging)
    return directory


def _cmake(tree: Path, build: Path, cpu_class: CpuClass, progress: Progress) -> None:
    # For C and C++ as a whole: GGML's own options reach libggml-cpu alone, yet a twelfth of the time goes into
    # conversions in libggml-base. The prefix map keeps the builder's paths out of the libraries.
    machine_flags = " ".join((*cpu_class.compiler_flags, f"-fmacro-prefix-map={tree}=whisper.cpp"))
    cxx, c = compilers()
    progress.note(f"compiling whisper.cpp {ENGINE_VERSION} for {cpu_class.name}")
    run(
        [
            tool("cmake"),
            *("-S", str(tree), "-B", str(build), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"),
            *CMAKE_FLAGS,
            f"-DCMAKE_C_COMPILER={c}",
            f"-DCMAKE_CXX_COMPILER={cxx}",
            f"-DCMAKE_C_FLAGS={machine_flags}",
            f"-DCMAKE_CXX_FLAGS={machine_flags}",
        ],
        "configuring whisper.cpp",
    )
    command = [tool("ninja"), "-C", str(build), *_TARGETS]
    with progress.task("compiling whisper.cpp", _steps(build), "steps") as advance:
        done = 0
        for line in lines(command, "compiling whisper.cpp"):
            if match := _NINJA_STEP.match(line):
                advance(int(match[1]) - done)
                done = int(match[1])


def _steps(build: Path) -> int:
    """How many steps ninja has before it."""
    planned = list(lines([tool("ninja"), "-C", str(build), "-n", *_TARGETS], "planning the build"))
    steps = [int(match[2]) for line in planned if (match := _NINJA_STEP.match(line))]
    if not steps:
        raise ArtifactError("ninja has nothing to build for whisper.cpp: the source tree is not as expected")
    return steps[-1]
