"""The project's own ``audio.uploaded`` event without an envelope: ``{"bucket", "key", …}``."""

from consumer.events.parsed import Document, Parsed, Uploads, audio_uploaded


def recognises(document: Document) -> bool:
    return "bucket" in document and "key" in document


def parse(document: Document) -> Parsed:
    return Uploads((audio_uploaded(document),))
