"""How many CPUs this process may use: the container's quota, not the host's cores."""

import math
import os
from pathlib import Path

from consumer import cgroups


def usable_cpus(cgroup: Path = cgroups.ROOT, own: Path = cgroups.OWN) -> int:
    """CPUs by affinity and by the cgroup's quota (v2 ``cpu.max``, v1 ``cpu.cfs_quota_us``), at least 1.

    A quota of 2.5 CPUs counts as 2: a third thread would make the kernel throttle all of them.
    """
    affinity = len(os.sched_getaffinity(0))
    directories = cgroups.own_cgroups("cpu", cgroup, own)
    quotas = [quota for directory in directories if (quota := _quota(directory)) is not None]
    return max(1, min([affinity, *(math.floor(quota) for quota in quotas)]))


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
