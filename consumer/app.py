"""The worker put together: the only place that builds objects and joins them.

Order of a start: settings, probes and metrics, artifacts, model, Kafka. What is opened last is closed first.
"""

import asyncio
import gc
import logging
import os
import platform
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry

from consumer import __version__
from consumer.delivery.breaker import Breaker
from consumer.delivery.cancellations import Cancellations
from consumer.delivery.connection import client_options
from consumer.delivery.control import ControlTopic
from consumer.delivery.deadletters import HEADER_BYTES
from consumer.delivery.effectively_once import EffectivelyOnce
from consumer.delivery.exactly_once import ExactlyOnce
from consumer.delivery.handling import AsJson, RecordHandler, Rules
from consumer.delivery.membership import Membership, MembershipOptions
from consumer.delivery.partitions import Partitions, TopicPartition
from consumer.delivery.progress import ProgressTopic
from consumer.delivery.publisher import Publisher
from consumer.delivery.recent_letters import recent_answers
from consumer.delivery.topics import TopicNames, warn_about_topics
from consumer.delivery.worker import Limits as WorkerLimits
from consumer.delivery.worker import Settlement, Worker
from consumer.engine.artifacts.locate import artifacts_in
from consumer.engine.artifacts.pull import pull
from consumer.engine.cpus import usable_cpus
from consumer.events import Filters
from consumer.extras import needs_extra
from consumer.formats import Format
from consumer.health import WorkerHealth
from consumer.memory import affordable_in_flight, foreseen_bytes, memory_limit_bytes, resident_bytes
from consumer.model_change import EXIT_OTHER_LIBRARIES, ModelChanger
from consumer.models import Models
from consumer.observe import logs, spans
from consumer.observe.activity import Activity
from consumer.observe.disks import watch_disks
from consumer.observe.http import HttpServer
from consumer.observe.metrics import Metrics
from consumer.outages import Outages
from consumer.pipeline import Allowed, Limits, Outputs, Pipeline, Sidecars
from consumer.settings import WorkerSettings
from consumer.status import About, StatusServer, Watched
from consumer.store.checkpoints import CheckpointStore
from consumer.store.objects import ObjectStore
from consumer.store.results import ResultStore
from consumer.store.s3 import open_s3
from consumer.transcribing import default_options, loading
from consumer.watchdog import Watchdog
from schemas import AudioUploaded

logger = logging.getLogger(__name__)


async def run_worker(settings: WorkerSettings) -> int:
    """Run the worker until SIGTERM or SIGINT; a second signal ends the process at once. Returns the exit status.

    Raises OSError where HTTP_PORT cannot be opened, ArtifactError or WhisperLibraryError where the model cannot
    be had or loaded. Outages of Kafka and of the store are waited for once the model is there.
    """
    logs.configure(settings.log_level, settings.log_format)
    logger.info("whisper-consumer %s starts", __version__)
    metrics = Metrics(CollectorRegistry())
    metrics.build_info.info({"version": __version__, "python": platform.python_version()})
    metrics.drain_budget_seconds.set(settings.shutdown_grace_seconds)
    watch_disks(metrics, settings.whisper_artifacts_dir, settings.spool_dir or Path(tempfile.gettempdir()))
    outages = Outages(metrics)
    health = WorkerHealth(metrics, outages)
    async with AsyncExitStack() as stack:
        if settings.otel_exporter_otlp_endpoint is not None:
            with needs_extra("OTEL_EXPORTER_OTLP_ENDPOINT", "tracing"):
                close = spans.configure(settings.otel_exporter_otlp_endpoint, settings.otel_service_name)
            stack.push_async_callback(asyncio.to_thread, close)
        as_json = _registry_reader(settings, stack)
        http = HttpServer(settings.http_host, settings.http_port, metrics.registry, health)
        await http.start()
        stack.push_async_callback(http.close)
        stack.callback(asyncio.create_task(health.tick()).cancel)
        activity = Activity(with_text=settings.status_page_text)
        await _serve_status(settings, Watched(_about(settings), metrics.registry, health, outages, activity), stack)
        starting = asyncio.create_task(_start(settings, metrics, outages, health, activity, as_json, stack))
        with _signals(starting.cancel):
            try:
                worker, changer = await starting
            except asyncio.CancelledError:
                logger.info("stopped before it took work")
                return 0
        health.consuming(worker)

        def stop() -> None:
            health.enter("stopping")
            worker.stop()

        # What a worker needs for its whole life need not be looked through again: the collector's longest pauses were
        # 85 ms, and are 18 ms so.
        gc.collect()
        gc.freeze()
        changing = asyncio.create_task(changer.run())
        stack.callback(changing.cancel)
        changing.add_done_callback(lambda done: None if done.cancelled() else stop())
        with _signals(stop, changer.ask):
            await worker.run()
        status = EXIT_OTHER_LIBRARIES if changing.done() else 0
    logger.info("stopped")
    return status


def _about(settings: WorkerSettings) -> About:
    return About(
        version=__version__,
        host=socket.gethostname(),
        group_id=settings.kafka_group_id,
        input_topic=settings.kafka_input_topic,
        output_topic=settings.kafka_output_topic,
        started=datetime.now(UTC),
    )


async def _serve_status(settings: WorkerSettings, watched: Watched, stack: AsyncExitStack) -> None:
    """The page, where there is one."""
    if settings.status_port is None:
        return
    token = settings.status_token.get_secret_value() if settings.status_token else None
    server = StatusServer(settings.status_host, settings.status_port, watched, token=token)
    await server.start()
    stack.push_async_callback(server.close)
    logger.info("status page at %s", server.url)


@contextmanager
def _signals(first: Callable[[], object], on_hangup: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Call ``first`` on the first SIGTERM or SIGINT; the next one ends the process, with the shell's status for it.

    Each SIGHUP calls ``on_hangup``.
    """
    loop = asyncio.get_running_loop()
    asked = False

    def on_signal(number: signal.Signals) -> None:
        nonlocal asked
        if asked:
            logger.warning("%s again: exit at once", number.name)
            os._exit(128 + number)
        asked = True
        logger.info("%s: stopping", number.name)
        first()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def _start(
    settings: WorkerSettings,
    metrics: Metrics,
    outages: Outages,
    health: WorkerHealth,
    activity: Activity,
    as_json: AsJson | None,
    stack: AsyncExitStack,
) -> tuple[Worker, ModelChanger]:
    health.enter("fetching artifacts")
    began = time.monotonic()
    directory = await pull(
        settings.whisper_model_size,
        settings.whisper_artifacts_dir,
        settings.artifacts_bucket,
        settings,
        LogProgress(logger),
        require_manifest=settings.artifacts_require_manifest,
    )
    artifacts = await asyncio.to_thread(
        artifacts_in, directory, settings.whisper_model_size, settings.whisper_precision
    )
    metrics.artifact_pull_seconds.set(time.monotonic() - began)
    health.enter("loading the model")
    loader = await stack.enter_async_context(
        loading(
            settings,
            metrics,
            max_duration_seconds=settings.max_duration_seconds,
            stall_timeout_seconds=settings.decode_stall_timeout_seconds,
            checkpoint_audio_seconds=settings.checkpoint_audio_seconds,
            min_duration_seconds=settings.min_duration_seconds,
        )
    )
    models = Models(await loader.load(artifacts), metrics)
    stack.push_async_callback(models.close)
    health.computing(models.overdue)
    s3 = await stack.enter_async_context(open_s3(settings))
    results = ResultStore(s3, settings.results_bucket)
    # Beside everything else: a store that is away must not keep the worker from joining.
    stack.callback(asyncio.create_task(outages.until_available(results.ensure_bucket)).cancel)
    progress = _progress_topic(settings, metrics, stack)
    sidecars = _sidecars(settings)
    pipeline = Pipeline(
        ObjectStore(s3),
        results,
        CheckpointStore(s3, settings.results_bucket),
        models,
        outages,
        metrics,
        defaults=default_options(settings),
        limits=Limits(
            max_object_bytes=settings.max_object_bytes,
            max_in_flight_bytes=settings.max_in_flight_bytes,
            object_retry_seconds=settings.object_retry_seconds,
            spool_dir=settings.spool_dir,
        ),
        outputs=Outputs(settings.max_event_bytes, settings.event_mode, sidecars),
        allowed=Allowed(settings.metadata_options, settings.tag_options),
        tell=progress.tell if progress else None,
        activity=activity,
    )
    health.enter("joining the consumer group")
    breaker = await _look_at_topics(settings)
    rules = _rules(settings, sidecars.is_own)
    worker = _worker(settings, pipeline, rules, breaker, metrics, outages, as_json, stack)
    watchdog = Watchdog(
        loop_tick=lambda: health.loop_tick,
        worker_tick=lambda: worker.last_tick if worker.running else None,
        overdue=lambda: models.overdue(time.monotonic()),
    )
    watchdog.start()
    stack.callback(watchdog.stop)
    return worker, ModelChanger(settings, loader, models, metrics, LogProgress(logger))


async def _look_at_topics(settings: WorkerSettings) -> Breaker:
    """Warn of what will not fit, and let the breaker know what the group answered before this process."""
    client, timeout_seconds = client_options(settings), settings.kafka_request_timeout_seconds
    optional = (settings.kafka_failed_topic, settings.kafka_progress_topic, settings.kafka_control_topic)
    topics = TopicNames(
        settings.kafka_input_topic,
        settings.kafka_output_topic,
        settings.kafka_dead_letter_topic,
        tuple(topic for topic in optional if topic is not None),
    )
    _, answers = await asyncio.gather(
        warn_about_topics(client, topics, settings.kafka_max_record_bytes, settings.max_event_bytes, timeout_seconds),
        recent_answers(client, topics, settings.kafka_group_id, timeout_seconds=timeout_seconds),
    )
    breaker = Breaker(settings.dead_letter_stop_share)
    for reason in answers:
        breaker.recall(reason)
    return breaker


def _worker(
    settings: WorkerSettings,
    pipeline: Pipeline,
    rules: Rules,
    breaker: Breaker,
    metrics: Metrics,
    outages: Outages,
    as_json: AsJson | None,
    stack: AsyncExitStack,
) -> Worker:
    """The member of the consumer group, with the mode of delivery that is asked for."""
    client = client_options(settings)
    max_record_bytes = settings.kafka_max_record_bytes + HEADER_BYTES
    publisher = Publisher(client, max_record_bytes, settings.kafka_request_timeout_seconds, metrics)
    stack.push_async_callback(publisher.stop)

    def settles(partitions: Partitions, membership: Membership, reopen: Callable[[TopicPartition], None]) -> Settlement:
        if settings.delivery == "exactly_once":
            timeout_seconds = settings.kafka_request_timeout_seconds
            return ExactlyOnce(
                partitions, reopen, client, settings.kafka_group_id, max_record_bytes, timeout_seconds, metrics
            )
        return EffectivelyOnce(partitions, membership, publisher, outages, metrics)

    return Worker(
        MembershipOptions(
            client=client,
            group_id=settings.kafka_group_id,
            topic=settings.kafka_input_topic,
            request_timeout_seconds=settings.kafka_request_timeout_seconds,
            session_timeout_seconds=settings.kafka_session_timeout_seconds,
            # A request to join is answered once all members have joined: the client must not give it up before.
            rebalance_timeout_seconds=min(
                settings.kafka_rebalance_timeout_seconds, 0.8 * settings.kafka_request_timeout_seconds
            ),
            max_poll_interval_seconds=settings.kafka_max_poll_interval_seconds,
            max_record_bytes=settings.kafka_max_record_bytes,
        ),
        RecordHandler(pipeline, rules, outages, metrics, _cancellations(settings, stack), as_json).handle,
        settles,
        breaker,
        outages,
        metrics,
        WorkerLimits(_in_flight(settings, metrics), settings.shutdown_grace_seconds),
    )


def _registry_reader(settings: WorkerSettings, stack: AsyncExitStack) -> AsJson | None:
    """What reads values that a schema registry describes; none, where there is no registry."""
    if settings.schema_registry_url is None:
        return None
    with needs_extra("SCHEMA_REGISTRY_URL", "registry"):
        from consumer.delivery.schema_registry import registry_of  # noqa: PLC0415
    registry = registry_of(settings)
    stack.push_async_callback(registry.close)
    return registry.as_json


def _rules(settings: WorkerSettings, is_own: Callable[[AudioUploaded], bool]) -> Rules:
    """What is done with a record; ``is_own`` tells what a worker wrote itself."""
    return Rules(
        input_buckets=frozenset(settings.input_buckets),
        output_topic=settings.kafka_output_topic,
        dead_letter_topic=settings.kafka_dead_letter_topic,
        group_id=settings.kafka_group_id,
        max_attempts=settings.max_attempts,
        failed_topic=settings.kafka_failed_topic,
        filters=Filters(
            patterns=settings.input_patterns,
            excluded=settings.exclude_patterns,
            content_types=settings.input_content_types,
            least_bytes=settings.min_object_bytes,
            is_own=is_own,
        ),
    )


def _progress_topic(settings: WorkerSettings, metrics: Metrics, stack: AsyncExitStack) -> ProgressTopic | None:
    """Where progress goes, with a producer of its own: what it loses must disturb no answer."""
    if settings.kafka_progress_topic is None:
        return None
    timeout_seconds = settings.kafka_request_timeout_seconds
    publisher = Publisher(client_options(settings), settings.kafka_max_record_bytes, timeout_seconds, metrics)
    stack.push_async_callback(publisher.stop)
    progress = ProgressTopic(publisher, settings.kafka_progress_topic)
    stack.callback(asyncio.create_task(progress.run()).cancel)
    return progress


def _cancellations(settings: WorkerSettings, stack: AsyncExitStack) -> Cancellations:
    """What is asked to be cancelled on the control topic; nothing, where there is none."""
    cancellations = Cancellations()
    if settings.kafka_control_topic is not None:
        control = ControlTopic(client_options(settings), settings.kafka_control_topic, cancellations)
        stack.callback(asyncio.create_task(control.run()).cancel)
    return cancellations


def _sidecars(settings: WorkerSettings) -> Sidecars:
    return Sidecars(
        formats=[Format(name) for name in settings.sidecar_formats],
        bucket=settings.sidecar_bucket,
        template=settings.sidecar_template,
        choices=[Format(name) for name in settings.sidecar_choices],
    )


def _in_flight(settings: WorkerSettings, metrics: Metrics) -> int:
    """MAX_IN_FLIGHT, or as many recordings as memory suffices for where that is less."""
    limit_bytes = memory_limit_bytes()
    metrics.memory_limit_bytes.set(limit_bytes)
    if not settings.use_whisper_library:
        return settings.max_in_flight  # each process of the command line loads a model of its own
    n_states = settings.whisper_states or usable_cpus()
    now_bytes = resident_bytes()
    affordable = affordable_in_flight(limit_bytes, now_bytes, n_states, settings.whisper_model_size)
    if affordable < settings.max_in_flight:
        logger.warning(
            "memory suffices for %d recordings in flight, not for MAX_IN_FLIGHT=%d", affordable, settings.max_in_flight
        )
    n_in_flight = min(affordable, settings.max_in_flight)
    metrics.memory_predicted_bytes.set(foreseen_bytes(now_bytes, n_states, settings.whisper_model_size, n_in_flight))
    return n_in_flight


class LogProgress:
    """Tells of long work in log lines; fits ``consumer.engine.artifacts.progress.Progress``."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    @contextmanager
    def task(self, what: str, total: int | None, unit: str = "bytes") -> Iterator[Callable[[int], None]]:
        """Log the beginning and the end."""
        self._logger.info("%s: begun", what, extra={"total": total, "unit": unit})
        yield lambda _amount: None
        self._logger.info("%s: done", what)

    def note(self, line: str) -> None:
        """Log one line."""
        self._logger.info("%s", line)
