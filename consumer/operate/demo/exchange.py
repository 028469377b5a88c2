"""What goes to the worker and what comes back: uploads, their announcements, transcripts, dead letters."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from consumer.delivery.deadletters import ORIGINAL_OFFSET, ORIGINAL_PARTITION, REASON
from consumer.operate.console import ConsoleProgress
from consumer.operate.demo.board import Board, free_key
from consumer.operate.demo.stack import (
    DEAD_LETTER_TOPIC,
    INPUT_BUCKET,
    INPUT_TOPIC,
    OUTPUT_TOPIC,
    PROGRESS_TOPIC,
    DemoStack,
    s3_client,
)
from consumer.operate.demo.upload import upload_in_parts
from consumer.operate.demo.view import DeadLetter
from consumer.operate.process import ProcessError
from schemas import (
    AudioUploaded,
    Progress,
    Transcript,
    TranscriptCompleted,
    TranscriptProgress,
    TranscriptReference,
)

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef

_POLL_MS = 500

Arrival = Transcript | DeadLetter
Position = tuple[int, int]
"""Partition and offset of the record that announced a recording."""


class ExchangeError(Exception):
    """The worker has said something that makes no sense."""


class Exchange:
    """Brings recordings to the worker, and reads them back, with one client each of the store and the broker."""

    def __init__(self, client: "S3Client", producer: AIOKafkaProducer) -> None:
        self._client = client
        self._producer = producer

    async def upload(self, key: str, file: BinaryIO, advance: Callable[[int], None]) -> None:
        """Store an open file."""
        await self._client.upload_fileobj(file, INPUT_BUCKET, key, Callback=advance)

    async def upload_stream(self, key: str, chunks: AsyncIterable[bytes]) -> None:
        """Store what comes, of any length, with one part in memory. What ends by an error leaves no object."""
        await upload_in_parts(self._client, INPUT_BUCKET, key, chunks)

    async def announce(self, key: str) -> Position:
        """Tell the worker of a stored recording."""
        head = await self._client.head_object(Bucket=INPUT_BUCKET, Key=key)
        event = AudioUploaded(
            bucket=INPUT_BUCKET, key=key, etag=head["ETag"].strip('"'), size_bytes=head["ContentLength"]
        )
        value = event.model_dump_json(by_alias=True, exclude_none=True).encode()
        record = await self._producer.send_and_wait(INPUT_TOPIC, value, key=f"{INPUT_BUCKET}/{key}".encode())
        return record.partition, record.offset

    async def read(self, key: str, byte_range: str | None) -> "GetObjectOutputTypeDef":
        """A stored recording or, by the value of a Range header, a part of it. Raises ClientError."""
        if byte_range is None:
            return await self._client.get_object(Bucket=INPUT_BUCKET, Key=key)
        return await self._client.get_object(Bucket=INPUT_BUCKET, Key=key, Range=byte_range)


@asynccontextmanager
async def exchange_with(stack: DemoStack) -> AsyncIterator[Exchange]:
    """One with the parts of the demo."""
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap_servers, enable_idempotence=True)
    async with s3_client(stack.store) as client, producer:
        yield Exchange(client, producer)


async def send(recordings: Mapping[str, Path], exchange: Exchange, progress: ConsoleProgress) -> set[Position]:
    """Upload and announce every recording by its key. Returns partition and offset of the announcements."""
    sent: set[Position] = set()
    for key, path in recordings.items():
        with path.open("rb") as file, progress.task(f"Uploading {key}", path.stat().st_size) as advance:
            await exchange.upload(key, file, advance)
        sent.add(await exchange.announce(key))
    return sent


def object_keys(recordings: Sequence[Path]) -> dict[str, Path]:
    """An object key for every file: its name, with a number where a name occurs twice."""
    keys: dict[str, Path] = {}
    for path in recordings:
        keys[free_key(path.name, keys)] = path
    return keys


@asynccontextmanager
async def arrivals_of(stack: DemoStack, board: Board) -> AsyncIterator[AsyncIterator[Arrival]]:
    """Every answer of the worker, from the beginning. The board hears of it, and of progress in between."""
    consumer = AIOKafkaConsumer(
        OUTPUT_TOPIC,
        DEAD_LETTER_TOPIC,
        PROGRESS_TOPIC,
        bootstrap_servers=stack.kafka.bootstrap_servers,
        auto_offset_reset="earliest",
    )
    async with consumer, aclosing(_read(consumer, stack, board)) as arrivals:
        yield arrivals


async def _read(consumer: AIOKafkaConsumer, stack: DemoStack, board: Board) -> AsyncGenerator[Arrival, None]:
    while True:
        for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
            for record in records:
                told = await _told(record, stack)
                board.hear(told)
                if not isinstance(told, Progress):
                    yield told
        if stack.worker.exit_code is not None:
            raise ProcessError(
                f"the worker ended with exit code {stack.worker.exit_code}. The end of its log:\n"
                f"{stack.worker.log_tail()}"
            )


async def _told(record: ConsumerRecord, stack: DemoStack) -> Arrival | Progress:
    if record.topic == PROGRESS_TOPIC:
        return TranscriptProgress.model_validate_json(record.value).data
    return dead_letter(record) if record.topic == DEAD_LETTER_TOPIC else await _transcript(record, stack)


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
