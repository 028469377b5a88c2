"""From a record of the input topic to the uploads that it announces. Pure: nothing but Rejected ever escapes."""

from collections.abc import Collection
from functools import partial

from consumer.errors import Reason, Rejected, Stage
from consumer.events import bare, cloud_event, event_bridge, message_queue, s3_notification
from consumer.events.parsed import Dialect, Parsed, Skip, SkipKind, Uploads, bad_event, json_value
from consumer.events.trace import Trace, trace_of

DIALECTS: tuple[Dialect, ...] = (cloud_event, message_queue, event_bridge, s3_notification, bare)
"""Asked in this order; the first that recognises a document reads it, or has what it holds read in the same way."""

MAX_EVENT_BYTES = 1024 * 1024
"""Events are a few kilobytes. A larger one is not parsed: JSON in memory is many times its size."""

MAX_ENVELOPES = 8
"""Around an event. A notification that came over SNS, SQS and a bridge to Kafka has three."""

_HEADERS_READ = 100
"""Of a record: more than any sender has."""

Headers = tuple[tuple[str, bytes | None], ...]


def parse(headers: Headers, key: bytes | None, value: bytes | None) -> Parsed:  # noqa: ARG001 - none needs the key
    """Read one record of the input topic.

    Raises Rejected(BAD_EVENT, PARSE) for what is not JSON, too large, in no known dialect, in too many envelopes, or
    breaks the rules of its dialect. Nesting is bounded by the JSON parser (1,024 levels).
    """
    if value is None:
        return Skip(SkipKind.TOMBSTONE, "null value")
    if len(value) > MAX_EVENT_BYTES:
        raise bad_event(f"an event of {len(value)} bytes; at most {MAX_EVENT_BYTES} are read")
    texts = _texts(headers)
    content_type = texts.get("content-type", "")
    if "ce_specversion" in texts and not content_type.startswith(cloud_event.STRUCTURED):
        attributes = {name.removeprefix("ce_"): text for name, text in texts.items() if name.startswith("ce_")}
        read = partial(_read, envelopes=1)
        return cloud_event.parse_binary(attributes, content_type, value, read).within("CloudEvent in binary mode")
    if value[:1] == b"\0":
        raise bad_event(
            "the value begins with a zero byte, as those do that a schema registry describes; set SCHEMA_REGISTRY_URL"
        )
    document = json_value(value, "the event")
    if not isinstance(document, dict):
        raise bad_event("the event must be a JSON object")
    if (parsed := _read(document, envelopes=0)) is not None:
        return parsed
    raise bad_event(
        "no known kind of event: expected a bucket notification ('Records'), an EventBridge event ('detail-type'), "
        "a CloudEvent ('specversion' or the header ce_specversion), any of these in an SNS or SQS message ('Message', "
        "'body'), or an audio.uploaded event ('bucket' and 'key')"
    )


def _read(document: object, envelopes: int) -> Parsed | None:
    """Read a document within so many envelopes; None where no dialect recognises it."""
    if envelopes > MAX_ENVELOPES:
        raise bad_event(f"the event is in more than {MAX_ENVELOPES} envelopes, one in another")
    if not isinstance(document, dict):
        return None
    for dialect in DIALECTS:
        if dialect.recognises(document):
            parsed = dialect.parse(document, partial(_read, envelopes=envelopes + 1))
            return parsed.within(dialect.name(document))
    return None


def _texts(headers: Headers) -> dict[str, str]:
    """Headers by their names in lower case; of several of one name the last."""
    return {name.lower(): value.decode("utf-8", errors="replace") for name, value in headers[:_HEADERS_READ] if value}


def trace_in(headers: Headers, parsed: Parsed | None) -> Trace:
    """The trace context of a record: in its headers, else in the event."""
    return trace_of(_texts(headers)) or (parsed.trace if isinstance(parsed, Uploads) else ())


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
