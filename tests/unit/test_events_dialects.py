"""Every sender and every envelope, with keys that are easy to get wrong."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import Reason, Rejected
from consumer.events import Parsed, Skip, SkipKind, Uploads, parse
from consumer.events.parse import MAX_ENVELOPES
from consumer.events.parsed import MAX_CONTAINERS, MAX_RECORDS
from schemas import AudioUploaded
from tests.support.events import (
    ENVELOPES,
    SENDERS,
    Document,
    aws,
    bridge,
    ceph,
    cloud_event,
    lambda_sns,
    minio,
    mutations,
    own,
    record,
    sns,
    sqs,
)

KEYS = [
    "call.wav",
    "2026/11/call one.wav",
    "a+b & c=d%20e%2Fé.wav",
    'it\'s "quoted" \\ 100 %.ogg',
    "ünï cødé/文件 🎙.flac",
    "x" * 1024,
    "é" * 512,
    "folder/with.wav/",
]


def parse_document(document: object, **headers: str) -> Parsed:
    encoded = tuple(
        (name.replace("_", "-", 1) if name == "content_type" else name, text.encode()) for name, text in headers.items()
    )
    return parse(encoded, b"key", orjson.dumps(document))


def the_upload(parsed: Parsed) -> AudioUploaded:
    assert isinstance(parsed, Uploads)
    (upload,) = parsed.uploads
    return upload


def rejected(document: object, **headers: str) -> str:
    with pytest.raises(Rejected) as caught:
        parse_document(document, **headers)
    assert caught.value.reason is Reason.BAD_EVENT
    return caught.value.message


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_the_object_is_the_same_whoever_names_it(sender: str, envelope: str, key: str) -> None:
    upload = the_upload(parse_document(ENVELOPES[envelope](SENDERS[sender](key))))
    assert upload == AudioUploaded(bucket="calls", key=key, version_id="v1", etag="e1", size_bytes=7)


@pytest.mark.parametrize("sender", SENDERS)
def test_a_cloud_event_in_binary_mode(sender: str) -> None:
    kind = "audio.uploaded.v1" if sender == "own" else "com.amazonaws.s3.object.created"
    headers = {
        "ce_specversion": "1.0",
        "ce_id": "1",
        "ce_source": "/s",
        "ce_type": kind,
        "content_type": "application/json",
    }
    parsed = parse_document(SENDERS[sender](KEYS[2]), **headers)
    assert the_upload(parsed).key == KEYS[2]
    assert parsed.taken_for[0] == "CloudEvent in binary mode"


def test_a_structured_cloud_event_says_so_in_its_header_or_not() -> None:
    event = cloud_event(own("k"))
    for headers in ({}, {"content_type": "application/cloudevents+json; charset=UTF-8", "ce_specversion": "1.0"}):
        assert the_upload(parse_document(event, **headers)).key == "k"


@pytest.mark.parametrize("carried", [aws("k")["Records"][0], bridge("k")["detail"]], ids=["record", "detail"])
def test_one_record_alone_is_read_too(carried: Document) -> None:
    assert the_upload(parse_document(carried)).key == "k"
    assert the_upload(parse_document(cloud_event(carried))).key == "k"


def test_all_records_of_all_messages_count() -> None:
    records = [record("aws:s3", f"{number}.wav") for number in range(3)]
    deleted = record("aws:s3", "gone.wav", "ObjectRemoved:Delete")
    messages = [sqs({"Records": [*records, deleted]}), sqs({"Records": [deleted]}), sqs(aws("last.wav"))]
    parsed = parse_document({"Records": messages})
    assert isinstance(parsed, Uploads)
    assert [upload.key for upload in parsed.uploads] == ["0.wav", "1.wav", "2.wav", "last.wav"]


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (minio("k"), ("MinIO notification",)),
        (sqs(sns(aws("k"))), ("SQS message", "SNS notification", "AWS S3 notification")),
        (lambda_sns(ceph("k")), ("SNS notification", "Ceph RGW notification")),
        (cloud_event(bridge("k")), ("CloudEvent", "EventBridge event")),
        (cloud_event(own("k")), ("CloudEvent", "audio.uploaded")),
        (own("k"), ("audio.uploaded",)),
        (bridge("k") | {"detail-type": "Object Deleted"}, ("EventBridge event",)),
    ],
)
def test_it_says_what_the_event_was_taken_for(document: Document, path: tuple[str, ...]) -> None:
    assert parse_document(document).taken_for == path


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (bridge("k") | {"detail-type": "Object Deleted"}, SkipKind.REMOVED),
        (bridge("k") | {"detail-type": "Object Tags Added"}, SkipKind.OTHER_EVENT),
        (bridge("k") | {"source": "aws.ec2", "detail": {}}, SkipKind.OTHER_EVENT),
        (
            bridge("folder/") | {"detail": {"bucket": {"name": "calls"}, "object": {"key": "folder/", "size": 0}}},
            SkipKind.FOLDER_MARKER,
        ),
        ({"Records": [record("ceph:s3", "folder/", size="0")]}, SkipKind.FOLDER_MARKER),
        (sqs({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "calls"}), SkipKind.TEST_EVENT),
        ({"Type": "SubscriptionConfirmation", "TopicArn": "t", "Message": "You have chosen …"}, SkipKind.OTHER_EVENT),
        ({"Records": [record("aws:s3", "k", "ObjectRestore:Completed")]}, SkipKind.OTHER_EVENT),
        (cloud_event(own("k")) | {"type": "com.example.file"}, SkipKind.OTHER_EVENT),
        ({"specversion": "1.0", "type": "com.example.ping"}, SkipKind.OTHER_EVENT),
        ({"specversion": "1.0", "type": "com.example.ping", "data": "text"}, SkipKind.OTHER_EVENT),
        ({"specversion": "1.0", "type": "com.example.ping", "data_base64": "/w=="}, SkipKind.OTHER_EVENT),
    ],
)
def test_what_asks_for_no_work_is_skipped(document: Document, kind: SkipKind) -> None:
    parsed = parse_document(document)
    assert isinstance(parsed, Skip)
    assert parsed.kind is kind


def test_binary_mode_without_a_value_is_a_tombstone_and_of_other_types_is_skipped() -> None:
    headers = (("ce_specversion", b"1.0"), ("ce_type", b"audio.uploaded.v1"))
    tombstone = parse(headers, b"k", None)
    assert isinstance(tombstone, Skip)
    assert tombstone.kind is SkipKind.TOMBSTONE
    for kind, content_type in ((b"image.resized", b"image/png"), (b"other", b"")):
        parsed = parse(
            (("ce_specversion", b"1.0"), ("ce_type", kind), ("content-type", content_type)), None, b"\x89PNG"
        )
        assert isinstance(parsed, Skip)


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (sqs("text") | {"body": "no json"}, "field 'body' of the SQS message is not JSON"),
        (sns({"order": 5}), "field 'Message' of the SNS notification holds no known kind of event"),
        ({"Records": [sqs(aws("k")), {"messageId": "2"}]}, "no text in 'body' or 'Sns.Message'"),
        (bridge("k") | {"detail": {"bucket": {"name": "calls"}}}, "'bucket' and 'object'"),
        (bridge("k") | {"detail": {"bucket": {"name": "calls"}, "object": {}}}, "detail.object.key"),
        (bridge("k") | {"detail-type": 5}, "'detail-type'"),
        (bridge("k") | {"detail": {"bucket": {}, "object": {"key": "k"}}}, "bucket"),
        (cloud_event(own("k")) | {"data_base64": "e30="}, "both 'data' and 'data_base64'"),
        ({"specversion": "1.0", "type": "audio.uploaded.v1", "data_base64": "%"}, "Base64"),
        ({"specversion": "1.0", "type": "audio.uploaded.v1", "data_base64": 5}, "Base64"),
        ({"specversion": "1.0", "type": "audio.uploaded.v1", "data_base64": "/w=="}, "data is not JSON"),
        ({"Records": [record("aws:s3", "k")] * (MAX_RECORDS + 1)}, f"at most {MAX_RECORDS}"),
        ({"Records": [sqs({"Records": [record("aws:s3", "k")] * 600})] * 2}, f"at most {MAX_RECORDS}"),
    ],
)
def test_broken_envelopes_are_rejected_by_name_of_the_fault(document: Document, fault: str) -> None:
    assert fault in rejected(document)


def test_our_own_event_in_binary_mode_must_be_json() -> None:
    headers = {"ce_specversion": "1.0", "ce_type": "audio.uploaded.v1"}
    assert "'image/png'; expected JSON" in rejected({}, content_type="image/png", **headers)


def test_envelopes_in_envelopes_have_an_end() -> None:
    document: Document = aws("k")
    for _ in range(MAX_ENVELOPES):
        document = sqs(document)
    assert the_upload(parse_document(document)).key == "k"
    assert f"more than {MAX_ENVELOPES} envelopes" in rejected(sqs(document))


def test_keys_of_ceph_are_as_they_are_unless_they_were_escaped_on_the_way() -> None:
    for written, key in (("a+b.wav", "a+b.wav"), ("100 %20.wav", "100 %20.wav"), ("a+b%2Fc.wav", "a b/c.wav")):
        assert the_upload(parse_document({"Records": [record("ceph:s3", written)]})).key == key


def test_what_is_absent_is_absent() -> None:
    bare = {"bucket": "calls", "key": "k", "versionId": "", "eTag": '""'}
    assert the_upload(parse_document(bare)) == AudioUploaded(bucket="calls", key="k")
    multipart = record("aws:s3", "k", eTag="d41d8cd9-2", size=0)
    assert the_upload(parse_document({"Records": [multipart]})).etag == "d41d8cd9-2"


@pytest.mark.parametrize(
    "document",
    [
        {"Records": [record("aws:s3", "k" * 400)] * MAX_RECORDS},
        {"Records": [sqs({"Records": [record("aws:s3", "%41" * 100)] * 10})] * 90},
        cloud_event({"bucket": "calls", "key": "k", "x": [[[]]] * 100_000}),
        cloud_event({"bucket": "calls", "key": "k", "x": [[]] * (MAX_CONTAINERS - 10)}),
        sqs({"a": "\\" * 200_000}),
    ],
    ids=["records", "messages", "lists", "as many lists as are read", "text"],
)
def test_the_largest_events_take_no_longer_than_a_tenth_of_a_second(document: Document) -> None:
    value = orjson.dumps(document)
    spent = []
    with _untraced():
        for _ in range(3):
            began = time.process_time()
            with suppress(Rejected):
                parse((), None, value)
            spent.append(time.process_time() - began)
    assert min(spent) < 0.1


@contextmanager
def _untraced() -> Iterator[None]:
    """Without what measures coverage, which makes the parser three times as slow."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


def is_orderly(value: bytes, headers: tuple[tuple[str, bytes], ...]) -> bool:
    """Whether parsing ends in one of the ways it may: uploads, a skip, or a bad event. Others escape."""
    try:
        parsed = parse(headers, None, value)
    except Rejected as rejection:
        return rejection.reason is Reason.BAD_EVENT
    return isinstance(parsed, Skip) or len(parsed.uploads) > 0


nested = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                sorted(
                    {
                        "Records",
                        "Message",
                        "body",
                        "Body",
                        "Sns",
                        "Type",
                        "detail",
                        "detail-type",
                        "source",
                        "bucket",
                        "object",
                        "key",
                        "name",
                        "specversion",
                        "type",
                        "data",
                        "data_base64",
                        "s3",
                        "eventName",
                        "eventSource",
                        "size",
                        "eTag",
                        "versionId",
                        "Event",
                    }
                )
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(
    nested,
    st.dictionaries(st.sampled_from(["ce_specversion", "ce_type", "content-type", "CE_ID"]), st.binary(max_size=30)),
)
def test_no_shape_of_an_event_makes_anything_but_rejected_escape(document: object, headers: dict[str, bytes]) -> None:
    assert is_orderly(orjson.dumps(document), tuple(headers.items()))


def test_twenty_thousand_mutated_events_are_read_in_order() -> None:
    """``scripts/soak events`` tries a million more."""
    for headers, value in mutations(seed=1, count=20_000):
        assert is_orderly(value, headers), (headers, value)
