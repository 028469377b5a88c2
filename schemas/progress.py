"""``transcript.progress`` v1: how far a recording is; a CloudEvents 1.0 envelope around what is new since the last."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Message
from schemas.cloud_event import CloudEvent
from schemas.transcript import Seconds, Segment


class Progress(Message):
    """How far one recording is. Partial text is the segments of all these events in order; the result has the whole."""

    transcript_id: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bucket: str
    key: str
    channel: Annotated[int | None, Field(ge=0, description="The one that is worked on, where channels are split.")] = (
        None
    )
    done_seconds: Annotated[Seconds, Field(description="Audio that is finished, of this channel.")]
    duration_seconds: Annotated[
        Seconds | None, Field(description="Of the recording, by its header; null where that tells none.")
    ]
    percent: Annotated[
        float | None, Field(ge=0, le=100, description="Of all channels; null where the duration is not known.")
    ]
    segments: Annotated[tuple[Segment, ...], Field(description="Finished since the event before.")]


class TranscriptProgress(CloudEvent):
    """The CloudEvent on the topic of progress. None follows the last stretch of a recording: its answer does."""

    type: Literal["transcript.progress.v1"] = "transcript.progress.v1"
    data: Progress
