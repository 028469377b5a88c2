"""The fault proxy breaks connections as it says, and mends what it says it mends."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from consumer.operate.network import LOOPBACK, free_ports
from tests.chaos.proxy import FaultProxy, Mode

TIMEOUT_SECONDS = 10
SILENCE_SECONDS = 0.3  # how long it is listened to what must not come


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """Port of a server that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1000):
            writer.write(chunk)
        writer.close()

    [port] = free_ports(1)
    async with await asyncio.start_server(serve, LOOPBACK, port):
        yield port


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def asks(self, question: bytes) -> bytes:
        self._writer.write(question)
        return await asyncio.wait_for(self._reader.readexactly(len(question)), TIMEOUT_SECONDS)

    async def gets_nothing(self, question: bytes = b"?") -> None:
        self._writer.write(question)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self._reader.read(1), SILENCE_SECONDS)

    async def is_reset(self) -> None:
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await self.asks(b"?")


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(LOOPBACK, proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def no_connection_left(proxy: FaultProxy) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while proxy.connections:
            await asyncio.sleep(0.01)


async def test_it_forwards_both_ways(echo: int) -> None:
    async with FaultProxy(echo) as proxy, connected(proxy) as client:
        assert await client.asks(b"hello") == b"hello"
        large = bytes(range(256)) * 10_000
        assert await client.asks(large) == large


async def test_it_ends_what_the_client_ends(echo: int) -> None:
    async with FaultProxy(echo) as proxy:
        async with connected(proxy) as client:
            await client.asks(b"hello")
        await no_connection_left(proxy)


async def test_latency_comes_and_goes(echo: int) -> None:
    async with FaultProxy(echo) as proxy, connected(proxy) as client:
        proxy.set(Mode.LATENCY, 0.1)
        started = time.monotonic()
        await client.asks(b"slow")
        assert time.monotonic() - started >= 0.2  # there and back
        proxy.set(Mode.PASS)
        assert await client.asks(b"fast") == b"fast"


async def test_a_cut_resets_what_lives_and_what_comes(echo: int) -> None:
    async with FaultProxy(echo) as proxy, connected(proxy) as client:
        await client.asks(b"hello")
        proxy.set(Mode.CUT)
        await client.is_reset()
        async with connected(proxy) as other:
            await other.is_reset()
        proxy.set(Mode.PASS)
        async with connected(proxy) as third:
            assert await third.asks(b"again") == b"again"


async def test_a_half_open_connection_is_dead_for_good(echo: int) -> None:
    async with FaultProxy(echo) as proxy, connected(proxy) as before:
        await before.asks(b"hello")
        proxy.set(Mode.HALF_OPEN)
        async with connected(proxy) as during:
            await before.gets_nothing()
            await during.gets_nothing()
            proxy.set(Mode.PASS)
            await before.gets_nothing()
            await during.gets_nothing()
            async with connected(proxy) as after:
                assert await after.asks(b"alive") == b"alive"


async def test_its_end_leaves_no_connection(echo: int) -> None:
    async with FaultProxy(echo) as proxy, connected(proxy) as passing:
        await passing.asks(b"hello")
        proxy.set(Mode.HALF_OPEN)
        async with connected(proxy), asyncio.timeout(TIMEOUT_SECONDS):
            while proxy.connections < 2:
                await asyncio.sleep(0.01)
            await proxy.__aexit__()
            assert proxy.connections == 0


async def test_a_server_that_is_away_looks_away() -> None:
    [nobody] = free_ports(1)
    async with FaultProxy(nobody) as proxy, connected(proxy) as client:
        await client.is_reset()
