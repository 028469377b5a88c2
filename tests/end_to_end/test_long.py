"""Long recordings: a kill costs what came after the last checkpoint, and short ones do not wait for them."""

from pathlib import Path

from types_aiobotocore_s3 import S3Client

from consumer.operate.seaweed_server import SeaweedServer
from tests.support.kafka_clients import KafkaClients
from tests.support.resuming import interrupted_and_whole
from tests.support.s3 import new_bucket
from tests.support.speech import corpus_set, write_long_recording
from tests.support.worker import completed, deploy


async def test_a_recording_goes_on_where_a_killed_worker_was(
    clients: KafkaClients, s3: SeaweedServer, store: S3Client, artifacts_dir: Path, corpus: Path, tmp_path: Path
) -> None:
    bucket = await new_bucket(store)
    deployment = await deploy(
        clients,
        s3,
        artifacts_dir,
        tmp_path,
        buckets=(bucket,),
        CHECKPOINT_AUDIO_SECONDS="30",
        KAFKA_SESSION_TIMEOUT_SECONDS="3",
    )
    path = tmp_path / "long.wav"
    write_long_recording(path, corpus_set(corpus, "lsother"), seconds=240)
    for key in ("interrupted.wav", "whole.wav"):
        await store.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    run = await interrupted_and_whole(deployment, bucket, kill_after_seconds=120, timeout_seconds=200)
    interrupted, whole = [completed(message).data.transcript for message in run.messages]
    assert interrupted is not None
    assert whole is not None
    assert interrupted.segments == whole.segments
    assert interrupted.text == whole.text
    assert 0 < run.resumed_at_seconds < 240
    # In hand at the kill were two windows and one, those since the last checkpoint are two more, counted or not.
    assert run.windows_of_first + run.windows_of_second - run.windows_of_whole <= 5
    assert run.windows_of_second < run.windows_of_whole
