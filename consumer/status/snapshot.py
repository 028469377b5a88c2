"""One look at the worker: what the page and ``/status`` show, as plain values. Keys as in the project's events."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry

from consumer.delivery.partitions import Overview
from consumer.errors import Reason
from consumer.health import WorkerHealth
from consumer.observe.activity import Activity, Finished, Recording
from consumer.observe.metrics import DEPENDENCIES, NAMESPACE
from consumer.outages import Outages

Snapshot = dict[str, Any]


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while the worker runs."""

    version: str
    host: str
    group_id: str
    input_topic: str
    output_topic: str
    started: datetime


@dataclass(frozen=True, slots=True)
class Watched:
    """Whom to ask."""

    about: About
    registry: CollectorRegistry
    health: WorkerHealth
    outages: Outages
    activity: Activity


def snapshot(watched: Watched) -> Snapshot:
    """Everything at this moment. Durations in seconds, times in UTC."""

    def value(name: str, **labels: str) -> float:
        return watched.registry.get_sample_value(f"{NAMESPACE}_{name}", labels) or 0.0

    about, waiting = watched.about, watched.outages.waiting
    (live, phase), (ready, why) = watched.health.live(), watched.health.ready()
    reasons = {reason.value: int(value("dead_letters_total", reason=reason)) for reason in Reason}
    return {
        "time": datetime.now(UTC),
        "worker": {
            "version": about.version,
            "host": about.host,
            "started": about.started,
            "live": live,
            "ready": ready,
            "phase": phase,
            "why": why,
        },
        "model": _model(watched.registry),
        "consumerGroup": {
            "groupId": about.group_id,
            "inputTopic": about.input_topic,
            "outputTopic": about.output_topic,
            "lag": int(value("lag")),
            "rebalances": int(value("rebalances_total")),
            "partitions": [_partition(each) for each in watched.health.partitions],
        },
        "dependencies": [
            {
                "name": name,
                "available": name not in waiting,
                "waitingSeconds": waiting[name].seconds if name in waiting else 0.0,
                "message": waiting[name].message if name in waiting else "",
            }
            for name in DEPENDENCIES
        ],
        "states": {
            "count": int(value("states")),
            "busy": int(value("states_busy")),
            "windowsQueued": int(value("windows_queued")),
        },
        "audio": {
            "finishedSeconds": value("audio_out_seconds_total"),
            "backlogSeconds": value("backlog_audio_seconds"),
        },
        "inFlight": [_recording(each) for each in watched.activity.in_flight],
        "recent": [_finished(each) for each in watched.activity.recent],
        "deadLetters": {reason: count for reason, count in reasons.items() if count},
    }


def _model(registry: CollectorRegistry) -> dict[str, str]:
    """The labels of the metric that tells about it; empty before it is loaded."""
    found = (family for family in registry.collect() if family.name == f"{NAMESPACE}_model")
    return next((dict(sample.labels) for family in found for sample in family.samples), {})


def _partition(each: Overview) -> Snapshot:
    return {"partition": each.partition, "finishedBelow": each.finished_below, "unfinished": each.unfinished}


def _recording(each: Recording) -> Snapshot:
    return {
        "bucket": each.bucket,
        "key": each.key,
        "record": each.record,
        "seconds": each.age_seconds,
        "stage": each.stage.value,
        "durationSeconds": each.duration_seconds,
        "doneSeconds": each.done_seconds,
        "shareDone": each.share_done,
        "speed": each.speed,
        "text": each.text,
    }


def _finished(each: Finished) -> Snapshot:
    return {
        "bucket": each.bucket,
        "key": each.key,
        "ending": each.ending,
        "ended": each.ended,
        "seconds": each.seconds,
        "audioSeconds": each.audio_seconds,
        "language": each.language,
        "text": each.text,
    }
