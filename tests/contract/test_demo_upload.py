"""An upload of any length is stored whole or not at all."""

from collections.abc import AsyncIterator

import pytest
from types_aiobotocore_s3 import S3Client

from consumer.operate.demo.upload import PART_BYTES, upload_in_parts
from tests.support.s3 import new_bucket

CHUNK_BYTES = 1_000_003  # which no part is a multiple of


async def stream(size_bytes: int, fault: Exception | None = None) -> AsyncIterator[bytes]:
    for start in range(0, size_bytes, CHUNK_BYTES):
        yield bytes([start % 251]) * min(CHUNK_BYTES, size_bytes - start)
    if fault is not None:
        raise fault


@pytest.mark.parametrize("size_bytes", [0, 5, PART_BYTES, 2 * PART_BYTES + 7])
async def test_what_comes_is_what_lies_there(client: S3Client, size_bytes: int) -> None:
    bucket = await new_bucket(client, "demo")
    await upload_in_parts(client, bucket, "a.wav", stream(size_bytes))
    answer = await client.get_object(Bucket=bucket, Key="a.wav")
    assert await answer["Body"].read() == b"".join([chunk async for chunk in stream(size_bytes)])


@pytest.mark.parametrize("size_bytes", [5, 2 * PART_BYTES + 7])
async def test_of_a_stream_that_breaks_off_nothing_stays(client: S3Client, size_bytes: int) -> None:
    bucket = await new_bucket(client, "demo")
    with pytest.raises(ConnectionResetError):
        await upload_in_parts(client, bucket, "a.wav", stream(size_bytes, ConnectionResetError()))
    assert "Contents" not in await client.list_objects_v2(Bucket=bucket)
    assert "Uploads" not in await client.list_multipart_uploads(Bucket=bucket)
