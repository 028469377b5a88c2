"""Checkpoints of one recording: see rule 6 of ``pipeline``."""

import hashlib
import logging
import time
from functools import partial

from consumer.delivery.job import Attempt
from consumer.observe.metrics import Metrics
from consumer.store.checkpoints import CheckpointStore
from consumer.transcriber import Progress
from schemas import Checkpoint

log = logging.getLogger(__name__)


class KeptChannels:
    """The progress of one recording: of each channel on its own, or of all of them mixed."""

    def __init__(self, name: str, checkpoints: CheckpointStore, attempt: Attempt, metrics: Metrics) -> None:
        self._name = name
        self._new = partial(KeptProgress, checkpoints=checkpoints, attempt=attempt, metrics=metrics)
        self._kept: dict[int | None, KeptProgress] = {}
        self._began_at = time.monotonic()

    def of(self, channel: int | None) -> "KeptProgress":
        """That of a channel; None for the mix."""
        if channel not in self._kept:
            self._kept[channel] = self._new(_checkpoint_name(self._name, channel))
        return self._kept[channel]

    @property
    def found_seconds(self) -> float:
        """Audio that attempts before this one had finished, of all channels in the mean."""
        return sum(kept.found_seconds for kept in self._kept.values()) / max(1, len(self._kept))

    @property
    def saved_at(self) -> float:
        """When the latest checkpoint of any channel was written, or the attempt began; on the monotonic clock."""
        return max([self._began_at, *(kept.saved_at for kept in self._kept.values())])

    @property
    def names(self) -> list[str]:
        """Those of the checkpoints that lie in the store."""
        return [kept.name for kept in self._kept.values() if kept.latest is not None]


def _checkpoint_name(transcript_id: str, channel: int | None) -> str:
    """That of the transcript, and for a channel one that is made of it."""
    return transcript_id if channel is None else hashlib.sha256(f"{transcript_id}/{channel}".encode()).hexdigest()


class KeptProgress:
    """The progress of one channel or mix: in the store for whoever is next, and here for this attempt's next try.

    Fits ``consumer.transcriber.Kept``.
    """

    def __init__(self, name: str, checkpoints: CheckpointStore, attempt: Attempt, metrics: Metrics) -> None:
        self.name = name
        self._checkpoints = checkpoints
        self._attempt = attempt
        self._metrics = metrics
        self._looked = False
        self.latest: Progress | None = None
        self.found_seconds = 0.0
        """What attempts before this one had finished."""
        self.saved_at = 0.0

    async def find(self) -> Progress | None:
        """The latest of this attempt; before there is one, that of an attempt before. Raises Unavailable."""
        if self._looked:
            return self.latest
        checkpoint = await self._checkpoints.get(self.name)
        self._looked = True
        if checkpoint is not None:
            self.found_seconds = checkpoint.done_seconds
            self.latest = Progress(
                checkpoint.done_seconds,
                checkpoint.segments,
                checkpoint.language,
                checkpoint.inference_seconds,
                checkpoint.suppressed_segments,
                checkpoint.language_candidates,
            )
            self._metrics.checkpoints_resumed.inc()
            log.info("goes on from a checkpoint", extra={"done_seconds": checkpoint.done_seconds})
        return self.latest

    async def keep(self, progress: Progress) -> None:
        """Write a checkpoint. Raises Unavailable: the transcriber then tries again later, with more."""
        self.latest = progress
        await self._checkpoints.put(
            Checkpoint(
                transcript_id=self.name,
                done_seconds=progress.done_seconds,
                language=progress.language,
                language_candidates=progress.language_candidates,
                inference_seconds=progress.inference_seconds,
                segments=progress.segments,
                suppressed_segments=progress.suppressed,
            )
        )
        self.saved_at = time.monotonic()
        self._metrics.checkpoints_written.inc()
        self._attempt.progressed()
