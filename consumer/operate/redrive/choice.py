"""Which dead letters are meant, and what becomes of each of them. Pure."""

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase

from consumer.operate.redrive.letters import DeadLetter


@dataclass(frozen=True, slots=True)
class Filters:
    """What a letter must be like; what is not given lets every letter through."""

    reasons: frozenset[str] = frozenset()
    key_glob: str | None = None
    """Against the object's key, and against bucket/key; ``*`` goes over slashes too."""
    partition: int | None = None
    """Of the dead-letter topic."""
    since: datetime | None = None
    """It became a dead letter then or later."""
    until: datetime | None = None
    """It became a dead letter before."""

    def let_through(self, letter: DeadLetter) -> bool:
        """Whether the letter is meant."""
        if self.reasons and letter.reason not in self.reasons:
            return False
        if self.partition is not None and letter.position.partition != self.partition:
            return False
        if self.since is not None and letter.written_ms < self.since.timestamp() * 1000:
            return False
        if self.until is not None and letter.written_ms >= self.until.timestamp() * 1000:
            return False
        return self.key_glob is None or any(
            fnmatchcase(name, self.key_glob) for name in (*letter.keys, *letter.objects)
        )


class Fate(StrEnum):
    """What becomes of a letter; the value says so after a number."""

    REDRIVE = "redriven"
    DONE_BEFORE = "redriven before; --again redrives them once more"
    ELSEWHERE = "left: they came from another topic than KAFKA_INPUT_TOPIC; --to TOPIC names where they shall go"
    LOST = "left: the worker could not read the record, so it is only where it came from"


def fate_of(
    letter: DeadLetter, done: Container[DeadLetter], input_topic: str, to_topic: str | None, *, again: bool
) -> Fate:
    """What ``redrive run`` does with a letter that was let through."""
    if letter.is_lost:
        return Fate.LOST
    if to_topic is None and letter.original.topic != input_topic:
        return Fate.ELSEWHERE
    if letter in done and not again:
        return Fate.DONE_BEFORE
    return Fate.REDRIVE
