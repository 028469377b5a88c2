"""The collector of spans, where there is one: whether it takes them."""

import asyncio

from consumer.extras import needs_extra
from consumer.observe import spans
from consumer.operate.doctor.check import Check
from consumer.settings import SettingsError, WorkerSettings

NAME = "span collector"


async def check_collector(settings: WorkerSettings) -> list[Check]:
    """Send it no spans, as the worker sends some; nothing is looked at where no collector is set."""
    endpoint = settings.otel_exporter_otlp_endpoint
    if endpoint is None:
        return []
    try:
        with needs_extra("OTEL_EXPORTER_OTLP_ENDPOINT", "tracing"):
            taken = await asyncio.to_thread(spans.probe, endpoint)
    except SettingsError as error:
        return [Check(NAME, False, str(error), "install it, or unset OTEL_EXPORTER_OTLP_ENDPOINT")]
    if taken:
        return [Check(NAME, True, f"{endpoint} takes spans")]
    advice = "check OTEL_EXPORTER_OTLP_ENDPOINT (OTLP over HTTP, mostly port 4318); the worker goes on without spans"
    return [Check(NAME, False, f"{endpoint} takes no spans", advice)]
