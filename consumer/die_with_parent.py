"""Run a command that the kernel kills when the process that started it dies, however that dies.

Run as a script, never imported: ``python die_with_parent.py PARENT_PID COMMAND [ARGUMENT]…``. It asks
the kernel for the signal and then becomes the command. Doing this in a script of its own instead of
between fork and exec keeps Python code out of a forked copy of a process that has threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    parent_pid, command = int(sys.argv[1]), sys.argv[2:]
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        sys.exit("prctl(PR_SET_PDEATHSIG) failed: this needs Linux")
    if os.getppid() != parent_pid:  # it died before the kernel knew that we care
        sys.exit("the parent process is gone")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that would be inherited
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the command is the point
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
