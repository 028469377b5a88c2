"""Clients of the real services, one set for each test."""

from collections.abc import AsyncIterator

import pytest
from types_aiobotocore_s3 import S3Client

from consumer.operate.kafka_server import KafkaServer
from consumer.operate.seaweed_server import SeaweedServer
from tests.support.kafka_clients import KafkaClients, kafka_clients
from tests.support.s3 import s3_client


@pytest.fixture
async def clients(kafka: KafkaServer) -> AsyncIterator[KafkaClients]:
    """Kafka, from outside."""
    async with kafka_clients(kafka.bootstrap_servers) as clients:
        yield clients


@pytest.fixture
async def store(s3: SeaweedServer) -> AsyncIterator[S3Client]:
    """SeaweedFS, for tests to which notifications do not matter."""
    async with s3_client(s3) as client:
        yield client
