"""Spans of a real worker arrive at a collector, as parts of the trace that the record carries."""

import json
import signal
from pathlib import Path
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from types_aiobotocore_s3 import S3Client

from consumer.operate.seaweed_server import SeaweedServer
from tests.support.collector import running_collector
from tests.support.kafka_clients import KafkaClients
from tests.support.s3 import new_bucket
from tests.support.worker import deploy

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


async def test_spans_of_the_stages_belong_to_the_records_trace(
    clients: KafkaClients, s3: SeaweedServer, store: S3Client, artifacts_dir: Path, sample: Path, tmp_path: Path
) -> None:
    bucket = await new_bucket(store)
    await store.put_object(Bucket=bucket, Key="a.wav", Body=sample.read_bytes())
    event = json.dumps({"bucket": bucket, "key": "a.wav"}).encode()
    async with running_collector() as collector:
        deployment = await deploy(
            clients,
            s3,
            artifacts_dir,
            tmp_path,
            buckets=(bucket,),
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
            OTEL_SERVICE_NAME="calls",
        )
        async with deployment.worker():
            headers = [("traceparent", TRACEPARENT.encode())]
            await clients.send(deployment.input_topic, event, headers=headers)
            await clients.send(deployment.input_topic, b"no event", headers=headers)
            await clients.send(deployment.input_topic, event)
            (message, _) = await clients.read(deployment.output_topic, 2, 60)
            await deployment.dead_letters(1)
        # The worker has ended, and has sent what was left.
        spans = await collector.wait_until(lambda spans: sum(span.name == "receive" for span in spans) == 3)
    assert collector.services == {"calls"}
    assert message.header("traceparent") == TRACEPARENT
    received = {attributes(span)["messaging.kafka.offset"]: span for span in spans if span.name == "receive"}
    assert set(received) == {0, 1, 2}
    whole, rejected, alone = (received[offset] for offset in range(3))
    for span in (whole, rejected):
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        assert span.kind == Span.SPAN_KIND_CONSUMER
    assert (alone.trace_id.hex() != TRACE, alone.parent_span_id) == (True, b"")
    inner = {
        offset: {span.name: span for span in spans if span.parent_span_id == received[offset].span_id}
        for offset in range(3)
    }
    assert set(inner[0]) == {"fetch", "decode", "infer", "store", "publish"}
    assert set(inner[1]) == {"publish"}
    assert set(inner[2]) == {"publish"}  # the result was there
    for span in inner[0].values():
        assert whole.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= whole.end_time_unix_nano
    assert attributes(whole)["aws.s3.key"] == "a.wav"
    assert attributes(whole)["whisper_consumer.outcome"] == "completed"
    assert whole.status.code == Status.STATUS_CODE_UNSET
    assert attributes(rejected)["whisper_consumer.reason"] == "bad_event"
    assert rejected.status.code == Status.STATUS_CODE_ERROR
    assert "country" not in str(spans)


async def test_a_collector_that_is_away_holds_up_nothing(
    clients: KafkaClients, s3: SeaweedServer, store: S3Client, artifacts_dir: Path, sample: Path, tmp_path: Path
) -> None:
    bucket = await new_bucket(store)
    await store.put_object(Bucket=bucket, Key="a.wav", Body=sample.read_bytes())
    deployment = await deploy(
        clients, s3, artifacts_dir, tmp_path, buckets=(bucket,), OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1"
    )
    async with deployment.worker() as worker:
        await deployment.announce(bucket, "a.wav")
        assert (await deployment.transcripts(1))["a.wav"].text
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.process.wait(timeout_seconds=20) == 0
