"""What one run of anybody over some recordings gave."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Run:
    """Memory is that of the process and all its children; ``texts`` are in the order of the recordings."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    texts: list[str]
    load_seconds: float = 0.0
    """From the start of the process, or of the loading of the model, until it takes recordings."""
    rest_megabytes: float = 0.0
    """Memory before the first recording of the run."""
    waits: list[float] = field(default_factory=list)
    """Seconds from handing in each recording until its text was there."""
