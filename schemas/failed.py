"""``transcript.failed`` v1: a recording will have no transcript; a CloudEvents 1.0 envelope around the reason."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from schemas.base import Message
from schemas.cloud_event import CloudEvent


class Failure(Message):
    """Which recording, and why. The record that announced it lies in the dead-letter topic, byte for byte."""

    bucket: str
    key: str
    version_id: str | None = None
    etag: Annotated[str | None, Field(alias="eTag")] = None
    reason: Annotated[str, Field(description="A word for programs, as in the dead letter: not_audio, too_long, ...")]
    stage: Annotated[str | None, Field(description="Where it failed; null where a defect of the worker left it open.")]
    message: Annotated[str, Field(description="What was wrong, what was expected and what to do, for people.")]
    attempts: Annotated[int, Field(ge=0)]
    topic: Annotated[str, Field(description="Of the record that announced the recording.")]
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]


class TranscriptFailed(CloudEvent):
    """The CloudEvent on the topic of failures. ``id`` is the same for each repetition of one failure."""

    type: Literal["transcript.failed.v1"] = "transcript.failed.v1"
    id: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    time: Annotated[AwareDatetime, Field(description="When it was given up.")]
    data: Failure
