"""tests/bench/scale.py: points that are kept, and what tables and plots make of them."""

import json
import wave
from pathlib import Path
from typing import Any

import pytest

from tests.bench import scale

COSTS = {"x": 20.5, "cpu_seconds_per_audio_second": 0.07, "rest_megabytes": 300, "peak_megabytes": 1400}
POINTS: dict[str, list[dict[str, Any]]] = {
    "length": [
        {"size": "base", "seconds": 10.2, "recordings": 12, **COSTS},
        {"size": "base", "seconds": 3600.1, "recordings": 1, **COSTS, "peak_megabytes": 1450},
        {"size": "tiny.en", "seconds": 7200.3, "recordings": 1, **COSTS},
    ],
    "queue": [
        {
            "kind": kind,
            "events": events,
            "events_per_second": 500.0,
            "cpu_milliseconds_per_event": 1.5,
            "peak_megabytes": 200,
        }
        for kind in ("new", "stored")
        for events in (10, 100_000)
    ],
    "states": [{"states": count, **COSTS} for count in (1, 2)],
    "workers": [
        {
            "workers": 2,
            "states_each": 1,
            "cpus": "one each",
            **COSTS,
            "own_pss_megabytes": 500,
            "own_rss_megabytes": 600,
            "shared_megabytes_each": 50,
            "model_megabytes": 102,
        }
    ],
    "start": [{"size": "base", "starts": 3, "ready_seconds": 2.5, "first_transcript_seconds": 3.0}],
}


async def test_what_was_finished_is_not_made_again(tmp_path: Path) -> None:
    made = 0

    async def make() -> dict[str, Any]:
        nonlocal made
        made += 1
        return {"n": made}

    path = tmp_path / "new" / "pieces.json"
    assert await scale.Pieces(path).once("one", make) == {"n": 1}
    again = scale.Pieces(path)
    assert await again.once("one", make) == {"n": 1}
    assert await again.once("other", make) == {"n": 2}
    assert await scale.Pieces(path, fresh=True).once("one", make) == {"n": 3}


async def test_an_item_that_there_is_not_is_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError, match="length, queue, states, workers, start"):
        await scale.measure(quick=True, only="depth")


def test_each_item_has_a_table_with_all_its_points() -> None:
    assert POINTS.keys() == scale.ITEMS.keys()
    text = scale.table({"machine": {"cpu": "a CPU", "cpu_class": "a class", "cores": 2}, "items": POINTS})
    blocks = [block.splitlines() for block in text.split("\n\n")[1:]]
    assert [len(block) - 2 for block in blocks] == [len(points) for points in POINTS.values()]
    assert all(len({line.count("|") for line in block}) == 1 for block in blocks)
    assert "| base | 3,600.1 | 1 | 20.5 | 0.07 | 300 | 1,450 |" in text


def test_curves_keep_models_and_kinds_of_recordings_apart() -> None:
    curves = {curve["name"]: curve for curve in scale.curves(POINTS)}
    memory = curves["memory by length, base"]
    assert (memory["x"], memory["y"], memory["log_x"]) == ([10.2, 3600.1], [1400, 1450], True)
    assert curves["cost by length, tiny.en"]["x"] == [7200.3]
    assert curves["speed by queue, stored"]["x"] == [10, 100_000]
    assert curves["speed by states"]["log_x"] is False
    assert json.loads(json.dumps(list(curves.values()))) == list(curves.values())


def test_nothing_measured_gives_no_curve() -> None:
    assert scale.curves({"start": POINTS["start"]}) == []


@pytest.mark.corpus
def test_a_long_recording_has_its_length_and_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    assert scale.long_recording(path, 70).seconds == 70
    written = path.stat()
    with wave.open(str(path)) as file:
        assert (file.getnframes(), file.getparams()[:3]) == (70 * 16_000, (1, 2, 16_000))
    scale.long_recording(path, 70)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    assert list(tmp_path.iterdir()) == [path]
