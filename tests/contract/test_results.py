"""consumer/store/results.py against a real S3 server."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest
from types_aiobotocore_s3 import S3Client

from consumer.errors import Unavailable
from consumer.operate.seaweed_server import SeaweedServer
from consumer.store.results import ResultStore, result_key
from tests.support.s3 import new_bucket, s3_client

ID = "a" * 64
BODY = b'{"text": "words"}'


@pytest.fixture
async def client(s3: SeaweedServer) -> AsyncIterator[S3Client]:
    async with s3_client(s3) as client:
        yield client


@pytest.fixture
async def bucket(client: S3Client) -> str:
    return await new_bucket(client, "transcripts")


async def test_a_result_is_written_and_read(client: S3Client, bucket: str) -> None:
    results = ResultStore(client, bucket)
    assert await results.get(ID, "calls", "a b/ü.wav") is None
    stored = await results.put(ID, "calls", "a b/ü.wav", BODY)
    assert stored.bucket == bucket
    assert stored.key == f"results/{hashlib.sha256('calls/a b/ü.wav'.encode()).hexdigest()}/{ID}.json"
    assert stored.size_bytes == len(BODY)
    assert stored.sha256 == hashlib.sha256(BODY).hexdigest()
    assert await results.get(ID, "calls", "a b/ü.wav") == BODY
    answer = await client.head_object(Bucket=bucket, Key=stored.key)
    assert answer["ContentType"] == "application/json"


async def test_the_first_result_stays_and_its_facts_are_told(client: S3Client, bucket: str) -> None:
    results = ResultStore(client, bucket)
    first = await results.put(ID, "calls", "a.wav", BODY)
    assert await results.put(ID, "calls", "a.wav", BODY + b"  ") == first
    assert await results.get(ID, "calls", "a.wav") == BODY


async def test_of_writers_at_once_one_wins_and_all_agree(client: S3Client, bucket: str) -> None:
    results = ResultStore(client, bucket)
    bodies = [BODY + b" " * count for count in range(8)]
    stored = await asyncio.gather(*(results.put(ID, "calls", "a.wav", body) for body in bodies))
    assert len(set(stored)) == 1


async def test_recordings_have_results_of_their_own(client: S3Client, bucket: str) -> None:
    assert (
        result_key(ID, "calls", "a.wav") != result_key(ID, "calls", "b.wav") != result_key("b" * 64, "calls", "b.wav")
    )
    results = ResultStore(client, bucket)
    await results.put(ID, "calls", "a.wav", BODY)
    assert await results.get(ID, "calls", "b.wav") is None


async def test_a_missing_bucket_is_an_outage(client: S3Client) -> None:
    results = ResultStore(client, "no-such-bucket")
    with pytest.raises(Unavailable, match=r"no-such-bucket/results.*create the bucket"):
        await results.get(ID, "calls", "a.wav")
