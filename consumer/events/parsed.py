"""What a record of the input topic turns out to be, and how a dialect says so."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Protocol, Self

import orjson
from pydantic import ValidationError

from consumer.errors import Reason, Rejected, Stage
from consumer.events.trace import Trace
from schemas import AudioUploaded, JobOptions

Document = Mapping[str, Any]
"""A JSON object as it was read: nothing is known yet about its fields."""

MAX_RECORDS: Final = 1000
"""In one event. Senders put one or a few into each; a list of thousands is no notification."""


MAX_CONTAINERS: Final = 20_000
"""Braces and brackets in JSON. A thousand records have ten thousand; each is an object for Python, and a megabyte of
empty lists keeps its garbage collector busy for a third of a second."""


class SkipKind(StrEnum):
    """Why a record that is in order asks for no work. A small closed set, fit for a metric's label."""

    TOMBSTONE = "tombstone"  # a null value: it tells log compaction to forget a key
    REMOVED = "removed"  # an object was deleted
    TEST_EVENT = "test_event"  # sent once, when a notification is configured
    FOLDER_MARKER = "folder_marker"  # an empty object whose key ends in "/", as consoles make them
    OTHER_EVENT = "other_event"  # tags, retention, legal hold, and types that are not ours
    FILTERED = "filtered"  # not wanted, by the worker's settings
    OWN_OUTPUT = "own_output"  # a document that a worker wrote beside a recording


@dataclass(frozen=True, slots=True)
class Uploads:
    """Recordings to be transcribed; at least one.

    ``taken_for`` names the dialects that the event was read in, from the outermost envelope inwards; ``trace`` is the
    trace context that the event itself carries.
    """

    uploads: tuple[AudioUploaded, ...]
    taken_for: tuple[str, ...] = ()
    trace: Trace = ()

    def within(self, dialect: str) -> Self:
        """The same, found in an envelope of this dialect."""
        return replace(self, taken_for=(dialect, *self.taken_for))


@dataclass(frozen=True, slots=True)
class Skip:
    """Nothing to be done and nothing wrong; ``why`` is a phrase for a log line. ``taken_for``: see Uploads."""

    kind: SkipKind
    why: str
    taken_for: tuple[str, ...] = ()

    def within(self, dialect: str) -> Self:
        """The same, found in an envelope of this dialect."""
        return replace(self, taken_for=(dialect, *self.taken_for))


Parsed = Uploads | Skip

Read = Callable[[object], Parsed | None]
"""Reads what an envelope holds; None where no dialect recognises it. Raises Rejected(BAD_EVENT, PARSE)."""


class Dialect(Protocol):
    """One way to announce uploads, or an envelope for others: a module of this package with these functions."""

    def recognises(self, document: Document) -> bool:
        """Tell by the document's outer shape alone whether it is in this dialect."""

    def name(self, document: Document) -> str:
        """What a person calls it."""

    def parse(self, document: Document, read: Read) -> Parsed:
        """Read the document. Raises Rejected(BAD_EVENT, PARSE) where it breaks the rules of the dialect."""


def bad_event(message: str) -> Rejected:
    """The decision about a record that no retry can make readable."""
    return Rejected(Reason.BAD_EVENT, Stage.PARSE, message)


def json_value(text: bytes, what: str) -> object:
    """Read JSON. Raises Rejected saying that ``what`` is none, or what is too much of it."""
    if (containers := text.count(b"{") + text.count(b"[")) > MAX_CONTAINERS:
        raise bad_event(f"{what} has up to {containers} lists and objects; at most {MAX_CONTAINERS} are read")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise bad_event(f"{what} is not JSON: {error}") from error


def record_list(value: object, what: str) -> list[Any]:
    """A list of records. Raises Rejected for what is no list, empty, or too long."""
    if not isinstance(value, list) or not value:
        raise bad_event(f"{what} must be a list with at least one record")
    if len(value) > MAX_RECORDS:
        raise bad_event(f"{what} holds {len(value)} records; at most {MAX_RECORDS} are read")
    return value


def combined(parts: Sequence[Parsed]) -> Parsed:
    """All uploads of several records; where there are none, the first one's reason. Raises Rejected for too many."""
    uploads = [part for part in parts if isinstance(part, Uploads)]
    if not uploads:
        return parts[0]
    every = tuple(upload for part in uploads for upload in part.uploads)
    if len(every) > MAX_RECORDS:
        raise bad_event(f"the event announces {len(every)} uploads; at most {MAX_RECORDS} are read")
    return replace(uploads[0], uploads=every)


def folder_marker(key: str, size_bytes: object) -> Skip | None:
    """The reason to leave out what is no recording but a folder's name, as consoles make them."""
    if key.endswith("/") and not size_bytes:
        return Skip(SkipKind.FOLDER_MARKER, "empty object whose key ends in '/'")
    return None


def audio_uploaded(fields: object) -> AudioUploaded:
    """Check fields that came from outside. Raises Rejected naming every field that is wrong, no values.

    Options that cannot be followed are no fault of the event: they are ignored, and noted.
    """
    if isinstance(fields, dict) and "options" in fields:
        options = fields["options"]
        if options is None:  # as Avro has what was left out
            fields = {name: value for name, value in fields.items() if name != "options"}
        elif isinstance(options, dict):
            fields = {**fields, "options": JobOptions.read(options, "event")}
    try:
        return AudioUploaded.model_validate(fields)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'the event'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise bad_event(f"not an audio.uploaded event: {faults}") from error
