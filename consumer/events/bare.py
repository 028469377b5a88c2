"""The project's own ``audio.uploaded`` event without an envelope: ``{"bucket", "key", …}``."""

from consumer.events.parsed import Document, Parsed, Read, Uploads, audio_uploaded


def recognises(document: Document) -> bool:
    return "bucket" in document and "key" in document


def name(document: Document) -> str:  # noqa: ARG001 - it has one name
    return "audio.uploaded"


def parse(document: Document, read: Read) -> Parsed:  # noqa: ARG001 - it holds nothing else
    return Uploads((audio_uploaded(document),))
