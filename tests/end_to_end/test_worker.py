"""The worker as its operators meet it: a process between a real Kafka and a real S3 store."""

import asyncio
import hashlib
import json
import signal
from pathlib import Path

import psutil
import pytest
from types_aiobotocore_s3 import S3Client

from consumer.operate.seaweed_server import SeaweedServer
from schemas import Transcript
from tests.support.kafka_clients import KafkaClients
from tests.support.s3 import new_bucket, s3_client
from tests.support.speech import (
    SAMPLE_TEXT,
    corpus_set,
    word_error_rate,
    words,
    write_long_recording,
)
from tests.support.worker import Deployment, WorkerProcess, completed, deploy, start_worker

DECODABLE_BROKEN = {
    "broken-garbage-mid.mp3",
    "broken-id3-cover-like.mp3",
    "broken-mp3-as-wav.wav",
    "broken-wav-as-mp3.mp3",
    "broken-truncated-half.wav",
    "broken-truncated.ogg",
}


@pytest.fixture
async def bucket(store: S3Client) -> str:
    """A bucket for recordings."""
    return await new_bucket(store)


@pytest.fixture
async def deployment(
    clients: KafkaClients, s3: SeaweedServer, bucket: str, artifacts_dir: Path, tmp_path: Path
) -> Deployment:
    """Topics of one partition, and settings for tiny.en."""
    return await deploy(clients, s3, artifacts_dir, tmp_path, buckets=(bucket,))


async def test_every_format_says_the_same_and_nothing_broken_kills_the_worker(
    deployment: Deployment, store: S3Client, bucket: str, corpus: Path
) -> None:
    formats, broken = corpus_set(corpus, "fmt"), corpus_set(corpus, "broken")
    for recording in (*formats, *broken):
        await store.put_object(Bucket=bucket, Key=recording.path.name, Body=recording.path.read_bytes())
        await deployment.announce(bucket, recording.path.name)
    async with deployment.worker() as worker:
        transcripts = await deployment.transcripts(len(formats) + len(DECODABLE_BROKEN), timeout_seconds=240)
        letters = await deployment.dead_letters(len(broken) - len(DECODABLE_BROKEN))
        await deployment.clients.wait_committed(deployment.group_id, deployment.input_topic, len(formats) + len(broken))
        assert await worker.metric("dead_letters_total", reason="internal") == 0
    rates = {
        recording.path.name: word_error_rate(recording.text, transcripts[recording.path.name].text)
        for recording in formats
    }
    assert len(rates) == 43
    assert max(rates.values()) <= 0.2, {name: rate for name, rate in rates.items() if rate > 0.2}
    assert transcripts.keys() >= DECODABLE_BROKEN
    for name in ("broken-garbage-mid.mp3", "broken-truncated-half.wav"):
        assert transcripts[name].audio.damage, name
    for letter in letters:
        assert letter.value is not None
        assert json.loads(letter.value)["key"] not in transcripts
        assert letter.header("whisper-consumer-reason") in {"not_audio", "empty"}
        assert letter.header("kafka_dlt-original-topic") == deployment.input_topic


async def test_silence_gives_an_explicit_no_speech(
    deployment: Deployment, store: S3Client, bucket: str, corpus: Path
) -> None:
    recordings = [recording for recording in corpus_set(corpus, "silence") if recording.seconds <= 30]
    for recording in recordings:
        await store.put_object(Bucket=bucket, Key=recording.path.name, Body=recording.path.read_bytes())
        await deployment.announce(bucket, recording.path.name)
    async with deployment.worker() as worker:
        for transcript in (await deployment.transcripts(len(recordings))).values():
            assert transcript.no_speech
            assert transcript.text == ""
            assert transcript.language is None
        assert await worker.metric("no_speech_total") == len(recordings)


@pytest.mark.timeout(600)
async def test_a_long_recording_keeps_its_partition_and_memory_stays_flat(
    deployment: Deployment, store: S3Client, bucket: str, corpus: Path, tmp_path: Path
) -> None:
    """Twelve minutes, and a member that would be put out of the group after ten seconds without a poll.

    Ten short recordings come behind it in the same partition: they are answered before it is.
    """
    path = tmp_path / "long.wav"
    expected = " ".join(write_long_recording(path, corpus_set(corpus, "lsother"), seconds=12 * 60))
    await store.put_object(Bucket=bucket, Key="long.wav", Body=path.read_bytes())
    for number, recording in enumerate(corpus_set(corpus, "lsother")[:10]):
        await store.put_object(Bucket=bucket, Key=f"short-{number}.wav", Body=recording.path.read_bytes())
    async with deployment.worker(KAFKA_MAX_POLL_INTERVAL_SECONDS="10", KAFKA_SESSION_TIMEOUT_SECONDS="10") as worker:
        rebalances = await worker.metric("rebalances_total")
        await deployment.announce(bucket, "long.wav")
        for number in range(10):
            await deployment.announce(bucket, f"short-{number}.wav")
        reading = asyncio.create_task(deployment.transcripts(11, timeout_seconds=400))
        resident_bytes = []
        while not reading.done():
            if await worker.metric("audio_in_seconds_total") > 60:  # the first windows have made all buffers
                resident_bytes.append(worker.resident_bytes())
            await asyncio.wait({reading}, timeout=0.5)
        transcripts = await reading
        assert list(transcripts)[-1] == "long.wav"
        transcript = transcripts["long.wav"]
        assert await worker.metric("rebalances_total") == rebalances
        assert await worker.metric("assigned_partitions") == 1
        await deployment.clients.wait_committed(deployment.group_id, deployment.input_topic, 11)
    assert word_error_rate(expected, transcript.text) < 0.25
    assert transcript.duration_seconds == pytest.approx(path.stat().st_size / 32_000, abs=0.1)
    times = [moment for segment in transcript.segments for moment in (segment.start_seconds, segment.end_seconds)]
    assert times == sorted(times)
    # Buffers grow with the longest text that a window had so far, so the first half is the measure of the second.
    half = len(resident_bytes) // 2
    assert half > 5
    assert max(resident_bytes[half:]) < 1.15 * max(resident_bytes[:half])


async def test_two_workers_share_the_partitions_and_one_that_stops_mid_work_loses_nothing(
    clients: KafkaClients,
    s3: SeaweedServer,
    store: S3Client,
    bucket: str,
    artifacts_dir: Path,
    sample: Path,
    tmp_path: Path,
) -> None:
    deployment = await deploy(
        clients, s3, artifacts_dir, tmp_path, buckets=(bucket,), partitions=2, WHISPER_STATES="1", MAX_IN_FLIGHT="2"
    )
    keys = [f"{number}.wav" for number in range(12)]
    for key in keys:
        await store.put_object(Bucket=bucket, Key=key, Body=sample.read_bytes())
    async with deployment.worker() as one:
        async with deployment.worker(SHUTDOWN_GRACE_SECONDS="0") as two:
            await _until_shared(one, two)
            for index, key in enumerate(keys):
                await deployment.announce(bucket, key, partition=index % 2)
            await clients.read(deployment.output_topic, 2, 60)  # both are in the middle of it
            two.process.send_signal(signal.SIGTERM)
            assert await two.process.wait(timeout_seconds=30) == 0
        for partition in (0, 1):
            await clients.wait_committed(deployment.group_id, deployment.input_topic, 6, partition)
    found = await deployment.transcripts(await clients.size(deployment.output_topic))
    assert found.keys() == set(keys)
    assert all(words(transcript.text) == words(SAMPLE_TEXT) for transcript in found.values())


async def _until_shared(*workers: WorkerProcess) -> None:
    async with asyncio.timeout(60):
        while [await worker.metric("assigned_partitions") for worker in workers] != [1, 1]:
            await asyncio.sleep(0.1)


async def test_a_large_result_is_a_reference_to_the_bucket(
    deployment: Deployment, store: S3Client, bucket: str, sample: Path
) -> None:
    await store.put_object(Bucket=bucket, Key="a b/ü.wav", Body=sample.read_bytes())
    await deployment.announce(bucket, "a b/ü.wav")
    async with deployment.worker(MAX_EVENT_BYTES="500"):
        [message] = await deployment.clients.read(deployment.output_topic, 1, 60)
    event = completed(message)
    reference = event.data.reference
    assert event.data.transcript is None
    assert reference is not None
    answer = await store.get_object(Bucket=reference.bucket, Key=reference.key)
    async with answer["Body"] as body:
        stored = await body.read()
    assert (len(stored), hashlib.sha256(stored).hexdigest()) == (reference.size_bytes, reference.sha256)
    transcript = Transcript.model_validate_json(stored)
    assert words(transcript.text) == words(SAMPLE_TEXT)
    assert transcript.transcript_id == event.id


async def test_what_can_never_succeed_is_a_dead_letter_with_its_reason(
    deployment: Deployment, store: S3Client, bucket: str, sample: Path
) -> None:
    await store.put_object(Bucket=bucket, Key="ok.wav", Body=sample.read_bytes())
    await store.put_object(Bucket=bucket, Key="empty.wav", Body=b"")
    await store.put_object(Bucket=bucket, Key="large.wav", Body=bytes(2_000_000))
    await deployment.clients.send(deployment.input_topic, b"{ not JSON", key=b"k", headers=[("h", b"\xff")])
    await deployment.announce("transcripts", "ok.wav")
    await deployment.announce(bucket, "absent.wav")
    await deployment.announce(bucket, "empty.wav")
    await deployment.announce(bucket, "large.wav")
    await deployment.announce(bucket, "ok.wav", etag="0" * 32)
    await deployment.announce(bucket, "ok.wav", options={"language": "de"})
    await deployment.announce(bucket, "ok.wav", options={"language": "klingon"})
    await deployment.announce(bucket, "ok.wav")
    async with deployment.worker(MAX_OBJECT_BYTES="1000000"):
        letters = await deployment.dead_letters(7)
        transcript = (await deployment.transcripts(2))["ok.wav"]
        await deployment.clients.wait_committed(deployment.group_id, deployment.input_topic, 9)
    reasons = {
        int(letter.header("kafka_dlt-original-offset")): letter.header("whisper-consumer-reason") for letter in letters
    }
    assert reasons == {
        0: "bad_event",
        1: "bucket_not_allowed",
        2: "missing",
        3: "empty",
        4: "too_large",
        5: "superseded",
        6: "bad_option",
    }
    # A language that nobody knows is no reason to lose a recording: it is transcribed without.
    assert [option.name for option in transcript.ignored_options] == ["language"]
    [first] = [letter for letter in letters if letter.header("kafka_dlt-original-offset") == "0"]
    assert (first.value, first.key, first.headers[0]) == (b"{ not JSON", b"k", ("h", b"\xff"))


async def test_a_store_that_is_away_is_waited_for(
    clients: KafkaClients, artifacts_dir: Path, sample: Path, tmp_path: Path
) -> None:
    """The worker starts while the store is down, keeps its partition, and goes on by itself when it comes."""
    server = SeaweedServer(data_dir=tmp_path / "seaweed", access_key="tests", secret_key="tests-secret")
    deployment = await deploy(clients, server, artifacts_dir, tmp_path, buckets=("calls",))
    await deployment.announce("calls", "a.wav")
    async with deployment.worker() as worker:
        async with asyncio.timeout(60):
            while await worker.metric("retries_total", dependency="store") < 2:
                await asyncio.sleep(0.1)
        assert await clients.committed(deployment.group_id, deployment.input_topic) in (None, 0)
        assert await clients.size(deployment.dead_letter_topic) == 0
        async with server:
            async with s3_client(server) as client:
                await client.create_bucket(Bucket="calls")
                await client.put_object(Bucket="calls", Key="a.wav", Body=sample.read_bytes())
            # An attempt between the two requests finds a bucket without the recording: a dead letter, rightly.
            await clients.wait_committed(deployment.group_id, deployment.input_topic, 1)


async def test_names_that_do_not_resolve_are_waited_for_by_name(deployment: Deployment) -> None:
    names = {"KAFKA_BOOTSTRAP_SERVERS": "broker.invalid:9092", "MINIO_ENDPOINT": "http://store.invalid:9000"}
    async with deployment.worker(until="/livez", **names) as worker:
        async with asyncio.timeout(60):
            reason = ""
            while not {"broker", "store"} <= set(reason.split()):
                await asyncio.sleep(0.1)
                status, answer = await worker.status("/readyz")
                reason = answer["reason"]
        assert status == 503
        assert (await worker.status("/livez"))[0] == 200
        assert await worker.metric("dependency_waiting", dependency="store") == 1
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.process.wait(timeout_seconds=30) == 0


async def test_the_command_line_engine_gives_the_same_words(
    deployment: Deployment, store: S3Client, bucket: str, compiled_artifacts_dir: Path, sample: Path
) -> None:
    await store.put_object(Bucket=bucket, Key="a.wav", Body=sample.read_bytes())
    await deployment.announce(bucket, "a.wav")
    async with deployment.worker(USE_WHISPER_LIBRARY="false", WHISPER_ARTIFACTS_DIR=str(compiled_artifacts_dir)):
        transcript = (await deployment.transcripts(1))["a.wav"]
    assert words(transcript.text) == words(SAMPLE_TEXT)
    assert transcript.provenance.engine == "cli"
    assert transcript.segments[0].words


async def test_sigterm_ends_an_idle_worker_with_0_and_leaves_no_process(deployment: Deployment) -> None:
    async with deployment.worker() as worker:
        children = psutil.Process(worker.process.pid).children(recursive=True)
        assert children  # the decoder
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.process.wait(timeout_seconds=15) == 0
        psutil.wait_procs(children, timeout=5)
        assert not any(child.is_running() for child in children)


async def test_a_second_signal_ends_it_at_once(
    deployment: Deployment, store: S3Client, bucket: str, corpus: Path, tmp_path: Path
) -> None:
    path = tmp_path / "long.wav"
    write_long_recording(path, corpus_set(corpus, "lsother"), seconds=600)
    await store.put_object(Bucket=bucket, Key="long.wav", Body=path.read_bytes())
    await deployment.announce(bucket, "long.wav")
    async with deployment.worker(SHUTDOWN_GRACE_SECONDS="600") as worker:
        async with asyncio.timeout(60):
            while await worker.metric("windows_total") < 1:
                await asyncio.sleep(0.05)
        worker.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            while (await worker.status("/readyz"))[0] == 200:
                await asyncio.sleep(0.05)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.process.wait(timeout_seconds=5) == 128 + signal.SIGTERM
    assert not await deployment.clients.committed(deployment.group_id, deployment.input_topic)


async def test_wrong_settings_are_one_message_and_status_1(tmp_path: Path) -> None:
    process = start_worker({"MINIO_SECRET_KEY": "hidden", "HTTP_PORT": "many", "MINIO_ENDPOINT": "minio"}, tmp_path)
    assert await process.wait(timeout_seconds=30) == 1
    text = process.log_tail(50)
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "INPUT_BUCKETS", "MINIO_ACCESS_KEY", "HTTP_PORT", "MINIO_ENDPOINT"):
        assert name in text
    assert "hidden" not in text
    assert "Traceback" not in text
