"""Kafka and an S3 store for programs that are no tests: started, used, ended."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from types_aiobotocore_s3 import S3Client

from consumer.operate.kafka_jars import ensure_kafka_jars
from consumer.operate.kafka_server import KafkaServer
from consumer.operate.seaweed_server import SeaweedServer
from tests.support.cache import CACHE_DIR
from tests.support.kafka_clients import KafkaClients, kafka_clients
from tests.support.s3 import s3_client

CORPUS_DIR = Path(__file__).parents[3] / "shared" / "corpus"


@dataclass(frozen=True)
class Stack:
    """What runs, and a directory for files."""

    clients: KafkaClients
    store: SeaweedServer
    s3: S3Client
    directory: Path


@asynccontextmanager
async def running_stack() -> AsyncIterator[Stack]:
    """Start both; end both and remove their data."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whisper-consumer-")))
        jars = await asyncio.to_thread(ensure_kafka_jars, CACHE_DIR)
        kafka = await stack.enter_async_context(KafkaServer(data_dir=directory / "kafka", jars=jars))
        store = SeaweedServer(data_dir=directory / "store", access_key="soak", secret_key="soak-secret")
        await stack.enter_async_context(store)
        clients = await stack.enter_async_context(kafka_clients(kafka.bootstrap_servers))
        yield Stack(clients, store, await stack.enter_async_context(s3_client(store)), directory)
