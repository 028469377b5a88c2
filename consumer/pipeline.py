"""The product, top to bottom: a job becomes an outcome.

    fetch → transcribe (decode, find speech, infer) → store → the event that goes out

Nothing here knows of Kafka. What can never succeed raises Rejected, an outage raises Unavailable.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import orjson

from consumer import __version__
from consumer.delivery.job import Job, Outcome
from consumer.engine.base import EngineFacts, Options
from consumer.errors import Stage
from consumer.identity import transcript_id
from consumer.observe.logs import bind
from consumer.observe.metrics import Metrics
from consumer.store.objects import Fetched, ObjectStore
from consumer.store.results import ResultStore
from consumer.transcriber import Heard, Transcriber
from schemas import (
    Audio,
    JobOptions,
    Provenance,
    Source,
    Timings,
    Transcript,
    TranscriptCompleted,
    TranscriptData,
    TranscriptReference,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one recording may take."""

    max_object_bytes: int
    max_event_bytes: int
    spool_dir: Path | None


class Pipeline:
    """Does one job after another, any number at once."""

    def __init__(
        self,
        store: ObjectStore,
        results: ResultStore,
        transcriber: Transcriber,
        metrics: Metrics,
        *,
        defaults: Options,
        limits: Limits,
    ) -> None:
        self._store = store
        self._results = results
        self._transcriber = transcriber
        self._metrics = metrics
        self._defaults = defaults
        self._limits = limits

    async def __call__(self, job: Job) -> Outcome:
        """Fetch, transcribe, store. Raises Rejected or Unavailable."""
        started = time.perf_counter()
        options = merged(job.upload.options, self._defaults)
        with bind(stage=Stage.FETCH):
            fetched = await self._store.fetch(
                job.upload, max_bytes=self._limits.max_object_bytes, spool_dir=self._limits.spool_dir
            )
        fetch_seconds = time.perf_counter() - started
        with fetched.spool, bind(stage=Stage.TRANSCRIBE):
            heard = await self._transcriber.transcribe(fetched.spool, job.upload.key, options)
        timings = Timings(
            fetch_seconds=round(fetch_seconds, 3),
            decode_seconds=round(heard.decode_seconds, 3),
            transcribe_seconds=round(heard.inference_seconds, 3),
            total_seconds=round(time.perf_counter() - started, 3),
        )
        self._measure(fetched, heard, timings)
        transcript = assemble(job, fetched, heard, options, self._transcriber.engine, timings)
        with bind(stage=Stage.STORE):
            return await self._outcome(transcript)

    async def _outcome(self, transcript: Transcript) -> Outcome:
        """The event that goes out: with the transcript, or with a reference to it where it is too large."""
        whole = _event(transcript, TranscriptData(transcript=transcript))
        if len(whole) <= self._limits.max_event_bytes:
            return _message(transcript, whole)
        started = time.perf_counter()
        stored = await self._results.put(
            transcript.transcript_id, transcript.source.bucket, transcript.source.key, to_json(transcript)
        )
        self._metrics.stage_seconds.labels(Stage.STORE).observe(time.perf_counter() - started)
        reference = TranscriptReference(
            transcript_id=transcript.transcript_id,
            language=transcript.language,
            no_speech=transcript.no_speech,
            duration_seconds=transcript.duration_seconds,
            source=transcript.source,
            bucket=stored.bucket,
            key=stored.key,
            size_bytes=stored.size_bytes,
            sha256=stored.sha256,
        )
        return _message(transcript, _event(transcript, TranscriptData(reference=reference)))

    def _measure(self, fetched: Fetched, heard: Heard, timings: Timings) -> None:
        metrics = self._metrics
        metrics.fetched_bytes.inc(fetched.size_bytes)
        metrics.stage_seconds.labels(Stage.FETCH).observe(timings.fetch_seconds)
        metrics.stage_seconds.labels(Stage.DECODE).observe(timings.decode_seconds)
        metrics.stage_seconds.labels(Stage.TRANSCRIBE).observe(timings.transcribe_seconds)
        metrics.audio_seconds_out.inc(heard.duration_seconds)
        metrics.real_time_factor.observe(real_time_factor(heard, timings))
        if heard.audio.damage:
            metrics.decode_damage.inc()
        if not heard.segments:
            metrics.no_speech.inc()


def real_time_factor(heard: Heard, timings: Timings) -> float:
    """Total processing time for one second of audio; a recording counts as 0.1 s long at least."""
    return round(timings.total_seconds / max(heard.duration_seconds, 0.1), 4)


def merged(wanted: JobOptions, defaults: Options) -> Options:
    """The options of one job: what it asks for, else the worker's settings."""
    language = wanted.language or defaults.language
    return Options(
        language=None if language == "auto" else language,
        task=wanted.task or defaults.task,
        prompt=wanted.prompt if wanted.prompt is not None else defaults.prompt,
    )


def assemble(
    job: Job, fetched: Fetched, heard: Heard, options: Options, engine: EngineFacts, timings: Timings
) -> Transcript:
    """Put together everything that is known about one recording."""
    return Transcript(
        transcript_id=transcript_id(
            job.upload.bucket,
            job.upload.key,
            version_id=fetched.version_id,
            etag=fetched.etag,
            weights_sha256=engine.weights_sha256,
            options=options,
        ),
        text=heard.text,
        language=heard.language,
        language_probability=heard.language_probability,
        task=options.task,
        no_speech=not heard.segments,
        duration_seconds=heard.duration_seconds,
        segments=heard.segments,
        source=Source(
            bucket=job.upload.bucket,
            key=job.upload.key,
            version_id=fetched.version_id,
            etag=fetched.etag,
            size_bytes=fetched.size_bytes,
            sha256=fetched.sha256,
            topic=job.topic,
            partition=job.partition,
            offset=job.offset,
        ),
        audio=Audio(
            container=heard.audio.container,
            codec=heard.audio.codec,
            sample_rate_hertz=heard.audio.sample_rate_hertz,
            channels=heard.audio.channels,
            damage=heard.audio.damage,
        ),
        provenance=Provenance(
            worker_version=__version__,
            engine=engine.engine,
            engine_version=engine.engine_version,
            model_size=engine.model_size,
            model_file=engine.model_file,
            model_sha256=engine.model_sha256,
            weights_sha256=engine.weights_sha256,
            cpu_class=engine.cpu_class,
            parameters={
                "language": options.language or "auto",
                "task": options.task,
                "prompt": options.prompt,
                "beam_size": 1,
                "temperature": 0.0,
            },
            timings=timings,
            real_time_factor=real_time_factor(heard, timings),
        ),
    )


def to_json(transcript: Transcript) -> bytes:
    """The transcript as it lies in the results bucket: JSON, camelCase."""
    return orjson.dumps(transcript.model_dump(mode="json", by_alias=True))


def _event(transcript: Transcript, data: TranscriptData) -> bytes:
    source = transcript.source
    event = TranscriptCompleted(
        id=transcript.transcript_id,
        source="/" + quote(f"{source.bucket}/{source.key}"),
        subject=source.key,
        time=datetime.now(UTC),
        data=data,
    )
    return orjson.dumps(event.model_dump(mode="json", by_alias=True))


def _message(transcript: Transcript, value: bytes) -> Outcome:
    identity = transcript.transcript_id.encode()
    return Outcome(
        key=identity,
        value=value,
        headers=(
            ("content-type", b"application/cloudevents+json; charset=utf-8"),
            ("transcript_id", identity),
        ),
    )
