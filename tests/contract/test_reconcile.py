"""Recordings that nobody told of, found in a real store and announced on a real broker."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from types_aiobotocore_s3 import S3Client

from consumer.engine.artifacts.errors import ArtifactError
from consumer.errors import Unavailable
from consumer.events import Uploads, parse
from consumer.operate.kafka_server import KafkaServer
from consumer.operate.network import free_ports
from consumer.operate.reconcile import ReconcileOptions, reconcile_bucket
from consumer.operate.reconcile.events import RECONCILED
from consumer.operate.seaweed_server import SeaweedServer
from consumer.settings import WorkerSettings, load
from consumer.store.results import Ending, marker_key, result_key
from tests.support.kafka_clients import KafkaClients, kafka_clients
from tests.support.minio import MinioServer
from tests.support.s3 import S3Server, new_bucket, s3_client

ODD_KEYS = [
    "plain.wav",
    "2026/03/a b+c&d=e.ogg",
    "%41%2F.wav",
    "ümläut/🎧 日本.mp3",
    "-rf '\"<>|*?.wav",
    "tab\tand\nline.wav",
    "..wav/...",
    "/".join(["x" * 250] * 4),
]


@pytest.fixture
async def clients(kafka: KafkaServer) -> AsyncIterator[KafkaClients]:
    async with kafka_clients(kafka.bootstrap_servers) as clients:
        yield clients


@dataclass
class Scene:
    """Two buckets, a topic, and the command between them."""

    client: S3Client
    clients: KafkaClients
    settings: WorkerSettings
    bucket: str
    results: str
    topic: str
    capture: pytest.CaptureFixture[str]
    notes: str = ""

    async def record(self, key: str, body: bytes = b"RIFF") -> str:
        """Upload a recording; returns its ETag."""
        answer = await self.client.put_object(Bucket=self.bucket, Key=key, Body=body)
        return answer["ETag"].strip('"')

    async def answer(self, key: str, name: str = "1", **metadata: str) -> None:
        """Store a result as the worker does."""
        where = result_key(sha256(name.encode()).hexdigest(), self.bucket, key)
        await self.client.put_object(
            Bucket=self.results, Key=where, Body=b"{}", Metadata={k.replace("_", "-"): v for k, v in metadata.items()}
        )

    async def give_up(self, key: str, etag: str | None, ending: Ending = "dead-letter") -> None:
        """Store a marker as the worker does."""
        await self.client.put_object(Bucket=self.results, Key=marker_key(self.bucket, key, etag, ending), Body=b"{}")

    async def later(self) -> None:
        """Wait until the store gives a later time than to everything so far."""
        probe = "probe"
        await self.client.put_object(Bucket=self.results, Key=probe, Body=b"")
        first = (await self.client.head_object(Bucket=self.results, Key=probe))["LastModified"]
        async with asyncio.timeout(30):
            while (await self.client.head_object(Bucket=self.results, Key=probe))["LastModified"] <= first:
                await self.client.put_object(Bucket=self.results, Key=probe, Body=b"")

    async def reconcile(self, settings: WorkerSettings | None = None, **how: Any) -> list[str]:
        """The objects that the command names in a pipe."""
        options = ReconcileOptions(
            bucket=self.bucket,
            prefix="",
            since=None,
            min_age=timedelta(),
            stale_model=False,
            dry_run=False,
            per_second=1000,
            page_keys=3,
        )
        self.capture.readouterr()
        notes = StringIO()
        try:
            status = await reconcile_bucket(
                settings or self.settings, replace(options, **how), Console(), Console(file=notes, width=500)
            )
        finally:
            self.notes = notes.getvalue()
        assert status == 0
        return [line.removeprefix(f"{self.bucket}/") for line in self.capture.readouterr().out.splitlines()]

    async def announced(self) -> list[str]:
        """Keys of all objects that the topic announces."""
        keys = []
        for message in await self.clients.read(self.topic, await self.clients.size(self.topic)):
            parsed = parse(message.headers, message.key, message.value)
            assert isinstance(parsed, Uploads)
            keys += [upload.key for upload in parsed.uploads]
        return keys


@pytest.fixture
async def scene(
    clients: KafkaClients, client: S3Client, s3: SeaweedServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Scene:
    return await scene_of(clients, client, s3, capsys, tmp_path)


@pytest.fixture
async def minio_scene(
    clients: KafkaClients, minio: MinioServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> AsyncIterator[Scene]:
    async with s3_client(minio) as client:
        yield await scene_of(clients, client, minio, capsys, tmp_path)


async def scene_of(
    clients: KafkaClients, client: S3Client, server: S3Server, capture: pytest.CaptureFixture[str], artifacts_dir: Path
) -> Scene:
    bucket, results = await new_bucket(client), await new_bucket(client, "transcripts")
    topic = await clients.create_topic("in")
    settings = load(
        WorkerSettings,
        kafka_bootstrap_servers=clients.bootstrap_servers,
        kafka_input_topic=topic,
        minio_endpoint=server.endpoint,
        minio_access_key=server.access_key,
        minio_secret_key=server.secret_key,
        input_buckets=bucket,
        results_bucket=results,
        whisper_artifacts_dir=artifacts_dir,
        whisper_model_size="tiny.en",
    )
    return Scene(client, clients, settings, bucket, results, topic, capture)


async def test_keys_of_any_characters_are_announced_as_the_objects_they_name(scene: Scene) -> None:
    await _announce_odd_keys(scene)


async def test_so_are_those_of_minio(minio_scene: Scene) -> None:
    await _announce_odd_keys(minio_scene)
    await minio_scene.answer("plain.wav", weights_sha256="f" * 64)
    assert "plain.wav" not in await minio_scene.reconcile(dry_run=True)


async def _announce_odd_keys(scene: Scene) -> None:
    etags = {key: await scene.record(key, key.encode()) for key in ODD_KEYS}
    assert len(await scene.reconcile()) == len(ODD_KEYS)
    assert f"{len(ODD_KEYS)} enqueued" in scene.notes
    messages = await scene.clients.read(scene.topic, len(ODD_KEYS))
    found = {}
    for message in messages:
        parsed = parse(message.headers, message.key, message.value)
        assert isinstance(parsed, Uploads)
        (upload,) = parsed.uploads
        assert message.key == f"{scene.bucket}/{upload.key}".encode()
        assert message.headers == ((RECONCILED, b"1"),)
        assert (upload.bucket, upload.size_bytes) == (scene.bucket, len(upload.key.encode()))
        found[upload.key] = upload.etag
    assert found == etags


async def test_what_is_covered_or_no_recording_is_left(scene: Scene) -> None:
    await scene.answer("late.wav")
    await scene.later()
    etags = {
        key: await scene.record(key)
        for key in ("none.wav", "result.wav", "dead.wav", "short.wav", "late.wav", "old.wav")
    }
    await scene.record("folder/", b"")
    await scene.record("empty.wav", b"")
    await scene.answer("result.wav")
    await scene.give_up("dead.wav", etags["dead.wav"])
    await scene.give_up("old.wav", "of-earlier-bytes")
    await scene.give_up("short.wav", etags["short.wav"], "not-wanted")
    assert sorted(await scene.reconcile()) == ["late.wav", "none.wav", "old.wav"]
    assert "8 keys" in scene.notes
    assert "3 covered by a result, a dead letter or a skip" in scene.notes
    assert "2 without bytes" in scene.notes

    await scene.answer("late.wav", "2")
    await scene.give_up("none.wav", None)
    await scene.give_up("old.wav", etags["old.wav"])
    assert await scene.reconcile() == []
    assert len(await scene.announced()) == 3


async def test_the_same_bytes_uploaded_again_are_answered_already(scene: Scene) -> None:
    etag = await scene.record("a.wav")
    await scene.answer("a.wav", etag=etag)
    await scene.answer("b.wav", etag="of-other-bytes")
    await scene.later()
    await scene.record("a.wav")
    await scene.record("b.wav")
    assert await scene.reconcile() == ["b.wav"]


async def test_many_results_of_one_recording_and_its_neighbours(scene: Scene) -> None:
    for number in range(7):
        await scene.answer("a.wav", str(number))
    await scene.record("b.wav")
    await scene.later()
    await scene.record("a.wav")
    assert sorted(await scene.reconcile()) == ["a.wav", "b.wav"]
    await scene.answer("a.wav", "newest")
    assert await scene.reconcile() == ["b.wav"]


async def test_prefix_since_and_min_age(scene: Scene) -> None:
    await scene.record("in/before.wav")
    await scene.later()
    await scene.record("in/after.wav")
    await scene.record("out/after.wav")
    since = (await scene.client.head_object(Bucket=scene.bucket, Key="in/after.wav"))["LastModified"]
    assert await scene.reconcile(dry_run=True, prefix="in/", since=since) == ["in/after.wav"]
    assert "1 to be enqueued" in scene.notes
    assert "1 older than --since" in scene.notes
    assert await scene.reconcile(dry_run=True, prefix="nothing/") == []
    assert "There is nothing" in scene.notes
    assert await scene.reconcile(min_age=timedelta(hours=24)) == []
    assert "3 younger than --min-age" in scene.notes
    assert await scene.reconcile(since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert await scene.clients.size(scene.topic) == 0


async def test_results_of_another_model_do_not_count_where_that_is_asked(scene: Scene, artifacts_dir: Path) -> None:
    from consumer.engine.artifacts.locate import locate  # noqa: PLC0415

    etags = {key: await scene.record(key) for key in ("ours.wav", "theirs.wav", "both.wav", "dead.wav", "unknown.wav")}
    ours = locate(artifacts_dir, "tiny.en").weights_sha256
    for key, weights in (("ours.wav", ours), ("theirs.wav", "f" * 64), ("both.wav", "f" * 64), ("both.wav", ours)):
        await scene.answer(key, weights, weights_sha256=weights, etag=etags[key])
    await scene.give_up("dead.wav", etags["dead.wav"])
    await scene.answer("unknown.wav")
    assert await scene.reconcile() == []
    settings = scene.settings.model_copy(update={"whisper_artifacts_dir": artifacts_dir})
    assert sorted(await scene.reconcile(settings, stale_model=True)) == ["theirs.wav", "unknown.wav"]
    with pytest.raises(ArtifactError, match="no artifacts of tiny"):
        await scene.reconcile(stale_model=True)


async def test_what_is_not_there(scene: Scene) -> None:
    await scene.record("a.wav")
    with pytest.raises(Unavailable, match=r"'not-there' does not exist.*KAFKA_INPUT_TOPIC"):
        await scene.reconcile(scene.settings.model_copy(update={"kafka_input_topic": "not-there"}))
    for wrong in ({"results_bucket": "not-there"}, {"minio_endpoint": f"http://127.0.0.1:{free_ports(1)[0]}"}):
        with pytest.raises(Unavailable, match=r"create the bucket|MINIO_ENDPOINT"):
            await scene.reconcile(scene.settings.model_copy(update=wrong), dry_run=True)


@pytest.mark.parametrize("bucket", ["own", "other"])
async def test_the_command_line_needs_no_model_and_refuses_a_bucket_that_no_worker_reads(
    scene: Scene, bucket: str, s3: SeaweedServer
) -> None:
    await scene.record("a\nb.wav")
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": scene.clients.bootstrap_servers,
        "KAFKA_INPUT_TOPIC": scene.topic,
        "MINIO_ENDPOINT": s3.endpoint,
        "MINIO_ACCESS_KEY": s3.access_key,
        "MINIO_SECRET_KEY": s3.secret_key,
        "INPUT_BUCKETS": scene.bucket,
        "RESULTS_BUCKET": scene.results,
        "COLUMNS": "300",
    }
    known = {name.upper() for name in WorkerSettings.model_fields}
    clean = {name: value for name, value in os.environ.items() if name not in known}
    name = scene.bucket if bucket == "own" else "other-bucket"
    command = [sys.executable, "-m", "consumer", "reconcile", "--bucket", name, "--min-age", "0s"]
    ran = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, env={**clean, **settings}, timeout=60
    )
    if bucket == "own":
        assert (ran.returncode, ran.stdout) == (0, f"{scene.bucket}/a\\nb.wav\n")
        assert "1 enqueued" in ran.stderr
        assert await scene.announced() == ["a\nb.wav"]
    else:
        assert (ran.returncode, ran.stdout) == (2, "")
        assert "is not one of INPUT_BUCKETS" in ran.stderr
        assert await scene.clients.size(scene.topic) == 0
