"""An S3 server as boto sees it, and as the worker does: SeaweedFS, where a module does not ask for others."""

from collections.abc import AsyncIterator

import pytest
from types_aiobotocore_s3 import S3Client

from consumer.operate.seaweed_server import SeaweedServer
from consumer.store.s3 import S3
from tests.support.s3 import S3Server, s3_client, s3_requests


@pytest.fixture
def s3_server(s3: SeaweedServer) -> S3Server:
    return s3


@pytest.fixture
async def client(s3_server: S3Server) -> AsyncIterator[S3Client]:
    async with s3_client(s3_server) as client:
        yield client


@pytest.fixture
async def requests(s3_server: S3Server) -> AsyncIterator[S3]:
    async with s3_requests(s3_server) as requests:
        yield requests
