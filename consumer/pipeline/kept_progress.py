"""Checkpoints of one recording: see rule 6 of ``pipeline``."""

import logging

from consumer.delivery.job import Attempt
from consumer.observe.metrics import Metrics
from consumer.store.checkpoints import CheckpointStore
from consumer.transcriber import Progress
from schemas import Checkpoint

log = logging.getLogger(__name__)


class KeptProgress:
    """The progress of one recording: in the store for whoever is next, and here for this attempt's next try.

    Fits ``consumer.transcriber.Kept``.
    """

    def __init__(self, name: str, checkpoints: CheckpointStore, attempt: Attempt, metrics: Metrics) -> None:
        self._name = name
        self._checkpoints = checkpoints
        self._attempt = attempt
        self._metrics = metrics
        self._looked = False
        self.latest: Progress | None = None
        self.found_seconds = 0.0
        """What attempts before this one had finished."""

    async def find(self) -> Progress | None:
        """The latest of this attempt; before there is one, that of an attempt before. Raises Unavailable."""
        if self._looked:
            return self.latest
        checkpoint = await self._checkpoints.get(self._name)
        self._looked = True
        if checkpoint is not None:
            self.found_seconds = checkpoint.done_seconds
            self.latest = Progress(
                checkpoint.done_seconds,
                checkpoint.segments,
                checkpoint.language,
                checkpoint.language_probability,
                checkpoint.inference_seconds,
            )
            self._metrics.checkpoints_resumed.inc()
            log.info("goes on from a checkpoint", extra={"done_seconds": checkpoint.done_seconds})
        return self.latest

    async def keep(self, progress: Progress) -> None:
        """Write a checkpoint. Raises Unavailable: the transcriber then tries again later, with more."""
        self.latest = progress
        await self._checkpoints.put(
            Checkpoint(
                transcript_id=self._name,
                done_seconds=progress.done_seconds,
                language=progress.language,
                language_probability=progress.language_probability,
                inference_seconds=progress.inference_seconds,
                segments=progress.segments,
            )
        )
        self._metrics.checkpoints_written.inc()
        self._attempt.progressed()
