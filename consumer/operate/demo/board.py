"""What the demo has in hand and has had: each recording with its state, for whoever shows them."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from consumer.operate.demo.view import DeadLetter
from schemas import Progress, Transcript

State = Literal["uploading", "waiting", "transcribing", "transcribed", "failed"]


@dataclass(slots=True)
class Recording:
    """One recording, from its upload to its answer."""

    number: int
    key: str
    state: State
    percent: float | None = None
    passages: list[str] = field(default_factory=list)
    """Text so far."""
    reason: str = ""
    message: str = ""
    """Why it failed, in words."""
    transcript: Transcript | None = None
    changes: int = 0

    @property
    def is_answered(self) -> bool:
        return self.state in {"transcribed", "failed"}


class Board:
    """Knows recordings by number, in the order in which they came, and by key; tells that something changed."""

    def __init__(self) -> None:
        self._by_key: dict[str, Recording] = {}
        self._changed = asyncio.Event()
        self.is_closed = False

    def __iter__(self) -> Iterator[Recording]:
        return iter(list(self._by_key.values()))

    def find(self, number: int) -> Recording | None:
        return next((each for each in self if each.number == number), None)

    @property
    def next_change(self) -> asyncio.Event:
        """Is set by the next change of anything, or when the board is closed."""
        return self._changed

    def add(self, name: str, state: State) -> Recording:
        """A new recording of that name; its key has a number where another has the name already."""
        key = free_key(name, self._by_key)
        recording = self._by_key[key] = Recording(len(self._by_key) + 1, key, state)
        self._tell(recording)
        return recording

    def uploaded(self, recording: Recording) -> None:
        if recording.state == "uploading":  # its answer may be quicker than what announced it is acknowledged
            recording.state = "waiting"
            self._tell(recording)

    def failed(self, recording: Recording, reason: str, message: str) -> None:
        recording.state, recording.reason, recording.message = "failed", reason, message
        self._tell(recording)

    def hear(self, told: Transcript | DeadLetter | Progress) -> None:
        """What the worker says; also of recordings that were sent by other ways."""
        key = told.source.key if isinstance(told, Transcript) else told.key
        recording = self._by_key.get(key) or self.add(key, "waiting")
        if isinstance(told, DeadLetter):
            self.failed(recording, told.reason, told.message)
        elif isinstance(told, Transcript):
            recording.state, recording.transcript, recording.percent = "transcribed", told, 100
            self._tell(recording)
        elif not recording.is_answered:  # it comes by another topic than answers, so it may come after them
            recording.state, recording.percent = "transcribing", told.percent
            recording.passages += [segment.text.strip() for segment in told.segments]
            self._tell(recording)

    def close(self) -> None:
        """Nothing comes any more."""
        self.is_closed = True
        self._wake()

    def _tell(self, recording: Recording) -> None:
        recording.changes += 1
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def free_key(name: str, taken: Iterable[str]) -> str:
    """The name, with a number where it is taken."""
    path, keys = PurePosixPath(name), set(taken)
    key, number = name, 2
    while key in keys:
        key, number = f"{path.stem}-{number}{path.suffix}", number + 1
    return key
