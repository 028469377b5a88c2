"""How many recordings may be in flight before the container runs out of memory: foreseen, not found out.

A container over its limit is killed, and with it every recording in flight. Memory is used by what is there once
the model is loaded, by states, which take the larger part of theirs when they are first used, and by each recording
in flight. The figures are measured: base and tiny.en in q8_0, up to 16 copies of one recording of 20 minutes fetched
from an S3 server and in flight at once, most of their windows waiting for a state; proportional set size of the worker
and of its decoder processes (``smaps_rollup``), sampled five times a second for 25 s, the maximum kept.

| in MiB | model loaded | 0 in flight, states used | 1 | 2 | 4 | 8 | 16 |
|---|---|---|---|---|---|---|---|
| base, 2 states, WAV | 276 | 420 | 443 | 467 | 499 | 561 | 710 |
| base, 2 states, AAC at 48 kHz | 280 | 422 | 449 | 466 | 509 | 606 | 794 |
| base, 4 states, AAC at 48 kHz | 338 | 608 | | | | 757 | |
| tiny.en, 2 states, FLAC at 192 kHz | 186 | 323 | | | | 531 | |
| tiny.en, 8 states, MP3 | 355 | 768 | | | | 930 | |

With 8 and more in flight the growth that is foreseen here is 15 to 30 % above that which was measured, and more for
WAV. Nothing of it is measured for models larger than base: their states are taken to grow with the model's width.

What is spooled is counted only where it lies in memory: on a disk its pages can be dropped. Where ``SPOOL_DIR``
is a tmpfs, ``MAX_IN_FLIGHT_BYTES`` comes off the limit.
"""

from pathlib import Path
from typing import Final

from consumer import cgroups

WINDOW_BYTES: Final = 30 * 16_000 * 4
"""A window of audio; a recording has at most ``n_states + 1`` of them waiting (``engine.library``)."""

RECORDING_BYTES: Final = 28_000_000
"""What a recording takes beside its windows.

10 to 16 MB in the worker (a block being listened to, in three copies, the window under construction, buffers of S3)
and 11 to 17 in its decoder process.
"""

RESERVE_BYTES: Final = 96_000_000
"""What comes once work begins, whatever the number of recordings.

31 MB for the decoder's server, 15 for the S3 client, the rest for Kafka's client with the records that it has
fetched, and for memory that the allocator does not give back.
"""

STATE_WIDTH_BYTES: Final = 100_000
"""What a state grows by when it is first used, for each unit of the model's width: 38 MB with tiny.en, 51 with base."""

_WIDTHS: Final = {"tiny": 384, "base": 512, "small": 768, "medium": 1024, "large": 1280}


def affordable_in_flight(limit_bytes: int, resident_bytes: int, n_states: int, model_size: str) -> int:
    """How many recordings may be in flight, at least 1.

    ``limit_bytes`` is what the process may use in all, ``resident_bytes`` what it uses with the model loaded and
    before the first recording. ``model_size`` is one of ``settings.ModelSize``.
    """
    free = limit_bytes - foreseen_bytes(resident_bytes, n_states, model_size, 0)
    return max(1, free // _recording_bytes(n_states))


def foreseen_bytes(resident_bytes: int, n_states: int, model_size: str, n_in_flight: int) -> int:
    """What worker and decoders use with so many recordings in flight; see ``affordable_in_flight``."""
    width = next(width for name, width in _WIDTHS.items() if model_size.startswith(name))
    first_use = n_states * width * STATE_WIDTH_BYTES
    return resident_bytes + RESERVE_BYTES + first_use + n_in_flight * _recording_bytes(n_states)


def _recording_bytes(n_states: int) -> int:
    return RECORDING_BYTES + (n_states + 1) * WINDOW_BYTES


def model_bytes(file_bytes: int, n_states: int, model_size: str) -> int:
    """What another model takes: its file, and its states with what they grow by when they are first used.

    A state has about as much before its first use as it grows by then (base: 31 and 51 MB, see the table).
    """
    width = next(width for name, width in _WIDTHS.items() if model_size.startswith(name))
    return file_bytes + 2 * n_states * width * STATE_WIDTH_BYTES


def memory_limit_bytes(root: Path = cgroups.ROOT, own: Path = cgroups.OWN, proc: Path = Path("/proc")) -> int:
    """What this process may use: the tightest limit of its cgroups, and never more than the machine has left.

    Limits are v2's ``memory.max`` and ``memory.high``, beyond which the kernel slows a process down until it
    stands, and v1's ``memory.limit_in_bytes``. What the machine has left is what it could give in addition to what
    the process has. Raises OSError where ``proc`` cannot be read.
    """
    files = ("memory.max", "memory.high", "memory.limit_in_bytes")
    directories = cgroups.own_cgroups("memory", root, own)
    limits = [_limit_bytes(directory / file) for directory in directories for file in files]
    left = _field_bytes(proc / "meminfo", "MemAvailable") + resident_bytes(proc)
    return min([left, *(limit for limit in limits if limit is not None)])


def resident_bytes(proc: Path = Path("/proc")) -> int:
    """Memory that this process has at present, without its children. Raises OSError where it cannot be read."""
    return _field_bytes(proc / "self" / "status", "VmRSS")


def _limit_bytes(path: Path) -> int | None:
    """What a cgroup's file sets, None where it sets nothing. (Without a limit v1 names one that nobody reaches.)"""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _field_bytes(path: Path, field: str) -> int:
    """A field of a file that counts in kB."""
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise OSError(f"{path} has no {field}")
