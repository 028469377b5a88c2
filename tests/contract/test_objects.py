"""consumer/store/objects.py against a real S3 server, and against peers that break the connection."""

import asyncio
import hashlib
import resource
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from types_aiobotocore_s3 import S3Client

from consumer.errors import ObjectFault, Reason, Rejected, Unavailable
from consumer.operate.seaweed_server import SeaweedServer
from consumer.settings import StoreSettings, load
from consumer.store import s3 as store_s3
from consumer.store.objects import Fetched, ObjectStore
from consumer.store.s3 import open_s3
from schemas import AudioUploaded
from tests.support.minio import MinioServer
from tests.support.s3 import S3Server, lent_keys, new_bucket, s3_client, s3_requests

NO_KEYS = {"minio_access_key": "tests", "minio_secret_key": "tests-secret"}
KEY = "calls/Größe & más + 100%.wav"
MIB = 1024 * 1024


def keys_of(server: S3Server) -> dict[str, str]:
    return {"minio_access_key": server.access_key, "minio_secret_key": server.secret_key}


@asynccontextmanager
async def store_at(
    endpoint: str,
    keys: Mapping[str, str] = NO_KEYS,
    *,
    connect_timeout_seconds: float = 2,
    read_timeout_seconds: float = 30,
) -> AsyncIterator[ObjectStore]:
    settings = load(
        StoreSettings,
        minio_endpoint=endpoint,
        minio_connect_timeout_seconds=connect_timeout_seconds,
        minio_read_timeout_seconds=read_timeout_seconds,
        **keys,
    )
    async with open_s3(settings) as requests:
        yield ObjectStore(requests)


@pytest.fixture
async def bucket(client: S3Client) -> str:
    return await new_bucket(client)


@pytest.fixture
async def store(s3: SeaweedServer) -> AsyncIterator[ObjectStore]:
    async with store_at(s3.endpoint, keys_of(s3)) as store:
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
    facts = await store.head(AudioUploaded(bucket=bucket, key=KEY))
    assert facts.etag == put["ETag"].strip('"')
    assert facts.size_bytes == 4
    assert facts.content_type == "audio/wav"
    assert facts.version_id is None


async def test_head_is_pinned_too(store: ObjectStore, client: S3Client, bucket: str) -> None:
    await client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = await client.put_object(Bucket=bucket, Key=KEY, Body=b"first")
    await client.put_object(Bucket=bucket, Key=KEY, Body=b"newer")
    facts = await store.head(AudioUploaded(bucket=bucket, key=KEY, version_id=first["VersionId"]))
    assert (facts.etag, facts.version_id) == (first["ETag"].strip('"'), first["VersionId"])
    with pytest.raises(Rejected) as caught:
        await store.head(AudioUploaded(bucket=bucket, key=KEY, etag=facts.etag))
    assert caught.value.reason is Reason.SUPERSEDED


async def test_a_missing_object_is_a_fault_of_this_object(store: ObjectStore, bucket: str, tmp_path: Path) -> None:
    with pytest.raises(ObjectFault, match="no object") as caught:
        await fetch(store, AudioUploaded(bucket=bucket, key=KEY), tmp_path)
    assert caught.value.reason is Reason.MISSING
    with pytest.raises(ObjectFault) as caught:
        await store.head(AudioUploaded(bucket=bucket, key=KEY))
    assert caught.value.reason is Reason.MISSING


async def test_a_deleted_object_is_rejected(minio: MinioServer, tmp_path: Path) -> None:
    async with s3_client(minio) as client, s3_requests(minio) as requests:
        bucket = await new_bucket(client)
        await client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        await client.put_object(Bucket=bucket, Key=KEY, Body=b"first")
        deleted = await client.delete_object(Bucket=bucket, Key=KEY)
        store = ObjectStore(requests)
        for version_id in (None, deleted["VersionId"]):
            upload = AudioUploaded(bucket=bucket, key=KEY, version_id=version_id)
            with pytest.raises(Rejected) as caught:
                await fetch(store, upload, tmp_path)
            assert caught.value.reason is Reason.MISSING
            with pytest.raises(Rejected) as caught:
                await store.head(upload)
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
        await store.head(AudioUploaded(bucket="no-such-bucket", key=KEY))


@pytest.mark.parametrize(("access_key", "named"), [("nobody", "MINIO_ACCESS_KEY"), ("tests", "MINIO_SECRET_KEY")])
async def test_wrong_credentials_are_an_outage(
    s3: SeaweedServer, bucket: str, tmp_path: Path, access_key: str, named: str
) -> None:
    async with store_at(s3.endpoint, {"minio_access_key": access_key, "minio_secret_key": "wrong"}) as store:
        with pytest.raises(Unavailable, match=named):
            await fetch(store, AudioUploaded(bucket=bucket, key=KEY), tmp_path)
        with pytest.raises(Unavailable, match="MINIO_"):
            await store.head(AudioUploaded(bucket=bucket, key=KEY))


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
    [("../a.wav", None), ("a//b.wav", None), (KEY, "1"), (KEY, "11111111-1111-1111-1111-111111111111")],
)
async def test_what_minio_can_never_have_is_no_outage(
    minio: MinioServer, tmp_path: Path, key: str, version_id: str | None
) -> None:
    async with s3_client(minio) as client:
        bucket = await new_bucket(client)
        await client.put_object(Bucket=bucket, Key=KEY, Body=b"1")
    async with store_at(minio.endpoint, keys_of(minio)) as store:
        upload = AudioUploaded(bucket=bucket, key=key, version_id=version_id)
        with pytest.raises(Rejected) as caught:
            await fetch(store, upload, tmp_path)
        assert caught.value.reason is Reason.MISSING
        with pytest.raises(Rejected) as caught:
            await store.head(upload)
        assert caught.value.reason is Reason.MISSING


@pytest.mark.parametrize("key", ["../a.wav", "a/../b.wav", "a//b.wav", "./a", "a/", "?", "#x", "%2e%2e/a"])
async def test_no_key_is_an_outage(store: ObjectStore, bucket: str, tmp_path: Path, key: str) -> None:
    """Where something on the way rewrites a key, its signature is wrong: that must stop this record alone."""
    for ask in (
        store.head(AudioUploaded(bucket=bucket, key=key)),
        fetch(store, AudioUploaded(bucket=bucket, key=key), tmp_path),
    ):
        with pytest.raises((ObjectFault, Rejected)):
            await ask


def allowed_to_read(bucket: str, *, but: str | None = None) -> list[dict[str, str]]:
    """Statements of a policy of least privilege: no right to list."""
    every = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    one = {"Effect": "Deny", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/{but}"}
    return [every, one] if but else [every]


@asynccontextmanager
async def restricted(minio: MinioServer, *statements: dict[str, str]) -> AsyncIterator[ObjectStore]:
    """The store as somebody sees it who may do no more than this."""
    async with store_at(minio.endpoint, await lent_keys(minio, statements)) as store:
        yield store


@pytest.mark.parametrize("read_before", [True, False])
async def test_one_forbidden_object_is_no_outage(minio: MinioServer, tmp_path: Path, read_before: bool) -> None:
    async with s3_client(minio) as client:
        bucket = await new_bucket(client)
        await client.put_object(Bucket=bucket, Key="open.wav", Body=b"1")
        await client.put_object(Bucket=bucket, Key="hidden.wav", Body=b"1")
        async with restricted(minio, *allowed_to_read(bucket, but="hidden.wav")) as store:
            if read_before:
                (await fetch(store, AudioUploaded(bucket=bucket, key="open.wav"), tmp_path)).spool.close()
                await client.delete_object(Bucket=bucket, Key="open.wav")
            hidden = AudioUploaded(bucket=bucket, key="hidden.wav")
            for ask in (fetch(store, hidden, tmp_path), store.head(hidden)):
                with pytest.raises(ObjectFault, match=r"hidden\.wav.*AccessDenied") as caught:
                    await ask
                assert caught.value.reason is Reason.FORBIDDEN
            with pytest.raises(ObjectFault) as caught:
                await fetch(store, AudioUploaded(bucket=bucket, key="absent.wav"), tmp_path)
            assert caught.value.reason is Reason.MISSING


async def test_what_was_read_last_tells_a_forbidden_object_where_others_may_not_be_looked_for(
    minio: MinioServer, tmp_path: Path
) -> None:
    """As on AWS without ListBucket, where an object that is not there answers 403, too."""
    async with s3_client(minio) as client:
        bucket = await new_bucket(client)
        await client.put_object(Bucket=bucket, Key="calls/open.wav", Body=b"1")
        await client.put_object(Bucket=bucket, Key="hidden.wav", Body=b"1")
    readable = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/calls/*"}
    hidden = AudioUploaded(bucket=bucket, key="hidden.wav")
    async with restricted(minio, readable) as store:
        with pytest.raises(Unavailable):
            await fetch(store, hidden, tmp_path)
        (await fetch(store, AudioUploaded(bucket=bucket, key="calls/open.wav"), tmp_path)).spool.close()
        with pytest.raises(ObjectFault):
            await fetch(store, hidden, tmp_path)


async def test_a_forbidden_bucket_is_an_outage(minio: MinioServer, tmp_path: Path) -> None:
    async with s3_client(minio) as client:
        bucket, other = await new_bucket(client), await new_bucket(client)
        await client.put_object(Bucket=bucket, Key=KEY, Body=b"1")
    upload = AudioUploaded(bucket=bucket, key=KEY)
    async with restricted(minio, *allowed_to_read(other)) as store:
        with pytest.raises(Unavailable, match="MINIO_ACCESS_KEY"):
            await fetch(store, upload, tmp_path)
        with pytest.raises(Unavailable, match="MINIO_ACCESS_KEY"):
            await store.head(upload)


EMPTY_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SLOW_DOWN = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def peer(
    answer: bytes, *, then_close: bool, trickle: bool = False, to_probe: bytes = EMPTY_OK
) -> AsyncIterator[str]:
    """A server that reads a GET, sends these bytes, and closes the connection, trickles on or falls silent.

    HEAD, with which a bucket is probed, is answered by ``to_probe``.
    """
    done = asyncio.Event()
    serving: list[asyncio.Task[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.create_task(serve(reader, writer)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer_one(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client had enough
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"HEAD"):
            writer.write(to_probe)
        else:
            writer.write(answer)
            while trickle and not done.is_set():
                writer.write(b"x")
                with suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), 0.05)
            if not then_close:
                await done.wait()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        done.set()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*serving)


HALF = b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: "e"\r\n\r\n' + b"x" * 500
ENDLESS = b'HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nETag: "e"\r\n\r\n'
FAILS = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "then_close"),
    [
        pytest.param(b"", True, id="broken off before the answer"),
        pytest.param(b"", False, id="silent before the answer"),
        pytest.param(SLOW_DOWN, True, id="throttled"),
    ],
)
async def test_a_store_without_an_answer_is_an_outage(tmp_path: Path, answer: bytes, then_close: bool) -> None:
    async with peer(answer, then_close=then_close) as endpoint, store_at(endpoint, read_timeout_seconds=0.2) as store:
        with pytest.raises(Unavailable, match="audio/calls") as caught:
            await fetch(store, AudioUploaded(bucket="audio", key=KEY), tmp_path)
    assert caught.value.dependency == "store"
    assert is_empty(tmp_path)


@pytest.mark.parametrize(
    ("answer", "then_close"),
    [
        pytest.param(HALF, True, id="broken off in the body"),
        pytest.param(HALF, False, id="silent in the body"),
        pytest.param(FAILS, True, id="500"),
    ],
)
async def test_one_unreadable_object_is_an_outage_only_if_its_bucket_fails_too(
    tmp_path: Path, answer: bytes, then_close: bool
) -> None:
    upload = AudioUploaded(bucket="audio", key=KEY)
    for to_probe in (SLOW_DOWN, FAILS, b""):
        async with (
            peer(answer, then_close=then_close, to_probe=to_probe) as endpoint,
            store_at(endpoint, read_timeout_seconds=0.2) as store,
        ):
            with pytest.raises(Unavailable, match="audio/calls"):
                await fetch(store, upload, tmp_path)
    async with peer(answer, then_close=then_close) as endpoint, store_at(endpoint, read_timeout_seconds=0.2) as store:
        with pytest.raises(ObjectFault, match="audio/calls") as caught:
            await fetch(store, upload, tmp_path)
    assert caught.value.reason is Reason.UNREADABLE
    assert is_empty(tmp_path)


async def test_a_body_that_trickles_for_ever_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_s3, "_SLOWEST_BYTES_PER_SECOND", 1e9)
    async with (
        peer(ENDLESS, then_close=False, trickle=True) as endpoint,
        store_at(endpoint, connect_timeout_seconds=0.2, read_timeout_seconds=0.2) as store,
    ):
        with pytest.raises(ObjectFault, match="slow") as caught:
            await fetch(store, AudioUploaded(bucket="audio", key=KEY), tmp_path)
    assert caught.value.reason is Reason.UNREADABLE


async def test_headers_that_trickle_for_ever_are_an_outage(tmp_path: Path) -> None:
    async with (
        peer(b"HTTP/1.1 200 OK\r\nX: ", then_close=False, trickle=True) as endpoint,
        store_at(endpoint, connect_timeout_seconds=0.2, read_timeout_seconds=0.2) as store,
    ):
        with pytest.raises(Unavailable, match="took too long"):
            await fetch(store, AudioUploaded(bucket="audio", key=KEY), tmp_path)


async def test_a_body_of_unannounced_length_is_bounded_too(tmp_path: Path) -> None:
    head = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "e"\r\n\r\n'
    chunks = b"".join(b"10000\r\n" + b"x" * 0x10000 + b"\r\n" for _ in range(64))
    async with peer(head + chunks, then_close=False) as endpoint, store_at(endpoint) as store:
        with pytest.raises(Rejected, match="MAX_OBJECT_BYTES") as caught:
            await fetch(store, AudioUploaded(bucket="audio", key=KEY), tmp_path, max_bytes=2 * MIB)
    assert caught.value.reason is Reason.TOO_LARGE
