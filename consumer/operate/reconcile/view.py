"""How far it is, and what came of it."""

from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from consumer.operate.reconcile.decision import Decision


class Counting:
    """A line on a terminal that counts while the block runs; nothing in a pipe. Use it as a context manager.

    How many keys there are is known only at the end, so there is no bar to fill.
    """

    def __init__(self, console: Console) -> None:
        self._status = console.status("Looking at the first keys") if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def update(self, tally: Counter[Decision]) -> None:
        if self._status is not None:
            self._status.update(
                f"{tally.total():,} keys looked at · {tally[Decision.COVERED]:,} covered · "
                f"{tally[Decision.ENQUEUE]:,} {Decision.ENQUEUE}"
            )


def tell_tally(tally: Counter[Decision], place: str, *, dry_run: bool, console: Console) -> None:
    """What became of the keys; the number of recordings to enqueue is told also where it is none."""
    told = [
        f"{tally[decision]:,} {'to be ' if dry_run and decision is Decision.ENQUEUE else ''}{decision}"
        for decision in Decision
        if tally[decision] or decision is Decision.ENQUEUE
    ]
    console.print(Text(f"{tally.total():,} keys in {place}: {'; '.join(told)}."), soft_wrap=True)
