"""What the worker is doing, recording by recording, and did last: for whoever looks at the status page.

Kept in memory and bounded. Words of transcripts are kept only where the operator asked to see them.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from consumer.errors import NotWanted, Rejected, Stage
from consumer.observe.logs import bind

LAST: Final = 50
"""Finished recordings that are remembered."""
MAX_TEXT_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class Finished:
    """A recording that is dealt with."""

    bucket: str
    key: str
    ended: datetime
    seconds: float
    """From the beginning of the work on it, queue not included."""
    ending: str
    """``transcribed``, ``found``: its result lay in the store already, ``not_wanted``, or a dead letter's reason."""
    audio_seconds: float | None = None
    language: str | None = None
    text: str = ""


class Recording:
    """A recording in flight. All times are on the monotonic clock."""

    def __init__(self, bucket: str, key: str, record: str, *, with_text: bool) -> None:
        self.bucket = bucket
        self.key = key
        self.record = record
        self.began = time.monotonic()
        self.stage: Stage = Stage.FETCH
        self.duration_seconds: float | None = None
        self.done_seconds = 0.0
        self.ending = "transcribed"
        self.language: str | None = None
        self.text = ""
        self._with_text = with_text
        self._heard_since: float | None = None
        self._found_seconds = 0.0
        self._channel, self._channels = 0, 1

    @contextmanager
    def at(self, stage: Stage) -> Iterator[None]:
        """Work on a stage, for the page and for the log."""
        self.stage = stage
        with bind(stage=stage):
            yield

    def lasts(self, duration_seconds: float | None, channel: int | None, channels: int) -> None:
        """A channel is begun, of so many; None: the mix of all. The duration is what the container tells."""
        self.duration_seconds = duration_seconds
        self._channel, self._channels = (0, 1) if channel is None else (channel, max(1, channels))
        self._heard_since = self._heard_since or time.monotonic()

    def progressed(self, done_seconds: float, found_seconds: float, text: str) -> None:
        """So much of the channel is transcribed, of which an earlier attempt did ``found_seconds``."""
        self.done_seconds = done_seconds
        self._found_seconds = found_seconds
        self.says(f"{self.text} {text}")

    def says(self, text: str) -> None:
        """Keep the end of its text, if that may be shown."""
        if self._with_text:
            self.text = text.strip()[-MAX_TEXT_CHARACTERS:]

    @property
    def age_seconds(self) -> float:
        """Since the work on it began."""
        return time.monotonic() - self.began

    @property
    def share_done(self) -> float | None:
        """From 0 to 1; None where its duration is not known."""
        if not self.duration_seconds:
            return None
        return (self._channel + min(1.0, self.done_seconds / self.duration_seconds)) / self._channels

    @property
    def speed(self) -> float | None:
        """Seconds of audio for each second since its transcription began; None before there is anything to tell."""
        if self._heard_since is None or self.done_seconds <= self._found_seconds:
            return None
        before = self._channel * (self.duration_seconds or 0.0)
        heard_seconds = before + self.done_seconds - self._found_seconds
        return heard_seconds / max(1e-3, time.monotonic() - self._heard_since)


class Activity:
    """All recordings in flight, in the order in which they came, and those that ended last, the latest first."""

    def __init__(self, *, with_text: bool = False) -> None:
        self._with_text = with_text
        self._in_flight: dict[int, Recording] = {}
        self.recent: deque[Finished] = deque(maxlen=LAST)

    @property
    def in_flight(self) -> list[Recording]:
        """At this moment."""
        return list(self._in_flight.values())

    @contextmanager
    def recording(self, bucket: str, key: str, record: str) -> Iterator[Recording]:
        """Around the work on one. Work that is cancelled, or to be tried again later, is not finished."""
        shown = Recording(bucket, key, record, with_text=self._with_text)
        self._in_flight[id(shown)] = shown
        try:
            yield shown
        except NotWanted:
            self._ended(shown, "not_wanted")
            raise
        except Rejected as rejection:
            self._ended(shown, rejection.reason)
            raise
        else:
            self._ended(shown, shown.ending)
        finally:
            del self._in_flight[id(shown)]

    def _ended(self, shown: Recording, ending: str) -> None:
        self.recent.appendleft(
            Finished(
                bucket=shown.bucket,
                key=shown.key,
                ended=datetime.now(UTC),
                seconds=shown.age_seconds,
                ending=ending,
                audio_seconds=shown.duration_seconds,
                language=shown.language,
                text=shown.text,
            )
        )
