"""The dead letter of a record that can never succeed. Pure.

Key, value and headers are the record's own, byte for byte; behind the headers come this worker's, as UTF-8
text. Where a name occurs twice, the last one is this worker's. The ``kafka_dlt-`` names are those of Spring
for Apache Kafka, which many tools for dead letters understand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consumer.delivery.job import Headers, SourceRecord
from consumer.errors import Reason, Rejected, Stage

ORIGINAL_TOPIC = "kafka_dlt-original-topic"
ORIGINAL_PARTITION = "kafka_dlt-original-partition"
ORIGINAL_OFFSET = "kafka_dlt-original-offset"
ORIGINAL_TIMESTAMP = "kafka_dlt-original-timestamp"
ORIGINAL_CONSUMER_GROUP = "kafka_dlt-original-consumer-group"

REASON = "whisper-consumer-reason"
STAGE = "whisper-consumer-stage"
ATTEMPTS = "whisper-consumer-attempts"

MAX_MESSAGE_CHARACTERS = 2000

HEADER_BYTES = 64 * 1024
"""Room that a dead letter may need beyond the record that it is about."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a record is given up."""

    reason: Reason
    stage: Stage | None
    """Where it happened; None where a defect of the worker left that open."""
    message: str
    attempts: int
    """How often its work was tried; 0 where it never got there."""
    exception: type[BaseException]


def verdict_on(error: BaseException, attempts: int) -> Verdict:
    """What an error that ended the work means: a rejection speaks for itself, all else is a defect of ours.

    The message of a defect may hold anything, words of a transcript included, so only its type is told.
    """
    if isinstance(error, Rejected):
        return Verdict(error.reason, error.stage, error.message, attempts, type(error))
    message = f"a defect of the worker ({type(error).__name__}); its log has the details"
    return Verdict(Reason.INTERNAL, None, message, attempts, type(error))


def headers_of(record: SourceRecord, verdict: Verdict, group_id: str, trace: Sequence[tuple[str, str]] = ()) -> Headers:
    """The record's headers, followed by those that say where it came from and why it is here, and its trace."""
    told = {
        ORIGINAL_TOPIC: record.topic,
        ORIGINAL_PARTITION: str(record.partition),
        ORIGINAL_OFFSET: str(record.offset),
        ORIGINAL_TIMESTAMP: str(record.timestamp_ms),
        ORIGINAL_CONSUMER_GROUP: group_id,
        "kafka_dlt-exception-fqcn": f"{verdict.exception.__module__}.{verdict.exception.__qualname__}",
        "kafka_dlt-exception-message": verdict.message[:MAX_MESSAGE_CHARACTERS],
        REASON: verdict.reason.value,
        STAGE: verdict.stage.value if verdict.stage else "unknown",
        ATTEMPTS: str(verdict.attempts),
    }
    told |= {name: text for name, text in trace if name not in dict(record.headers)}
    return record.headers + tuple((name, value.encode(errors="backslashreplace")) for name, value in told.items())
