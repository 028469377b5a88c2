"""What the ledger reads out of workers' logs, also of those that were killed in the middle of a line."""

import json
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.collect import inferred_in
from tests.chaos.facts import Inferred

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STARTED = NOW.timestamp()


def line(second: int, offset: int, **fields: object) -> str:
    time = NOW.replace(second=second).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": time, "message": "x", "job_id": f"audio.uploaded-1-a-3-{offset}", **fields})


def test_beginnings_and_ends_are_paired_by_job(tmp_path: Path) -> None:
    lines = [
        line(1, 7, from_seconds=0.0),
        line(2, 8, from_seconds=60.0, alone=True),
        line(3, 7, message="something else"),
        line(4, 8, from_seconds=60.0, to_seconds=90.0),
        line(5, 7, from_seconds=0.0, to_seconds=11.0),
        line(6, 8, from_seconds=90.0),
    ]
    (tmp_path / "worker-1.1.log").write_text("\n".join(lines))
    assert inferred_in(tmp_path) == (
        Inferred("worker-1.1", (3, 8), STARTED + 2, 60.0, STARTED + 4, 90.0),
        Inferred("worker-1.1", (3, 7), STARTED + 1, 0.0, STARTED + 5, 11.0),
        Inferred("worker-1.1", (3, 8), STARTED + 6, 90.0, None, None),
    )


def test_a_line_that_was_cut_off_or_is_no_json_is_passed_over(tmp_path: Path) -> None:
    whole = line(1, 7, from_seconds=0.0)
    (tmp_path / "worker-1.1.log").write_text(f'Traceback\n"text"\n{whole}\n{whole[:40]}')
    assert inferred_in(tmp_path) == (Inferred("worker-1.1", (3, 7), STARTED + 1, 0.0, None, None),)
