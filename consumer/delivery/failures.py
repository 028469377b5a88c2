"""The short event that tells subscribers of a recording which will have no transcript. Pure."""

import hashlib
from datetime import datetime

from consumer.delivery.deadletters import MAX_MESSAGE_CHARACTERS, Verdict
from consumer.delivery.job import Job
from schemas import Failure, TranscriptFailed
from schemas.cloud_event import source_of


def failed_event(job: Job, verdict: Verdict, when: datetime) -> TranscriptFailed:
    """The event about one job that was given up. Its id is made of the record and the object."""
    upload = job.upload
    return TranscriptFailed(
        id=hashlib.sha256(f"{job.job_id} {upload.bucket}/{upload.key}".encode()).hexdigest(),
        source=source_of(upload.bucket, upload.key),
        subject=upload.key,
        time=when,
        data=Failure(
            bucket=upload.bucket,
            key=upload.key,
            version_id=upload.version_id,
            etag=upload.etag,
            reason=verdict.reason.value,
            stage=verdict.stage.value if verdict.stage else None,
            message=verdict.message[:MAX_MESSAGE_CHARACTERS],
            attempts=verdict.attempts,
            topic=job.topic,
            partition=job.partition,
            offset=job.offset,
        ),
    )
