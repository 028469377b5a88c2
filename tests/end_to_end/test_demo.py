"""The demo as its user runs it: a command in a pipe."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from consumer.operate.process import ChildProcess
from tests.support.speech import samples_of, write_wav

TIMEOUT_SECONDS = 120.0


class Demo:
    """A running demo, and the processes that it started."""

    def __init__(self, log_path: Path, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "consumer", "demo", *arguments]
        self.process = ChildProcess.start("the demo", command, log_path=log_path)

    @property
    def output(self) -> str:
        return self.process.log_tail(lines=1000)

    async def until_it_says(self, words: str) -> None:
        async def said() -> bool:
            return words in self.output

        await self.process.wait_until_ready(said, timeout_seconds=TIMEOUT_SECONDS)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def demos(artifacts_dir: Path) -> Iterator[list[Demo]]:
    """Started demos; they are ended with the test."""
    started: list[Demo] = []
    yield started
    for demo in started:
        demo.process.stop(grace_seconds=0)


def program_names(processes: list[psutil.Process]) -> set[str]:
    return {process.name() for process in processes}


def data_dirs(processes: list[psutil.Process]) -> list[Path]:
    """Where the demo keeps the data of its store."""
    arguments = [argument for process in processes for argument in process.cmdline()]
    return [Path(argument.removeprefix("-dir=")) for argument in arguments if argument.startswith("-dir=")]


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=TIMEOUT_SECONDS)
    assert alive == []


async def test_recordings_are_shown_and_ctrl_c_ends_everything(demos: list[Demo], sample: Path, tmp_path: Path) -> None:
    no_recording = tmp_path / "notes.txt"
    no_recording.write_text("nothing to hear")
    demo = Demo(tmp_path / "log", "--stay", "--size", "tiny.en", sample, no_recording)
    demos.append(demo)

    await demo.until_it_says("Ctrl-C ends it")
    assert "✓ jfk.wav  11.0 s of audio in" in demo.output
    assert "ask not what your country can do for you" in demo.output
    assert "✗ notes.txt  not transcribed: not_audio" in demo.output
    assert "1 of 2 transcribed." in demo.output
    assert "/metrics" in demo.output
    assert "\x1b" not in demo.output, "in a pipe the output is plain"

    processes = demo.descendants()
    [data_dir] = data_dirs(processes)
    assert {"java", "weed"} < program_names(processes)
    assert data_dir.exists()
    demo.process.send_signal(signal.SIGINT)
    assert await demo.process.wait(timeout_seconds=TIMEOUT_SECONDS) == 1, "one recording failed"
    assert_gone(processes)
    assert not data_dir.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_no_process_is_left_when_it_is_interrupted_early(
    demos: list[Demo], sample: Path, tmp_path: Path, number: signal.Signals
) -> None:
    long = write_wav(tmp_path / "long.wav", np.tile(samples_of(sample), 100))  # not done before the signal comes
    demo = Demo(tmp_path / "log", "--size", "tiny.en", long)
    demos.append(demo)
    await demo.until_it_says("✓ S3 store")
    processes = demo.descendants()
    assert "weed" in program_names(processes)
    demo.process.send_signal(number)
    assert await demo.process.wait(timeout_seconds=TIMEOUT_SECONDS) != 0
    assert_gone(processes)
    assert "Traceback" not in demo.output


async def test_a_file_that_is_not_there_is_told_before_anything_starts(demos: list[Demo], tmp_path: Path) -> None:
    demo = Demo(tmp_path / "log", "no-such-file.wav", tmp_path)
    demos.append(demo)
    assert await demo.process.wait(timeout_seconds=TIMEOUT_SECONDS) == 1
    assert demo.output == f"error: no-such-file.wav: no such file\n       {tmp_path}: not a file"
