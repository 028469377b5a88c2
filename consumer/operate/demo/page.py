"""The demo's page: takes recordings, shows how far they are, and their transcripts as they are played.

It listens on this machine alone. Requests must name this machine (DNS rebinding) and, where a browser says from where
they come, come from the page itself: no other page can upload or read.
"""

import asyncio
import mimetypes
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson
from aiohttp import web
from aiokafka.errors import KafkaError
from botocore.exceptions import BotoCoreError, ClientError

from consumer.formats import FORMATS, Format, render
from consumer.observe.pages import asked_by_a_name_of_this_machine, security_headers
from consumer.operate.demo.board import Board, Recording
from consumer.operate.network import LOOPBACK
from consumer.operate.printable import on_one_line
from consumer.settings import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef

MAX_UPLOAD_BYTES: Final[int] = WorkerSettings.model_fields["max_object_bytes"].default
"""As the worker has it."""
MAX_NAME_CHARACTERS: Final = 200
STALL_SECONDS: Final = 60.0
"""How long an upload may send nothing."""
HEARTBEAT_SECONDS: Final = 5.0
"""A follower who has left is noticed so soon."""

_TEMPLATE: Final = files("consumer.operate.demo").joinpath("page.html").read_text(encoding="utf-8")
HEADERS: Final = security_headers(_TEMPLATE, "media-src 'self'")
_CHUNK_BYTES: Final = 256 * 1024
_CLOSE_TIMEOUT_SECONDS: Final = 1.0
_RANGE: Final = re.compile(r"bytes=\d*-\d*")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Recordings(Protocol):
    """Where recordings are stored, announced and read back."""

    async def upload_stream(self, key: str, chunks: "AsyncIterable[bytes]") -> None: ...
    async def announce(self, key: str) -> object: ...
    async def read(self, key: str, byte_range: str | None) -> "GetObjectOutputTypeDef": ...


class TooLargeError(Exception):
    """An upload has more bytes than it may."""


@asynccontextmanager
async def served_page(
    board: Board, recordings: Recordings, *, max_upload_bytes: int = MAX_UPLOAD_BYTES
) -> AsyncIterator[str]:
    """Serve on a free port of this machine. Gives the page's address. Raises OSError."""
    page = _Page(board, recordings, max_upload_bytes)
    application = web.Application(middlewares=[_guard])
    application.add_routes(
        [
            web.get("/", page.page),
            web.get("/events", page.events, allow_head=False),
            web.post("/recordings", page.take),
            web.get(r"/recordings/{number:\d{1,9}}/media", page.media, allow_head=False),
            web.get(r"/recordings/{number:\d{1,9}}/{format}", page.document),
        ]
    )

    async def close_board(_: web.Application) -> None:
        board.close()

    application.on_shutdown.append(close_board)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_CLOSE_TIMEOUT_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, 0).start()
        yield f"http://{LOOPBACK}:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not asked_by_a_name_of_this_machine(request):
        return _refused(403, "not allowed: open it as http://localhost, with the port that the demo has told")
    if not _comes_from_the_page(request):
        return _refused(403, "not allowed: asked by another page")
    return await handler(request)


def _comes_from_the_page(request: web.Request) -> bool:
    """Whether it is asked by the page, by a person who opens it, or by a program that is no browser.

    A link elsewhere may lead to the page, but nothing else.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if request.path == "/" and request.method == "GET":
        return True
    if site is not None and site not in {"same-origin", "none"}:
        return False
    return origin is None or origin == f"http://{request.headers['Host']}"


class _Page:
    """The handlers."""

    def __init__(self, board: Board, recordings: Recordings, max_upload_bytes: int) -> None:
        self._board = board
        self._recordings = recordings
        self._max_upload_bytes = max_upload_bytes

    async def page(self, request: web.Request) -> web.Response:  # noqa: ARG002
        text = _TEMPLATE.replace("{{max_bytes}}", str(self._max_upload_bytes)).replace(
            "{{max_size}}", escape(size_of(self._max_upload_bytes))
        )
        return web.Response(text=text, content_type="text/html", headers=HEADERS)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Every recording as it is now, then whatever changes (server-sent events)."""
        stream = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        with suppress(ConnectionError):
            await stream.prepare(request)
            await self._follow(stream)
        return stream

    async def _follow(self, stream: web.StreamResponse) -> None:
        told: dict[int, tuple[int, int]] = {}  # changes and passages of each recording
        while not self._board.is_closed:
            change = self._board.next_change
            for recording in self._board:
                changes, passages = told.get(recording.number, (0, 0))
                if recording.changes != changes:
                    # What is said while this is written is said in the next round.
                    told[recording.number] = (recording.changes, len(recording.passages))
                    await stream.write(b"data: " + orjson.dumps(_seen(recording, passages)) + b"\n\n")
            try:
                await asyncio.wait_for(change.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                await stream.write(b": still here\n\n")

    async def take(self, request: web.Request) -> web.Response:
        """Store the body as a recording of the name in the query, and announce it."""
        if (request.content_length or 0) > self._max_upload_bytes:
            return _refused(413, self._too_large())
        recording = self._board.add(_name(request.query.get("name", "")), "uploading")
        try:
            await self._recordings.upload_stream(recording.key, self._chunks(request))
            await self._recordings.announce(recording.key)
        except TooLargeError:
            self._board.failed(recording, "too_large", self._too_large())
            return _refused(413, self._too_large())
        except TimeoutError:
            self._board.failed(recording, "", f"The upload has stalled: nothing came for {STALL_SECONDS:g} s.")
            return _refused(408, recording.message)
        except (BotoCoreError, ClientError, KafkaError) as error:
            self._board.failed(recording, "", f"It could not be stored or announced: {error}")
            return _refused(502, recording.message)
        except BaseException:  # the browser has left, or the demo ends
            self._board.failed(recording, "", "The upload was broken off.")
            raise
        self._board.uploaded(recording)
        return web.json_response({"number": recording.number}, status=201, headers=HEADERS)

    async def _chunks(self, request: web.Request) -> AsyncIterator[bytes]:
        taken = 0
        while chunk := await asyncio.wait_for(request.content.read(_CHUNK_BYTES), STALL_SECONDS):
            taken += len(chunk)
            if taken > self._max_upload_bytes:
                raise TooLargeError
            yield chunk

    def _too_large(self) -> str:
        return f"It is too large: a recording may have {size_of(self._max_upload_bytes)}."

    async def media(self, request: web.Request) -> web.StreamResponse:
        """The recording itself, or the part of it that a player wants."""
        recording = self._find(request)
        wanted = request.headers.get("Range", "")
        try:
            found = await self._recordings.read(recording.key, wanted if _RANGE.fullmatch(wanted) else None)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            return _refused(status if status in {404, 416} else 502, "not to be had")
        headers = {**HEADERS, "Accept-Ranges": "bytes", "Content-Type": _media_type(recording.key)}
        if part := found.get("ContentRange"):
            headers["Content-Range"] = part
        stream = web.StreamResponse(status=206 if part else 200, headers=headers)
        stream.content_length = found["ContentLength"]
        async with found["Body"] as body:
            with suppress(ConnectionError):  # a player that seeks asks anew
                await stream.prepare(request)
                async for chunk in body.content.iter_chunked(_CHUNK_BYTES):
                    await stream.write(chunk)
        return stream

    async def document(self, request: web.Request) -> web.Response:
        """The transcript in one of its formats."""
        transcript = self._find(request).transcript
        try:
            form = Format(request.match_info["format"])
        except ValueError:
            raise web.HTTPNotFound(headers=HEADERS) from None
        if transcript is None:
            raise web.HTTPNotFound(headers=HEADERS)
        if form == Format.JSON:
            text, media_type = transcript.model_dump_json(by_alias=True), "application/json; charset=utf-8"
        else:
            text, media_type = render(form, transcript.segments), FORMATS[form].media_type
        return web.Response(body=text.encode(), headers={**HEADERS, "Content-Type": media_type})

    def _find(self, request: web.Request) -> Recording:
        recording = self._board.find(int(request.match_info["number"]))
        if recording is None:
            raise web.HTTPNotFound(headers=HEADERS)
        return recording


def _seen(recording: Recording, passages_told: int) -> dict[str, Any]:
    """What the page shows of it; of its text so far only what is new."""
    seen: dict[str, Any] = {
        "number": recording.number,
        "name": recording.key,
        "state": recording.state,
        "percent": recording.percent,
        "from": passages_told,
        "passages": recording.passages[passages_told:],
        "reason": recording.reason,
        "message": recording.message,
    }
    if (transcript := recording.transcript) is not None:
        seen |= {
            "durationSeconds": transcript.duration_seconds,
            "language": transcript.language,
            "tookSeconds": transcript.provenance.timings.total_seconds,
            "model": transcript.provenance.model_size,
        }
    return seen


def _name(told: str) -> str:
    """A file's name without its directories and without what cannot be printed."""
    name = on_one_line(told.replace("\\", "/").rpartition("/")[2])
    stem, dot, extension = name.rpartition(".")
    if len(name) > MAX_NAME_CHARACTERS:
        name = f"{(stem or extension)[: MAX_NAME_CHARACTERS - 20]}{dot}{extension[-10:]}"
    return name.strip(". ") or "recording"


def _media_type(key: str) -> str:
    """Only ever of sound or pictures: nothing that is uploaded is taken for a page."""
    guessed, _ = mimetypes.guess_type(key)
    return guessed if guessed and guessed.startswith(("audio/", "video/")) else "application/octet-stream"


def size_of(count: int) -> str:
    """As people say it: 4 GiB, 10 MiB, 100 bytes."""
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def _refused(status: int, why: str) -> web.Response:
    return web.Response(status=status, text=why + "\n", headers=HEADERS)
