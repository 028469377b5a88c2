"""What records of the input topic are taken for: real captures of MinIO, our own event, and rubbish."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import Reason, Rejected, Stage
from consumer.events import Parsed, Skip, SkipKind, Uploads, check_buckets, parse
from consumer.events.parse import MAX_EVENT_BYTES
from schemas import AudioUploaded
from tests.support.events import CAPTURES

PUT: dict[str, Any] = orjson.loads(CAPTURES["put"])


def parse_value(value: bytes | None) -> Parsed:
    return parse((), None, value)


def parse_document(document: object) -> Parsed:
    return parse_value(orjson.dumps(document))


def uploaded(parsed: Parsed) -> AudioUploaded:
    assert isinstance(parsed, Uploads)
    (upload,) = parsed.uploads
    return upload


def skipped(parsed: Parsed) -> SkipKind:
    assert isinstance(parsed, Skip)
    return parsed.kind


def rejected(value: bytes) -> str:
    with pytest.raises(Rejected) as caught:
        parse_value(value)
    assert (caught.value.reason, caught.value.stage) == (Reason.BAD_EVENT, Stage.PARSE)
    return caught.value.message


def put_with(**stored: object) -> dict[str, Any]:
    """The captured put with fields of ``s3.object`` replaced; None takes the field away."""
    document = copy.deepcopy(PUT)
    target = document["Records"][0]["s3"]["object"]
    for name, value in stored.items():
        target.pop(name, None) if value is None else target.update({name: value})
    return document


def put_named(event_name: str) -> dict[str, Any]:
    document = copy.deepcopy(PUT)
    document["Records"][0]["eventName"] = event_name
    return document


@pytest.mark.parametrize(
    ("capture", "key", "size"),
    [
        ("put", "folder one/ünï cødé/文件 +&=%?#.txt", 5),
        ("overwrite", "folder one/ünï cødé/文件 +&=%?#.txt", 5),
        ("copy", "copy of/ü x.txt", 5),
        ("completemultipart", "multi part/12MB ü.bin", 12582912),
        ("zero-byte", "zero/byte file", None),
    ],
)
def test_captured_uploads_name_their_object(capture: str, key: str, size: int | None) -> None:
    upload = uploaded(parse_value(CAPTURES[capture]))
    assert (upload.bucket, upload.key, upload.size_bytes) == ("b-0551e8", key, size)
    assert upload.version_id is None
    assert upload.etag


def test_a_version_is_taken_over() -> None:
    upload = uploaded(parse_value(CAPTURES["versioned-put"]))
    assert upload.version_id == "96fe301c-5de4-4202-aeb4-225c9e7cbd08"
    assert upload.etag == "c4ca4238a0b923820dcc509a6f75849b"


@pytest.mark.parametrize("version", ["null", "1", ""])
def test_versions_that_cannot_be_asked_for_are_left_out(version: str) -> None:
    assert uploaded(parse_document(put_with(versionId=version))).version_id is None


@pytest.mark.parametrize(
    ("capture", "kind"),
    [
        ("delete", SkipKind.REMOVED),
        ("versioned-delete", SkipKind.REMOVED),
        ("versioned-deletemarker", SkipKind.REMOVED),
        ("dir-marker", SkipKind.FOLDER_MARKER),
    ],
)
def test_captures_that_ask_for_no_work(capture: str, kind: SkipKind) -> None:
    assert skipped(parse_value(CAPTURES[capture])) is kind


@pytest.mark.parametrize("change", ["PutTagging", "DeleteTagging", "PutRetention", "PutLegalHold"])
def test_changes_of_an_object_are_not_uploads(change: str) -> None:
    assert skipped(parse_document(put_named(f"s3:ObjectCreated:{change}"))) is SkipKind.OTHER_EVENT


def test_the_record_decides_over_what_stands_beside_it() -> None:
    document = put_with(key="right+one.wav") | {"Key": "other/wrong.wav", "EventName": "s3:ObjectRemoved:Delete"}
    assert uploaded(parse_document(document)).key == "right one.wav"


def test_keys_are_unescaped_exactly_once() -> None:
    assert uploaded(parse_document(put_with(key="a%2520b%2B"))).key == "a%20b+"


def test_a_key_that_is_not_utf8_is_rejected_rather_than_guessed() -> None:
    assert "UTF-8" in rejected(orjson.dumps(put_with(key="caf%E9.wav")))


def test_an_object_with_content_is_no_folder_marker() -> None:
    assert uploaded(parse_document(put_with(key="odd%2F", size=7))).key == "odd/"


def test_quotes_of_an_etag_go() -> None:
    assert uploaded(parse_document(put_with(eTag='"abc"'))).etag == "abc"


def test_every_upload_of_a_notification_counts_and_the_rest_does_not() -> None:
    records = [document["Records"][0] for document in (put_named("s3:ObjectRemoved:Delete"), PUT, put_with(key="b"))]
    parsed = parse_document({"Records": records})
    assert isinstance(parsed, Uploads)
    assert [upload.key for upload in parsed.uploads] == ["folder one/ünï cødé/文件 +&=%?#.txt", "b"]


def test_tombstones_and_test_events_are_skipped() -> None:
    assert skipped(parse_value(None)) is SkipKind.TOMBSTONE
    assert skipped(parse_document({"Service": "S3", "Event": "s3:TestEvent"})) is SkipKind.TEST_EVENT


OWN = {"bucket": "calls", "key": "a b%20+.wav", "etag": "e", "sizeBytes": 3, "options": {"language": "de"}}


@pytest.mark.parametrize(
    "document",
    [OWN, {"specversion": "1.0", "type": "audio.uploaded.v1", "source": "/x", "id": "1", "data": OWN}],
    ids=["bare", "cloud event"],
)
def test_our_own_event_bare_and_in_its_envelope(document: dict[str, Any]) -> None:
    upload = uploaded(parse_document(document))
    assert (upload.bucket, upload.key, upload.etag, upload.size_bytes) == ("calls", "a b%20+.wav", "e", 3)
    assert upload.options.language == "de"


def test_fields_of_later_minor_versions_are_ignored() -> None:
    assert uploaded(parse_document(OWN | {"colour": "blue"})).key == "a b%20+.wav"


def test_cloud_events_of_other_types_are_skipped() -> None:
    assert skipped(parse_document({"specversion": "1.0", "type": "order.paid", "data": OWN})) is SkipKind.OTHER_EVENT


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"specversion": "1.0", "type": "audio.uploaded.v2", "data": OWN}, "audio.uploaded.v1"),
        ({"specversion": "1.0", "type": "audio.uploaded.v1"}, "no field 'data'"),
        ({"specversion": "1.0", "type": "audio.uploaded.v1", "data": None}, "audio.uploaded"),
        ({"specversion": "0.3", "type": "audio.uploaded.v1", "data": OWN}, "specversion"),
        ({"specversion": "1.0"}, "'type'"),
        ({"bucket": "calls", "key": ""}, "key"),
        ({"bucket": "calls", "key": 5}, "key"),
        ({"bucket": "calls", "key": "k", "sizeBytes": -1}, "sizeBytes"),
        ({"Records": []}, "Records"),
        ({"Records": {}}, "Records"),
        ({"Records": [None]}, "eventName"),
        ({"Records": [{"eventName": "s3:ObjectCreated:Put"}]}, "'s3'"),
        ({"Records": [{"eventName": "s3:ObjectCreated:Put", "s3": {"object": {}}}]}, "'key'"),
        ({}, "no known kind"),
        ([], "JSON object"),
    ],
)
def test_broken_events_are_rejected_by_name_of_the_fault(document: object, fault: str) -> None:
    assert fault in rejected(orjson.dumps(document))


@pytest.mark.parametrize("value", [b"", b"\xff\xfe", b"{", b'{"key": "\\ud800"}', b"[" * 5000])
def test_what_is_not_json_is_rejected(value: bytes) -> None:
    assert "not JSON" in rejected(value)


def test_a_huge_event_is_not_even_parsed() -> None:
    assert "at most" in rejected(b" " * (MAX_EVENT_BYTES + 1))


def test_buckets_outside_the_list_are_rejected_even_beside_allowed_ones() -> None:
    inside, outside = AudioUploaded(bucket="calls", key="k"), AudioUploaded(bucket="secrets", key="k")
    check_buckets(Uploads((inside,)), {"calls"})
    with pytest.raises(Rejected, match="secrets") as caught:
        check_buckets(Uploads((inside, outside)), {"calls"})
    assert caught.value.reason is Reason.BUCKET_NOT_ALLOWED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


def paths(node: object, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path for name, child in children for path in [(*here, name), *paths(child, (*here, name))]]


@st.composite
def mutated_captures(draw: st.DrawFn) -> bytes:
    document: Any = orjson.loads(draw(st.sampled_from(sorted(CAPTURES.values()))))
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(paths(document)))
        node = document
        for name in parents:
            node = node[name]
        if draw(st.booleans()):
            node[last] = draw(json_values)
        else:
            del node[last]
        if not paths(document):
            break
    return orjson.dumps(document)


def is_orderly(value: bytes) -> bool:
    """Whether parsing ends in one of the ways it may: uploads, a skip, or a bad event. Others escape."""
    try:
        parsed = parse_value(value)
    except Rejected as rejection:
        return rejection.reason is Reason.BAD_EVENT
    return isinstance(parsed, Skip) or len(parsed.uploads) > 0


@given(st.one_of(st.binary(), mutated_captures(), json_values.map(orjson.dumps)))
def test_nothing_but_rejected_escapes(value: bytes) -> None:
    assert is_orderly(value)


@given(st.sampled_from(sorted(CAPTURES.values())), st.data())
def test_flipped_bytes_never_escape_either(capture: bytes, data: st.DataObject) -> None:
    changed = bytearray(capture)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    assert is_orderly(bytes(changed))
