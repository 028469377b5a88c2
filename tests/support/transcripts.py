"""Messages of the output topic, valid in every field, for tests that care about one part of them."""

from collections.abc import Iterable
from datetime import UTC, datetime

from schemas import Audio, Provenance, Segment, Source, Timings, Transcript

TRANSCRIPT_ID = "0f" * 32


def make_segment(start_seconds: float, end_seconds: float, text: str) -> Segment:
    return Segment(start_seconds=start_seconds, end_seconds=end_seconds, text=text, average_log_probability=-0.25)


def make_transcript(segments: Iterable[Segment] = ()) -> Transcript:
    segments = tuple(segments)
    return Transcript(
        transcript_id=TRANSCRIPT_ID,
        text=" ".join(segment.text for segment in segments),
        language="en" if segments else None,
        language_probability=0.98 if segments else None,
        task="transcribe",
        no_speech=not segments,
        duration_seconds=max((segment.end_seconds for segment in segments), default=5.0),
        segments=segments,
        source=Source(
            bucket="recordings",
            key="2026/call 1.wav",
            etag="6805f2cfc46c0f04559748bb039d69ae",
            size_bytes=352_078,
            sha256="59dfb9a4" * 8,
            topic="audio.uploaded",
            partition=0,
            offset=7,
        ),
        audio=Audio(container="wav", codec="pcm_s16le", sample_rate_hertz=16_000, channels=1),
        provenance=Provenance(
            worker_version="0.1.0",
            engine="library",
            engine_version="1.8.5",
            model_size="base",
            model_file="ggml-base-q8_0.bin",
            model_sha256="ab" * 32,
            weights_sha256="cd" * 32,
            cpu_class="avx2",
            parameters={"strategy": "greedy", "temperature": 0.0, "language": "auto"},
            timings=Timings(fetch_seconds=0.01, decode_seconds=0.02, transcribe_seconds=0.9, total_seconds=1.0),
            real_time_factor=0.09,
        ),
        completed_at=datetime(2026, 11, 22, 9, 30, 12, tzinfo=UTC),
    )
