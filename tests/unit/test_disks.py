"""The room on disks is told as it is when it is asked for."""

import math
import shutil
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from consumer.observe.disks import watch_disks
from consumer.observe.metrics import Metrics


def test_the_disk_of_a_directory_that_is_not_made_yet_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics(CollectorRegistry())
    watch_disks(metrics, tmp_path / "not" / "made", tmp_path)
    value = metrics.registry.get_sample_value
    total = shutil.disk_usage(tmp_path).total
    for disk in ("artifacts", "spool"):
        assert value("whisper_consumer_disk_size_bytes", {"disk": disk}) == total
        assert 0 <= (value("whisper_consumer_disk_free_bytes", {"disk": disk}) or -1) <= total

    def gone(_: Path) -> None:
        raise OSError("stale file handle")

    monkeypatch.setattr(shutil, "disk_usage", gone)
    assert math.isnan(value("whisper_consumer_disk_free_bytes", {"disk": "spool"}) or 0)
