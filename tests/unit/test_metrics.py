"""The metrics obey Prometheus' naming rules and what they expose can be read by Prometheus."""

import ast
import re
from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import consumer
from consumer.delivery.handling import RecordHandler, Rules
from consumer.delivery.job import Job, Outcome, SourceRecord
from consumer.errors import NotWanted, Reason, Rejected, Stage
from consumer.events.parsed import SkipKind
from consumer.observe.metrics import (
    DEPENDENCIES,
    NAMESPACE,
    TIMED_STAGES,
    EventKind,
    Metrics,
    RecordOutcome,
    TransactionOutcome,
)
from consumer.observe.reference import metrics_page
from consumer.outages import Outages

BASE_UNITS = ("seconds", "bytes")
OTHER_UNITS = re.compile(r"_(ms|milliseconds|microseconds|minutes|hours|kb|mb|kilobytes|megabytes|percent)(_|$)")
# A unit that is not a suffix of the name is wrong, except where the unit is part of what is counted.
RESERVED_SUFFIXES = ("_total", "_count", "_sum", "_bucket", "_created", "_info")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def families(metrics: Metrics) -> list[Metric]:
    return [family for family in metrics.registry.collect() if family.name.startswith(NAMESPACE)]


def faults(family: Metric) -> list[str]:
    """What Prometheus' own linter would complain about, and this project's rules."""
    found = []
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", family.name):
        found.append("not snake_case")
    if OTHER_UNITS.search(family.name):
        found.append("not a base unit")
    if any(unit in family.name.split("_") for unit in BASE_UNITS) and family.unit not in BASE_UNITS:
        found.append("unit in the name but not declared")
    if family.unit and not family.name.endswith("_" + family.unit):
        found.append("name does not end with its unit")
    if family.name.endswith(RESERVED_SUFFIXES):
        found.append("the library adds this suffix itself")
    if family.type in family.name.split("_"):
        found.append("name repeats the type")
    if not (family.documentation[:1].isupper() and family.documentation.endswith(".")):
        found.append("help is no sentence")
    return found


def test_names_units_and_help_obey_the_rules(metrics: Metrics) -> None:
    defined = families(metrics)
    assert len(defined) == len(vars(metrics)) - 1  # all attributes but the registry
    assert {family.name: faults(family) for family in defined if faults(family)} == {}


@pytest.mark.parametrize(
    ("name", "unit", "documentation"),
    [
        ("whisper_consumer_decodeMs", "", "Time."),
        ("whisper_consumer_decode_ms", "", "Time."),
        ("whisper_consumer_seconds_of_decode", "", "Time."),
        ("whisper_consumer_records_total", "", "Records."),
        ("whisper_consumer_in_flight_gauge", "", "Records."),
        ("whisper_consumer_in_flight", "", "records in flight"),
    ],
)
def test_the_rules_find_bad_definitions(name: str, unit: str, documentation: str) -> None:
    assert faults(Metric(name, documentation, "gauge", unit))


def test_series_of_closed_sets_exist_before_the_first_event(metrics: Metrics) -> None:
    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"{NAMESPACE}_{name}", labels)

    assert all(value("events_total", kind=kind) == 0 for kind in EventKind)
    assert all(value("records_finished_total", outcome=outcome) == 0 for outcome in RecordOutcome)
    assert all(value("dead_letters_total", reason=reason) == 0 for reason in Reason)
    assert all(value("retries_total", dependency=dependency) == 0 for dependency in DEPENDENCIES)
    assert all(value("dependency_waiting", dependency=dependency) == 0 for dependency in DEPENDENCIES)
    assert all(value("transactions_total", outcome=outcome) == 0 for outcome in TransactionOutcome)
    assert all(value("stage_seconds_count", stage=stage) == 0 for stage in TIMED_STAGES)
    assert value("fetched_bytes_total") == 0


def test_the_page_of_all_metrics_is_up_to_date() -> None:
    page = Path(consumer.__file__).parent.parent / "docs" / "metrics.md"
    assert page.read_text(encoding="utf-8") == metrics_page(), "run scripts/generate_metrics.py"
    assert all(f"`{family.name}" in metrics_page() for family in families(Metrics(CollectorRegistry())))


async def test_ten_thousand_recordings_make_no_series_of_their_own(metrics: Metrics) -> None:
    """Buckets, keys, reasons in words and traces differ each time; every kind of answer is among them."""

    class Work:
        async def do(self, job: Job, attempt: object) -> Outcome:  # noqa: ARG002
            ending = job.offset % 4
            if ending == 0:
                raise Rejected(Reason.NOT_AUDIO, Stage.DECODE, f"no audio in {job.upload.key}")
            if ending == 1:
                raise NotWanted(f"{job.upload.key} is too short")
            return Outcome(job.upload.key.encode(), b"{}", audio_seconds=job.offset)

        async def given_up(self, *_: object) -> None: ...

    class FirstAttempt:
        deaths = 0

    buckets = frozenset(f"bucket-{number}" for number in range(100))
    rules = Rules(buckets, "out", "letters", "group", 3)
    handler = RecordHandler(Work(), rules, Outages(metrics), metrics)
    before = n_series(metrics)
    for offset in range(10_000):
        event = {"bucket": f"bucket-{offset % 200}", "key": f"key-{offset}", "options": {"language": f"x{offset}"}}
        record = SourceRecord("in", offset % 50, offset, 0, None, orjson.dumps(event))
        answer = await handler.handle(record, FirstAttempt())  # type: ignore[arg-type]  # all that is asked
        metrics.records_finished.labels(answer.outcome).inc()
        if answer.reason:
            metrics.dead_letters.labels(answer.reason).inc()
    assert n_series(metrics) == before
    assert (metrics.registry.get_sample_value(f"{NAMESPACE}_dead_letters_total", {"reason": "not_audio"}) or 0) > 1000


def n_series(metrics: Metrics) -> int:
    return sum(len(family.samples) for family in metrics.registry.collect())


def test_every_kind_of_skip_is_a_kind_of_event() -> None:
    assert {kind.value for kind in SkipKind} == {kind.value for kind in EventKind} - {"audio_uploaded", "rejected"}


def test_every_dependency_that_may_be_unavailable_has_a_series() -> None:
    named = {
        node.args[0].value
        for path in Path(consumer.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Unavailable"
        if isinstance(node.args[0], ast.Constant)
    }
    assert named
    assert named <= set(DEPENDENCIES)


def test_labels_come_from_closed_sets_only(metrics: Metrics) -> None:
    labels = {
        name
        for family in families(metrics)
        for sample in family.samples
        for name in sample.labels
        if family.name != f"{NAMESPACE}_model"
    }
    assert labels == {"kind", "outcome", "reason", "dependency", "stage", "flag", "disk", "le"}


def test_both_expositions_parse_and_agree(metrics: Metrics) -> None:
    metrics.events.labels(kind="audio_uploaded").inc()
    metrics.stage_seconds.labels(stage="decode").observe(3)
    metrics.model_info.info({"size": "base", "precision": "q8_0", "cpu_class": "amx", "engine_version": "1.8.5"})

    def exposed(accept: str) -> str:
        encode, _ = choose_encoder(accept)
        return encode(metrics.registry).decode()

    text = {family.name: family for family in parse_text(exposed("text/plain"))}
    lines = exposed("application/openmetrics-text; version=1.0.0")
    open_metrics = {family.name: family for family in parse_openmetrics(lines)}  # type: ignore[no-untyped-call]

    assert {family.name for family in families(metrics)} <= open_metrics.keys()
    assert open_metrics[f"{NAMESPACE}_fetched_bytes"].unit == "bytes"
    # The older format spells counters and infos with their suffix as part of the family's name.
    plain = {name.removesuffix("_info") for name in text}
    assert {family.name for family in families(metrics)} <= plain


def test_the_process_is_measured(metrics: Metrics) -> None:
    resident = metrics.registry.get_sample_value("process_resident_memory_bytes")
    assert resident is not None
    assert resident > 1_000_000


def test_two_workers_in_one_process_count_apart() -> None:
    first, second = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    first.commits.inc()
    assert second.registry.get_sample_value(f"{NAMESPACE}_commits_total") == 0
