"""Talking to the S3 servers of the fixtures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol
from uuid import uuid4

import aioboto3
from aiobotocore.config import AioConfig
from types_aiobotocore_s3 import S3Client


class S3Server(Protocol):
    """What both servers, SeaweedFS and MinIO, tell."""

    access_key: str
    secret_key: str

    @property
    def endpoint(self) -> str: ...


@asynccontextmanager
async def s3_client(server: S3Server) -> AsyncIterator[S3Client]:
    """A client with the rights of the server's own user, with short time-outs and without retries."""
    session = aioboto3.Session(server.access_key, server.secret_key, region_name="us-east-1")
    config = AioConfig(
        s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1}
    )
    async with session.client("s3", endpoint_url=server.endpoint, config=config) as client:
        yield client


async def new_bucket(client: S3Client, prefix: str = "recordings") -> str:
    """Create a bucket that no other test uses; return its name."""
    name = f"{prefix}-{uuid4().hex[:12]}"
    await client.create_bucket(Bucket=name)
    return name
