"""The transcript put together from everything that is known about one recording. Pure."""

import math
import platform
from collections import Counter
from datetime import datetime

from consumer import __version__
from consumer.delivery.job import Job
from consumer.engine.base import EngineFacts, Options
from consumer.store.objects import Fetched
from consumer.transcriber import Heard
from schemas import Audio, Provenance, Source, Timings, Transcript


def real_time_factor(timings: Timings, worked_on_seconds: float) -> float:
    """Total processing time for one second of the audio worked on, which counts as 0.1 s at least."""
    return round(timings.total_seconds / max(worked_on_seconds, 0.1), 4)


def assemble(
    name: str,
    job: Job,
    fetched: Fetched,
    heard: Heard,
    options: Options,
    engine: EngineFacts,
    timings: Timings,
    factor: float,
    completed_at: datetime,
    attempts: int = 1,
) -> Transcript:
    """Put together everything that is known about one recording."""
    return Transcript(
        transcript_id=name,
        text=heard.text,
        language=heard.language,
        language_probability=heard.language_probability,
        language_candidates=heard.language_candidates,
        task=options.task,
        no_speech=not heard.segments,
        duration_seconds=heard.duration_seconds,
        segments=heard.segments,
        suppressed_segments=heard.suppressed,
        flag_counts=Counter(flag for segment in (*heard.segments, *heard.suppressed) for flag in segment.flags),
        ignored_options=job.upload.options.ignored,
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
            libraries_sha256=dict(engine.libraries),
            host=platform.node(),
            attempts=attempts,
            parameters={
                "language": options.language or "auto",
                "task": options.task,
                "prompt": options.prompt,
                "channels": options.channels,
                "start_seconds": options.start_seconds,
                "end_seconds": None if options.end_seconds == math.inf else options.end_seconds,
                "words": options.words,
                "carry_context": options.carry_context,
                "priority": options.priority,
                "beam_size": 1,
                "temperature": 0.0,
            },
            timings=timings,
            real_time_factor=factor,
        ),
        completed_at=completed_at,
    )


def to_json(transcript: Transcript) -> bytes:
    """The transcript as it lies in the results bucket: JSON, camelCase."""
    return transcript.model_dump_json(by_alias=True).encode()
