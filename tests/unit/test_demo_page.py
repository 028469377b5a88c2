"""The demo's page from outside: who may ask, what it takes, and what it tells. The store behind it is a dictionary."""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from consumer.operate.demo.board import Board
from consumer.operate.demo.page import served_page, size_of
from consumer.operate.demo.view import DeadLetter
from schemas import Progress, Segment

HOSTILE = "<img src=x onerror=alert(1)>.wav"
ID = "0" * 64


class Shelf:
    """Keeps what is uploaded, and the keys of what is announced."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.announced: list[str] = []

    async def upload_stream(self, key: str, chunks: AsyncIterable[bytes]) -> None:
        self.kept[key] = b"".join([chunk async for chunk in chunks])

    async def announce(self, key: str) -> None:
        self.announced.append(key)

    async def read(self, key: str, byte_range: str | None) -> Any:
        raise NotImplementedError


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@asynccontextmanager
async def served(board: Board, shelf: Shelf) -> AsyncIterator[aiohttp.ClientSession]:
    async with served_page(board, shelf, max_upload_bytes=100) as url, aiohttp.ClientSession(url) as session:
        yield session


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 50


async def test_an_upload_is_stored_and_announced(board: Board, shelf: Shelf) -> None:
    async with served(board, shelf) as session:
        for name in ("talk.mp3", "../../talk.mp3", "C:\\talk.mp3", HOSTILE, ""):
            async with session.post("/recordings", params={"name": name}, data=b"sound") as answer:
                assert answer.status == 201, name
    assert shelf.announced == ["talk.mp3", "talk-2.mp3", "talk-3.mp3", HOSTILE, "recording"]
    assert set(shelf.kept.values()) == {b"sound"}
    assert {each.state for each in board} == {"waiting"}


@pytest.mark.parametrize("body", [b"x" * 101, endless()], ids=["declared", "as it comes"])
async def test_what_is_too_large_is_refused_and_not_announced(board: Board, shelf: Shelf, body: Any) -> None:
    async with served(board, shelf) as session, session.post("/recordings?name=a.wav", data=body) as answer:
        assert answer.status == 413
        assert await answer.text() == "It is too large: a recording may have 100 bytes.\n"
    assert (shelf.kept, shelf.announced) == ({}, [])


async def test_an_upload_that_is_broken_off_is_not_announced(board: Board, shelf: Shelf) -> None:
    async with served_page(board, shelf) as url:
        port = urlsplit(url).port
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /recordings?name=a.wav HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 100\r\n\r\n"
        writer.write(head.encode() + b"only this")
        await writer.drain()
        while not list(board):
            await board.next_change.wait()
        (recording,) = board
        changed = board.next_change
        writer.close()
        async with asyncio.timeout(10):
            await changed.wait()
    assert (recording.state, recording.message) == ("failed", "The upload was broken off.")
    assert (shelf.kept, shelf.announced) == ({}, [])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:1"}, 201),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:2"}, 403),
        ({"Origin": "http://localhost:2"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_no_other_page_can_upload(board: Board, shelf: Shelf, headers: dict[str, str], status: int) -> None:
    async with served(board, shelf) as session:
        sent = {"Host": "localhost:1", **headers}
        async with session.post("/recordings?name=a.wav", data=b"sound", headers=sent) as answer:
            assert answer.status == status
    assert bool(shelf.announced) is (status == 201)


async def test_no_other_page_can_read_what_was_said_but_may_link_to_the_page(board: Board, shelf: Shelf) -> None:
    board.add("a.wav", "waiting")
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    async with served(board, shelf) as session:
        for path in ("/events", "/recordings/1/json", "/recordings/1/media"):
            async with session.get(path, headers=elsewhere) as answer:
                assert answer.status == 403, path
        async with session.get("/", headers=elsewhere) as page:
            assert page.status == 200
            assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
            assert "unsafe" not in page.headers["Content-Security-Policy"]
            assert page.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/", "/events", "/recordings/1/json"])
async def test_a_name_that_leads_here_from_elsewhere_is_refused(board: Board, shelf: Shelf, path: str) -> None:
    async with served(board, shelf) as session, session.get(path, headers={"Host": "evil.example"}) as answer:
        assert answer.status == 403


async def test_what_is_not_there_is_not_found(board: Board, shelf: Shelf) -> None:
    board.add("a.wav", "waiting")
    async with served(board, shelf) as session:
        for path in ("/recordings/2/json", "/recordings/1/json", "/recordings/1/exe", "/recordings/2/media"):
            async with session.get(path) as answer:
                assert answer.status == 404, path


async def test_a_follower_is_told_of_everything_and_then_of_what_is_new(board: Board, shelf: Shelf) -> None:
    def progress(percent: float, text: str) -> Progress:
        segment = Segment(start_seconds=0, end_seconds=1, text=text, average_log_probability=-0.1)
        return Progress(
            transcript_id=ID,
            bucket="recordings",
            key=HOSTILE,
            done_seconds=1,
            duration_seconds=2,
            percent=percent,
            segments=(segment,),
        )

    async def told(response: aiohttp.ClientResponse) -> Any:
        async with asyncio.timeout(10):
            return json.loads((await response.content.readuntil(b"\n\n")).removeprefix(b"data: "))

    board.hear(progress(50, " four score"))
    async with served(board, shelf) as session, session.get("/events") as response:
        first = await told(response)
        assert (first["name"], first["state"], first["percent"]) == (HOSTILE, "transcribing", 50)
        board.hear(progress(75, " and seven"))
        second = await told(response)
        assert (second["from"], second["passages"]) == (1, ["and seven"])
        board.hear(DeadLetter(HOSTILE, 0, 0, "not_audio", "no audio in it"))
        third = await told(response)
        assert (third["state"], third["reason"], third["message"]) == ("failed", "not_audio", "no audio in it")
        board.hear(progress(80, " late"))
        assert next(iter(board)).state == "failed", "progress may come after the answer"


@pytest.mark.parametrize(
    ("count", "text"), [(100, "100 bytes"), (4 * 1024**3, "4 GiB"), (1536, "1.5 KiB"), (10 * 1024**2, "10 MiB")]
)
def test_sizes_are_told_as_people_say_them(count: int, text: str) -> None:
    assert size_of(count) == text
