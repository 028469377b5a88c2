"""Classes of CPU that libraries are built for, and what this machine can run.

Feature names are those of the ``flags`` line of /proc/cpuinfo. Compiler flags name every instruction set
explicitly, never ``-march=native``, so that a build states truly what it needs.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from binding import machine_features
from consumer.engine.artifacts.errors import ArtifactError

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CpuClass:
    """A set of instructions that a build may use."""

    name: str
    suffix: str | None
    """Last part of the directory's name; None for the class that every supported machine runs."""
    features: frozenset[str]
    compiler_flags: tuple[str, ...]


_V3 = frozenset("cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2 abm avx avx2 bmi1 bmi2 f16c fma movbe xsave".split())
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_BF16 = _V4 | {"avx512_vnni", "avx512_bf16"}
_AMX = _BF16 | {"avx512_fp16", "avx512vbmi", "amx_tile", "amx_int8", "amx_bf16"}

BASELINE = CpuClass("x86-64-v3", None, _V3, ("-march=x86-64-v3",))
CPU_CLASSES: tuple[CpuClass, ...] = (
    CpuClass(
        "amx",
        "amx",
        _AMX,
        (
            "-march=x86-64-v4",
            "-mavx512vnni",
            "-mavx512bf16",
            "-mavx512fp16",
            "-mavx512vbmi",
            "-mamx-tile",
            "-mamx-int8",
            "-mamx-bf16",
        ),
    ),
    CpuClass("avx512bf16", "avx512bf16", _BF16, ("-march=x86-64-v4", "-mavx512vnni", "-mavx512bf16")),
    CpuClass("avx512", "avx512", _V4, ("-march=x86-64-v4",)),
    BASELINE,
)
"""Best first: a machine uses the first class whose features it has."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a build may count on here."""

    architecture: str
    cpu_features: frozenset[str]
    glibc: Version | None
    """None where the C library is another one."""

    def classes(self) -> tuple[CpuClass, ...]:
        """The classes this machine can run, best first."""
        return tuple(c for c in CPU_CLASSES if c.features <= self.cpu_features)


@cache
def this_machine() -> Machine:
    """The machine that this process runs on."""
    return Machine(
        architecture=os.uname().machine,
        cpu_features=machine_features(),
        glibc=_glibc(),
    )


@cache
def cpu_model() -> str:
    """What the kernel calls this CPU; empty where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def cpu_class(name: str) -> CpuClass:
    """The class of a name. Raises KeyError for an unknown one."""
    return {c.name: c for c in CPU_CLASSES}[name]


def native_class() -> CpuClass:
    """The best class that this machine can run. Raises ArtifactError where it runs none."""
    classes = this_machine().classes()
    if not classes:
        missing = " ".join(sorted(BASELINE.features - this_machine().cpu_features))
        raise ArtifactError(f"this machine runs no class of build: its CPU lacks {missing}")
    return classes[0]


def parse_version(text: str) -> Version:
    """``"2.36"`` as ``(2, 36)``. Raises ValueError for anything but numbers and dots."""
    return tuple(int(part) for part in text.split("."))


def show_version(version: Iterable[int]) -> str:
    """The opposite of parse_version."""
    return ".".join(map(str, version))


def _glibc() -> Version | None:
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION") or ""  # "glibc 2.36"
    except (ValueError, OSError):  # musl knows no such name
        return None
    return parse_version(name.split()[1]) if name.startswith("glibc ") else None
