"""Values in the wire format of schema registries: read as their schema says, or refused, and nothing else."""

import base64
import io
import json
from datetime import UTC, datetime
from typing import Any

import fastavro
import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import Rejected
from consumer.events import Uploads, parse
from consumer.events.framed import (
    AudioUploadedMessage,
    Framed,
    as_json,
    avro_reader,
    framed,
    json_reader,
    protobuf_reader,
)
from schemas import AudioUploaded
from schemas.registered import avro, protobuf

FULL: dict[str, Any] = {
    "bucket": "calls",
    "key": "2026/größe +1.wav",
    "versionId": "v1",
    "eTag": "0123",
    "size": 5_000_000_000,
    "contentType": "audio/wav",
    "options": {
        "language": "de",
        "task": "translate",
        "prompt": "RE-2041",
        "vocabulary": ["Özdemir"],
        "channels": "split",
        "formats": ["srt", "vtt"],
        "words": False,
        "range": "1-2",
        "priority": "high",
    },
}
SERIALIZED = base64.b64encode(AudioUploadedMessage.DESCRIPTOR.file.serialized_pb).decode()
BARE = {"bucket": "calls", "key": "a.wav"}


def written(schema: str, document: Any, *referenced: str) -> bytes:
    named: dict[str, Any] = {}
    for text in referenced:
        fastavro.parse_schema(json.loads(text), named)
    target = io.BytesIO()
    fastavro.schemaless_writer(target, fastavro.parse_schema(json.loads(schema), named), document)
    return target.getvalue()


def upload_in(document: object) -> AudioUploaded:
    parsed = parse((), None, as_json(document))
    assert isinstance(parsed, Uploads)
    return parsed.uploads[0]


@pytest.mark.parametrize("event", [BARE, FULL])
def test_the_own_event_says_the_same_in_each_format(event: dict[str, Any]) -> None:
    expected = upload_in(event)
    assert expected.options.ignored == ()
    assert upload_in(avro_reader(avro())(written(avro(), event))) == expected
    payload = b"\x00" + json_format.ParseDict(event, AudioUploadedMessage()).SerializeToString()
    assert upload_in(protobuf_reader(protobuf())(payload)) == expected
    assert upload_in(json_reader(orjson.dumps(event))) == expected


def test_only_values_in_the_format_are_taken_apart() -> None:
    assert framed(b"\x00\x00\x00\x01\x02rest") == Framed(258, b"rest")
    assert framed(b"{}") is None
    assert framed(b"") is None
    assert framed(b"\x00\x00\x00\x01") is None


def test_without_a_registry_it_is_said_what_is_missing() -> None:
    with pytest.raises(Rejected, match="SCHEMA_REGISTRY_URL"):
        parse((), None, b"\x00\x00\x00\x00\x01rest")


def test_another_organisations_record_is_read_too_with_its_logical_types_and_references() -> None:
    place = {
        "type": "record",
        "name": "Place",
        "namespace": "org",
        "fields": [{"name": "name", "type": "string"}, {"name": "arn", "type": "bytes"}],
    }
    record = {
        "type": "record",
        "name": "Uploaded",
        "namespace": "org",
        "fields": [
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "place", "type": "org.Place"},
            {"name": "places", "type": {"type": "map", "values": "org.Place"}},
            {"name": "bucket", "type": "string"},
            {"name": "key", "type": "string"},
        ],
    }
    where = {"name": "here", "arn": b"\xff"}
    document = {"at": datetime(2026, 1, 2, tzinfo=UTC), "place": where, "places": {"a": where}, **BARE}
    reader = avro_reader(json.dumps(record), [json.dumps(place)])
    found = reader(written(json.dumps(record), document, json.dumps(place)))
    assert upload_in(found) == upload_in(BARE)


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ({"type": "array", "items": "null"}, "takes up no byte"),
        ({"type": "array", "items": {"type": "record", "name": "Empty", "fields": []}}, "takes up no byte"),
        ({"type": "array", "items": {"type": "fixed", "name": "None", "size": 0}}, "takes up no byte"),
        (["null", "Own"], "within itself"),
        ({"type": "map", "values": {"type": "array", "items": "Own"}}, "within itself"),
        ("Unknown", "no Avro schema"),
    ],
)
def test_schemas_that_could_grow_without_bound_are_refused(field: Any, why: str) -> None:
    schema = {
        "type": "record",
        "name": "Own",
        "fields": [{"name": "key", "type": "string"}, {"name": "x", "type": field}],
    }
    with pytest.raises(Rejected, match=why):
        avro_reader(json.dumps(schema))


@pytest.mark.parametrize(
    ("schema", "payload", "accepted"),
    [
        ("message AudioUploaded {}", b"\x00", True),
        ("message AudioUploaded {}", b"\x02\x00", True),
        ('/* message A { */ option x = "message B {"; message Other {} message AudioUploaded {}', b"\x02\x02", True),
        ("message Outer { enum E { A = 0; } message AudioUploaded {} }", b"\x04\x00\x00", True),
        (SERIALIZED, b"\x00", True),
        (SERIALIZED, b"\x02\x02", False),
        ("message Order {}", b"\x00", False),
        ("message AudioUploaded {}", b"\x02\x02", False),
        ("message AudioUploaded {}", b"\x02\x01", False),
        ("message AudioUploaded {}", b"\xff\xff", False),
        ("message AudioUploaded {}", b"\x7f", False),
        ("message AudioUploaded {}", b"", False),
    ],
)
def test_a_protobuf_message_is_known_by_its_name(schema: str, payload: bytes, accepted: bool) -> None:
    if accepted:
        assert protobuf_reader(schema)(payload) == {}
    else:
        with pytest.raises(Rejected):
            protobuf_reader(schema)(payload)


@given(st.binary(max_size=200), st.sampled_from([avro_reader(avro()), protobuf_reader(protobuf()), json_reader]))
def test_anything_is_read_or_refused(payload: bytes, reader: Any) -> None:
    try:
        document = reader(payload)
    except Rejected:
        return
    assert isinstance(as_json(document), bytes)


@given(st.data())
def test_a_damaged_value_is_read_or_refused(data: st.DataObject) -> None:
    payload = bytearray(written(avro(), FULL))
    for place in data.draw(st.lists(st.integers(0, len(payload) - 1), max_size=5)):
        payload[place] = data.draw(st.integers(0, 255))
    try:
        as_json(avro_reader(avro())(bytes(payload)))
    except Rejected as error:
        assert error.message  # noqa: PT017 - that nothing else escapes is what is tested
