"""The bucket of artifacts: what lies in it, and clear words for what goes wrong with it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.machine import CPU_CLASSES
from consumer.engine.artifacts.manifest import Manifest, parse_manifest
from consumer.engine.artifacts.models import MANIFEST, directory_name
from consumer.settings import ModelSize, StoreSettings
from consumer.store.boto import open_client

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

CHUNK_BYTES = 1 << 20
CONNECTION_FAULTS = (aiohttp.ClientError, TimeoutError, BotoCoreError)
"""What a broken connection raises while a body is read: worth going on where it stopped."""

_CREDENTIALS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "Forbidden", "403"})


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One object of a directory."""

    key: str
    name: str
    bytes: int
    etag: str


Directory = dict[str, StoredFile]
"""The objects under one prefix, by file name."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of artifacts, open for requests."""

    client: "S3Client"
    name: str
    endpoint: str

    async def directories(self, size: ModelSize) -> dict[str, Directory]:
        """All directories of one size by name, whatever their class of CPU. Raises ArtifactError."""
        names = {directory_name(size, cpu_class.suffix) for cpu_class in CPU_CLASSES}
        found: dict[str, Directory] = {}
        with self.explained():
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=directory_name(size))
            async for page in pages:
                for item in page.get("Contents", []):
                    prefix, _, name = item["Key"].partition("/")
                    if prefix in names and name and "/" not in name and not name.startswith("."):
                        found.setdefault(prefix, {})[name] = StoredFile(item["Key"], name, item["Size"], item["ETag"])
        return found

    async def manifest(self, directory: Directory) -> Manifest | None:
        """The manifest of a directory, None where it has none. Raises ArtifactError for an unreadable one."""
        stored = directory.get(MANIFEST)
        if stored is None:
            return None
        with self.explained():
            text = b"".join([chunk async for chunk in self.read(stored, 0)])
        return parse_manifest(text, f"{self.name}/{stored.key}")

    async def read(self, file: StoredFile, start: int) -> AsyncIterator[bytes]:
        """The bytes of an object from ``start`` to its end, of the version that was listed.

        Raises one of CONNECTION_FAULTS where the connection breaks, ArtifactError where the store refuses.
        """
        try:
            answer = await self.client.get_object(
                Bucket=self.name, Key=file.key, IfMatch=file.etag, Range=f"bytes={start}-"
            )
        except ClientError as error:
            raise self._refused(error) from error
        body = answer["Body"]
        try:
            async for chunk in body.iter_chunks(CHUNK_BYTES):
                yield chunk
        finally:
            body.close()

    def unreachable(self, error: Exception) -> ArtifactError:
        """The error for a connection that cannot be had or does not last."""
        return ArtifactError(
            f"cannot reach the object store at {self.endpoint} ({type(error).__name__}): "
            "check MINIO_ENDPOINT, and whether the store is up"
        )

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns what the client raises into an ArtifactError that says what to do."""
        try:
            yield
        except ClientError as error:
            raise self._refused(error) from error
        except CONNECTION_FAULTS as error:
            raise self.unreachable(error) from error

    def _refused(self, error: ClientError) -> ArtifactError:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        where = f"the object store at {self.endpoint}"
        if code == "NoSuchBucket":
            return ArtifactError(
                f"{where} has no bucket {self.name}: check ARTIFACTS_BUCKET, or fill it with artifacts push"
            )
        if code in _CREDENTIALS:
            return ArtifactError(
                f"{where} refused access to bucket {self.name} ({code}): "
                "check MINIO_ACCESS_KEY and MINIO_SECRET_KEY, and what they are allowed to do"
            )
        if code in ("PreconditionFailed", "412", "NoSuchKey", "404"):
            return ArtifactError(f"a file in bucket {self.name} was replaced while it was being read: run this again")
        return ArtifactError(f"{where} answered {code} for bucket {self.name}")


@asynccontextmanager
async def open_bucket(name: str, store: StoreSettings) -> AsyncIterator[Bucket]:
    """Connect to a bucket of artifacts."""
    async with open_client(store) as client:
        yield Bucket(client, name, store.minio_endpoint)
