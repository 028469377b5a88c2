"""Handles on the decoder server and on one process that it forked: sockets, pipes and their time-outs."""

import asyncio
import fcntl
import os
import socket
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from consumer.audio.decoder_messages import (
    MAX_MESSAGE_BYTES,
    READY,
    SAMPLE_BYTES,
    SAMPLE_RATE_HERTZ,
    Order,
    Report,
    decode_report,
)
from consumer.errors import Unavailable

Samples = NDArray[np.float32]

BLOCK_SAMPLES = 2 * SAMPLE_RATE_HERTZ

_MODULE = "consumer.audio.decoder_server"
_ROOT = Path(__file__).parents[2]
_PIPE_BYTES = 256 * 1024  # four seconds; with the default of one, the two processes wake each other too often
_START_TIMEOUT_SECONDS = 60.0
_CLOSE_TIMEOUT_SECONDS = 5.0


class ServerLost(Exception):
    """The server process has ended."""


class Job:
    """One attempt at one recording: the read end of its PCM pipe and our end of its report socket."""

    def __init__(self, pcm: int, report: socket.socket) -> None:
        self._pcm = pcm
        self._report = report

    async def read(self, *, stall_timeout_seconds: float) -> Samples:
        """The next block, float32 of shape (n,); shorter than BLOCK_SAMPLES only at the end, empty after it.

        Raises TimeoutError when nothing at all arrives for so long.
        """
        buffer = bytearray(BLOCK_SAMPLES * SAMPLE_BYTES)
        view = memoryview(buffer)
        filled = 0
        while filled < len(view):
            try:
                count = os.readv(self._pcm, [view[filled:]])
            except BlockingIOError:
                async with asyncio.timeout(stall_timeout_seconds):
                    await self._readable()
                continue
            if count == 0:
                break
            filled += count
        return np.frombuffer(buffer, "<f4", filled // SAMPLE_BYTES)

    async def report(self, *, stall_timeout_seconds: float) -> Report:
        """The next report. Raises ServerLost, TimeoutError, or ValueError if it is malformed."""
        async with asyncio.timeout(stall_timeout_seconds):
            data = await asyncio.get_running_loop().sock_recv(self._report, MAX_MESSAGE_BYTES)
        if not data:
            raise ServerLost
        return decode_report(data)

    def close(self) -> None:
        """Have the server kill the process, if it still runs, and let go of it."""
        self._report.close()
        os.close(self._pcm)

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._pcm, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._pcm)


class DecoderProcess:
    """The running server. Make one with ``start``."""

    def __init__(self, process: asyncio.subprocess.Process, orders: socket.socket) -> None:
        self._process = process
        self._orders = orders

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    @classmethod
    async def start(cls) -> "DecoderProcess":
        """Start the server and wait until it takes orders. Raises Unavailable if it does not come up.

        It gets none of the worker's environment, so no credentials, and a session of its own, so that
        Ctrl-C in a terminal reaches the worker alone.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), str(os.getpid())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={"PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )
        server = cls(process, ours)
        try:
            async with asyncio.timeout(_START_TIMEOUT_SECONDS):
                greeting = await asyncio.get_running_loop().sock_recv(ours, len(READY))
        except TimeoutError:
            greeting = b""
        except BaseException:
            await server.close()
            raise
        if greeting != READY:
            await server.close()
            raise Unavailable(
                "decoder",
                f"the decoder process did not start (exit status {process.returncode}); "
                "its own words stand above on the standard error output",
            )
        return server

    def order(self, spool: BinaryIO, order: Order) -> Job:
        """Have one recording decoded. Raises ServerLost, or Unavailable where descriptors are short."""
        with ExitStack() as ours, ExitStack() as theirs:
            try:
                pcm, pcm_theirs = os.pipe2(os.O_CLOEXEC)
                ours.callback(os.close, pcm)
                theirs.callback(os.close, pcm_theirs)
                report, report_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                ours.callback(report.close)
                theirs.callback(report_theirs.close)
                os.set_blocking(pcm, False)
                report.setblocking(False)
                with suppress(OSError):  # over the user's limit for pipes: the default size works too
                    fcntl.fcntl(pcm, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
                descriptors = [spool.fileno(), pcm_theirs, report_theirs.fileno()]
                socket.send_fds(self._orders, [order.to_bytes()], descriptors)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise ServerLost from error
            except OSError as error:
                raise Unavailable(
                    "decoder", f"a recording cannot be handed to the decoder: {error.strerror}; raise `ulimit -n`?"
                ) from error
            ours.pop_all()
        return Job(pcm, report)

    async def close(self) -> None:
        """End the server; what it forked ends with it."""
        self._orders.close()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_SECONDS):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
