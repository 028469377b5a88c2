"""From the put into a real MinIO to the words on the output topic, all parts real, the worker a process of its own."""

import hashlib
import signal
from pathlib import Path

import numpy as np
from types_aiobotocore_s3 import S3Client

from tests.support.kafka_clients import KafkaClients
from tests.support.minio import MinioServer
from tests.support.s3 import new_bucket, s3_client
from tests.support.speech import SAMPLE_TEXT, samples_of, words, write_wav
from tests.support.worker import completed, deploy

KEY = "calls/2026 11/gespräch +1 100% «größe» 文件 & 'q'.wav"


async def _announcing_minio(clients: KafkaClients, binary: Path, directory: Path) -> tuple[str, MinioServer]:
    """A server that is not started yet, and the topic on which it will announce what changes in its buckets."""
    topic = await clients.create_topic("minio.events")
    data_dir = directory / "minio"
    return topic, MinioServer(binary, data_dir=data_dir, kafka_bootstrap_servers=clients.bootstrap_servers, topic=topic)


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
    topic, minio = await _announcing_minio(clients, minio_binary, tmp_path)
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
        assert await worker.metric("audio_by_language_seconds_total", language="en") == 11.0
        assert await worker.metric("objective_total", outcome="met") == 1
        assert await worker.metric("ready") == 1
        for known in ("memory_predicted_bytes", "memory_limit_bytes", "artifact_pull_seconds", "drain_budget_seconds"):
            assert await worker.metric(known) > 0
        assert await worker.metric("fetched_bytes_total") == len(body)
        assert (await worker.status("/livez"))[0] == 200
        log = worker.process.log_path.read_text()
        assert "country" not in log
        assert any(line.get("partition") == 0 and "offset" in line for line in worker.logs())
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.process.wait(timeout_seconds=30) == 0


async def test_every_way_to_write_an_object_is_understood(
    clients: KafkaClients, minio_binary: Path, artifacts_dir: Path, sample: Path, tmp_path: Path
) -> None:
    """Put, multipart, copy, empty, deleted, and versions, as a real MinIO announces them."""
    topic, minio = await _announcing_minio(clients, minio_binary, tmp_path)
    body = sample.read_bytes()
    later = write_wav(
        tmp_path / "later.wav", np.concatenate([np.zeros(8000, np.int16), samples_of(sample)])
    ).read_bytes()
    async with minio, s3_client(minio) as client:
        plain, versioned = await new_bucket(client), await new_bucket(client, "versions")
        await client.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Enabled"})
        for bucket in (plain, versioned):
            await _announce(client, bucket, minio.notification_arn)
        await client.put_object(Bucket=plain, Key="put.wav", Body=body)
        upload = await client.create_multipart_upload(Bucket=plain, Key="multipart.wav")
        part = {"Bucket": plain, "Key": "multipart.wav", "UploadId": upload["UploadId"]}
        etag = (await client.upload_part(**part, PartNumber=1, Body=body))["ETag"]  # type: ignore[arg-type]
        await client.complete_multipart_upload(
            **part,  # type: ignore[arg-type]
            MultipartUpload={"Parts": [{"ETag": etag, "PartNumber": 1}]},
        )
        await client.copy_object(Bucket=plain, Key="copy.wav", CopySource={"Bucket": plain, "Key": "put.wav"})
        await client.put_object(Bucket=plain, Key="empty.wav", Body=b"")
        await client.put_object(Bucket=plain, Key="gone.wav", Body=body)
        await client.delete_object(Bucket=plain, Key="gone.wav")
        versions = [
            (await client.put_object(Bucket=versioned, Key="twice.wav", Body=content))["VersionId"]
            for content in (body, later)
        ]
        await client.delete_object(Bucket=versioned, Key="twice.wav")  # which leaves both versions, and a marker
        await clients.wait_size(topic, 9)
        deployment = await deploy(
            clients, minio, artifacts_dir, tmp_path, buckets=(plain, versioned), input_topic=topic
        )
        async with deployment.worker() as worker:
            messages = await clients.read(deployment.output_topic, 5, 90)
            letters = await deployment.dead_letters(2)
            await clients.wait_committed(deployment.group_id, topic, 9)
            assert await worker.metric("events_total", kind="removed") == 2
    transcripts = [completed(message).data.transcript for message in messages]
    assert {
        (each.source.key, each.source.version_id, each.duration_seconds)
        for each in transcripts
        if each is not None and words(each.text) == words(SAMPLE_TEXT)
    } == {
        ("put.wav", None, 11.0),
        ("multipart.wav", None, 11.0),
        ("copy.wav", None, 11.0),
        ("twice.wav", versions[0], 11.0),
        ("twice.wav", versions[1], 11.5),
    }
    assert {letter.header("whisper-consumer-reason") for letter in letters} == {"empty", "missing"}
