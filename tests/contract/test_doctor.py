"""The doctor finds what is wrong with a real Kafka and a real store, and leaves nothing behind."""

from pathlib import Path
from uuid import uuid4

import pytest
from types_aiobotocore_s3 import S3Client

from consumer.delivery.deadletters import HEADER_BYTES
from consumer.operate.doctor import Check, examine
from consumer.operate.doctor.store import _check_clock
from consumer.operate.kafka_server import KafkaServer
from consumer.operate.network import free_ports
from consumer.operate.seaweed_server import SeaweedServer
from tests.support.apicurio import ApicurioServer
from tests.support.collector import running_collector
from tests.support.minio import MinioServer
from tests.support.s3 import lent_keys, new_bucket, s3_client


@pytest.fixture
async def buckets(client: S3Client) -> tuple[str, str]:
    """An input bucket and one for results."""
    return await new_bucket(client, "recordings"), await new_bucket(client, "transcripts")


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, s3: SeaweedServer, buckets: tuple[str, str], tmp_path: Path
) -> pytest.MonkeyPatch:
    """All settings, right; with a broker that is not there."""
    for name, value in {
        "MINIO_ENDPOINT": s3.endpoint,
        "MINIO_ACCESS_KEY": s3.access_key,
        "MINIO_SECRET_KEY": s3.secret_key,
        "INPUT_BUCKETS": buckets[0],
        "RESULTS_BUCKET": buckets[1],
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_ports(1)[0]}",
        "WHISPER_MODEL_SIZE": "base",
        "WHISPER_ARTIFACTS_DIR": str(tmp_path),
        "MAX_OBJECT_BYTES": "1000",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


async def examined() -> dict[str, Check]:
    return {check.name: check for check in await examine()}


async def test_a_good_store_and_an_absent_broker(
    environment: pytest.MonkeyPatch, buckets: tuple[str, str], client: S3Client
) -> None:
    checks = await examined()
    assert checks["settings"].ok
    assert checks["object store"].ok
    assert checks["spool"].ok
    assert [checks[f"bucket {bucket}"].ok for bucket in buckets] == [True, True]
    assert checks["Kafka"].ok is False
    assert "KAFKA_BOOTSTRAP_SERVERS" in checks["Kafka"].advice
    assert checks["artifacts"].ok is None
    assert checks["bucket whisper-artifacts"].ok is False
    for bucket in buckets:
        assert "Contents" not in await client.list_objects_v2(Bucket=bucket)


async def test_missing_buckets(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("INPUT_BUCKETS", "not-there")
    environment.setenv("RESULTS_BUCKET", "neither-there")
    checks = await examined()
    assert checks["bucket not-there"].found == "there is no such bucket"
    assert checks["bucket neither-there"].found == "there is no such bucket"
    assert checks["bucket neither-there"].ok is False


@pytest.mark.parametrize("variable", ["MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"])
async def test_wrong_credentials(environment: pytest.MonkeyPatch, variable: str) -> None:
    environment.setenv(variable, "something-else")
    check = (await examined())["object store"]
    assert check.ok is False
    assert variable in check.advice
    assert "something-else" not in repr(check)


async def test_a_store_that_is_not_there(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MINIO_ENDPOINT", f"http://127.0.0.1:{free_ports(1)[0]}")
    check = (await examined())["object store"]
    assert check.ok is False
    assert "MINIO_ENDPOINT" in check.advice


@pytest.mark.parametrize("missing", ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"])
async def test_a_right_that_is_missing_on_results(
    environment: pytest.MonkeyPatch, minio: MinioServer, missing: str
) -> None:
    async with s3_client(minio) as client:
        bucket = await new_bucket(client, "transcripts")
        rights = {"s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket"} - {missing}
        policy = [{"Effect": "Allow", "Action": right, "Resource": "arn:aws:s3:::*"} for right in rights]
        environment.setenv("MINIO_ENDPOINT", minio.endpoint)
        environment.setenv("RESULTS_BUCKET", bucket)
        for name, value in (await lent_keys(minio, policy)).items():
            environment.setenv(name.upper(), value)
        check = (await examined())[f"bucket {bucket}"]
        assert check.ok is False
        assert missing in check.advice
        assert "Contents" not in await client.list_objects_v2(Bucket=bucket)


async def test_missing_settings_leave_the_rest_to_be_looked_at(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("INPUT_BUCKETS")
    checks = await examined()
    assert checks["settings"].ok is False
    assert "INPUT_BUCKETS is not set" in checks["settings"].found
    assert checks["buckets"].ok is None
    assert checks["object store"].ok
    assert checks["CPU"].ok


async def test_topics(environment: pytest.MonkeyPatch, kafka: KafkaServer) -> None:
    topic, dead_letters = f"doctor-{uuid4().hex}", f"doctor-dead-{uuid4().hex}"
    await kafka.create_topic(topic, partitions=3)
    await kafka.create_topic(dead_letters, configs={"max.message.bytes": str(1_048_588)})
    environment.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    environment.setenv("KAFKA_INPUT_TOPIC", topic)
    environment.setenv("KAFKA_OUTPUT_TOPIC", "not-there")
    environment.setenv("KAFKA_DEAD_LETTER_TOPIC", dead_letters)
    checks = await examined()
    assert checks["Kafka"].ok
    assert (checks[f"topic {topic}"].ok, checks[f"topic {topic}"].found) == (True, "3 partitions")
    assert checks["topic not-there"].ok is False
    too_small = checks[f"size limit of {dead_letters}"]
    assert too_small.ok is False
    assert str(1_048_588 + HEADER_BYTES) in too_small.advice

    environment.setenv("KAFKA_MAX_RECORD_BYTES", str(1_048_588 - HEADER_BYTES))
    assert (await examined())[f"size limit of {dead_letters}"].ok


async def test_events_must_outlast_the_work_on_them(environment: pytest.MonkeyPatch, kafka: KafkaServer) -> None:
    for milliseconds, ok in ((3_600_000, False), (86_400_000, True), (-1, True)):
        topic = f"doctor-{uuid4().hex}"
        await kafka.create_topic(topic, configs={"retention.ms": str(milliseconds)})
        environment.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
        environment.setenv("KAFKA_INPUT_TOPIC", topic)
        check = (await examined())[f"retention of {topic}"]
        assert check.ok is ok, check
        assert ok or "retention.ms" in check.advice


async def test_a_bucket_that_announces_nothing_is_told(environment: pytest.MonkeyPatch, minio: MinioServer) -> None:
    async with s3_client(minio) as client:
        bucket = await new_bucket(client, "recordings")
        name = f"notifications of {bucket}"
        environment.setenv("MINIO_ENDPOINT", minio.endpoint)
        environment.setenv("MINIO_ACCESS_KEY", minio.access_key)
        environment.setenv("MINIO_SECRET_KEY", minio.secret_key)
        environment.setenv("INPUT_BUCKETS", bucket)
        silent = (await examined())[name]
        assert (silent.ok, silent.found) == (None, "it announces no new objects")
        assert "mc event add" in silent.advice
        await client.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={
                "QueueConfigurations": [{"QueueArn": minio.notification_arn, "Events": ["s3:ObjectCreated:*"]}]
            },
        )
        assert (await examined())[name].ok
        assert (await examined())["clock"].ok


def test_a_clock_that_is_wrong_is_told() -> None:
    (check,) = _check_clock({"ResponseMetadata": {"HTTPHeaders": {"date": "Fri, 02 Jan 2026 03:04:05 GMT"}}})
    assert check.ok is False
    assert "clock" in check.advice
    assert _check_clock({"ResponseMetadata": {}}) == []


async def test_a_schema_registry(environment: pytest.MonkeyPatch, schema_registry: ApicurioServer) -> None:
    assert "schema registry" not in await examined()
    environment.setenv("SCHEMA_REGISTRY_URL", schema_registry.url)
    assert (await examined())["schema registry"].ok
    environment.setenv("SCHEMA_REGISTRY_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    check = (await examined())["schema registry"]
    assert check.ok is False
    assert "SCHEMA_REGISTRY_URL" in check.advice


async def test_a_collector_of_spans(environment: pytest.MonkeyPatch) -> None:
    assert "span collector" not in await examined()
    async with running_collector() as collector:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        assert (await examined())["span collector"].ok
    check = (await examined())["span collector"]
    assert check.ok is False
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in check.advice


async def test_artifacts_on_disk(environment: pytest.MonkeyPatch, artifacts_dir: Path) -> None:
    environment.setenv("WHISPER_ARTIFACTS_DIR", str(artifacts_dir))
    checks = await examined()
    assert checks["artifacts"].ok
    assert "verified" in checks["artifacts"].found
    assert checks["bucket whisper-artifacts"].ok is None
