"""What the machine's CPU can do, in the kernel's names."""

from pathlib import Path


def machine_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The flags that the kernel reports for the first CPU (``avx2``, ``amx_int8``, ...), x86-64 Linux.

    Empty where there is no such file or no line of flags.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    return next((frozenset(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), frozenset())
