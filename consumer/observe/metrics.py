"""Every metric of the worker, with its type, unit and meaning: the only place that defines one.

Names begin with ``whisper_consumer_`` and end with their unit; units are seconds and bytes. Labels take
values of small closed sets only, never a key, bucket, topic or message, so the number of series is bounded by
this file. Series of closed sets exist from the start: a rate over a counter that was never touched is 0.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Protocol, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from consumer.errors import Reason, Stage
from schemas import Flag, Segment

NAMESPACE = "whisper_consumer"


class EventKind(StrEnum):
    """What a record of the input topic was taken for: work, one of the kinds to skip, or not understood."""

    AUDIO_UPLOADED = "audio_uploaded"
    TOMBSTONE = "tombstone"
    REMOVED = "removed"
    TEST_EVENT = "test_event"
    FOLDER_MARKER = "folder_marker"
    OTHER_EVENT = "other_event"
    FILTERED = "filtered"
    OWN_OUTPUT = "own_output"
    REJECTED = "rejected"


class RecordOutcome(StrEnum):
    """How the work on a record of the input topic ended."""

    COMPLETED = "completed"
    DEAD_LETTERED = "dead_lettered"
    SKIPPED = "skipped"


class TransactionOutcome(StrEnum):
    """How a transaction of ``DELIVERY=exactly_once`` ended."""

    COMMITTED = "committed"
    ABORTED = "aborted"


class Promptness(StrEnum):
    """Whether a recording was answered in time, see ``observe.objective``."""

    MET = "met"
    MISSED = "missed"


class ModelChange(StrEnum):
    """How a change of the model ended that was asked for by SIGHUP."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    RESTART = "restart"


class Disk(StrEnum):
    """A place on a disk that may become full."""

    ARTIFACTS = "artifacts"
    SPOOL = "spool"


class Doubt(StrEnum):
    """Why a pass of the model is made again: of its text, which had a shortened context, or of the language."""

    EMPTY = "empty"
    REPETITIVE = "repetitive"
    UNLIKELY = "unlikely"
    LANGUAGE = "language"


DEPENDENCIES = ("store", "broker", "disk", "decoder", "registry")
"""What ``Unavailable.dependency`` may name."""

TIMED_STAGES = (Stage.FETCH, Stage.DECODE, Stage.TRANSCRIBE, Stage.STORE)
"""Stages of the pipeline. Parsing takes no time to speak of; publishing has a histogram of its own."""

# Upper bounds in seconds. A stage takes from a cache hit's milliseconds to hours of transcription; a window
# is at most 30 s of audio, from tiny on a fast CPU to large on a slow one.
STAGE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
WINDOW_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
PUBLISH_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# From the upload on, so a queue's hours are in it.
ANSWER_BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
# Dimensionless: processing time for a second of audio; 1 is as fast as it is spoken.
FACTOR_BUCKETS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5)


class Metrics:
    """All metrics, registered on one registry (one for each worker, so that tests can make their own)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._define_delivery()
        self._define_pipeline()
        self._define_engine()
        self._define_worker()
        ProcessCollector(registry=registry)

    def _define_delivery(self) -> None:
        self.events = self._counter("events", "Records read from the input topic, by what they are.", label="kind")
        self.records_finished = self._counter(
            "records_finished",
            "Records of the input topic that were dealt with, by how it ended.",
            label="outcome",
        )
        self.dead_letters = self._counter(
            "dead_letters", "Records sent to the dead-letter topic, by reason.", label="reason"
        )
        self.in_flight = self._gauge("in_flight", "Records taken from the input topic and not yet finished.")
        self.in_flight_bytes = self._gauge(
            "in_flight", "Bytes of the recordings that are on the spool disk, or about to be.", "bytes"
        )
        self.oldest_in_flight_seconds = self._gauge(
            "oldest_in_flight",
            "Age of the record that has been in flight longest; 0 when there is none.",
            "seconds",
        )
        self.incomplete_offsets = self._gauge(
            "incomplete_offsets",
            "Offsets between the committed one and the highest that was read, not yet finished.",
        )
        self.paused_partitions = self._gauge("paused_partitions", "Assigned partitions that are not read at present.")
        self.assigned_partitions = self._gauge("assigned_partitions", "Partitions that the group gave to this worker.")
        self.rebalances = self._counter("rebalances", "Rebalances of the consumer group that this worker took part in.")
        self.revoked_while_running = self._counter(
            "revoked_while_running", "Records whose partition was taken away while they were worked on."
        )
        self.commits = self._counter("commits", "Offset commits that the broker accepted.")
        self.commit_failures = self._counter("commit_failures", "Offset commits that failed.")
        self.retries = self._counter(
            "retries", "Attempts repeated because something outside was unavailable.", label="dependency"
        )
        self.dependency_waiting = self._gauge(
            "dependency_waiting",
            "Records, and steps of the consumer itself, that wait for something outside to come back.",
            label="dependency",
        )
        self.object_retries = self._counter(
            "object_retries", "Attempts repeated because one object could not be had although its bucket answers."
        )
        self.waiting_objects = self._gauge(
            "waiting_objects", "Records off the queue's head that wait for their own object alone."
        )
        self.suspects = self._gauge(
            "suspects", "Records that were open when a worker died, and run or wait to run alone."
        )
        self.crashed_attempts = self._counter(
            "crashed_attempts", "Deaths of a worker counted against the record that ran alone."
        )
        self.intake_stopped = self._gauge(
            "intake_stopped",
            "Is 1 if too many records were dead-lettered by the worker's own fault, so that it takes no more; else 0.",
        )
        self.transactions = self._counter(
            "transactions", "Kafka transactions of exactly-once delivery, by how they ended.", label="outcome"
        )
        self.offsets_skipped = self._counter(
            "offsets_skipped",
            "Offsets that the broker had deleted before they were read (out-of-range position).",
        )
        self.publish_seconds = self._histogram(
            "publish",
            "Time from sending a record until the broker acknowledged it.",
            PUBLISH_BUCKETS,
            "seconds",
        )
        self.lag = self._gauge(
            "lag", "Records of the assigned partitions that are not answered yet, those in flight included."
        )
        self.event_to_transcript_seconds = self._histogram(
            "event_to_transcript",
            "Time from the event (its record's timestamp) until the broker acknowledged the answer with transcripts.",
            ANSWER_BUCKETS,
            "seconds",
        )
        self.objective = self._counter(
            "objective",
            "Recordings answered by a transcript within 3 times their duration and 60 s of the event, and those "
            "answered later or given up by the worker's own fault.",
            label="outcome",
        )
        self.drain_seconds = self._gauge(
            "drain",
            "How long the worker has been finishing what is in flight before it ends; 0 while it works.",
            "seconds",
        )
        self.drain_budget_seconds = self._gauge(
            "drain_budget", "How long that may take before it leaves the rest to others.", "seconds"
        )
        _start_at_zero(self.objective, Promptness)
        _start_at_zero(self.events, EventKind)
        _start_at_zero(self.records_finished, RecordOutcome)
        _start_at_zero(self.dead_letters, Reason)
        _start_at_zero(self.retries, DEPENDENCIES)
        _start_at_zero(self.dependency_waiting, DEPENDENCIES)
        _start_at_zero(self.transactions, TransactionOutcome)

    def _define_pipeline(self) -> None:
        self.fetched_bytes = self._counter("fetched", "Bytes of recordings read from the object store.", "bytes")
        self.stage_seconds = self._histogram(
            "stage", "Wall-clock time of one recording in one stage.", STAGE_BUCKETS, "seconds", label="stage"
        )
        self.audio_seconds_in = self._counter("audio_in", "Audio decoded, in seconds of the recording.", "seconds")
        self.audio_seconds_out = self._counter(
            "audio_out", "Audio of finished recordings, in seconds of the recording.", "seconds"
        )
        self.audio_by_language_seconds = self._counter(
            "audio_by_language",
            "Audio of finished recordings, by Whisper's code of the language; none where nobody speaks.",
            "seconds",
            label="language",
        )
        self.real_time_factor = self._histogram(
            "real_time_factor",
            "Total processing time of a recording for one second of its audio.",
            FACTOR_BUCKETS,
        )
        self.decode_damage = self._counter("decode_damage", "Recordings that were transcribed in spite of damage.")
        self.no_speech = self._counter("no_speech", "Recordings in which no speech was found.")
        self.results_reused = self._counter(
            "results_reused", "Jobs answered with a result that was stored before, without inference."
        )
        self.checkpoints_written = self._counter("checkpoints_written", "Checkpoints of recordings written.")
        self.checkpoints_resumed = self._counter(
            "checkpoints_resumed", "Recordings that went on from a checkpoint instead of from their beginning."
        )
        self.checkpoint_age_seconds = self._gauge(
            "checkpoint_age",
            "Of the recordings being transcribed, the longest time since one's last checkpoint, or its beginning.",
            "seconds",
        )
        _start_at_zero(self.stage_seconds, TIMED_STAGES)

    def _define_engine(self) -> None:
        self.states = self._gauge("states", "Windows that can be transcribed at once.")
        self.states_busy = self._gauge("states_busy", "Windows that are being transcribed.")
        self.windows_queued = self._gauge("windows_queued", "Windows of audio that wait for a free state.")
        self.windows = self._counter("windows", "Windows of audio transcribed.")
        self.passes = self._counter("passes", "Passes of the model over a window or the rest of one.")
        self.passes_repeated = self._counter(
            "passes_repeated",
            "Passes made again because the result of a shortened context was in doubt, or the language was another.",
            label="reason",
        )
        self.window_seconds = self._histogram("window", "Inference time of one window.", WINDOW_BUCKETS, "seconds")
        self.model_info = Info(
            "model",
            "The loaded model: size, precision, cpu_class and engine_version.",
            namespace=NAMESPACE,
            registry=self.registry,
        )
        self.model_changes = self._counter(
            "model_changes",
            "Changes of the model that were asked for by SIGHUP, by how they ended; restart: for other libraries.",
            label="outcome",
        )
        self.segments_flagged = self._counter(
            "segments_flagged", "Segments of text with a flag, by flag; one may have several.", label="flag"
        )
        self.segments_suppressed = self._counter(
            "segments_suppressed", "Segments left out of the text because, by their flags, nobody spoke."
        )
        _start_at_zero(self.model_changes, ModelChange)
        _start_at_zero(self.passes_repeated, Doubt)
        _start_at_zero(self.segments_flagged, get_args(Flag))
        self.backlog_audio_seconds = self._gauge(
            "backlog_audio",
            "Audio of the recordings in flight that is known and not yet transcribed.",
            "seconds",
        )
        self.event_loop_lag_seconds = self._histogram(
            "event_loop_lag",
            "How much later than asked the event loop woke a sleeping task.",
            LAG_BUCKETS,
            "seconds",
        )

    def _define_worker(self) -> None:
        self.build_info = Info(
            "build", "The worker itself: version, and that of Python.", namespace=NAMESPACE, registry=self.registry
        )
        self.ready = self._gauge("ready", "Is 1 while work is taken, as /readyz says; else 0.")
        self.artifact_pull_seconds = self._gauge(
            "artifact_pull",
            "Time that it took at the start until model and libraries were on the disk and verified.",
            "seconds",
        )
        self.memory_predicted_bytes = self._gauge(
            "memory_predicted",
            "Memory that worker and decoders take with as many recordings in flight as may be, by the model's figures.",
            "bytes",
        )
        self.memory_limit_bytes = self._gauge(
            "memory_limit", "Memory that the worker may take, by its container or the machine.", "bytes"
        )
        self.disk_free_bytes = self._gauge("disk_free", "Bytes that are free on a disk.", "bytes", label="disk")
        self.disk_size_bytes = self._gauge("disk_size", "Bytes that a disk has in all.", "bytes", label="disk")

    def count_flags(self, segments: Sequence[Segment], suppressed: Sequence[Segment]) -> None:
        """Count what speaks against segments."""
        self.segments_suppressed.inc(len(suppressed))
        for segment in (*segments, *suppressed):
            for flag in segment.flags:
                self.segments_flagged.labels(flag).inc()

    def _counter(self, name: str, meaning: str, unit: str = "", *, label: str = "") -> Counter:
        return Counter(name, meaning, _labels(label), namespace=NAMESPACE, unit=unit, registry=self.registry)

    def _gauge(self, name: str, meaning: str, unit: str = "", *, label: str = "") -> Gauge:
        return Gauge(name, meaning, _labels(label), namespace=NAMESPACE, unit=unit, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...], unit: str = "", *, label: str = ""
    ) -> Histogram:
        return Histogram(
            name,
            meaning,
            _labels(label),
            namespace=NAMESPACE,
            unit=unit,
            buckets=buckets,
            registry=self.registry,
        )


class _Labelled(Protocol):
    def labels(self, *values: str) -> object: ...


def _labels(label: str) -> tuple[str, ...]:
    return (label,) if label else ()


def _start_at_zero(metric: _Labelled, values: Iterable[str]) -> None:
    for value in values:
        metric.labels(value)
