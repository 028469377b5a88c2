"""A worker's result is made again by the command, from the store or from a file, and differences are told."""

import os
import subprocess
import sys
from pathlib import Path

from types_aiobotocore_s3 import S3Client

from consumer.operate.seaweed_server import SeaweedServer
from tests.support.kafka_clients import KafkaClients
from tests.support.s3 import new_bucket
from tests.support.worker import deploy


async def test_a_result_is_made_again_and_compared(
    clients: KafkaClients, s3: SeaweedServer, store: S3Client, artifacts_dir: Path, sample: Path, tmp_path: Path
) -> None:
    bucket = await new_bucket(store)
    deployment = await deploy(clients, s3, artifacts_dir, tmp_path, buckets=(bucket,))
    await store.put_object(Bucket=bucket, Key="a.wav", Body=sample.read_bytes())
    async with deployment.worker():
        await deployment.announce(bucket, "a.wav")
        transcript = (await deployment.transcripts(1))["a.wav"]
    assert transcript.provenance.attempts == 1
    assert transcript.provenance.host
    assert any(name.startswith("libggml-cpu.so") for name in transcript.provenance.libraries_sha256)
    result = tmp_path / "result.json"
    result.write_text(transcript.model_dump_json(by_alias=True))

    def reproduce(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "consumer", "reproduce", *map(str, arguments), "--dir", str(artifacts_dir)]
        environment = {**os.environ, **deployment.settings, "COLUMNS": "200"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    from_store = reproduce(result)
    assert (from_store.returncode, from_store.stderr) == (0, "")
    assert "The text is the same: 22 words." in from_store.stdout
    assert transcript.provenance.model_sha256[:12] in from_store.stdout
    assert reproduce(result, "--recording", sample).returncode == 0

    text = transcript.text.replace("country", "county", 1)
    result.write_text(transcript.model_copy(update={"text": text}).model_dump_json(by_alias=True))
    another = reproduce(result, "--recording", sample)
    assert another.returncode == 1
    assert "[ county ]" in another.stdout
    assert "[ country ]" in another.stdout

    other_bytes = reproduce(result, "--recording", result)
    assert other_bytes.returncode == 2
    assert "has other bytes" in other_bytes.stderr
    await store.delete_object(Bucket=bucket, Key="a.wav")
    gone = reproduce(result)
    assert gone.returncode == 2
    assert f"the recording {bucket}/a.wav is gone: give it with --recording" in gone.stderr
