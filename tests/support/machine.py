"""What a figure was measured on."""

import os

from consumer.engine.artifacts.machine import cpu_model, native_class


def machine() -> dict[str, str | int]:
    """CPU model, its class here, and how many."""
    return {
        "cpu": cpu_model() or "unknown",
        "cpu_class": native_class().name,
        "cores": len(os.sched_getaffinity(0)),
    }
