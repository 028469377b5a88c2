"""What a figure was measured on."""

import os
from pathlib import Path

from consumer.engine.artifacts.machine import native_class


def machine() -> dict[str, str | int]:
    """CPU model, its class here, and how many."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {"cpu": model, "cpu_class": native_class().name, "cores": len(os.sched_getaffinity(0))}
