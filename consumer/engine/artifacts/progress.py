"""How long work says what it is doing; whoever calls decides how that is shown."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, Protocol

Unit = Literal["bytes", "steps"]
Advance = Callable[[int], None]
"""Reports that so many more units are done. May be called from any thread."""


class Progress(Protocol):
    """Receives news of long work."""

    def task(self, what: str, total: int | None, unit: Unit = "bytes") -> AbstractContextManager[Advance]:
        """Open one measured piece of work of ``total`` units (None: not known), for example one file."""
        ...

    def note(self, line: str) -> None:
        """Tell something that has no measure, in one line."""
        ...


class Silent:
    """A Progress that shows nothing."""

    @contextmanager
    def task(self, what: str, total: int | None, unit: Unit = "bytes") -> Iterator[Advance]:  # noqa: ARG002
        yield lambda _amount: None

    def note(self, line: str) -> None:
        pass


class Plain:
    """A Progress for pipes and logs: a line at the start of each piece and at every further quarter of it."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show

    @contextmanager
    def task(self, what: str, total: int | None, unit: Unit = "bytes") -> Iterator[Advance]:
        size = f"{total:,} {unit}" if total is not None else f"unknown number of {unit}"
        self._show(f"{what}: {size}")
        done = 0
        quarters = 0

        def advance(amount: int) -> None:
            nonlocal done, quarters
            done += amount
            reached = 4 * done // total if total else 0
            if quarters < reached <= 4:
                quarters = reached
                self._show(f"{what}: {25 * quarters} %")

        yield advance

    def note(self, line: str) -> None:
        self._show(line)
