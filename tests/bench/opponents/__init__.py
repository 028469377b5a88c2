"""Whom we compare with: each in an environment of its own, in every mode that could win.

An opponent is a module with three functions (``Opponent``); what they return are modes, which run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from consumer.settings import ModelSize
from tests.bench.runs import Run


class Mode(Protocol):
    """One way to run an opponent. Modes are told apart by their text, which stands in tables and in the journal."""

    @property
    def at_once(self) -> int:
        """How many recordings it works on at the same time."""
        ...

    async def run(self, size: ModelSize, files: Sequence[Path], language: str | None, in_hand: int = 0) -> Run | None:
        """Transcribe the files, with the model loaded and warmed up beforehand; None where this CPU cannot do that.

        So many are in hand at any time, the next one handed in when one is done; 0: all from the start.
        """
        ...


class Opponent(Protocol):
    """What a module of this package is."""

    def modes(self, n_cpus: int) -> Sequence[Mode]:
        """Every mode that could win on so many cores."""
        ...

    def favourites(self, n_cpus: int, n_recordings: int) -> Sequence[Mode]:
        """Those that won on the machines seen so far, for so many recordings."""
        ...

    def as_it_comes(self, n_cpus: int) -> Mode:
        """Its own defaults (beams, precision, voice detection, threads), as a new user would run it."""
        ...
