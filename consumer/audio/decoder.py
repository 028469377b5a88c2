"""Decoding as the worker sees it: a spooled file in, blocks of PCM out, the work in another process.

``Decoder`` owns the server process that forks one process for each recording (``decoder_server``).
Memory is bounded by the pipe: a recording is decoded no further ahead than the pipe holds. A recording
that crashes or stalls its process is rejected alone. If the server itself is lost, recordings under way
are decoded once more by a new one, and what was already handed out is left out: decoding depends on the
bytes alone, so the second run gives the same samples.
"""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from typing import BinaryIO

from consumer.audio.decoder_messages import AudioFacts, Exit, Header, NotStarted, Order, Refusal, Report
from consumer.audio.decoder_process import DecoderProcess, Job, Samples, ServerLost
from consumer.errors import Reason, Rejected, Stage, Unavailable

_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}")
_ATTEMPTS = 2


class Decoder:
    """Decodes recordings in processes of their own, any number at once.

    ``stall_timeout_seconds`` is how long a recording may give no sample while somebody waits for one.
    """

    def __init__(self, *, max_duration_seconds: float, stall_timeout_seconds: float) -> None:
        self._max_duration_seconds = max_duration_seconds
        self._stall_timeout_seconds = stall_timeout_seconds
        self._server: DecoderProcess | None = None
        self._starting = asyncio.Lock()

    @property
    def server_pid(self) -> int | None:
        """Process id of the server, None before ``start``."""
        return self._server.pid if self._server else None

    async def start(self) -> None:
        """Start the server. Raises Unavailable if it does not come up."""
        await self.server()

    async def close(self) -> None:
        """End the server and everything it started."""
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    @asynccontextmanager
    async def decode(self, spool: BinaryIO, *, name_hint: str, channel: int | None = None) -> AsyncIterator["Decoding"]:
        """Decode one recording; leaving the context early kills the process that decodes it.

        ``spool`` is a regular file; it is read from its start and its offset is left alone. Of ``name_hint``
        (the object's key) the extension helps FFmpeg with formats that the content alone does not tell.
        ``channel`` is the one to take; None mixes them.
        """
        order = Order(_safe_name(name_hint), self._max_duration_seconds, channel)
        decoding = Decoding(self, spool, order, self._stall_timeout_seconds)
        try:
            yield decoding
        finally:
            decoding.close()

    async def server(self, *, instead_of: DecoderProcess | None = None) -> DecoderProcess:
        """The running server, which is another than the one that was found lost."""
        async with self._starting:
            if self._server is not None and self._server is instead_of:
                await self.close()
            if self._server is None:
                self._server = await DecoderProcess.start()
            return self._server


class Decoding:
    """One recording on its way: iterate to get its samples.

    Blocks are float32 of shape (n,), mono, 16 kHz, within [-1, 1], at most two seconds each. Iterating
    raises Rejected (NOT_AUDIO, DECODE_FAILED, TOO_LONG) or Unavailable. ``facts`` is there once it ended.
    """

    def __init__(self, decoder: Decoder, spool: BinaryIO, order: Order, stall_timeout_seconds: float) -> None:
        self._decoder = decoder
        self._spool = spool
        self._order = order
        self._stall_timeout_seconds = stall_timeout_seconds
        self._server: DecoderProcess | None = None
        self._job: Job | None = None
        self._attempts = 0
        self._delivered = 0  # samples handed out
        self._position = 0  # samples read in this attempt
        self._facts: AudioFacts | None = None
        self.header: Header | None = None
        """What the file says of itself; there once the first block is."""

    @property
    def facts(self) -> AudioFacts:
        """What the decoder found. Raises RuntimeError before the iteration has ended."""
        if self._facts is None:
            raise RuntimeError("the recording has not been decoded to its end yet")
        return self._facts

    def __aiter__(self) -> "Decoding":
        return self

    async def __anext__(self) -> Samples:
        while self._facts is None:
            try:
                job = self._job or await self._begin()
                block = await job.read(stall_timeout_seconds=self._stall_timeout_seconds)
                if not len(block):
                    self._facts = await self._end(job)
                elif self.header is None:
                    self.header = await self._header_of(job)
            except ServerLost:
                self.close()
                continue
            except TimeoutError:
                raise self._failed(f"it gave no sample for {self._stall_timeout_seconds:g} s") from None
            fresh = block[max(0, self._delivered - self._position) :]
            self._position += len(block)
            if len(fresh):
                self._delivered += len(fresh)
                return fresh
        raise StopAsyncIteration

    def close(self) -> None:
        """Kill the process of this recording, if there is one."""
        if self._job is not None:
            self._job.close()
            self._job = None

    async def _begin(self) -> Job:
        if self._attempts == _ATTEMPTS:
            raise Unavailable("decoder", "the decoder process was lost twice during one recording; is memory short?")
        self._attempts += 1
        self._position = 0
        self._server = await self._decoder.server(instead_of=self._server)
        self._job = self._server.order(self._spool, self._order)
        return self._job

    async def _header_of(self, job: Job) -> Header:
        """What the process told before its first sample."""
        report = await self._report(job)
        if not isinstance(report, Header):
            raise self._failed("it gave samples of a file that it had not told of")
        return report

    async def _report(self, job: Job) -> Report:
        try:
            return await job.report(stall_timeout_seconds=self._stall_timeout_seconds)
        except ValueError as error:
            raise self._failed(str(error)) from error

    async def _end(self, job: Job) -> AudioFacts:
        """What the process reported after its last sample."""
        report = await self._report(job)
        if isinstance(report, Header):  # of an attempt after the first, or of a file without a sample
            report = await self._report(job)
        match report:
            case Header():
                raise self._failed("it told of the file twice")
            case AudioFacts():
                return report
            case Refusal(reason, message):
                raise Rejected(reason, Stage.DECODE, message)
            case NotStarted(message):
                raise Unavailable("decoder", message)
            case Exit(code):
                raise self._failed(f"its process {_ending(code)}")

    def _failed(self, how: str) -> Rejected:
        self.close()
        return Rejected(
            Reason.DECODE_FAILED,
            Stage.DECODE,
            f"decoding failed: {how}; check that ffmpeg plays the file, or convert it and upload it again",
        )


def _safe_name(key: str) -> str:
    """A file name that carries the key's extension and nothing else of it: FFmpeg expands patterns in names."""
    extension = PurePosixPath(key).suffix
    return "recording" + (extension if _EXTENSION.fullmatch(extension) else "")


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = " (killed from outside, for want of memory perhaps)" if -code == signal.SIGKILL else ""
    return f"was ended by {name}{hint}"
