"""What a record of the input topic turns out to be, and how a dialect says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from pydantic import ValidationError

from consumer.errors import Reason, Rejected, Stage
from schemas import AudioUploaded

Document = Mapping[str, Any]
"""A JSON object as it was read: nothing is known yet about its fields."""


class SkipKind(StrEnum):
    """Why a record that is in order asks for no work. A small closed set, fit for a metric's label."""

    TOMBSTONE = "tombstone"  # a null value: it tells log compaction to forget a key
    REMOVED = "removed"  # an object was deleted
    TEST_EVENT = "test_event"  # sent once, when a notification is configured
    FOLDER_MARKER = "folder_marker"  # an empty object whose key ends in "/", as consoles make them
    OTHER_EVENT = "other_event"  # tags, retention, legal hold, and types that are not ours


@dataclass(frozen=True, slots=True)
class Uploads:
    """Recordings to be transcribed; at least one."""

    uploads: tuple[AudioUploaded, ...]


@dataclass(frozen=True, slots=True)
class Skip:
    """Nothing to be done and nothing wrong; ``why`` is a phrase for a log line."""

    kind: SkipKind
    why: str


Parsed = Uploads | Skip


class Dialect(Protocol):
    """One way to announce uploads: a module of this package that has these two functions."""

    def recognises(self, document: Document) -> bool:
        """Tell by the document's outer shape alone whether it is in this dialect."""

    def parse(self, document: Document) -> Parsed:
        """Read the document. Raises Rejected(BAD_EVENT, PARSE) where it breaks the rules of the dialect."""


def bad_event(message: str) -> Rejected:
    """The decision about a record that no retry can make readable."""
    return Rejected(Reason.BAD_EVENT, Stage.PARSE, message)


def audio_uploaded(fields: object) -> AudioUploaded:
    """Check fields that came from outside. Raises Rejected naming every field that is wrong, no values."""
    try:
        return AudioUploaded.model_validate(fields)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'the event'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise bad_event(f"not an audio.uploaded event: {faults}") from error
