"""SeaweedFS as boto sees it, and as the worker does. Tests of both servers have fixtures of their own."""

from collections.abc import AsyncIterator

import pytest
from types_aiobotocore_s3 import S3Client

from consumer.operate.seaweed_server import SeaweedServer
from consumer.store.s3 import S3
from tests.support.s3 import s3_client, s3_requests


@pytest.fixture
async def client(s3: SeaweedServer) -> AsyncIterator[S3Client]:
    async with s3_client(s3) as client:
        yield client


@pytest.fixture
async def requests(s3: SeaweedServer) -> AsyncIterator[S3]:
    async with s3_requests(s3) as requests:
        yield requests
