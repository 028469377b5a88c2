"""Filling the bucket with directories of artifacts."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from botocore.exceptions import ClientError

from consumer.engine.artifacts.bucket import Bucket, open_bucket
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.manifest import Manifest, read_manifest
from consumer.engine.artifacts.models import MANIFEST
from consumer.engine.artifacts.progress import Progress
from consumer.engine.artifacts.verify import damaged
from consumer.settings import StoreSettings


async def push(directory: Path, bucket_name: str, store: StoreSettings, progress: Progress) -> None:
    """Upload one directory with a manifest to the prefix of its name, making the bucket if there is none.

    The manifest goes last: whoever pulls meanwhile sees the new directory only when all of it is there.
    Raises ArtifactError where the directory is damaged or the store refuses.
    """
    manifest = await asyncio.to_thread(_checked, directory)
    async with open_bucket(bucket_name, store) as bucket:
        await _ensure_bucket(bucket)
        for name, facts in manifest.files.items():
            await _upload(bucket, directory / name, facts.bytes, progress)
        await _upload(bucket, directory / MANIFEST, None, progress)


def _checked(directory: Path) -> Manifest:
    manifest = read_manifest(directory)
    if manifest is None:
        raise ArtifactError(f"{directory} has no {MANIFEST}: push what artifacts build has made")
    if faults := damaged(directory, manifest):
        raise ArtifactError(f"{directory} is damaged, build it again: {'; '.join(faults.values())}")
    return manifest


async def _ensure_bucket(bucket: Bucket) -> None:
    with bucket.explained():
        try:
            await bucket.client.head_bucket(Bucket=bucket.name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "404":
                raise
            await bucket.client.create_bucket(Bucket=bucket.name)


async def _upload(bucket: Bucket, path: Path, total_bytes: int | None, progress: Progress) -> None:
    key = f"{path.parent.name}/{path.name}"
    with progress.task(path.name, total_bytes) as advance, path.open("rb") as file, bucket.explained():
        body = cast("IO[bytes]", _AsyncReader(file.read))  # aioboto3 awaits what read returns; its types do not say so
        await bucket.client.upload_fileobj(body, bucket.name, key, Callback=advance)


class _AsyncReader:
    """A file whose reads do not block the event loop."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    async def read(self, size: int) -> bytes:
        return await asyncio.to_thread(self._read, size)
