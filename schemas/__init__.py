"""The messages that this worker reads and writes; importable by other services on its own."""

from schemas.audio_uploaded import AudioUploaded
from schemas.cancel import CancelRequest
from schemas.checkpoint import Checkpoint
from schemas.failed import Failure, TranscriptFailed
from schemas.job_options import Channels, IgnoredOption, JobOptions, Priority, SidecarFormat, Task
from schemas.progress import Progress, TranscriptProgress
from schemas.transcript import (
    Audio,
    Flag,
    LanguageCandidate,
    Provenance,
    Segment,
    SidecarReference,
    Source,
    Timings,
    Transcript,
    TranscriptCompleted,
    TranscriptData,
    TranscriptReference,
    Word,
)

__all__ = [
    "Audio",
    "AudioUploaded",
    "CancelRequest",
    "Channels",
    "Checkpoint",
    "Failure",
    "Flag",
    "IgnoredOption",
    "JobOptions",
    "LanguageCandidate",
    "Priority",
    "Progress",
    "Provenance",
    "Segment",
    "SidecarFormat",
    "SidecarReference",
    "Source",
    "Task",
    "Timings",
    "Transcript",
    "TranscriptCompleted",
    "TranscriptData",
    "TranscriptFailed",
    "TranscriptProgress",
    "TranscriptReference",
    "Word",
]
