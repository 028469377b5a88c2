"""Envelopes of Amazon's queues, with the event inside as text of JSON.

SNS: ``{"Type": "Notification", "TopicArn", "Message": "…"}``. SQS: ``{"messageId", "body": "…"}``, or ``Body``, as its
API has it. Lambda's lists of either: ``{"Records": [{"eventSource": "aws:sqs", "body": "…"}]}`` and
``{"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "…"}}]}``. One holds the other where a topic feeds a queue.
"""

from typing import Any

from consumer.events import bare
from consumer.events.parsed import (
    Document,
    Parsed,
    Read,
    Skip,
    SkipKind,
    bad_event,
    combined,
    json_value,
    record_list,
)

_TEXTS = {"Message": "SNS notification", "body": "SQS message", "Body": "SQS message"}
"""The field that holds the event, and whose it is."""


def recognises(document: Document) -> bool:
    if bare.recognises(document):
        return False
    return _text_field(document) is not None or _first_of_list(document) is not None


def name(document: Document) -> str:
    one = document if _text_field(document) else _first_of_list(document) or {}
    return _TEXTS[_text_field(one) or "body"]


def parse(document: Document, read: Read) -> Parsed:
    if _text_field(document):
        return _parse_one(document, read)
    return combined([_parse_one(_unpacked(record), read) for record in record_list(document["Records"], "'Records'")])


def _text_field(document: Any) -> str | None:
    """The field with the event's text, in an envelope of its own."""
    if not isinstance(document, dict):
        return None
    return next((field for field in _TEXTS if isinstance(document.get(field), str)), None)


def _first_of_list(document: Document) -> Document | None:
    """The first envelope of a list of them, as Lambda has it."""
    records = document.get("Records")
    first = _unpacked(records[0]) if isinstance(records, list) and records else None
    return first if _text_field(first) else None


def _unpacked(record: Any) -> Any:
    return record.get("Sns", record) if isinstance(record, dict) else record


def _parse_one(envelope: Any, read: Read) -> Parsed:
    field = _text_field(envelope)
    if field is None:
        raise bad_event("a record of the list has no text in 'body' or 'Sns.Message'")
    if envelope.get("Type") in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        return Skip(SkipKind.OTHER_EVENT, envelope["Type"])
    what = f"field {field!r} of the {_TEXTS[field]}"
    parsed = read(json_value(envelope[field].encode(), what))
    if parsed is None:
        raise bad_event(f"{what} holds no known kind of event")
    return parsed
