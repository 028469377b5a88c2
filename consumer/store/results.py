"""Transcripts in the object store, each written once.

A result lies under a key that follows from its source and its ``transcript_id``, so whoever holds the event
can find it, and doing a job again finds what the first time wrote.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from consumer.errors import Unavailable
from consumer.store.s3 import error_code, outages

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


@dataclass(frozen=True, slots=True)
class StoredResult:
    """Where a result lies, with the size and hexadecimal SHA-256 of the bytes that lie there."""

    bucket: str
    key: str
    size_bytes: int
    sha256: str


class ResultStore:
    """Writes and reads results in one bucket. ``client`` comes from ``store.s3.open_client``."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def put(self, transcript_id: str, source_bucket: str, source_key: str, body: bytes) -> StoredResult:
        """Store a result unless one is there already; the returned facts are of what lies there.

        Raises Unavailable.
        """
        key = result_key(transcript_id, source_bucket, source_key)
        with outages(f"storing {self._bucket}/{key}", self._client):
            try:
                await self._client.put_object(
                    Bucket=self._bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*"
                )
            except ClientError as error:
                if error_code(error) not in {"PreconditionFailed", "412"}:
                    raise
            else:
                return self._facts(key, body)
        present = await self.get(transcript_id, source_bucket, source_key)
        if present is None:
            raise Unavailable("store", f"{self._bucket}/{key} was there and is gone again; it is tried again")
        return self._facts(key, present)

    async def get(self, transcript_id: str, source_bucket: str, source_key: str) -> bytes | None:
        """The result that lies there, or None. Raises Unavailable."""
        key = result_key(transcript_id, source_bucket, source_key)
        with outages(f"reading {self._bucket}/{key}", self._client):
            try:
                answer = await self._client.get_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if error_code(error) != "NoSuchKey":
                    raise
                return None
            body = answer["Body"]
            async with body:
                return bytes(await body.read())

    def _facts(self, key: str, body: bytes) -> StoredResult:
        return StoredResult(self._bucket, key, len(body), hashlib.sha256(body).hexdigest())


def result_key(transcript_id: str, source_bucket: str, source_key: str) -> str:
    """Key of a result: results of one recording lie together, and no byte of its name leaks or needs escaping."""
    source = hashlib.sha256(f"{source_bucket}/{source_key}".encode()).hexdigest()
    return f"results/{source}/{transcript_id}.json"
