"""From the bytes of a record to the uploads that it announces. Pure: nothing but Rejected ever escapes."""

from collections.abc import Collection

import orjson

from consumer.errors import Reason, Rejected, Stage
from consumer.events import bare, cloud_event, s3_notification
from consumer.events.parsed import Dialect, Parsed, Skip, SkipKind, Uploads, bad_event

DIALECTS: tuple[Dialect, ...] = (cloud_event, s3_notification, bare)
"""Asked in this order; the first that recognises a document reads it."""

MAX_EVENT_BYTES = 1024 * 1024
"""Events are a few kilobytes. A larger one is not parsed: JSON in memory is many times its size."""


def parse(
    headers: tuple[tuple[str, bytes | None], ...],  # noqa: ARG001 - binary CloudEvents speak in headers
    key: bytes | None,  # noqa: ARG001 - some dialects name the object in the record's key
    value: bytes | None,
) -> Parsed:
    """Read one record of the input topic.

    Raises Rejected(BAD_EVENT, PARSE) for what is not JSON, too large, in no known dialect, or breaks the
    rules of its dialect. Nesting is bounded by the JSON parser (1,024 levels).
    """
    if value is None:
        return Skip(SkipKind.TOMBSTONE, "null value")
    if len(value) > MAX_EVENT_BYTES:
        raise bad_event(f"an event of {len(value)} bytes; at most {MAX_EVENT_BYTES} are read")
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise bad_event(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise bad_event("the event must be a JSON object")
    for dialect in DIALECTS:
        if dialect.recognises(document):
            return dialect.parse(document)
    raise bad_event(
        "no known kind of event: expected a bucket notification ('Records'), a CloudEvent ('specversion') "
        "or an audio.uploaded event ('bucket' and 'key')"
    )


def check_buckets(uploads: Uploads, allowed: Collection[str]) -> None:
    """Let only recordings of the allowed buckets through.

    Whoever may write to the topic could otherwise have anything transcribed that the worker may read.
    Raises Rejected(BUCKET_NOT_ALLOWED, PARSE) if any upload of the record lies elsewhere.
    """
    for upload in uploads.uploads:
        if upload.bucket not in allowed:
            raise Rejected(
                Reason.BUCKET_NOT_ALLOWED,
                Stage.PARSE,
                f"bucket {upload.bucket!r} is not one of INPUT_BUCKETS; "
                "add it there if its recordings are to be transcribed",
            )
