"""What becomes of one object of the listing. Pure.

1. An object without bytes is a folder marker or an empty file: no recording.
2. What changed before ``since`` is not asked about.
3. What is younger than ``min_age`` may still be on its way through the topic.
4. A result covers the recording, a marker (of a dead letter, or of what was not wanted) does too, unless it is older:
   then the recording was overwritten since, and the notification of that was lost.
5. A result or marker that is known to be of other bytes never does. A result known to be of the same bytes does at any
   age: they were uploaded again, and the worker answers that with the result as it lies there.
6. Where results of one model alone count, one whose model is not known does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Recording:
    """An object as the listing shows it; ``etag`` without quotes."""

    key: str
    etag: str
    size_bytes: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """A result or a marker that lies with the results of a recording."""

    is_marker: bool
    modified: datetime
    same_bytes: bool | None = None
    """Whether it is about the bytes that the listing shows; None where that is not known or was not asked for."""
    weights_sha256: str | None = None
    """Of the model that made a result; None where it is not known or was not asked for."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts."""

    now: datetime
    min_age: timedelta
    since: datetime | None = None
    weights_sha256: str | None = None
    """None: results of any model count."""


class Decision(StrEnum):
    """What becomes of an object; the value says so after a number."""

    ENQUEUE = "enqueued"
    COVERED = "covered by a result, a dead letter or a skip"
    IN_FLIGHT = "younger than --min-age, left as in flight"
    OLDER = "older than --since"
    EMPTY = "without bytes"


def decide_unseen(recording: Recording, rules: Rules) -> Decision | None:
    """Rules 1 to 3; None where the results of the recording must be looked at."""
    if recording.size_bytes == 0:
        return Decision.EMPTY
    if rules.since is not None and recording.modified < rules.since:
        return Decision.OLDER
    if recording.modified > rules.now - rules.min_age:
        return Decision.IN_FLIGHT
    return None


def decide(recording: Recording, entries: Iterable[Entry], rules: Rules) -> Decision:
    """All rules, given what lies with the results of the recording."""
    unseen = decide_unseen(recording, rules)
    if unseen is not None:
        return unseen
    return Decision.COVERED if any(_covers(entry, recording, rules) for entry in entries) else Decision.ENQUEUE


def _covers(entry: Entry, recording: Recording, rules: Rules) -> bool:
    if entry.same_bytes is False:
        return False
    if entry.is_marker:
        return entry.modified >= recording.modified
    if rules.weights_sha256 is not None and entry.weights_sha256 != rules.weights_sha256:
        return False
    return entry.same_bytes is True or entry.modified >= recording.modified
