"""Child processes end when they should, however that comes about."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.operate.process import ChildProcess, ProcessError

TIMEOUT_SECONDS = 20.0


def start(tmp_path: Path, script: str) -> ChildProcess:
    return ChildProcess.start("the child", ["bash", "-c", script], log_path=tmp_path / "log")


async def until_it_says(child: ChildProcess, word: str) -> None:
    async def said() -> bool:
        return word in child.log_path.read_text()

    await child.wait_until_ready(said, timeout_seconds=TIMEOUT_SECONDS)


async def never() -> bool:
    return False


def has_ended(pidfd: int) -> bool:
    """Wait for the end of a process that need not be a child."""
    readable, _, _ = select.select([pidfd], [], [], TIMEOUT_SECONDS)
    os.close(pidfd)
    return bool(readable)


async def test_it_ends_by_itself(tmp_path: Path) -> None:
    child = start(tmp_path, "echo done; exit 7")
    assert await child.wait(timeout_seconds=TIMEOUT_SECONDS) == 7
    assert child.exit_code == 7
    assert child.stop(grace_seconds=1) == 7
    assert child.log_tail() == "done"


async def test_term_lets_it_finish(tmp_path: Path) -> None:
    child = start(tmp_path, "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    await until_it_says(child, "ready")
    assert child.stop(grace_seconds=TIMEOUT_SECONDS) == 3
    assert child.log_tail(1) == "bye"


async def test_what_ignores_term_is_killed_with_its_children(tmp_path: Path) -> None:
    child = start(tmp_path, "trap '' TERM; sleep 1000 & echo $! ready; wait")
    await until_it_says(child, "ready")
    grandchild = os.pidfd_open(int(child.log_tail().split()[0]))
    assert child.stop(grace_seconds=0.2) == -signal.SIGKILL
    assert has_ended(grandchild)


async def test_an_end_before_it_is_ready_is_an_error_with_the_log(tmp_path: Path) -> None:
    child = start(tmp_path, "echo out of luck; exit 5")
    with pytest.raises(ProcessError, match=r"the child ended with exit code 5 .*\n.*out of luck"):
        await child.wait_until_ready(never, timeout_seconds=TIMEOUT_SECONDS)


async def test_not_ready_in_time_is_an_error(tmp_path: Path) -> None:
    child = start(tmp_path, "sleep 1000")
    try:
        with pytest.raises(ProcessError, match="was not ready after 0 s"):
            await child.wait_until_ready(never, timeout_seconds=0)
        with pytest.raises(ProcessError, match="still ran after 0 s"):
            await child.wait(timeout_seconds=0)
    finally:
        child.stop(grace_seconds=0)


async def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    child = ChildProcess.start("nothing", ["/no/such/command"], log_path=tmp_path / "log")
    with pytest.raises(ProcessError, match="/no/such/command: No such file"):
        await child.wait_until_ready(never, timeout_seconds=TIMEOUT_SECONDS)


async def test_variables_are_added_and_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("TAKEN", "taken")
    child = ChildProcess.start(
        "env",
        ["bash", "-c", "echo $KEPT,$TAKEN,$ADDED"],
        log_path=tmp_path / "log",
        environment={"ADDED": "added"},
        without=["TAKEN"],
    )
    await child.wait(timeout_seconds=TIMEOUT_SECONDS)
    assert child.log_tail() == "kept,,added"


def test_it_dies_when_we_are_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom pathlib import Path\nfrom consumer.operate.process import ChildProcess\n"
            "child = ChildProcess.start('sleep', ['sleep', '1000'], log_path=Path(sys.argv[1]))\n"
            "while 'sleep' not in Path(f'/proc/{child.pid}/comm').read_text(): pass\n"
            "print(child.pid, flush=True)\nsys.stdin.read()",
            str(tmp_path / "log"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    assert has_ended(child)
