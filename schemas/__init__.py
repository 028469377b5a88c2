"""The messages that this worker reads and writes; importable by other services on its own."""

from schemas.audio_uploaded import AudioUploaded, JobOptions
from schemas.checkpoint import Checkpoint
from schemas.transcript import (
    Audio,
    Provenance,
    Segment,
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
    "Checkpoint",
    "JobOptions",
    "Provenance",
    "Segment",
    "Source",
    "Timings",
    "Transcript",
    "TranscriptCompleted",
    "TranscriptData",
    "TranscriptReference",
    "Word",
]
