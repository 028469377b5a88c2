"""What is to be answered to one record: parse → work → messages out, or a dead letter, or nothing.

Nothing is published here: how answers and offsets reach the broker is another matter (``effectively_once``,
``exactly_once``).
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from consumer.delivery.deadletters import Verdict, headers_of, verdict_on
from consumer.delivery.job import Attempt, Headers, Job, Outcome, SourceRecord, Work
from consumer.errors import Reason, Rejected, Stage
from consumer.events import Parsed, Skip, Uploads, check_buckets, parse
from consumer.observe.metrics import EventKind, Metrics, RecordOutcome
from consumer.outages import Outages

log = logging.getLogger(__name__)

SOURCE = "whisper-consumer-source"
"""Header of each message on the output topic: the record it answers, as topic-partition-offset."""


@dataclass(frozen=True, slots=True)
class Message:
    """What goes to a topic."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Answer:
    """All that is to be sent about one record, before its offset may be committed."""

    outcome: RecordOutcome
    messages: tuple[Message, ...] = ()
    reason: Reason | None = None
    """Of a dead letter."""


class CountedAttempt(Attempt, Protocol):
    """An attempt that knows of those before it."""

    @property
    def deaths(self) -> int:
        """Deaths of a worker that are counted against the record."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """Which recordings are allowed, how often they may kill a worker, and where answers go."""

    input_buckets: Collection[str]
    output_topic: str
    dead_letter_topic: str
    group_id: str
    max_attempts: int


class RecordHandler:
    """Deals with records, each on its own."""

    def __init__(self, work: Work, rules: Rules, outages: Outages, metrics: Metrics) -> None:
        self._work = work
        self._rules = rules
        self._outages = outages
        self._metrics = metrics

    async def handle(self, record: SourceRecord, attempt: CountedAttempt) -> Answer:
        """Do what the record asks for.

        Outages are waited for without end. Raises nothing but CancelledError: the record is then unanswered.
        """
        try:
            parsed = self._parse(record)
        except Exception as error:  # noqa: BLE001 - verdict_on tells rejections from defects
            self._metrics.events.labels(EventKind.REJECTED).inc()
            return self._dead_letter(record, _verdict_on(error, attempts=0))
        if isinstance(parsed, Skip):
            self._metrics.events.labels(parsed.kind).inc()
            log.debug("skipped: %s", parsed.why)
            return Answer(RecordOutcome.SKIPPED)
        self._metrics.events.labels(EventKind.AUDIO_UPLOADED).inc()
        jobs = [Job(upload, record.topic, record.partition, record.offset) for upload in parsed.uploads]
        return await self._answer(record, jobs, attempt)

    def _parse(self, record: SourceRecord) -> Parsed:
        parsed = parse(record.headers, record.key, record.value)
        if isinstance(parsed, Uploads):
            check_buckets(parsed, self._rules.input_buckets)
        return parsed

    async def _answer(self, record: SourceRecord, jobs: Sequence[Job], attempt: CountedAttempt) -> Answer:
        if attempt.deaths >= self._rules.max_attempts:
            verdict = _crashed(attempt.deaths)
            for job in jobs:
                await self._give_up(job, verdict)
            return self._dead_letter(record, verdict)
        results = [await self._do(job, attempt) for job in jobs]
        messages = tuple(self._message(record, result) for result in results if isinstance(result, Outcome))
        verdicts = [result for result in results if isinstance(result, Verdict)]
        if verdicts:
            return self._dead_letter(record, verdicts[0], messages)
        return Answer(RecordOutcome.COMPLETED, messages)

    async def _do(self, job: Job, attempt: CountedAttempt) -> Outcome | Verdict:
        """Do the work of one job; the verdict where it can never succeed."""
        attempts = attempt.deaths

        async def once() -> Outcome:
            nonlocal attempts
            attempts += 1
            return await self._work.do(job, attempt)

        try:
            return await self._outages.until_available(once)
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                raise
            verdict = _verdict_on(error, attempts)  # something inside the work was cancelled, and leaked
        except Exception as error:  # noqa: BLE001 - verdict_on tells rejections from defects
            verdict = _verdict_on(error, attempts)
        await self._give_up(job, verdict)
        return verdict

    async def _give_up(self, job: Job, verdict: Verdict) -> None:
        await self._outages.until_available(
            lambda: self._work.given_up(job, verdict.reason, verdict.stage, verdict.message)
        )

    def _message(self, record: SourceRecord, outcome: Outcome) -> Message:
        source = f"{record.topic}-{record.partition}-{record.offset}"
        headers = (*outcome.headers, (SOURCE, source.encode()))
        return Message(self._rules.output_topic, outcome.key, outcome.value, headers)

    def _dead_letter(self, record: SourceRecord, verdict: Verdict, beside: tuple[Message, ...] = ()) -> Answer:
        """The record itself, with why it is given up; ``beside`` are answers to other objects that it names."""
        log.warning("dead letter, reason %s at stage %s: %s", verdict.reason, verdict.stage, verdict.message)
        headers = headers_of(record, verdict, self._rules.group_id)
        letter = Message(self._rules.dead_letter_topic, record.key, record.value, headers)
        return Answer(RecordOutcome.DEAD_LETTERED, (*beside, letter), verdict.reason)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _verdict_on(error: BaseException, attempts: int) -> Verdict:
    if not isinstance(error, Rejected):
        log.error("a defect of the worker ended the work on this record", exc_info=error)
    return verdict_on(error, attempts)


def _crashed(deaths: int) -> Verdict:
    message = (
        f"the worker died {deaths} times while it worked on this recording and on no other; its container's log says "
        "how (out of memory, a fault in native code); redrive it once that is mended"
    )
    return Verdict(Reason.CRASHED, Stage.TRANSCRIBE, message, deaths, Rejected)
