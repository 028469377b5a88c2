"""Long recordings are followed while they are transcribed, and cancelled; subscribers are told of what failed."""

import json
import time
from pathlib import Path

from types_aiobotocore_s3 import S3Client

from consumer.operate.seaweed_server import SeaweedServer
from schemas import TranscriptFailed, TranscriptProgress
from tests.support.kafka_clients import KafkaClients
from tests.support.s3 import new_bucket
from tests.support.speech import corpus_set, word_error_rate, write_long_recording
from tests.support.worker import deploy

LONG_SECONDS = 600


async def test_progress_is_told_and_a_cancelled_recording_ends_at_once(
    clients: KafkaClients, s3: SeaweedServer, store: S3Client, artifacts_dir: Path, corpus: Path, tmp_path: Path
) -> None:
    bucket = await new_bucket(store)
    progress, control, failures = [
        await clients.create_topic(name) for name in ("audio.progress", "audio.control", "audio.failures")
    ]
    deployment = await deploy(
        clients,
        s3,
        artifacts_dir,
        tmp_path,
        buckets=(bucket,),
        KAFKA_PROGRESS_TOPIC=progress,
        KAFKA_CONTROL_TOPIC=control,
        KAFKA_FAILED_TOPIC=failures,
    )
    path = tmp_path / "long.wav"
    texts = write_long_recording(path, corpus_set(corpus, "lsother"), seconds=LONG_SECONDS)
    await store.put_object(Bucket=bucket, Key="long.wav", Body=path.read_bytes())
    async with deployment.worker() as worker:
        announced = time.monotonic()
        await deployment.announce(bucket, "long.wav")
        events = [
            TranscriptProgress.model_validate_json(message.value or b"")
            for message in await clients.read(progress, 3, timeout_seconds=60)
        ]
        first_after_seconds = time.monotonic() - announced
        await clients.send(control, json.dumps({"transcriptId": events[0].data.transcript_id}).encode())
        asked = time.monotonic()
        (letter,) = await deployment.dead_letters(1)
        ended_after_seconds = time.monotonic() - asked
        (failure,) = await clients.read(failures, 1)
        assert await worker.metric("records_finished_total", outcome="dead_lettered") == 1
        assert await worker.metric("dead_letters_total", reason="cancelled") == 1
        # What is announced again after that goes on from there, and is transcribed.
        await deployment.announce(bucket, "long.wav")
        transcript = (await deployment.transcripts(1))["long.wav"]
        assert await worker.metric("checkpoints_resumed_total") == 1
    assert first_after_seconds < 15
    assert ended_after_seconds < 4  # a pass of the encoder, and 2 s
    assert letter.header("whisper-consumer-reason") == "cancelled"
    told = TranscriptFailed.model_validate_json(failure.value or b"")
    assert (told.data.reason, told.data.key) == ("cancelled", "long.wav")
    percents = [event.data.percent for event in events]
    assert percents == sorted(percents, key=lambda percent: percent or 0)
    assert all(event.data.duration_seconds is not None for event in events)
    heard = [segment for event in events for segment in event.data.segments]
    assert heard == list(transcript.segments[: len(heard)])
    assert word_error_rate(" ".join(texts), transcript.text) < 0.4
