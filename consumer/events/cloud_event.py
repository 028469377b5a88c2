"""CloudEvents 1.0 over Kafka: in structured JSON, or in binary mode with attributes in headers.

Structured: ``{"specversion": "1.0", "type", "source", "id", "data": {…}}``, or ``data_base64``. Binary: headers
``ce_specversion``, ``ce_type`` and so on, and the data as the record's value.

The project's own event has the type ``audio.uploaded.v1`` and an AudioUploaded as data. Within version 1 changes only
add fields; another version is something that this worker cannot understand, and says so. Whatever the type of others,
their data is an event in one of the dialects (a whole notification, or one record of it), or they are not for us: types
of adapters for S3 differ, what they carry does not.
"""

import base64
from collections.abc import Mapping
from dataclasses import replace

from consumer.errors import Rejected
from consumer.events import bare
from consumer.events.parsed import (
    Document,
    Parsed,
    Read,
    Skip,
    SkipKind,
    Uploads,
    audio_uploaded,
    bad_event,
    json_value,
)
from consumer.events.trace import trace_of

TYPE = "audio.uploaded.v1"
ANY_VERSION = "audio.uploaded."
STRUCTURED = "application/cloudevents"
"""How the content type of a record in structured mode begins."""


def recognises(document: Document) -> bool:
    return "specversion" in document


def name(document: Document) -> str:  # noqa: ARG001 - it has one name
    return "CloudEvent"


def parse(document: Document, read: Read) -> Parsed:
    return _traced(_parse_structured(document, read), document)


def _parse_structured(document: Document, read: Read) -> Parsed:
    event_type = _checked(document["specversion"], document.get("type"))
    if "data" in document and "data_base64" in document:
        raise bad_event("the CloudEvent has both 'data' and 'data_base64'; there may be one of them")
    if "data_base64" in document:
        return _parse_bytes(event_type, _decoded(document["data_base64"]), read)
    if "data" in document:
        return _parse_data(event_type, document["data"], read)
    if event_type != TYPE:
        return Skip(SkipKind.OTHER_EVENT, event_type[:100])
    raise bad_event(f"the CloudEvent of type {TYPE!r} has no field 'data'")


def parse_binary(attributes: Mapping[str, str], content_type: str, value: bytes, read: Read) -> Parsed:
    """Read a record in binary mode: attributes without ``ce_``, and the content type of its value."""
    event_type = _checked(attributes.get("specversion"), attributes.get("type"))
    if content_type and "json" not in content_type:
        if event_type != TYPE:
            return Skip(SkipKind.OTHER_EVENT, event_type[:100])
        raise bad_event(f"the CloudEvent of type {TYPE!r} has data in {content_type[:100]!r}; expected JSON")
    return _traced(_parse_bytes(event_type, value, read), attributes)


def _traced(parsed: Parsed, attributes: Mapping[str, object]) -> Parsed:
    """With the trace context of the extension for it; the innermost event's counts."""
    if isinstance(parsed, Uploads) and not parsed.trace:
        return replace(parsed, trace=trace_of(attributes))
    return parsed


def _checked(version: object, event_type: object) -> str:
    """The type of an event that can be understood."""
    if version != "1.0":
        raise bad_event("this CloudEvent is not of specversion '1.0', the only one that is understood")
    if not isinstance(event_type, str):
        raise bad_event("field 'type' of the CloudEvent must be text")
    if event_type.startswith(ANY_VERSION) and event_type != TYPE:
        raise bad_event(f"CloudEvent type {event_type[:100]!r} is not understood; expected {TYPE!r}")
    return event_type


def _parse_bytes(event_type: str, data: bytes, read: Read) -> Parsed:
    try:
        value = json_value(data, "the CloudEvent's data")
    except Rejected:
        if event_type == TYPE:
            raise
        return Skip(SkipKind.OTHER_EVENT, event_type[:100])
    return _parse_data(event_type, value, read)


def _parse_data(event_type: str, data: object, read: Read) -> Parsed:
    if event_type == TYPE:
        return Uploads((audio_uploaded(data),)).within("audio.uploaded")
    found = read(data) if isinstance(data, dict) and not bare.recognises(data) else None
    return found or Skip(SkipKind.OTHER_EVENT, event_type[:100])


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except ValueError as error:
        raise bad_event("field 'data_base64' of the CloudEvent must be text in Base64") from error
