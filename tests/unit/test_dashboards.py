"""The dashboards that lie there are those that are written in their script, and are whole."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.generate_dashboards import DASHBOARDS, DIRECTORY, WIDTH, Dashboard, rendered


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.uid)
def test_a_file_is_up_to_date_and_whole(dashboard: Dashboard) -> None:
    text = (DIRECTORY / f"{dashboard.uid}.json").read_text(encoding="utf-8")
    assert text == rendered(dashboard), "run scripts/generate_dashboards.py"
    document: dict[str, Any] = json.loads(text)
    panels = document["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] and '$job"' in target["expr"] for target in panel["targets"]), panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= WIDTH
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)


def test_there_are_no_others() -> None:
    assert {path.stem for path in Path(DIRECTORY).glob("*.json")} == {dashboard.uid for dashboard in DASHBOARDS}
