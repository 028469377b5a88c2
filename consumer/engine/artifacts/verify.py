"""Whether a directory of artifacts is whole, unchanged and fit for this machine."""

import logging
import subprocess
import sys
from pathlib import Path

from consumer.engine.artifacts import probe
from consumer.engine.artifacts.digests import digest_file
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.machine import Machine, parse_version, show_version
from consumer.engine.artifacts.manifest import Manifest, Needs, read_manifest
from consumer.engine.artifacts.models import LIBRARIES, MANIFEST, MODEL_CONFIGS
from consumer.settings import ModelSize

log = logging.getLogger(__name__)

PROBE_TIMEOUT_SECONDS = 120.0


def verify(directory: Path, size: ModelSize, machine: Machine, *, require_manifest: bool) -> Manifest | None:
    """Check every file of a directory, and that its libraries run on this machine.

    With a manifest, digests and needs are compared with it. A directory without one is tried in a child process,
    accepted with a warning, and None is returned. Raises ArtifactError with all that is wrong, in one line.
    """
    if not directory.is_dir():
        raise ArtifactError(f"there is no directory {directory}")
    check_layout(directory, size)
    manifest = read_manifest(directory)
    if manifest is None:
        _verify_bare(directory, size, require_manifest=require_manifest)
        return None
    if manifest.model.size != size:
        raise ArtifactError(f"{directory} holds the model {manifest.model.size}, expected {size}")
    if lacking := unmet(manifest.needs, machine):
        raise ArtifactError(f"{directory} was built for another machine: {lacking}")
    if faults := damaged(directory, manifest):
        raise ArtifactError(f"{directory} is damaged: {'; '.join(faults.values())}")
    return manifest


def unmet(needs: Needs, machine: Machine) -> str:
    """What a build needs and this machine does not have, in words; empty where it runs."""
    lacking = []
    if needs.architecture != machine.architecture:
        lacking.append(f"it needs a CPU of architecture {needs.architecture}, this one is {machine.architecture}")
    elif missing := sorted(set(needs.cpu_features) - machine.cpu_features):
        lacking.append(f"it needs CPU features that this one lacks: {' '.join(missing)}")
    if machine.glibc is None:
        lacking.append(f"it needs glibc {needs.glibc}, this system has another C library")
    elif machine.glibc < parse_version(needs.glibc):
        lacking.append(f"it needs glibc {needs.glibc} or newer, this system has {show_version(machine.glibc)}")
    return "; ".join(lacking)


def damaged(directory: Path, manifest: Manifest) -> dict[str, str]:
    """Files that are not as the manifest says, by name, each with what is wrong with it."""
    faults = {}
    for name, facts in manifest.files.items():
        path = directory / name
        if not path.is_file():
            faults[name] = f"{name} is missing"
        elif (size := path.stat().st_size) != facts.bytes:
            faults[name] = f"{name} has {size} bytes, expected {facts.bytes}"
        elif digest_file(path) != facts.sha256:
            faults[name] = f"{name} has another SHA-256 than the manifest says"
    return faults


def check_layout(directory: Path, size: ModelSize) -> None:
    """Raises ArtifactError where a directory lacks a file that every one of its size must have."""
    required = (*LIBRARIES, MODEL_CONFIGS[size].file_name)
    if missing := [name for name in required if not (directory / name).is_file()]:
        raise ArtifactError(f"{directory} is not complete, it lacks {', '.join(missing)}")


def _verify_bare(directory: Path, size: ModelSize, *, require_manifest: bool) -> None:
    if require_manifest:
        raise ArtifactError(f"{directory} has no {MANIFEST}, and ARTIFACTS_REQUIRE_MANIFEST=true asks for one")
    log.warning("%s has no %s: its files are not verified", directory, MANIFEST)
    try_in_child(directory, size)


def try_in_child(directory: Path, size: ModelSize) -> None:
    """Load libraries and models in processes of their own and compute a little, so that only those can die.

    Every model file is tried, since each precision has kernels of its own. Raises ArtifactError where one dies.
    """
    for model in sorted(directory.glob(f"ggml-{size}-*.bin")):
        _try_model(directory, model)


def _try_model(directory: Path, model: Path) -> None:
    # By path and isolated: nothing but the standard library is loaded, whatever the environment says.
    command = [sys.executable, "-I", probe.__file__, str(directory), str(model)]
    try:
        tried = subprocess.run(
            command,
            env={},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(
            f"the libraries in {directory} did not finish a small trial in {PROBE_TIMEOUT_SECONDS:.0f} s"
        ) from error
    if tried.returncode < 0:
        raise ArtifactError(
            f"the libraries in {directory} do not run on this machine: a trial with {model.name} was ended by signal "
            f"{-tried.returncode} ({_signal_meaning(-tried.returncode)})"
        )
    if tried.returncode:
        last = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ArtifactError(f"the artifacts in {directory} do not load: {last}")


def _signal_meaning(number: int) -> str:
    if number == 4:
        return "they use instructions that this CPU does not have"
    return "the libraries or the model are damaged, or do not belong together"
