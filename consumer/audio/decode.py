"""Any recording that FFmpeg reads becomes a stream of mono float32 at 16 kHz.

A chain of generators: packets → frames → 16 kHz channels → mono blocks. It runs in a process of its own
(see ``decoder_server``), on one thread, and holds a second or two of audio at a time.

Damage is noted and survived: a packet that cannot be decoded is left out, a file that ends early gives
what it has. Words after a hole keep their time where the container tells it: a jump in the timestamps of
up to a minute is filled with silence. A stream that starts late in its container starts at zero here.

Its behaviour was measured with FFmpeg 8.1 (PyAV 18.1).
"""

import io
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import av
import av.logging
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.filter import Graph
from av.packet import Packet

from consumer.audio.decoder_messages import SAMPLE_RATE_HERTZ, AudioFacts, Header
from consumer.audio.downmix import Downmixer, Samples
from consumer.audio.one_channel import OneChannel
from consumer.errors import Reason, Rejected, Stage

_OPTIONS = {
    # No protocol at all: a playlist, a concat script or a session description can open nothing else,
    # neither a file of the worker nor an address inside its network.
    "protocol_whitelist": "",
    "probesize": str(5 * 1024 * 1024),
    "analyzeduration": str(5_000_000),  # microseconds
    # Packets of PCM that FFmpeg searches for hidden DTS; its 2500 cost 5 ms for 8 s of speech, 16 tell as well.
    "max_probe_packets": "16",
}
_READ_BYTES = 64 * 1024
_PULL_EVERY_SECONDS = 1.0
_SMALLEST_GAP_SECONDS = 0.1  # less is rounding of timestamps
_LARGEST_GAP_SECONDS = 60.0  # more is a clock that was set anew, not a hole
_MAX_SAMPLE_RATE_HERTZ = 1_000_000  # the resampler's tables grow with the rate that a header claims
_GUESSED_DURATION = "Estimating duration from bitrate"  # FFmpeg's warning where no header tells it


class Spool:
    """A seekable file for PyAV over a descriptor whose offset others may share: reads never move it.

    ``name`` is FFmpeg's hint where the content alone does not tell the format.
    """

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self._position = 0

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        data = os.pread(self._fd, size, self._position)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; returns the new position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position


@dataclass(slots=True)
class _Tally:
    """What was seen on the way: the source of the damage notes."""

    packets: int = 0
    failed_packets: int = 0
    incomplete_packets: int = 0
    frames: int = 0
    seconds: float = 0.0
    filled_seconds: float = 0.0
    stopped_by: str | None = None

    def damage(self, declared_seconds: float | None) -> tuple[str, ...]:
        notes = []
        if self.failed_packets:
            notes.append(f"{self.failed_packets} of {self.packets} packets could not be decoded")
        if self.incomplete_packets:
            notes.append(f"truncated: {self.incomplete_packets} of {self.packets} packets are incomplete")
        if self.stopped_by:
            notes.append(f"reading stopped early: {self.stopped_by}")
        if self.filled_seconds:
            notes.append(f"{self.filled_seconds:.1f} s are missing inside and were filled with silence")
        missing = (declared_seconds or 0) - self.seconds - self.filled_seconds
        if declared_seconds and missing > max(1.0, 0.05 * declared_seconds):
            notes.append(
                f"truncated: the header tells of {declared_seconds:.1f} s, {self.seconds:.1f} s could be decoded"
            )
        return tuple(notes)


def decode(
    spool: Spool,
    *,
    max_duration_seconds: float,
    channel: int | None = None,
    on_header: Callable[[Header], None] = lambda _: None,
) -> Generator[Samples, None, AudioFacts]:
    """Yield the recording as float32 blocks of shape (n,), mono, 16 kHz, within [-1, 1]; return its facts.

    ``channel`` is the one to take, from 0; None mixes all of them. ``on_header`` is called before the first block.

    Raises Rejected: NOT_AUDIO where FFmpeg finds no container, no audio stream, no sample, or more broken
    packets than frames; TOO_LONG past ``max_duration_seconds`` (at once where a header says so).
    """
    container, length_is_guessed = _open(spool)
    with container:
        stream = _choose_stream(container)
        declared_seconds = None if length_is_guessed else _declared_seconds(container, stream)
        if declared_seconds is not None and declared_seconds > max_duration_seconds:
            raise _too_long(max_duration_seconds)
        on_header(Header(declared_seconds, stream.codec_context.layout.nb_channels))
        tally = _Tally()
        samples = 0
        for block in _mono(_frames(_packets(container, stream, tally), stream, tally), tally, channel):
            samples += len(block)
            if samples > max_duration_seconds * SAMPLE_RATE_HERTZ:
                raise _too_long(max_duration_seconds)
            yield block
        context = stream.codec_context
        if samples == 0 or tally.failed_packets > tally.frames:
            raise _not_audio(
                f"{container.format.name}/{context.codec.canonical_name} was recognised, but of {tally.packets} "
                f"packets {tally.failed_packets} are broken and {samples} samples came out"
            )
        return AudioFacts(
            container=container.format.name,
            codec=context.codec.canonical_name,
            sample_rate_hertz=context.sample_rate,
            channels=context.layout.nb_channels,
            damage=tally.damage(declared_seconds),
        )


def _open(spool: Spool) -> tuple[InputContainer, bool]:
    """Open the container; also returns whether FFmpeg had to guess its length."""
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as log:
            container = av.open(spool, mode="r", options=_OPTIONS, buffer_size=_READ_BYTES, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise _not_audio(f"FFmpeg cannot read it: {_reason_of(error)}") from error
    finally:
        av.logging.set_level(None)
    return container, any(_GUESSED_DURATION in message for _, _, message in log)


def _declared_seconds(container: InputContainer, stream: AudioStream) -> float | None:
    """How long the stream is by its header, or by the container's where nothing else is in it."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def _choose_stream(container: InputContainer) -> AudioStream:
    best = container.streams.best("audio")
    streams = sorted(container.streams.audio, key=lambda stream: stream is not best)
    for stream in streams:
        if stream.codec_context is not None:
            stream.codec_context.thread_count = 1
            for other in container.streams:
                if other is not stream:
                    other.discard = av.stream.Discard.all
            return stream
    if streams:
        raise _not_audio(f"no decoder for the audio in this {container.format.name} file")
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise _not_audio(f"a {container.format.name} file with {kinds} and no audio stream")


def _packets(container: InputContainer, stream: AudioStream, tally: _Tally) -> Iterator["Packet[AudioStream] | None"]:
    """Packets of the stream, and at the end None, which flushes the decoder."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                tally.packets += 1
                tally.incomplete_packets += packet.is_corrupt
                yield packet
    except av.FFmpegError as error:
        tally.stopped_by = _reason_of(error)
    yield None


def _frames(
    packets: Iterator["Packet[AudioStream] | None"], stream: AudioStream, tally: _Tally
) -> Iterator[AudioFrame]:
    for packet in packets:
        try:
            frames = stream.decode(packet)
        except av.FFmpegError:
            tally.failed_packets += 1
            continue
        for frame in frames:
            if frame.sample_rate > _MAX_SAMPLE_RATE_HERTZ:
                raise _not_audio(f"it claims {frame.sample_rate} samples a second")
            if frame.samples and frame.sample_rate:
                tally.frames += 1
                tally.seconds += frame.samples / frame.sample_rate
                yield frame


def _mono(frames: Iterator[AudioFrame], tally: _Tally, channel: int | None) -> Iterator[Samples]:
    """Resample, fill holes, mix down or take one channel; starts anew where the stream changes its rate or channels."""
    chain: _Chain | None = None
    end: float | None = None  # of the frame before, on the container's clock
    for frame in frames:
        if chain is None or not chain.fits(frame):
            if chain is not None:
                yield from chain.flush()
            chain = _Chain(frame, channel)
        if frame.time is not None and end is not None:
            gap = frame.time - end
            if _SMALLEST_GAP_SECONDS <= gap <= _LARGEST_GAP_SECONDS:
                tally.filled_seconds += gap
                yield from chain.fill(gap)
        end = None if frame.time is None else frame.time + frame.samples / frame.sample_rate
        yield from chain.push(frame)
    if chain is not None:
        yield from chain.flush()


class _Chain:
    """Resampler, and downmixer or what takes one channel, for frames of one rate, format and layout."""

    def __init__(self, frame: AudioFrame, channel: int | None) -> None:
        self._source = _shape(frame)
        self._channels = frame.layout.nb_channels
        self._to_mono: Downmixer | OneChannel = (
            Downmixer([channel.name for channel in frame.layout.channels])
            if channel is None
            else OneChannel(channel, self._channels)
        )
        self._graph: Graph | None = None
        self._queued_seconds = 0.0

    def fits(self, frame: AudioFrame) -> bool:
        return _shape(frame) == self._source

    def push(self, frame: AudioFrame) -> Iterator[Samples]:
        if self._graph is None:
            self._graph = _resampler(frame)
        self._graph.push(frame)
        self._queued_seconds += frame.samples / frame.sample_rate
        if self._queued_seconds >= _PULL_EVERY_SECONDS:  # a call for each frame would cost more than it yields
            self._queued_seconds = 0.0
            yield from self._pull(self._graph)

    def fill(self, seconds: float) -> Iterator[Samples]:
        """Put silence where the recording has a hole."""
        yield from self._drain()
        missing = round(seconds * SAMPLE_RATE_HERTZ)
        while missing:
            count = min(missing, SAMPLE_RATE_HERTZ)
            yield from self._mix(np.zeros((self._channels, count), np.float32))
            missing -= count

    def flush(self) -> Iterator[Samples]:
        yield from self._drain()
        yield from _unless_empty(self._to_mono.flush())

    def _drain(self) -> Iterator[Samples]:
        graph, self._graph = self._graph, None
        if graph is not None:
            graph.push(None)
            yield from self._pull(graph)

    def _pull(self, graph: Graph) -> Iterator[Samples]:
        while True:
            try:
                frame = graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield from self._mix(np.asarray(frame.to_ndarray(), np.float32))

    def _mix(self, channels: Samples) -> Iterator[Samples]:
        if not np.isfinite(channels).all():  # float codecs carry whatever their encoder wrote
            channels = np.nan_to_num(channels, posinf=1.0, neginf=-1.0)
        yield from _unless_empty(self._to_mono.push(np.clip(channels, -1.0, 1.0)))


def _resampler(frame: AudioFrame) -> Graph:
    """FFmpeg's resampler to 16 kHz planar float, channels as they are.

    PyAV's AudioResampler is the same graph, but starts a thread for each CPU of the host, and asks after
    every frame; this one stays on one thread and gives blocks of up to a second.
    """
    graph = Graph()
    graph.threads = 1
    graph.link_nodes(
        graph.add(
            "abuffer",
            sample_rate=str(frame.sample_rate),
            sample_fmt=frame.format.name,
            channel_layout=frame.layout.name,
            time_base=f"1/{frame.sample_rate}",
        ),
        graph.add("aformat", sample_rates=str(SAMPLE_RATE_HERTZ), sample_fmts="fltp"),
        graph.add("abuffersink"),
    ).configure()
    graph.set_audio_frame_size(int(SAMPLE_RATE_HERTZ * _PULL_EVERY_SECONDS))
    return graph


def _shape(frame: AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.format.name, frame.layout.name


def _unless_empty(samples: Samples) -> Iterator[Samples]:
    if len(samples):
        yield samples


def _reason_of(error: Exception) -> str:
    """FFmpeg's own words for an error, without the file name that PyAV adds."""
    words = getattr(error, "strerror", None) or str(error)
    log: Any = getattr(error, "log", None)  # (level, part of FFmpeg, message); its stub says otherwise
    return f"{words} ({log[1]}: {log[2].strip()})" if log else words


def _not_audio(what: str) -> Rejected:
    return Rejected(
        Reason.NOT_AUDIO, Stage.DECODE, f"not a recording: {what}; upload an audio or video file that ffmpeg plays"
    )


def _too_long(max_duration_seconds: float) -> Rejected:
    return Rejected(
        Reason.TOO_LONG,
        Stage.DECODE,
        f"the recording is longer than {max_duration_seconds:g} s; cut it into parts or raise MAX_DURATION_SECONDS",
    )
