"""consumer/store/objects.py against a real S3 server, and against peers that break the connection."""

import asyncio
import hashlib
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from types_aiobotocore_s3 import S3Client

from consumer.errors import Reason, Rejected, Stage, Unavailable
from consumer.operate.seaweed_server import SeaweedServer
from consumer.settings import StoreSettings, load
from consumer.store.objects import Fetched, ObjectStore
from consumer.store.s3 import open_client
from schemas import AudioUploaded
from tests.support.minio import MinioServer
from tests.support.s3 import new_bucket, s3_client

KEY = "calls/Größe & más + 100%.wav"
MIB = 1024 * 1024


@asynccontextmanager
async def store_at(
    endpoint: str,
    *,
    access_key: str = "tests",
    secret_key: str = "tests-secret",  # noqa: S107 - of the fixture's server
    read_timeout_seconds: float = 30,
) -> AsyncIterator[ObjectStore]:
    settings = load(
        StoreSettings,
        minio_endpoint=endpoint,
        minio_access_key=access_key,
        minio_secret_key=secret_key,
        minio_connect_timeout_seconds=2,
        minio_read_timeout_seconds=read_timeout_seconds,
    )
    async with open_client(settings) as client:
        yield ObjectStore(client)


@pytest.fixture
async def client(s3: SeaweedServer) -> AsyncIterator[S3Client]:
    async with s3_client(s3) as client:
        yield client


@pytest.fixture
async def bucket(client: S3Client) -> str:
    return await new_bucket(client)


@pytest.fixture
async def store(s3: SeaweedServer) -> AsyncIterator[ObjectStore]:
    async with store_at(s3.endpoint, access_key=s3.access_key, secret_key=s3.secret_key) as store:
        yield store


def is_empty(directory: Path) -> bool:
    return not list(directory.iterdir())


async def fetch(store: ObjectStore, upload: AudioUploaded, tmp_path: Path, max_bytes: int = 100 * MIB) -> Fetched:
    return await store.fetch(upload, max_bytes=max_bytes, spool_dir=tmp_path)


@pytest.mark.parametrize("size", [1, MIB - 1, MIB, MIB + 1, 5 * MIB + 12345])
async def test_fetched_bytes_are_the_object(
    store: ObjectStore, client: S3Client, bucket: str, tmp_path: Path, size: int
) -> None:
    body = hashlib.shake_128(str(size).encode()).digest(size)
    put = await client.put_object(Bucket=bucket, Key=KEY, Body=body)
    fetched = await fetch(store, AudioUploaded(bucket=bucket, key=KEY), tmp_path)
    with fetched.spool as spool:
        assert spool.read() == body
        assert spool.seek(0) == 0
    assert fetched.size_bytes == size
    assert fetched.sha256 == hashlib.sha256(body).hexdigest()
    assert fetched.etag == put["ETag"].strip('"')
    assert is_empty(tmp_path)


async def test_an_etag_pins_the_fetch(store: ObjectStore, client: S3Client, bucket: str, tmp_path: Path) -> None:
    first = await client.put_object(Bucket=bucket, Key=KEY, Body=b"first")
    etag = first["ETag"].strip('"')
    pinned = AudioUploaded(bucket=bucket, key=KEY, etag=etag)
    fetched = await fetch(store, pinned, tmp_path)
    with fetched.spool as spool:
        assert spool.read() == b"first"
    await client.put_object(Bucket=bucket, Key=KEY, Body=b"second")
    with pytest.raises(Rejected, match=etag) as caught:
        await fetch(store, pinned, tmp_path)
    assert caught.value.reason is Reason.SUPERSEDED


async def test_a_version_pins_the_fetch(store: ObjectStore, client: S3Client, bucket: str, tmp_path: Path) -> None:
    await client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = await client.put_object(Bucket=bucket, Key=KEY, Body=b"first")
    await client.put_object(Bucket=bucket, Key=KEY, Body=b"second")
    upload = AudioUploaded(bucket=bucket, key=KEY, version_id=first["VersionId"], etag=first["ETag"].strip('"'))
    fetched = await fetch(store, upload, tmp_path)
    with fetched.spool as spool:
        assert spool.read() == b"first"
    assert fetched.version_id == first["VersionId"]


async def test_head_tells_the_facts(store: ObjectStore, client: S3Client, bucket: str) -> None:
    put = await client.put_object(Bucket=bucket, Key=KEY, Body=b"1234", ContentType="audio/wav")
    facts = await store.head(bucket, KEY)
    assert facts.etag == put["ETag"].strip('"')
    assert facts.size_bytes == 4
    assert facts.content_type == "audio/wav"
    assert facts.version_id is None


async def test_a_missing_object_is_rejected(store: ObjectStore, bucket: str, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="no object") as caught:
        await fetch(store, AudioUploaded(bucket=bucket, key=KEY), tmp_path)
    assert (caught.value.reason, caught.value.stage) == (Reason.MISSING, Stage.FETCH)
    with pytest.raises(Rejected) as caught:
        await store.head(bucket, KEY)
    assert caught.value.reason is Reason.MISSING


async def test_a_missing_version_is_rejected(store: ObjectStore, client: S3Client, bucket: str, tmp_path: Path) -> None:
    await client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = await client.put_object(Bucket=bucket, Key=KEY, Body=b"first")
    await client.delete_object(Bucket=bucket, Key=KEY, VersionId=first["VersionId"])
    with pytest.raises(Rejected, match=first["VersionId"]) as caught:
        await fetch(store, AudioUploaded(bucket=bucket, key=KEY, version_id=first["VersionId"]), tmp_path)
    assert caught.value.reason is Reason.MISSING


async def test_an_object_without_bytes_is_rejected(
    store: ObjectStore, client: S3Client, bucket: str, tmp_path: Path
) -> None:
    await client.put_object(Bucket=bucket, Key=KEY, Body=b"")
    with pytest.raises(Rejected) as caught:
        await fetch(store, AudioUploaded(bucket=bucket, key=KEY), tmp_path)
    assert caught.value.reason is Reason.EMPTY


async def test_the_limit_of_bytes_is_exact(store: ObjectStore, client: S3Client, bucket: str, tmp_path: Path) -> None:
    await client.put_object(Bucket=bucket, Key=KEY, Body=b"x" * 1000)
    upload = AudioUploaded(bucket=bucket, key=KEY)
    (await fetch(store, upload, tmp_path, max_bytes=1000)).spool.close()
    with pytest.raises(Rejected, match="MAX_OBJECT_BYTES") as caught:
        await fetch(store, upload, tmp_path, max_bytes=999)
    assert caught.value.reason is Reason.TOO_LARGE


async def test_a_missing_bucket_is_an_outage(store: ObjectStore, s3: SeaweedServer, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no-such-bucket") as caught:
        await fetch(store, AudioUploaded(bucket="no-such-bucket", key=KEY), tmp_path)
    assert caught.value.dependency == "store"
    assert s3.endpoint in caught.value.message
    with pytest.raises(Unavailable, match="create the bucket"):
        await store.head("no-such-bucket", KEY)


@pytest.mark.parametrize(("access_key", "named"), [("nobody", "MINIO_ACCESS_KEY"), ("tests", "MINIO_SECRET_KEY")])
async def test_wrong_credentials_are_an_outage(
    s3: SeaweedServer, bucket: str, tmp_path: Path, access_key: str, named: str
) -> None:
    async with store_at(s3.endpoint, access_key=access_key, secret_key="wrong") as store:
        with pytest.raises(Unavailable, match=named):
            await fetch(store, AudioUploaded(bucket=bucket, key=KEY), tmp_path)
        with pytest.raises(Unavailable, match="MINIO_ACCESS_KEY"):
            await store.head(bucket, KEY)


async def test_a_spool_that_cannot_be_written_is_an_outage_of_the_disk(
    store: ObjectStore, client: S3Client, bucket: str, tmp_path: Path
) -> None:
    await client.put_object(Bucket=bucket, Key=KEY, Body=b"x" * 1000)
    with pytest.raises(Unavailable, match="SPOOL_DIR") as caught:
        await fetch(store, AudioUploaded(bucket=bucket, key=KEY), tmp_path / "absent")
    assert caught.value.dependency == "disk"


async def test_a_spool_that_fills_up_is_an_outage_of_the_disk(
    store: ObjectStore, client: S3Client, bucket: str, tmp_path: Path
) -> None:
    await client.put_object(Bucket=bucket, Key=KEY, Body=b"x" * (3 * MIB))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, before[1]))
    try:
        with pytest.raises(Unavailable, match=str(tmp_path)) as caught:
            await fetch(store, AudioUploaded(bucket=bucket, key=KEY), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.dependency == "disk"


async def test_nobody_listening_is_an_outage(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with store_at(endpoint) as store:
            with pytest.raises(Unavailable, match="MINIO_ENDPOINT"):
                await fetch(store, AudioUploaded(bucket="audio", key=KEY), tmp_path)


async def test_an_unknown_host_is_an_outage(tmp_path: Path) -> None:
    async with store_at("http://store.invalid:9000") as store:
        with pytest.raises(Unavailable, match=r"store\.invalid"):
            await fetch(store, AudioUploaded(bucket="audio", key=KEY), tmp_path)


@pytest.mark.parametrize(
    ("key", "version_id"),
    [("../a.wav", None), ("a//b.wav", None), ("a/", None), (KEY, "1"), (KEY, "11111111-1111-1111-1111-111111111111")],
)
async def test_what_minio_can_never_have_is_no_outage(
    minio: MinioServer, tmp_path: Path, key: str, version_id: str | None
) -> None:
    async with s3_client(minio) as client:
        bucket = await new_bucket(client)
        await client.put_object(Bucket=bucket, Key=KEY, Body=b"1")
    async with store_at(minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key) as store:
        with pytest.raises(Rejected) as caught:
            await fetch(store, AudioUploaded(bucket=bucket, key=key, version_id=version_id), tmp_path)
        assert caught.value.reason is Reason.MISSING
        if version_id:
            with pytest.raises(Rejected):
                await store.head(bucket, key, version_id)


@asynccontextmanager
async def peer(answer: bytes, *, then_close: bool) -> AsyncIterator[str]:
    """A server that reads a request, sends these bytes, and closes the connection or falls silent."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if not then_close:
            await done.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        done.set()
        server.close()
        await server.wait_closed()


HALF = b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: "e"\r\n\r\n' + b"x" * 500


@pytest.mark.parametrize(
    ("answer", "then_close"),
    [
        pytest.param(HALF, True, id="broken off in the body"),
        pytest.param(HALF, False, id="silent in the body"),
        pytest.param(b"", True, id="broken off before the answer"),
        pytest.param(b"", False, id="silent before the answer"),
        pytest.param(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n", True, id="503"),
    ],
)
async def test_a_broken_store_is_an_outage(tmp_path: Path, answer: bytes, then_close: bool) -> None:
    async with peer(answer, then_close=then_close) as endpoint, store_at(endpoint, read_timeout_seconds=0.2) as store:
        with pytest.raises(Unavailable, match="audio/calls") as caught:
            await fetch(store, AudioUploaded(bucket="audio", key=KEY), tmp_path)
    assert caught.value.dependency == "store"
    assert is_empty(tmp_path)


async def test_a_body_of_unannounced_length_is_bounded_too(tmp_path: Path) -> None:
    head = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "e"\r\n\r\n'
    chunks = b"".join(b"10000\r\n" + b"x" * 0x10000 + b"\r\n" for _ in range(64))
    async with peer(head + chunks, then_close=False) as endpoint, store_at(endpoint) as store:
        with pytest.raises(Rejected, match="MAX_OBJECT_BYTES") as caught:
            await fetch(store, AudioUploaded(bucket="audio", key=KEY), tmp_path, max_bytes=2 * MIB)
    assert caught.value.reason is Reason.TOO_LARGE
