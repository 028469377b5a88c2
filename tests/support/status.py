"""A worker as its status page sees it, of which a test decides everything."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from consumer.delivery.partitions import Overview
from consumer.health import WorkerHealth
from consumer.observe.activity import Activity
from consumer.observe.metrics import Metrics
from consumer.outages import Outages
from consumer.status import About, Watched


@dataclass
class Consumer:
    """The delivery as health sees it: joined, with two partitions."""

    joined: bool = True
    last_tick: float = field(default=float("inf"))
    stopped_because: str | None = None
    partitions: list[Overview] = field(default_factory=lambda: [Overview(0, 41, 2), Overview(3, None, 0)])


@dataclass
class Scene:
    """Everything that is watched."""

    metrics: Metrics
    outages: Outages
    health: WorkerHealth
    activity: Activity

    @property
    def watched(self) -> Watched:
        started = datetime(2026, 1, 2, tzinfo=UTC)
        about = About("1.2.3", "host-1", "group", "audio.uploaded", "audio.transcripts", started)
        return Watched(about, self.metrics.registry, self.health, self.outages, self.activity)


def scene(*, with_text: bool = False) -> Scene:
    """A worker that is ready and has nothing to do."""
    metrics = Metrics(CollectorRegistry())
    outages = Outages(metrics)
    health = WorkerHealth(metrics, outages)
    health.consuming(Consumer())
    metrics.model_info.info({"size": "base", "precision": "q8_0"})
    return Scene(metrics, outages, health, Activity(with_text=with_text))
