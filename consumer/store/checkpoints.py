"""Checkpoints of recordings in the results bucket: ``checkpoints/{transcript_id}.json``, the latest one alone."""

import logging
from typing import TYPE_CHECKING

from pydantic import ValidationError

from consumer.store.s3 import asking, read_object
from schemas import Checkpoint

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

log = logging.getLogger(__name__)


class CheckpointStore:
    """Writes and reads checkpoints in one bucket. ``client`` comes from ``store.s3.open_client``."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def get(self, transcript_id: str) -> Checkpoint | None:
        """The checkpoint that lies there; None where there is none that can be used. Raises Unavailable."""
        key = checkpoint_key(transcript_id)
        present = await read_object(self._client, self._bucket, key)
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
        async with asking(f"storing {self._bucket}/{key}", self._client, n_bytes=len(body)):
            await self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType="application/json")

    async def delete(self, transcript_id: str) -> None:
        """Remove a checkpoint that is of no more use. Raises Unavailable."""
        key = checkpoint_key(transcript_id)
        async with asking(f"deleting {self._bucket}/{key}", self._client):
            await self._client.delete_object(Bucket=self._bucket, Key=key)


def checkpoint_key(transcript_id: str) -> str:
    """Key of a checkpoint."""
    return f"checkpoints/{transcript_id}.json"
