"""The doctor's report, and what it reads off the machine."""

import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from consumer.operate.doctor import Check, render, run_doctor, to_json
from consumer.operate.doctor.host import available_memory_bytes

CHECKS = [
    Check("settings", True, "complete", "nothing to do"),
    Check("bucket [b]calls", False, "access denied", "allow s3:GetObject"),
    Check("Kafka", None, "not looked at:\nno settings"),
]


def test_the_report_for_a_person_in_a_pipe_is_plain_text() -> None:
    stream = io.StringIO()
    render(CHECKS, Console(file=stream, width=20))
    assert stream.getvalue() == (
        "✓ settings         complete\n"
        "✗ bucket [b]calls  access denied\n"
        "                   → allow s3:GetObject\n"
        "– Kafka            not looked at:\n"
        "                   no settings\n"
    )


def test_the_report_for_a_program() -> None:
    first, second, third = json.loads(to_json(CHECKS))
    assert first == {"name": "settings", "ok": True, "found": "complete", "advice": "nothing to do"}
    assert (second["ok"], third["ok"]) == (False, None)


def test_without_settings_the_command_says_what_is_missing_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        monkeypatch.delenv(name)
    stream = io.StringIO()
    assert run_doctor(as_json=True, console=Console(file=stream, width=20)) == 1
    checks = {check["name"]: check for check in json.loads(stream.getvalue())}
    assert checks["settings"]["ok"] is False
    assert "KAFKA_BOOTSTRAP_SERVERS is not set" in checks["settings"]["found"]
    assert (checks["Kafka"]["ok"], checks["object store"]["ok"]) == (None, None)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max", 2_048_000), ("1000000", 1_000_000), ("9223372036854771712", 2_048_000), (None, 2_048_000)],
)
def test_memory_is_what_kernel_and_container_leave(tmp_path: Path, limit: str | None, expected: int) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  4000 kB\nMemAvailable:   2000 kB\nHugePages_Total:   0\n")
    cgroup = tmp_path / "memory.max"
    if limit is not None:
        cgroup.write_text(limit + "\n")
    assert available_memory_bytes(meminfo, (cgroup,)) == expected
