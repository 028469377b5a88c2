"""A small disk for each worker's spooled recordings, that can be filled to the last byte.

Each is a file system in memory, mounted in a mount namespace of our own: nobody else sees it, and it is gone with
the last process of ours, however we end. Where that cannot be had the fault is left out, and the report says so.
"""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_SIZE_BYTES = 192 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
_FILLER = "filler"
_APART = "CHAOS_APART"
_TIMEOUT_SECONDS = 10
_WAYS = (
    ("unshare", "--mount", "--propagation", "private"),
    ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"),
)


def go_apart(module: str, arguments: Sequence[str]) -> None:
    """Run ``module`` again in place of this process, in a mount namespace of its own, if the machine allows that."""
    if os.environ.get(_APART) or shutil.which("unshare") is None:
        return
    for way in _WAYS:
        if subprocess.run([*way, "true"], capture_output=True, check=False, timeout=_TIMEOUT_SECONDS).returncode == 0:
            os.environ[_APART] = "1"
            os.execvp(way[0], [*way, sys.executable, "-m", module, *arguments])  # noqa: S606 - it becomes us


def mount_disks(directory: Path, names: Iterable[str]) -> tuple[dict[str, Path], str]:
    """A disk for each name, or none and the reason why."""
    if not os.environ.get(_APART):
        return {}, "no mount namespace can be had here"
    disks: dict[str, Path] = {}
    for name in names:
        path = directory / name
        path.mkdir(parents=True)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_BYTES}", "tmpfs", path],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
        if mounted.returncode != 0:
            unmount(disks.values())
            return {}, f"mounting failed: {mounted.stderr.strip()}"
        disks[name] = path
    return disks, ""


def unmount(disks: Iterable[Path]) -> None:
    """Give the memory back."""
    for path in disks:
        subprocess.run(["umount", "--lazy", path], capture_output=True, check=False, timeout=_TIMEOUT_SECONDS)


def fill(disk: Path) -> None:
    """Leave not a byte: whoever writes next meets ENOSPC."""
    chunk = bytes(_CHUNK_BYTES)
    descriptor = os.open(disk / _FILLER, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        while True:
            os.write(descriptor, chunk)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    finally:
        os.close(descriptor)


def free(disk: Path) -> None:
    """Give back what ``fill`` took."""
    (disk / _FILLER).unlink(missing_ok=True)
