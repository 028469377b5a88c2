"""Tells how far a recording is, at most once a second: whoever follows it need not wait for the whole."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from consumer.audio.decoder_messages import Header
from consumer.engine.base import Passage
from schemas import AudioUploaded, Progress, Segment, TranscriptProgress
from schemas.cloud_event import source_of

INTERVAL_SECONDS: Final = 1.0

Tell = Callable[[TranscriptProgress], None]
"""Sends an event on, or drops it; returns at once."""


class Reporter:
    """Follows one attempt at one recording."""

    def __init__(
        self,
        transcript_id: str,
        upload: AudioUploaded,
        tell: Tell | None,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transcript_id = transcript_id
        self._upload = upload
        self._tell = tell
        self._now = now
        self._told_at: float | None = None
        self._channel: int | None = None
        self._header: Header | None = None
        self._new: list[Segment] = []

    def on_header(self, channel: int | None, header: Header) -> None:
        """A channel begins, or the mix of all."""
        self._channel, self._header = channel, header

    def on_passage(self, passage: Passage) -> None:
        """A stretch is finished."""
        if self._tell is None:
            return
        self._new += [segment.model_copy(update={"channel": self._channel}) for segment in passage.segments]
        now = self._now()
        if self._told_at is None or now - self._told_at >= INTERVAL_SECONDS:
            self._told_at = now
            self._tell(self._event(passage.end_seconds))
            self._new = []

    def _event(self, done_seconds: float) -> TranscriptProgress:
        upload = self._upload
        return TranscriptProgress(
            id=f"{self._transcript_id}-{self._channel or 0}-{round(done_seconds * 1000)}",
            source=source_of(upload.bucket, upload.key),
            subject=upload.key,
            time=datetime.now(UTC),
            data=Progress(
                transcript_id=self._transcript_id,
                bucket=upload.bucket,
                key=upload.key,
                channel=self._channel,
                done_seconds=round(done_seconds, 3),
                duration_seconds=self._header.declared_seconds if self._header else None,
                percent=self._percent(done_seconds),
                segments=tuple(self._new),
            ),
        )

    def _percent(self, done_seconds: float) -> float | None:
        """Of all channels, which are as long as each other."""
        header = self._header
        if header is None or not header.declared_seconds:
            return None
        share = min(1.0, done_seconds / header.declared_seconds)
        if self._channel is not None:
            share = (self._channel + share) / max(1, header.channels)
        return round(100 * min(1.0, share), 1)
