"""Recordings in the object store: what an event names is fetched as it was when the event was sent.

A fetch is pinned to the event's version and ETag, streamed into an unlinked temporary file, bounded in
bytes and hashed on the way. Writing and hashing happen off the event loop.
"""

import asyncio
import errno
import hashlib
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import ClientError

from consumer.errors import Reason, Rejected, Stage, Unavailable
from consumer.store.s3 import error_code, outages
from schemas import AudioUploaded

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_CHUNK_BYTES = 1024 * 1024

# Codes that say: under this name there is nothing, and there will not be.
_MISSING = {
    "NoSuchKey",
    "NoSuchVersion",
    "MethodNotAllowed",  # the version is a delete marker
    "InvalidArgument",  # a version id that no version can have
    "KeyTooLongError",
    "XMinioInvalidObjectName",
    "XMinioInvalidResourceName",
}
_SUPERSEDED = {"PreconditionFailed", "412"}


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What the store tells of an object; ``etag`` is without quotes, ``version_id`` None without versions."""

    etag: str
    size_bytes: int
    version_id: str | None
    content_type: str | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A recording on the local disk.

    ``spool`` is a seekable file without a name, at its start; closing it frees the disk. ``sha256`` is the
    hexadecimal digest of its bytes.
    """

    spool: BinaryIO
    size_bytes: int
    sha256: str
    etag: str
    version_id: str | None


class ObjectStore:
    """Reads recordings. ``client`` comes from ``store.s3.open_client``."""

    def __init__(self, client: "S3Client") -> None:
        self._client = client

    async def head(self, bucket: str, key: str, version_id: str | None = None) -> ObjectFacts:
        """Ask for the facts of an object.

        Raises Rejected (MISSING) where there is no such object, Unavailable for everything else.
        """
        versioned: Any = {"VersionId": version_id} if version_id else {}
        with outages(f"asking for {bucket}/{key}", self._client):
            try:
                answer = await self._client.head_object(Bucket=bucket, Key=key, **versioned)
            except ClientError as error:
                gone = {"404", "405", "400"} if version_id else {"404"}
                if error_code(error) not in gone:
                    raise
                await self._client.head_bucket(Bucket=bucket)  # HEAD answers 404 for a missing bucket too
                raise _missing(bucket, key, version_id) from error
        return ObjectFacts(
            etag=answer["ETag"].strip('"'),
            size_bytes=answer["ContentLength"],
            version_id=answer.get("VersionId"),
            content_type=answer.get("ContentType"),
        )

    async def fetch(self, upload: AudioUploaded, *, max_bytes: int, spool_dir: Path | None) -> Fetched:
        """Download a recording into a temporary file in ``spool_dir`` (None: the system's).

        Raises Rejected: MISSING, SUPERSEDED (overwritten since the event), EMPTY, TOO_LARGE (over
        ``max_bytes``); Unavailable: ``store``, or ``disk`` where the spool cannot be written.
        """
        spool = _Spool(spool_dir)
        try:
            return await self._fetch(upload, max_bytes, spool)
        except BaseException:
            spool.close()
            raise

    async def _fetch(self, upload: AudioUploaded, max_bytes: int, spool: "_Spool") -> Fetched:
        with outages(f"fetching {upload.bucket}/{upload.key}", self._client):
            try:
                answer = await self._client.get_object(Bucket=upload.bucket, Key=upload.key, **_pin(upload))
            except ClientError as error:
                refusal = _refusal(error, upload)
                if refusal is None:
                    raise
                raise refusal from error
            body = answer["Body"]
            async with body:
                _check_size(answer.get("ContentLength", 0), max_bytes, upload)
                while chunk := await _read_chunk(body):
                    _check_size(spool.size_bytes + len(chunk), max_bytes, upload)
                    await spool.write(chunk)
        if spool.size_bytes == 0:
            raise Rejected(
                Reason.EMPTY, Stage.FETCH, f"{upload.bucket}/{upload.key} has no bytes; upload the recording again"
            )
        return Fetched(
            spool=spool.rewound(),
            size_bytes=spool.size_bytes,
            sha256=spool.sha256,
            etag=answer["ETag"].strip('"'),
            version_id=answer.get("VersionId"),
        )


class _Spool:
    """A growing temporary file and the digest of what is in it. Its errors become Unavailable("disk")."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def write(self, chunk: bytes) -> None:
        try:
            await asyncio.to_thread(self._write, chunk)
        except OSError as error:
            where = self._directory or tempfile.gettempdir()
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            what = "is full" if full else f"cannot be written: {error.strerror}"
            raise Unavailable("disk", f"{where} {what}; free space there, or set SPOOL_DIR to a larger disk") from error
        self.size_bytes += len(chunk)

    def _write(self, chunk: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory, prefix="recording-")  # noqa: SIM115
        self._file.write(chunk)
        self._file.flush()
        self._digest.update(chunk)

    def rewound(self) -> BinaryIO:
        assert self._file is not None  # noqa: S101 - empty objects are refused before
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


async def _read_chunk(body: Any) -> bytes:
    """Up to a chunk; the network gives pieces of some kilobytes, each too small for a thread of its own.

    Raises IncompleteReadError where the stream ends before the announced length.
    """
    chunk = bytearray()
    while len(chunk) < _CHUNK_BYTES:
        piece = await body.read(_CHUNK_BYTES - len(chunk))
        if not piece:
            break
        chunk += piece
    return bytes(chunk)


def _pin(upload: AudioUploaded) -> Any:
    """Request parameters that make the store answer with what the event named, or not at all."""
    pin = {}
    if upload.version_id:
        pin["VersionId"] = upload.version_id
    if upload.etag:
        pin["IfMatch"] = f'"{upload.etag}"'
    return pin


def _check_size(size_bytes: int, max_bytes: int, upload: AudioUploaded) -> None:
    if size_bytes > max_bytes:
        raise Rejected(
            Reason.TOO_LARGE,
            Stage.FETCH,
            f"{upload.bucket}/{upload.key} has at least {size_bytes} bytes, at most {max_bytes} are allowed; "
            "compress it, or raise MAX_OBJECT_BYTES",
        )


def _refusal(error: ClientError, upload: AudioUploaded) -> Rejected | None:
    code = error_code(error)
    if code in _MISSING:
        return _missing(upload.bucket, upload.key, upload.version_id)
    if code in _SUPERSEDED:
        return Rejected(
            Reason.SUPERSEDED,
            Stage.FETCH,
            f"{upload.bucket}/{upload.key} no longer has the ETag {upload.etag}: it was overwritten since the "
            "event; the newer upload has an event of its own",
        )
    return None


def _missing(bucket: str, key: str, version_id: str | None) -> Rejected:
    version = f" in version {version_id}" if version_id else ""
    return Rejected(
        Reason.MISSING, Stage.FETCH, f"there is no object {bucket}/{key}{version}; was it deleted or renamed?"
    )
