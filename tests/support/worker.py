"""The real worker as a process of its own, with topics of its own, looked at from outside."""

import contextlib
import json
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from consumer.operate.network import LOOPBACK, answers_ok, free_ports
from consumer.operate.process import ChildProcess
from consumer.settings import WorkerSettings
from schemas import Transcript, TranscriptCompleted
from tests.support.kafka_clients import KafkaClients, Message
from tests.support.s3 import S3Server

START_TIMEOUT_SECONDS = 60


class WorkerProcess:
    """A running ``whisper-consumer run``."""

    def __init__(self, process: ChildProcess, port: int) -> None:
        self.process = process
        self.port = port

    async def metric(self, name: str, **labels: str) -> float:
        """The value of one sample of ``/metrics``; its name is given without the common prefix."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{LOOPBACK}:{self.port}/metrics") as answer:
            text = await answer.text()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"whisper_consumer_{name}" and labels.items() <= sample.labels.items():
                    return float(sample.value)
        raise KeyError(f"{name} {labels}")

    async def status(self, path: str) -> tuple[int, Any]:
        """Status and JSON body of a probe."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{LOOPBACK}:{self.port}{path}") as answer:
            return answer.status, await answer.json(content_type=None)

    def resident_bytes(self) -> int:
        """Memory of the worker and its decoder processes; a page that they share counts once, in shares (PSS).

        The decoder forks, so most of its pages are shared; a process that ends meanwhile counts nothing.
        """
        family = psutil.Process(self.process.pid)
        total = 0
        for process in (family, *family.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return total

    def cpu_seconds(self) -> float:
        """Time on the CPU of the worker, and of its decoder processes with those that ended."""
        family = psutil.Process(self.process.pid)
        times = [process.cpu_times() for process in (family, *family.children(recursive=True))]
        return float(sum(one.user + one.system + one.children_user + one.children_system for one in times))

    def logs(self) -> list[dict[str, Any]]:
        """All log lines so far."""
        return [json.loads(line) for line in self.process.log_path.read_text().splitlines()]


class Deployment:
    """Topics, a group and settings that workers of one test share."""

    def __init__(self, clients: KafkaClients, store: S3Server, settings: dict[str, str], directory: Path) -> None:
        self.clients = clients
        self.store = store
        self.settings = settings
        self.input_topic = settings["KAFKA_INPUT_TOPIC"]
        self.output_topic = settings["KAFKA_OUTPUT_TOPIC"]
        self.dead_letter_topic = settings["KAFKA_DEAD_LETTER_TOPIC"]
        self.group_id = settings["KAFKA_GROUP_ID"]
        self._directory = directory

    @asynccontextmanager
    async def worker(self, *, until: str = "/readyz", **settings: str) -> AsyncIterator[WorkerProcess]:
        """Start a worker, wait until this probe is content, and end it."""
        port = free_ports(1)[0]
        process = start_worker({**self.settings, **settings, "HTTP_PORT": str(port)}, self._directory)
        try:
            await process.wait_until_ready(
                lambda: answers_ok(f"http://{LOOPBACK}:{port}{until}"), timeout_seconds=START_TIMEOUT_SECONDS
            )
            yield WorkerProcess(process, port)
        finally:
            process.stop(grace_seconds=30)

    async def announce(self, bucket: str, key: str, *, partition: int = 0, **fields: object) -> int:
        """Send the project's own event; returns its offset."""
        event = json.dumps({"bucket": bucket, "key": key, **fields}).encode()
        return await self.clients.send(self.input_topic, event, partition=partition)

    async def transcripts(self, count: int, timeout_seconds: float = 120) -> dict[str, Transcript]:
        """The first ``count`` messages of the output topic, by object key; all must hold their transcript."""
        found = {}
        for message in await self.clients.read(self.output_topic, count, timeout_seconds):
            transcript = completed(message).data.transcript
            assert transcript is not None
            found[transcript.source.key] = transcript
        return found

    async def dead_letters(self, count: int, timeout_seconds: float = 120) -> list[Message]:
        """The first ``count`` messages of the dead-letter topic."""
        return await self.clients.read(self.dead_letter_topic, count, timeout_seconds)


def completed(message: Message) -> TranscriptCompleted:
    """A message of the output topic, checked against its schema, its key and headers against its id."""
    assert message.value is not None
    event = TranscriptCompleted.model_validate_json(message.value)
    assert message.key == event.id.encode()
    assert message.header("transcript_id") == event.id
    assert message.header("content-type").startswith("application/cloudevents+json")
    return event


def start_worker(settings: Mapping[str, str], directory: Path) -> ChildProcess:
    """Start ``whisper-consumer run`` with these settings and no others; its log is a file in ``directory``."""
    return ChildProcess.start(
        "the worker",
        [sys.executable, "-m", "consumer", "run"],
        log_path=directory / f"worker-{uuid.uuid4().hex[:8]}.log",
        environment=settings,
        without=[name.upper() for name in WorkerSettings.model_fields],
    )


async def deploy(
    clients: KafkaClients,
    store: S3Server,
    artifacts_dir: Path,
    directory: Path,
    *,
    buckets: tuple[str, ...],
    results_bucket: str | None = None,
    input_topic: str | None = None,
    partitions: int = 1,
    **settings: str,
) -> Deployment:
    """Topics and settings of one test, with a bucket of its own for results: it would find those of others."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": clients.bootstrap_servers,
        "KAFKA_GROUP_ID": f"group-{uuid.uuid4().hex[:8]}",
        "KAFKA_INPUT_TOPIC": input_topic or await clients.create_topic("audio.uploaded", partitions),
        "KAFKA_OUTPUT_TOPIC": await clients.create_topic("audio.transcripts", max_message_bytes="2097152"),
        "KAFKA_DEAD_LETTER_TOPIC": await clients.create_topic("audio.dead-letters", max_message_bytes="2097152"),
        "MINIO_ENDPOINT": store.endpoint,
        "MINIO_ACCESS_KEY": store.access_key,
        "MINIO_SECRET_KEY": store.secret_key,
        "INPUT_BUCKETS": ",".join(buckets),
        "RESULTS_BUCKET": results_bucket or f"transcripts-{uuid.uuid4().hex[:8]}",
        "WHISPER_MODEL_SIZE": "tiny.en",
        "WHISPER_ARTIFACTS_DIR": str(artifacts_dir),
        "HTTP_HOST": LOOPBACK,
        "OBJECT_RETRY_SECONDS": "1",
        **settings,
    }
    return Deployment(clients, store, environment, directory)
