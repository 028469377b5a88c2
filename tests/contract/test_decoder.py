"""consumer/audio/decoder.py with its real processes: formats, deadlines, crashes, nothing left behind."""

import asyncio
import contextlib
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from consumer.audio import decoder_process
from consumer.audio.decoder import Decoder, Decoding
from consumer.audio.decoder_messages import AudioFacts
from consumer.audio.decoder_process import Samples
from consumer.audio.decoder_server import RECORDINGS_PER_PROCESS
from consumer.errors import Reason, Rejected, Stage, Unavailable

RATE = 16_000


@contextlib.asynccontextmanager
async def running(*, max_duration_seconds: float = 3600, stall_timeout_seconds: float = 30) -> AsyncIterator[Decoder]:
    decoder = Decoder(max_duration_seconds=max_duration_seconds, stall_timeout_seconds=stall_timeout_seconds)
    await decoder.start()
    try:
        yield decoder
    finally:
        await decoder.close()


@pytest.fixture
async def decoder() -> AsyncIterator[Decoder]:
    async with running() as decoder:
        yield decoder


def ramp(seconds: float) -> Samples:
    """Samples that tell their own place; float32 of shape (n,)."""
    return np.asarray(np.arange(int(seconds * RATE)) % 20_011 / 20_011, np.float32)


def spool(seconds: float) -> BinaryIO:
    """A WAV file of a ramp, spooled as recordings are."""
    data = ramp(seconds).tobytes()
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVE")
    file.write(struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, RATE, RATE * 4, 4, 32))
    file.write(struct.pack("<4sI", b"data", len(data)) + data)
    file.flush()
    return file


async def collect(decoding: Decoding) -> Samples:
    return np.concatenate([block async for block in decoding])


async def decoded(decoder: Decoder, file: BinaryIO, name: str = "a.wav") -> tuple[Samples, AudioFacts]:
    async with decoder.decode(file, name_hint=name) as decoding:
        return await collect(decoding), decoding.facts


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def bytes_written(pid: int) -> int:
    return int(Path(f"/proc/{pid}/io").read_text().split("wchar: ")[1].split()[0])


def is_asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S"


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def environment_names(pid: int) -> set[str]:
    return {line.split("=")[0] for line in Path(f"/proc/{pid}/environ").read_text().split("\0") if line}


async def until(condition: Callable[[], bool]) -> None:
    """Return when the state of another process, which sends us no event, is as it should be."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def server_of(decoder: Decoder) -> int:
    assert decoder.server_pid is not None
    return decoder.server_pid


async def ended(pidfd: int) -> None:
    """Return when the process has ended."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(pidfd, event.set)
    try:
        async with asyncio.timeout(20):
            await event.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


async def test_samples_arrive_bit_for_bit(decoder: Decoder) -> None:
    with spool(9.5) as file:
        async with decoder.decode(file, name_hint="a b/ü.WAV") as decoding:
            with pytest.raises(RuntimeError, match="not been decoded"):
                _ = decoding.facts
            blocks = [block async for block in decoding]
            assert decoding.facts == AudioFacts("wav", "pcm_f32le", RATE, 1, ())
    assert all(block.dtype == np.float32 and 0 < len(block) <= 2 * RATE for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), ramp(9.5))


async def test_recordings_are_decoded_side_by_side(decoder: Decoder) -> None:
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(spool(seconds)) for seconds in range(1, 9)]
        results = await asyncio.gather(*(decoded(decoder, file) for file in files))
    for seconds, (samples, _) in enumerate(results, 1):
        np.testing.assert_array_equal(samples, ramp(seconds))


async def test_nobody_holds_a_whole_recording(decoder: Decoder) -> None:
    """The process decodes no further ahead than the pipe holds: it waits, asleep, for a reader."""
    with spool(600) as file:
        async with decoder.decode(file, name_hint="a.wav") as decoding:
            first = await anext(decoding)
            (child,) = children(server_of(decoder))
            await until(lambda: is_asleep(child))
            assert bytes_written(child) < 1_000_000
            rest = await collect(decoding)
    assert len(first) + len(rest) == 600 * RATE


async def test_waiting_readers_are_no_stall() -> None:
    async with running(stall_timeout_seconds=0.3) as decoder:
        with spool(60) as file:
            async with decoder.decode(file, name_hint="a.wav") as decoding:
                await anext(decoding)
                await asyncio.sleep(0.5)  # what is tested: time passes while nobody waits for samples
                assert len(await collect(decoding)) == 58 * RATE


async def test_a_stalled_process_is_killed() -> None:
    async with running(stall_timeout_seconds=0.5) as decoder:
        with spool(60) as file:
            async with decoder.decode(file, name_hint="a.wav") as decoding:
                await anext(decoding)
                (child,) = children(server_of(decoder))
                pidfd = os.pidfd_open(child)
                os.kill(child, signal.SIGSTOP)
                with pytest.raises(Rejected, match=r"no sample for 0\.5 s") as caught:
                    await collect(decoding)
                assert (caught.value.reason, caught.value.stage) == (Reason.DECODE_FAILED, Stage.DECODE)
                await ended(pidfd)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
async def test_a_crash_costs_one_recording(decoder: Decoder, number: signal.Signals) -> None:
    server = decoder.server_pid
    with spool(60) as first, spool(30) as second:
        async with (
            decoder.decode(first, name_hint="a.wav") as crashing,
            decoder.decode(second, name_hint="b.wav") as healthy,
        ):
            await anext(crashing)
            (child,) = children(server_of(decoder))
            await anext(healthy)
            os.kill(child, number)
            with pytest.raises(Rejected, match=number.name) as caught:
                await collect(crashing)
            assert caught.value.reason is Reason.DECODE_FAILED
            assert len(await collect(healthy)) == 28 * RATE
    assert decoder.server_pid == server


async def test_a_lost_server_costs_no_recording(decoder: Decoder) -> None:
    before = server_of(decoder)
    with spool(60) as first, spool(30) as second:
        async with (
            decoder.decode(first, name_hint="a.wav") as one,
            decoder.decode(second, name_hint="b.wav") as other,
        ):
            seen = await anext(one)
            os.kill(before, signal.SIGKILL)
            rest, all_of_other = await asyncio.gather(collect(one), collect(other))
    np.testing.assert_array_equal(np.concatenate((seen, rest)), ramp(60))
    np.testing.assert_array_equal(all_of_other, ramp(30))
    assert decoder.server_pid != before


async def test_leaving_early_kills_the_process(decoder: Decoder) -> None:
    with spool(60) as file:
        async with decoder.decode(file, name_hint="a.wav") as decoding:
            await anext(decoding)
            (child,) = children(server_of(decoder))
            pidfd = os.pidfd_open(child)
        await ended(pidfd)
    with spool(1) as file:
        assert len((await decoded(decoder, file))[0]) == RATE


async def test_cancelling_kills_the_process(decoder: Decoder) -> None:
    waiting = asyncio.Event()

    async def consume(file: BinaryIO) -> None:
        async with decoder.decode(file, name_hint="a.wav") as decoding:
            await anext(decoding)
            os.kill(children(server_of(decoder))[0], signal.SIGSTOP)
            waiting.set()
            await collect(decoding)

    with spool(60) as file:
        task = asyncio.create_task(consume(file))
        await waiting.wait()
        (child,) = children(server_of(decoder))
        pidfd = os.pidfd_open(child)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ended(pidfd)


async def test_too_long_is_refused() -> None:
    async with running(max_duration_seconds=2) as decoder:
        with spool(2.1) as file, pytest.raises(Rejected) as caught:
            await decoded(decoder, file)
    assert caught.value.reason is Reason.TOO_LONG


async def test_clean_recordings_share_a_process_and_leave_nothing_in_it(decoder: Decoder) -> None:
    server = server_of(decoder)
    own, servers = open_descriptors(os.getpid()), open_descriptors(server)
    with spool(1) as file:
        for _ in range(20):
            await decoded(decoder, file)
        assert open_descriptors(os.getpid()) == own + 1  # the spool
    (child,) = children(server)
    await until(lambda: open_descriptors(child) == 4)  # the standard three and the one for work
    await until(lambda: open_descriptors(server) == servers + 2)  # the child's process and its work


async def test_a_process_serves_a_bounded_number_of_recordings(decoder: Decoder) -> None:
    server = server_of(decoder)
    seen = set()
    with spool(0.1) as file:
        for _ in range(RECORDINGS_PER_PROCESS + 1):
            await decoded(decoder, file)
            seen.update(children(server))
    assert len(seen) == 2


@pytest.mark.parametrize("damaged", [b"nothing of the kind", None], ids=["refused", "damaged"])
async def test_a_process_ends_with_a_recording_that_is_not_clean(decoder: Decoder, damaged: bytes | None) -> None:
    server = server_of(decoder)
    with spool(1) as file:
        await decoded(decoder, file)
        (child,) = children(server)
        pidfd = os.pidfd_open(child)
        with tempfile.TemporaryFile() as other:
            file.seek(0)
            other.write(damaged or file.read()[:30_001])
            other.flush()
            with contextlib.suppress(Rejected):
                _, facts = await decoded(decoder, other)
                assert facts.damage
        await ended(pidfd)
        assert len((await decoded(decoder, file))[0]) == RATE


async def test_a_process_lost_while_idle_costs_no_recording(decoder: Decoder) -> None:
    server = server_of(decoder)
    with spool(1) as file:
        await decoded(decoder, file)
        (child,) = children(server)
        pidfd = os.pidfd_open(child)
        os.kill(child, signal.SIGKILL)
        await ended(pidfd)
        assert len((await decoded(decoder, file))[0]) == RATE


async def test_the_process_has_only_what_it_needs(decoder: Decoder) -> None:
    with spool(60) as other, spool(60) as file:
        async with (
            decoder.decode(other, name_hint="a.wav") as before,
            decoder.decode(file, name_hint="a.wav") as decoding,
        ):
            await anext(before)
            await anext(decoding)
            child = children(server_of(decoder))[-1]
            assert threads(child) == 1
            assert open_descriptors(child) == 7  # standard three, work, spool, PCM, report
            assert environment_names(child) <= {"PYTHONPATH", "OPENBLAS_NUM_THREADS", "LC_CTYPE"}


WORKER = """
import asyncio, json, sys
from pathlib import Path
from consumer.audio import decoder_process
from consumer.audio.decoder import Decoder

async def main():
    decoder = Decoder(max_duration_seconds=3600, stall_timeout_seconds=30)
    await decoder.start()
    with open(sys.argv[1], "rb") as file:
        async with decoder.decode(file, name_hint="a.wav") as decoding:
            await anext(decoding)
            server = decoder.server_pid
            children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
            print(json.dumps([server, *map(int, children)]), flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


def test_nothing_outlives_a_killed_worker(tmp_path: Path) -> None:
    recording = tmp_path / "a.wav"
    with spool(60) as file:
        file.seek(0)
        recording.write_bytes(file.read())
    with subprocess.Popen([sys.executable, "-c", WORKER, str(recording)], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        pidfds = [os.pidfd_open(pid) for pid in json.loads(worker.stdout.readline())]
        worker.kill()
    assert len(pidfds) == 2
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], 20)[0]
        os.close(pidfd)


async def test_ffmpeg_is_not_heard_on_standard_error(capfd: pytest.CaptureFixture[str], corpus: Path) -> None:
    async with running() as decoder:
        for name in ("broken-garbage-mid.mp3", "broken-truncated-half.wav", "broken-random.mp3"):
            with (corpus / name).open("rb") as file, contextlib.suppress(Rejected):
                await decoded(decoder, file, name)
    assert capfd.readouterr().err == ""


def corpus_lines(corpus: Path, which: str) -> list[dict[str, object]]:
    lines = (corpus / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["set"] == which]


async def test_all_formats_of_the_corpus_decode(decoder: Decoder, corpus: Path) -> None:
    lines = corpus_lines(corpus, "fmt")
    assert len(lines) == 43
    for line in lines:
        name = str(line["file"])
        with (corpus / name).open("rb") as file:
            samples, facts = await decoded(decoder, file, name)
        assert len(samples) / RATE == pytest.approx(8.14, abs=0.1), name
        assert (facts.container, facts.sample_rate_hertz, facts.channels) == (
            line["container"],
            line["rate"],
            line["channels"],
        ), name
        assert facts.damage == (), name
        rms = float(np.sqrt(np.mean(np.square(samples))))
        assert 0.0003 < rms < 0.7, name
        assert (rms < 0.001) == ("quiet" in name), name


BROKEN = {
    "broken-garbage-mid.mp3": "2 of 304 packets could not be decoded",
    "broken-id3-cover-like.mp3": None,
    "broken-mp3-as-wav.wav": None,
    "broken-wav-as-mp3.mp3": None,
    "broken-truncated-half.wav": "truncated: 1 of 48 packets are incomplete",
    "broken-truncated.ogg": None,  # Ogg keeps no length: a file that ends at a page looks whole
}


async def test_broken_files_of_the_corpus_decode_or_are_refused(decoder: Decoder, corpus: Path) -> None:
    lines = corpus_lines(corpus, "broken")
    assert len(lines) == 13
    for line in lines:
        name = str(line["file"])
        with (corpus / name).open("rb") as file:
            if name in BROKEN:
                samples, facts = await decoded(decoder, file, name)
                assert len(samples) / RATE == pytest.approx(line.get("seconds", 8.14), abs=0.3), name
                assert facts.damage == ((BROKEN[name],) if BROKEN[name] else ()), name
            else:
                with pytest.raises(Rejected, match="not a recording") as caught:
                    await decoded(decoder, file, name)
                assert caught.value.reason is Reason.NOT_AUDIO, name


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 1, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)


async def test_descriptors_that_run_out_are_an_outage(decoder: Decoder) -> None:
    with spool(1) as file:
        with no_descriptors_left(), pytest.raises(Unavailable, match="handed to the decoder") as caught:
            await decoded(decoder, file)
        assert caught.value.dependency == "decoder"
        assert len((await decoded(decoder, file))[0]) == RATE


async def test_a_server_that_hangs_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_process, "_CLOSE_TIMEOUT_SECONDS", 0.2)
    decoder = Decoder(max_duration_seconds=60, stall_timeout_seconds=30)
    await decoder.start()
    pidfd = os.pidfd_open(server_of(decoder))
    os.kill(server_of(decoder), signal.SIGSTOP)
    await decoder.close()
    await ended(pidfd)
