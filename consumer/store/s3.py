"""The S3 client, and the one place where its errors become decisions.

Every request is bounded in time as a whole, and whatever error it leaves becomes Unavailable. What an error says of one
object alone is for ``objects`` to judge, before that.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError

from consumer.errors import Unavailable
from consumer.settings import StoreSettings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

BROKEN_OFF = (BotoCoreError, aiohttp.ClientError, TimeoutError, OSError)
"""What a request raises that got no answer, or no whole one."""

_ATTEMPTS = 2  # hides one lost connection; an outage is for the caller to wait out
_LONGEST_PAUSE_SECONDS = 1.0  # before the second attempt
_MAX_CONNECTIONS = 100
_SLOWEST_BYTES_PER_SECOND = 16 * 1024

_CHUNK_BYTES = 1024 * 1024

_FORBIDDEN = (
    "check MINIO_ACCESS_KEY and that its policy allows it (AWS answers so for a missing object, too, unless "
    "s3:ListBucket is allowed)"
)
_ADVICE = {
    "AccessDenied": _FORBIDDEN,
    "403": _FORBIDDEN,  # all that an answer to HEAD tells
    "404": "create the bucket or correct its name",
    "ExpiredToken": "renew the credentials",
    "InvalidAccessKeyId": "check MINIO_ACCESS_KEY",
    "SignatureDoesNotMatch": "check MINIO_SECRET_KEY",
    "RequestTimeTooSkewed": "check the clock of this machine",
    "NoSuchBucket": "create the bucket or correct its name",
    "NotImplemented": "the store must know conditional writes (If-None-Match)",
}


@asynccontextmanager
async def open_client(settings: StoreSettings) -> AsyncIterator["S3Client"]:
    """One client for the life of the worker; it keeps its connections open and is shared by all jobs.

    The read time-out bounds each wait for bytes, ``in_time`` the whole. No request is made here.
    """
    session = aioboto3.Session(
        aws_access_key_id=settings.minio_access_key.get_secret_value(),
        aws_secret_access_key=settings.minio_secret_key.get_secret_value(),
        region_name=settings.minio_region,
    )
    config = AioConfig(
        connect_timeout=settings.minio_connect_timeout_seconds,
        read_timeout=settings.minio_read_timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=_MAX_CONNECTIONS,
        s3={"addressing_style": "path"},
        # Older S3 servers know nothing of the newer default checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    verify = str(settings.minio_ca_file) if settings.minio_ca_file else None
    async with session.client("s3", endpoint_url=settings.minio_endpoint, verify=verify, config=config) as client:
        yield client


@asynccontextmanager
async def asking(doing: str, client: "S3Client", *, n_bytes: int = 0) -> AsyncIterator[None]:
    """Make requests inside, one or a few; ``n_bytes`` go either way. Every error of the store becomes Unavailable.

    ``doing`` says what is tried, with bucket and key.
    """
    with outages(doing, client):
        async with in_time(client, n_bytes=n_bytes):
            yield


@contextmanager
def outages(doing: str, client: "S3Client") -> Iterator[None]:
    """Turn every error of the store into Unavailable."""
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        message = error.response["Error"].get("Message") or "no message"
        advice = _ADVICE.get(code, "it is tried again")
        raise _unavailable(doing, client, f"{code}: {message}; {advice}") from error
    except BROKEN_OFF as error:
        why = str(error) or "it took too long"
        raise _unavailable(doing, client, f"{why}; check MINIO_ENDPOINT and the network, it is tried again") from error


def in_time(client: "S3Client", *, n_bytes: int = 0) -> asyncio.Timeout:
    """A time-out for a request, both attempts and the pause between them, and for ``n_bytes`` at the slowest rate.

    The library's own time-outs bound each wait for bytes alone: a store that gives them one by one, or takes none,
    would keep a request open for ever.
    """
    config: Any = client.meta.config
    one_attempt_seconds = config.connect_timeout + config.read_timeout
    return asyncio.timeout(
        _ATTEMPTS * one_attempt_seconds + _LONGEST_PAUSE_SECONDS + n_bytes / _SLOWEST_BYTES_PER_SECOND
    )


async def read_chunk(body: Any, client: "S3Client") -> bytes:
    """Up to 1 MiB of an answer's body, empty at its end; raises one of BROKEN_OFF where it ends too early or stalls.

    The network gives pieces of some kilobytes, each too small for whatever is done with a chunk.
    """
    chunk = bytearray()
    async with in_time(client, n_bytes=_CHUNK_BYTES):
        while len(chunk) < _CHUNK_BYTES:
            piece = await body.read(_CHUNK_BYTES - len(chunk))
            if not piece:
                break
            chunk += piece
    return bytes(chunk)


async def read_object(client: "S3Client", bucket: str, key: str) -> tuple[bytes, str] | None:
    """A small object of our own as a whole, and its ETag with quotes; None where there is none. Raises Unavailable."""
    with outages(f"reading {bucket}/{key}", client):
        try:
            async with in_time(client):
                answer = await client.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error_code(error) != "NoSuchKey":
                raise
            return None
        found = bytearray()
        body = answer["Body"]
        async with body:
            while chunk := await read_chunk(body, client):
                found += chunk
        return bytes(found), answer["ETag"]


def error_code(error: ClientError) -> str:
    """S3's error code (NoSuchKey, ...); the bare status where there was no body, as after HEAD."""
    return str(error.response["Error"].get("Code", ""))


def status(error: ClientError) -> int:
    """The HTTP status of the answer."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _unavailable(doing: str, client: "S3Client", why: str) -> Unavailable:
    return Unavailable("store", f"{doing} at {client.meta.endpoint_url} failed: {why}")
