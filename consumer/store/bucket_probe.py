"""Whether a bucket answers usefully: what tells the fault of one object from an outage.

A bucket answers if one of these does, asked in this order until one settles it:

1. HEAD of the bucket succeeds. A policy of least privilege may forbid just this (it wants s3:ListBucket).
2. HEAD of the object that was last read there says that it is there, or that it is there no longer.
3. HEAD of an object that cannot be there says so. Whoever may read nothing hears 403; AWS says 403 to whoever may not
   list, too: there, and as long as nothing was read, a fault of one object cannot be told from an outage, and counts
   as one.
"""

from botocore.exceptions import ClientError

from consumer.errors import Unavailable
from consumer.store.failures import status
from consumer.store.s3 import S3

ABSENT_KEY = "whisper-consumer-probe/no-such-object"


class BucketProbe:
    """Asks buckets, and remembers for each one what was read there last."""

    def __init__(self, s3: S3) -> None:
        self._s3 = s3
        self._last_read: dict[str, str] = {}

    def was_read(self, bucket: str, key: str) -> None:
        """An object was had."""
        self._last_read[bucket] = key

    async def answers(self, bucket: str) -> bool:
        """Whether the bucket answers usefully; raises nothing."""
        try:
            with self._s3.asking(f"asking for bucket {bucket}"):
                try:
                    await self._s3.head(bucket)
                except ClientError as error:
                    return status(error) == 403 and await self._shows_objects(bucket)
        except Unavailable:
            return False
        return True

    async def _shows_objects(self, bucket: str) -> bool:
        for key in (self._last_read.get(bucket), ABSENT_KEY):
            if key is not None and await self._is_shown(bucket, key):
                return True
        return False

    async def _is_shown(self, bucket: str, key: str) -> bool:
        """Whether the store says of an object that it is there, or that it is not."""
        try:
            await self._s3.head(bucket, key)
        except ClientError as error:
            return status(error) == 404
        return True
