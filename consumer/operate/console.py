"""How commands show long work: moving bars on a terminal, plain finished lines in a pipe."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Literal, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from consumer.engine.artifacts.progress import Advance

Unit = Literal["bytes", "steps", "seconds"]

_NAME_WIDTH = 26
_DETAIL_WIDTH = 42
_REFRESHES_PER_SECOND = 8


class Step:
    """One line of the list of finished steps; fill in ``detail`` while it runs."""

    detail = ""


class ConsoleProgress:
    """Shows pieces of work while they run, and each finished step as a line that stays.

    Fits ``consumer.engine.artifacts.progress.Progress``. Use it as a context manager; thread-safe.
    """

    def __init__(self, console: Console, *, show_notes: bool = True) -> None:
        self._console = console
        self._show_notes = show_notes
        self._bars = Progress(
            TextColumn(" "),
            SpinnerColumn(finished_text=" "),
            TextColumn(f"{{task.description:<{_NAME_WIDTH}}}"),
            _Bar(bar_width=24),
            _Amount(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            refresh_per_second=_REFRESHES_PER_SECOND,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    @contextmanager
    def task(self, what: str, total: int | None, unit: Unit = "bytes") -> Iterator[Advance]:
        """A bar while the block runs; without a total only a spinner and the time."""
        task_id = self._bars.add_task(what, total=total, unit=unit)
        try:
            yield lambda amount: self._bars.advance(task_id, amount)
        finally:
            self._bars.remove_task(task_id)

    def note(self, line: str) -> None:
        if self._show_notes:
            self._console.print(Text(f"    {line}", style="dim"), soft_wrap=True)

    @contextmanager
    def step(self, what: str) -> Iterator[Step]:
        """A spinner while the block runs, and a line with a tick, the detail and the time when it is done."""
        started = time.monotonic()
        step = Step()
        with self.task(what, None):
            yield step
        line = Text.assemble(
            ("  ✓ ", "green"),
            f"{what:<{_NAME_WIDTH}}",
            (f"{step.detail:<{_DETAIL_WIDTH}}", "cyan"),
            (f" {time.monotonic() - started:5.1f} s", "dim"),
        )
        self._console.print(line, soft_wrap=True)


class _Bar(BarColumn):
    """A bar for work whose amount is known."""

    def render(self, task: Task) -> object:  # type: ignore[override]
        return super().render(task) if task.total is not None else Text()


class _Amount(ProgressColumn):
    """Done and total in the task's unit."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text()
        if task.fields["unit"] == "bytes":
            return Text(f"{task.completed / 1e6:.1f}/{task.total / 1e6:.1f} MB", style="cyan")
        if task.fields["unit"] == "seconds":
            return Text(f"{_clock(task.completed)} of {_clock(task.total)}", style="cyan")
        return Text(f"{task.completed:.0f}/{task.total:.0f}", style="cyan")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
