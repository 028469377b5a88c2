"""The machine: its CPU, its memory, and room for recordings."""

import os
import shutil
import tempfile
from pathlib import Path

from consumer.engine.artifacts.machine import BASELINE, this_machine
from consumer.engine.artifacts.models import MODEL_CONFIGS
from consumer.operate.doctor.check import Check
from consumer.settings import ModelSize, WorkerSettings

MEGABYTE = 10**6
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def check_cpu() -> Check:
    """Whether there is a class of builds that this CPU runs."""
    machine = this_machine()
    classes = [cpu_class.name for cpu_class in machine.classes()]
    if classes:
        return Check("CPU", True, f"{machine.architecture}, runs builds for {', '.join(classes)}")
    missing = " ".join(sorted(BASELINE.features - machine.cpu_features))
    return Check("CPU", False, f"{machine.architecture}, lacks {missing}", f"use a CPU with {BASELINE.name}")


def check_memory(size: ModelSize) -> Check:
    """Whether the model's memory, by the model table, is to be had."""
    available = available_memory_bytes(Path("/proc/meminfo"), CGROUP_LIMITS)
    needed = MODEL_CONFIGS[size].memory_megabytes * MEGABYTE
    found = f"{_megabytes(available)} available, model {size} takes about {_megabytes(needed)}"
    if available >= needed:
        return Check("memory", True, found)
    return Check("memory", False, found, "raise the memory limit or choose a smaller WHISPER_MODEL_SIZE")


def available_memory_bytes(meminfo: Path, cgroup_limits: tuple[Path, ...]) -> int:
    """What the kernel says is available, or the container's limit where that is lower."""
    fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    limits = [path.read_text(encoding="ascii").strip() for path in cgroup_limits if path.is_file()]
    return min([available, *(int(limit) for limit in limits if limit.isdigit())])


def check_spool(settings: WorkerSettings) -> Check:
    """Whether the largest recording that is taken fits where recordings are spooled."""
    directory = settings.spool_dir or Path(tempfile.gettempdir())
    if not os.access(directory, os.W_OK | os.X_OK):
        return Check("spool", False, f"{directory} cannot be written to", "correct its owner, or set SPOOL_DIR")
    free = shutil.disk_usage(directory).free
    found = f"{_megabytes(free)} free in {directory}, a recording may have {_megabytes(settings.max_object_bytes)}"
    if free >= settings.max_object_bytes:
        return Check("spool", True, found)
    return Check("spool", False, found, "free some space, set SPOOL_DIR, or lower MAX_OBJECT_BYTES")


def _megabytes(count: int) -> str:
    return f"{count // MEGABYTE:,} MB"
