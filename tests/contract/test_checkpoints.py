"""consumer/store/checkpoints.py against a real S3 server."""

import logging

import pytest
from types_aiobotocore_s3 import S3Client

from consumer.errors import Unavailable
from consumer.store.checkpoints import CheckpointStore, checkpoint_key
from consumer.store.s3 import S3
from schemas import Checkpoint, LanguageCandidate
from tests.support.s3 import new_bucket
from tests.support.transcripts import make_segment

ID = "a" * 64
SECRET_WORDS = "the words of somebody"
CHECKPOINT = Checkpoint(
    transcript_id=ID,
    done_seconds=60.5,
    language="en",
    language_candidates=(LanguageCandidate(language="en", probability=0.9),),
    inference_seconds=3.25,
    segments=(make_segment(0.1, 2.0, SECRET_WORDS), make_segment(2.0, 60.5, "ü")),
)


@pytest.fixture
async def bucket(client: S3Client) -> str:
    return await new_bucket(client, "transcripts")


async def test_the_latest_checkpoint_is_read_until_it_is_deleted(requests: S3, bucket: str) -> None:
    checkpoints = CheckpointStore(requests, bucket)
    assert await checkpoints.get(ID) is None
    await checkpoints.put(CHECKPOINT.model_copy(update={"done_seconds": 30.0}))
    await checkpoints.put(CHECKPOINT)
    assert await checkpoints.get(ID) == CHECKPOINT
    assert await checkpoints.get("b" * 64) is None
    await checkpoints.delete(ID)
    await checkpoints.delete(ID)
    assert await checkpoints.get(ID) is None


WHOLE = CHECKPOINT.model_dump_json(by_alias=True).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        WHOLE[:-20],
        WHOLE.replace(b'"format":1', b'"format":2'),
        WHOLE.replace(ID.encode(), b"b" * 64),
        WHOLE.replace(b"60.5", b"-1"),
    ],
)
async def test_what_cannot_be_used_is_none_and_told_without_words(
    client: S3Client, requests: S3, bucket: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await client.put_object(Bucket=bucket, Key=checkpoint_key(ID), Body=body)
    with caplog.at_level(logging.WARNING, "consumer"):
        assert await CheckpointStore(requests, bucket).get(ID) is None
    assert checkpoint_key(ID) in caplog.text
    assert SECRET_WORDS not in caplog.text


async def test_a_missing_bucket_is_an_outage(requests: S3) -> None:
    with pytest.raises(Unavailable, match="create the bucket"):
        await CheckpointStore(requests, "no-such-bucket").get(ID)
