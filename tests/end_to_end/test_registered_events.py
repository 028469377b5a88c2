"""Events with schemas of a real registry, in all its formats and mixed with plain ones, through a real worker."""

import json
from pathlib import Path

from types_aiobotocore_s3 import S3Client

from consumer.operate.seaweed_server import SeaweedServer
from tests.support.apicurio import ApicurioServer, registry_client, serialized
from tests.support.kafka_clients import KafkaClients
from tests.support.s3 import new_bucket
from tests.support.speech import SAMPLE_TEXT, words
from tests.support.worker import deploy


async def test_a_worker_reads_all_formats_on_one_topic(
    clients: KafkaClients,
    s3: SeaweedServer,
    store: S3Client,
    schema_registry: ApicurioServer,
    artifacts_dir: Path,
    sample: Path,
    tmp_path: Path,
) -> None:
    bucket = await new_bucket(store)
    deployment = await deploy(
        clients, s3, artifacts_dir, tmp_path, buckets=(bucket,), SCHEMA_REGISTRY_URL=schema_registry.url
    )
    async with registry_client(schema_registry) as client:
        for kind in ("avro", "json", "protobuf", "bare"):
            await store.put_object(Bucket=bucket, Key=f"{kind}.wav", Body=sample.read_bytes())
            event = {"bucket": bucket, "key": f"{kind}.wav"}
            value = json.dumps(event).encode() if kind == "bare" else await serialized(client, kind, event, kind)
            await clients.send(deployment.input_topic, value)
    await clients.send(deployment.input_topic, b"\x00\x00\x00\xff\xffx")
    async with deployment.worker():
        transcripts = await deployment.transcripts(4)
        (letter,) = await deployment.dead_letters(1)
    assert {key: words(each.text) == words(SAMPLE_TEXT) for key, each in transcripts.items()} == dict.fromkeys(
        ("avro.wav", "json.wav", "protobuf.wav", "bare.wav"), True
    )
    assert letter.value == b"\x00\x00\x00\xff\xffx"
    assert letter.header("whisper-consumer-reason") == "bad_event"
