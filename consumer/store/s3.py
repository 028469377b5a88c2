"""The requests that the worker makes for each recording, straight over HTTP.

boto spends 1.5 ms or more of CPU time on a request, most of it on finding out anew each time where it goes and how
(endpoint rules, serialisation, parsing, user agent), and a recording takes three or four. Here a request is a method, a
path and some headers. What is hard is left to boto's parts: the signature (its SigV4 signer) and the reading of errors
(its parser), so a failed request raises the ClientError that boto's client would raise.

1. A request that got no answer, or one that says the server is at fault, is made once more after a random pause.
2. Every request is bounded in time as a whole: both attempts, the pause, and its bytes at the slowest rate allowed. The
   client's own time-outs bound each wait for bytes alone: a store that gives them one by one, or takes none, would keep
   a request open for ever.
3. Buckets are addressed by path; redirects are errors.
"""

import asyncio
import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass
from xml.etree import ElementTree

import aiohttp
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError
from botocore.httpsession import get_cert_path
from botocore.model import Shape
from botocore.parsers import create_parser
from yarl import URL

from consumer import __version__
from consumer.settings import StoreSettings
from consumer.store.failures import BROKEN_OFF, error_code, outages, status

ATTEMPTS = 2  # hides one lost connection; an outage is for the caller to wait out
LONGEST_PAUSE_SECONDS = 1.0  # before the second attempt
_TRY_AGAIN_STATUSES = {429, 500, 502, 503, 504}
_TRY_AGAIN_CODES = {"RequestTimeout", "SlowDown"}
MAX_CONNECTIONS = 100
_KEEP_ALIVE_SECONDS = 12
_SLOWEST_BYTES_PER_SECOND = 16 * 1024
_CHUNK_BYTES = 1024 * 1024

# What would be added by itself; nothing may come compressed, since an object's bytes are wanted as they are.
_SKIPPED_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"whisper-consumer/{__version__}"}

Headers = Mapping[str, str]
NO_HEADERS: Final[Headers] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    """An object that is being read. ``headers`` ignore the case of names."""

    headers: Headers
    _s3: "S3"
    _body: aiohttp.StreamReader

    async def read_chunk(self) -> bytes:
        """Up to 1 MiB of the body, empty at its end; raises one of BROKEN_OFF where it ends too early or stalls.

        The network gives pieces of some kilobytes, each too small for whatever is done with a chunk.
        """
        chunk = bytearray()
        async with self._s3.in_time(_CHUNK_BYTES):
            while len(chunk) < _CHUNK_BYTES:
                piece = await self._body.read(_CHUNK_BYTES - len(chunk))
                if not piece:
                    break
                chunk += piece
        return bytes(chunk)


class S3:
    """One store, for the life of the worker: it keeps its connections open and is shared by all jobs.

    Every method raises ClientError where the store refuses, and one of BROKEN_OFF where no whole answer came. Header
    names and values are those of S3's HTTP interface; they are signed.
    """

    def __init__(self, settings: StoreSettings, session: aiohttp.ClientSession) -> None:
        self.endpoint_url = settings.minio_endpoint
        self._region = settings.minio_region
        self._signer = S3SigV4Auth(ReadOnlyCredentials(*settings.store_keys), "s3", settings.minio_region)
        self._session = session
        self._seconds = ATTEMPTS * (settings.minio_connect_timeout_seconds + settings.minio_read_timeout_seconds)

    def in_time(self, n_bytes: int = 0) -> asyncio.Timeout:
        """A time-out for a request and ``n_bytes``, rule 2."""
        return asyncio.timeout(self._seconds + LONGEST_PAUSE_SECONDS + n_bytes / _SLOWEST_BYTES_PER_SECOND)

    def asking(self, doing: str) -> AbstractContextManager[None]:
        """Make requests inside: every error becomes Unavailable. ``doing`` says what is tried, with bucket and key."""
        return outages(doing, self.endpoint_url)

    @asynccontextmanager
    async def get(
        self, bucket: str, key: str, *, version_id: str | None = None, headers: Headers = NO_HEADERS
    ) -> AsyncGenerator[Answer, None]:
        """An object, to be read inside."""
        response = await self._send("GET", bucket, key, version_id=version_id, headers=headers)
        async with response:
            yield Answer(response.headers, self, response.content)

    async def read(self, bucket: str, key: str) -> tuple[bytes, str] | None:
        """A small object of our own as a whole, and its ETag with quotes; None where there is none."""
        found = bytearray()
        try:
            async with self.get(bucket, key) as answer:
                while chunk := await answer.read_chunk():
                    found += chunk
                return bytes(found), answer.headers["ETag"]
        except ClientError as error:
            if error_code(error) != "NoSuchKey":
                raise
            return None

    async def head(
        self, bucket: str, key: str = "", *, version_id: str | None = None, headers: Headers = NO_HEADERS
    ) -> Headers:
        """The headers of an object; of the bucket where no key is given."""
        return await self._ask("HEAD", bucket, key, version_id=version_id, headers=headers)

    async def tags(self, bucket: str, key: str, *, version_id: str | None = None) -> Mapping[str, str]:
        """The tags of an object; a document that is none of S3's has none."""
        async with await self._send("GET", bucket, key, version_id=version_id, of="tagging") as response:
            answer = Answer(response.headers, self, response.content)
            return _tags(await answer.read_chunk())

    async def put(
        self, bucket: str, key: str, body: bytes, *, content_type: str, headers: Headers = NO_HEADERS
    ) -> None:
        """Write an object."""
        await self._ask("PUT", bucket, key, headers={"Content-Type": content_type, **headers}, body=body)

    async def delete(self, bucket: str, key: str) -> None:
        """Delete an object; that there is none is no error."""
        await self._ask("DELETE", bucket, key)

    async def create_bucket(self, bucket: str) -> None:
        """Create a bucket in the region of the settings."""
        # S3's first region is the one that must not be named.
        place = f"<LocationConstraint>{self._region}</LocationConstraint>" if self._region != "us-east-1" else ""
        namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
        body = f'<CreateBucketConfiguration xmlns="{namespace}">{place}</CreateBucketConfiguration>' if place else ""
        await self._ask("PUT", bucket, body=body.encode())

    async def _ask(self, *request: str, **options: Any) -> Headers:
        """Make a request whose answer is in its headers."""
        async with await self._send(*request, **options) as response:
            return response.headers

    async def _send(
        self,
        method: str,
        bucket: str,
        key: str = "",
        *,
        version_id: str | None = None,
        headers: Headers = NO_HEADERS,
        body: bytes = b"",
        of: str = "",
    ) -> aiohttp.ClientResponse:
        """The answer of a store that did what it was asked for, rules 1 and 2. ``of`` names a part of an object."""
        path = f"/{quote(bucket, safe='')}" + (f"/{quote(key)}" if key else "")
        parts = [of] if of else []
        if version_id:
            parts.append(f"versionId={quote(version_id, safe='')}")
        query = f"?{'&'.join(parts)}" if parts else ""
        url = f"{self.endpoint_url}{path}{query}"
        async with self.in_time(len(body)):
            for attempts_left in reversed(range(ATTEMPTS)):
                try:
                    return await self._attempt(method, url, headers, body)
                except ClientError as error:
                    again = status(error) in _TRY_AGAIN_STATUSES or error_code(error) in _TRY_AGAIN_CODES
                    if not (again and attempts_left):
                        raise
                except BROKEN_OFF:
                    if not attempts_left:
                        raise
                await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))  # noqa: S311 - no secret hangs on it
        raise AssertionError("unreachable")

    async def _attempt(self, method: str, url: str, headers: Headers, body: bytes) -> aiohttp.ClientResponse:
        signed = AWSRequest(method, url, headers=headers, data=body)
        self._signer.add_auth(signed)
        response = await self._session.request(
            method,
            URL(url, encoded=True),  # as it was signed
            headers=[*_HEADERS.items(), *signed.headers.items()],
            data=body or None,
            allow_redirects=False,
        )
        if 200 <= response.status < 300:
            return response
        async with response:
            answer = Answer(response.headers, self, response.content)
            raise ClientError(_parsed(response, await answer.read_chunk()), method)


@asynccontextmanager
async def open_s3(settings: StoreSettings) -> AsyncIterator[S3]:
    """Make no request yet. Raises OSError where the CA file cannot be read."""
    trusted = ssl.create_default_context(cafile=settings.minio_ca_file)
    if not settings.minio_ca_file:  # the system's CAs, and the public ones, for a system that has none
        trusted.load_verify_locations(cafile=get_cert_path(verify=True))
    connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE_SECONDS, ssl=trusted)
    timeout = aiohttp.ClientTimeout(
        total=None,
        sock_connect=settings.minio_connect_timeout_seconds,
        sock_read=settings.minio_read_timeout_seconds,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_SKIPPED_HEADERS,
        proxy=_proxy(settings.minio_endpoint),
    ) as session:
        yield S3(settings, session)


def _tags(document: bytes) -> dict[str, str]:
    """Tags in S3's XML, with whatever namespace."""
    try:
        root = ElementTree.fromstring(document)  # noqa: S314 - expat bounds what entities may grow to
    except ElementTree.ParseError:
        return {}
    pairs = ({part.tag.rsplit("}", 1)[-1]: part.text or "" for part in tag} for tag in root.iter() if len(tag) == 2)
    return {pair["Key"]: pair["Value"] for pair in pairs if pair.keys() == {"Key", "Value"}}


def _proxy(endpoint_url: str) -> str | None:
    """What HTTP_PROXY, HTTPS_PROXY and NO_PROXY say. Looked up here once: aiohttp would do so in a thread each time."""
    endpoint = urlsplit(endpoint_url)
    return None if proxy_bypass(endpoint.netloc) else getproxies().get(endpoint.scheme)


def _parsed(response: aiohttp.ClientResponse, body: bytes) -> Any:
    """An error as boto understands it."""
    answer = {"status_code": response.status, "headers": response.headers, "body": body}
    return create_parser("rest-xml").parse(answer, Shape("Error", {"type": "structure"}))
