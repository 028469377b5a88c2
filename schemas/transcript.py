"""``transcript.completed`` v1: the output event, a CloudEvents 1.0 envelope around a transcript."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, model_validator

from schemas.base import Message
from schemas.cloud_event import CloudEvent
from schemas.job_options import IgnoredOption, SidecarFormat, Task

Seconds = Annotated[float, Field(ge=0, description="Seconds on the recording's clock.")]
Probability = Annotated[float, Field(ge=0, le=1)]


class Word(Message):
    """One word as it was heard, with punctuation attached."""

    text: str
    start_seconds: Seconds
    end_seconds: Seconds
    probability: Annotated[Probability, Field(description="Mean probability of the word's tokens.")]


Flag = Literal["repetition", "low_confidence", "likely_silence", "boilerplate"]


class Segment(Message):
    """A stretch of speech that the model wrote as one piece."""

    start_seconds: Seconds
    end_seconds: Seconds
    text: str
    average_log_probability: Annotated[float, Field(le=0, description="Mean log-probability of the text tokens.")]
    no_speech_probability: Annotated[
        Probability | None,
        Field(description="How likely the model found it that nobody speaks; null where the library tells it wrong."),
    ] = None
    compression_ratio: Annotated[
        float | None, Field(gt=0, description="Bytes of the text for one byte of it compressed: high where it repeats.")
    ] = None
    flags: Annotated[
        tuple[Flag, ...], Field(description="What speaks against it; empty where nothing does.", examples=[[]])
    ] = ()
    channel: Annotated[
        int | None, Field(ge=0, description="Channel of the recording, from 0, where each is transcribed on its own.")
    ] = None
    speaker: Annotated[str | None, Field(description="Who speaks on that channel, by the worker's settings.")] = None
    words: tuple[Word, ...] = ()


class LanguageCandidate(Message):
    """A language that the recording may be in."""

    language: str
    probability: Probability


class Source(Message):
    """Where the recording came from: the object and the record that announced it."""

    bucket: str
    key: str
    version_id: str | None = None
    etag: Annotated[str | None, Field(alias="eTag")] = None
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="Digest of the object's bytes.")]
    topic: str
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]


class Audio(Message):
    """What the decoder found in the object."""

    container: str
    codec: str
    sample_rate_hertz: Annotated[int, Field(gt=0)]
    channels: Annotated[int, Field(gt=0)]
    damage: Annotated[
        tuple[str, ...], Field(description="What was seen to be broken in the file; empty where nothing was.")
    ] = ()


class Timings(Message):
    """Wall-clock seconds of each stage; stages overlap, so they do not add up to the total."""

    fetch_seconds: Seconds
    decode_seconds: Seconds
    transcribe_seconds: Annotated[float, Field(ge=0, description="Sum over all windows of time in the model.")]
    total_seconds: Seconds


class Provenance(Message):
    """How the text was made: enough to make it again."""

    worker_version: str
    engine: Literal["library", "cli"]
    engine_version: str
    model_size: str
    model_file: str
    model_sha256: Annotated[str, Field(description="Digest of the model file that was loaded.")]
    weights_sha256: Annotated[str, Field(description="Digest of the weights before quantisation.")]
    cpu_class: Annotated[str, Field(description="Class of CPU that the libraries were built for.")]
    libraries_sha256: Annotated[
        dict[str, str],
        Field(default_factory=dict, description="Digest of each library by its file name; empty where not known."),
    ]
    host: Annotated[str | None, Field(description="Name of the machine or container.")] = None
    attempts: Annotated[
        int, Field(ge=1, description="Attempts at the recording, this one and those that a death of a worker ended.")
    ] = 1
    parameters: dict[str, str | int | float | bool | None]
    timings: Timings
    real_time_factor: Annotated[float, Field(ge=0, description="Total seconds for one second of audio.")]


class Transcript(Message):
    """The text of one recording."""

    transcript_id: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    text: str
    language: Annotated[str | None, Field(description="None where there was no speech.")]
    language_probability: Probability | None = None
    language_candidates: Annotated[
        tuple[LanguageCandidate, ...],
        Field(description="The likeliest five, best first; empty where the language was given or nobody spoke."),
    ] = ()
    task: Task
    no_speech: Annotated[bool, Field(description="True where no speech was found: the text is then empty.")]
    duration_seconds: Seconds
    segments: tuple[Segment, ...]
    suppressed_segments: Annotated[
        tuple[Segment, ...],
        Field(description="What the model wrote where, by its flags, nobody spoke; no part of the text."),
    ] = ()
    flag_counts: Annotated[
        dict[Flag, Annotated[int, Field(ge=1)]],
        Field(default_factory=dict, description="Segments with each flag, suppressed ones included."),
    ]
    ignored_options: Annotated[
        tuple[IgnoredOption, ...], Field(description="Options that were asked for and could not be followed.")
    ] = ()
    source: Source
    audio: Audio
    provenance: Provenance
    completed_at: Annotated[AwareDatetime, Field(description="When the recording was finished.")]


class TranscriptReference(Message):
    """The claim check: where the transcript lies when it is too large for the topic."""

    transcript_id: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    language: str | None
    no_speech: bool
    duration_seconds: Seconds
    source: Source
    bucket: str
    key: str
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="Digest of the referenced bytes.")]


class SidecarReference(Message):
    """A document that was made of the transcript, and where it lies."""

    format: SidecarFormat
    bucket: str
    key: str


class TranscriptCompleted(CloudEvent):
    """The CloudEvent on the output topic; exactly one of ``data.transcript`` and ``data.reference`` is there.

    ``id`` is the transcript's id. The whole event follows from the stored transcript, so a repeated delivery carries
    the same bytes.
    """

    type: Literal["transcript.completed.v1"] = "transcript.completed.v1"
    id: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    time: Annotated[AwareDatetime, Field(description="The transcript's completedAt: a repetition has the same.")]
    data: "TranscriptData"


class TranscriptData(Message):
    """Either the transcript itself or a reference to it: exactly one is there, the other null or absent."""

    # The rule of the validator below, for those who read the JSON Schema.
    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"type": "object"}}} for name in ("transcript", "reference")
            ]
        }
    )

    transcript: Transcript | None = None
    reference: TranscriptReference | None = None
    sidecars: tuple[SidecarReference, ...] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.transcript is None) == (self.reference is None):
            raise ValueError("exactly one of transcript and reference must be there")
        return self
