"""What is to be answered to one record: parse → work → messages out, or a dead letter, or nothing.

Nothing is published here: how answers and offsets reach the broker is another matter (``effectively_once``,
``exactly_once``).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Self

from consumer.delivery.cancellations import Cancellations, is_being_cancelled
from consumer.delivery.deadletters import Verdict, headers_of, verdict_on
from consumer.delivery.failures import failed_event
from consumer.delivery.job import Attempt, Headers, Job, Outcome, SourceRecord, Work
from consumer.errors import NotWanted, Reason, Rejected, Stage
from consumer.events import Filters, Parsed, Skip, SkipKind, Trace, Uploads, check_buckets, parse, trace_id_of, trace_in
from consumer.observe import spans
from consumer.observe.metrics import EventKind, Metrics, RecordOutcome
from consumer.outages import Outages
from schemas import AudioUploaded
from schemas.cloud_event import STRUCTURED_HEADERS

log = logging.getLogger(__name__)

SOURCE = "whisper-consumer-source"
"""Header of each message that answers a record: the record it answers, as topic-partition-offset."""


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
    audio_seconds: tuple[float, ...] = ()
    """Of each recording that was transcribed."""
    trace_id: str | None = None


AsJson = Callable[[bytes | None], Awaitable[bytes | None]]
"""Turns a value that is in another format into JSON. Raises Rejected, Unavailable."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which recordings are allowed, how often they may kill a worker, and where answers go."""

    input_buckets: Collection[str]
    output_topic: str
    dead_letter_topic: str
    group_id: str
    max_attempts: int
    failed_topic: str | None = None
    filters: Filters = field(default_factory=Filters)


class RecordHandler:
    """Deals with records, each on its own."""

    def __init__(
        self,
        work: Work,
        rules: Rules,
        outages: Outages,
        metrics: Metrics,
        cancellations: Cancellations | None = None,
        as_json: AsJson | None = None,
    ) -> None:
        """``as_json`` turns values into JSON that are in another format, see ``SchemaRegistry``."""
        self._cancellations = cancellations or Cancellations()
        self._work = work
        self._rules = rules
        self._outages = outages
        self._metrics = metrics
        self._as_json = as_json

    async def handle(self, record: SourceRecord, attempt: Attempt) -> Answer:
        """Do what the record asks for.

        Outages are waited for without end. Raises nothing but CancelledError: the record is then unanswered.
        """
        try:
            parsed = self._parse(record, await self._value(record))
        except Exception as error:  # noqa: BLE001 - verdict_on tells rejections from defects
            self._metrics.events.labels(EventKind.REJECTED).inc()
            context = Context.of(record)
            spans.belongs_to(context.trace, context.attributes())
            return self._dead_letter(context, _verdict_on(error, attempts=0))
        if isinstance(parsed, Skip):
            self._metrics.events.labels(parsed.kind).inc()
            log.debug("skipped: %s", parsed.why)
            return Answer(RecordOutcome.SKIPPED)
        self._metrics.events.labels(EventKind.AUDIO_UPLOADED).inc()
        context = Context.of(record, parsed)
        spans.belongs_to(context.trace, context.attributes(parsed.uploads[0]))
        jobs = [Job(upload, record.topic, record.partition, record.offset) for upload in parsed.uploads]
        return await self._answer(context, jobs, attempt)

    async def _value(self, record: SourceRecord) -> bytes | None:
        """The record's value, in JSON if it can be."""
        if self._as_json is None:
            return record.value
        as_json = self._as_json
        return await self._outages.until_available(lambda: as_json(record.value))

    def _parse(self, record: SourceRecord, value: bytes | None) -> Parsed:
        parsed = self._rules.filters.apply(parse(record.headers, record.key, value))
        if isinstance(parsed, Uploads):
            check_buckets(parsed, self._rules.input_buckets)
        return parsed

    async def _answer(self, context: "Context", jobs: Sequence[Job], attempt: Attempt) -> Answer:
        if attempt.deaths >= self._rules.max_attempts:
            verdict = _crashed(attempt.deaths)
            for job in jobs:
                await self._give_up(job, verdict)
            return self._dead_letter(context, verdict, tuple(self._failures(context, jobs, [verdict] * len(jobs))))
        results = [await self._do(job, attempt, context.record.timestamp_ms) for job in jobs]
        if not any(results):
            return Answer(RecordOutcome.SKIPPED)
        outcomes = [result for result in results if isinstance(result, Outcome)]
        messages = tuple(self._message(context, outcome) for outcome in outcomes)
        verdicts = [result for result in results if isinstance(result, Verdict)]
        if verdicts:
            return self._dead_letter(context, verdicts[0], (*messages, *self._failures(context, jobs, results)))
        lengths = tuple(outcome.audio_seconds for outcome in outcomes)
        return Answer(RecordOutcome.COMPLETED, messages, audio_seconds=lengths, trace_id=trace_id_of(context.trace))

    async def _do(self, job: Job, attempt: Attempt, timestamp_ms: int) -> Outcome | Verdict | None:
        """Do the work of one job; the verdict where it can never succeed, None where nothing is to be done."""
        attempts = attempt.deaths

        async def once() -> Outcome:
            nonlocal attempts
            attempts += 1
            return await self._work.do(replace(job, on_named=watched.named), attempt)

        watched = self._cancellations.watch(job.upload, timestamp_ms)
        try:
            return await watched.run(self._outages.until_available(once))
        except NotWanted as filtered:
            self._metrics.events.labels(SkipKind.FILTERED).inc()
            log.debug("skipped: %s", filtered)
            return None
        except asyncio.CancelledError as error:
            if is_being_cancelled():
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

    def _message(self, context: "Context", outcome: Outcome) -> Message:
        return Message(self._rules.output_topic, outcome.key, outcome.value, (*outcome.headers, *context.headers))

    def _failures(
        self, context: "Context", jobs: Sequence[Job], results: Sequence[Outcome | Verdict | None]
    ) -> Iterator[Message]:
        """The events for subscribers, one for each job that was given up."""
        if self._rules.failed_topic is None:
            return
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, Verdict):
                event = failed_event(job, result, datetime.now(UTC))
                value = event.model_dump_json(by_alias=True).encode()
                yield Message(
                    self._rules.failed_topic, event.id.encode(), value, (*STRUCTURED_HEADERS, *context.headers)
                )

    def _dead_letter(self, context: "Context", verdict: Verdict, beside: tuple[Message, ...] = ()) -> Answer:
        """The record itself, with why it is given up; ``beside`` are answers to other objects that it names."""
        record = context.record
        log.warning("dead letter, reason %s at stage %s: %s", verdict.reason, verdict.stage, verdict.message)
        headers = headers_of(record, verdict, self._rules.group_id, context.trace)
        letter = Message(self._rules.dead_letter_topic, record.key, record.value, headers)
        return Answer(RecordOutcome.DEAD_LETTERED, (*beside, letter), verdict.reason)


@dataclass(frozen=True, slots=True)
class Context:
    """The record that is answered, and the trace that it belongs to."""

    record: SourceRecord
    trace: Trace

    @classmethod
    def of(cls, record: SourceRecord, parsed: Parsed | None = None) -> Self:
        """Of a record, and what it was taken for where that is known."""
        return cls(record, trace_in(record.headers, parsed))

    def attributes(self, first: AudioUploaded | None = None) -> dict[str, str | int]:
        """What a span tells of the record, by OpenTelemetry's names; ``first`` of the recordings that it announces."""
        place = {"aws.s3.bucket": first.bucket, "aws.s3.key": first.key} if first else {}
        return {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": self.record.topic,
            "messaging.destination.partition.id": str(self.record.partition),
            "messaging.kafka.offset": self.record.offset,
            **place,
        }

    @property
    def headers(self) -> Headers:
        """What each answer carries: which record it answers, and the trace."""
        record = self.record
        source = f"{record.topic}-{record.partition}-{record.offset}".encode()
        return ((SOURCE, source), *((name, text.encode()) for name, text in self.trace))


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
