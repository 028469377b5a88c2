"""``transcript.progress`` v1: how far a recording is; a CloudEvents 1.0 envelope around what is new since the last."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from schemas.base import Message
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


class TranscriptProgress(Message):
    """The CloudEvent on the topic of progress. None follows the last stretch of a recording: its answer does."""

    # CloudEvents requires the first four; the constants among them have defaults for who writes the event only.
    model_config = ConfigDict(
        json_schema_extra={"required": ["specversion", "id", "source", "type", "subject", "time", "data"]}
    )

    specversion: Literal["1.0"] = "1.0"
    type: Literal["transcript.progress.v1"] = "transcript.progress.v1"
    id: Annotated[str, Field(min_length=1)]
    source: Annotated[
        str,
        Field(
            description="Of the recording: /bucket/key, percent-encoded.", json_schema_extra={"format": "uri-reference"}
        ),
    ]
    subject: Annotated[str, Field(description="Object key of the recording.")]
    time: AwareDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    data: Progress
