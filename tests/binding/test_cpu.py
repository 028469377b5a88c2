"""What the kernel tells of the CPUs."""

from pathlib import Path

from binding import machine_features

CPUINFO = """\
processor\t: 0
flags\t\t: fpu avx avx2 amx_tile
bugs\t\t: spectre_v1

processor\t: 1
flags\t\t: fpu avx avx2
"""


def test_only_what_every_processor_has_counts(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    assert machine_features(tmp_path / "cpuinfo") == {"fpu", "avx", "avx2"}


def test_a_machine_without_flags_has_no_features(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor: 0\nFeatures: fp asimd\n")
    assert machine_features(tmp_path / "cpuinfo") == frozenset()
    assert machine_features(tmp_path / "absent") == frozenset()
