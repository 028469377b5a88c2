"""``whisper-consumer artifacts build`` and ``list``: what they print around the work."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from consumer.engine.artifacts.build import BuildRequest, build
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.locate import locate
from consumer.engine.artifacts.machine import CPU_CLASSES, CpuClass, cpu_class, native_class, this_machine
from consumer.engine.artifacts.manifest import Tuning, read_manifest
from consumer.engine.artifacts.models import MODEL_CONFIGS, PRECISIONS, Precision, directory_name
from consumer.engine.artifacts.packages import Packages
from consumer.engine.artifacts.tune import tune
from consumer.engine.artifacts.weights import parse_digest
from consumer.operate.console import ConsoleProgress
from consumer.settings import BuildSettings, EngineSettings


def build_artifacts(
    settings: EngineSettings,
    *,
    prebuilt: bool,
    cpu_class_name: str,
    precisions: list[str] | None,
    weights: str | None,
    weights_digest: str | None,
    tuned: bool,
    locations: BuildSettings,
    console: Console,
) -> None:
    """Build one directory and print where it is. Raises ArtifactError.

    ``tuned``: with every precision that was asked for, or all that the libraries can read, and measured.
    """
    chosen_class = _cpu_class(cpu_class_name)
    if tuned and chosen_class not in this_machine().classes():
        raise ArtifactError(
            f"this machine cannot run a build for {chosen_class.name}, so nothing can be measured here: build it "
            "without --tune, or tune it on a machine that can"
        )
    if tuned and not precisions:
        precisions = [one for one in PRECISIONS if not (prebuilt and one == "bf16-q8_0")]
    request = BuildRequest(
        size=settings.whisper_model_size,
        cpu_class=chosen_class,
        prebuilt=prebuilt,
        precisions=tuple(map(_precision, precisions)) if precisions else None,
        weights=weights,
        weights_digest=parse_digest(weights_digest) if weights_digest else None,
    )
    with ConsoleProgress(console) as progress:
        target = build(
            request,
            settings.whisper_artifacts_dir,
            locations.whisper_consumer_cache,
            progress,
            index_url=locations.package_index_url,
        )
        if tuned:
            packages = Packages(locations.whisper_consumer_cache / "downloads", locations.package_index_url)
            _show(tune(target, packages, progress), console)
    print(target)  # noqa: T201 - the result, for a pipe


def _show(tuning: Tuning, console: Console) -> None:
    """What was measured, fastest first, the choice marked."""
    table = Table("precision", "states x threads", "x real time", "", box=None, header_style="bold")
    for trial in sorted(tuning.trials, key=lambda trial: -trial.speed):
        mark = "chosen" if trial == tuning.chosen else ""
        table.add_row(trial.precision, f"{trial.states} x {trial.threads}", f"{trial.speed:.1f}", mark)
    console.print(table)


def list_artifacts(artifacts_dir: Path, console: Console) -> None:
    """Print the directories that are there, and which of them this machine would use."""
    table = Table("directory", "model files", "engine", "CPU class", "runs here", box=None, header_style="bold")
    for size in MODEL_CONFIGS:
        try:
            used = locate(artifacts_dir, size).directory
        except ArtifactError:
            used = None
        for kind in CPU_CLASSES:
            directory = artifacts_dir / directory_name(size, kind.suffix)
            if directory.is_dir():
                manifest = read_manifest(directory)
                runs = "yes, used" if directory == used else "yes" if kind in this_machine().classes() else "no"
                models = ", ".join(sorted(path.name for path in directory.glob(f"ggml-{size}-*.bin")))
                engine = f"whisper.cpp {manifest.engine.version}" if manifest else "no manifest"
                table.add_row(directory.name, models, engine, kind.name, runs)
    if table.row_count:
        console.print(table)
    else:
        console.print(f"nothing in {artifacts_dir.resolve()}", markup=False)


def _cpu_class(name: str) -> CpuClass:
    if name == "native":
        return native_class()
    try:
        return cpu_class(name)
    except KeyError:
        known = ", ".join(kind.name for kind in CPU_CLASSES)
        raise ArtifactError(f"there is no CPU class {name!r}: choose one of {known}, or native") from None


def _precision(name: str) -> Precision:
    for known in PRECISIONS:
        if name == known:
            return known
    raise ArtifactError(f"there is no precision {name!r}: choose among {', '.join(PRECISIONS)}")
