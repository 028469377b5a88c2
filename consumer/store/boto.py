"""boto's whole S3 client, for what is asked rarely: listings, artifacts, the operator's commands.

What the worker asks for each recording goes through ``s3``.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aioboto3
from aiobotocore.config import AioConfig

from consumer.settings import StoreSettings
from consumer.store.failures import outages
from consumer.store.s3 import ATTEMPTS, LONGEST_PAUSE_SECONDS, MAX_CONNECTIONS

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


@asynccontextmanager
async def open_client(settings: StoreSettings) -> AsyncIterator["S3Client"]:
    """A client that keeps its connections open. No request is made here."""
    session = aioboto3.Session(*settings.store_keys, region_name=settings.minio_region)
    config = AioConfig(
        connect_timeout=settings.minio_connect_timeout_seconds,
        read_timeout=settings.minio_read_timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=MAX_CONNECTIONS,
        s3={"addressing_style": "path"},
        # Older S3 servers know nothing of the newer default checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    verify = str(settings.minio_ca_file) if settings.minio_ca_file else None
    async with session.client("s3", endpoint_url=settings.minio_endpoint, verify=verify, config=config) as client:
        yield client


@asynccontextmanager
async def asking(doing: str, client: "S3Client") -> AsyncIterator[None]:
    """Make a request inside. Every error of the store becomes Unavailable, and so does one that takes too long.

    ``doing`` says what is tried, with bucket and key. The read time-out bounds each wait for bytes alone.
    """
    config: Any = client.meta.config
    with outages(doing, client.meta.endpoint_url):
        seconds = ATTEMPTS * (config.connect_timeout + config.read_timeout) + LONGEST_PAUSE_SECONDS
        async with asyncio.timeout(seconds):
            yield
