"""S3 events of Amazon EventBridge: ``{"source": "aws.s3", "detail-type": "Object Created", "detail": {…}}``.

``detail`` is ``{"bucket": {"name"}, "object": {"key", "size", "etag", "version-id"}, "reason"}``: names in lower case
with hyphens, and a key that is not escaped in any way. Rules pass it on alone, too.
"""

from typing import Any

from consumer.events.parsed import (
    Document,
    Parsed,
    Read,
    Skip,
    SkipKind,
    Uploads,
    audio_uploaded,
    bad_event,
    folder_marker,
)

SOURCE = "aws.s3"


def recognises(document: Document) -> bool:
    return "detail-type" in document or _is_detail(document)


def name(document: Document) -> str:
    return "EventBridge event" if "detail-type" in document else "detail of an EventBridge event"


def parse(document: Document, read: Read) -> Parsed:  # noqa: ARG001 - it holds nothing else
    if "detail-type" not in document:
        return _parse_detail(document)
    source, detail_type = document.get("source"), document["detail-type"]
    if not isinstance(source, str) or not isinstance(detail_type, str):
        raise bad_event("fields 'source' and 'detail-type' of the EventBridge event must be text")
    if source != SOURCE or detail_type != "Object Created":
        removed = source == SOURCE and detail_type == "Object Deleted"
        return Skip(SkipKind.REMOVED if removed else SkipKind.OTHER_EVENT, f"{source[:100]}: {detail_type[:100]}")
    return _parse_detail(document.get("detail"))


def _is_detail(document: Document) -> bool:
    return isinstance(document.get("bucket"), dict) and isinstance(document.get("object"), dict)


def _parse_detail(detail: Any) -> Parsed:
    if not isinstance(detail, dict) or not _is_detail(detail):
        raise bad_event("field 'detail' of the EventBridge event must hold the objects 'bucket' and 'object'")
    stored = detail["object"]
    key, size_bytes = stored.get("key"), stored.get("size")
    if not isinstance(key, str):
        raise bad_event("field 'detail.object.key' of the EventBridge event must be text")
    return folder_marker(key, size_bytes) or Uploads(
        (
            audio_uploaded(
                {
                    "bucket": detail["bucket"].get("name"),
                    "key": key,
                    "versionId": stored.get("version-id"),
                    "etag": stored.get("etag"),
                    "sizeBytes": size_bytes,
                }
            ),
        )
    )
