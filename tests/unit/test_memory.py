"""Memory is foreseen by the container's limit, cgroup v2 and v1, or by what the machine has left."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.memory import (
    RECORDING_BYTES,
    RESERVE_BYTES,
    WINDOW_BYTES,
    affordable_in_flight,
    memory_limit_bytes,
    resident_bytes,
)
from consumer.settings import ModelSize

MIB = 1024**2
RESIDENT_BYTES = 300 * MIB
LEFT_BYTES = 8192 * MIB
"""What the machine of these tests has left, the process's own memory included."""

sizes = st.sampled_from(get_args(ModelSize))
amounts = st.integers(0, 2**40)
states = st.integers(1, 256)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    available = (LEFT_BYTES - RESIDENT_BYTES) // 1024
    _write(tmp_path / "proc" / "meminfo", f"MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: {available:8} kB\n")
    _write(tmp_path / "proc" / "self" / "status", f"Name:\tpython\nVmHWM:\t9 kB\nVmRSS:\t{RESIDENT_BYTES // 1024} kB\n")
    return tmp_path / "proc"


def _limit(tmp_path: Path, proc: Path) -> int:
    return memory_limit_bytes(tmp_path / "cgroup", tmp_path / "own", proc)


@pytest.mark.parametrize(
    ("maximum", "high", "expected"),
    [
        ("max", "max", LEFT_BYTES),
        (str(512 * MIB), "max", 512 * MIB),
        (str(512 * MIB), str(400 * MIB), 400 * MIB),
        ("max", str(400 * MIB), 400 * MIB),
        ("nonsense", "max", LEFT_BYTES),
        (str(2 * LEFT_BYTES), "max", LEFT_BYTES),
    ],
)
def test_a_limit_of_cgroup_v2(tmp_path: Path, proc: Path, maximum: str, high: str, expected: int) -> None:
    _write(tmp_path / "cgroup" / "memory.max", f"{maximum}\n")
    _write(tmp_path / "cgroup" / "memory.high", f"{high}\n")
    _write(tmp_path / "own", "0::/\n")
    assert _limit(tmp_path, proc) == expected


@pytest.mark.parametrize(("pod", "container"), [("max", str(512 * MIB)), (str(512 * MIB), str(600 * MIB))])
def test_the_tightest_limit_on_the_way_up_counts(tmp_path: Path, proc: Path, pod: str, container: str) -> None:
    _write(tmp_path / "cgroup" / "pods" / "memory.max", pod)
    _write(tmp_path / "cgroup" / "pods" / "worker" / "memory.max", container)
    _write(tmp_path / "own", "0::/pods/worker\n")
    assert _limit(tmp_path, proc) == 512 * MIB


@pytest.mark.parametrize(("limit", "expected"), [("9223372036854771712", LEFT_BYTES), (str(512 * MIB), 512 * MIB)])
@pytest.mark.parametrize("directory", ["memory/docker/worker", "memory/docker", "memory"])
def test_a_limit_of_cgroup_v1(tmp_path: Path, proc: Path, directory: str, limit: str, expected: int) -> None:
    _write(tmp_path / "cgroup" / directory / "memory.limit_in_bytes", limit)
    _write(tmp_path / "cgroup" / "cpu" / "docker" / "worker" / "memory.limit_in_bytes", "1")
    _write(tmp_path / "own", "7:cpu,cpuacct:/docker/worker\n4:memory:/docker/worker\n0::/\n")
    assert _limit(tmp_path, proc) == expected


def test_without_cgroups_what_the_machine_has_left_counts(tmp_path: Path, proc: Path) -> None:
    assert _limit(tmp_path, proc) == LEFT_BYTES


def test_a_machine_that_does_not_tell_is_an_error(tmp_path: Path, proc: Path) -> None:
    _write(proc / "meminfo", "MemTotal: 16777216 kB\n")
    with pytest.raises(OSError, match="MemAvailable"):
        _limit(tmp_path, proc)


def test_this_process_has_memory_and_may_use_it() -> None:
    assert 10 * MIB < resident_bytes() < memory_limit_bytes()


@given(amounts, amounts, states, sizes)
def test_at_least_one_recording_whatever_is_left(limit: int, resident: int, n_states: int, size: str) -> None:
    assert affordable_in_flight(limit, resident, n_states, size) >= 1


@given(amounts, amounts, states, sizes)
def test_what_is_afforded_fits(limit: int, resident: int, n_states: int, size: str) -> None:
    recording = RECORDING_BYTES + (n_states + 1) * WINDOW_BYTES
    count = affordable_in_flight(limit, resident, n_states, size)
    if count > 1:
        assert resident + RESERVE_BYTES + count * recording < limit
    assert affordable_in_flight(limit + recording, resident, n_states, size) - count in (0, 1)


@given(amounts, amounts, states, sizes, st.integers(0, 2**30))
def test_more_memory_never_affords_less(limit: int, resident: int, n_states: int, size: str, more: int) -> None:
    count = affordable_in_flight(limit, resident, n_states, size)
    assert affordable_in_flight(limit + more, resident, n_states, size) >= count
    assert affordable_in_flight(limit, resident + more, n_states, size) <= count
    assert affordable_in_flight(limit, resident, n_states + 1, size) <= count


@pytest.mark.parametrize(
    ("model_size", "n_states", "loaded_mib", "peak_mib", "in_flight"),
    [
        ("base", 2, 249, 794, 16),
        ("base", 2, 249, 606, 8),
        ("base", 4, 307, 757, 8),
        ("tiny.en", 2, 163, 531, 8),
        ("tiny.en", 8, 324, 930, 8),
    ],
)
def test_what_was_measured_is_foreseen(
    model_size: str, n_states: int, loaded_mib: int, peak_mib: int, in_flight: int
) -> None:
    """A container that would just have been killed gets fewer recordings; one with half as much more room gets them."""
    enough_mib = loaded_mib + (peak_mib - loaded_mib) * 3 // 2
    assert affordable_in_flight(peak_mib * MIB, loaded_mib * MIB, n_states, model_size) < in_flight
    assert affordable_in_flight(enough_mib * MIB, loaded_mib * MIB, n_states, model_size) >= in_flight
