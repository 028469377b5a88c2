"""CPUs by the container's quota, cgroup v2 and v1, not by the host's cores."""

import os
from pathlib import Path

import pytest

from consumer.engine.cpus import usable_cpus

CORES = len(os.sched_getaffinity(0))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", CORES),
        ("100000 100000", 1),
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("nonsense", CORES),
        (f"{CORES + 3}00000 100000", CORES),
    ],
)
def test_a_quota_of_cgroup_v2(tmp_path: Path, quota: str, expected: int) -> None:
    _write(tmp_path / "cgroup" / "cpu.max", quota)
    _write(tmp_path / "own", "0::/\n")
    assert usable_cpus(tmp_path / "cgroup", tmp_path / "own") == expected


def test_the_tightest_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    _write(tmp_path / "cgroup" / "pods" / "cpu.max", "100000 100000")
    _write(tmp_path / "cgroup" / "pods" / "worker" / "cpu.max", "max 100000")
    _write(tmp_path / "own", "0::/pods/worker\n")
    assert usable_cpus(tmp_path / "cgroup", tmp_path / "own") == 1


@pytest.mark.parametrize(("quota", "expected"), [("-1", CORES), ("100000", 1)])
def test_a_quota_of_cgroup_v1(tmp_path: Path, quota: str, expected: int) -> None:
    _write(tmp_path / "cgroup" / "cpu,cpuacct" / "docker" / "cpu.cfs_quota_us", quota)
    _write(tmp_path / "cgroup" / "cpu,cpuacct" / "docker" / "cpu.cfs_period_us", "100000")
    _write(tmp_path / "own", "4:cpu,cpuacct:/docker\n3:memory:/docker\n")
    assert usable_cpus(tmp_path / "cgroup", tmp_path / "own") == expected


def test_without_cgroups_affinity_counts(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path / "absent", tmp_path / "absent") == CORES
