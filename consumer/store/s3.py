"""The S3 client, and the one place where its errors become decisions: Rejected or Unavailable."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError

from consumer.errors import Unavailable
from consumer.settings import StoreSettings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_ATTEMPTS = 2  # hides one lost connection; an outage is for the caller to wait out
_MAX_CONNECTIONS = 100

_FORBIDDEN = "check MINIO_ACCESS_KEY and that its policy allows it"
_ADVICE = {
    "AccessDenied": _FORBIDDEN,
    "403": _FORBIDDEN,  # all that an answer to HEAD tells
    "404": "create the bucket or correct its name",
    "InvalidAccessKeyId": "check MINIO_ACCESS_KEY",
    "SignatureDoesNotMatch": "check MINIO_SECRET_KEY",
    "RequestTimeTooSkewed": "check the clock of this machine",
    "NoSuchBucket": "create the bucket or correct its name",
}


@asynccontextmanager
async def open_client(settings: StoreSettings) -> AsyncIterator["S3Client"]:
    """One client for the life of the worker; it keeps its connections open and is shared by all jobs.

    The read time-out bounds each wait for bytes, not the whole download. No request is made here.
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


@contextmanager
def outages(doing: str, client: "S3Client") -> Iterator[None]:
    """Turn every error of the store into Unavailable.

    ``doing`` says what was tried, with bucket and key. What means a refusal of this one object is for the
    caller to catch inside, by ``error_code``.
    """
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        message = error.response["Error"].get("Message") or "no message"
        advice = _ADVICE.get(code, "it is tried again")
        raise _unavailable(doing, client, f"{code}: {message}; {advice}") from error
    except (BotoCoreError, aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unavailable(
            doing, client, f"{error}; check MINIO_ENDPOINT and the network, it is tried again"
        ) from error


def error_code(error: ClientError) -> str:
    """S3's error code (NoSuchKey, ...); the bare status where there was no body, as after HEAD."""
    return str(error.response["Error"].get("Code", ""))


def _unavailable(doing: str, client: "S3Client", why: str) -> Unavailable:
    return Unavailable("store", f"{doing} at {client.meta.endpoint_url} failed: {why}")
