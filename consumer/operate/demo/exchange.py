"""What goes to the worker and what comes back: uploads, their announcements, transcripts, dead letters."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from consumer.delivery.deadletters import ORIGINAL_OFFSET, ORIGINAL_PARTITION, REASON
from consumer.operate.console import ConsoleProgress
from consumer.operate.demo.stack import (
    DEAD_LETTER_TOPIC,
    INPUT_BUCKET,
    INPUT_TOPIC,
    OUTPUT_TOPIC,
    DemoStack,
    s3_client,
)
from consumer.operate.demo.view import DeadLetter
from consumer.operate.process import ProcessError
from schemas import AudioUploaded, Transcript, TranscriptCompleted, TranscriptReference

_POLL_MS = 500

Arrival = Transcript | DeadLetter
Position = tuple[int, int]
"""Partition and offset of the record that announced a recording."""


class ExchangeError(Exception):
    """The worker has said something that makes no sense."""


async def send(recordings: Sequence[Path], stack: DemoStack, progress: ConsoleProgress) -> set[Position]:
    """Upload and announce every recording. Returns partition and offset of the announcements."""
    sent: set[Position] = set()
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap_servers, enable_idempotence=True)
    async with s3_client(stack.store) as client, producer:
        for key, path in object_keys(recordings).items():
            with path.open("rb") as file, progress.task(f"Uploading {key}", path.stat().st_size) as advance:
                await client.upload_fileobj(file, INPUT_BUCKET, key, Callback=advance)
            head = await client.head_object(Bucket=INPUT_BUCKET, Key=key)
            event = AudioUploaded(
                bucket=INPUT_BUCKET, key=key, etag=head["ETag"].strip('"'), size_bytes=head["ContentLength"]
            )
            value = event.model_dump_json(by_alias=True, exclude_none=True).encode()
            record = await producer.send_and_wait(INPUT_TOPIC, value, key=f"{INPUT_BUCKET}/{key}".encode())
            sent.add((record.partition, record.offset))
    return sent


def object_keys(recordings: Sequence[Path]) -> dict[str, Path]:
    """An object key for every file: its name, with a number where a name occurs twice."""
    keys: dict[str, Path] = {}
    for path in recordings:
        key, number = path.name, 2
        while key in keys:
            key, number = f"{path.stem}-{number}{path.suffix}", number + 1
        keys[key] = path
    return keys


@asynccontextmanager
async def arrivals_of(stack: DemoStack) -> AsyncIterator[AsyncIterator[Arrival]]:
    """Everything that the worker says on its two topics, from their beginning."""
    consumer = AIOKafkaConsumer(
        OUTPUT_TOPIC,
        DEAD_LETTER_TOPIC,
        bootstrap_servers=stack.kafka.bootstrap_servers,
        auto_offset_reset="earliest",
    )
    async with consumer, aclosing(_read(consumer, stack)) as arrivals:
        yield arrivals


async def _read(consumer: AIOKafkaConsumer, stack: DemoStack) -> AsyncGenerator[Arrival, None]:
    while True:
        for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
            for record in records:
                yield dead_letter(record) if record.topic == DEAD_LETTER_TOPIC else await _transcript(record, stack)
        if stack.worker.exit_code is not None:
            raise ProcessError(
                f"the worker ended with exit code {stack.worker.exit_code}. The end of its log:\n"
                f"{stack.worker.log_tail()}"
            )


async def _transcript(record: ConsumerRecord, stack: DemoStack) -> Transcript:
    """The transcript in a record, or the one in the store that it refers to."""
    data = TranscriptCompleted.model_validate_json(record.value).data
    if data.transcript is not None:
        return data.transcript
    reference: TranscriptReference | None = data.reference
    if reference is None:
        raise ExchangeError(
            f"a record of {record.topic} at offset {record.offset} holds no transcript and no reference"
        )
    async with s3_client(stack.store) as client:
        response = await client.get_object(Bucket=reference.bucket, Key=reference.key)
        return Transcript.model_validate_json(await response["Body"].read())


def dead_letter(record: ConsumerRecord) -> DeadLetter:
    """What a record of the dead-letter topic tells."""
    told = {name: value.decode(errors="replace") for name, value in record.headers}
    try:
        key = AudioUploaded.model_validate_json(record.value).key
    except ValueError:
        key = "(not an upload event)"
    return DeadLetter(
        key=key,
        partition=int(told[ORIGINAL_PARTITION]),
        offset=int(told[ORIGINAL_OFFSET]),
        reason=told[REASON],
        message=told["kafka_dlt-exception-message"],
    )


def position(arrival: Arrival) -> Position:
    """Partition and offset of the record that announced the recording."""
    source = arrival.source if isinstance(arrival, Transcript) else arrival
    return source.partition, source.offset
