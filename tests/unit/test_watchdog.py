"""The watchdog: its judgement by a clock of the test's, its effect in processes that really hang."""

import subprocess
import sys
import textwrap
from dataclasses import dataclass

import pytest

from consumer.watchdog import EXIT_STUCK_LOOP, EXIT_STUCK_NATIVE, Watchdog


@dataclass
class Worker:
    """What the watchdog sees, with times as the test sets them."""

    loop_tick: float = 0.0
    worker_tick: float | None = None
    overdue: float | None = None

    def watchdog(self) -> Watchdog:
        return Watchdog(
            loop_tick=lambda: self.loop_tick,
            worker_tick=lambda: self.worker_tick,
            overdue=lambda: self.overdue,
            limit_seconds=120,
        )


def _looks(watchdog: Watchdog, start: int, end: int) -> list[tuple[int, str] | None]:
    return [watchdog.look(float(now)) for now in range(start, end)]


def test_a_worker_that_turns_is_left_alone() -> None:
    worker = Worker(worker_tick=0.0)
    watchdog = worker.watchdog()
    for now in range(1000):
        worker.loop_tick, worker.worker_tick = float(now), now - 119.0
        assert watchdog.look(now + 0.5) is None


def test_a_loop_that_stands_still_ends_the_process() -> None:
    watchdog = Worker().watchdog()
    assert not any(_looks(watchdog, 0, 121))
    assert watchdog.look(121) == (EXIT_STUCK_LOOP, "the event loop has stood still for 121 s")


def test_so_does_a_consumers_loop_while_it_should_turn() -> None:
    worker = Worker(loop_tick=1e9)
    watchdog = worker.watchdog()
    assert not any(_looks(watchdog, 0, 1000))
    worker.worker_tick = 800.0
    assert watchdog.look(1000) == (EXIT_STUCK_LOOP, "the consumer's loop has stood still for 200 s")


def test_a_native_call_past_its_deadline_ends_the_process_at_once() -> None:
    worker = Worker(loop_tick=1e9)
    watchdog = worker.watchdog()
    assert watchdog.look(0) is None
    worker.overdue = 7.0
    assert watchdog.look(1) == (EXIT_STUCK_NATIVE, "native code is 7 s past its deadline")


def test_a_process_that_was_stopped_is_given_time_anew() -> None:
    """SIGSTOP for an hour: everything looks late when it goes on, and nothing is."""
    worker = Worker(worker_tick=0.0)
    watchdog = worker.watchdog()
    assert watchdog.look(0) is None
    worker.overdue = 3000.0
    assert not any(_looks(watchdog, 3600, 3721))
    assert watchdog.look(3721) == (EXIT_STUCK_NATIVE, "native code is 3000 s past its deadline")
    worker.overdue = None
    assert watchdog.look(3722) == (EXIT_STUCK_LOOP, "the event loop has stood still for 122 s")


_CHILD = """
import asyncio, ctypes, logging, threading, time
from consumer.engine.deadline import Deadlines
from consumer.watchdog import Watchdog

logging.basicConfig()
deadlines = Deadlines(margin=1, floor_seconds=0.3)
deadlines.end(deadlines.begin(30, 0), 0, teaches=True)
deadlines._factor = 0.0
ticks = [time.monotonic()]

def blocks():  # C code that has let go of the GIL
    call = deadlines.begin(30, time.monotonic())
    ctypes.CDLL(None).sleep(60)

async def main():
    watchdog = Watchdog(
        loop_tick=lambda: ticks[-1],
        worker_tick=lambda: None,
        overdue=lambda: deadlines.overdue(time.monotonic()),
        limit_seconds=1,
        interval_seconds=0.05,
    )
    watchdog.start()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        ticks.append(time.monotonic())
        await asyncio.sleep(0.05)
        {hang}

asyncio.run(main())
"""


def _run(hang: str) -> tuple[int, str]:
    program = textwrap.dedent(_CHILD).format(hang=hang)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("hang", "status", "message", "stack"),
    [
        ("time.sleep(60)", EXIT_STUCK_LOOP, "the event loop has stood still for 1 s", "in main"),
        (
            "threading.Thread(target=blocks, daemon=True).start() if threading.active_count() < 3 else None",
            EXIT_STUCK_NATIVE,
            "native code is 0 s past its deadline",
            "in blocks",
        ),
        # What hangs holds the lock of the log: telling fails, ending does not.
        ("logging.getLogger().handlers[0].acquire(); time.sleep(60)", EXIT_STUCK_LOOP, "", ""),
    ],
    ids=["loop", "native", "log"],
)
def test_what_really_hangs_ends_with_its_status(hang: str, status: int, message: str, stack: str) -> None:
    returncode, stderr = _run(hang)
    assert returncode == status, stderr
    assert message in stderr
    assert stack in stderr


def test_a_watchdog_that_was_stopped_ends_nothing() -> None:
    returncode, stderr = _run("watchdog.stop(); time.sleep(1.5); return")
    assert returncode == 0, stderr
