"""Recordings in the object store: what an event names is fetched as it was when the event was sent.

A fetch is pinned to the upload's version and ETag, streamed into an unlinked temporary file, bounded in bytes and in
time without progress, and hashed on the way. Writing and hashing happen off the event loop.

What an error means:

1. No connection, no answer, throttling, credentials that ran out, a bucket that is not there: Unavailable, unasked.
2. A delete marker, a version that is not there, a key or version that no object can have: Rejected(MISSING); they
   never come back. Another ETag than the upload's: Rejected(SUPERSEDED).
3. Everything else may be of this object alone (no such key, forbidden, an error of the server, a body that breaks off):
   it is an ObjectFault if its bucket answers (``bucket_probe``), else Unavailable.
4. An answer to HEAD has no body and so names no reason: then a GET is asked for it.
"""

import asyncio
import errno
import hashlib
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any, BinaryIO, Final

from botocore.exceptions import ClientError

from consumer.errors import ObjectFault, Reason, Rejected, Stage, Unavailable
from consumer.store.bucket_probe import BucketProbe
from consumer.store.failures import BROKEN_OFF, error_code, status
from consumer.store.s3 import S3, Answer
from schemas import AudioUploaded

# Codes that say: under this name there is nothing, and there will not be.
_NEVER = {
    "NoSuchVersion",
    "MethodNotAllowed",  # the version is a delete marker
    "InvalidArgument",  # a version id that no version can have
    "KeyTooLongError",
    "XMinioInvalidObjectName",
    "XMinioInvalidResourceName",
}
_SUPERSEDED = {"PreconditionFailed", "412"}

# Errors that are never of one object. SignatureDoesNotMatch is none of them: a key that something on the way rewrites
# gives it too, so the bucket is asked.
_OUTAGES = {
    "NoSuchBucket",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "TokenRefreshRequired",
    "RequestTimeout",
    "SlowDown",
    # The bucket is in another region than that of the settings.
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "TemporaryRedirect",
}
_OUTAGE_STATUSES = {301, 307, 429, 503}


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What the store tells of an object; ``etag`` is without quotes, ``version_id`` None without versions."""

    etag: str
    size_bytes: int
    version_id: str | None
    content_type: str | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What its writer noted, by names in small letters without ``x-amz-meta-``."""


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


_METADATA: Final = "x-amz-meta-"


def _text(value: str) -> str:
    """A header's text: what is not ASCII comes encoded as in mail (RFC 2047), at least from AWS."""
    if not value.startswith("=?"):
        return value
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value


class ObjectStore:
    """Reads recordings. ``s3`` comes from ``store.s3.open_s3``."""

    def __init__(self, s3: S3) -> None:
        self._s3 = s3
        self._probe = BucketProbe(s3)

    async def head(self, upload: AudioUploaded) -> ObjectFacts:
        """Ask for the facts of what an upload names, pinned to its version and ETag as far as it names them.

        Raises Rejected (MISSING, SUPERSEDED), ObjectFault, Unavailable: ``store``.
        """
        with self._s3.asking(f"asking for {upload.bucket}/{upload.key}"):
            try:
                headers = await self._s3.head(upload.bucket, upload.key, **_pin(upload))
            except ClientError as error:
                await self._judge(await self._explained(error, upload), upload)
                raise
        self._probe.was_read(upload.bucket, upload.key)
        return ObjectFacts(
            etag=headers["ETag"].strip('"'),
            size_bytes=int(headers["Content-Length"]),
            version_id=headers.get("x-amz-version-id"),
            content_type=headers.get("Content-Type"),
            metadata={
                name.lower().removeprefix(_METADATA): _text(value)
                for name, value in headers.items()
                if name.lower().startswith(_METADATA)
            },
        )

    async def tags(self, upload: AudioUploaded) -> Mapping[str, str]:
        """The tags of what an upload names. Raises Unavailable."""
        with self._s3.asking(f"asking for the tags of {upload.bucket}/{upload.key}"):
            return await self._s3.tags(upload.bucket, upload.key, version_id=upload.version_id)

    async def fetch(self, upload: AudioUploaded, *, max_bytes: int, spool_dir: Path | None) -> Fetched:
        """Download a recording into a temporary file in ``spool_dir`` (None: the system's).

        Raises Rejected: MISSING, SUPERSEDED (overwritten since the event), EMPTY, TOO_LARGE (over
        ``max_bytes``); ObjectFault; Unavailable: ``store``, or ``disk`` where the spool cannot be written.
        """
        spool = _Spool(spool_dir)
        try:
            return await self._fetch(upload, max_bytes, spool)
        except BaseException:
            spool.close()
            raise

    async def _fetch(self, upload: AudioUploaded, max_bytes: int, spool: "_Spool") -> Fetched:
        with self._s3.asking(f"fetching {upload.bucket}/{upload.key}"):
            try:
                async with self._s3.get(upload.bucket, upload.key, **_pin(upload)) as answer:
                    _check_size(int(answer.headers.get("Content-Length", 0)), max_bytes, upload)
                    while chunk := await self._read_chunk(answer, upload):
                        _check_size(spool.size_bytes + len(chunk), max_bytes, upload)
                        await spool.write(chunk)
            except ClientError as error:
                await self._judge(error, upload)
                raise
        if spool.size_bytes == 0:
            raise Rejected(
                Reason.EMPTY, Stage.FETCH, f"{upload.bucket}/{upload.key} has no bytes; upload the recording again"
            )
        self._probe.was_read(upload.bucket, upload.key)
        return Fetched(
            spool=spool.rewound(),
            size_bytes=spool.size_bytes,
            sha256=spool.sha256,
            etag=answer.headers["ETag"].strip('"'),
            version_id=answer.headers.get("x-amz-version-id"),
        )

    async def _read_chunk(self, answer: Answer, upload: AudioUploaded) -> bytes:
        try:
            return await answer.read_chunk()
        except BROKEN_OFF as error:
            if not await self._probe.answers(upload.bucket):
                raise
            raise ObjectFault(
                Reason.UNREADABLE,
                f"{upload.bucket}/{upload.key} breaks off while its bucket answers: {str(error) or 'it is too slow'}",
            ) from error

    async def _explained(self, error: ClientError, upload: AudioUploaded) -> ClientError:
        """The same error with its reason, by a GET of one byte; the error itself where that succeeds."""
        try:
            pin = _pin(upload)
            pin["headers"] |= {"Range": "bytes=0-0"}
            async with self._s3.get(upload.bucket, upload.key, **pin):
                return error
        except ClientError as explained:
            return explained

    async def _judge(self, error: ClientError, upload: AudioUploaded) -> None:
        """Raise what an error means; return where it is an outage."""
        code = error_code(error)
        if code in _NEVER or _is_delete_marker(error):
            raise _missing(upload) from error
        if code in _SUPERSEDED:
            raise _superseded(upload) from error
        if code in _OUTAGES or status(error) in _OUTAGE_STATUSES:
            return
        if await self._probe.answers(upload.bucket):
            raise _fault(error, upload) from error


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


def _pin(upload: AudioUploaded) -> Any:
    """What makes the store answer with what the upload names, or not at all."""
    condition = {"If-Match": f'"{upload.etag}"'} if upload.etag else {}
    return {"version_id": upload.version_id, "headers": condition}


def _check_size(size_bytes: int, max_bytes: int, upload: AudioUploaded) -> None:
    if size_bytes > max_bytes:
        raise Rejected(
            Reason.TOO_LARGE,
            Stage.FETCH,
            f"{upload.bucket}/{upload.key} has at least {size_bytes} bytes, at most {max_bytes} are allowed; "
            "compress it, or raise MAX_OBJECT_BYTES",
        )


def _is_delete_marker(error: ClientError) -> bool:
    return error.response["ResponseMetadata"].get("HTTPHeaders", {}).get("x-amz-delete-marker") == "true"


def _missing(upload: AudioUploaded) -> Rejected:
    return Rejected(Reason.MISSING, Stage.FETCH, _there_is_no(upload))


def _there_is_no(upload: AudioUploaded) -> str:
    version = f" in version {upload.version_id}" if upload.version_id else ""
    return f"there is no object {upload.bucket}/{upload.key}{version}; was it deleted or renamed?"


def _superseded(upload: AudioUploaded) -> Rejected:
    return Rejected(
        Reason.SUPERSEDED,
        Stage.FETCH,
        f"{upload.bucket}/{upload.key} no longer has the ETag {upload.etag}: it was overwritten since the "
        "event; the newer upload has an event of its own",
    )


def _fault(error: ClientError, upload: AudioUploaded) -> ObjectFault:
    if status(error) == 404:
        return ObjectFault(Reason.MISSING, _there_is_no(upload))
    what = f"{error_code(error)}: {error.response['Error'].get('Message') or 'no message'}"
    if status(error) in {401, 403}:
        return ObjectFault(
            Reason.FORBIDDEN,
            f"the store refuses {upload.bucket}/{upload.key} though not its bucket ({what}); "
            "check the policies on this object",
        )
    return ObjectFault(
        Reason.UNREADABLE, f"the store fails on {upload.bucket}/{upload.key} though not on its bucket ({what})"
    )
