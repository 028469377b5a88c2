"""Talking to the S3 servers of the fixtures."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol
from uuid import uuid4

import aioboto3
from aiobotocore.config import AioConfig
from types_aiobotocore_s3 import S3Client

from consumer.settings import StoreSettings, load
from consumer.store.s3 import S3, open_s3


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


@asynccontextmanager
async def s3_requests(server: S3Server, endpoint: str | None = None) -> AsyncIterator[S3]:
    """The worker's own requests, with the rights of the server's own user; to another ``endpoint`` if one is given."""
    settings = load(
        StoreSettings,
        minio_endpoint=endpoint or server.endpoint,
        minio_access_key=server.access_key,
        minio_secret_key=server.secret_key,
        minio_connect_timeout_seconds=5,
        minio_read_timeout_seconds=30,
    )
    async with open_s3(settings) as s3:
        yield s3


async def lent_keys(server: S3Server, statements: Sequence[dict[str, str]]) -> dict[str, str]:
    """Settings of somebody who may do no more than these statements of a policy allow, by MinIO's token service."""
    session = aioboto3.Session(server.access_key, server.secret_key, region_name="us-east-1")
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    async with session.client("sts", endpoint_url=server.endpoint) as sts:
        role = await sts.assume_role(
            RoleArn="arn:aws:iam::123456789012:role/tests", RoleSessionName="tests", Policy=policy
        )
    lent = role["Credentials"]
    return {
        "minio_access_key": lent["AccessKeyId"],
        "minio_secret_key": lent["SecretAccessKey"],
        "minio_session_token": lent["SessionToken"],
    }


async def new_bucket(client: S3Client, prefix: str = "recordings") -> str:
    """Create a bucket that no other test uses; return its name."""
    name = f"{prefix}-{uuid4().hex[:12]}"
    await client.create_bucket(Bucket=name)
    return name
