"""Ctrl-C for commands that work in small steps: the step is finished, and what was done is told."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether somebody asked for the end; true once that is so."""

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self._signal is not None

    @property
    def exit_status(self) -> int:
        """The shell's status for the signal; 0 where there was none."""
        return 128 + self._signal if self._signal is not None else 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note the first SIGINT or SIGTERM while the block runs; a second one ends the process as usual."""
        loop = asyncio.get_running_loop()

        def on_signal(number: signal.Signals) -> None:
            self._signal = number
            restore()

        def restore() -> None:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

        for number in _SIGNALS:
            loop.add_signal_handler(number, on_signal, number)
        try:
            yield
        finally:
            restore()
