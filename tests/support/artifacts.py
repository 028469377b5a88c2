"""Artifact directories for tests, and a proxy that counts and cuts what goes through it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from consumer.engine.artifacts.digests import digest_file
from consumer.engine.artifacts.machine import BASELINE, CpuClass, Machine
from consumer.engine.artifacts.manifest import EngineFacts, FileFacts, Manifest, ModelFacts, Needs, write_manifest
from consumer.engine.artifacts.models import LIBRARIES, VAD_MODEL, directory_name, model_file
from consumer.engine.artifacts.progress import Advance, Unit
from consumer.settings import ModelSize, StoreSettings
from tests.support.s3 import S3Server

XEON = Machine("x86_64", BASELINE.features, (2, 36))
"""A machine with AVX2 and no more."""


def make_artifacts(
    parent: Path,
    size: ModelSize = "tiny.en",
    cpu_class: CpuClass = BASELINE,
    *,
    glibc: str = "2.27",
    model_bytes: int = 3_000_000,
) -> Path:
    """A directory that is whole by its manifest; its files are noise of the right names, cheap to send about."""
    directory = parent / directory_name(size, cpu_class.suffix)
    directory.mkdir(parents=True)
    noise = Random(f"{size} {cpu_class.name}")
    for name in (*LIBRARIES, VAD_MODEL):
        (directory / name).write_bytes(noise.randbytes(50_000))
    (directory / model_file(size, "q5_1")).write_bytes(noise.randbytes(model_bytes))
    files = {path.name: FileFacts(bytes=path.stat().st_size, sha256=digest_file(path)) for path in directory.iterdir()}
    write_manifest(
        directory,
        Manifest(
            recipe_sha256="0" * 64,
            engine=EngineFacts(
                version="1.8.5",
                origin="compiled",
                source="source.tar.gz",
                source_sha256="0" * 64,
                patches=(),
                compiler="none",
                flags=(),
                openmp=False,
            ),
            model=ModelFacts(
                size=size,
                multilingual=False,
                weights="noise",
                weights_sha256="1" * 64,
                files={"q5_1": model_file(size, "q5_1")},
                vad=VAD_MODEL,
            ),
            needs=Needs(
                architecture="x86_64",
                cpu_class=cpu_class.name,
                cpu_features=tuple(sorted(cpu_class.features)),
                glibc=glibc,
            ),
            files=files,
        ),
    )
    return directory


def store_settings(server: S3Server, endpoint: str | None = None, secret_key: str | None = None) -> StoreSettings:
    """Settings for a server of the fixtures, with time-outs for tests."""
    return StoreSettings.model_validate(
        {
            "minio_endpoint": endpoint or server.endpoint,
            "minio_access_key": server.access_key,
            "minio_secret_key": secret_key or server.secret_key,
            "minio_connect_timeout_seconds": 2,
            "minio_read_timeout_seconds": 10,
        }
    )


class Recorder:
    """A Progress that remembers what it was told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.notes: list[str] = []
        self.bytes = 0
        self._advanced = asyncio.Event()

    @contextmanager
    def task(self, what: str, total: int | None, unit: Unit = "bytes") -> Iterator[Advance]:  # noqa: ARG002
        self.tasks.append(what)
        yield self._advance

    def note(self, line: str) -> None:
        self.notes.append(line)

    def _advance(self, amount: int) -> None:
        self.bytes += amount
        self._advanced.set()

    async def reached(self, count: int) -> None:
        """Return when so many bytes have come."""
        while self.bytes < count:
            self._advanced.clear()
            await self._advanced.wait()


class Proxy:
    """Forwards connections to a server; can break the next answers and can hold answers back."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self.endpoint = ""
        self.answered_bytes = 0
        self.cuts: list[tuple[int, Callable[[], Awaitable[None]]]] = []
        """For each of the next large answers, after how many bytes its connection is cut, and what to wait for then."""
        self.stall_after: int | None = None
        """Answers stop for good after so many bytes of one connection."""
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection of a client."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        upstream_reader, upstream_writer = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
        sending = asyncio.create_task(_copy(reader, upstream_writer))
        try:
            await self._answer(upstream_reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            sending.cancel()
            for each in (writer, upstream_writer):
                each.transport.abort()
            self._connections.discard(task)

    async def _answer(self, upstream: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        passed = 0
        while chunk := await upstream.read(16_384):
            passed += len(chunk)
            if self.stall_after is not None and passed > self.stall_after:
                await asyncio.Event().wait()
            if self.cuts and passed > self.cuts[0][0]:
                _, until = self.cuts.pop(0)
                await until()
                return
            client.write(chunk)
            await client.drain()
            self.answered_bytes += len(chunk)

    async def close(self) -> None:
        """End all connections."""
        connections = set(self._connections)
        for task in connections:
            task.cancel()
        if connections:
            await asyncio.wait(connections)
        await asyncio.sleep(0)  # a transport is closed in the turn after it was aborted


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(16_384):
            writer.write(chunk)
            await writer.drain()


@asynccontextmanager
async def proxy_to(server: S3Server) -> AsyncIterator[Proxy]:
    """A proxy in front of an S3 server."""
    proxy = Proxy(server.endpoint)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.endpoint = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        listener.close()
        await proxy.close()
        await listener.wait_closed()
