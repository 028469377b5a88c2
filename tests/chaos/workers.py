"""Worker processes of a chaos run: broken on purpose, and started again by whoever would do so in production."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from consumer.operate.network import LOOPBACK, answers_ok, free_ports
from consumer.operate.process import ChildProcess
from consumer.settings import WorkerSettings
from tests.chaos.facts import Ended

START_TIMEOUT_SECONDS = 60
_SUPERVISE_SECONDS = 0.2
_RESTART_SECONDS = 1.0
_REAP_SECONDS = 10.0

REAL = ("-m", "consumer", "run")


class Fleet:
    """Workers by name. One that ends unasked is started again; what ended, when and how, is kept."""

    def __init__(
        self,
        settings: Mapping[str, str],
        logs_dir: Path,
        spool_dirs: Mapping[str, Path],
        *,
        stop_seconds: float,
        command: Sequence[str] = REAL,
    ) -> None:
        """``stop_seconds`` is how long a worker may take to end after SIGTERM."""
        self._settings = settings
        self._logs_dir = logs_dir
        self._spool_dirs = spool_dirs
        self._stop_seconds = stop_seconds
        self._command = command
        self._running: dict[str, ChildProcess] = {}
        self._ports: dict[str, int] = {}
        self._births = 0
        self._all: list[ChildProcess] = []
        self.ended: list[Ended] = []

    def start(self, name: str) -> None:
        """Start a worker, unless it runs; its log is ``NAME.N.log``, N counting all starts."""
        if name in self._running:
            return
        self._births += 1
        spool = self._spool_dirs.get(name)
        self._ports[name] = free_ports(1)[0]
        process = ChildProcess.start(
            name,
            [sys.executable, *self._command],
            log_path=self._logs_dir / f"{name}.{self._births}.log",
            environment={
                **self._settings,
                **({"SPOOL_DIR": str(spool)} if spool else {}),
                "HTTP_PORT": str(self._ports[name]),
            },
            without=[variable.upper() for variable in WorkerSettings.model_fields],
        )
        self._running[name] = process
        self._all.append(process)

    async def wait_until_ready(self) -> None:
        """Return once all that run take work. Raises ProcessError."""
        for name, process in list(self._running.items()):
            url = f"http://{LOOPBACK}:{self._ports[name]}/readyz"
            await process.wait_until_ready(lambda url=url: answers_ok(url), timeout_seconds=START_TIMEOUT_SECONDS)  # type: ignore[misc]  # mypy cannot infer a lambda with a default

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a worker, if it runs."""
        if (process := self._running.get(name)) is not None:
            process.send_signal(number)

    async def kill(self, name: str) -> None:
        """SIGKILL to the worker's own process: its children have to end by themselves."""
        if (process := self._running.pop(name, None)) is not None:
            process.send_signal(signal.SIGKILL)
            self._note(process, await process.wait(timeout_seconds=_REAP_SECONDS), asked="kill")

    async def terminate(self, name: str) -> None:
        """SIGTERM; past its time SIGKILL."""
        process = self._running.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._stop_seconds
        while process.exit_code is None and time.monotonic() < deadline:
            await asyncio.sleep(_SUPERVISE_SECONDS)
        asked = "term" if process.exit_code is not None else "term, too slow"
        self._note(process, process.stop(grace_seconds=0), asked=asked)

    async def supervise(self) -> None:
        """Start again what ends unasked, without end."""
        while True:
            for name, process in list(self._running.items()):
                if (code := process.exit_code) is not None:
                    del self._running[name]
                    self._note(process, code, asked=None)
                    await asyncio.sleep(_RESTART_SECONDS)
                    self.start(name)
            await asyncio.sleep(_SUPERVISE_SECONDS)

    async def stop(self) -> None:
        """SIGTERM to all at once, as when a deployment is scaled to nothing."""
        await asyncio.gather(*(self.terminate(name) for name in list(self._running)))

    def destroy(self) -> None:
        """KILL whatever is left of every worker that ever ran and of its children, stopped or not."""
        for process in self._all:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.stop(grace_seconds=0)

    def _note(self, process: ChildProcess, code: int, *, asked: str | None) -> None:
        self.ended.append(Ended(process.log_path.stem, time.time(), code, asked))
