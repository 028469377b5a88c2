"""CloudEvents 1.0 in structured JSON: ``{"specversion": "1.0", "type", "source", "id", "data": {…}}``.

The project's own event has the type ``audio.uploaded.v1`` and an AudioUploaded in ``data``. Within version 1
changes only add fields; another version is something that this worker cannot understand, and says so.
"""

from consumer.events.parsed import Document, Parsed, Skip, SkipKind, Uploads, audio_uploaded, bad_event

TYPE = "audio.uploaded.v1"
ANY_VERSION = "audio.uploaded."


def recognises(document: Document) -> bool:
    return "specversion" in document


def parse(document: Document) -> Parsed:
    if document["specversion"] != "1.0":
        raise bad_event("this CloudEvent is not of specversion '1.0', the only one that is understood")
    event_type = document.get("type")
    if not isinstance(event_type, str):
        raise bad_event("field 'type' of the CloudEvent must be text")
    if event_type.startswith(ANY_VERSION) and event_type != TYPE:
        raise bad_event(f"CloudEvent type {event_type[:100]!r} is not understood; expected {TYPE!r}")
    if event_type != TYPE:
        return Skip(SkipKind.OTHER_EVENT, event_type[:100])
    if "data" not in document:
        raise bad_event(f"the CloudEvent of type {TYPE!r} has no field 'data'")
    return Uploads((audio_uploaded(document["data"]),))
