"""manifest.json: what a directory of artifacts holds, what it came from and what it needs."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.models import MANIFEST, Precision
from consumer.settings import ModelSize

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$")]
"""One plain name: no directory, nothing hidden, nothing that leaves the directory."""
VersionText = Annotated[str, Field(pattern=r"^\d+(\.\d+)+$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class FileFacts(_Part):
    """One file."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class Needs(_Part):
    """What the libraries need of a machine; anything missing would end the process, not raise an error."""

    architecture: str
    cpu_class: str
    cpu_features: tuple[str, ...]
    """As /proc/cpuinfo names them."""
    glibc: VersionText


class EngineFacts(_Part):
    """Where the libraries come from."""

    name: Literal["whisper.cpp"] = "whisper.cpp"
    version: VersionText
    origin: Literal["compiled", "prebuilt"]
    source: str
    """Name of the archive they were made from."""
    source_sha256: Sha256
    patches: tuple[str, ...]
    compiler: str
    flags: tuple[str, ...]
    """Given to CMake; empty for prebuilt libraries."""
    openmp: bool
    """Whether OMP_NUM_THREADS=1 has to be set before they are loaded."""


class ModelFacts(_Part):
    """The model and its files."""

    size: ModelSize
    multilingual: bool
    weights: str
    """Where the weights come from, in words."""
    weights_sha256: Sha256
    """Of the f16 or f32 file before quantisation: one value for all precisions and all classes of CPU."""
    files: dict[Precision, FileName]
    vad: FileName | None


class Trial(_Part):
    """How fast one way of running the model was: ``speed`` is seconds of audio a second, all states together."""

    precision: Precision
    states: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1)]
    """Of each state."""
    speed: Annotated[float, Field(gt=0)]


class Tuning(_Part):
    """What ``artifacts build --tune`` measured. It is followed on machines with the same CPU, and as many of them."""

    cpu: str
    cpus: Annotated[int, Field(ge=1)]
    chosen: Trial
    trials: tuple[Trial, ...]


class Manifest(_Part):
    """The whole of manifest.json."""

    schema_version: Literal[1] = 1
    recipe_sha256: Sha256
    """Of everything the directory was made from; two builds of one recipe are interchangeable."""
    engine: EngineFacts
    model: ModelFacts
    needs: Needs
    files: dict[FileName, FileFacts]
    """Every file of the directory except the manifest."""
    tuning: Tuning | None = None
    """None where nothing was measured."""

    @property
    def libraries(self) -> dict[str, str]:
        """SHA-256 of each library by its file name."""
        return {name: facts.sha256 for name, facts in self.files.items() if ".so" in name}

    @property
    def total_bytes(self) -> int:
        return sum(facts.bytes for facts in self.files.values())


def parse_manifest(text: bytes, where: str) -> Manifest:
    """Read a manifest. Raises ArtifactError where it is not one; ``where`` names it in the message."""
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise ArtifactError(f"{where} is not a valid manifest: {field}: {first['msg']}") from error


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of a directory, None where it has none. Raises ArtifactError for an unreadable one."""
    path = directory / MANIFEST
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest of a directory."""
    (directory / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
