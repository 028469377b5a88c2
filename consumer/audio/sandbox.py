"""What a decoder process does to itself before it touches bytes from outside."""

import ctypes
import os
import signal
from collections.abc import Iterable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LAST_DESCRIPTOR = 2**31 - 2

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends, however that happens.

    Raises SystemExit if ``parent_pid`` is no longer the parent, OSError if the kernel refuses.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        raise SystemExit("the parent is gone")


def keep_only(descriptors: Iterable[int]) -> None:
    """Close every file descriptor above the standard three but these."""
    first = 3
    for kept in sorted(descriptors):
        os.closerange(first, kept)
        first = kept + 1
    os.closerange(first, _LAST_DESCRIPTOR)


def confine(descriptors: Iterable[int], *, parent_pid: int) -> None:
    """Give up all that decoding does not need.

    The one place for limits of a process that decodes: called in it, after the fork, before the first byte
    of its first recording is read.
    """
    die_with_parent(parent_pid)
    keep_only(descriptors)
