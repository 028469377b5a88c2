"""What the kernel says that processes have used."""

from collections.abc import Iterable
from pathlib import Path

import psutil

_NOW, _PEAK = "VmRSS", "VmHWM"


def resident_megabytes(pids: Iterable[int]) -> float:
    """Memory of these processes now; what they share counts for each. One that ended counts nothing."""
    return sum(_status(pid, _NOW) for pid in pids) / 1000


def peak_megabytes(pids: Iterable[int]) -> float:
    """The most memory that each of these processes had since its program began, together.

    The kernel keeps it, so nothing is sampled, and the processes need not have had it at the same time.
    """
    return sum(_status(pid, _PEAK) for pid in pids) / 1000


def cpu_seconds(pids: Iterable[int]) -> float:
    """Time on the CPU of these processes, which must be alive, without their children."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return float(sum(one.user + one.system for one in times))


def _status(pid: int, field: str) -> float:
    """A field of /proc/PID/status, from KiB to units of 1000 bytes; 0 where the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) * 1.024 for line in lines if line.startswith(f"{field}:")), 0.0)
