"""The product, top to bottom: a job becomes an outcome.

    identify → the result that is stored? → fetch → transcribe (decode, find speech, infer) → store → the event

1. A job is named before it is fetched: by its ETag, which is asked for where the event names none. From then on it is
   pinned to that.
2. A result is stored before it is published, on condition that none is there, and the event is made of what is stored.
   So a job that was done before costs one GET, and whoever does it sends the same bytes.
3. Each stage waits for outages by itself: an outage while storing repeats no transcription.
4. A fault of one object is tried for ``object_retry_seconds``, in which the record takes up no slot and no bytes.
5. Of jobs with one name one runs at a time in this process; the others find its result.
6. Progress is kept as a checkpoint, from which the next attempt goes on, whoever makes it.

Nothing here knows of Kafka. What can never succeed raises Rejected.
"""

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

import orjson

from consumer.audio.decoder_messages import Header
from consumer.delivery.job import Attempt, Job, Outcome
from consumer.engine.base import Options, Passage
from consumer.errors import NotWanted, Reason, Rejected, Stage, Unavailable
from consumer.identity import transcript_id
from consumer.observe import spans
from consumer.observe.activity import Activity, Recording
from consumer.observe.logs import bind
from consumer.observe.metrics import Metrics
from consumer.outages import Outages
from consumer.pipeline.assembly import assemble, real_time_factor, to_json
from consumer.pipeline.faults import Faults
from consumer.pipeline.kept_progress import KeptChannels
from consumer.pipeline.object_options import Allowed
from consumer.pipeline.one_at_a_time import OneAtATime
from consumer.pipeline.outputs import Outputs
from consumer.pipeline.reporter import Reporter, Tell
from consumer.pipeline.sidecars import Sidecar
from consumer.store.byte_budget import ByteBudget, Share
from consumer.store.checkpoints import CheckpointStore
from consumer.store.objects import Fetched, ObjectStore
from consumer.store.results import Ending, ResultStore, StoredResult
from consumer.transcriber import Heard, Transcriber
from schemas import AudioUploaded, JobOptions, Timings, Transcript
from schemas.job_options import range_seconds

log = logging.getLogger(__name__)

T = TypeVar("T")

DELETE_CHECKPOINT_SECONDS = 5.0
"""How long an answer waits for its checkpoint to be deleted, which is of no use to it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one recording may take, and all of them together."""

    max_object_bytes: int
    max_in_flight_bytes: int
    object_retry_seconds: float
    spool_dir: Path | None


@dataclass(frozen=True, slots=True)
class _Spooled:
    """A recording on the disk, and the bytes of the budget that it takes up."""

    fetched: Fetched
    share: Share
    fetch_seconds: float


@dataclass(frozen=True, slots=True)
class _Task:
    """One attempt at one recording, once the transcript that is to come of it has a name."""

    name: str
    job: Job
    options: Options
    attempt: Attempt
    faults: Faults
    shown: Recording
    transcriber: Transcriber


class Lends(Protocol):
    """Has the model in use."""

    def lent(self) -> AbstractAsyncContextManager[Transcriber]:
        """For one recording, from its beginning to its end."""


class Pipeline:
    """Does one job after another, any number at once. Fits ``consumer.delivery.job.Work``."""

    def __init__(
        self,
        objects: ObjectStore,
        results: ResultStore,
        checkpoints: CheckpointStore,
        models: Lends,
        outages: Outages,
        metrics: Metrics,
        *,
        defaults: Options,
        limits: Limits,
        outputs: Outputs,
        allowed: Allowed | None = None,
        tell: Tell | None = None,
        activity: Activity | None = None,
    ) -> None:
        """``allowed`` are options that may stand with objects; ``tell`` is told how far recordings are."""
        self._objects = objects
        self._results = results
        self._checkpoints = checkpoints
        self._models = models
        self._outages = outages
        self._metrics = metrics
        self._defaults = defaults
        self._limits = limits
        self._outputs = outputs
        self._allowed = allowed or Allowed()
        self._tell = tell
        self._activity = activity or Activity()
        self._budget = ByteBudget(limits.max_in_flight_bytes, metrics.in_flight_bytes)
        self._under_way = OneAtATime()
        self._being_heard: set[KeptChannels] = set()
        metrics.checkpoint_age_seconds.set_function(self._checkpoint_age_seconds)

    async def do(self, job: Job, attempt: Attempt) -> Outcome:
        """Answer with the stored result, or transcribe and store it. Raises Rejected; waits for outages."""
        with self._activity.recording(job.upload.bucket, job.upload.key, job.job_id) as shown:
            async with self._models.lent() as transcriber:
                return await self._do(job, attempt, shown, transcriber)

    async def _do(self, job: Job, attempt: Attempt, shown: Recording, transcriber: Transcriber) -> Outcome:
        faults = Faults(attempt, self._outages, self._metrics, self._limits.object_retry_seconds)
        with shown.at(Stage.FETCH):
            job = replace(job, upload=await self._identify(job.upload, faults))
        upload = job.upload
        options = merged(upload.options, self._defaults)
        name = transcript_id(
            upload.bucket,
            upload.key,
            etag=upload.etag,
            version_id=upload.version_id,
            weights_sha256=transcriber.engine.weights_sha256,
            options=options,
        )
        job.on_named(name)
        async with self._under_way.alone(name, attempt):
            stored = await self._stored(name, upload)
            if stored is None:
                stored = await self._transcribed(_Task(name, job, options, attempt, faults, shown, transcriber))
            else:
                shown.ending = "found"
                self._metrics.results_reused.inc()
        _show(shown, stored)
        with shown.at(Stage.STORE):
            sidecars = await self._write_sidecars(stored, upload.options)
        return self._outputs.outcome(name, stored, sidecars)

    async def given_up(self, job: Job, reason: Reason, stage: Stage | None, message: str) -> None:
        """Leave a note beside the results, for whoever looks for recordings without an answer. Raises Unavailable."""
        await self._leave(_note(job, reason=reason, stage=stage, message=message), job.upload, "dead-letter")

    async def _leave(self, note: Mapping[str, object], upload: AudioUploaded, ending: Ending) -> None:
        await self._results.put_marker(upload.bucket, upload.key, _etag(upload), orjson.dumps(note), ending)

    async def _identify(self, upload: AudioUploaded, faults: Faults) -> AudioUploaded:
        """The upload with the ETag that names its bytes."""
        etag = _etag(upload)
        upload = upload.model_copy(update={"etag": etag})
        if etag is None or self._allowed.in_metadata or self._allowed.in_tags:
            return await self._with_facts(upload, faults)
        if not (etag.isascii() and etag.isprintable()):
            raise Rejected(
                Reason.SUPERSEDED, Stage.FETCH, "no object has the ETag of the event, which is not printable ASCII"
            )
        return upload

    async def _with_facts(self, upload: AudioUploaded, faults: Faults) -> AudioUploaded:
        """The upload with what the store says of it, options that stand with the object included."""
        facts = await faults.outlast(lambda: self._objects.head(upload))
        tags = await faults.outlast(lambda: self._objects.tags(upload)) if self._allowed.in_tags else {}
        options = self._allowed.read(upload.options, facts.metadata, tags)
        return upload.model_copy(
            update={"etag": facts.etag, "size_bytes": facts.size_bytes, "options": options},
        )

    async def _stored(self, name: str, upload: AudioUploaded) -> StoredResult | None:
        with bind(stage=Stage.STORE):
            return await self._outages.until_available(lambda: self._results.get(name, upload.bucket, upload.key))

    async def _transcribed(self, task: _Task) -> StoredResult:
        """Fetch, transcribe and store. A checkpoint that is of no more use is deleted."""
        with task.shown.at(Stage.FETCH), spans.span("fetch"):
            spooled = await self._fetch(task.job.upload, task.faults)
        began = time.perf_counter() - spooled.fetch_seconds
        with spooled.share, spooled.fetched.spool, task.shown.at(Stage.TRANSCRIBE):
            progress = KeptChannels(task.name, self._checkpoints, task.attempt, self._metrics)
            heard = await self._heard(task, spooled.fetched.spool, progress)
        timings = Timings(
            fetch_seconds=round(spooled.fetch_seconds, 3),
            decode_seconds=round(heard.decode_seconds, 3),
            transcribe_seconds=round(heard.inference_seconds, 3),
            total_seconds=round(time.perf_counter() - began, 3),
        )
        factor = real_time_factor(timings, heard.duration_seconds - progress.found_seconds)
        self._measure(spooled.fetched, heard, timings, factor)
        transcript = assemble(
            task.name,
            task.job,
            spooled.fetched,
            heard,
            task.options,
            task.transcriber.engine,
            timings,
            factor,
            datetime.now(UTC),
            attempts=task.attempt.deaths + 1,
        )
        with task.shown.at(Stage.STORE), spans.span("store"):
            stored = await self._store(transcript)
            for checkpoint in progress.names:
                await self._delete_checkpoint(checkpoint)
        return stored

    async def _heard(self, task: _Task, spool: BinaryIO, progress: KeptChannels) -> Heard:
        """What the transcriber makes of it. What is not wanted is noted beside the results, as ``given_up`` does."""
        upload = task.job.upload
        reporter = Reporter(task.name, upload, self._tell)

        def on_header(channel: int | None, header: Header) -> None:
            task.shown.lasts(header.declared_seconds, channel, header.channels)
            reporter.on_header(channel, header)

        def on_passage(passage: Passage) -> None:
            task.shown.progressed(
                passage.end_seconds, progress.found_seconds, " ".join(segment.text for segment in passage.segments)
            )
            reporter.on_passage(passage)

        self._being_heard.add(progress)
        try:
            return await self._outages.until_available(
                lambda: task.transcriber.transcribe(
                    spool,
                    upload.key,
                    task.options,
                    turn=task.attempt,
                    kept=progress.of,
                    on_header=on_header,
                    on_passage=on_passage,
                )
            )
        except NotWanted as reason:
            note = _note(task.job, message=str(reason))
            await self._outages.until_available(lambda: self._leave(note, upload, "not-wanted"))
            raise
        finally:
            self._being_heard.discard(progress)

    def _checkpoint_age_seconds(self) -> float:
        now = time.monotonic()
        return now - min((progress.saved_at for progress in self._being_heard), default=now)

    async def _fetch(self, upload: AudioUploaded, faults: Faults) -> _Spooled:
        """The recording, once its bytes fit in the budget. Who waits for an object or an outage holds none of it."""
        if upload.size_bytes is None:
            upload = await self._with_facts(upload, faults)
        size_bytes = upload.size_bytes or 0

        async def fetch() -> _Spooled:
            share = await self._budget.take(min(size_bytes, self._limits.max_object_bytes))
            started = time.perf_counter()
            try:
                fetched = await self._objects.fetch(
                    upload, max_bytes=self._limits.max_object_bytes, spool_dir=self._limits.spool_dir
                )
            except BaseException:
                share.give_back()
                raise
            share.resize(fetched.size_bytes)  # the event may have named another
            return _Spooled(fetched, share, time.perf_counter() - started)

        return await faults.outlast(fetch)

    async def _store(self, transcript: Transcript) -> StoredResult:
        body = to_json(transcript)
        source = transcript.source
        metadata = {
            "weights-sha256": transcript.provenance.weights_sha256,
            "model-size": transcript.provenance.model_size,
            "etag": source.etag or "",
        }
        started = time.perf_counter()
        stored = await self._outages.until_available(
            lambda: self._results.put(transcript.transcript_id, source.bucket, source.key, body, metadata)
        )
        self._metrics.stage_seconds.labels(Stage.STORE).observe(time.perf_counter() - started)
        return stored

    async def _write_sidecars(self, stored: StoredResult, wanted: JobOptions) -> list[Sidecar]:
        """Write the documents that are wanted beside the result, also of one that was stored before."""
        formats = self._outputs.sidecars.wanted(wanted.formats)
        if not formats:
            return []
        sidecars = await asyncio.to_thread(self._outputs.sidecars.of, stored, formats)
        for each in sidecars:
            await self._outages.until_available(
                partial(self._results.put_sidecar, each.bucket, each.key, each.body, each.media_type)
            )
        return sidecars

    async def _delete_checkpoint(self, name: str) -> None:
        try:
            async with asyncio.timeout(DELETE_CHECKPOINT_SECONDS):
                await self._checkpoints.delete(name)
        except (Unavailable, TimeoutError) as error:
            log.warning("a checkpoint that is of no more use was not deleted: %s", str(error) or "it took too long")

    def _measure(self, fetched: Fetched, heard: Heard, timings: Timings, factor: float) -> None:
        metrics = self._metrics
        metrics.fetched_bytes.inc(fetched.size_bytes)
        metrics.stage_seconds.labels(Stage.FETCH).observe(timings.fetch_seconds)
        metrics.stage_seconds.labels(Stage.DECODE).observe(timings.decode_seconds)
        metrics.stage_seconds.labels(Stage.TRANSCRIBE).observe(timings.transcribe_seconds)
        metrics.audio_seconds_out.inc(heard.duration_seconds)
        metrics.audio_by_language_seconds.labels(heard.language or "none").inc(heard.duration_seconds)
        metrics.real_time_factor.observe(factor)
        if heard.audio.damage:
            metrics.decode_damage.inc()
        if not heard.segments:
            metrics.no_speech.inc()


def _show(shown: Recording, stored: StoredResult) -> None:
    """What a person wants to see of a result."""
    document = stored.document
    shown.duration_seconds = document.get("durationSeconds") or shown.duration_seconds
    shown.language = document.get("language")
    shown.says(str(document.get("text") or ""))


def _note(job: Job, **why: str | None) -> dict[str, object]:
    """What lies in the place of a result."""
    return {
        **why,
        "bucket": job.upload.bucket,
        "key": job.upload.key,
        "eTag": _etag(job.upload),
        "topic": job.topic,
        "partition": job.partition,
        "offset": job.offset,
        "time": datetime.now(UTC),
    }


def merged(wanted: JobOptions, defaults: Options) -> Options:
    """The options of one job: what it asks for, else the worker's settings."""
    language = wanted.language or defaults.language
    start_seconds, end_seconds = range_seconds(wanted.range) if wanted.range else (0.0, math.inf)
    return Options(
        language=None if language == "auto" else language,
        task=wanted.task or defaults.task,
        prompt=_prompt(wanted, defaults),
        channels=wanted.channels or defaults.channels,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        words=defaults.words if wanted.words is None else wanted.words,
        carry_context=defaults.carry_context,
        priority=wanted.priority or defaults.priority,
    )


def _prompt(wanted: JobOptions, defaults: Options) -> str:
    """The words to expect, then the prompt: of a text that is too long Whisper takes the end."""
    prompt = wanted.prompt if wanted.prompt is not None else defaults.prompt
    return " ".join(filter(None, (f"{', '.join(wanted.vocabulary)}." if wanted.vocabulary else "", prompt)))


def _etag(upload: AudioUploaded) -> str | None:
    """The ETag that the event names, as the store is asked for it: without quotes."""
    return (upload.etag or "").strip('"') or None
