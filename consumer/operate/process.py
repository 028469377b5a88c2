"""Child processes that never outlive us: log file, readiness, and an end that always comes.

A child leads a session of its own, so Ctrl-C in the terminal reaches us alone and we end the child in
order. If we are killed outright, the kernel kills the child.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from consumer import die_with_parent

_POLL_SECONDS = 0.05


class ProcessError(Exception):
    """A child process did not start, did not become ready, or ended when it should not have."""


class Service:
    """What ``async with`` starts and stops; a start that fails leaves nothing running."""

    async def start(self) -> None:
        """Return once it answers. Raises ProcessError."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it; twice does no harm."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class ChildProcess:
    """A running child process. Make one with ``start`` and end it with ``stop``.

    Start it from the main thread: Linux ties the kill-on-death to the *thread* that started the child.
    """

    def __init__(self, name: str, popen: "subprocess.Popen[bytes]", log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._popen = popen

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str | Path],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        without: Collection[str] = (),
        cwd: Path | None = None,
    ) -> Self:
        """Start ``command`` with its output appended to ``log_path``.

        The child has our environment, but for the variables that ``without`` names, and ``environment`` on
        top. Returns at once; use ``wait_until_ready`` or ``wait``.
        """
        log_path.parent.mkdir(parents=True, exist_ok=True)
        launcher = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
        with log_path.open("ab") as log:
            popen = subprocess.Popen(
                [*launcher, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if name not in without}
                | dict(environment or {}),
                cwd=cwd,
                start_new_session=True,
            )
        return cls(name, popen, log_path)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative where a signal ended it."""
        return self._popen.poll()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log, for messages."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    async def wait_until_ready(self, is_ready: Callable[[], Awaitable[bool]], *, timeout_seconds: float) -> None:
        """Return once ``is_ready`` says so. Raises ProcessError when the child ends first or time is up."""
        deadline = time.monotonic() + timeout_seconds
        while not await is_ready():
            if self.exit_code is not None:
                raise ProcessError(self._failure(f"ended with exit code {self.exit_code} before it was ready"))
            if time.monotonic() > deadline:
                raise ProcessError(self._failure(f"was not ready after {timeout_seconds:.0f} s"))
            await asyncio.sleep(_POLL_SECONDS)

    async def wait(self, *, timeout_seconds: float) -> int:
        """Return its exit code once it has ended by itself. Raises ProcessError when time is up."""
        deadline = time.monotonic() + timeout_seconds
        while (code := self.exit_code) is None:
            if time.monotonic() > deadline:
                raise ProcessError(self._failure(f"still ran after {timeout_seconds:.0f} s"))
            await asyncio.sleep(_POLL_SECONDS)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, not to its children; no error where it has ended."""
        self._popen.send_signal(number)

    def stop(self, *, grace_seconds: float) -> int:
        """End it: TERM to it, after the grace KILL to it and its children. Returns its exit code.

        A grace of 0 kills at once. Doing it twice does no harm.
        """
        if grace_seconds > 0:
            self.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                return self._popen.wait(grace_seconds)
        if self.exit_code is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return self._popen.wait()

    def _failure(self, what: str) -> str:
        return f"{self.name} {what}. The end of its log:\n{self.log_tail()}"
