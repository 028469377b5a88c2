"""What the machine's CPU can do, in the kernel's names."""

from pathlib import Path


def machine_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The flags that the kernel reports for every CPU alike (``avx2``, ``amx_int8``, ...), x86-64 Linux.

    Empty where there is no such file or it lists none.
    """
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    fields = [line.partition(":") for line in lines]
    processors = [frozenset(value.split()) for key, _, value in fields if key.strip() == "flags"]
    return frozenset.intersection(*processors) if processors else frozenset()
