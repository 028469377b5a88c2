"""A recording that turns out not to be wanted is a counted skip, also beside others of one record."""

import json
from typing import Any

from prometheus_client import CollectorRegistry

from consumer.delivery.handling import RecordHandler, Rules
from consumer.delivery.job import Job, Outcome, SourceRecord
from consumer.errors import NotWanted
from consumer.observe.metrics import Metrics, RecordOutcome
from consumer.outages import Outages


class Work:
    """Wants no recording whose key says that it is short."""

    async def do(self, job: Job, attempt: Any) -> Outcome:  # noqa: ARG002
        if "short" in job.upload.key:
            raise NotWanted("too short")
        return Outcome(job.upload.key.encode(), b"{}")

    async def given_up(self, *_: Any) -> None:
        raise AssertionError("nothing is given up")


class FirstAttempt:
    deaths = 0


def record(*keys: str) -> SourceRecord:
    events = [
        {"s3": {"bucket": {"name": "calls"}, "object": {"key": key}}, "eventName": "s3:ObjectCreated:Put"}
        for key in keys
    ]
    return SourceRecord("in", 0, 7, 0, None, json.dumps({"Records": events}).encode())


async def test_it_is_skipped_and_counted() -> None:
    metrics = Metrics(CollectorRegistry())
    handler = RecordHandler(Work(), Rules({"calls"}, "out", "letters", "group", 3), Outages(metrics), metrics)
    alone = await handler.handle(record("short.wav"), FirstAttempt())  # type: ignore[arg-type]  # all that is asked
    assert (alone.outcome, alone.messages) == (RecordOutcome.SKIPPED, ())
    beside = await handler.handle(record("short.wav", "long.wav"), FirstAttempt())  # type: ignore[arg-type]
    assert (beside.outcome, [message.key for message in beside.messages]) == (RecordOutcome.COMPLETED, [b"long.wav"])
    assert metrics.registry.get_sample_value("whisper_consumer_events_total", {"kind": "filtered"}) == 2
