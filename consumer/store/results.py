"""Transcripts in the object store, each written once, and what was given up, beside them.

Everything about one recording lies under ``results/{sha256(bucket/key)}/``:

1. ``{transcript_id}.json`` is a result. Whoever holds the event can find it, and doing a job again finds what the first
   time wrote: the write has the condition that nothing lies there, and who loses the race answers with what does.
2. A result from which no answer can be made (not JSON, of another recording, fields missing) counts as none: it is
   transcribed again, and the new one replaces it, on condition that nobody did so before.
3. ``{of the ETag}.dead-letter.json`` says that and why an upload became a dead letter, ``.not-wanted.json`` that it
   was left out once its length was known. The latest one stays.

Results are read tolerantly: another version of the worker may have written them.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from botocore.exceptions import ClientError

from consumer.errors import Unavailable
from consumer.store.failures import error_code
from consumer.store.s3 import S3, Headers

log = logging.getLogger(__name__)

_CONTENT_TYPE = "application/json"
_TAKEN = {"PreconditionFailed", "412"}

Ending = Literal["dead-letter", "not-wanted"]
"""How an upload ended that has no result."""


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result as it lies there: its bytes, and the same as a document."""

    bucket: str
    key: str
    body: bytes = field(repr=False)
    document: Mapping[str, Any] = field(repr=False)


class ResultStore:
    """Writes and reads results in one bucket. ``s3`` comes from ``store.s3.open_s3``."""

    def __init__(self, s3: S3, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    async def ensure_bucket(self) -> None:
        """Create the bucket where it is missing. Where that may not be done the log says so; raises Unavailable."""
        with self._s3.asking(f"looking for bucket {self._bucket}"):
            try:
                await self._s3.head(self._bucket)
            except ClientError as error:
                if error_code(error) != "404":  # who may not ask may still write
                    return
                await self._create_bucket()

    async def _create_bucket(self) -> None:
        try:
            await self._s3.create_bucket(self._bucket)
        except ClientError as error:
            code = error_code(error)
            if code == "BucketAlreadyOwnedByYou":
                return
            message = "there is no bucket %s and it cannot be created (%s): create it, or set RESULTS_BUCKET to another"
            log.error(message, self._bucket, code)  # noqa: TRY400 - the code says all
        else:
            log.info("created bucket %s for results", self._bucket)

    async def put(
        self,
        transcript_id: str,
        source_bucket: str,
        source_key: str,
        body: bytes,
        metadata: Mapping[str, str],
    ) -> StoredResult:
        """Store a result unless one is there already; what is returned is what lies there.

        ``metadata`` lies beside it as the object's user metadata; what is not printable ASCII is left out.
        Raises Unavailable.
        """
        key = result_key(transcript_id, source_bucket, source_key)
        condition = {"If-None-Match": "*"}
        while not await self._put_if(condition, key, body, metadata):
            present = await self._read(key)
            if present is None:
                raise Unavailable("store", f"{self._bucket}/{key} was there and is gone again; it is tried again")
            found, etag = present
            if (document := _document(found, transcript_id)) is not None:
                return StoredResult(self._bucket, key, found, document)
            condition = {"If-Match": etag}
        return StoredResult(self._bucket, key, body, orjson.loads(body))

    async def get(self, transcript_id: str, source_bucket: str, source_key: str) -> StoredResult | None:
        """The result that lies there, or None. Raises Unavailable."""
        key = result_key(transcript_id, source_bucket, source_key)
        present = await self._read(key)
        if present is None:
            return None
        found, _ = present
        document = _document(found, transcript_id)
        if document is None:
            log.error("no answer can be made from the result %s/%s: it is made again", self._bucket, key)
            return None
        return StoredResult(self._bucket, key, found, document)

    async def put_marker(
        self, source_bucket: str, source_key: str, etag: str | None, body: bytes, ending: Ending = "dead-letter"
    ) -> None:
        """Note that an upload has no result, and why. Raises Unavailable."""
        key = marker_key(source_bucket, source_key, etag, ending)
        with self._s3.asking(f"storing {self._bucket}/{key}"):
            await self._s3.put(self._bucket, key, body, content_type=_CONTENT_TYPE)

    async def put_sidecar(self, bucket: str, key: str, body: bytes, media_type: str) -> None:
        """Write a document that is made of a result, over one of the same name. Raises Unavailable."""
        with self._s3.asking(f"storing {bucket}/{key}"):
            await self._s3.put(bucket, key, body, content_type=media_type)

    async def _read(self, key: str) -> tuple[bytes, str] | None:
        with self._s3.asking(f"reading {self._bucket}/{key}"):
            return await self._s3.read(self._bucket, key)

    async def _put_if(self, condition: Headers, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """Whether the store took it."""
        sendable = {name: value for name, value in metadata.items() if value.isascii() and value.isprintable()}
        headers = {**condition, **{f"x-amz-meta-{name}": value for name, value in sendable.items()}}
        with self._s3.asking(f"storing {self._bucket}/{key}"):
            try:
                await self._s3.put(self._bucket, key, body, content_type=_CONTENT_TYPE, headers=headers)
            except ClientError as error:
                if error_code(error) not in _TAKEN:
                    raise
                return False
        return True


def source_prefix(source_bucket: str, source_key: str) -> str:
    """What the keys of everything about one recording begin with; no byte of its name leaks or needs escaping."""
    return f"results/{hashlib.sha256(f'{source_bucket}/{source_key}'.encode()).hexdigest()}/"


def result_key(transcript_id: str, source_bucket: str, source_key: str) -> str:
    """Key of a result."""
    return f"{source_prefix(source_bucket, source_key)}{transcript_id}.json"


def marker_key(source_bucket: str, source_key: str, etag: str | None, ending: Ending = "dead-letter") -> str:
    """Key of the note that an upload has no result; ``unknown`` where its ETag never was known.

    An ETag is what a sender says it is, of any length and with any character: hence its digest.
    """
    name = hashlib.sha256(etag.encode()).hexdigest() if etag else "unknown"
    return f"{source_prefix(source_bucket, source_key)}{name}.{ending}.json"


def _document(body: bytes, transcript_id: str) -> Mapping[str, Any] | None:
    """The stored JSON, if it is of this transcript and has what the answer is made of."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    match document:
        case {"transcriptId": str(name), "completedAt": str(), "source": {"bucket": str(), "key": str()}}:
            return document if name == transcript_id else None
        case _:
            return None
