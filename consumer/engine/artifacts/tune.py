"""Which precision, in how many states with how many threads each, this machine transcribes fastest with: measured.

Each trial is a process of its own, as there is one set of libraries in a process. It transcribes the same sample over
and over; trials go in rounds, so that a slow minute of the machine hits all of them alike, and the best round of each
counts. A precision is chosen over a smaller file only where it is faster by more than such measurements scatter.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from consumer.engine.artifacts import trial
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.machine import cpu_model
from consumer.engine.artifacts.manifest import Trial, Tuning, read_manifest, write_manifest
from consumer.engine.artifacts.models import Precision
from consumer.engine.artifacts.packages import Packages
from consumer.engine.artifacts.progress import Progress
from consumer.engine.artifacts.source import SAMPLE_IN_SOURCE, source_file
from consumer.engine.cpus import usable_cpus

ROUNDS: Final = 2
SCATTER: Final = 0.03
TIMEOUT_SECONDS: Final = 1800


def tune(directory: Path, packages: Packages, progress: Progress) -> Tuning:
    """Measure every precision that a directory has, and write the choice into its manifest. Raises ArtifactError."""
    manifest = read_manifest(directory)
    if manifest is None:
        raise ArtifactError(f"{directory} has no manifest to write a choice into: build it with artifacts build")
    n_cpus = usable_cpus()
    planned = [
        (precision, states, threads) for precision in sorted(manifest.model.files) for states, threads in shapes(n_cpus)
    ]
    speeds: dict[tuple[Precision, int, int], float] = {}
    with (
        tempfile.NamedTemporaryFile(suffix=".wav") as sample,
        progress.task(f"measuring {directory.name}", ROUNDS * len(planned), "steps") as advance,
    ):
        sample.write(source_file(SAMPLE_IN_SOURCE, packages, progress))
        sample.flush()
        for _ in range(ROUNDS):
            for precision, states, threads in planned:
                model = directory / manifest.model.files[precision]
                seen = _try(directory, model, Path(sample.name), states, threads)
                key = (precision, states, threads)
                speeds[key] = max(seen, speeds.get(key, 0.0))
                advance(1)
    trials = [Trial(precision=p, states=s, threads=t, speed=round(speeds[p, s, t], 2)) for p, s, t in planned]
    best = choose(trials, {precision: manifest.files[name].bytes for precision, name in manifest.model.files.items()})
    tuning = Tuning(cpu=cpu_model(), cpus=n_cpus, chosen=best, trials=tuple(trials))
    write_manifest(directory, manifest.model_copy(update={"tuning": tuning}))
    return tuning


def shapes(n_cpus: int) -> list[tuple[int, int]]:
    """States x threads that use all CPUs: many states, few, and what divides evenly between."""
    return [(states, n_cpus // states) for states in range(n_cpus, 0, -1) if n_cpus % states == 0]


def choose(trials: Sequence[Trial], file_bytes: Mapping[Precision, int]) -> Trial:
    """The smallest file among the trials that are as fast as the fastest; of its trials the fastest."""
    fastest = max(trial.speed for trial in trials)
    as_fast = [trial for trial in trials if trial.speed >= (1 - SCATTER) * fastest]
    return min(as_fast, key=lambda trial: (file_bytes[trial.precision], -trial.speed))


def _try(directory: Path, model: Path, sample: Path, states: int, threads: int) -> float:
    """Seconds of audio a second. Raises ArtifactError where the trial fails."""
    command = [sys.executable, "-P", "-m", trial.__name__, *map(str, (directory, model, sample, states, threads))]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(f"a trial of {model.name} did not end in {TIMEOUT_SECONDS} s") from error
    if tried.returncode:
        last = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ArtifactError(f"a trial of {model.name} ended with status {tried.returncode}: {last}")
    return float(tried.stdout)
