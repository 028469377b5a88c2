"""consumer/store/s3.py: boto's own client, real servers and breaking peers say whether it is right."""

import asyncio
import gzip
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError
from types_aiobotocore_s3 import S3Client

from consumer.errors import Unavailable
from consumer.operate.seaweed_server import SeaweedServer
from consumer.settings import StoreSettings, load
from consumer.store.failures import BROKEN_OFF, error_code, status
from consumer.store.s3 import S3, open_s3
from tests.support.minio import MinioServer
from tests.support.s3 import S3Server, new_bucket, s3_requests

HARD_KEYS = [
    "plain.wav",
    "with space & more + 100%.wav",
    "already%20encoded%2Fonce",
    "quotes'\"`.wav",
    "query?versionId=1&x=y#fragment",
    "Größe/日本語/🎙.wav",
    "semi;colon:comma,at@equals=dollar$bang!(paren)[bracket]{brace}",
    "tilde~dot.minus-under_score*star",
    "a|b^c<d>e",
    "k" * 200 + "/" + "ü" * 100,
]
METADATA = {"x-amz-meta-note": "two  spaces, and one at the end ", "x-amz-meta-etag": '"quoted"'}


@pytest.fixture(params=["SeaweedFS", "MinIO"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    server: S3Server = request.getfixturevalue("s3" if request.param == "SeaweedFS" else "minio")
    return server


@pytest.fixture
async def bucket(client: S3Client) -> str:
    return await new_bucket(client)


@pytest.mark.parametrize("key", HARD_KEYS)
async def test_any_key_names_what_it_names_for_boto(requests: S3, client: S3Client, bucket: str, key: str) -> None:
    body = key.encode()
    await requests.put(bucket, key, body, content_type="audio/x-test; a=b", headers=METADATA)
    by_boto = await client.get_object(Bucket=bucket, Key=key)
    assert await by_boto["Body"].read() == body
    assert by_boto["ContentType"] == "audio/x-test; a=b"
    assert by_boto["Metadata"]["etag"] == '"quoted"'
    assert await requests.read(bucket, key) == (body, by_boto["ETag"])
    assert (await requests.head(bucket, key))["Content-Length"] == str(len(body))
    await requests.delete(bucket, key)
    await requests.delete(bucket, key)
    assert await requests.read(bucket, key) is None


async def test_a_version_is_asked_for(requests: S3, client: S3Client, bucket: str) -> None:
    await client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = (await client.put_object(Bucket=bucket, Key="a", Body=b"first"))["VersionId"]
    await client.put_object(Bucket=bucket, Key="a", Body=b"second")
    async with requests.get(bucket, "a", version_id=first) as answer:
        assert await answer.read_chunk() == b"first"
        assert answer.headers["x-amz-version-id"] == first
    assert (await requests.head(bucket, "a", version_id=first))["Content-Length"] == "5"


async def test_what_lies_there_compressed_comes_as_it_lies_there(requests: S3, client: S3Client, bucket: str) -> None:
    body = gzip.compress(b"words")
    await client.put_object(Bucket=bucket, Key="a", Body=body, ContentEncoding="gzip")
    found = await requests.read(bucket, "a")
    assert found is not None
    assert found[0] == body


async def test_conditional_writes(requests: S3, client: S3Client, bucket: str) -> None:
    async def put(body: bytes, condition: dict[str, str]) -> str:
        try:
            await requests.put(bucket, "a", body, content_type="text/plain", headers=condition)
        except ClientError as error:
            return error_code(error)
        return "written"

    assert await put(b"1", {"If-None-Match": "*"}) == "written"
    assert await put(b"2", {"If-None-Match": "*"}) == "PreconditionFailed"
    etag = (await client.head_object(Bucket=bucket, Key="a"))["ETag"]
    assert await put(b"3", {"If-Match": etag}) == "written"
    assert await put(b"4", {"If-Match": etag}) == "PreconditionFailed"
    assert await requests.read(bucket, "a") == (b"3", (await client.head_object(Bucket=bucket, Key="a"))["ETag"])


Ask = Callable[[Any, str], Awaitable[Any]]


async def _read_whole(requests: S3, bucket: str, key: str, **options: Any) -> None:
    async with requests.get(bucket, key, **options):
        pass


OTHER = {"If-Match": '"00000000000000000000000000000000"'}
REFUSALS: dict[str, tuple[Ask, Ask]] = {
    "no such key": (
        lambda s3, bucket: _read_whole(s3, bucket, "absent"),
        lambda boto, bucket: boto.get_object(Bucket=bucket, Key="absent"),
    ),
    "no such bucket": (
        lambda s3, _: _read_whole(s3, "no-such-bucket", "absent"),
        lambda boto, _: boto.get_object(Bucket="no-such-bucket", Key="absent"),
    ),
    "no such version": (
        lambda s3, bucket: _read_whole(s3, bucket, "a", version_id="00000000-0000-0000-0000-000000000000"),
        lambda boto, bucket: boto.get_object(Bucket=bucket, Key="a", VersionId="00000000-0000-0000-0000-000000000000"),
    ),
    "another ETag": (
        lambda s3, bucket: _read_whole(s3, bucket, "a", headers=OTHER),
        lambda boto, bucket: boto.get_object(Bucket=bucket, Key="a", IfMatch=OTHER["If-Match"]),
    ),
    "no such key, without a body": (
        lambda s3, bucket: s3.head(bucket, "absent"),
        lambda boto, bucket: boto.head_object(Bucket=bucket, Key="absent"),
    ),
    "another ETag, without a body": (
        lambda s3, bucket: s3.head(bucket, "a", headers=OTHER),
        lambda boto, bucket: boto.head_object(Bucket=bucket, Key="a", IfMatch=OTHER["If-Match"]),
    ),
    "no such bucket, without a body": (
        lambda s3, _: s3.head("no-such-bucket"),
        lambda boto, _: boto.head_bucket(Bucket="no-such-bucket"),
    ),
    "written already": (
        lambda s3, bucket: s3.put(bucket, "a", b"", content_type="text/plain", headers={"If-None-Match": "*"}),
        lambda boto, bucket: boto.put_object(Bucket=bucket, Key="a", IfNoneMatch="*"),
    ),
    "a bucket of that name": (
        lambda s3, bucket: s3.create_bucket(bucket),
        lambda boto, bucket: boto.create_bucket(Bucket=bucket),
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_reads_as_botos(requests: S3, client: S3Client, bucket: str, name: str) -> None:
    await client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    await client.put_object(Bucket=bucket, Key="a", Body=b"1")
    ours, botos = REFUSALS[name]
    with pytest.raises(ClientError) as from_boto:
        await botos(client, bucket)
    with pytest.raises(ClientError) as from_us:
        await ours(requests, bucket)
    assert error_code(from_us.value) == error_code(from_boto.value)
    assert status(from_us.value) == status(from_boto.value)


@pytest.mark.parametrize(("changed", "code"), [("access", "InvalidAccessKeyId"), ("secret", "SignatureDoesNotMatch")])
async def test_wrong_keys_are_told_apart(minio: MinioServer, changed: str, code: str) -> None:
    class Wrong:
        access_key = "wrong" if changed == "access" else minio.access_key
        secret_key = "wrong-secret" if changed == "secret" else minio.secret_key
        endpoint = minio.endpoint

    async with s3_requests(Wrong()) as requests:
        with pytest.raises(ClientError) as caught:
            await requests.read("bucket", "key")
    assert error_code(caught.value) == code


OK = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 2\r\n\r\nok'


def _failing(line: str, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (line.encode(), len(body), body)


@asynccontextmanager
async def answering(*answers: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[S3, list[bytes]]]:
    """A peer that gives one answer a connection, the last one for ever; and the heads of the requests it had."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answers[min(len(heads), len(answers)) - 1])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]

    class Peer:
        access_key, secret_key, endpoint = "access", "secret", f"http://127.0.0.1:{port}"

    async with server, s3_requests(Peer()) as requests:
        with patch("consumer.store.s3.LONGEST_PAUSE_SECONDS", 0):
            yield requests, heads


@pytest.mark.parametrize(
    "first",
    [
        b"",
        _failing("500 Internal Server Error"),
        _failing("503 Slow Down"),
        _failing("429 Too Many Requests"),
        _failing("400 Bad Request", b"<Error><Code>RequestTimeout</Code><Message>m</Message></Error>"),
    ],
    ids=["closed", "500", "503", "429", "timed out there"],
)
async def test_one_failure_of_the_server_is_hidden(first: bytes) -> None:
    async with answering(first, OK) as (requests, heads):
        assert await requests.read("bucket", "key") == (b"ok", '"e"')
    assert len(heads) == 2


async def test_two_failures_are_not() -> None:
    async with answering(b"") as (requests, _):
        with pytest.raises(BROKEN_OFF):
            await requests.delete("bucket", "key")
    async with answering(_failing("502 Bad Gateway", b"<html>")) as (requests, heads):
        told = r"deleting it at http://.* failed: 502: Bad Gateway"
        with pytest.raises(Unavailable, match=told), requests.asking("deleting it"):
            await requests.delete("bucket", "key")
        assert len(heads) == 2


@pytest.mark.parametrize("line", ["400 Bad Request", "403 Forbidden", "404 Not Found", "412 Precondition Failed"])
async def test_what_would_not_change_is_asked_once(line: str) -> None:
    async with answering(_failing(line), OK) as (requests, heads):
        with pytest.raises(ClientError):
            await requests.delete("bucket", "key")
    assert len(heads) == 1


async def test_another_region_is_an_outage_that_says_so() -> None:
    moved = _failing("301 Moved Permanently", b"<Error><Code>PermanentRedirect</Code><Message>m</Message></Error>")
    async with answering(moved) as (requests, _):
        with pytest.raises(Unavailable, match="MINIO_REGION"), requests.asking("reading it"):
            await requests.read("bucket", "key")


async def test_a_proxy_of_the_environment_is_used_where_it_is_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(OK) as (plain, heads):
        proxy = plain.endpoint_url.replace("http://", "http://user:pass%40word@")
        monkeypatch.setenv("http_proxy", proxy)
        for bypassed in ("elsewhere.invalid", "store.invalid"):
            monkeypatch.setenv("no_proxy", bypassed)

            class Store:
                access_key, secret_key, endpoint = "access", "secret", "http://store.invalid:9000"

            async with s3_requests(Store()) as requests:
                if bypassed == "store.invalid":
                    with pytest.raises(BROKEN_OFF):
                        await requests.delete("bucket", "key")
                else:
                    await requests.delete("bucket", "key")
        (head,) = heads
    assert head.startswith(b"DELETE http://store.invalid:9000/bucket/key HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNzQHdvcmQ=\r\n" in head


async def test_the_region_names_the_place_of_a_new_bucket(s3: SeaweedServer) -> None:
    bodies: list[tuple[str, bytes]] = []

    async def note(method: str, _url: str, _headers: object, body: bytes) -> object:
        bodies.append((method, body))
        raise TimeoutError

    for region in ("us-east-1", "eu-central-1"):
        settings = load(
            StoreSettings,
            minio_endpoint=s3.endpoint,
            minio_access_key=s3.access_key,
            minio_secret_key=s3.secret_key,
            minio_region=region,
        )
        async with open_s3(settings) as requests:
            with (
                patch.object(requests, "_attempt", note),
                patch("consumer.store.s3.LONGEST_PAUSE_SECONDS", 0),
                pytest.raises(TimeoutError),
            ):
                await requests.create_bucket("bucket")
    assert bodies[0] == ("PUT", b"")
    assert b"<LocationConstraint>eu-central-1</LocationConstraint>" in bodies[-1][1]


def _certified(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost, and a server's context with it."""
    key, certificate = directory / "key.pem", directory / "ca.pem"
    request = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    command = ["openssl", *request.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate with")
async def test_https_trusts_the_ca_file_and_nobody_else(tmp_path: Path) -> None:
    certificate, context = _certified(tmp_path)
    async with answering(OK, context=context) as (plain, _):
        endpoint = plain.endpoint_url.replace("http://127.0.0.1", "https://localhost")
        for ca_file in (certificate, None):
            settings = load(
                StoreSettings,
                minio_endpoint=endpoint,
                minio_access_key="a",
                minio_secret_key="b",
                minio_ca_file=ca_file,
            )
            async with open_s3(settings) as requests:
                if ca_file:
                    assert await requests.read("bucket", "key") == (b"ok", '"e"')
                else:
                    with pytest.raises(Unavailable, match="certificate"), requests.asking("reading it"):
                        await requests.read("bucket", "key")
