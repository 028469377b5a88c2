"""From the put into a real MinIO to the words on the output topic, all parts real, the worker a process of its own."""

import hashlib
import signal
from pathlib import Path

from types_aiobotocore_s3 import S3Client

from tests.support.kafka_clients import KafkaClients
from tests.support.minio import MinioServer
from tests.support.s3 import new_bucket, s3_client
from tests.support.speech import SAMPLE_TEXT, words
from tests.support.worker import completed, deploy

KEY = "calls/2026 11/gespräch +1 100% «größe» 文件 & 'q'.wav"


async def _announce(client: S3Client, bucket: str, arn: str) -> None:
    await client.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]
        },
    )


async def test_an_uploaded_recording_becomes_a_transcript(
    clients: KafkaClients, minio_binary: Path, artifacts_dir: Path, sample: Path, tmp_path: Path
) -> None:
    topic = await clients.create_topic("minio.events")
    minio = MinioServer(
        minio_binary, data_dir=tmp_path / "minio", kafka_bootstrap_servers=clients.bootstrap_servers, topic=topic
    )
    body = sample.read_bytes()
    async with minio, s3_client(minio) as client:
        bucket = await new_bucket(client)
        await _announce(client, bucket, minio.notification_arn)
        put = await client.put_object(Bucket=bucket, Key=KEY, Body=body, ContentType="audio/wav")
        await client.put_object(Bucket=bucket, Key="gone.wav", Body=b"x")
        await client.delete_object(Bucket=bucket, Key="gone.wav")
        await clients.wait_size(topic, 3)
        await _transcribed(clients, minio, artifacts_dir, tmp_path, bucket, topic, body, put["ETag"].strip('"'))


async def _transcribed(
    clients: KafkaClients,
    minio: MinioServer,
    artifacts_dir: Path,
    tmp_path: Path,
    bucket: str,
    topic: str,
    body: bytes,
    etag: str,
) -> None:
    deployment = await deploy(clients, minio, artifacts_dir, tmp_path, buckets=(bucket,), input_topic=topic)
    async with deployment.worker() as worker:
        [message] = await clients.read(deployment.output_topic, 1, 60)
        event = completed(message)
        transcript = event.data.transcript
        assert transcript is not None
        assert words(transcript.text) == words(SAMPLE_TEXT)
        assert transcript.language == "en"
        assert not transcript.no_speech
        assert transcript.duration_seconds == 11.0
        assert event.subject == KEY
        assert transcript.source.bucket == bucket
        assert transcript.source.key == KEY
        assert transcript.source.etag == etag
        assert transcript.source.sha256 == hashlib.sha256(body).hexdigest()
        assert transcript.source.size_bytes == len(body)
        assert transcript.source.topic == topic
        assert transcript.audio.codec == "pcm_s16le"
        assert transcript.audio.damage == ()
        heard = [word for segment in transcript.segments for word in segment.words]
        assert words(" ".join(word.text for word in heard)) == words(SAMPLE_TEXT)
        assert 0 < heard[0].start_seconds < 1.5
        assert 9 < heard[-1].end_seconds <= 11
        assert transcript.provenance.engine == "library"
        assert transcript.provenance.real_time_factor > 0
        # One upload, one that was deleted before it could be fetched, one delete: three records, all finished.
        [letter] = await deployment.dead_letters(1)
        assert letter.header("whisper-consumer-reason") == "missing"
        await clients.wait_committed(deployment.group_id, topic, 3)
        assert await worker.metric("records_finished_total", outcome="completed") == 1
        assert await worker.metric("records_finished_total", outcome="dead_lettered") == 1
        assert await worker.metric("records_finished_total", outcome="skipped") == 1
        assert await worker.metric("audio_out_seconds_total") == 11.0
        assert await worker.metric("fetched_bytes_total") == len(body)
        assert (await worker.status("/livez"))[0] == 200
        log = worker.process.log_path.read_text()
        assert "country" not in log
        assert any(line.get("partition") == 0 and "offset" in line for line in worker.logs())
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.process.wait(timeout_seconds=30) == 0
