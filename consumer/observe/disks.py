"""Room on the disks that a worker fills: asked when Prometheus asks."""

import math
import shutil
from functools import partial
from pathlib import Path
from typing import Literal

from consumer.observe.metrics import Disk, Metrics


def watch_disks(metrics: Metrics, artifacts_dir: Path, spool_dir: Path) -> None:
    """Let the metrics tell how full the disks of these directories are."""
    for disk, directory in ((Disk.ARTIFACTS, artifacts_dir), (Disk.SPOOL, spool_dir)):
        metrics.disk_free_bytes.labels(disk).set_function(partial(_usage, directory, "free"))
        metrics.disk_size_bytes.labels(disk).set_function(partial(_usage, directory, "total"))


def _usage(directory: Path, which: Literal["free", "total"]) -> float:
    """Bytes of its disk; a directory that is not made yet has its parent's. NaN where nobody can tell."""
    place = next((path for path in (directory, *directory.parents) if path.exists()), directory)
    try:
        return float(getattr(shutil.disk_usage(place), which))
    except OSError:
        return math.nan
