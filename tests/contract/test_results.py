"""consumer/store/results.py against a real S3 server."""

import asyncio
import hashlib
import json
import re
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from types_aiobotocore_s3 import S3Client

from consumer.errors import Unavailable
from consumer.store.results import ResultStore, StoredResult, marker_key, result_key, source_prefix
from consumer.store.s3 import S3
from tests.support.s3 import new_bucket

ID = "a" * 64
METADATA = {"weights-sha256": "cd" * 32, "model-size": "tiny", "etag": "abc"}


def body_of(transcript_id: str = ID, key: str = "a.wav", text: str = "words") -> bytes:
    """As much of a result as an answer needs."""
    document = {
        "transcriptId": transcript_id,
        "text": text,
        "source": {"bucket": "calls", "key": key},
        "completedAt": "2026-11-22T09:30:12Z",
    }
    return json.dumps(document).encode()


@pytest.fixture
async def bucket(client: S3Client) -> str:
    return await new_bucket(client, "transcripts")


@pytest.fixture
def results(requests: S3, bucket: str) -> ResultStore:
    return ResultStore(requests, bucket)


async def put(results: ResultStore, body: bytes, key: str = "a.wav") -> StoredResult:
    return await results.put(ID, "calls", key, body, METADATA)


async def test_a_result_is_written_and_read(results: ResultStore, client: S3Client, bucket: str) -> None:
    key = "a b/ü.wav"
    assert await results.get(ID, "calls", key) is None
    stored = await put(results, body_of(key=key), key)
    assert stored.bucket == bucket
    assert stored.key == f"results/{hashlib.sha256('calls/a b/ü.wav'.encode()).hexdigest()}/{ID}.json"
    assert stored.body == body_of(key=key)
    assert stored.document == json.loads(stored.body)
    assert await results.get(ID, "calls", key) == stored
    answer = await client.head_object(Bucket=bucket, Key=stored.key)
    assert answer["ContentType"] == "application/json"
    assert answer["Metadata"] == METADATA


async def test_the_first_result_stays_and_is_what_the_second_writer_gets(results: ResultStore) -> None:
    first = await put(results, body_of(text="first"))
    assert await put(results, body_of(text="second")) == first
    assert await results.get(ID, "calls", "a.wav") == first


async def test_of_writers_at_once_one_wins_and_all_agree(results: ResultStore) -> None:
    stored = await asyncio.gather(*(put(results, body_of(text=str(count))) for count in range(8)))
    assert len({one.body for one in stored}) == 1


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"[]",
        body_of("b" * 64),
        body_of().replace(b"completedAt", b"completed"),
        body_of().replace(b"bucket", b"bouquet"),
    ],
)
async def test_what_no_answer_can_be_made_from_is_replaced_once(
    results: ResultStore, client: S3Client, bucket: str, damaged: bytes
) -> None:
    key = result_key(ID, "calls", "a.wav")
    await client.put_object(Bucket=bucket, Key=key, Body=damaged)
    assert await results.get(ID, "calls", "a.wav") is None
    stored = await asyncio.gather(*(put(results, body_of(text=str(count))) for count in range(4)))
    assert len({one.body for one in stored}) == 1
    assert await results.get(ID, "calls", "a.wav") == stored[0]


async def test_metadata_that_no_header_can_carry_is_left_out(
    results: ResultStore, client: S3Client, bucket: str
) -> None:
    stored = await results.put(ID, "calls", "a.wav", body_of(), {"etag": "é", "model-size": "a\nb", "weights": "ok"})
    answer = await client.head_object(Bucket=bucket, Key=stored.key)
    assert answer["Metadata"] == {"weights": "ok"}


async def test_recordings_have_results_of_their_own(results: ResultStore) -> None:
    assert (
        result_key(ID, "calls", "a.wav") != result_key(ID, "calls", "b.wav") != result_key("b" * 64, "calls", "b.wav")
    )
    await put(results, body_of())
    assert await results.get(ID, "calls", "b.wav") is None


async def test_the_latest_marker_lies_beside_the_results(results: ResultStore, client: S3Client, bucket: str) -> None:
    for body in (b"1", b"2"):
        await results.put_marker("calls", "a.wav", "abc", body)
    key = marker_key("calls", "a.wav", "abc")
    answer = await client.get_object(Bucket=bucket, Key=key)
    assert await answer["Body"].read() == b"2"
    assert key.startswith(source_prefix("calls", "a.wav"))
    assert result_key(ID, "calls", "a.wav").startswith(source_prefix("calls", "a.wav"))


@given(st.none() | st.text())
def test_a_marker_is_named_safely_whatever_the_etag_is(etag: str | None) -> None:
    name = marker_key("calls", "a.wav", etag).removeprefix(source_prefix("calls", "a.wav"))
    assert re.fullmatch(r"([0-9a-f]{64}|unknown)\.dead-letter\.json", name)


async def test_a_missing_bucket_is_an_outage(requests: S3) -> None:
    results = ResultStore(requests, "no-such-bucket")
    with pytest.raises(Unavailable, match=r"no-such-bucket/results.*create the bucket"):
        await results.get(ID, "calls", "a.wav")


async def test_a_bucket_that_is_missing_is_created(requests: S3, client: S3Client) -> None:
    name = f"results-{uuid4().hex[:8]}"
    store = ResultStore(requests, name)
    await store.ensure_bucket()
    await store.ensure_bucket()
    await client.head_bucket(Bucket=name)
