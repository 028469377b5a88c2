"""consumer/engine/cpu_watch.py: what others leave of the CPUs."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine import cpu_watch
from consumer.engine.cpu_watch import CpuWatch, busy_ticks, cpus_left

STAT = """\
cpu  300 0 30 3000 3 0 0 0 0 0
cpu0 100 1 10 1000 7 2 3 4 50 60
cpu1 200 0 20 2000 0 0 0 0 0 0
intr 1 2 3
ctxt 12
"""


def test_busy_is_all_but_idle_waiting_and_what_guests_have_again() -> None:
    assert busy_ticks(STAT, {0}) == 100 + 1 + 10 + 2 + 3 + 4
    assert busy_ticks(STAT, {1}) == 220
    assert busy_ticks(STAT, {0, 1}) == 120 + 220


def test_anything_else_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        busy_ticks("cpu0 a b c d e", {0})


@given(st.integers(1, 256), st.floats(-1, 300))
def test_there_is_always_one_and_never_more_than_all(n_cpus: int, others: float) -> None:
    assert 1 <= cpus_left(n_cpus, others) <= n_cpus


@given(st.integers(1, 256), st.floats(0, 0.4))
def test_a_little_work_of_others_does_not_count(n_cpus: int, others: float) -> None:
    assert cpus_left(n_cpus, others) == n_cpus


class TestLooks:
    @pytest.fixture(autouse=True)
    def _at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cpu_watch, "LEAST_SECONDS", 0.0)

    def watch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: list[float]) -> CpuWatch:
        """One second from look to look, on four CPUs, of which so many seconds altogether are busy in each."""
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
        clock = iter(range(100))
        monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
        monkeypatch.setattr(time, "process_time", lambda: 0.0)
        ticks = os.sysconf("SC_CLK_TCK")
        totals = iter([0.0, *busy])
        stat = tmp_path / "stat"
        monkeypatch.setattr(
            Path, "read_text", lambda path: f"cpu3 {round(next(totals) * ticks)} 0 0 0 0 0 0 0" if path == stat else ""
        )
        return CpuWatch(stat)

    def test_what_others_take_is_not_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        watch = self.watch(tmp_path, monkeypatch, [0.0, 2.0, 6.0, 6.2])
        assert [watch.left() for _ in range(4)] == [4, 2, 1, 4]

    def test_what_is_ours_is_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        watch = self.watch(tmp_path, monkeypatch, [3.0])
        monkeypatch.setattr(time, "process_time", lambda: 3.0)
        assert watch.left() == 4


def test_without_the_kernels_word_all_are_left(tmp_path: Path) -> None:
    watch = CpuWatch(tmp_path / "missing")
    assert watch.left() == len(os.sched_getaffinity(0))


def test_on_this_machine_the_kernels_word_is_understood() -> None:
    assert busy_ticks(Path("/proc/stat").read_text(), os.sched_getaffinity(0)) > 0
