"""The servers that fixtures and demo start do what the rest of the tests take for granted."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from botocore.exceptions import ClientError

from consumer.operate.kafka_server import KafkaServer
from consumer.operate.seaweed_server import SeaweedServer
from tests.support.minio import MinioServer
from tests.support.s3 import new_bucket, s3_client


async def test_kafka_returns_a_record_larger_than_its_default_limit(kafka: KafkaServer) -> None:
    topic = f"large-{uuid4().hex}"
    await kafka.create_topic(topic, partitions=2, configs={"max.message.bytes": "3000000"})
    value = b"x" * 2_000_000
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers, enable_idempotence=True, max_request_size=3_000_000
    )
    async with producer:
        sent = await producer.send_and_wait(topic, value, key=b"key", headers=[("name", b"value")], partition=1)

    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    async with consumer:
        record = await consumer.getone()

    assert (record.partition, record.offset) == (1, sent.offset)
    assert (record.key, record.value, record.headers) == (b"key", value, (("name", b"value"),))


async def test_kafka_does_not_make_up_topics(kafka: KafkaServer) -> None:
    await kafka.create_topic("known")
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.describe_topics(["unknown"])
        assert "unknown" not in await admin.list_topics()
        assert "known" in await admin.list_topics()
    finally:
        await admin.close()


async def test_kafka_keeps_its_data_over_a_restart(tmp_path: Path, kafka_jars: list[Path]) -> None:
    async with KafkaServer(data_dir=tmp_path, jars=kafka_jars) as server:
        await server.create_topic("kept")
        async with AIOKafkaProducer(bootstrap_servers=server.bootstrap_servers) as producer:
            await producer.send_and_wait("kept", b"value")
        server.stop()
        await server.start()
        consumer = AIOKafkaConsumer("kept", bootstrap_servers=server.bootstrap_servers, auto_offset_reset="earliest")
        async with consumer:
            assert (await consumer.getone()).value == b"value"


async def test_three_brokers_replicate(tmp_path: Path, kafka_jars: list[Path]) -> None:
    async with KafkaServer(data_dir=tmp_path, jars=kafka_jars, brokers=3) as server:
        await server.create_topic("replicated", partitions=1)
        async with AIOKafkaProducer(bootstrap_servers=server.bootstrap_servers, acks="all") as producer:
            await producer.send_and_wait("replicated", b"value")
        admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap_servers)
        await admin.start()
        try:
            [topic] = await admin.describe_topics(["replicated"])
            assert len(topic["partitions"][0]["replicas"]) == 3
        finally:
            await admin.close()


@pytest.mark.parametrize("key", ["plain.wav", "folder one/ünï cødé/文件 +&=%?#.wav"])
async def test_seaweed_honours_conditional_requests(s3: SeaweedServer, key: str) -> None:
    async with s3_client(s3) as client:
        bucket = await new_bucket(client)
        etag = (await client.put_object(Bucket=bucket, Key=key, Body=b"first", IfNoneMatch="*"))["ETag"]
        with pytest.raises(ClientError, match="PreconditionFailed"):
            await client.put_object(Bucket=bucket, Key=key, Body=b"second", IfNoneMatch="*")
        with pytest.raises(ClientError, match=r"PreconditionFailed|412"):
            await client.get_object(Bucket=bucket, Key=key, IfMatch='"stale"')
        response = await client.get_object(Bucket=bucket, Key=key, IfMatch=etag)
        assert await response["Body"].read() == b"first"


async def test_seaweed_refuses_other_credentials(s3: SeaweedServer, tmp_path: Path) -> None:
    stranger = SeaweedServer(data_dir=tmp_path, access_key=s3.access_key, secret_key="wrong")
    stranger._ports = s3._ports
    async with s3_client(stranger) as client:
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            await client.list_buckets()


async def test_minio_announces_an_upload_on_kafka(minio: MinioServer, kafka: KafkaServer) -> None:
    key = "folder one/ünï cødé/文件 +&=%?#.wav"
    async with s3_client(minio) as client:
        bucket = await new_bucket(client)
        await client.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={
                "QueueConfigurations": [{"QueueArn": minio.notification_arn, "Events": ["s3:ObjectCreated:*"]}]
            },
        )
        etag = (await client.put_object(Bucket=bucket, Key=key, Body=b"hello"))["ETag"]

    consumer = AIOKafkaConsumer(minio.topic, bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    async with consumer:
        event: dict[str, Any] = {}
        while event.get("Key") != f"{bucket}/{key}":
            event = json.loads((await consumer.getone()).value)
    described = event["Records"][0]["s3"]["object"]
    assert unquote_plus(described["key"]) == key
    assert described["eTag"] == etag.strip('"')
