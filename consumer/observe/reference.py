"""The page that lists all metrics, made from their definitions: ``docs/metrics.md``."""

from collections import defaultdict

from prometheus_client import CollectorRegistry, Metric

from consumer.observe.metrics import NAMESPACE, Metrics

_HEAD = """# Metrics

Every worker answers `GET /metrics` on `HTTP_PORT` (9090), in Prometheus' text format or as OpenMetrics, which adds
exemplars with trace ids. Made from `consumer/observe/metrics.py` by `scripts/generate_metrics.py`. Beside these there
are `process_*` (CPU, resident memory, open files, start time) of the worker's own process.

No label ever holds a key, bucket, topic or message: the number of series is bounded by the values below, and by the
some hundred languages that Whisper knows.

| metric | type | unit | labels | meaning |
|---|---|---|---|---|
"""


def metrics_page() -> str:
    """In Markdown, sorted by name."""
    metrics = Metrics(CollectorRegistry())
    for code in ("en", "...", "none"):  # no series of a language exists before it is heard
        metrics.audio_by_language_seconds.labels(code)
    families = sorted(metrics.registry.collect(), key=lambda family: family.name)
    return _HEAD + "".join(_row(family) for family in families if family.name.startswith(NAMESPACE))


def _row(family: Metric) -> str:
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    labels = "; ".join(f"`{name}`: {', '.join(values)}" for name, values in _labels(family).items())
    return f"| `{family.name}{suffix}` | {family.type} | {family.unit} | {labels} | {family.documentation} |\n"


def _labels(family: Metric) -> dict[str, list[str]]:
    """Each label with the values that exist from the start."""
    found: dict[str, list[str]] = defaultdict(list)
    for sample in family.samples:
        for name, value in sample.labels.items():
            if name != "le" and value not in found[name]:
                found[name].append(value)
    return found
