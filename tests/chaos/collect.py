"""Reads all topics, the bucket and the workers' logs once all is over, with plain clients."""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import aiokafka
from types_aiobotocore_s3 import S3Client

from tests.chaos.facts import Answer, Inferred, Input, Letter, Place
from tests.chaos.feed import NAME_HEADER, RESULTS_BUCKET, announces
from tests.chaos.plan import EXPECTED, Event, Feed

SOURCE_HEADER = "whisper-consumer-source"
REASON_HEADER = "whisper-consumer-reason"

_QUIET_SECONDS = 3.0
_READ_TIMEOUT_SECONDS = 120.0


async def read_topic(bootstrap_servers: str, topic: str, *, committed_only: bool = False) -> list[Any]:
    """All records of a topic, in the order of their partitions; those of open transactions are not waited for."""
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=None,
        auto_offset_reset="earliest",
        isolation_level="read_committed" if committed_only else "read_uncommitted",
    )
    await consumer.start()
    try:
        await consumer._client._wait_on_metadata(topic)
        names = [aiokafka.TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(names)
        ends = await consumer.end_offsets(names)
        records: list[Any] = []
        quiet_since = time.monotonic()
        async with asyncio.timeout(_READ_TIMEOUT_SECONDS):
            while [name for name in names if await consumer.position(name) < ends[name]]:
                batches = await consumer.getmany(timeout_ms=500)
                records += [record for batch in batches.values() for record in batch]
                if batches:
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > _QUIET_SECONDS:
                    break  # at the end of the log lie markers of transactions, or an open one
        return sorted(records, key=lambda record: (record.partition, record.offset))
    finally:
        await consumer.stop()


def inputs_of(records: Iterable[Any], events: Iterable[Event]) -> tuple[Input, ...]:
    """The records of the input topic, each with what the plan says of it."""
    planned = {event.name: event for event in events}
    found = []
    for record in records:
        event = planned[_header(record, NAME_HEADER) or ""]
        found.append(
            Input(
                (record.partition, record.offset),
                event.name,
                EXPECTED[event.kind],
                announces(event),
                event.kind is Feed.DUPLICATE,
                record.timestamp / 1000,
                _sha256(record.value),
            )
        )
    return tuple(found)


async def answers_of(records: Iterable[Any], s3: S3Client) -> tuple[Answer, ...]:
    """The messages of the output topic, held against the bucket."""
    stored: dict[str, bytes | None] = {}
    found = []
    for record in records:
        event = json.loads(record.value)
        carried: dict[str, Any] | None = event["data"].get("transcript")
        source = (carried or event["data"]["reference"])["source"]
        folder = hashlib.sha256(f"{source['bucket']}/{source['key']}".encode()).hexdigest()
        key = f"results/{folder}/{event['id']}.json"
        if key not in stored:
            stored[key] = await _get(s3, key)
        kept = stored[key]
        document = json.loads(kept) if kept is not None else {}
        if carried is not None:
            agrees = bool(document) and carried.items() <= document.items()
        else:
            reference = event["data"]["reference"]
            agrees = (reference["key"], reference["sha256"]) == (key, _sha256(kept))
        text = (carried or document).get("text", "")
        id_ = event["id"]
        ids = {id_, (carried or event["data"]["reference"])["transcriptId"], _header(record, "transcript_id")}
        found.append(
            Answer(
                record.offset,
                record.timestamp / 1000,
                _place(_header(record, SOURCE_HEADER)),
                id_,
                source["key"],
                ids == {id_} and record.key == id_.encode() and event["subject"] == source["key"],
                _sha256(record.value),
                source["sha256"],
                _sha256(text.encode()),
                agrees,
            )
        )
    return tuple(found)


def letters_of(records: Iterable[Any]) -> tuple[Letter, ...]:
    """The messages of the dead-letter topic."""
    return tuple(
        Letter(
            record.offset,
            record.timestamp / 1000,
            (
                int(_header(record, "kafka_dlt-original-partition") or -1),
                int(_header(record, "kafka_dlt-original-offset") or -1),
            ),
            _header(record, REASON_HEADER) or "",
            _sha256(record.value),
        )
        for record in records
    )


async def stored_results(s3: S3Client) -> dict[str, float]:
    """When the result of each id was stored; the store tells whole seconds, so it may be up to one later."""
    found = {}
    async for page in s3.get_paginator("list_objects_v2").paginate(Bucket=RESULTS_BUCKET, Prefix="results/"):
        for entry in page.get("Contents", ()):
            name = entry["Key"].rpartition("/")[2]
            if re.fullmatch(r"[0-9a-f]{64}\.json", name):
                found[name.removesuffix(".json")] = entry["LastModified"].timestamp() + 1
    return found


def inferred_in(logs_dir: Path) -> tuple[Inferred, ...]:
    """Native work, by the log lines that tell its beginning and its end."""
    found = []
    for path in sorted(logs_dir.glob("*.log")):
        open_runs: dict[str, Inferred] = {}
        for line in log_lines(path):
            if "job_id" not in line or "from_seconds" not in line:
                continue
            when = datetime.fromisoformat(line["time"]).timestamp()
            before = open_runs.pop(line["job_id"], None)
            place = _place(line["job_id"]) or (-1, -1)
            if "to_seconds" in line and before is not None:
                found.append(
                    Inferred(path.stem, place, before.began, before.from_seconds, when, float(line["to_seconds"]))
                )
            elif "to_seconds" not in line:
                if before is not None:
                    found.append(before)
                open_runs[line["job_id"]] = Inferred(path.stem, place, when, float(line["from_seconds"]), None, None)
        found += open_runs.values()
    return tuple(found)


def log_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a log; what a killed process left half written, or another printed, is left out."""
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict):
            found.append(line)
    return found


async def _get(s3: S3Client, key: str) -> bytes | None:
    try:
        answer = await s3.get_object(Bucket=RESULTS_BUCKET, Key=key)
    except s3.exceptions.NoSuchKey:
        return None
    async with answer["Body"] as body:
        return bytes(await body.read())


def _header(record: Any, name: str) -> str | None:
    """Text of the last header of this name."""
    values = [value for other, value in record.headers if other == name and value is not None]
    return values[-1].decode() if values else None


def _place(name: str | None) -> Place | None:
    """Of ``topic-partition-offset``; the topic may hold dashes."""
    if name is None:
        return None
    _, partition, offset = name.rsplit("-", 2)
    return int(partition), int(offset)


def _sha256(value: bytes | None) -> str:
    return hashlib.sha256(value or b"").hexdigest()


def ends_of(inputs: Iterable[Input]) -> Mapping[int, int]:
    """The end of each partition that holds inputs."""
    ends: dict[int, int] = {}
    for entry in inputs:
        partition, offset = entry.place
        ends[partition] = max(ends.get(partition, 0), offset + 1)
    return ends
