"""What reconcile asks the store. Each request is tried again a few times before it is an outage."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_args

from botocore.exceptions import ClientError

from consumer.errors import Unavailable
from consumer.operate.reconcile.decision import Entry, Recording
from consumer.outages import delays
from consumer.store.boto import asking
from consumer.store.failures import error_code
from consumer.store.results import Ending, marker_key, source_prefix

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

T = TypeVar("T")

_TRIES = 5  # with the pauses of consumer.outages: some 5 s
_ENDINGS: dict[str, Ending] = {f".{ending}.json": ending for ending in get_args(Ending)}
# User metadata of a result: the digest of the weights that made it, and the ETag of the bytes that it is of.
_WEIGHTS = "weights-sha256"
_ETAG = "etag"


class Listing(Protocol):
    """What the bucket of recordings and that of results hold."""

    def recordings(self) -> AsyncGenerator[list[Recording], None]:
        """Every object, some at a time. Raises Unavailable."""
        ...

    async def entries(self, recording: Recording) -> list[Entry]:
        """What lies with the results of a recording. Raises Unavailable."""
        ...


class StoreListing:
    """The listing of a real store. ``client`` comes from ``store.boto.open_client``."""

    def __init__(
        self, client: "S3Client", bucket: str, prefix: str, results_bucket: str, *, with_weights: bool, page_keys: int
    ) -> None:
        """``with_weights`` asks each result for its model, one request more; a page has at most ``page_keys``."""
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._results_bucket = results_bucket
        self._with_weights = with_weights
        self._page_keys = page_keys

    async def recordings(self) -> AsyncGenerator[list[Recording], None]:
        async for page in self._pages(self._bucket, self._prefix):
            yield [
                Recording(found["Key"], found["ETag"].strip('"'), found["Size"], found["LastModified"])
                for found in page
            ]

    async def entries(self, recording: Recording) -> list[Entry]:
        pages = self._pages(self._results_bucket, source_prefix(self._bucket, recording.key))
        return [
            await self._entry(found["Key"], found["LastModified"], recording) async for page in pages for found in page
        ]

    async def _entry(self, key: str, modified: datetime, recording: Recording) -> Entry:
        """What lies there; a result is asked only where its age or its model leaves open whether it counts."""
        if ending := next((_ENDINGS[suffix] for suffix in _ENDINGS if key.endswith(suffix)), None):
            etags = (recording.etag, None)
            names = {marker_key(self._bucket, recording.key, etag, ending): etag is not None for etag in etags}
            return Entry(True, modified, names[key] or None if key in names else False)
        if not self._with_weights and modified >= recording.modified:
            return Entry(False, modified)
        metadata = await self._metadata(key)
        etag = metadata.get(_ETAG)
        return Entry(False, modified, etag == recording.etag if etag else None, metadata.get(_WEIGHTS))

    async def _pages(self, bucket: str, prefix: str) -> AsyncIterator[list[Any]]:
        token: dict[str, Any] = {}
        while True:

            async def list_page(token: dict[str, Any] = token) -> Any:
                async with asking(f"listing {bucket}/{prefix}", self._client):
                    return await self._client.list_objects_v2(
                        Bucket=bucket, Prefix=prefix, MaxKeys=self._page_keys, **token
                    )

            answer = await _patiently(list_page)
            yield answer.get("Contents", [])
            if not answer.get("IsTruncated"):
                return
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    async def _metadata(self, key: str) -> Mapping[str, str]:
        async def head() -> Mapping[str, str]:
            async with asking(f"asking for {self._results_bucket}/{key}", self._client):
                try:
                    answer = await self._client.head_object(Bucket=self._results_bucket, Key=key)
                except ClientError as error:
                    if error_code(error) != "404":
                        raise
                    return {}  # deleted since it was listed
                return answer["Metadata"]

        return await _patiently(head)


async def _patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """One lost request must not end a run of an hour; an outage does."""
    for pause in islice(delays(), _TRIES - 1):
        try:
            return await attempt()
        except Unavailable:
            await asyncio.sleep(pause)
    return await attempt()
