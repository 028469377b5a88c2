"""Spans of OpenTelemetry, where a collector is configured: receive, in it fetch, decode, infer, store and publish.

The span of a record begins under the trace context that the record carries, which is known once it is parsed: so
``received`` is around all of the work on it, and ``belongs_to`` begins the span with the time at which that began.
No span holds words of a transcript. Needs opentelemetry-sdk, the extra ``tracing``.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from consumer import __version__

Attribute = str | int | float | bool

CLOSE_TIMEOUT_SECONDS: Final = 3.0
"""How long the end of the worker may wait for the collector to take the last spans."""


@dataclass(slots=True)
class _Received:
    began_ns: int
    stack: ExitStack
    span: Any = None


@dataclass(slots=True)
class _Tracing:
    """What is configured: opentelemetry's tracer, and what belongs to it; each is None without."""

    tracer: Any = None
    parent_of: Callable[[Mapping[str, str]], Any] = field(default=lambda _: None)


_tracing = _Tracing()
_received: ContextVar[_Received | None] = ContextVar("received", default=None)


def configure(endpoint: str, service_name: str) -> Callable[[], None]:
    """Send spans to a collector (OTLP over HTTP, as the SDK's own variables have it); returns what ends that.

    Raises ImportError where the extra is not installed.
    """
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    resource = Resource.create({"service.name": service_name, "service.version": __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_exporter(endpoint)))
    _tracing.tracer = provider.get_tracer("whisper-consumer", __version__)
    _tracing.parent_of = TraceContextTextMapPropagator().extract

    def close() -> None:
        _tracing.tracer = None
        provider.force_flush(round(CLOSE_TIMEOUT_SECONDS * 1000))
        provider.shutdown()

    return close


def probe(endpoint: str) -> bool:
    """Whether the collector takes spans, of which this sends none. Raises ImportError as ``configure`` does."""
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415

    exporter = _exporter(endpoint)
    try:
        return bool(exporter.export([]) is SpanExportResult.SUCCESS)
    finally:
        exporter.shutdown()


def _exporter(endpoint: str) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    return OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=CLOSE_TIMEOUT_SECONDS)


@contextmanager
def received() -> Iterator[None]:
    """Around the work on one record, its answer included."""
    if _tracing.tracer is None:
        yield
        return
    with ExitStack() as stack:
        token = _received.set(_Received(time.time_ns(), stack))
        try:
            yield
        finally:
            _received.reset(token)


def belongs_to(trace: tuple[tuple[str, str], ...], attributes: Mapping[str, Attribute]) -> None:
    """Begin the span of the record that is worked on, as part of a trace; of a new one where that is empty."""
    found = _received.get()
    if found is None or _tracing.tracer is None or found.span is not None:
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    found.span = found.stack.enter_context(
        _tracing.tracer.start_as_current_span(
            "receive",
            context=_tracing.parent_of(dict(trace)),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            start_time=found.began_ns,
            record_exception=False,  # an exception here is a cancellation, or a defect that the log tells of
        )
    )


def answered(outcome: str, reason: str | None) -> None:
    """How the record ended; with a reason its span is one of an error."""
    found = _received.get()
    if found is None or found.span is None:
        return
    found.span.set_attribute("whisper_consumer.outcome", outcome)
    if reason is not None:
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

        found.span.set_attribute("whisper_consumer.reason", reason)
        found.span.set_status(Status(StatusCode.ERROR, reason))


@contextmanager
def span(name: str, **attributes: Attribute) -> Iterator[None]:
    """One stage of the work on the record at hand."""
    found = _received.get()
    if found is None or found.span is None:
        yield
        return
    with _tracing.tracer.start_as_current_span(name, attributes=attributes, record_exception=False):
        yield


def past(name: str, began_ns: int, ended_ns: int, **attributes: Attribute) -> None:
    """A stage that is over, of those that overlap; times are of ``time.time_ns``."""
    found = _received.get()
    if found is not None and found.span is not None:
        _tracing.tracer.start_span(name, start_time=began_ns, attributes=attributes).end(ended_ns)
