"""A collector of spans on this machine, by the protocol's own messages: what it is sent can be waited for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from consumer.operate.network import LOOPBACK, free_ports


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self._came = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            }
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self._came.set()
        return web.Response(body=ExportTraceServiceResponse().SerializeToString())

    async def wait_until(self, enough: Callable[[list[Span]], bool], timeout_seconds: float = 30) -> list[Span]:
        """All spans so far, once they are enough."""
        async with asyncio.timeout(timeout_seconds):
            while not enough(self.spans):
                self._came.clear()
                await self._came.wait()
        return self.spans


@asynccontextmanager
async def running_collector() -> AsyncIterator[Collector]:
    port = free_ports(1)[0]
    collector = Collector(f"http://{LOOPBACK}:{port}")
    application = web.Application()
    application.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
        yield collector
    finally:
        await runner.cleanup()
