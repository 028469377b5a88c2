"""consumer/pipeline.py around a real S3 server and the real decoder; the engine costs nothing."""

import asyncio
import io
import json
import wave
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry
from types_aiobotocore_s3 import S3Client

from consumer.audio.decoder import Decoder
from consumer.delivery.job import Job, Outcome
from consumer.engine.base import Options
from consumer.errors import NotWanted, Reason, Rejected, Stage, Unavailable
from consumer.formats import Format, render
from consumer.observe.metrics import Metrics
from consumer.operate.seaweed_server import SeaweedServer
from consumer.outages import Outages
from consumer.pipeline import Allowed, Limits, Outputs, Pipeline, Sidecars
from consumer.store.checkpoints import CheckpointStore, checkpoint_key
from consumer.store.objects import ObjectStore
from consumer.store.results import ResultStore, marker_key, result_key
from consumer.store.s3 import S3
from consumer.transcriber import Transcriber
from schemas import AudioUploaded, JobOptions, Transcript, TranscriptCompleted
from tests.chaos.proxy import FaultProxy, Mode
from tests.support.engine import RATE_HERTZ, OneModel, SilentEngine
from tests.support.s3 import new_bucket, s3_requests

KEY = "calls/Größe & mehr.wav"
MIB = 1024 * 1024


@pytest.fixture
async def decoder() -> AsyncIterator[Decoder]:
    decoder = Decoder(max_duration_seconds=3600, stall_timeout_seconds=30)
    await decoder.start()
    yield decoder
    await decoder.close()


@pytest.fixture
async def bucket(client: S3Client) -> str:
    return await new_bucket(client)


@pytest.fixture
async def results_bucket(client: S3Client) -> str:
    return await new_bucket(client, "transcripts")


@contextmanager
def counted(requests: S3) -> Iterator[Counter[str]]:
    """Counts what is asked for, second attempts included."""
    counts: Counter[str] = Counter()
    attempt = requests._attempt

    async def note(method: str, *rest: Any) -> Any:
        counts[method] += 1
        return await attempt(method, *rest)

    with patch.object(requests, "_attempt", note):
        yield counts


@dataclass
class FreeAttempt:
    """An attempt that nobody else contends with."""

    alone: bool = False
    deaths: int = 0
    began: int = 0
    progress: int = 0
    waits: int = 0
    is_waiting: asyncio.Event = field(default_factory=asyncio.Event)

    async def begins(self) -> None:
        self.began += 1

    def progressed(self) -> None:
        self.progress += 1

    def cleared(self) -> None: ...

    def ends(self) -> None: ...

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self.waits += 1
        self.is_waiting.set()
        yield
        self.is_waiting.clear()


@dataclass
class Made:
    """A pipeline and what it stands on."""

    pipeline: Pipeline
    engine: SilentEngine
    metrics: Metrics

    def metric(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(f"whisper_consumer_{name}", labels)
        assert value is not None
        return value


Make = Callable[..., Made]


@pytest.fixture
def make(decoder: Decoder, requests: S3, results_bucket: str) -> Make:
    """A maker of pipelines, each of which could be another worker's."""

    def make_pipeline(
        engine: SilentEngine | None = None,
        *,
        to_recordings: S3 = requests,
        to_results: S3 = requests,
        object_retry_seconds: float = 0.5,
        max_event_bytes: int = MIB,
        outputs: Outputs | None = None,
        allowed: Allowed | None = None,
        max_in_flight_bytes: int = 100 * MIB,
        checkpoint_audio_seconds: float = 60,
        min_duration_seconds: float = 0,
    ) -> Made:
        engine = engine or SilentEngine()
        metrics = Metrics(CollectorRegistry())
        pipeline = Pipeline(
            ObjectStore(to_recordings),
            ResultStore(to_results, results_bucket),
            CheckpointStore(to_results, results_bucket),
            OneModel(
                Transcriber(
                    decoder,
                    engine,
                    metrics,
                    checkpoint_audio_seconds=checkpoint_audio_seconds,
                    min_duration_seconds=min_duration_seconds,
                )
            ),
            Outages(metrics),
            metrics,
            defaults=Options(),
            limits=Limits(
                max_object_bytes=100 * MIB,
                max_in_flight_bytes=max_in_flight_bytes,
                object_retry_seconds=object_retry_seconds,
                spool_dir=None,
            ),
            outputs=outputs or Outputs(max_event_bytes),
            allowed=allowed,
        )
        return Made(pipeline, engine, metrics)

    return make_pipeline


def recording(seconds: float) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HERTZ)
        file.writeframes(b"\x01\x00" * round(seconds * RATE_HERTZ))
    return buffer.getvalue()


async def uploaded(client: S3Client, bucket: str, body: bytes, key: str = KEY) -> AudioUploaded:
    """Put a recording; what an event says of it that leaves nothing out."""
    answer = await client.put_object(Bucket=bucket, Key=key, Body=body)
    return AudioUploaded(bucket=bucket, key=key, etag=answer["ETag"].strip('"'), size_bytes=len(body))


def job_of(upload: AudioUploaded, offset: int = 0) -> Job:
    return Job(upload, "audio.uploaded", 0, offset)


async def done(made: Made, upload: AudioUploaded, offset: int = 0) -> Outcome:
    async with asyncio.timeout(60):
        return await made.pipeline.do(job_of(upload, offset), FreeAttempt())


def event(outcome: Outcome) -> TranscriptCompleted:
    return TranscriptCompleted.model_validate_json(outcome.value)


def text(outcome: Outcome) -> str:
    transcript = event(outcome).data.transcript
    assert transcript is not None
    return transcript.text


async def keys(client: S3Client, bucket: str) -> set[str]:
    answer = await client.list_objects_v2(Bucket=bucket)
    return {found["Key"] for found in answer.get("Contents", ())}


async def test_a_recording_gives_the_event_of_what_is_stored(
    make: Make, client: S3Client, bucket: str, results_bucket: str
) -> None:
    upload = await uploaded(client, bucket, recording(70))
    made = make()
    outcome = await done(made, upload, offset=7)
    message = event(outcome)
    key = result_key(message.id, bucket, KEY)
    assert await keys(client, results_bucket) == {key}  # and no checkpoint
    stored = await client.get_object(Bucket=results_bucket, Key=key)
    body = await stored["Body"].read()
    assert message.data.transcript is not None
    assert message.data.transcript.model_dump_json(by_alias=True).encode() == body
    assert body in outcome.value
    assert message.time == message.data.transcript.completed_at
    assert (message.subject, message.source) == (KEY, f"/{bucket}/calls/Gr%C3%B6%C3%9Fe%20%26%20mehr.wav")
    assert outcome.key == message.id.encode()
    assert message.data.transcript.source.offset == 7
    assert text(outcome) == "from 0 to 30 from 30 to 60 from 60 to 70"
    assert stored["Metadata"] == {"weights-sha256": "cd" * 32, "model-size": "tiny", "etag": upload.etag}
    assert made.metric("in_flight_bytes") == 0


async def test_a_replay_costs_one_get_and_no_inference(make: Make, requests: S3, client: S3Client, bucket: str) -> None:
    upload = await uploaded(client, bucket, recording(1))
    first = await done(make(), upload, offset=1)
    with counted(requests) as counts:
        made = make()
        assert await done(made, upload, offset=2) == first
    assert counts == {"GET": 1}
    assert made.engine.calls == 0
    assert made.metric("results_reused_total") == 1


@pytest.mark.parametrize("max_event_bytes", [MIB, 100])
async def test_whoever_announces_it_and_however_it_is_one_transcript(
    make: Make, client: S3Client, bucket: str, max_event_bytes: int
) -> None:
    await client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    put = await client.put_object(Bucket=bucket, Key=KEY, Body=recording(1))
    etag, version_id = put["ETag"].strip('"'), put["VersionId"]
    announced = [
        AudioUploaded(bucket=bucket, key=KEY),
        AudioUploaded(bucket=bucket, key=KEY, version_id=version_id),
        AudioUploaded(bucket=bucket, key=KEY, etag=etag),
        AudioUploaded(bucket=bucket, key=KEY, etag=f'"{etag}"'),
        AudioUploaded(bucket=bucket, key=KEY, etag=etag, version_id=version_id),
    ]
    made = make(max_event_bytes=max_event_bytes)
    outcomes = [await done(made, upload, offset) for offset, upload in enumerate(announced)]
    assert len(set(outcomes)) == 1
    assert made.engine.calls == 1


async def test_a_large_result_goes_out_as_a_reference(
    make: Make, client: S3Client, bucket: str, results_bucket: str
) -> None:
    upload = await uploaded(client, bucket, recording(1))
    made = make(max_event_bytes=100)
    outcome = await done(made, upload)
    reference = event(outcome).data.reference
    assert reference is not None
    answer = await client.get_object(Bucket=results_bucket, Key=reference.key)
    body = await answer["Body"].read()
    assert (reference.bucket, reference.size_bytes) == (results_bucket, len(body))
    assert reference.sha256 == sha256(body).hexdigest()
    assert (reference.language, reference.duration_seconds, reference.no_speech) == ("en", 1.0, False)
    assert reference.source.etag == upload.etag


async def test_documents_are_written_beside_the_recording_and_told(make: Make, client: S3Client, bucket: str) -> None:
    upload = await uploaded(client, bucket, recording(3))
    made = make(outputs=Outputs(MIB, sidecars=Sidecars([Format.SRT, Format.JSON])))
    outcome = await done(made, upload)
    answer = event(outcome)
    assert answer.data.transcript is not None
    stem = KEY.removesuffix(".wav")
    assert [(each.format, each.bucket, each.key) for each in answer.data.sidecars] == [
        ("srt", bucket, f"{stem}.srt"),
        ("json", bucket, f"{stem}.json"),
    ]
    srt, written = [await client.get_object(Bucket=bucket, Key=f"{stem}.{form}") for form in ("srt", "json")]
    assert srt["ContentType"] == "application/x-subrip; charset=utf-8"
    assert await srt["Body"].read() == render(Format.SRT, answer.data.transcript.segments).encode()
    assert Transcript.model_validate_json(await written["Body"].read()) == answer.data.transcript


async def test_a_document_that_was_not_written_is_written_by_whoever_is_next(
    make: Make, client: S3Client, bucket: str, results_bucket: str
) -> None:
    """The worker before died between the result and its documents."""
    upload = await uploaded(client, bucket, recording(1))
    await done(make(), upload)
    outputs = Outputs(MIB, sidecars=Sidecars([Format.VTT], results_bucket, "captions/{bucket}/{key}.{extension}"))
    made = make(outputs=outputs)
    outcome = await done(made, upload)
    assert made.engine.calls == 0
    (sidecar,) = event(outcome).data.sidecars
    assert (sidecar.bucket, sidecar.key) == (results_bucket, f"captions/{bucket}/{KEY}.vtt")
    written = await client.get_object(Bucket=sidecar.bucket, Key=sidecar.key)
    assert (await written["Body"].read()).startswith(b"WEBVTT")
    assert await done(made, upload) == outcome


async def test_a_job_may_ask_for_its_own_documents(make: Make, client: S3Client, bucket: str) -> None:
    upload = await uploaded(client, bucket, recording(1))
    made = make(outputs=Outputs(MIB, sidecars=Sidecars([Format.SRT], choices=[Format.TSV, Format.LRC])))
    for formats, expected in ((("tsv", "tsv", "lrc", "vtt"), ["tsv", "lrc"]), ((), [])):
        wanted = upload.model_copy(update={"options": JobOptions(formats=formats)})
        assert [each.format for each in event(await done(made, wanted)).data.sidecars] == expected


async def test_options_stand_with_the_object_as_far_as_they_may(make: Make, client: S3Client, bucket: str) -> None:
    metadata = {
        "whisper-language": "de",
        "whisper-prompt": "Frau Meier",
        "whisper-vocabulary": "RE-2041, Skonto",
        "whisper-task": "sing",
        "whisper-formats": "srt",
        "whisper-words": "false",
        "whisper-range": "0.5-",
        "whisper-priority": "high",
        "unrelated": "x",
    }
    await client.put_object(
        Bucket=bucket,
        Key=KEY,
        Body=recording(1),
        Metadata=metadata,
        Tagging="whisper-language=fr&whisper-channels=split",
    )
    own = AudioUploaded(bucket=bucket, key=KEY, options=JobOptions(prompt="of the event"))
    allowed = Allowed(
        ("language", "prompt", "vocabulary", "task", "words", "range", "priority"), ("language", "channels")
    )
    transcript = event(await done(make(allowed=allowed), own)).data.transcript
    assert transcript is not None
    parameters = transcript.provenance.parameters
    assert (parameters["language"], parameters["task"], parameters["channels"]) == ("de", "transcribe", "split")
    assert (parameters["words"], parameters["priority"]) == (False, "high")
    assert (parameters["start_seconds"], parameters["end_seconds"]) == (0.5, None)
    assert parameters["prompt"] == "RE-2041, Skonto. of the event"
    assert [(each.name, each.origin) for each in transcript.ignored_options] == [("task", "metadata")]
    unasked = event(await done(make(), own)).data.transcript
    assert unasked is not None
    assert unasked.provenance.parameters["language"] == "auto"
    assert unasked.transcript_id != transcript.transcript_id


async def test_an_event_in_binary_mode_has_its_attributes_in_headers(make: Make, client: S3Client, bucket: str) -> None:
    upload = await uploaded(client, bucket, recording(1))
    structured, binary = [await done(make(outputs=Outputs(MIB, mode)), upload) for mode in ("structured", "binary")]
    whole = json.loads(structured.value)
    assert json.loads(binary.value) == whole["data"]
    headers = {name: (value or b"").decode() for name, value in binary.headers}
    assert headers.pop("content-type") == "application/json"
    assert headers.pop("transcript_id") == whole["id"]
    attributes = ("specversion", "type", "id", "source", "subject", "time")
    assert headers == {f"ce_{name}": whole[name] for name in attributes}
    assert binary.key == structured.key


async def test_workers_that_race_send_the_same_bytes(make: Make, client: S3Client, bucket: str) -> None:
    upload = await uploaded(client, bucket, recording(1))
    both = asyncio.Barrier(2)

    async def meet(_: float) -> None:
        await both.wait()

    racers = [make(SilentEngine(on_passage=meet)) for _ in range(2)]
    one, other = await asyncio.gather(*(done(made, upload, offset) for offset, made in enumerate(racers)))
    assert one == other
    assert [made.engine.calls for made in racers] == [1, 1]


async def test_duplicates_in_one_worker_are_transcribed_once(make: Make, client: S3Client, bucket: str) -> None:
    upload = await uploaded(client, bucket, recording(1))
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: float) -> None:
        inside.set()
        await go_on.wait()

    made = make(SilentEngine(on_passage=hold))
    second = FreeAttempt()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        first = tasks.create_task(done(made, upload, 1))
        await inside.wait()
        repeated = tasks.create_task(made.pipeline.do(job_of(upload, 2), second))
        await second.is_waiting.wait()  # it takes up no slot
        go_on.set()
    assert first.result() == repeated.result()
    assert made.engine.calls == 1


async def test_a_result_is_answered_whatever_another_version_made_of_it(
    make: Make, client: S3Client, bucket: str, results_bucket: str
) -> None:
    upload = await uploaded(client, bucket, recording(1))
    first = await done(make(), upload)
    (key,) = await keys(client, results_bucket)
    stored = json.loads(first.value)["data"]["transcript"] | {"addedLater": {"x": [1, 2]}}
    del stored["provenance"]
    body = json.dumps(stored, indent=1).encode()
    await client.put_object(Bucket=results_bucket, Key=key, Body=body)
    made = make()
    outcome = await done(made, upload)
    assert made.engine.calls == 0
    assert body in outcome.value
    assert json.loads(outcome.value)["time"] == stored["completedAt"]


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"{}", b'{"transcriptId": "other", "source": {}}'])
async def test_a_result_that_cannot_be_read_is_made_again(
    make: Make, client: S3Client, bucket: str, results_bucket: str, damaged: bytes
) -> None:
    upload = await uploaded(client, bucket, recording(1))
    await done(make(), upload)
    (key,) = await keys(client, results_bucket)
    await client.put_object(Bucket=results_bucket, Key=key, Body=damaged)
    made = make()
    outcome = await done(made, upload)
    assert made.engine.calls == 1
    assert text(outcome) == "from 0 to 1"
    assert await done(made, upload) == outcome
    assert made.engine.calls == 1


@asynccontextmanager
async def breakable(s3: SeaweedServer) -> AsyncIterator[tuple[FaultProxy, S3]]:
    """Requests on a network that can be cut."""
    port = urlsplit(s3.endpoint).port
    assert port is not None
    async with FaultProxy(port) as proxy, s3_requests(s3, f"http://127.0.0.1:{proxy.port}") as requests:
        yield proxy, requests


async def retried(made: Made, times: int) -> None:
    async with asyncio.timeout(30):
        while made.metric("retries_total", dependency="store") < times:
            await asyncio.sleep(0.01)


async def test_an_outage_while_storing_repeats_no_transcription(
    make: Make, s3: SeaweedServer, client: S3Client, bucket: str
) -> None:
    upload = await uploaded(client, bucket, recording(1))
    async with breakable(s3) as (proxy, broken):

        async def cut(_: float) -> None:
            proxy.set(Mode.CUT)

        made = make(SilentEngine(on_passage=cut), to_recordings=broken, to_results=broken)
        doing = asyncio.create_task(done(made, upload))
        await retried(made, 3)
        proxy.set(Mode.PASS)
        outcome = await doing
    assert text(outcome) == "from 0 to 1"
    assert made.engine.calls == 1
    assert made.metric("object_retries_total") == 0


async def test_an_outage_from_the_start_is_waited_for(
    make: Make, s3: SeaweedServer, client: S3Client, bucket: str
) -> None:
    await uploaded(client, bucket, recording(1))
    async with breakable(s3) as (proxy, broken):
        proxy.set(Mode.CUT)
        made = make(to_recordings=broken, to_results=broken, object_retry_seconds=0)
        doing = asyncio.create_task(done(made, AudioUploaded(bucket=bucket, key=KEY)))
        await retried(made, 3)
        proxy.set(Mode.PASS)
        assert text(await doing) == "from 0 to 1"


async def test_a_second_worker_goes_on_from_the_checkpoint(
    make: Make, client: S3Client, bucket: str, results_bucket: str
) -> None:
    upload = await uploaded(client, bucket, recording(200))
    reached = asyncio.Event()

    async def stop_late(end_seconds: float) -> None:
        if end_seconds == 150:
            reached.set()
            await asyncio.Event().wait()

    killed = make(SilentEngine(on_passage=stop_late))
    attempt = FreeAttempt()
    doing = asyncio.create_task(killed.pipeline.do(job_of(upload), attempt))
    await asyncio.wait_for(reached.wait(), 30)
    assert killed.metric("checkpoint_age_seconds") > 0
    doing.cancel()
    await asyncio.wait({doing})
    assert killed.metric("checkpoint_age_seconds") == 0
    assert killed.engine.aborted == 1
    assert attempt.progress == killed.metric("checkpoints_written_total") > 0
    (checkpoint,) = await keys(client, results_bucket)
    assert checkpoint.startswith("checkpoints/")

    second = make()
    resumed = await done(second, upload)
    assert second.engine.passages == 3  # of seven: four were kept when the first was cancelled
    assert second.metric("checkpoints_resumed_total") == 1
    assert await keys(client, results_bucket) == {result_key(event(resumed).id, bucket, KEY)}
    again = await client.copy_object(Bucket=bucket, Key="other.wav", CopySource={"Bucket": bucket, "Key": KEY})
    assert again["CopyObjectResult"]["ETag"].strip('"') == upload.etag
    uninterrupted = await done(make(), AudioUploaded(bucket=bucket, key="other.wav"))
    assert text(resumed) == text(uninterrupted)
    one, other = event(resumed).data.transcript, event(uninterrupted).data.transcript
    assert one is not None
    assert other is not None
    assert one.segments == other.segments


@pytest.mark.parametrize("damaged", [b"", b"{}", b'{"format": 2}'])
async def test_a_checkpoint_that_cannot_be_used_is_none(
    make: Make, client: S3Client, bucket: str, results_bucket: str, damaged: bytes
) -> None:
    upload = await uploaded(client, bucket, recording(1))
    outcome = await done(make(), upload)
    name = event(outcome).id
    await client.delete_object(Bucket=results_bucket, Key=result_key(name, bucket, KEY))
    await client.put_object(Bucket=results_bucket, Key=checkpoint_key(name), Body=damaged)
    assert text(await done(make(), upload)) == text(outcome)


async def test_a_checkpoint_that_cannot_be_written_stops_nothing(
    make: Make, s3: SeaweedServer, client: S3Client, bucket: str
) -> None:
    upload = await uploaded(client, bucket, recording(100))
    async with breakable(s3) as (proxy, broken):
        attempt = FreeAttempt()

        async def cut_meanwhile(end_seconds: float) -> None:
            if end_seconds in (60, 100):
                proxy.set(Mode.CUT if end_seconds == 60 else Mode.PASS)

        made = make(
            SilentEngine(passage_seconds=20, on_passage=cut_meanwhile),
            to_results=broken,
            checkpoint_audio_seconds=30,
        )
        async with asyncio.timeout(60):
            outcome = await made.pipeline.do(job_of(upload), attempt)
    assert made.engine.calls == 1
    assert text(outcome).endswith("from 80 to 100")
    assert attempt.progress == made.metric("checkpoints_written_total")


async def test_a_missing_object_is_tried_for_a_while(make: Make, bucket: str) -> None:
    made = make(object_retry_seconds=0.5)
    attempt = FreeAttempt()
    with pytest.raises(Rejected, match=r"tried [2-9] times in") as caught:
        await made.pipeline.do(job_of(AudioUploaded(bucket=bucket, key=KEY)), attempt)
    assert (caught.value.reason, caught.value.stage) == (Reason.MISSING, Stage.FETCH)
    assert attempt.waits == made.metric("object_retries_total") >= 1


@pytest.mark.parametrize("identified", [True, False])
async def test_an_object_that_comes_late_is_transcribed(
    make: Make, client: S3Client, bucket: str, identified: bool
) -> None:
    body = recording(1)
    upload = await uploaded(client, bucket, body)
    await client.delete_object(Bucket=bucket, Key=KEY)
    made = make(object_retry_seconds=30)
    attempt = FreeAttempt()
    job = job_of(upload if identified else AudioUploaded(bucket=bucket, key=KEY))
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        doing = tasks.create_task(made.pipeline.do(job, attempt))
        await attempt.is_waiting.wait()
        assert made.metric("in_flight_bytes") == 0
        await client.put_object(Bucket=bucket, Key=KEY, Body=body)
    assert text(doing.result()) == "from 0 to 1"


async def test_an_object_that_was_overwritten_is_superseded_at_once(make: Make, client: S3Client, bucket: str) -> None:
    upload = await uploaded(client, bucket, recording(1))
    await uploaded(client, bucket, recording(2))
    attempt = FreeAttempt()
    for known in (upload, upload.model_copy(update={"size_bytes": None})):
        with pytest.raises(Rejected) as caught:
            await make(object_retry_seconds=60).pipeline.do(job_of(known), attempt)
        assert caught.value.reason is Reason.SUPERSEDED
    assert attempt.waits == 0


async def test_what_can_be_no_etag_is_rejected(make: Make, bucket: str) -> None:
    with pytest.raises(Rejected) as caught:
        await done(make(), AudioUploaded(bucket=bucket, key=KEY, etag="é\r\n"))
    assert caught.value.reason is Reason.SUPERSEDED


async def test_bytes_in_flight_are_bounded(make: Make, client: S3Client, bucket: str) -> None:
    sizes = []

    async def look(_: float) -> None:
        sizes.append(made.metric("in_flight_bytes"))

    body = recording(1)
    made = make(SilentEngine(on_passage=look), max_in_flight_bytes=2 * len(body) + 10)
    uploads = [await uploaded(client, bucket, body + b"\0" * n, key=f"{n}.wav") for n in range(5)]
    uploads[3] = uploads[3].model_copy(update={"size_bytes": None})  # asked for
    await asyncio.gather(*(done(made, upload) for upload in uploads))
    assert len(sizes) == 5
    assert max(sizes) <= 2 * len(body) + 10
    assert made.metric("in_flight_bytes") == 0


async def test_a_rejection_gives_the_bytes_back(make: Make, client: S3Client, bucket: str) -> None:
    upload = await uploaded(client, bucket, b"no audio" * 100)
    made = make()
    with pytest.raises(Rejected) as caught:
        await done(made, upload)
    assert caught.value.reason is Reason.NOT_AUDIO
    assert made.metric("in_flight_bytes") == 0


async def test_what_is_given_up_leaves_a_marker(make: Make, client: S3Client, bucket: str, results_bucket: str) -> None:
    upload = AudioUploaded(bucket=bucket, key=KEY, etag='"abc"')
    made = make()
    await made.pipeline.given_up(job_of(upload, 1), Reason.CRASHED, None, "it died")
    await made.pipeline.given_up(job_of(upload, 2), Reason.MISSING, Stage.FETCH, "it is gone")
    (key,) = await keys(client, results_bucket)
    assert key == marker_key(bucket, KEY, "abc")
    answer = await client.get_object(Bucket=results_bucket, Key=key)
    note = json.loads(await answer["Body"].read())
    assert note.pop("time").endswith("+00:00")
    assert note == {
        "reason": "missing",
        "stage": "fetch",
        "message": "it is gone",
        "bucket": bucket,
        "key": KEY,
        "eTag": "abc",
        "topic": "audio.uploaded",
        "partition": 0,
        "offset": 2,
    }
    await made.pipeline.given_up(
        job_of(AudioUploaded(bucket=bucket, key=KEY)), Reason.MISSING, Stage.FETCH, "nothing was known"
    )
    assert marker_key(bucket, KEY, None) in await keys(client, results_bucket)


async def test_what_is_not_wanted_leaves_a_marker(
    make: Make, client: S3Client, bucket: str, results_bucket: str, sample: Path
) -> None:
    upload = await uploaded(client, bucket, sample.read_bytes())
    made = make(min_duration_seconds=30)
    with pytest.raises(NotWanted):
        await done(made, upload)
    (key,) = await keys(client, results_bucket)
    assert upload.etag is not None
    assert key == marker_key(upload.bucket, upload.key, upload.etag, "not-wanted")
    answer = await client.get_object(Bucket=results_bucket, Key=key)
    assert "MIN_DURATION_SECONDS" in json.loads(await answer["Body"].read())["message"]
    assert made.metric("in_flight_bytes") == 0


async def test_a_marker_that_cannot_be_written_is_an_outage(make: Make, s3: SeaweedServer, bucket: str) -> None:
    async with breakable(s3) as (proxy, broken):
        proxy.set(Mode.CUT)
        with pytest.raises(Unavailable):
            await make(to_results=broken).pipeline.given_up(
                job_of(AudioUploaded(bucket=bucket, key=KEY)), Reason.MISSING, None, ""
            )


async def test_the_event_is_a_function_of_the_stored_bytes_alone(make: Make, client: S3Client, bucket: str) -> None:
    upload = await uploaded(client, bucket, recording(1))
    made = make()
    first = await done(made, upload, 1)
    job = replace(job_of(upload, 9), topic="redriven", partition=3)
    assert await made.pipeline.do(job, FreeAttempt()) == first
