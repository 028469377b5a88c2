"""Events as every sender writes them, in every envelope, and such that nobody would."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote, quote_plus

import orjson

Document = dict[str, Any]
CAPTURES = {path.stem: path.read_bytes() for path in (Path(__file__).parents[1] / "data/minio-events").iterdir()}
"""What a real MinIO sent."""


def record(sender: str, key: str, name: str = "ObjectCreated:Put", **stored: object) -> Document:
    return {
        "eventVersion": "2.1",
        "eventSource": sender,
        "eventName": name,
        "s3": {"bucket": {"name": "calls"}, "object": {"key": key, "size": 7, "eTag": "e1", **stored}},
    }


def minio(key: str) -> Document:
    one = record("minio:s3", quote(key, safe="").replace("%20", "+"), "s3:ObjectCreated:Put", versionId="v1")
    return {"EventName": "s3:ObjectCreated:Put", "Key": f"calls/{key}", "Records": [one]}


def aws(key: str) -> Document:
    return {"Records": [record("aws:s3", quote_plus(key, safe="/"), versionId="v1")]}


def ceph(key: str) -> Document:
    """Sizes as text, and lists of objects with a ``key`` of their own."""
    lists: Document = {"metadata": [{"key": "x-amz-meta-a", "val": "b"}], "tags": [{"key": "t", "val": "u"}]}
    return {"Records": [record("ceph:s3", key, size="7", versionId="v1", **lists)]}


def bridge(key: str) -> Document:
    stored = {"key": key, "size": 7, "etag": "e1", "version-id": "v1", "sequencer": "00"}
    detail = {"version": "0", "bucket": {"name": "calls"}, "object": stored, "reason": "PutObject"}
    return {"version": "0", "id": "1", "detail-type": "Object Created", "source": "aws.s3", "detail": detail}


def own(key: str) -> Document:
    return {"bucket": "calls", "key": key, "versionId": "v1", "eTag": '"e1"', "size": 7}


SENDERS = {"MinIO": minio, "AWS S3": aws, "Ceph": ceph, "EventBridge": bridge, "own": own}


def sns(event: object) -> Document:
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:x:1:t", "Message": orjson.dumps(event).decode()}


def sqs(event: object) -> Document:
    return {"messageId": "1", "receiptHandle": "r", "body": orjson.dumps(event).decode()}


def sqs_api(event: object) -> Document:
    return {"MessageId": "1", "ReceiptHandle": "r", "Body": orjson.dumps(event).decode()}


def lambda_sqs(event: object) -> Document:
    return {"Records": [sqs(event) | {"eventSource": "aws:sqs"}]}


def lambda_sns(event: object) -> Document:
    return {"Records": [{"EventSource": "aws:sns", "Sns": sns(event)}]}


def cloud_event(event: Document) -> Document:
    ours = "bucket" in event and "key" in event
    kind = "audio.uploaded.v1" if ours else "com.amazonaws.s3.ObjectCreated:Put"
    return {"specversion": "1.0", "id": "1", "source": "/s", "type": kind, "data": event}


def cloud_event_base64(event: Document) -> Document:
    envelope = cloud_event(event)
    data = orjson.dumps(envelope.pop("data"))
    return envelope | {"data_base64": base64.b64encode(data).decode()}


Wrap = Callable[[Document], Document]
ENVELOPES: dict[str, Wrap] = {
    "none": lambda event: event,
    "SNS": sns,
    "SQS": sqs,
    "SQS as its API has it": sqs_api,
    "SQS for Lambda": lambda_sqs,
    "SNS for Lambda": lambda_sns,
    "SNS in SQS": lambda event: sqs(sns(event)),
    "CloudEvent": cloud_event,
    "CloudEvent, Base64": cloud_event_base64,
    "CloudEvent in SNS in SQS": lambda event: sqs(sns(cloud_event(event))),
}


_RUBBISH = tuple(
    text.encode()
    for text in (
        *(
            "null",
            "true",
            "0",
            "-1",
            "9223372036854775808",
            "1.5",
            '""',
            '"k"',
            '"\ud7ff\\u0000"',
            '"%"',
            '"%FF"',
            '"{}"',
        ),
        *('"[]"', "[]", "{}", "[[]]", '{"": ""}'),
    )
)
"""JSON that may stand where something else should."""


def mutations(seed: int, count: int) -> Iterator[tuple[tuple[tuple[str, bytes], ...], bytes]]:
    """Headers and value of so many records: real ones with parts changed, dropped, wrapped, or bytes flipped."""
    random = Random(seed)
    good: list[Document] = [orjson.loads(capture) for capture in CAPTURES.values()]
    good += [sender("a b+%20é.wav") for sender in SENDERS.values()]
    for _ in range(count):
        document = orjson.loads(orjson.dumps(random.choice(good)))
        for _ in range(random.choice((0, 1, 1, 2, 4))):
            _change(document, random)
        for _ in range(random.choice((0, 0, 1, 2, 4))):
            document = random.choice(list(ENVELOPES.values()))(document)
        value = bytearray(orjson.dumps(document))
        for _ in range(random.choice((0, 0, 0, 1, 3))):
            position = random.randrange(len(value))
            value[position : position + random.choice((0, 1, 1, 40))] = random.randbytes(random.choice((0, 1, 1, 8)))
            value = value or bytearray(b"{")
        yield _headers(random), bytes(value)


def _change(document: Document, random: Random) -> None:
    """Replace, drop or move something somewhere inside."""
    node: Any = document
    part = orjson.dumps(document.get(random.choice(("Records", "detail", "data"))))
    while True:
        names = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not names:
            return
        name = random.choice(names)
        if isinstance(node[name], dict | list) and node[name] and random.random() < 0.8:
            node = node[name]
            continue
        if random.random() < 0.3:
            del node[name]
        else:
            node[name] = orjson.loads(random.choice((*_RUBBISH, part)))
        return


def _headers(random: Random) -> tuple[tuple[str, bytes], ...]:
    if random.random() < 0.8:
        return ()
    names = ("ce_specversion", "ce_type", "ce_id", "content-type", "CE_TYPE", "")
    values = (
        b"1.0",
        b"audio.uploaded.v1",
        b"audio.uploaded.v2",
        b"x",
        b"",
        b"\xff",
        b"application/cloudevents+json",
        b"text/plain",
    )
    return tuple((random.choice(names), random.choice(values)) for _ in range(random.randrange(4)))
