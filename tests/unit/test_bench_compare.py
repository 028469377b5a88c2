"""What the comparison leaves out, since it cannot win."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.bench.compare import Comparison, _beaten
from tests.bench.journal import Journal
from tests.bench.runs import Run
from tests.bench.work import Work


class _Mode:
    """Takes for ever, or no time; notes how it ended."""

    at_once = 1

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        self.seconds = seconds
        self.ended = ""

    def __str__(self) -> str:
        return self.name

    async def run(self, *_: object, **__: object) -> Run | None:
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        return _run(1.0)


def _run(seconds: float) -> Run:
    return Run(seconds, 1.0, 1.0, ["text"])


@pytest.fixture
def comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Comparison:
    monkeypatch.setattr("tests.bench.journal.CACHE_DIR", tmp_path)
    nothing: Any = None
    return Comparison(Journal(fresh=True), nothing, tmp_path, "base")


async def test_a_mode_that_takes_too_long_is_ended_and_not_tried_again(comparison: Comparison) -> None:
    hopeless, work = _Mode("hopeless", 3600), Work("short", (), ())
    assert await comparison.tried(hopeless, work, within_seconds=0) is None
    assert hopeless.ended == "cancelled"
    hopeless.seconds = 0
    assert await comparison.tried(hopeless, work, within_seconds=60) is None  # as the journal has it
    assert await comparison.tried(_Mode("quick", 0), work, within_seconds=60) == _run(1.0)


def test_who_takes_twice_as_long_as_the_best_is_beaten() -> None:
    runs = {"best": [_run(10.0)], "near": [_run(19.9)], "far": [_run(20.1)], "cannot": []}
    assert _beaten(runs) == {"far"}
    assert _beaten({"cannot": []}) == set()
