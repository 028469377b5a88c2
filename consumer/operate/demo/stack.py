"""What the demo runs: Apache Kafka, an S3 store and the real worker, each a process of its own."""

import asyncio
import concurrent.futures
import fcntl
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import aioboto3
from aiobotocore.config import AioConfig

from consumer.delivery.deadletters import HEADER_BYTES
from consumer.engine.artifacts.build import BuildRequest, build
from consumer.operate.console import ConsoleProgress
from consumer.operate.kafka_jars import KAFKA_VERSION, ensure_kafka_jars
from consumer.operate.kafka_server import KafkaServer
from consumer.operate.network import LOOPBACK, answers_ok, free_ports
from consumer.operate.process import ChildProcess
from consumer.operate.seaweed_server import SeaweedServer
from consumer.settings import BuildSettings, ModelSize, WorkerSettings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

INPUT_TOPIC = "audio.uploaded"
OUTPUT_TOPIC = "audio.transcripts"
DEAD_LETTER_TOPIC = "audio.dead-letters"
PROGRESS_TOPIC = "audio.progress"
INPUT_BUCKET = "recordings"
RESULTS_BUCKET = "transcripts"

_MAX_RECORD_BYTES = 1_048_588  # Kafka's own default for max.message.bytes
_MAX_OUTPUT_BYTES = _MAX_RECORD_BYTES + HEADER_BYTES  # a dead letter is the record and what is said about it
# A proxy for the outside must not be asked for what is on this machine.
_PROXY_VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_WORKER_START_TIMEOUT_SECONDS = 120
_WORKER_GRACE_SECONDS = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DemoStack:
    """Everything runs and is ready for work."""

    kafka: KafkaServer
    store: SeaweedServer
    worker: ChildProcess
    metrics_url: str


@asynccontextmanager
async def running_stack(
    locations: BuildSettings, size: ModelSize, progress: ConsoleProgress
) -> AsyncIterator[DemoStack]:
    """Start everything, with nothing left over from earlier runs; on the way out end it and remove its data.

    Raises ProcessError or ArtifactError for what cannot be started.
    """
    with run_directory(locations.whisper_consumer_cache / "demo") as run_dir:
        store = SeaweedServer(data_dir=run_dir / "store", access_key="demo", secret_key=secrets.token_urlsafe(16))
        starting = _Starting(locations, run_dir, size, progress, store)
        try:
            yield await starting.start()
        finally:
            starting.stop()


class _Starting:
    """Starts broker, store and model beside each other and then the worker; ends those that came to be."""

    def __init__(
        self, locations: BuildSettings, run_dir: Path, size: ModelSize, progress: ConsoleProgress, store: SeaweedServer
    ) -> None:
        self._locations = locations
        self._cache_dir = locations.whisper_consumer_cache
        self._run_dir = run_dir
        self._size = size
        self._progress = progress
        self._store = store
        self._kafka: KafkaServer | None = None
        self._worker: ChildProcess | None = None

    async def start(self) -> DemoStack:
        try:
            async with asyncio.TaskGroup() as tasks:
                starting_kafka = tasks.create_task(self._start_kafka())
                tasks.create_task(self._start_store())
                getting_model = tasks.create_task(self._get_model())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # it made the others stop
        kafka, artifacts_dir = starting_kafka.result(), getting_model.result()
        worker, metrics_url = await self._start_worker(kafka, artifacts_dir)
        return DemoStack(kafka, self._store, worker, metrics_url)

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop(grace_seconds=_WORKER_GRACE_SECONDS + 1)
        if self._kafka is not None:
            self._kafka.stop()
        self._store.stop()

    async def _start_kafka(self) -> KafkaServer:
        with self._progress.step(f"Apache Kafka {KAFKA_VERSION}") as step:
            jars = await _in_daemon_thread(lambda: ensure_kafka_jars(self._cache_dir, self._progress))
            kafka = self._kafka = KafkaServer(data_dir=self._run_dir / "kafka", jars=jars)
            await kafka.start()
            for topic, max_bytes in (
                (INPUT_TOPIC, _MAX_RECORD_BYTES),
                (OUTPUT_TOPIC, _MAX_OUTPUT_BYTES),
                (DEAD_LETTER_TOPIC, _MAX_OUTPUT_BYTES),
                (PROGRESS_TOPIC, _MAX_OUTPUT_BYTES),
            ):
                await kafka.create_topic(topic, configs={"max.message.bytes": str(max_bytes)})
            step.detail = kafka.bootstrap_servers
        return kafka

    async def _start_store(self) -> None:
        with self._progress.step("S3 store (SeaweedFS)") as step:
            await self._store.start()
            async with s3_client(self._store) as client:
                for bucket in (INPUT_BUCKET, RESULTS_BUCKET):
                    await client.create_bucket(Bucket=bucket)
            step.detail = self._store.endpoint

    async def _get_model(self) -> Path:
        with self._progress.step(f"Whisper model {self._size}") as step:
            artifacts_dir = self._cache_dir / "artifacts"
            directory = await _in_daemon_thread(
                lambda: build(
                    BuildRequest(self._size, prebuilt=True),
                    artifacts_dir,
                    self._cache_dir,
                    self._progress,
                    index_url=self._locations.package_index_url,
                )
            )
            step.detail = directory.name
        return artifacts_dir

    async def _start_worker(self, kafka: KafkaServer, artifacts_dir: Path) -> tuple[ChildProcess, str]:
        with self._progress.step("Worker") as step:
            port = free_ports(1)[0]
            worker = self._worker = ChildProcess.start(
                "the worker",
                [sys.executable, "-P", "-m", "consumer", "run"],
                log_path=self._run_dir / "worker.log",
                environment=self._worker_environment(kafka, artifacts_dir, port),
                without=[*(name.upper() for name in WorkerSettings.model_fields), *_PROXY_VARIABLES],
            )
            await worker.wait_until_ready(
                lambda: answers_ok(f"http://{LOOPBACK}:{port}/readyz"),
                timeout_seconds=_WORKER_START_TIMEOUT_SECONDS,
            )
            metrics_url = f"http://{LOOPBACK}:{port}/metrics"
            step.detail = f"metrics at {metrics_url}"
        return worker, metrics_url

    def _worker_environment(self, kafka: KafkaServer, artifacts_dir: Path, port: int) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_INPUT_TOPIC": INPUT_TOPIC,
            "KAFKA_OUTPUT_TOPIC": OUTPUT_TOPIC,
            "KAFKA_DEAD_LETTER_TOPIC": DEAD_LETTER_TOPIC,
            "KAFKA_PROGRESS_TOPIC": PROGRESS_TOPIC,
            "KAFKA_MAX_RECORD_BYTES": str(_MAX_RECORD_BYTES),
            "MINIO_ENDPOINT": self._store.endpoint,
            "MINIO_ACCESS_KEY": self._store.access_key,
            "MINIO_SECRET_KEY": self._store.secret_key,
            "INPUT_BUCKETS": INPUT_BUCKET,
            "RESULTS_BUCKET": RESULTS_BUCKET,
            "WHISPER_MODEL_SIZE": self._size,
            "WHISPER_ARTIFACTS_DIR": str(artifacts_dir),
            "SPOOL_DIR": str(self._run_dir),
            "SHUTDOWN_GRACE_SECONDS": str(_WORKER_GRACE_SECONDS),
            "HTTP_HOST": LOOPBACK,
            "HTTP_PORT": str(port),
            "LOG_FORMAT": "text",
        }


@asynccontextmanager
async def s3_client(store: SeaweedServer) -> "AsyncIterator[S3Client]":
    """A client of the demo's store."""
    session = aioboto3.Session(store.access_key, store.secret_key, region_name="us-east-1")
    config = AioConfig(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=60, proxies={})
    async with session.client("s3", endpoint_url=store.endpoint, config=config) as client:
        yield client


@contextmanager
def run_directory(parent: Path) -> Iterator[Path]:
    """A directory for one run. It is removed at the end; those of runs that were killed are removed now."""
    parent.mkdir(parents=True, exist_ok=True)
    for leftover in parent.glob("run-*/"):
        with suppress(OSError), (leftover / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held as long as its run lives
            shutil.rmtree(leftover)
    with (
        tempfile.TemporaryDirectory(prefix="run-", dir=parent, ignore_cleanup_errors=True) as name,
        (Path(name) / "lock").open("ab") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


async def _in_daemon_thread(function: Callable[[], T]) -> T:
    """Like ``asyncio.to_thread``, but who is cancelled, or ends the process, does not wait for the thread."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def work() -> None:
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is awaited
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return await asyncio.wrap_future(future)
