"""How many CPUs other processes leave to this one, as seen from one look to the next.

A window that nobody waits behind takes all CPUs. Where another worker shares the machine that would be too many: its
threads and ours would wait for each other at every step of the graph (two workers of one state each on two cores did
16 seconds of audio a second so, 26 with one thread each). The kernel tells the time that each CPU was busy; what of it
was not ours was somebody else's.
"""

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

LEAST_SECONDS: Final = 0.2
"""Between two looks: the kernel counts in steps of 10 ms."""
_IDLE: Final = (3, 4)  # idle and iowait, of the times of a CPU
_TIMES: Final = 8  # without guests', which are part of users'


class CpuWatch:
    """Looks at the CPUs that this process may run on. Not for several threads."""

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._cpus = os.sched_getaffinity(0)
        self._ticks_a_second = os.sysconf("SC_CLK_TCK")
        self._left = len(self._cpus)
        self._seen = self._look()

    def left(self) -> int:
        """CPUs that others left to this process since the last look, at least 1, rounded. All where that is unknown."""
        seen = self._look()
        seconds = seen[0] - self._seen[0]
        if seconds >= LEAST_SECONDS:
            others = (seen[1] - self._seen[1]) - (seen[2] - self._seen[2])
            self._left = cpus_left(len(self._cpus), others / seconds)
            self._seen = seen
        return self._left

    def _look(self) -> tuple[float, float, float]:
        """Time, time that the CPUs were busy so far, and what of that was ours; in seconds."""
        try:
            ticks = busy_ticks(self._stat.read_text(), self._cpus)
        except (OSError, ValueError):
            return time.monotonic(), 0.0, 0.0
        return time.monotonic(), ticks / self._ticks_a_second, time.process_time()


def busy_ticks(stat: str, cpus: Collection[int]) -> int:
    """What /proc/stat (``man 5 proc``) says these CPUs were busy so far. Raises ValueError for anything else."""
    names = {f"cpu{number}" for number in cpus}
    total = 0
    for name, *times in (line.split() for line in stat.splitlines() if line.startswith("cpu")):
        if name in names:
            ticks = list(map(int, times[:_TIMES]))
            total += sum(ticks) - sum(ticks[place] for place in _IDLE)
    return total


def cpus_left(n_cpus: int, others: float) -> int:
    """Of so many CPUs, what is left where others take so many on average."""
    return min(n_cpus, max(1, round(n_cpus - others)))
