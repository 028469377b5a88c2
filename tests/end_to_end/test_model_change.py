"""SIGHUP changes the model of a real worker while it transcribes; other libraries make it end, to be started again."""

import asyncio
import shutil
import signal
from pathlib import Path

import numpy as np
from types_aiobotocore_s3 import S3Client

from consumer.engine.artifacts.digests import digest_file
from consumer.engine.artifacts.manifest import FileFacts, read_manifest, write_manifest
from consumer.engine.artifacts.models import LIBRARIES, directory_name, model_file
from consumer.engine.artifacts.progress import Silent
from consumer.engine.artifacts.push import push
from consumer.model_change import EXIT_OTHER_LIBRARIES
from consumer.operate.seaweed_server import SeaweedServer
from tests.support.artifacts import store_settings
from tests.support.kafka_clients import KafkaClients
from tests.support.s3 import new_bucket
from tests.support.speech import SAMPLE_TEXT, samples_of, words, write_wav
from tests.support.worker import WorkerProcess, deploy

Q8_0, Q5_1 = model_file("tiny.en", "q8_0"), model_file("tiny.en", "q5_1")


async def test_on_sighup_the_model_is_changed_and_nothing_is_lost(
    clients: KafkaClients, s3: SeaweedServer, store: S3Client, artifacts_dir: Path, sample: Path, tmp_path: Path
) -> None:
    bucket, artifacts_bucket = await new_bucket(store), await new_bucket(store, "artifacts")
    original = tmp_path / "original" / directory_name("tiny.en")
    shutil.copytree(artifacts_dir / original.name, original)
    await push(original, artifacts_bucket, store_settings(s3), Silent())
    (tmp_path / "local").mkdir()
    deployment = await deploy(
        clients,
        s3,
        tmp_path / "local",
        tmp_path,
        buckets=(bucket,),
        ARTIFACTS_BUCKET=artifacts_bucket,
        WHISPER_PRECISION="q8_0",
    )
    long = write_wav(tmp_path / "long.wav", np.tile(samples_of(sample), 20)).read_bytes()
    for key, body in (("long.wav", long), ("before.wav", sample.read_bytes()), ("after.wav", sample.read_bytes())):
        await store.put_object(Bucket=bucket, Key=key, Body=body)
    async with deployment.worker() as worker:
        await deployment.announce(bucket, "before.wav")
        await deployment.transcripts(1)
        await deployment.announce(bucket, "long.wav")
        await _metric_reaches(worker, "windows_total", 3)
        _replace(original, Q8_0, (original / Q5_1).read_bytes())
        await push(original, artifacts_bucket, store_settings(s3), Silent())
        worker.process.send_signal(signal.SIGHUP)
        await _metric_reaches(worker, "model_changes_total", 1, outcome="changed")
        await deployment.announce(bucket, "after.wav")
        found = await deployment.transcripts(3)
        models = {key: transcript.provenance.model_sha256 for key, transcript in found.items()}
        assert models["after.wav"] == digest_file(original / Q8_0)
        assert models["before.wav"] == models["long.wav"] != models["after.wav"]
        assert words(found["after.wav"].text) == words(SAMPLE_TEXT)
        assert await worker.metric("model_changes_total", outcome="failed") == 0

        _replace(original, LIBRARIES[0], (original / LIBRARIES[0]).read_bytes() + b"\0")
        await push(original, artifacts_bucket, store_settings(s3), Silent())
        worker.process.send_signal(signal.SIGHUP)
        assert await worker.process.wait(timeout_seconds=60) == EXIT_OTHER_LIBRARIES
        assert any("to be started again" in line["message"] for line in worker.logs())
    async with deployment.worker() as successor:
        assert await successor.metric("ready") == 1


async def _metric_reaches(worker: WorkerProcess, name: str, least: float, **labels: str) -> None:
    async with asyncio.timeout(120):
        while await worker.metric(name, **labels) < least:
            await asyncio.sleep(0.1)


def _replace(directory: Path, name: str, body: bytes) -> None:
    (directory / name).unlink()
    (directory / name).write_bytes(body)
    manifest = read_manifest(directory)
    assert manifest is not None
    facts = FileFacts(bytes=len(body), sha256=digest_file(directory / name))
    write_manifest(directory, manifest.model_copy(update={"files": {**manifest.files, name: facts}}))
