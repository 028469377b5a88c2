"""A TCP proxy that breaks what goes through it, as networks do.

1. ``PASS``: bytes are forwarded both ways as they come.
2. ``LATENCY``: every read is forwarded ``delay_seconds`` later.
3. ``CUT``: connections that live are reset, new ones too.
4. ``HALF_OPEN``: new connections are accepted, none carries a byte. One that met this stays dead for good, also
   when others pass again: its peer is gone and nobody will ever say so.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from enum import StrEnum

from consumer.operate.network import LOOPBACK, free_ports

_CHUNK_BYTES = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST


class Mode(StrEnum):
    """What becomes of bytes."""

    PASS = "pass"
    LATENCY = "latency"
    CUT = "cut"
    HALF_OPEN = "half_open"


class FaultProxy:
    """Listens on ``port`` and forwards to ``upstream_port``, both of the loopback interface."""

    def __init__(self, upstream_port: int, port: int | None = None) -> None:
        self.port = port or free_ports(1)[0]
        self._upstream_port = upstream_port
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], set[asyncio.StreamWriter]] = {}
        self._dead: set[asyncio.Task[None]] = set()
        self._mode = Mode.PASS
        self._delay_seconds = 0.0

    async def __aenter__(self) -> "FaultProxy":
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._reset_all()
        if self._connections:
            await asyncio.wait(set(self._connections))
        await asyncio.sleep(0)  # a transport is closed in the turn after it was aborted

    @property
    def connections(self) -> int:
        """How many connections are open, dead ones included."""
        return len(self._connections)

    def set(self, mode: Mode, delay_seconds: float = 0.0) -> None:
        """From now on do this; what it means for connections that live is told at the top."""
        self._mode, self._delay_seconds = mode, delay_seconds
        if mode is Mode.CUT:
            self._reset_all()
        if mode is Mode.HALF_OPEN:
            self._dead.update(self._connections)

    def _reset_all(self) -> None:
        for task, writers in self._connections.items():
            for writer in writers:
                _reset(writer)
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._mode is Mode.CUT:
            _reset(writer)
            return
        self._connections[task] = {writer}
        if self._mode is Mode.HALF_OPEN:
            self._dead.add(task)
        try:
            await self._forward_both_ways(task, reader, writer)
        except (OSError, asyncio.CancelledError):  # cancelled by _reset_all alone
            pass
        finally:
            for one in self._connections.pop(task):
                _reset(one)
            self._dead.discard(task)

    async def _forward_both_ways(
        self, task: "asyncio.Task[None]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if task in self._dead:
            await _until_closed(reader)
            return
        upstream_reader, upstream_writer = await asyncio.open_connection(LOOPBACK, self._upstream_port)
        self._connections[task].add(upstream_writer)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._forward(task, reader, upstream_writer))
            both.create_task(self._forward(task, upstream_reader, writer))

    async def _forward(
        self, task: "asyncio.Task[None]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                if self._mode is Mode.LATENCY:
                    await asyncio.sleep(self._delay_seconds)
                if task not in self._dead:
                    writer.write(chunk)
                    await writer.drain()
        if task not in self._dead:
            writer.close()  # the other side has said all it had to say


async def _until_closed(reader: asyncio.StreamReader) -> None:
    while await reader.read(_CHUNK_BYTES):
        pass


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection the hard way: what is on its way is lost, the peer gets an error."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport = writer.transport
    if transport is not None:
        transport.abort()
