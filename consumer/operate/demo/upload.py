"""An upload of a stream whose end is not known, with one part of it in memory at a time."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 * 1024 * 1024


async def upload_in_parts(client: "S3Client", bucket: str, key: str, chunks: AsyncIterable[bytes]) -> None:
    """Store what comes. Where reading or storing fails, the error goes on and there is no object."""
    parts = _parts(chunks)
    first = await anext(parts)
    if len(first) < PART_BYTES:
        await client.put_object(Bucket=bucket, Key=key, Body=first)
        return
    upload_id = (await client.create_multipart_upload(Bucket=bucket, Key=key))["UploadId"]
    try:
        done = [await _upload_part(client, bucket, key, upload_id, 1, first)]
        async for part in parts:
            done.append(await _upload_part(client, bucket, key, upload_id, len(done) + 1, part))
        await client.complete_multipart_upload(
            Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": done}
        )
    except BaseException:
        await client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        raise


async def _upload_part(
    client: "S3Client", bucket: str, key: str, upload_id: str, number: int, body: bytes
) -> "CompletedPartTypeDef":
    answer = await client.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body)
    return {"ETag": answer["ETag"], "PartNumber": number}


async def _parts(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in parts of ``PART_BYTES``, the last one shorter; at least one, which may be empty."""
    part, is_first = bytearray(), True
    async for chunk in chunks:
        part += chunk
        while len(part) >= PART_BYTES:
            yield bytes(part[:PART_BYTES])
            del part[:PART_BYTES]
            is_first = False
    if part or is_first:
        yield bytes(part)
