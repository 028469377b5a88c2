"""Checkpoints of recordings in the results bucket: ``checkpoints/{transcript_id}.json``, the latest one alone."""

import logging

from pydantic import ValidationError

from consumer.store.s3 import S3
from schemas import Checkpoint

log = logging.getLogger(__name__)


class CheckpointStore:
    """Writes and reads checkpoints in one bucket. ``s3`` comes from ``store.s3.open_s3``."""

    def __init__(self, s3: S3, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    async def get(self, transcript_id: str) -> Checkpoint | None:
        """The checkpoint that lies there; None where there is none that can be used. Raises Unavailable."""
        key = checkpoint_key(transcript_id)
        with self._s3.asking(f"reading {self._bucket}/{key}"):
            present = await self._s3.read(self._bucket, key)
        if present is None:
            return None
        found, _ = present
        try:
            checkpoint = Checkpoint.model_validate_json(found)
        except ValidationError:  # which is not logged: it would tell what was found
            checkpoint = None
        if checkpoint is None or checkpoint.transcript_id != transcript_id:
            log.warning("the checkpoint %s/%s cannot be used: the recording begins anew", self._bucket, key)
            return None
        return checkpoint

    async def put(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint over the one before. Raises Unavailable."""
        key = checkpoint_key(checkpoint.transcript_id)
        body = checkpoint.model_dump_json(by_alias=True).encode()
        with self._s3.asking(f"storing {self._bucket}/{key}"):
            await self._s3.put(self._bucket, key, body, content_type="application/json")

    async def delete(self, transcript_id: str) -> None:
        """Remove a checkpoint that is of no more use. Raises Unavailable."""
        key = checkpoint_key(transcript_id)
        with self._s3.asking(f"deleting {self._bucket}/{key}"):
            await self._s3.delete(self._bucket, key)


def checkpoint_key(transcript_id: str) -> str:
    """Key of a checkpoint."""
    return f"checkpoints/{transcript_id}.json"
