"""Bucket notifications in the format of S3, as MinIO, AWS S3 and Ceph's RGW send them.

``{"Records": [{"eventSource", "eventName", "s3": {"bucket": {"name"}, "object": {"key", …}}}]}``, or one record alone,
as some adapters pass it on.

1. The records decide. ``EventName`` and ``Key`` beside them only repeat the first one, and can disagree.
2. ``object.key`` is escaped as in a query (space is ``+``, ``/`` is ``%2F`` or ``/``): unescaped once, strictly.
   Ceph writes it as it is (``rgw_notify.cc``: the object's name); see ``_ceph_key``.
3. Only the names in UPLOADS announce an upload. Changes of tags, retention and legal hold are named
   ``s3:ObjectCreated:Put…`` too, and are none.
4. ``size``, ``eTag`` and ``versionId`` are left out where they are empty: an empty object has no size. Ceph writes
   sizes as text at times, and an empty ``versionId``.
5. Not every ``versionId`` can be asked for: see NO_VERSION.
"""

import re
from typing import Any
from urllib.parse import unquote_plus

from consumer.events.parsed import (
    Document,
    Parsed,
    Read,
    Skip,
    SkipKind,
    Uploads,
    audio_uploaded,
    bad_event,
    combined,
    folder_marker,
    record_list,
)

UPLOADS = frozenset(f"ObjectCreated:{how}" for how in ("Put", "Post", "Copy", "CompleteMultipartUpload"))

NO_VERSION = frozenset({"", "null", "1"})
"""What stands in ``versionId`` of an object without versions: directory markers and buckets whose versioning
was suspended say "null", old servers "1". The ETag pins such an object well enough."""

_SENDERS = {"minio:s3": "MinIO notification", "aws:s3": "AWS S3 notification", "ceph:s3": "Ceph RGW notification"}
_ESCAPED = re.compile(r"(?:[\w.~/*+-]|%[0-9A-Fa-f]{2})*%[0-9A-Fa-f]{2}(?:[\w.~/*+-]|%[0-9A-Fa-f]{2})*", re.ASCII)
"""Text that only escaping makes: nothing that would have been escaped, and at least one escape."""


def recognises(document: Document) -> bool:
    return "Records" in document or document.get("Event") == "s3:TestEvent" or _is_record(document)


def name(document: Document) -> str:
    records = document.get("Records")
    first = records[0] if isinstance(records, list) and records else document
    source = first.get("eventSource") if isinstance(first, dict) else None
    return _SENDERS.get(source, "S3 notification") if isinstance(source, str) else "S3 notification"


def parse(document: Document, read: Read) -> Parsed:  # noqa: ARG001 - it holds nothing else
    if _is_record(document):
        return _parse_record(document)
    if "Records" not in document:
        return Skip(SkipKind.TEST_EVENT, "s3:TestEvent")
    records = record_list(document["Records"], "field 'Records' of the bucket notification")
    return combined([_parse_record(record) for record in records])


def _is_record(document: Document) -> bool:
    return "eventName" in document and "s3" in document


def _parse_record(record: Any) -> Parsed:
    event_name = _text(record, "eventName").removeprefix("s3:")
    if event_name not in UPLOADS:
        removed = event_name.startswith("ObjectRemoved:")
        return Skip(SkipKind.REMOVED if removed else SkipKind.OTHER_EVENT, event_name[:100])
    stored = _object(_object(record, "s3"), "object")
    written = _text(stored, "key")
    key = _ceph_key(written) if record.get("eventSource") == "ceph:s3" else _unescape(written)
    size_bytes = _number(stored.get("size"))
    return folder_marker(key, size_bytes) or Uploads(
        (
            audio_uploaded(
                {
                    "bucket": _text(_object(_object(record, "s3"), "bucket"), "name"),
                    "key": key,
                    "versionId": _version(stored.get("versionId")),
                    "etag": stored.get("eTag"),
                    "sizeBytes": size_bytes,
                    "contentType": stored.get("contentType"),
                }
            ),
        )
    )


def _object(parent: Any, field: str) -> Document:
    value = parent.get(field) if isinstance(parent, dict) else None
    if not isinstance(value, dict):
        raise bad_event(f"field {field!r} of the bucket notification must be an object")
    return value


def _text(parent: Any, field: str) -> str:
    value = parent.get(field) if isinstance(parent, dict) else None
    if not isinstance(value, str):
        raise bad_event(f"field {field!r} of the bucket notification must be text")
    return value


def _unescape(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError as error:
        raise bad_event("the object key of the bucket notification is not UTF-8 once it is unescaped") from error


def _ceph_key(key: str) -> str:
    """Ceph writes keys as they are. A proxy before it may escape them as AWS does, which shows."""
    return _unescape(key) if _ESCAPED.fullmatch(key) else key


def _number(size: object) -> object:
    return int(size) if isinstance(size, str) and size.isascii() and size.isdigit() and len(size) < 20 else size


def _version(version_id: object) -> object:
    return None if isinstance(version_id, str) and version_id in NO_VERSION else version_id
