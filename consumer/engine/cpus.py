"""How many CPUs this process may use: the container's quota, not the host's cores."""

import math
import os
from pathlib import Path


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """CPUs by affinity and by the cgroup's quota (v2 ``cpu.max``, v1 ``cpu.cfs_quota_us``), at least 1.

    A quota of 2.5 CPUs counts as 2: a third thread would make the kernel throttle all of them.
    """
    affinity = len(os.sched_getaffinity(0))
    quotas = [quota for directory in _own_cgroups(cgroup, own) if (quota := _quota(directory)) is not None]
    return max(1, min([affinity, *(math.floor(quota) for quota in quotas)]))


def _own_cgroups(root: Path, own: Path) -> list[Path]:
    """The directories of this process's cgroups and all above them: the tightest quota counts."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    directories = [root, root / "cpu", root / "cpu,cpuacct"]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / controllers if controllers else root
        relative = path.lstrip("/")
        while relative:
            directories.append(base / relative)
            relative = relative.rpartition("/")[0]
    return directories


def _quota(directory: Path) -> float | None:
    """CPUs that one cgroup allows, None where it sets no limit."""
    try:
        if (directory / "cpu.max").exists():
            quota, period = (directory / "cpu.max").read_text().split()
        else:
            quota = (directory / "cpu.cfs_quota_us").read_text().strip()
            period = (directory / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return None
