"""What is done about one record: parse → work → publish, or a dead letter, or nothing."""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from consumer.delivery.deadletters import Verdict, headers_of, verdict_on
from consumer.delivery.job import Headers, Job, Outcome, SourceRecord, Work
from consumer.delivery.retry import Outages
from consumer.errors import Rejected, Stage
from consumer.events import Parsed, Skip, Uploads, check_buckets, parse
from consumer.observe.logs import bind
from consumer.observe.metrics import EventKind, Metrics, RecordOutcome

log = logging.getLogger(__name__)


class Publishes(Protocol):
    """Where messages go; returns once they are acknowledged, raises Unavailable where they are not."""

    async def publish(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """Which recordings are allowed, and where answers go."""

    input_buckets: Collection[str]
    output_topic: str
    dead_letter_topic: str
    group_id: str


class RecordHandler:
    """Deals with records, each on its own."""

    def __init__(self, work: Work, publisher: Publishes, rules: Rules, outages: Outages, metrics: Metrics) -> None:
        self._work = work
        self._publisher = publisher
        self._rules = rules
        self._outages = outages
        self._metrics = metrics

    async def handle(self, record: SourceRecord) -> None:
        """Return once the record is answered for good: its offset may then be committed.

        Outages are waited for without end. Raises nothing but CancelledError: the record is then unanswered.
        """
        with bind(
            job_id=f"{record.topic}-{record.partition}-{record.offset}",
            partition=record.partition,
            offset=record.offset,
        ):
            outcome = await self._answer(record)
            self._metrics.records_finished.labels(outcome).inc()

    async def _answer(self, record: SourceRecord) -> RecordOutcome:
        try:
            parsed = self._parse(record)
        except Exception as error:  # noqa: BLE001 - verdict_on tells rejections from defects
            self._metrics.events.labels(EventKind.REJECTED).inc()
            return await self._dead_letter(record, _verdict_on(error, attempts=0))
        if isinstance(parsed, Skip):
            self._metrics.events.labels(parsed.kind).inc()
            log.debug("skipped: %s", parsed.why)
            return RecordOutcome.SKIPPED
        self._metrics.events.labels(EventKind.AUDIO_UPLOADED).inc()
        jobs = [Job(upload, record.topic, record.partition, record.offset) for upload in parsed.uploads]
        verdicts = [verdict for job in jobs if (verdict := await self._do(job))]
        if verdicts:
            return await self._dead_letter(record, verdicts[0])
        return RecordOutcome.COMPLETED

    def _parse(self, record: SourceRecord) -> Parsed:
        parsed = parse(record.headers, record.key, record.value)
        if isinstance(parsed, Uploads):
            check_buckets(parsed, self._rules.input_buckets)
        return parsed

    async def _do(self, job: Job) -> Verdict | None:
        """Do the work of one job and publish its outcome; the verdict where it can never succeed."""
        attempts = 0

        async def attempt() -> Outcome:
            nonlocal attempts
            attempts += 1
            return await self._work(job)

        try:
            outcome = await self._outages.until_available(attempt)
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                raise
            return _verdict_on(error, attempts)  # something inside the work was cancelled, and leaked
        except Exception as error:  # noqa: BLE001 - verdict_on tells rejections from defects
            return _verdict_on(error, attempts)
        await self._publish(self._rules.output_topic, outcome.key, outcome.value, outcome.headers)
        return None

    async def _dead_letter(self, record: SourceRecord, verdict: Verdict) -> RecordOutcome:
        """Send the record to the dead-letter topic, and return once it is there."""
        log.warning("dead letter, reason %s at stage %s: %s", verdict.reason, verdict.stage, verdict.message)
        headers = headers_of(record, verdict, self._rules.group_id)
        await self._publish(self._rules.dead_letter_topic, record.key, record.value, headers)
        self._metrics.dead_letters.labels(verdict.reason).inc()
        return RecordOutcome.DEAD_LETTERED

    async def _publish(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        with bind(stage=Stage.PUBLISH):
            await self._outages.until_available(lambda: self._publisher.publish(topic, key, value, headers))


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _verdict_on(error: BaseException, attempts: int) -> Verdict:
    if not isinstance(error, Rejected):
        log.error("a defect of the worker ended the work on this record", exc_info=error)
    return verdict_on(error, attempts)
