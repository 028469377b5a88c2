"""Choosing among the artifacts on disk: which directory this machine runs best, and which model file of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from consumer.engine.artifacts.digests import digest_file
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.machine import BASELINE, CPU_CLASSES, Machine, cpu_model, this_machine
from consumer.engine.artifacts.manifest import Manifest, Tuning, read_manifest
from consumer.engine.artifacts.models import PRECISIONS, VAD_MODEL, WHISPER_CLI, Precision, directory_name, model_file
from consumer.engine.artifacts.verify import unmet
from consumer.engine.cpus import usable_cpus
from consumer.settings import ModelSize

# Base, greedy, 2 states x 1 thread, seconds of audio a second, from the project's measurements:
#   Intel with AMX, int8 tiles in use:  q8_0 8.9, f16 6.7, bf16 6.6, q5_1 (1 x 2) 4.1
#   Intel, AMX left out:                q8_0 6.5, f16 6.7, bf16 6.6
#   Zen 5, AVX512_BF16:                 bf16 14.7, f16 12.5, q8_0 11.5, q5_1 (1 x 2) 6.5
#   Zen 4, AVX512_BF16:                 bf16-q8_0 31.0, bf16 27.3 (with fitted contexts)
# So q8_0 wins or ties at little more than half the memory of f16, q5_1 is for small disks, and bf16 is worth its
# memory only where the CPU multiplies it without AMX; there the decoder, which waits for memory, is better off at q8_0.
_BY_SPEED: tuple[Precision, ...] = ("q8_0", "bf16-q8_0", "bf16", "f16", "q5_1")
_BY_SPEED_WITH_BF16: tuple[Precision, ...] = ("bf16-q8_0", "bf16", "q8_0", "f16", "q5_1")


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The files that a worker uses."""

    directory: Path
    size: ModelSize
    precision: Precision
    model: Path
    vad_model: Path | None
    """The Silero voice detector; None in a plain directory without it."""
    whisper_cli: Path | None
    """None where the libraries came ready-made: the CLI engine cannot run then."""
    manifest: Manifest | None
    """None for a plain directory, whose files are not verified."""
    cpu_class: str
    weights_sha256: str
    """Of the weights before quantisation; without a manifest, of the model file itself."""

    @property
    def tuned_states(self) -> int | None:
        """How many states were the fastest on a machine like this one; None where that was not measured."""
        tuning = _tuning(self.manifest)
        return tuning.chosen.states if tuning and tuning.cpus == usable_cpus() else None


def locate(
    artifacts_dir: Path,
    size: ModelSize,
    precision: Precision | Literal["auto"] = "auto",
    machine: Machine | None = None,
) -> Artifacts:
    """The artifacts of one size under a directory that suit a machine (by default this one) best.

    Looks at names and manifests, not at the bytes: ``verify`` does. A plain directory without a manifest costs one
    reading of its model file. Raises ArtifactError where there is nothing that runs, saying what there is.
    """
    return artifacts_in(choose(artifacts_dir, size, machine or this_machine()), size, precision)


def choose(artifacts_dir: Path, size: ModelSize, machine: Machine) -> Path:
    """The directory of one size whose class of CPU is the best that a machine can run. Raises ArtifactError."""
    refused = []
    for cpu_class in machine.classes():
        directory = artifacts_dir / directory_name(size, cpu_class.suffix)
        if not directory.is_dir():
            continue
        manifest = read_manifest(directory)
        if manifest is None or not (lacking := unmet(manifest.needs, machine)):
            return directory
        refused.append(f"{directory.name}: {lacking}")
    if refused:
        raise ArtifactError(f"no artifacts of {size} in {artifacts_dir} run on this machine: {'; '.join(refused)}")
    present = sorted(path.name for path in artifacts_dir.glob("whisper_*_xeon*"))
    raise ArtifactError(
        f"no artifacts of {size} for this machine in {artifacts_dir} (there is {', '.join(present) or 'nothing'}): "
        "fetch them with artifacts pull, or build them with artifacts build"
    )


def artifacts_in(directory: Path, size: ModelSize, precision: Precision | Literal["auto"] = "auto") -> Artifacts:
    """The files of one directory, for example the one that ``pull`` returned. Raises ArtifactError."""
    manifest = read_manifest(directory)
    cpu_class = manifest.needs.cpu_class if manifest else _class_by_name(directory, size)
    precision = _precision(directory, size, precision, cpu_class, _tuning(manifest))
    model = directory / model_file(size, precision)
    return Artifacts(
        directory=directory,
        size=size,
        precision=precision,
        model=model,
        vad_model=_if_there(directory / VAD_MODEL),
        whisper_cli=_if_there(directory / WHISPER_CLI),
        manifest=manifest,
        cpu_class=cpu_class,
        weights_sha256=manifest.model.weights_sha256 if manifest else digest_file(model),
    )


def _class_by_name(directory: Path, size: ModelSize) -> str:
    names = {directory_name(size, c.suffix): c.name for c in CPU_CLASSES}
    return names.get(directory.name, BASELINE.name)


def _tuning(manifest: Manifest | None) -> Tuning | None:
    """What was measured on a CPU like this one."""
    tuning = manifest.tuning if manifest else None
    return tuning if tuning and tuning.cpu == cpu_model() else None


def _precision(
    directory: Path, size: ModelSize, wanted: Precision | Literal["auto"], cpu_class: str, tuning: Tuning | None
) -> Precision:
    present = {p for p in PRECISIONS if (directory / model_file(size, p)).is_file()}
    if wanted != "auto":
        if wanted not in present:
            raise ArtifactError(
                f"{directory} has no model at {wanted} (it has {', '.join(sorted(present)) or 'none'}): "
                "set WHISPER_PRECISION to one of these, or to auto"
            )
        return wanted
    if tuning and tuning.chosen.precision in present:
        return tuning.chosen.precision
    order = _BY_SPEED_WITH_BF16 if cpu_class == "avx512bf16" else _BY_SPEED
    for precision in order:
        if precision in present:
            return precision
    raise ArtifactError(f"{directory} has no model file {model_file(size, 'q5_1')}")


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None
