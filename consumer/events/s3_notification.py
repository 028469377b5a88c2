"""Bucket notifications in the format of S3, as MinIO sends them.

``{"EventName", "Key", "Records": [{"eventName", "s3": {"bucket": {"name"}, "object": {"key", …}}}]}``

1. The records decide. ``EventName`` and ``Key`` beside them only repeat the first one, and can disagree.
2. ``object.key`` is escaped as in a query (space is ``+``, ``/`` is ``%2F``): unescaped once, strictly.
3. Only the names in UPLOADS announce an upload. Changes of tags, retention and legal hold are named
   ``s3:ObjectCreated:Put…`` too, and are none.
4. ``size``, ``eTag`` and ``versionId`` are left out where they are empty: an empty object has no size.
5. Not every ``versionId`` can be asked for: see NO_VERSION.
"""

from typing import Any
from urllib.parse import unquote_plus

from consumer.events.parsed import Document, Parsed, Skip, SkipKind, Uploads, audio_uploaded, bad_event
from schemas import AudioUploaded

UPLOADS = frozenset(f"ObjectCreated:{how}" for how in ("Put", "Post", "Copy", "CompleteMultipartUpload"))

NO_VERSION = frozenset({"", "null", "1"})
"""What stands in ``versionId`` of an object without versions: directory markers and buckets whose versioning
was suspended say "null", old servers "1". The ETag pins such an object well enough."""


def recognises(document: Document) -> bool:
    return "Records" in document or document.get("Event") == "s3:TestEvent"


def parse(document: Document) -> Parsed:
    if "Records" not in document:
        return Skip(SkipKind.TEST_EVENT, "s3:TestEvent")
    records = document["Records"]
    if not isinstance(records, list) or not records:
        raise bad_event("field 'Records' of the bucket notification must be a list with at least one record")
    parsed = [_parse_record(record) for record in records]
    uploads = tuple(one for one in parsed if isinstance(one, AudioUploaded))
    skips = [one for one in parsed if isinstance(one, Skip)]
    return Uploads(uploads) if uploads else skips[0]


def _parse_record(record: Any) -> AudioUploaded | Skip:
    event_name = _text(record, "eventName").removeprefix("s3:")
    if event_name not in UPLOADS:
        removed = event_name.startswith("ObjectRemoved:")
        return Skip(SkipKind.REMOVED if removed else SkipKind.OTHER_EVENT, event_name[:100])
    stored = _object(_object(record, "s3"), "object")
    key = _unescape(_text(stored, "key"))
    if key.endswith("/") and not stored.get("size"):
        return Skip(SkipKind.FOLDER_MARKER, "empty object whose key ends in '/'")
    return audio_uploaded(
        {
            "bucket": _text(_object(_object(record, "s3"), "bucket"), "name"),
            "key": key,
            "versionId": _version(stored.get("versionId")),
            "etag": _without_quotes(stored.get("eTag")),
            "sizeBytes": stored.get("size"),
            "contentType": stored.get("contentType"),
        }
    )


def _object(parent: Any, name: str) -> Document:
    value = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(value, dict):
        raise bad_event(f"field {name!r} of the bucket notification must be an object")
    return value


def _text(parent: Any, name: str) -> str:
    value = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(value, str):
        raise bad_event(f"field {name!r} of the bucket notification must be text")
    return value


def _unescape(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError as error:
        raise bad_event("the object key of the bucket notification is not UTF-8 once it is unescaped") from error


def _without_quotes(etag: object) -> object:
    return (etag.strip('"') or None) if isinstance(etag, str) else etag


def _version(version_id: object) -> object:
    return None if isinstance(version_id, str) and version_id in NO_VERSION else version_id
