"""What a run left behind, as it was seen from outside: the ledger judges by this alone."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Place = tuple[int, int]
"""Partition and offset of the input topic."""


@dataclass(frozen=True, slots=True)
class Input:
    """A record of the input topic and how it must end (``plan.EXPECTED``)."""

    place: Place
    name: str
    expected: str
    key: str | None
    """Key of the object that it announces; None where it announces none."""
    duplicate: bool
    """Whether the same object was announced before."""
    written: float
    value_sha256: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A message of the output topic. Times are the producer's, in seconds since 1970."""

    offset: int
    written: float
    source: Place | None
    """The input that it answers, by its header; None where it has none."""
    id: str
    key: str
    """Key of the recording's object, as the message's body has it."""
    consistent: bool
    """Whether message key, headers, envelope and body agree on id and object."""
    value_sha256: str
    audio_sha256: str
    text_sha256: str
    stored: bool
    """Whether the bucket holds the result that it carries or refers to."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message of the dead-letter topic."""

    offset: int
    written: float
    source: Place
    reason: str
    value_sha256: str


@dataclass(frozen=True, slots=True)
class Committed:
    """The group's offset of a partition, as it was seen at a time."""

    seen: float
    partition: int
    offset: int
    metadata_characters: int


@dataclass(frozen=True, slots=True)
class Inferred:
    """Native work on one recording, by the workers' logs; times in seconds since 1970, or on the recording's clock."""

    worker: str
    place: Place
    began: float
    from_seconds: float
    ended: float | None
    to_seconds: float | None


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """A checkpoint in the bucket, as it was seen at a time."""

    seen: float
    id: str
    done_seconds: float


@dataclass(frozen=True, slots=True)
class Disturbed:
    """A fault as it really came."""

    fault: str
    target: str
    began: float
    ended: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a worker process. ``asked`` says by which signal of ours, None by none."""

    worker: str
    when: float
    code: int
    asked: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the ledger knows."""

    exactly_once: bool
    inputs: tuple[Input, ...] = ()
    ends: dict[int, int] = field(default_factory=dict)
    """End offset of each partition of the input topic."""
    answers: tuple[Answer, ...] = ()
    """As ``exactly_once`` readers see them (read_committed), or all."""
    answers_uncommitted: int = 0
    """How many messages a reader with read_uncommitted sees."""
    letters: tuple[Letter, ...] = ()
    commits: tuple[Committed, ...] = ()
    """In the order of time; the last ones were seen after all was over."""
    stored: dict[str, float] = field(default_factory=dict)
    """When the result of each id was stored, in seconds since 1970."""
    inferred: tuple[Inferred, ...] = ()
    checkpoints: tuple[Checkpointed, ...] = ()
    disturbed: tuple[Disturbed, ...] = ()
    ended: tuple[Ended, ...] = ()

    def save(self, path: Path) -> None:
        """Keep them as JSON, for whoever studies a failure."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Facts":
        """What ``save`` kept."""
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows = {
            "inputs": Input,
            "answers": Answer,
            "letters": Letter,
            "commits": Committed,
            "inferred": Inferred,
            "checkpoints": Checkpointed,
            "disturbed": Disturbed,
            "ended": Ended,
        }
        for name, kind in rows.items():
            read[name] = tuple(kind(**_places(row)) for row in read[name])
        read["ends"] = {int(partition): end for partition, end in read["ends"].items()}
        return cls(**read)


def _places(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
