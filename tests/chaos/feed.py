"""Puts the recordings of a plan into the bucket and sends its events."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from numpy.typing import NDArray
from types_aiobotocore_s3 import S3Client

from tests.chaos.plan import EXPECTED, TRANSCRIPT, Event, Feed
from tests.support.speech import corpus_set, samples_of, write_wav
from tests.support.stack import CORPUS_DIR

BUCKET = "calls"
RESULTS_BUCKET = "transcripts"
NAME_HEADER = "chaos-event"

_SAMPLE = Path(__file__).parents[2] / "consumer" / "operate" / "sample" / "jfk.wav"
_RATE_HERTZ = 16_000
_PAUSE_SECONDS = 0.5
_RETRY_SECONDS = 0.5

Pcm = NDArray[np.int16]


@dataclass(frozen=True)
class Material:
    """Bodies of the objects by key, and the ETag of what was overwritten by key."""

    bodies: Mapping[str, bytes]
    gone_etags: Mapping[str, str]


class Recordings:
    """Speech of any length, cut from and joined of what there is: the corpus, or else the sample."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        corpus = CORPUS_DIR.is_dir()
        self._paths = [each.path for each in corpus_set(CORPUS_DIR, "lsother")] if corpus else [_SAMPLE]
        self._speech: dict[int, Pcm] = {}

    def wav(self, piece: int, seconds: float) -> bytes:
        """Equal arguments give equal bytes."""
        pause = np.zeros(int(_PAUSE_SECONDS * _RATE_HERTZ), np.int16)
        parts: list[Pcm] = []
        size, index = 0, piece
        while size < seconds * _RATE_HERTZ:
            parts += [self._samples(index % len(self._paths)), pause]
            size += parts[-2].size + pause.size
            index += 1
        samples = np.concatenate(parts)[: int(seconds * _RATE_HERTZ)]
        return write_wav(self._scratch / "piece.wav", samples).read_bytes()

    def _samples(self, index: int) -> Pcm:
        """Of one file; read once, if at all."""
        if index not in self._speech:
            self._speech[index] = samples_of(self._paths[index])
        return self._speech[index]


def body_of(event: Event, recordings: Recordings) -> bytes | None:
    """The object that an event is about; None where there is none."""
    match event.kind:
        case Feed.MISSING | Feed.BAD_JSON | Feed.REMOVED | Feed.TOMBSTONE | Feed.ELSEWHERE | Feed.DUPLICATE:
            return None
        case Feed.EMPTY:
            return b""
        case Feed.NOT_AUDIO:
            return f"This is no recording, it is note {event.piece}. ".encode() * 200
        case Feed.HEADER_ONLY:
            return recordings.wav(event.piece, 1)[:44]
        case Feed.TRUNCATED:
            whole = recordings.wav(event.piece, event.seconds)
            return whole[: len(whole) // 2]
        case _:
            return recordings.wav(event.piece, event.seconds or 3)


async def upload(s3: S3Client, events: tuple[Event, ...], scratch: Path) -> dict[str, str]:
    """Create the buckets, put all objects; returns the ETags that were overwritten, by key."""
    for bucket in (BUCKET, RESULTS_BUCKET):
        await s3.create_bucket(Bucket=bucket)
    recordings = await asyncio.to_thread(Recordings, scratch)
    gone: dict[str, str] = {}
    for event in events:
        body = await asyncio.to_thread(body_of, event, recordings)
        if body is None:
            continue
        if event.kind is Feed.OVERWRITTEN:
            answer = await s3.put_object(Bucket=BUCKET, Key=event.key, Body=b"what was there before")
            gone[event.key] = answer["ETag"].strip('"')
        await s3.put_object(Bucket=BUCKET, Key=event.key, Body=body)
    return gone


def value_of(event: Event, gone_etags: Mapping[str, str]) -> bytes | None:
    """The record's value."""
    upload: dict[str, Any] = {"bucket": BUCKET, "key": event.key}
    match event.kind:
        case Feed.TOMBSTONE:
            return None
        case Feed.BAD_JSON:
            return b'{"bucket": "calls", "key": '
        case Feed.ELSEWHERE:
            upload["bucket"] = "private"
        case Feed.OVERWRITTEN:
            upload["etag"] = gone_etags[event.key]
        case Feed.BAD_OPTION:
            upload["options"] = {"task": "translate"}  # of a model that knows English only
        case Feed.REMOVED:
            stored = {"bucket": {"name": BUCKET}, "object": {"key": event.key}}
            upload = {"Records": [{"eventName": "s3:ObjectRemoved:Delete", "s3": stored}]}
        case _:
            pass
    return json.dumps(upload).encode()


async def send_all(
    bootstrap_servers: str, topic: str, events: tuple[Event, ...], gone_etags: Mapping[str, str], began: float
) -> None:
    """Send every event at its time after ``began`` (``time.monotonic``), however the brokers do.

    A record that may or may not have been written is sent again: the ledger goes by what the topic holds.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, enable_idempotence=True, acks="all", request_timeout_ms=10_000
    )
    await producer.start()
    try:
        for event in events:
            await asyncio.sleep(max(0.0, began + event.at_seconds - time.monotonic()))
            await _send(producer, topic, event, value_of(event, gone_etags))
    finally:
        await producer.stop()


async def _send(producer: AIOKafkaProducer, topic: str, event: Event, value: bytes | None) -> None:
    while True:
        try:
            await producer.send_and_wait(
                topic,
                value,
                key=event.key.encode(),
                partition=event.partition,
                headers=[(NAME_HEADER, event.name.encode())],
            )
        except KafkaError:
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


def announces(event: Event) -> str | None:
    """Key of the object whose transcript answers the event; None where there is to be none."""
    return event.key if EXPECTED[event.kind] == TRANSCRIPT else None
